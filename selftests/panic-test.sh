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
mown=${MOWN_KO-$here/../src/mown.ko}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

tests=0 failed=0

# guest(policy, word, commands): commit a violation by commands, with that policy
# set to that word; fails if the machine was not lost by a panic. The commands
# have the module of all calls: `op kfree ADDRESS` makes one, and prints what it
# gives. What comes after the violation is for a kernel that survives it.
guest()
{
	local rc

	# The variables are the inner shell's.
	# shellcheck disable=SC2016
	"$here/vmtest.sh" -k "$kernel" -l "$work/console" -t 300 -- bash -ec '
		op()
		{
			local ctl=/sys/kernel/debug/${module:-mown_test_ops}/ctl pointer

			echo "task $*" >"$ctl"
			read -r pointer _ <"$ctl"
			echo "0x$pointer"
		}
		[ -z "$1" ] || insmod "$1"
		cd /sys/kernel/mown
		echo "$4" >"policy/$3"
		insmod "$2/mown_test_ops.ko"
		eval "$5"
		rmmod mown_test_ops
		exit 42' - "$mown" "$modules" "$1" "$2" "$3" >"$work/out" 2>&1
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

# violation(policy, commands, title, pattern...): the block of lines that match
# the patterns is on the console before the panic, which names the same again
violation()
{
	local policy=$1 commands=$2 title=$3 rc

	shift 3
	guest "$policy" panic "$commands"
	rc=$?
	if [ "$policy" = overflow ] && grep -q '^BUG: KASAN: slab-out-of-bounds' "$work/log"; then
		check 0 "policy/overflow=panic # SKIP KASAN guards what is behind an object"
		return
	fi
	[ $rc -eq 125 ] || echo "# exit status $rc"
	[ $rc -eq 125 ] && in_order "^BUG: mown: $title$place\$" "$@" \
		"^Kernel panic - not syncing: mown: $title$place\$"
	check $? "policy/$policy=panic: report, then panic"
}

place='[+]0x[0-9a-f]+/0x[0-9a-f]+ .mown_(test|dropin)_ops.'
task='.* by task [0-9]+ .bash. on cpu'
object='^object #[0-9]+ at [0-9a-f]+: 64 bytes, kmalloc, of mown_test_ops'

echo "TAP version 13"
echo "1..12"

# The variables are those of the shell in the guest.
# shellcheck disable=SC2016
{
violation double_free 'a=$(op kmalloc 64); op kfree $a; op kfree $a' \
	"double-free in op_kfree" "$object\$" "^allocated at op_kmalloc" \
	"^first freed at op_kfree" "^freed again at op_kfree$task"
violation interior_free 'a=$(op kmalloc 64); op kfree $(printf 0x%x $((a + 16)))' \
	"interior-free in op_kfree" "$object, freed pointer 16 bytes inside\$" \
	"^allocated at op_kmalloc" "^freed at op_kfree$task"
violation mismatched_free 'a=$(op kmalloc 64); op vfree $a' \
	"mismatched-free in op_vfree" "$object\$" "^allocated at op_kmalloc" \
	"^freed at op_vfree$task"
violation unknown_free 'a=$(op raw_kmalloc 64); op kfree $a' \
	"unknown-free in op_kfree" "^object #.*: not recorded for any module\$" \
	"^freed at op_kfree$task"
violation foreign_free 'insmod "$2/mown_dropin_ops.ko"
	a=$(op kmalloc 64); module=mown_dropin_ops op kfree $a' \
	"foreign-free in op_kfree" "$object\$" "^allocated at op_kmalloc" \
	"^freed at op_kfree.*mown_dropin_ops$task"
violation use_after_free 'a=$(op kmalloc 64); op kfree $a; op fill $a 1 1
	echo 0 >quarantine_bytes' \
	"use-after-free of what was freed in op_kfree" "$object\$" \
	"^allocated at op_kmalloc" "^first freed at op_kfree" \
	"^written at offset 0: 01 6b( 6b)*, where all was 6b"
violation overflow 'a=$(op kmalloc 64); op fill $(printf 0x%x $((a + 64))) 1 1; op kfree $a' \
	"overflow in op_kfree" "$object\$" "^allocated at op_kmalloc" \
	"^written at offset 64: 01 cc( cc)*, where all was cc" "^found at op_kfree$task"
violation limit 'echo 100 >modules/mown_test_ops/limit_bytes; op kmalloc 101' \
	"limit in op_kmalloc" "^mown_test_ops has 0 bytes of 100, and wants 101 more" \
	"^wanted at op_kmalloc$task"

# What is left behind is told with its call site before the panic.
guest left_behind panic 'op kmalloc 64'
rc=$?
[ $rc -eq 125 ] || echo "# exit status $rc"
[ $rc -eq 125 ] && in_order \
	"^mown: mown_test_ops: left behind 1 objects .64 bytes., reclaimed 0\$" \
	"^mown: 1 64 kmalloc op_kmalloc$place\$" \
	"^Kernel panic - not syncing: mown: mown_test_ops left 1 objects behind\$"
check $? "policy/left_behind=panic: account, then panic"

# The control: the word holds for its own violation only. A double free is then
# refused as usual, and the commands go on to their end.
guest interior_free panic 'warned() { echo $(($(</proc/sys/kernel/tainted) >> 9 & 1)); }
	echo "warned before: $(warned)"
	a=$(op kmalloc 64); op kfree $a; op kfree $a
	end=$((SECONDS + 60))
	while ((SECONDS < end && !$(warned))); do sleep 0.1; done
	echo "warned after: $(warned)"'
rc=$?
[ $rc -eq 42 ] || echo "# exit status $rc"
[ $rc -eq 42 ] && in_order "^BUG: mown: double-free in op_kfree$place\$" "^refused"
check $? "policy/interior_free=panic: a double free does not panic"

# Of the same guest: as the kernel's own warnings do, the first report taints the kernel
# (bit 9), which nothing did before.
taint="the first report taints the kernel as a warning does"
if grep -q '^WARNING: ' "$work/log"; then
	check 0 "$taint # SKIP the kernel has warned of something else"
else
	grep -Fqx "warned before: 0" "$work/out" && grep -Fqx "warned after: 1" "$work/out"
	check $? "$taint"
fi

# As the kernel's own warnings do, a report heeds panic_on_warn. It is told from
# a work: who has committed the violation waits to be stopped.
guest double_free warn 'echo 1 >/proc/sys/kernel/panic_on_warn
	a=$(op kmalloc 64); op kfree $a; op kfree $a; timeout 60 tail -f /dev/null || :'
rc=$?
[ $rc -eq 125 ] || echo "# exit status $rc"
[ $rc -eq 125 ] && in_order "^BUG: mown: double-free in op_kfree$place\$" \
	"^freed again at op_kfree$task" "^refused" \
	"^Kernel panic - not syncing: mown: panic_on_warn is set\$"
check $? "panic_on_warn=1: report, then panic"
}

[ "$failed" -eq 0 ]
