#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What the shell tests of mown share. A test is a bash script:
#
#	. "$(dirname "$0")/functions.sh"
#	test_something() { ... || fail "what is wrong"; }
#	start_tests 2
#	load_mown
#	run test_something "what must hold"
#	run test_more "what else must hold"
#	finish
#
# It says in KTAP what became of each case, and exits with 0, 4 (skipped) or 1.

export LC_ALL=C

SYSFS=/sys/kernel/mown
# shellcheck disable=SC2034 # for the tests
DEBUGFS=/sys/kernel/debug/mown
VIOLATIONS="double_free interior_free mismatched_free unknown_free foreign_free use_after_free"
VIOLATIONS+=" overflow limit left_behind"

TESTDIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
MODDIR=$TESTDIR/test_modules

# What the kernel says when something is wrong that is not a report of mown's:
# its own reports begin with "BUG: mown: " and are what the tests ask for.
SPLATS='BUG |BUG: (unable|KASAN|KFENCE|sleeping|scheduling|spinlock|workqueue|soft)'
SPLATS+='|WARNING|Oops|general protection|Object already free|Objects remaining'
SPLATS+='|INFO: (task|rcu|possible)|rcu: INFO|list_(add|del) corruption'
SPLATS+='|refcount_t|kernel BUG|stack segment|double fault|Call Trace:'
SPLATS+='|suspicious RCU|bad page|Slab corruption'

TESTS=0		# cases told of
PLANNED=0
FAILED=0
SKIPPED=0
WORK=		# a directory for the cases' files
LOADED_HERE=	# 1: mown was not loaded before this test

# ---- KTAP -----------------------------------------------------------------

# fail(why): the case has failed; call within a case
fail()
{
	echo "$*"
	exit 1
}

# skip(why): the case cannot be run here; call within a case
skip()
{
	echo "SKIP $*" >&3
	exit 4
}

# skip_all(why): none of the cases can be run here
skip_all()
{
	echo "TAP version 13"
	echo "1..0 # SKIP $*"
	trap - EXIT
	exit 4
}

# die(why): the test itself cannot go on
die()
{
	echo "Bail out! $*"
	exit 1
}

# equal(got, expected, what)
equal()
{
	[ "$1" = "$2" ] || fail "$3: got '$1', expected '$2'"
}

# start_tests(number): the header, the plan, and a known state
start_tests()
{
	[ "$(id -u)" -eq 0 ] || skip_all "must be run as root"
	PLANNED=$1
	echo "TAP version 13"
	echo "1..$PLANNED"
	WORK=$(mktemp -d) || die "no temporary directory"
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	remove_test_modules
}

# run(function, name): run a case in a shell of its own. It passes when it
# returns 0 and the kernel did not complain meanwhile.
run()
{
	local rc why number mark splats

	number=$((++TESTS))
	mark=$(dmesg_mark)
	why=$({ ("$1") 2>&1 | sed 's/^/# /' >&4; exit "${PIPESTATUS[0]}"; } \
		3>&1 4>&1)
	rc=$?
	splats=$(splats_since "$mark")
	if [ -n "$splats" ]; then
		why+=$'\n'"# the kernel's log:"$'\n'"# ${splats//$'\n'/$'\n'# }"
		rc=1
	fi
	if [ "$rc" -eq 0 ]; then
		[ -z "$why" ] || echo "$why"
		echo "ok $number - $2"
	elif [ "$rc" -eq 4 ]; then
		SKIPPED=$((SKIPPED + 1))
		why=$(sed -n 's/^SKIP //p' <<<"$why")
		echo "ok $number - $2 # SKIP $why"
	else
		FAILED=$((FAILED + 1))
		[ -z "$why" ] || echo "$why"
		echo "not ok $number - $2"
	fi
	restore
}

# finish(): the end of a test
finish()
{
	[ "$TESTS" -eq "$PLANNED" ] || die "$PLANNED cases planned, $TESTS run"
	[ "$FAILED" -eq 0 ] || exit 1
	[ "$SKIPPED" -lt "$PLANNED" ] || exit 4
	exit 0
}

# restore(): no test module, every knob as it was; after each case
restore()
{
	local v

	remove_test_modules
	[ -d $SYSFS ] || return 0
	for v in $VIOLATIONS; do
		echo auto >$SYSFS/policy/"$v"
	done
	[ -z "${STACK_DEPTH-}" ] || echo "$STACK_DEPTH" >$SYSFS/stack_depth
	[ -z "${QUARANTINE-}" ] || echo "$QUARANTINE" >$SYSFS/quarantine_bytes
}

# cleanup(): leave the machine as it was found; at the end, however it comes
cleanup()
{
	rm -rf "$WORK"
	restore
	[ -z "$LOADED_HERE" ] || ! module_loaded mown || "${RMMOD[@]}" mown
}

# ---- Modules --------------------------------------------------------------

# kmod's tools take longer to start than any module here takes to load
INSMOD=(insmod) RMMOD=(rmmod)
if busybox insmod --help >/dev/null 2>&1; then
	INSMOD=(busybox insmod) RMMOD=(busybox rmmod)
fi

# module_loaded(name)
module_loaded()
{
	[ -d "/sys/module/$1" ]
}

# mown_is_built_in(): mown is there, and cannot go
mown_is_built_in()
{
	[ -d $SYSFS ] && ! grep -q '^mown ' /proc/modules
}

# remove_test_modules(): whatever an earlier test may have left
remove_test_modules()
{
	local name

	while read -r name _; do
		[[ $name != mown_@(test|dropin|plain)_* ]] || "${RMMOD[@]}" "$name"
	done </proc/modules
}

# mown_ko(): where the mown is that is tested; "mown" if modprobe knows
mown_ko()
{
	local ko=${MOWN_KO:-$TESTDIR/../src/mown.ko}

	if [ -e "$ko" ]; then
		echo "$ko"
	else
		echo mown
	fi
}

# insert_mown(): just load it
insert_mown()
{
	local ko

	ko=$(mown_ko)
	if [ "$ko" = mown ]; then
		modprobe mown
	else
		"${INSMOD[@]}" "$ko"
	fi
}

# load_mown(): mown is there, and its knobs' values are kept for restore()
load_mown()
{
	if ! [ -d $SYSFS ]; then
		insert_mown || die "mown cannot be loaded"
		LOADED_HERE=1
	fi
	STACK_DEPTH=$(<$SYSFS/stack_depth)
	QUARANTINE=$(<$SYSFS/quarantine_bytes)
	restore
}

# unload_mown(): mown is not there; call within a case
unload_mown()
{
	remove_test_modules
	! mown_is_built_in || skip "mown is part of the kernel"
	! module_loaded mown || "${RMMOD[@]}" mown || die "mown cannot be unloaded"
}

# load(name, parameter...): a test module, without its .ko, or any with a path
load()
{
	local ko=$1

	[[ $ko == */* ]] || ko=$MODDIR/$ko.ko
	"${INSMOD[@]}" "$ko" "${@:2}" || fail "insmod $* failed"
}

# unload(name)
unload()
{
	"${RMMOD[@]}" "$1" || fail "rmmod $1 failed"
}

# ---- The faces ------------------------------------------------------------

# set_policy(violation, word)
set_policy()
{
	echo "$2" >"$SYSFS/policy/$1" || fail "policy/$1 does not take '$2'"
}

# counter(owner, name): a counter of a module that is loaded
counter()
{
	echo "$(<"$SYSFS/modules/$1/$2")"
}

# stat_value(name [, owner]): a number of stats, or of the owner's
stat_value()
{
	awk -v name="$1" 'NR > 1 && $1 == name { print $2; found = 1 }
		END { exit !found }' "$DEBUGFS/${2:+$2/}stats" ||
		fail "no $1 in ${2:+$2/}stats"
}

# exit_block(name): the newest block of exits about a module, whole
exit_block()
{
	awk -v name="$1: " 'BEGIN { RS = "" }
		{ sub(/^mown exits 1\n+/, "") }
		index($0, name) == 1 { block = $0 }
		END { if (block) print block; else exit 1 }' "$DEBUGFS/exits" ||
		fail "exits has no block about $1"
}

# exit_number(block, words): the number behind these words in the first line
exit_number()
{
	awk -v words="$2" 'NR == 1 {
			sub(/^[^:]*: /, "")
			n = split($0, part, ", ")
			for (i = 1; i <= n; i++)
				if (index(part[i], words " ") == 1) {
					split(substr(part[i], length(words) + 2), \
					      word, " ")
					print word[1]
					exit
				}
			print "none"
		}' <<<"$1"
}

# error_of(command...): the last words of what it says on stderr, which for
# most is the error that the kernel gave them; nothing if it says nothing
error_of()
{
	local said

	said=$("$@" 2>&1 >/dev/null)
	echo "${said##*: }"
}

# error_of_write(file, text): the error of one write of it, which may end with a
# newline but not have one elsewhere: the shell writes line by line
error_of_write()
{
	local said

	said=$(printf %s "$2" 2>&1 >"$1")
	echo "${said##*: }"
}

# ---- Waiting, and the kernel's log ----------------------------------------

# wait_for(seconds, command...): until it succeeds; fails when the time is up
wait_for()
{
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

# dmesg_mark(): write a line into the kernel's log, and print it
dmesg_mark()
{
	local mark

	mark="mown selftest mark $$.$RANDOM$RANDOM"
	echo "$mark" >/dev/kmsg
	echo "$mark"
}

# dmesg_since(mark): what the kernel has logged since, without timestamps
dmesg_since()
{
	dmesg | awk -v mark="$1" '
		{ sub(/^\[[ 0-9.]*\] /, "") }
		found { print }
		$0 == mark { found = 1 }
		END { if (!found) print "WARNING: log overrun, mark not found" }'
}

# splats_since(mark): what of that is a complaint not of mown's making
splats_since()
{
	dmesg_since "$1" | awk -v splats="$SPLATS" '$0 ~ splats && !/^BUG: mown: /'
}
