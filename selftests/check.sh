#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Install the selftests with the kernel's own kselftest framework, run them in
# a virtual machine (vmtest.sh), once per phase, and judge the result (tap.py).
# mown itself must have been built for the same kernel before.

set -u

usage()
{
	cat <<EOF_USAGE
Usage: ${0##*/} [-k KERNEL] [-m MEM] [-o SECONDS] [-t SECONDS] [-T TEST]
       [PHASE...]

Run the selftests under KERNEL. Each PHASE is NAME or NAME=ARGS, where ARGS are
added to the kernel's command line; without any, these are run:

  plain slub_debug=slub_debug=FZPU

and then what attaches (test_attach*.py, test_failslab.py, test_fuzz.py, test_knobs.py,
test_stock_*.py, test_zz_lockdown.py) or would take the others longer (test_ports.py), and what
needs no guest or several. A kernel that build-kernel.sh makes has no modules, and is checked by
more than slub_debug: without test_stock_*, test_ports.py and those phases. So are arm64's, whose
guest is slow, and has not the programs that these use. With slub_debug only those are run in
which the allocator has a say. Under User-Mode Linux only what -T names can be run.

  -k KERNEL   see vmtest.sh and umltest.sh (default 6.1)
  -m MEM      memory of the virtual machine in MiB (default 1024)
  -o SECONDS  time limit for each test, instead of what settings says
  -t SECONDS  time limit for each phase (default 7200)
  -T TEST     run only this test, such as test_api.py; may be repeated
  -h          this text

The output and the kernel's log of each phase are left in build/log/. At the end
stands what was skipped, and why, and what failed; on 6.1 it is a failure to skip what
the file skips does not list. The last line is "N passed, N failed, N skipped"; the exit
status is 1 if anything failed.
EOF_USAGE
}

die()
{
	echo "check: $*" >&2
	exit 1
}

# install_tests: what "make kselftest-install" does in a kernel tree that has
# our directory. A copy of the framework gets one, so that the tests' Makefile
# runs unchanged, where it is meant to be.
install_tests()
{
	local source ksft=$build/kselftest-tree/tools/testing/selftests

	source=$("$here/setup.sh" --source) || return
	mkdir -p "$ksft" "$build/kselftest-tree/scripts"
	cp "$source/scripts/subarch.include" "$build/kselftest-tree/scripts/"
	cp -r "$source"/tools/testing/selftests/{Makefile,lib.mk,kselftest,run_kselftest.sh} "$ksft/"
	rsync -a --delete --exclude='*.o' --exclude='*.ko' --exclude='*.cmd' \
		--exclude='*.mod*' "$here/" "$ksft/mown/" || return
	rm -rf "$build/kselftest"
	make -C "$ksft" --no-print-directory TARGETS=mown FORCE_TARGETS=1 \
		KSFT_INSTALL_PATH="$build/kselftest" KDIR="$kdir" MOWN="$mown" install || return
	[[ -z $test_seconds ]] ||
		echo "timeout=$test_seconds" >"$build/kselftest/mown/settings"
}

# build_dropin NAME: modules that get the drop-in as their own authors would, by
# NAME/build.sh: from outside the tree, and ports of the kernel's own drivers
build_dropin()
{
	echo "check: building $1"
	"$here/$1/build.sh" "$build/$1" "$kdir" "$mown" >"$log/$1.log" 2>&1 ||
		{ cat "$log/$1.log"; return 1; }
}

# build_without_ftrace: mown as it is where the kernel has no ftrace
build_without_ftrace()
{
	local copy=$build/without_ftrace

	echo "check: building mown as for a kernel without ftrace"
	mkdir -p "$copy"
	rsync -a --delete --include='*/' --include='*.[ch]' --include=Makefile \
		--exclude='*' "$top/include" "$top/src" "$top/Makefile" "$copy/" || return
	sed -i 's/^#if defined(CONFIG_DYNAMIC_FTRACE_WITH_ARGS) .*/#if 0/' "$copy/src/compat.h" || return
	make -C "$kdir" M="$copy" W=1 KCFLAGS=-Werror modules >"$log/without_ftrace.log" 2>&1 ||
		{ cat "$log/without_ftrace.log"; return 1; }
}

# on_host NAME COMMAND...: a test that does not run in a guest of ours
on_host()
{
	local tap=$log/$1.tap status

	echo "check: $1, on the host"
	"${@:2}" | tee "$tap"
	status=${PIPESTATUS[0]}
	((status == 0)) || grep -q '^not ok' "$tap" ||
		echo "Bail out! exit status $status" | tee -a "$tap"
}

# run_phase NAME ARGS TEST...: leaves its output in $log/NAME.tap. What goes
# wrong outside of the tests is added there as a line that tap.py knows.
run_phase()
{
	local tap=$log/$1.tap console=$log/$1.console status crash

	echo "check: phase $1${2:+ ($2)}"
	# A pipe, never a file: the runner loses lines if its stdout is a file
	"$here/$vm" "${vm_options[@]}" -a "$2" -l "$console" -- \
		"$build/kselftest/run_kselftest.sh" "${@:3}" | tee "$tap"
	status=${PIPESTATUS[0]}
	((status == 0)) || echo "Bail out! $vm: exit status $status" | tee -a "$tap"
	# A crash that hits nobody's test is a failure all the same; what the kernel
	# thinks of itself before there is one is not of interest, nor that it warns when a
	# test leaves it no memory for a module's trace events.
	grep -aq 'selftests begin' "$console" ||
		echo "Bail out! the kernel's log does not say where the tests begin" | tee -a "$tap"
	crash=$(sed '1,/selftests begin/d; /event_define_fields/d' "$console" |
		grep -a -m 1 -E "$crashes") &&
		echo "Bail out! in the kernel's log: $crash" | tee -a "$tap"
	races "$console" | sed 's/^/Bail out! /' | tee -a "$tap"
}

# races FILE: the data races of mown's in a kernel's log; the kernel has its own, which
# are not ours to mend. A race is mown's if one of the two accesses is made by mown, or by
# a function that it calls; but not what a workqueue itself does with a work item of mown's.
races()
{
	awk '/BUG: KCSAN: / {
			title = $0; mowns = 0
			within = !/ process_one_work \/ queue_work_on| queue_work_on \/ process_one_work/
		}
		within && / by (task|interrupt) / { depth = 0 }
		within && /[a-z0-9_.]\+0x[0-9a-f]+\/0x/ && ++depth <= 2 && /\[mown\]/ { mowns = 1 }
		within && /=====/ { if (mowns) print title; within = 0 }' "$1"
}

# Lines that no test may cause. mown's own reports begin with "BUG: mown:", and
# the tests provoke those on purpose; KCSAN's are judged by races() above.
crashes='Oops|general protection|kernel BUG at|WARNING: '
crashes+='|BUG: ([^mK ]|KASAN|KFENCE|KMSAN|MAX_)'
crashes+='|BUG [^:]+ \((Not t|T)ainted|list_(add|del) corruption|refcount_t:'
crashes+='|rcu: .*(stall|self-detected)|blocked for more than|suspicious RCU'
# Of lockdep, besides its warnings, UBSAN and DEBUG_OBJECTS
crashes+='|\[ BUG: |UBSAN: |ODEBUG: '

here=$(cd "${0%/*}" && pwd -P)
top=${here%/*}
build=$top/build
log=$build/log
kernel=6.1
# For what hangs: many times what a machine of two CPUs needs; a later -t takes precedence
vm_options=(-t 7200)
chosen=() test_seconds=
while getopts ':k:m:o:t:T:h' opt; do
	case $opt in
	k) kernel=$OPTARG ;;
	m | t) vm_options+=("-$opt" "$OPTARG") ;;
	o) test_seconds=$OPTARG ;;
	T) chosen+=(-t "mown:$OPTARG") ;;
	h) usage; exit 0 ;;
	*) echo "check: bad option -$OPTARG" >&2; usage >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
# A kernel of our own has no modules, and does more by itself than slub_debug; a guest of
# arm64 has no programs to use the modules by, and slub_debug takes too long in it.
own=1 vm=vmtest.sh
case $kernel in
*-arm64) ;;
[0-9]* | sid) own=0 ;;
uml*) vm=umltest.sh; export ARCH=um ;;
esac
in_tree=0
[[ $kernel != in-tree* ]] || in_tree=1
# Where every change is proven nothing is skipped unseen
judge=()
[[ $kernel != 6.1 ]] || judge=(--skips "$here/skips")
if ((!$#)); then
	set -- plain
	((own)) || set -- plain slub_debug=slub_debug=FZPU
fi
[[ $vm == vmtest.sh || ${#chosen[@]} -ne 0 ]] || die "User-Mode Linux wants the tests named: -T"
vm_options+=(-k "$kernel")
# Where a guest has been lost by the allocator's tracepoints alone: see vmtest.sh
case $kernel in
6.1 | 6.1.* | *-arm64) ;;
[0-9]* | sid) export MOWN_ACCEL=${MOWN_ACCEL:-tcg-single} ;;
esac

# The guest gets our PATH: Debian's own tools, not what the user has in $HOME
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PYTHONDONTWRITEBYTECODE=1
python3 "$here/tap_selftest.py" || die "tap.py is broken"
kdir=$("$here/vmtest.sh" -k "$kernel" --kdir) || exit 1
mkdir -p "$log" || die "cannot write $log"
mown=$top
if ((in_tree)); then
	# What modules are built with is the kernel's own, symbols as well
	mown=$build/in-tree
	mkdir -p "$mown"
	ln -sfn "$kdir/source/include" "$mown/include"
	: >"$mown/Module.symvers"
fi
case $kernel in
in-tree) export MOWN_KO= ;;
in-tree-m) export MOWN_KO=$kdir/lib/mown/mown.ko ;;
*) export MOWN_KO=${MOWN_KO:-$top/src/mown.ko} ;;
esac
[[ -z $MOWN_KO || -f $MOWN_KO ]] || die "$MOWN_KO is missing: build mown first"
exec 9>"$build/lock"
flock -n 9 || { echo "check: waiting for another check.sh"; flock 9; }
rm -f "$log"/*
install_tests || die "cannot install the selftests"
build_dropin outside || die "cannot build the modules from outside"
export MOWN_OUTSIDE=$build/outside MOWN_PORTS=$build/ports/linux
export MOWN_TEST_MODULES=$build/kselftest/mown/test_modules

cd "$top" || exit 1
# All tests, as options of the runner: those of attach, the others, and of these the ones
# in which the allocator has a say
attach=() others=() slab=() last=()
while IFS=: read -r _ name; do
	case $name in
	test_attach_load.py | test_no_ftrace.py) continue ;;
	test_ports.py | test_stock_*) ((own)) && continue ;;
	esac
	case $name in
	test_attach.py | test_failslab.py | test_fuzz.py | test_knobs.py | test_ports.py | test_stock_*)
		attach+=(-t "mown:$name")
		continue
		;;
	test_zz_lockdown.py)
		# What it locks stays locked
		last=(-t "mown:$name")
		continue
		;;
	test_litmus.py)
		# Where the allocator tells of each second free
		((own)) || { slab+=(-t "mown:$name"); continue; }
		;;
	test-faces.sh | test-policy.sh | test-unload.sh | test_abi.py | test_bad_input.py | \
		test_fail_sweep.py | test_net.py | test_reports.py | test_stacks.py | \
		test_trace.py | test_zz_*) ;;
	*) slab+=(-t "mown:$name") ;;
	esac
	others+=(-t "mown:$name")
done <"$build/kselftest/kselftest-list.txt"
((own)) && attach+=(-t mown:test_zz_debug.py)
attach+=("${last[@]}")

# What attaches or needs several machines: it keeps one CPU of ours busy
check_attach()
{
	local -x MOWN_ACCEL=tcg-single # Code is patched while both CPUs run it: see vmtest.sh

	((own)) || build_dropin ports ||
		echo "Bail out! the kernel's own drivers do not build" | tee "$log/ports.tap"
	run_phase attach "" "${attach[@]}"
	((own)) || run_phase attach_slub_debug slub_debug=FZPU \
		-t mown:test_attach.py -t mown:test_fuzz.py
	# A phase of which all is skipped has failed; and where modules can be attached this
	# is not to be lost unseen
	if ! grep -q 'test_attach.py # SKIP' "$log/attach.tap"; then
		MOWN_ATTACH_ROUNDS=10 run_phase attach_load "" -t mown:test_attach_load.py
	elif [[ $kernel != *-arm64 && $kernel != in-tree ]]; then
		echo "Bail out! nothing can be attached" | tee "$log/attach_load.tap"
	fi
	if ((!in_tree)); then
		on_host build "$here/build-test.sh" "$kdir" "$top"
		if build_without_ftrace; then
			MOWN_KO=$build/without_ftrace/src/mown.ko \
				run_phase no_ftrace "" -t mown:test_no_ftrace.py
		else
			echo "Bail out! mown does not build without ftrace" |
				tee -a "$log/no_ftrace.tap"
		fi
	fi
	on_host panic env -u MOWN_ACCEL "$here/panic-test.sh" "$kernel"
}

[[ ${chosen[*]} != *mown:test_ports.py* ]] || build_dropin ports ||
	die "cannot build the kernel's own drivers"
# Side by side with the others; what it says comes at its end
beside=0
if ((!${#chosen[@]})); then
	check_attach >"$log/attach.out" 2>&1 &
	beside=$!
	trap 'trap - TERM; kill 0' INT TERM
fi
for phase; do
	tests=("${others[@]}")
	((${#chosen[@]})) && tests=("${chosen[@]}")
	[[ ${#chosen[@]} -eq 0 && $phase == slub_debug=* ]] && tests=("${slab[@]}")
	args=${phase#"${phase%%=*}"}
	run_phase "${phase%%=*}" "${args#=}" "${tests[@]}"
done
if ((beside)); then
	echo "check: waiting for what attaches"
	wait "$beside" || echo "Bail out! what attaches: exit status $?" | tee -a "$log/attach.tap"
	cat "$log/attach.out"
fi
echo
python3 "$here/tap.py" "${judge[@]}" "$log"/*.tap
