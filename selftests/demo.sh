#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# demo.sh [KERNEL]: show what mown does, in a virtual machine: a sample driver's
# bugs on a kernel that goes on, and then on one that is told to panic. All must
# be built before; `make demo` does that.
set -u

here=$(cd "${0%/*}" && pwd -P)
cd "$here/.." || exit 1
kernel=${1:-6.1}
log=$(mktemp) || exit 1
trap 'rm -f "$log" "$log.err"' EXIT

for file in src/mown.ko selftests/test_modules/mown_test_demo.ko; do
	[ -e $file ] || { echo "demo: $file is missing: run make demo" >&2; exit 1; }
done

# guest(what): run that part of the demo
guest()
{
	selftests/vmtest.sh -k "$kernel" -l "$log" -t 300 -- selftests/demo-guest.sh "$1"
}

kver=$(selftests/vmtest.sh -k "$kernel" --kver) || exit 1
echo "=== A virtual machine boots Debian's kernel $kver"
guest bugs || { echo "demo: failed, exit status $?" >&2; exit 1; }

printf '\n=== It boots once more\n'
guest panic 2>"$log.err"
rc=$?
if [ $rc -ne 125 ]; then
	cat "$log.err"
	echo "demo: the machine was to panic, but exit status is $rc" >&2
	exit 1
fi
printf '\nThis was its last command. On its console:\n\n'
# Console lines end with a carriage return, and begin with the time
tr -d '\r' <"$log" | sed 's/^\[[ 0-9.]*\] //' |
	sed -n '/^BUG: mown:/,/^Kernel panic/p' | tee "$log.err"
echo
if ! grep -q '^Kernel panic - not syncing: mown: double-free in demo_reset+' "$log.err"; then
	echo "demo: the machine has panicked, but not by mown" >&2
	exit 1
fi
