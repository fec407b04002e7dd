#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Print the path of a QEMU: the system's own if it is 8.1 or newer, and else one from
# bookworm-backports, unpacked into a cache; nothing is installed. Debian 12's 7.2 takes a
# third more time for the same, and has not "accel/tcg: Always lock pages before translation"
# (deba78709ae8): an emulated CPU may run on with what it has translated of code that another
# one has patched meanwhile, such as a breakpoint that is not there any more ("Oops: int3").
#
# Usage: fetch-qemu.sh PROGRAM	(such as qemu-system-x86_64)
#
# MOWN_CACHE (default ~/.cache/mown) holds it; remove it from there to get the newest.

set -u

die()
{
	echo "fetch-qemu: $*" >&2
	exit 1
}

# fetch_qemu PACKAGE: make $dir. Runs under a lock.
fetch_qemu()
{
	local deb packages=("$1" qemu-system-common qemu-system-data seabios)

	apt_installed
	apt_backports
	echo "fetch-qemu: fetching QEMU" >&2
	apt-get "${APT[@]}" update >&2 || die "apt-get update failed"
	mkdir -p "$work/debs" "$work/new"
	# Those that are installed would do for apt
	(cd "$work/debs" && apt-get "${APT[@]}" download \
		"${packages[@]/%//bookworm-backports}" >&2) ||
		die "cannot download QEMU's packages"
	for deb in "$work"/debs/*.deb; do
		dpkg -x "$deb" "$work/new" || die "cannot unpack ${deb##*/}"
	done
	"$work/new/usr/bin/$program" --version >/dev/null ||
		die "$program wants what is not here: run ${0%/*}/setup.sh"
	# In one step, as others may look for it
	rm -rf "$dir.new"
	mv -T "$work/new" "$dir.new" || die "cannot write $dir.new"
	mv -T "$dir.new" "$dir" || die "cannot write $dir"
}

# shellcheck source-path=SCRIPTDIR
. "${0%/*}/debian.sh"
program=${1:?usage: fetch-qemu.sh PROGRAM}
case $program in
qemu-system-x86_64) package=qemu-system-x86 ;;
qemu-system-aarch64) package=qemu-system-arm ;;
*) die "'$program' is not a program that is used" ;;
esac
installed=$(command -v "$program") || die "$program is missing: run ${0%/*}/setup.sh"
if "$installed" --version | sed -n 's/^QEMU emulator version \([0-9.]*\).*/8.1\n\1/p' |
	sort -CV; then
	echo "$installed"
	exit
fi
cache=${MOWN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mown}
mkdir -p "$cache" || die "cannot write $cache"
dir=$(realpath "$cache")/$package
if [[ ! -d $dir ]]; then
	work=$(mktemp -d) || die "cannot make a temporary directory"
	trap 'rm -rf "$work"' EXIT
	(flock 5 && { [[ -d $dir ]] || fetch_qemu "$package"; }) 5>"$cache/lock" || exit 1
fi
echo "$dir/usr/bin/$program"
