#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Install what building, checking and testing mown needs, from Debian only, and
# unpack the parts of the kernel's source that are used (kselftest, checkpatch).

set -u

PACKAGES=(
	# building modules against unpacked headers; objtool needs libelf
	gcc make libelf1 libssl3
	# checking
	perl python3 shellcheck sparse
	# kselftest and checkpatch; rsync is what kselftest installs with
	linux-source-6.1 rsync
	# building kernels of our own (build-kernel.sh); objtool is built as well
	bc bison flex libc6-dev libelf-dev
	# the virtual machine (vmtest.sh)
	busybox-static cpio kmod qemu-system-x86 xz-utils zstd
	# using the kernel's own modules in it (test_stock_*.py)
	e2fsprogs xfsprogs btrfs-progs dosfstools squashfs-tools dmsetup mdadm
	iproute2 nftables wireguard-tools util-linux mount
)

# What the benchmark compares with, and draws by
BENCH_PACKAGES=(bpftrace gnuplot-nox)

# What searches the model of the records' states
MODEL_PACKAGES=(spin)

# Other compilers (compile-elsewhere.sh, build-kernel.sh clang); i386 is the host's own
CROSS_PACKAGES=(clang lld llvm gcc-aarch64-linux-gnu gcc-powerpc-linux-gnu gcc-s390x-linux-gnu)

# What fetch-kernel.sh makes a system by for sid's kernel
SID_PACKAGES=(debootstrap)

# What builds for a guest of arm64, and the guest
ARM64_PACKAGES=(gcc-aarch64-linux-gnu qemu-system-arm)

SOURCE_PARTS=(.clang-format COPYING lib samples/kmemleak scripts tools/testing/selftests)

usage()
{
	cat <<EOF_USAGE
Usage: ${0##*/} [--source | --bench | --model | --cross | --sid | --arm64]

Install the Debian packages that are missing and unpack the kernel's source.

  --bench   the same, with what the benchmark needs
  --model   ... with what make check-model needs
  --cross   ... with compilers for other architectures
  --sid     ... with what sid's kernel is fetched by
  --arm64   ... with what a guest of arm64 needs
  --source  print the directory of the unpacked source; install nothing
  -h        this text
EOF_USAGE
}

die()
{
	echo "mown: $*" >&2
	exit 1
}

missing_packages()
{
	local package

	for package in "${PACKAGES[@]}"; do
		[[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
			echo "$package"
	done
}

# Without package lists (a fresh system), or with old ones, installing fails
# until they are brought up to date.
install_packages()
{
	local install=(apt-get install -y -q --no-install-recommends "$@")

	export DEBIAN_FRONTEND=noninteractive
	if ! apt-get install -s --no-install-recommends "$@" &>/dev/null; then
		apt-get update -q || die "apt-get update failed"
	fi
	"${install[@]}" || { apt-get update -q && "${install[@]}"; } ||
		die "cannot install: $*"
}

# unpack_source DIR: only the parts in use, 35 MB of 1.4 GB
unpack_source()
{
	local tar=/usr/src/linux-source-6.1.tar.xz new

	[[ -r $tar ]] || die "$tar is missing: run ${0%/*}/setup.sh as root"
	mkdir -p "${1%/*}" || die "cannot write ${1%/*}"
	new=$(mktemp -d "$1.XXXXXX") || die "cannot write ${1%/*}"
	echo "mown: unpacking the kernel's source" >&2
	if ! tar -xJf "$tar" -C "$new" "${SOURCE_PARTS[@]/#/linux-source-6.1/}"; then
		rm -rf "$new"
		die "cannot unpack $tar"
	fi
	# If another setup.sh was faster, its result is as good as ours
	mv -T "$new/linux-source-6.1" "$1" 2>/dev/null
	rm -rf "$new"
}

source=${MOWN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mown}/linux-source-6.1
case ${1-} in
--source | '') ;;
--bench) PACKAGES+=("${BENCH_PACKAGES[@]}") ;;
--model) PACKAGES+=("${MODEL_PACKAGES[@]}") ;;
--cross) PACKAGES+=("${CROSS_PACKAGES[@]}") ;;
--sid) PACKAGES+=("${SID_PACKAGES[@]}") ;;
--arm64) PACKAGES+=("${ARM64_PACKAGES[@]}") ;;
-h | --help) usage; exit 0 ;;
*) usage >&2; exit 2 ;;
esac

if [[ ${1-} != --source ]]; then
	mapfile -t missing < <(missing_packages)
	if ((${#missing[@]})); then
		((EUID == 0)) || die "run as root: apt-get install ${missing[*]}"
		install_packages "${missing[@]}"
	fi
fi
[[ -d $source ]] || unpack_source "$source"
if [[ ${1-} == --source ]]; then
	echo "$source"
fi
