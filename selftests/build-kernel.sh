#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Build a kernel of a configuration that no distribution has, out of Debian's
# linux-source-6.1, once, into the cache. Prints the directory that it was built
# in, which is also where modules for it are built (make -C). What each is made
# of, beside tinyconfig, is in kernel_parts() below.
#
# Usage: build-kernel.sh NAME

set -u

# Names, in the order that they are told of
NAMES=(debug kcsan gcov kmemleak kasan clang in-tree in-tree-m uml uml-debug uml-kmemleak
	uml-kasan arm64 i386 powerpc s390)

# kernel_parts NAME: set arch, the targets of make, the fragments of config.d that
# are merged, of which the later wins, and by what else it is built
kernel_parts()
{
	by=()
	case $1 in
	debug) arch=x86 targets=(bzImage) fragments=(x86 kasan kmemleak debug debug-x86) ;;
	kcsan) arch=x86 targets=(bzImage) fragments=(x86 kcsan) ;;
	gcov) arch=x86 targets=(bzImage) fragments=(x86 gcov) ;;
	kmemleak) arch=x86 targets=(bzImage) fragments=(x86 kmemleak) ;;
	kasan) arch=x86 targets=(bzImage) fragments=(x86 kasan) ;;
	clang) arch=x86 targets=(bzImage) fragments=(x86) by=(LLVM=1) ;;
	# With mown in its source
	in-tree) arch=x86 targets=(bzImage) fragments=(x86 in-tree) ;;
	in-tree-m) arch=x86 targets=(bzImage) fragments=(x86 in-tree-m) ;;
	uml) arch=um targets=(linux) fragments=(uml) ;;
	uml-debug) arch=um targets=(linux) fragments=(uml kasan kmemleak debug uml-debug) ;;
	uml-kmemleak) arch=um targets=(linux) fragments=(uml kmemleak) ;;
	uml-kasan) arch=um targets=(linux) fragments=(uml kasan) ;;
	# Not to be run, but to compile modules for
	arm64) arch=arm64 targets=(modules_prepare) fragments=(compile)
		by=(CROSS_COMPILE=aarch64-linux-gnu-) ;;
	i386) arch=i386 targets=(modules_prepare) fragments=(compile) ;;
	powerpc) arch=powerpc targets=(modules_prepare arch/powerpc/lib/crtsavres.o)
		fragments=(compile) by=(CROSS_COMPILE=powerpc-linux-gnu-) ;;
	s390) arch=s390 targets=(modules_prepare) fragments=(compile)
		by=(CROSS_COMPILE=s390x-linux-gnu-) ;;
	*) return 1 ;;
	esac
}

usage()
{
	cat <<EOF_USAGE
Usage: ${0##*/} NAME

Build the kernel NAME, unless that is done already, and print its directory.
NAME is one of: ${NAMES[*]}

MOWN_CACHE (default ~/.cache/mown) holds the kernels; remove one from there to
have it built again. MOWN_JOBS (default: the number of CPUs) is how many jobs make
may have.
EOF_USAGE
}

die()
{
	echo "build-kernel: $*" >&2
	exit 1
}

say()
{
	echo "build-kernel: $*" >&2
}

# need_tools: what setup.sh installs
need_tools()
{
	local tool missing=() tools=(bc bison flex gcc make perl rsync tar xz)

	case ${by[*]} in
	LLVM=1) tools+=(clang ld.lld llvm-nm) ;;
	CROSS_COMPILE=*) tools+=("${by[0]#*=}gcc") ;;
	esac
	for tool in "${tools[@]}"; do
		command -v "$tool" >/dev/null || missing+=("$tool")
	done
	((!${#missing[@]})) ||
		die "missing: ${missing[*]} (${0%/*}/setup.sh --cross installs them)"
	[[ -r $tar ]] || die "$tar is missing: run ${0%/*}/setup.sh as root"
}

# unpack_source: all of it, other than setup.sh does
unpack_source()
{
	local new=$source.new

	[[ -f $source/stamp && $(<"$source/stamp") == "$release" ]] && return
	say "unpacking the kernel's source (1.4 GB)"
	rm -rf "$new" "$source"
	mkdir -p "$new" || die "cannot write ${source%/*}"
	tar -xJf "$tar" -C "$new" --strip-components=1 ||
		die "cannot unpack $tar"
	echo "$release" >"$new/stamp"
	mv -T "$new" "$source" || die "cannot write $source"
}

# add_mown: a copy of the kernel's source that has mown in it, as a patch would add it.
# Most of it is links to the other. Only what is new is written, for make's sake.
add_mown()
{
	local whole=$source new=$cache/linux-source-6.1-mown

	source=$new
	if [[ ! -f $new/stamp || $(<"$new/stamp") != "$release" ]]; then
		rm -rf "$new" "$new.new"
		cp -al "$whole" "$new.new" || die "cannot copy the kernel's source"
		sed -i '/^source "lib\/Kconfig.kfence"$/a source "lib/Kconfig.mown"' \
			"$new.new/lib/Kconfig.debug"
		# shellcheck disable=SC2016 # make expands it
		sed -i '$a obj-$(CONFIG_MOWN) += mown/' "$new.new/lib/Makefile"
		mv -T "$new.new" "$new" || die "cannot write $new"
	fi
	mkdir -p "$new/lib/mown"
	if ! rsync -tc "$top/Kconfig" "$new/lib/Kconfig.mown" ||
		! rsync -rtc --delete --exclude='*.mod.c' --include='*.[ch]' --include=Makefile \
			--exclude='*' "$top/src/" "$new/lib/mown" ||
		! rsync -rtc "$top/include" "$top/Documentation" "$new"; then
		die "cannot add mown to the kernel's source"
	fi
	grep -q mown "$new/lib/Kconfig.debug" || die "lib/Kconfig.debug is not as expected"
}

# kmake ARG...: make says what it does in the log only
kmake()
{
	make -j"$jobs" -C "$source" O="$dir" ARCH="$arch" "${by[@]}" "$@" >>"$log" 2>&1 && return
	# Other jobs go on for a while, so the end of the log may say nothing.
	grep -m 20 -E ' error: |undefined reference|\*\*\*' "$log" >&2 || tail -n 30 "$log" >&2
	die "make $* failed: see $log"
}

# stuck FILE...: does the configuration have each option as the last of the
# files wants it? olddefconfig drops in silence what depends on what is not set.
stuck()
{
	local name want got failed=0

	while IFS='=' read -r name want; do
		got=$(sed -n "s/^$name=//p" "$dir/.config")
		[[ ${got:-n} == "$want" ]] && continue
		say "$name is ${got:-n} and not $want"
		failed=1
	done < <(awk -F = '/^CONFIG_/ { name = $1; sub(/^[^=]*=/, ""); want[name] = $0 }
		END { for (name in want) print name "=" want[name] }' "$@")
	return "$failed"
}

# build_kernel NAME
build_kernel()
{
	unpack_source
	[[ $1 != in-tree* ]] || add_mown
	# make cannot tell what was built of another source: its files may be newer.
	[[ -f $dir/release && $(<"$dir/release") == "$release" ]] || rm -rf "$dir"
	mkdir -p "$dir" || die "cannot write $dir"
	rm -f "$dir/stamp" "$log"
	echo "$release" >"$dir/release"
	# uname -r says which it is, and modules for another are refused.
	echo "CONFIG_LOCALVERSION=\"-$1\"" >"$dir/name.config"
	say "configuring $1"
	kmake tinyconfig
	"$source/scripts/kconfig/merge_config.sh" -m -O "$dir" "$dir/.config" \
		"${files[@]}" "$dir/name.config" >>"$log" 2>&1 ||
		die "cannot merge the configuration: see $log"
	kmake olddefconfig
	stuck "${files[@]}" "$dir/name.config" ||
		die "$1 cannot be had with the options above"
	say "building $1 (some minutes)"
	kmake "${targets[@]}"
	if [[ ${targets[0]} != modules_prepare ]]; then
		# Makes Module.symvers, which modules out of tree need
		kmake modules
		if [[ $1 == in-tree* ]]; then
			kmake W=1 lib/mown/
			! grep -A 5 'lib/mown/.*warning:' "$log" >&2 || die "mown has warnings"
		fi
		# There are none, but modprobe wants to be told which are built in.
		kmake INSTALL_MOD_PATH="$dir" modules_install
	fi
	# Modules are built as the kernel was, by no more than make -C.
	printf 'export %s\n' "ARCH=$arch" "${by[@]}" >"$dir/by"
	echo "include $source/Makefile" | cat "$dir/by" - >"$dir/Makefile"
	say "built $1 in $SECONDS seconds"
}

name=${1-}
case $name in
-h | --help) usage; exit 0 ;;
esac
if [[ $# -ne 1 ]] || ! kernel_parts "$name"; then
	usage >&2
	exit 2
fi

here=$(cd "${0%/*}" && pwd -P)
top=${here%/*}
tar=/usr/src/linux-source-6.1.tar.xz
cache=${MOWN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mown}
mkdir -p "$cache/kernels" || die "cannot write $cache"
cache=$(realpath "$cache")
source=$cache/linux-source-6.1-whole
dir=$cache/kernels/$name
log=$dir/build.log
files=("${fragments[@]/#/$here/config.d/}")
files=("${files[@]/%/.config}")
jobs=${MOWN_JOBS:-$(nproc)}
export LC_ALL=C
# A make that calls this has its own, which are not for the kernel.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

# Another configuration, or another source of Debian's, is another kernel. Without
# the source what is built already will do.
release=$(stat -c %s,%Y "$tar" 2>/dev/null || cat "$source/stamp")
stamp=$(echo "$release" && cat "${files[@]}") || exit 1
if [[ $name == in-tree* ]]; then
	stamp+=$(find "$top"/{Kconfig,include,src} -name '*.[ch]' ! -name '*.mod.c' \
		-o -name Kconfig -o -name Makefile | sort | xargs cat | sha256sum)
fi
is_built()
{
	[[ -f $dir/stamp && $(<"$dir/stamp") == "$stamp" ]]
}
is_built || (
	flock 5
	is_built && exit
	need_tools
	build_kernel "$name"
	echo "$stamp" >"$dir/stamp"
) 5>"$cache/build-kernel.lock" || exit 1
echo "$dir"
