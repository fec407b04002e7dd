#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# All tests on Debian's stock kernel, and beside them those that User-Mode Linux can run,
# whose kernel checks itself: so that every change is seen by KASAN, lockdep, DEBUG_OBJECTS,
# UBSAN and kmemleak. These are built in a copy, as their objects are of another
# architecture. The last line counts both.
#
# Usage: check-all.sh [ARG...]	(arguments of check.sh)

set -u

here=$(cd "${0%/*}" && pwd -P)
top=${here%/*}
copy=$top/build/uml

mkdir -p "$copy" || exit 1
rsync -a --delete --exclude=/.git --exclude=/build --exclude='*.o' --exclude='*.ko' \
	--exclude='*.mod*' --exclude='.*.cmd' "$top/" "$copy/" || exit 1
rm -rf "$copy/build/log"
# One allocation in twenty fails: make check-uml has each of them fail. The kernel is named
# because a KERNEL that make was told is told to this one as well.
MOWN_FAIL_STEP=${MOWN_FAIL_STEP:-20} make --no-print-directory -C "$copy" check-uml \
	KERNEL=uml-debug >"$top/build/uml.out" 2>&1 &
uml=$!
trap 'kill "$uml" 2>/dev/null' EXIT
"$here/check.sh" "$@"
failed=$?
echo "check: waiting for User-Mode Linux"
if ! wait "$uml"; then
	cat "$top/build/uml.out"
	failed=1
fi
trap - EXIT
# What did not run would count as nothing
cp "$copy/build/log/plain.tap" "$top/build/log/uml.tap" ||
	echo "Bail out! User-Mode Linux did not run" | tee "$top/build/log/uml.tap"
python3 "$here/tap.py" --skips "$here/skips" "$top"/build/log/*.tap || failed=1
exit "$failed"
