#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# build.sh DIR KDIR MOWN: build drivers of the kernel with the drop-in, in DIR,
# against the kernel in KDIR, with the headers and the symbols of the mown in
# MOWN. They come out of the tarball of Debian's linux-source. No source is
# changed: what a directory's Makefile says, and one line more, is its Kbuild
# file, which make prefers. Where only some modules are wanted it says which.
set -eu

TAR=/usr/src/linux-source-6.1.tar.xz

# shellcheck disable=SC2016 # for make
LINE='ccflags-y += -I$(MOWN)/include -DCONFIG_MOWN_MODULE=1 -include linux/mown_override.h'

# Directories with drivers
DRIVERS=(drivers/block/null_blk drivers/block/zram drivers/md drivers/mtd/nand/raw
	drivers/net/wireguard drivers/nvme/target fs/squashfs lib)
# What is unpacked: these, or what is wanted of them, and what that includes
PARTS=(drivers/block/null_blk drivers/block/zram drivers/md drivers/mtd/nand/raw/nandsim.c
	drivers/net/wireguard drivers/nvme/host drivers/nvme/target fs/squashfs
	lib/test_meminit.c)

# kbuild DIR: what the kernel's Makefile has there
kbuild()
{
	case $1 in
	drivers/md)
		echo 'obj-m := raid456.o dm-integrity.o'
		echo 'raid456-y := raid5.o raid5-cache.o raid5-ppl.o'
		;;
	drivers/mtd/nand/raw)
		echo 'obj-m := nandsim.o'
		;;
	drivers/nvme/target)
		cat "$tree/$1/Makefile"
		echo 'obj-m := nvmet.o nvme-loop.o'
		;;
	lib)
		echo 'obj-m := test_meminit.o'
		;;
	*)
		cat "$tree/$1/Makefile"
		;;
	esac
}

# unpack DIR
unpack()
{
	local new

	[ -r "$TAR" ] || { echo "$0: $TAR is missing: run setup.sh" >&2; return 1; }
	new=$(mktemp -d "$1.XXXXXX")
	tar -xJf "$TAR" -C "$new" --strip-components=1 "${PARTS[@]/#/linux-source-6.1/}"
	rm -rf "$1"
	mv -T "$new" "$1"
	touch "$1/unpacked"
}

[ $# -eq 3 ] || { echo "usage: $0 DIR KDIR MOWN" >&2; exit 2; }
mkdir -p "$1"
tree=$(cd "$1" && pwd -P)/linux
kdir=$(cd "$2" && pwd -P)
mown=$(cd "$3" && pwd -P)

# Kernels of our own have not what the drivers need, nor has that for arm64.
if [[ $(<"$kdir/include/config/kernel.release") != 6.1.* ]] ||
		! grep -q '^CONFIG_MTD_RAW_NAND=' "$kdir/include/config/auto.conf"; then
	echo "$0: no drivers of Linux 6.1 for the kernel of $kdir" >&2
	# Nor what was built here for another kernel: the test is skipped
	rm -rf "$tree"
	exit 0
fi

[ "$tree/unpacked" -nt "$TAR" ] || unpack "$tree"
printf 'obj-m += %s/\n' "${DRIVERS[@]}" >"$tree/Kbuild"
for driver in "${DRIVERS[@]}"; do
	{ kbuild "$driver"; echo "$LINE"; } >"$tree/$driver/Kbuild"
done
make -j"$(nproc)" -C "$kdir" M="$tree" MOWN="$mown" \
	KBUILD_EXTRA_SYMBOLS="$mown/Module.symvers" modules
