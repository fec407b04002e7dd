#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# build-test.sh KDIR [MOWN]: build modules against mown's headers as a user
# would, and mown itself as DKMS would, and look at what came out. Loads nothing,
# so it runs on the host.
#
# The drop-in has the worst of failures: a module that builds, loads, and
# tracks nothing. So each name that <linux/mown_override.h> maps is used once,
# in a function of its own, and the function's relocations tell what it calls.
set -u

here=$(cd "$(dirname "$0")" && pwd -P)
[ $# -ge 1 ] || { echo "usage: $0 KDIR [MOWN]" >&2; exit 2; }
kdir=$1
mown=$(cd "${2:-$here/..}" && pwd -P) || exit 2
# The names of another architecture's tools begin with what its compiler's does
cross=$(sed -n 's/^export CROSS_COMPILE *:*= *//p' "$kdir/Makefile")
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

tests=0 failed=0

# check(rc, name): the verdict on a case, and what it printed to $work/why
check()
{
	tests=$((tests + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $tests - $2"
		return
	fi
	failed=$((failed + 1))
	sed 's/^/# /' "$work/why"
	echo "not ok $tests - $2"
}

# build(dir, target)
build()
{
	make -C "$kdir" M="$1" MOWN="$mown" \
		KBUILD_EXTRA_SYMBOLS="$mown/Module.symvers" "$2" 2>&1
}

# uses(): NAME|RESULT|CALL for each name; it is called by use_NAME()
uses()
{
	cat <<'EOF_USES'
kmalloc|void *|kmalloc(n, GFP_KERNEL)
kmalloc_node|void *|kmalloc_node(n, GFP_KERNEL, 0)
kzalloc|void *|kzalloc(n, GFP_KERNEL)
kzalloc_node|void *|kzalloc_node(n, GFP_KERNEL, 0)
kmalloc_array|void *|kmalloc_array(n, 3, GFP_KERNEL)
kmalloc_array_node|void *|kmalloc_array_node(n, 3, GFP_KERNEL, 0)
kcalloc|void *|kcalloc(n, 3, GFP_KERNEL)
kcalloc_node|void *|kcalloc_node(n, 3, GFP_KERNEL, 0)
krealloc|void *|krealloc(p, n, GFP_KERNEL)
krealloc_array|void *|krealloc_array(p, n, 3, GFP_KERNEL)
kmemdup|void *|kmemdup(p, n, GFP_KERNEL)
kmemdup_nul|void *|kmemdup_nul(p, n, GFP_KERNEL)
kstrdup|void *|kstrdup(p, GFP_KERNEL)
kstrndup|void *|kstrndup(p, n, GFP_KERNEL)
kvasprintf|void *|kvasprintf(GFP_KERNEL, p, *(va_list *)p)
kasprintf|void *|kasprintf(GFP_KERNEL, "%zu", n)
memdup_user|void *|memdup_user((const void __user *)p, n)
memdup_user_nul|void *|memdup_user_nul((const void __user *)p, n)
bitmap_alloc|void *|bitmap_alloc(n, GFP_KERNEL)
bitmap_zalloc|void *|bitmap_zalloc(n, GFP_KERNEL)
bitmap_alloc_node|void *|bitmap_alloc_node(n, GFP_KERNEL, 0)
bitmap_zalloc_node|void *|bitmap_zalloc_node(n, GFP_KERNEL, 0)
kfree|void|kfree(p)
kfree_sensitive|void|kfree_sensitive(p)
kvfree|void|kvfree(p)
bitmap_free|void|bitmap_free(p)
kfree_bulk|void|kfree_bulk(n, p)
kfree_rcu|void|kfree_rcu((struct use *)p, rcu)
kvfree_rcu|void|kvfree_rcu((struct use *)p, rcu)
kfree_rcu_mightsleep|void|kfree_rcu_mightsleep(p)
kvfree_rcu_mightsleep|void|kvfree_rcu_mightsleep(p)
vmalloc|void *|vmalloc(n)
vzalloc|void *|vzalloc(n)
vmalloc_node|void *|vmalloc_node(n, 0)
vzalloc_node|void *|vzalloc_node(n, 0)
vmalloc_32|void *|vmalloc_32(n)
__vmalloc|void *|__vmalloc(n, GFP_KERNEL)
vmalloc_huge|void *|vmalloc_huge(n, GFP_KERNEL)
vmalloc_user|void *|vmalloc_user(n)
vmalloc_32_user|void *|vmalloc_32_user(n)
__vmalloc_array|void *|__vmalloc_array(n, 8, GFP_KERNEL)
vmalloc_array|void *|vmalloc_array(n, 8)
__vcalloc|void *|__vcalloc(n, 8, GFP_KERNEL)
vcalloc|void *|vcalloc(n, 8)
vfree|void|vfree(p)
kvmalloc|void *|kvmalloc(n, GFP_KERNEL)
kvmalloc_node|void *|kvmalloc_node(n, GFP_KERNEL, 0)
kvzalloc|void *|kvzalloc(n, GFP_KERNEL)
kvzalloc_node|void *|kvzalloc_node(n, GFP_KERNEL, 0)
kvmalloc_array|void *|kvmalloc_array(n, 8, GFP_KERNEL)
kvcalloc|void *|kvcalloc(n, 8, GFP_KERNEL)
kvrealloc|void *|kvrealloc_old(p, 8, n, GFP_KERNEL)
vmemdup_user|void *|vmemdup_user((const void __user *)p, n)
strndup_user|void *|strndup_user((const char __user *)p, n)
kvfree_sensitive|void|kvfree_sensitive(p, n)
alloc_pages|void *|alloc_pages(GFP_KERNEL, n)
alloc_pages_node|void *|alloc_pages_node(0, GFP_ATOMIC, n)
alloc_page|void *|alloc_page(GFP_KERNEL)
__get_free_pages|size_t|__get_free_pages(GFP_KERNEL, n)
__get_free_page|size_t|__get_free_page(GFP_KERNEL)
get_zeroed_page|size_t|get_zeroed_page(GFP_KERNEL)
__free_pages|void|__free_pages(p, n)
__free_page|void|__free_page((struct page *)p)
free_pages|void|free_pages(n, 1)
free_page|void|free_page(n)
alloc_pages_exact|void *|alloc_pages_exact(n, GFP_KERNEL)
free_pages_exact|void|free_pages_exact(p, n)
split_page|void|split_page(p, n)
kmem_cache_create|void *|kmem_cache_create("use", n, 0, 0, NULL)
kmem_cache_create_usercopy|void *|kmem_cache_create_usercopy("use", n, 0, 0, 0, 8, NULL)
kmem_cache_destroy|void|kmem_cache_destroy(p)
kmem_cache_alloc|void *|kmem_cache_alloc(p, GFP_KERNEL)
kmem_cache_zalloc|void *|kmem_cache_zalloc(p, GFP_KERNEL)
kmem_cache_alloc_node|void *|kmem_cache_alloc_node(p, GFP_KERNEL, 0)
kmem_cache_alloc_lru|void *|kmem_cache_alloc_lru(p, NULL, GFP_KERNEL)
kmem_cache_alloc_bulk|size_t|kmem_cache_alloc_bulk(p, GFP_KERNEL, n, p)
kmem_cache_free|void|kmem_cache_free(p, p)
kmem_cache_free_bulk|void|kmem_cache_free_bulk(p, n, p)
mempool_create|void *|mempool_create(n, mempool_kmalloc, mempool_kfree, p)
mempool_create_node|void *|mempool_create_node(n, mempool_kmalloc, mempool_kfree, p, GFP_KERNEL, 0)
mempool_create_slab_pool|void *|mempool_create_slab_pool(n, p)
mempool_create_kmalloc_pool|void *|mempool_create_kmalloc_pool(n, 8)
mempool_create_page_pool|void *|mempool_create_page_pool(n, 1)
mempool_destroy|void|mempool_destroy(p)
mempool_alloc|void *|mempool_alloc(p, GFP_KERNEL)
mempool_free|void|mempool_free(p, p)
__alloc_percpu|void __percpu *|__alloc_percpu(n, 8)
__alloc_percpu_gfp|void __percpu *|__alloc_percpu_gfp(n, 8, GFP_KERNEL)
alloc_percpu|void __percpu *|alloc_percpu(struct use)
alloc_percpu_gfp|void __percpu *|alloc_percpu_gfp(struct use, GFP_KERNEL)
free_percpu|void|free_percpu((void __percpu *)n)
dma_alloc_attrs|void *|dma_alloc_attrs(p, n, p, GFP_KERNEL, 0)
dma_alloc_coherent|void *|dma_alloc_coherent(p, n, p, GFP_KERNEL)
dma_alloc_wc|void *|dma_alloc_wc(p, n, p, GFP_KERNEL)
dma_free_attrs|void|dma_free_attrs(p, n, p, 0, 0)
dma_free_coherent|void|dma_free_coherent(p, n, p, 0)
dma_free_wc|void|dma_free_wc(p, n, p, 0)
dma_pool_create|void *|dma_pool_create("use", p, n, 8, 0)
dma_pool_destroy|void|dma_pool_destroy(p)
dma_pool_alloc|void *|dma_pool_alloc(p, GFP_KERNEL, p)
dma_pool_zalloc|void *|dma_pool_zalloc(p, GFP_KERNEL, p)
dma_pool_free|void|dma_pool_free(p, p, 0)
devm_kmalloc|void *|devm_kmalloc(p, n, GFP_KERNEL)
devm_kzalloc|void *|devm_kzalloc(p, n, GFP_KERNEL)
devm_kmalloc_array|void *|devm_kmalloc_array(p, n, 8, GFP_KERNEL)
devm_kcalloc|void *|devm_kcalloc(p, n, 8, GFP_KERNEL)
devm_krealloc|void *|devm_krealloc(p, p, n, GFP_KERNEL)
devm_krealloc_array|void *|devm_krealloc_array(p, p, n, 8, GFP_KERNEL)
alloc_inode_sb|void *|alloc_inode_sb(((struct super_block *)p), p, GFP_KERNEL)
devm_kmemdup|void *|devm_kmemdup(p, p, n, GFP_KERNEL)
devm_kstrdup|void *|devm_kstrdup(p, p, GFP_KERNEL)
devm_kvasprintf|void *|devm_kvasprintf(p, GFP_KERNEL, "%d", *(va_list *)p)
devm_kasprintf|void *|devm_kasprintf(p, GFP_KERNEL, "%zu", n)
devm_kfree|void|devm_kfree(p, p)
ksize|size_t|ksize(p)
kmalloc_size_roundup|size_t|kmalloc_size_roundup(n)
EOF_USES
}

# source_of_uses(): a module of them. Older kernels lack some of the names:
# there the drop-in alone has them.
source_of_uses()
{
	cat <<'EOF_SOURCE'
#include <linux/bitmap.h>
#include <linux/device.h>
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/mempool.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/version.h>
#include <linux/vmalloc.h>
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#define kvrealloc_old(p, old, size, flags) kvrealloc(p, old, size, flags)
#else
#define kvrealloc_old(p, old, size, flags) kvrealloc(p, size, flags)
#endif
struct use { struct rcu_head rcu; };
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("uses each name once");
EOF_SOURCE
	uses | while IFS='|' read -r name result call; do
		case $name in
		*_mightsleep | devm_krealloc_array) echo "#ifdef $name" ;;
		*) echo "#if 1" ;;
		esac
		echo "$result use_$name(void *p, size_t n);"
		echo "$result use_$name(void *p, size_t n)"
		case $result in
		void) echo "{ $call; }" ;;
		*) echo "{ return $call; }" ;;
		esac
		echo "#endif"
	done
}

# calls(object, name): what use_NAME() refers to, one symbol a line
calls()
{
	"${cross}objdump" -dr "$1" | awk -v head="<use_$2>:" '
		/^[0-9a-f]+ <.*>:$/ { inside = $2 == head; next }
		inside && $2 ~ /^R_/ { sub(/[-+]0x[0-9a-f]+$/, "", $3); print $3 }'
}

# raw_release(name): the kernel functions that the name must not reach, if it
# releases. An allocation does call the kernel's function: there mown only has
# to hear of it.
raw_release()
{
	case $1 in
	krealloc*) echo krealloc krealloc_noprof ;;
	kfree_bulk) echo kmem_cache_free_bulk ;;
	k*free_rcu*) echo kvfree_call_rcu call_rcu ;;
	kfree | kvfree | kfree_sensitive) echo "$1" kfree kvfree ;;
	bitmap_free) echo bitmap_free kfree ;;
	esac
}

# ---- The cases ------------------------------------------------------------

# The test must know all the names that the header maps, and no other: a name
# that is added there and not here would go unchecked.
same_names()
{
	diff <(uses | cut -d'|' -f1 | sort) \
		<(sed -n 's/^#define \([a-z0-9_]*\)(.*/\1/p' \
			"$mown/include/linux/mown_override.h" | sort -u)
}

# Without the one line nothing of mown is in the module. This is the control
# for the next case: what is absent there must be present here.
plain_calls()
{
	local name bad=0

	for name in kfree kvfree kfree_sensitive krealloc; do
		# 6.10 renamed what allocates, and 6.18 has one function for all krealloc()s.
		calls "$work/use/plain.o" "$name" |
			grep -qxE "$name(_node_align)?(_noprof)?" ||
			{ echo "use_$name() does not call $name()"; bad=1; }
	done
	! "${cross}nm" -u "$work/use/plain.ko" | grep mown || bad=1
	return $bad
}

# With it, each name reaches mown, and no release goes by mown. On kernels that check
# much the header's functions are too large to be inlined.
mapped_calls()
{
	local name raw bad=0 seen

	while IFS='|' read -r name _; do
		seen=$(calls "$work/use/mapped.o" "$name")
		grep -qE '^(__)?mown_' <<<"$seen" ||
			{ echo "$name does not reach mown"; bad=1; }
		for raw in $(raw_release "$name"); do
			! grep -qx "$raw" <<<"$seen" ||
				{ echo "$name goes by mown, to $raw()"; bad=1; }
		done
	done < <(uses)
	# And nowhere else in the module: not from a header's inline function.
	! "${cross}nm" -u "$work/use/mapped.ko" | grep -wE \
		'kfree|kvfree|kfree_sensitive|krealloc(_node_align)?(_noprof)?|kvfree_call_rcu|kmem_cache_free_bulk' ||
		bad=1
	return $bad
}

# A module that uses mown depends on it, so that mown is loaded before it and
# cannot be unloaded under it; a plain one does not.
depends()
{
	local mapped plain

	mapped=$(modinfo -F depends "$work/use/mapped.ko")
	plain=$(modinfo -F depends "$work/use/plain.ko")
	echo "mapped depends on '$mapped', plain on '$plain'"
	[ "$mapped" = mown ] && [ "$plain" = "" ]
}

# The compiler stops, and says what is missing.
forgotten()
{
	local log

	if log=$(build "$work/forget" "$1.o"); then
		echo "$1.o was built without -DCONFIG_MOWN_MODULE=1"
		return 1
	fi
	echo "$log"
	grep -q '#error "mown: .* add -DCONFIG_MOWN_MODULE=1 to ccflags-y"' <<<"$log"
}

# What dkms.conf says is done as DKMS does it: in a copy of the source, with its
# variables; then what it is to install is there, for this kernel, and clean again.
dkms_build()
(
	shopt -s extglob
	local copy=$work/dkms module
	declare -a BUILT_MODULE_NAME BUILT_MODULE_LOCATION DEST_MODULE_LOCATION MAKE
	declare PACKAGE_NAME PACKAGE_VERSION CLEAN BUILD_EXCLUSIVE_KERNEL

	mkdir "$copy" || return
	(cd "$mown" && cp -r COPYING Kconfig Makefile dkms.conf include src "$copy/") || return
	cd "$copy" || return
	find . '(' -name '*.ko' -o -name '*.o' -o -name '.*.cmd' ')' -delete
	kernelver=$(awk -F \" "/UTS_RELEASE/ { print \$2 }" "$kdir/include/generated/utsrelease.h") || return
	# shellcheck disable=SC2034 # for dkms.conf
	arch=$(uname -m) dkms_tree=$work kernel_source_dir=$kdir source_tree=$work
	# shellcheck disable=SC1091 # as DKMS reads it
	. ./dkms.conf
	[[ $PACKAGE_NAME && $PACKAGE_VERSION ]] || { echo "no name or version"; return 1; }
	[[ $kernelver =~ $BUILD_EXCLUSIVE_KERNEL ]] || { echo "not for $kernelver"; return 1; }
	echo "${MAKE[0]}"
	eval "${MAKE[0]}" || return
	module=${BUILT_MODULE_LOCATION[0]}/${BUILT_MODULE_NAME[0]}.ko
	[[ $(modinfo -F vermagic "$module") == "$kernelver "* ]] ||
		{ echo "no $module for $kernelver"; return 1; }
	[[ ${DEST_MODULE_LOCATION[0]} == @(/kernel|/updates|/extra)* ]] ||
		{ echo "DKMS installs nothing to '${DEST_MODULE_LOCATION[0]}'"; return 1; }
	eval "$CLEAN" || return
	[[ ! -e $module ]] || { echo "$CLEAN leaves $module"; return 1; }
)

echo "TAP version 13"
echo "1..8"

mkdir -p "$work/use" "$work/forget"
source_of_uses | tee "$work/use/plain.c" >"$work/use/mapped.c"
cat >"$work/use/Kbuild" <<'EOF'
obj-m := plain.o mapped.o
CFLAGS_mapped.o := -I$(MOWN)/include -DCONFIG_MOWN_MODULE=1 -include linux/mown_override.h
EOF
build "$work/use" modules >"$work/why"
check $? "a module builds with and without the drop-in"
# Whoever maps a name that the kernel's headers use too shows in a warning.
# What make itself warns of, such as a clock that was set, is not of interest.
grep -v '^make' "$work/why" | grep -n 'warning:' >"$work/warnings"
cp "$work/warnings" "$work/why"
[ ! -s "$work/warnings" ]
check $? "without a warning"
same_names >"$work/why" 2>&1
check $? "every name that the drop-in maps is known to this test"
{ plain_calls && depends; } >"$work/why" 2>&1
check $? "modinfo says that a module with the drop-in depends on mown, and no other"
mapped_calls >"$work/why" 2>&1
check $? "every name reaches mown, and no release goes by it"

source_of_uses >"$work/forget/dropin.c"
printf '#include <linux/module.h>\n#include <linux/mown.h>\nMODULE_LICENSE("GPL");\n' \
	>"$work/forget/api.c"
cat >"$work/forget/Kbuild" <<'EOF'
obj-m := dropin.o api.o
ccflags-y += -I$(MOWN)/include
CFLAGS_dropin.o := -include linux/mown_override.h
EOF
for way in dropin api; do
	forgotten $way >"$work/why"
	check $? "forgetting -DCONFIG_MOWN_MODULE=1 stops the compiler ($way)"
done

dkms_build >"$work/why" 2>&1
check $? "dkms.conf builds what it says, and cleans it"

[ "$failed" -eq 0 ]
