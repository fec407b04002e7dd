#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Compile mown and the test modules for other architectures, with all warnings and
# each an error: 32 bits, big-endian, and what has ftrace otherwise than x86, or has
# none, as User-Mode Linux. Nothing is run.
#
# Usage: compile-elsewhere.sh [KERNEL]...	(names of build-kernel.sh)

set -u

here=$(cd "${0%/*}" && pwd -P)
top=${here%/*}
(($#)) || set -- arm64 i386 powerpc s390 uml

# compile DIR KDIR COPY
compile()
{
	make -k -j"$(nproc)" -C "$2" M="$1" MOWN="$3" W=1 KCFLAGS=-Werror \
		KBUILD_MODPOST_WARN=1 modules
}

failed=0 passed=0
for kernel; do
	kdir=$("$here/build-kernel.sh" "$kernel") || exit 1
	copy=$top/build/compile/$kernel
	mkdir -p "$copy"
	rsync -a --delete --exclude='*.mod.c' --include='*/' --include='*.[ch]' --include=Makefile \
		--exclude='*' "$top/include" "$top/src" "$top/selftests" "$top/Makefile" \
		"$copy/" || exit 1
	for dir in "$copy" "$copy/selftests/test_modules"; do
		if compile "$dir" "$kdir" "$copy" &>"$copy/log"; then
			echo "compile: $kernel: ${dir#"$top/build/compile/"}: clean"
			((++passed))
		else
			grep -E -A 6 'error|\*\*\*' "$copy/log" | head -n 60
			echo "compile: $kernel: ${dir#"$top/build/compile/"}: FAILED"
			((++failed))
		fi
	done
done
echo "$passed passed, $failed failed, 0 skipped"
((!failed))
