#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# build.sh DIR KDIR MOWN: copy the modules from outside mown's tree to DIR and
# build them there as their own authors would: against the kernel in KDIR, with
# the headers and the symbols of the mown in MOWN. Besides ours there is one
# that nobody here wrote, the kernel's own sample for kmemleak, as it comes in
# Debian's linux-source, if ../setup.sh --source finds that.
set -eu

[ $# -eq 3 ] || { echo "usage: $0 DIR KDIR MOWN" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd -P)
mkdir -p "$1"
dir=$(cd "$1" && pwd -P)
kdir=$(cd "$2" && pwd -P)
mown=$(cd "$3" && pwd -P)

cp -u "$here/Kbuild" "$here/leaky.c" "$dir"
if source=$("$here/../setup.sh" --source); then
	cp -u "$source/samples/kmemleak/kmemleak-test.c" "$dir"
else
	echo "$0: no linux-source, so no kmemleak-test" >&2
fi
make -C "$kdir" M="$dir" MOWN="$mown" \
	KBUILD_EXTRA_SYMBOLS="$mown/Module.symvers" modules
