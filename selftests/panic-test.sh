#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# panic-test.sh [KERNEL]: for each violation, that a policy of panic ends the
# machine when it is committed, after a report that names it; and that another
# violation's policy does not. Each takes a virtual machine of its own, so this
# runs on the host, with mown and its test modules built.
set -u

here=$(cd "${0%/*}" && pwd -P)
kernel=${1:-6.1}
modules=${MOWN_TEST_MODULES:-$here/test_modules}
mown=${MOWN_KO:-$here/../src/mown.ko}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

tests=0 failed=0

# guest(policy, violation): commit the violation with that policy set to panic;
# fails if the machine was not lost by a panic
guest()
{
	local rc

	# The variables are the inner shell's. What comes after the violation is
	# for a kernel that survives it.
	# shellcheck disable=SC2016
	"$here/vmtest.sh" -k "$kernel" -l "$work/console" -t 300 -- bash -ec '
		insmod "$1"
		echo panic >/sys/kernel/mown/policy/"$3"
		insmod "$2/mown_test_panic.ko" commit="$4"
		rmmod mown_test_panic
		exit 42' - "$mown" "$modules" "$1" "$2" >"$work/out" 2>&1
	rc=$?
	tr -d '\r' <"$work/console" | sed 's/^\[[ 0-9.]*\] //' >"$work/log"
	return $rc
}

# check(rc, name): the verdict on a case, with the end of the console if failed
check()
{
	tests=$((tests + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $tests - $2"
		return
	fi
	failed=$((failed + 1))
	tail -n 5 "$work/out" | sed 's/^/# /'
	tail -n 30 "$work/log" | sed 's/^/# /'
	echo "not ok $tests - $2"
}

# in_order(pattern...): the log has lines that match these, in this order
in_order()
{
	awk -v n=$# 'BEGIN { for (i = 1; i <= n; i++) { want[i] = ARGV[i]; ARGV[i] = "" } at = 1 }
		at <= n && $0 ~ want[at] { at++ }
		END {
			if (at <= n)
				print "# missing in the log: " want[at]
			exit at <= n
		}' "$@" <"$work/log"
}

# violation(policy, title, function, its line about the object): the whole block
# is on the console before the panic, which names the same again
violation()
{
	local rc

	guest "$1" "$1"
	rc=$?
	[ $rc -eq 125 ] || echo "# exit status $rc"
	[ $rc -eq 125 ] && in_order \
		"^BUG: mown: $2 in $3[+]0x[0-9a-f]+/0x[0-9a-f]+ .mown_test_panic.\$" \
		"^object #[0-9]+ at [0-9a-f]+: $4\$" \
		"^freed (again )?at $3[+].* by task [0-9]+ .insmod. on cpu" \
		"^Kernel panic - not syncing: mown: $2 in $3[+]0x[0-9a-f]+/0x[0-9a-f]+ .mown_test_panic.\$"
	check $? "policy/$1=panic: report, then panic"
}

echo "TAP version 13"
echo "1..5"

violation double_free double-free free_twice \
	"64 bytes, kmalloc, of mown_test_panic"
violation interior_free interior-free free_inside \
	"64 bytes, kmalloc, of mown_test_panic, freed pointer 16 bytes inside"
violation unknown_free unknown-free free_unknown "not recorded for any module"

# What is left behind is told with its call site before the panic.
guest left_behind left_behind
rc=$?
[ $rc -eq 125 ] || echo "# exit status $rc"
[ $rc -eq 125 ] && in_order \
	"^mown: mown_test_panic: left behind 1 objects .64 bytes., reclaimed 0\$" \
	"^mown: 1 64 kmalloc leave_behind[+]0x[0-9a-f]+/0x[0-9a-f]+ .mown_test_panic.\$" \
	"^Kernel panic - not syncing: mown: mown_test_panic left 1 objects behind\$"
check $? "policy/left_behind=panic: account, then panic"

# The control: the word holds for its own violation only. A double free is then
# refused as usual, and the commands go on to their end.
guest interior_free double_free
rc=$?
[ $rc -eq 42 ] || echo "# exit status $rc"
[ $rc -eq 42 ] && in_order "^BUG: mown: double-free in free_twice[+]" "^refused"
check $? "policy/interior_free=panic: a double free does not panic"

[ "$failed" -eq 0 ]
