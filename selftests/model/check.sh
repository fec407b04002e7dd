#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Have spin search all interleavings of record.pml, which must have no error; then
# the same with one thing taken out at a time, which must have one.
# Documentation/model.rst says what that shows.
#
# Usage: check.sh [NAME...]	names as they are printed; all unless given

set -u

here=$(cd "${0%/*}" && pwd -P)

# What is searched, and what each break is to be found in
CASES=(
	"detach"
	"settle SETTLE"
	"detach-second SECOND"
	"settle-second SECOND SETTLE"
)
BREAKS=(
	"no-lock LOCK SECOND"
	"erased-after-it-is-given-back ERASE"
	"looked-up-before-the-lock HOLD SECOND SETTLE"
	"second-not-refused REFUSE SECOND SETTLE"
	"evicted-without-recheck RECHECK SECOND SETTLE"
	"prepared-without-recheck PREPARE SECOND SETTLE"
	"waited-without-recheck WAITED SECOND SETTLE"
	"not-marked-gone GONE SECOND SETTLE"
	"slot-left-in-its-record TAKE SECOND SETTLE"
	"kfree-rcu-seen-under-two-locks TWO_LOCKS SECOND SETTLE"
	"stopped-without-a-grace-period STOP"
	"batches-not-waited-for FLUSH"
	"on-the-way-not-waited-for ON_THE_WAY SECOND"
)

die()
{
	echo "model: $*" >&2
	exit 1
}

# search DIR OPTION...: build the verifier with the options and run it; says how many
# states it has seen
search()
{
	local dir=$1

	shift
	mkdir "$dir" || die "cannot write $dir"
	cd "$dir" || die "cannot enter $dir"
	spin -a "${@/#/-D}" "$here/record.pml" >spin.log || die "$(<spin.log)"
	gcc -O2 -DSAFETY -DCOLLAPSE -DMEMLIM=4096 -o pan pan.c 2>gcc.log || die "$(<gcc.log)"
	./pan -m100000 -w24 >pan.log || die "$(<pan.log)"
	# What was cut short, other than by an error, shows nothing
	if ! grep -q '^pan:1: ' pan.log &&
		grep -E 'search depth too small|out of memory|not completed' pan.log >&2; then
		die "$*: the search was not completed"
	fi
	awk '/states, stored/ { n = $1 } /errors: / { e = $NF } END { print n, e }' pan.log
}

# wanted NAME NAMES...: is it among the names, or are there none?
wanted()
{
	local name=$1

	shift
	(($# == 0)) || [[ " $* " == *" $name "* ]]
}

for tool in spin gcc; do
	command -v "$tool" >/dev/null || die "$tool is missing: run selftests/setup.sh --model"
done
work=$(mktemp -d) || die "cannot make a temporary directory"
trap 'rm -rf "$work"' EXIT
failed=0 passed=0
for entry in "${CASES[@]}"; do
	read -ra words <<<"$entry"
	wanted "${words[0]}" "$@" || continue
	options=("${words[@]:1}")
	result=$(search "$work/${words[0]}" "${options[@]}") || exit 1
	read -r states errors <<<"$result"
	if ((errors)); then
		grep '^pan:1: ' "$work/${words[0]}/pan.log"
		(cd "$work/${words[0]}" && spin -p -k record.pml.trail "${options[@]/#/-D}" \
			"$here/record.pml")
		echo "model: ${words[0]}: FAILED"
		((++failed))
	else
		echo "model: ${words[0]}: $states states, no error"
		((++passed))
	fi
done
for entry in "${BREAKS[@]}"; do
	read -ra words <<<"$entry"
	wanted "${words[0]}" "$@" || continue
	result=$(search "$work/${words[0]}" "BREAK_${words[1]}" "${words[@]:2}") || exit 1
	read -r states errors <<<"$result"
	if ((errors)); then
		echo "model: ${words[0]}: found after $states states:" \
			"$(sed -n 's/^pan:1: //p' "$work/${words[0]}/pan.log")"
		((++passed))
	else
		echo "model: ${words[0]}: FAILED: $states states, and nothing is found"
		((++failed))
	fi
done
echo "$passed passed, $failed failed, 0 skipped"
((!failed))
