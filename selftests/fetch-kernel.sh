#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Get one of Debian's stock kernels with its modules and headers: download the
# packages and unpack them, without installing anything, into a cache. Prints
# the directory, whose last part is what uname -r says under that kernel.
#
# Usage: fetch-kernel.sh KERNEL
#
# KERNEL is 6.1, 6.12, one of these with -rt (PREEMPT_RT) or -arm64, a full version, or sid.
#
# With what is for arm64 comes a small system of arm64's programs, unpacked likewise:
# none of the packages' scripts is run. Modules are built by the host's cross compiler.
#
# What sid has needs sid's compiler. That is in a directory of its own, in which root
# of the host can run it: the kernel's directory is then a whole small system, and
# make -C lib/modules/*/build makes in it what it is asked to (chroot_make()).
#
# MOWN_CACHE (default ~/.cache/mown) holds the kernels; remove one from there to
# get Debian's newest.

set -u

die()
{
	echo "fetch-kernel: $*" >&2
	exit 1
}

# What the tests need of arm64's Debian, and vmtest.sh; without recommended packages
SYSTEM_PACKAGES=(usr-is-merged base-files base-passwd bash busybox-static coreutils dash
	diffutils findutils gawk grep kmod libc-bin mount perl-base procps python3 sed util-linux)

# A user who is not root may lack the directory of depmod
PATH=$PATH:/usr/sbin:/sbin

# apt_for KERNEL: set APT to the options with which apt sees KERNEL's packages.
apt_for()
{
	apt_installed
	if [[ $1 == *-arm64 ]]; then
		# As if arm64's system were this one, with nothing installed yet; what
		# builds modules runs here, and is the host's
		: >"$work/status"
		apt_private
		APT+=(-o APT::Architecture=arm64 -o APT::Architectures::=arm64
			-o APT::Architectures::=amd64 -o Dir::State::status="$work/status")
	fi
	case ${1%-*} in
	6.1 | 6.1.0-*) ;;
	6.12 | 6.12.*+deb12*) apt_backports ;;
	*)
		die "unsupported kernel '$1' (try 6.1 or 6.12, with -rt or -arm64)"
		;;
	esac
}

# apt_depends PACKAGE PATTERN: the dependency of PACKAGE matching PATTERN
apt_depends()
{
	apt-cache "${APT[@]}" depends "$1" 2>/dev/null |
		sed -n "s/^ *Depends: \($2\)\$/\1/p" | head -n 1
}

# unpack_bzimage FROM TO: get the kernel proper out of the self-extracting image
# (Documentation/x86/boot.rst). QEMU starts it as well, by its PVH entry, and
# under TCG that halves the time to boot; but without KASLR.
unpack_bzimage()
{
	local sects offset size

	sects=$(od -An -t u1 -j 0x1f1 -N 1 "$1")
	offset=$(od -An -t u4 -j 0x248 -N 4 "$1")
	size=$(od -An -t u4 -j 0x24c -N 4 "$1")
	tail -c +$((sects * 512 + 512 + offset + 1)) "$1" |
		head -c $((size - 4)) >"$work/payload"	# the last 4 bytes: its unpacked size
	xz -dcq <"$work/payload" >"$2" 2>/dev/null || zstd -dcq <"$work/payload" >"$2"
}

# chroot_make DIR: the Makefile to build modules by for the kernel in DIR, in whose
# system the host's files are where they are on the host, but for the system's own.
# An empty O= would make the headers' Makefile forget where they are.
chroot_make()
{
	cat <<EOF_MAKE
# Build modules in the system of $1, whose compiler the kernel needs.
export MOWN_CHROOT_GOALS := \$(or \$(MAKECMDGOALS),modules)
.PHONY: all \$(MAKECMDGOALS)
all \$(MAKECMDGOALS): in-chroot ;
.PHONY: in-chroot
in-chroot:
	@$1/make-in-chroot \$(filter-out O= OUTPUT=,\$(MAKEOVERRIDES))
EOF_MAKE
}

# chroot_script DIR VERSION: what that Makefile calls, with what make was told
chroot_script()
{
	cat <<EOF_SCRIPT
#!/bin/bash
# Mounts go with the process that they are made for.
[[ \$MOWN_CHROOT ]] || MOWN_CHROOT=1 exec unshare --mount "\$0" "\$@"
set -e
for dir in /*; do
	case \$dir in
	/bin | /boot | /etc | /lib* | /lost+found | /sbin | /usr | /var) continue ;;
	esac
	[[ -d \$dir && ! -L \$dir ]] || continue
	mkdir -p "$1\$dir"
	mount --rbind "\$dir" "$1\$dir"
done
exec env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
	chroot "$1" make -j"\$(nproc)" -C "/usr/src/linux-headers-$2" "\$@" \\
	\$MOWN_CHROOT_GOALS
EOF_SCRIPT
}

# fetch_sid: make $cache/kernels/sid. Runs under a lock.
fetch_sid()
{
	local site new=$cache/kernels/new-sid ver dir entry
	# A mirror that stands still is as good.
	local apt=(apt-get -q -o Acquire::Check-Valid-Until=false)

	((EUID == 0)) || die "only root can make a system with sid's compiler"
	command -v debootstrap >/dev/null || die "debootstrap is missing: run ${0%/*}/setup.sh --sid"
	site=$(debian_site) || exit 1
	echo "fetch-kernel: fetching sid's kernel and compiler" >&2
	rm -rf "$new"
	debootstrap --variant=minbase sid "$new" "$site" >&2 || die "debootstrap failed"
	# shellcheck disable=SC2016 # the system's own shell expands it
	chroot "$new" sh -ec '
		mount -t proc proc /proc
		trap "umount /proc" EXIT
		export DEBIAN_FRONTEND=noninteractive
		"$@" update
		"$@" install -y --no-install-recommends gcc make libc6-dev linux-headers-amd64
		ver=$(basename /usr/src/linux-headers-*-amd64)
		ver=${ver#linux-headers-}
		# Not installed, which would make an initial RAM disk
		cd /tmp
		"$@" download "linux-binary-$ver" "linux-modules-$ver"
		for deb in *.deb; do dpkg -x "$deb" /; done
		rm -f *.deb
		"$@" clean
		rm -rf /var/lib/apt/lists/*' sh "${apt[@]}" >&2 ||
		die "cannot install the headers of sid's kernel"
	ver=$(basename "$new"/usr/src/linux-headers-*-amd64)
	ver=${ver#linux-headers-}
	dir=$cache/kernels/$ver
	# What the host looks for there, and a Makefile that calls the real one
	mkdir "$new/build"
	for entry in "$new/usr/src/linux-headers-$ver"/*; do
		entry=${entry##*/}
		[[ $entry == Makefile ]] ||
			ln -s "../usr/src/linux-headers-$ver/$entry" "$new/build/$entry"
	done
	chroot_make "$dir" >"$new/build/Makefile"
	chroot_script "$dir" "$ver" >"$new/make-in-chroot"
	chmod 755 "$new/make-in-chroot"
	ln -sfn "$dir/build" "$new/lib/modules/$ver/build"
	depmod -b "$new" "$ver" || die "depmod failed"
	unpack_bzimage "$new/usr/lib/modules/$ver/vmlinuz" "$new/boot/vmlinux" ||
		die "cannot unpack sid's kernel"
	rm -rf "$dir"
	mv -T "$new" "$dir" || die "cannot write $dir"
	ln -sfn "$ver" "$cache/kernels/sid"
}

# apt_update PACKAGE: bring the lists up to date if apt does not know PACKAGE
apt_update()
{
	apt-cache "${APT[@]}" show "$1" &>/dev/null || apt-get "${APT[@]}" update >&2 ||
		die "apt-get update failed"
}

# fetch_system: make $cache/kernels/system-arm64
fetch_system()
{
	local new=$cache/kernels/new-system deb packages

	apt_for 6.1-arm64
	apt_update busybox-static
	echo "fetch-kernel: fetching a small system for arm64" >&2
	packages=$(apt-get "${APT[@]}" -s --no-install-recommends install \
		"${SYSTEM_PACKAGES[@]}" | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
	[[ $packages ]] || die "apt does not know what ${SYSTEM_PACKAGES[*]} need"
	rm -rf "$new" "$work/system"
	mkdir -p "$work/system" "$new"/usr/{bin,lib,sbin}
	# Not all packages know that these are links: tar is told to follow them
	ln -s usr/bin usr/lib usr/sbin "$new"
	# shellcheck disable=SC2086 # several words
	(cd "$work/system" && apt-get "${APT[@]}" download $packages >&2) ||
		die "cannot download the packages of arm64's system"
	for deb in "$work"/system/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$new" ||
			die "cannot unpack ${deb##*/}"
	done
	# What the packages' scripts would do
	ln -sfn dash "$new/bin/sh"
	ln -sfn gawk "$new/bin/awk"
	cp "$new/usr/share/base-passwd/passwd.master" "$new/etc/passwd"
	cp "$new/usr/share/base-passwd/group.master" "$new/etc/group"
	mv -T "$new" "$cache/kernels/system-arm64" || die "cannot write $cache/kernels"
}

# fetch_kernel KERNEL: make $cache/kernels/KERNEL. Runs under a lock.
fetch_kernel()
{
	local arch=amd64 meta image ver dir new pkg

	if [[ $1 == sid ]]; then
		fetch_sid
		return
	fi
	[[ $1 != *-arm64 ]] || arch=arm64
	[[ $1 != *-rt ]] || arch=rt-amd64
	meta=linux-image-$arch
	[[ ${1%-*} == 6.1 || ${1%-*} == 6.12 ]] || meta=linux-image-$1
	apt_for "$1"
	apt_update "$meta"
	image=$(apt_depends "$meta" "linux-image-[0-9].*-$arch")
	image=${image:-$meta}
	ver=${image#linux-image-}
	[[ $ver == "${1%%-*}"[.+-]*"$arch" ]] || die "apt offers no kernel $1 (found '$ver')"
	dir=$cache/kernels/$ver

	if [[ ! -d $dir ]]; then
		echo "fetch-kernel: fetching Debian's kernel $ver" >&2
		# Beside its final place, so that it gets there in one step
		new=$cache/kernels/new
		rm -rf "$new"
		mkdir -p "$work/debs" "$new"
		pkg=linux-headers-$ver
		(cd "$work/debs" && apt-get "${APT[@]}" download "$image" "$pkg" \
			"$(apt_depends "$pkg" 'linux-headers-.*-common\(-rt\)\?')" \
			"$(apt_depends "$pkg" 'linux-kbuild-.*'):amd64" >&2) ||
			die "cannot download the packages of kernel $ver"
		for pkg in "$work"/debs/*.deb; do
			dpkg -x "$pkg" "$new" || die "cannot unpack ${pkg##*/}"
		done
		# The headers know where they get installed; tell them where they are.
		pkg=$new/usr/src/linux-headers-$ver
		sed -i "s,/usr/src/,$dir/usr/src/,g" "$pkg/Makefile"
		# For make only, not for the compiler: modules without BTF, so without pahole
		sed -i '/^CONFIG_DEBUG_INFO_BTF_MODULES=/d' "$pkg/include/config/auto.conf"
		ln -sfn "$dir/usr/src/linux-headers-$ver" "$new/lib/modules/$ver/build"
		depmod -b "$new" "$ver" || die "depmod failed"
		if [[ $arch == arm64 ]]; then
			# QEMU starts it as it is
			ln -s "vmlinuz-$ver" "$new/boot/vmlinux"
			sed -i '1i export CROSS_COMPILE := aarch64-linux-gnu-' "$pkg/Makefile"
			[[ -d $cache/kernels/system-arm64 ]] || fetch_system
			ln -s ../system-arm64 "$new/system"
		else
			unpack_bzimage "$new/boot/vmlinuz-$ver" "$new/boot/vmlinux" ||
				die "cannot unpack vmlinuz-$ver"
		fi
		mv -T "$new" "$dir" || die "cannot write $dir"
	fi
	[[ $1 == "$ver" ]] || ln -sfn "$ver" "$cache/kernels/$1"
}

# shellcheck source-path=SCRIPTDIR
. "${0%/*}/debian.sh"
kernel=${1:?usage: fetch-kernel.sh KERNEL}
[[ $kernel == sid || $kernel =~ ^[0-9][A-Za-z0-9.+~-]*$ ]] || die "'$kernel' is not a kernel version"
cache=${MOWN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mown}
mkdir -p "$cache" || die "cannot write $cache"
cache=$(realpath "$cache")
if [[ ! -d $cache/kernels/$kernel ]]; then
	work=$(mktemp -d) || die "cannot make a temporary directory"
	trap 'rm -rf "$work"' EXIT
	(flock 5 && { [[ -d $cache/kernels/$kernel ]] || fetch_kernel "$kernel"; }) \
		5>"$cache/lock" || exit 1
fi
realpath "$cache/kernels/$kernel"
