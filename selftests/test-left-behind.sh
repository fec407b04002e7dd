#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What modules leave behind, above all modules from outside this tree, which
# know nothing of mown but for the one line of the drop-in in their Kbuild file
# (outside/, built by outside/build.sh into $MOWN_OUTSIDE before this test).
# shellcheck disable=SC1091,SC2317 # run calls the cases

. "$(dirname "$0")/functions.sh"

OUTSIDE=${MOWN_OUTSIDE:-$(dirname "$(mown_ko)")/../build/outside}

# What leaky forgets: 1,000 blocks of mixed sizes, of six call sites.
SETTINGS=100 NAMES=150 TABLES=200 BUFFERS=300 PAGES=50 LOGS=200
LEFT=$((SETTINGS + NAMES + TABLES + BUFFERS + PAGES + LOGS))

# leaky_sites(): COUNT BYTES FAMILY FUNCTION of them, most bytes first; the
# sizes are those of outside/leaky.c. Ten characters and their end are 11 bytes;
# the tables go from 1 to 20 times 48 bytes, again and again.
leaky_sites()
{
	local i tables=0

	for ((i = 0; i < TABLES; i++)); do
		tables=$((tables + (i % 20 + 1) * 48))
	done
	sort -k2,2nr <<EOF_SITES
$SETTINGS $((SETTINGS * 16)) kmalloc leaky_read_settings
$NAMES $((NAMES * 11)) kmalloc leaky_name
$TABLES $tables kmalloc leaky_table
$BUFFERS $((BUFFERS * 1000)) kmalloc leaky_buffer
$PAGES $((PAGES * 4096)) kmalloc leaky_page
$LOGS $((LOGS * 250)) kmalloc leaky_log
EOF_SITES
}

# left_bytes(): what they sum up to
left_bytes()
{
	leaky_sites | awk '{ n += $2 } END { print n }'
}

# leaky_first_line(reclaimed): of its block. Besides what it forgets, it frees
# an array, as many good blocks as there are buffers, and, by krealloc(), the
# block that each buffer began as.
leaky_first_line()
{
	local freed=$((1 + BUFFERS + BUFFERS))

	echo "leaky: allocated $((LEFT + freed)), freed $freed, released elsewhere 0," \
		"left behind $LEFT ($(left_bytes) bytes), reclaimed $1"
}

# leaky_round(): load and unload it once
leaky_round()
{
	[ -e "$OUTSIDE/leaky.ko" ] || skip "$OUTSIDE/leaky.ko is not built"
	load "$OUTSIDE/leaky.ko" settings="$SETTINGS" names="$NAMES" tables="$TABLES" \
		buffers="$BUFFERS" pages="$PAGES" logs="$LOGS"
	unload leaky
}

# functions(module): a filter that leaves only the function of each site
functions()
{
	sed "s/+0x[0-9a-f]*\/0x[0-9a-f]* \[$1\]\$//"
}

# orphans(module): its lines in live, as COUNT BYTES FAMILY FUNCTION by site
orphans()
{
	awk -v name="$1(gone)" '$1 == name { n[$8 " " $9]++; bytes[$8 " " $9] += $3 }
		END { for (s in n) print n[s], bytes[s], "kmalloc", s }' \
		"$DEBUGFS/live" | functions "$1" | sort -k2,2nr
}

# fresh_mown(): without the orphans and accounts of earlier cases
fresh_mown()
{
	unload_mown
	insert_mown || fail "mown cannot be loaded"
}

# By default a drop-in module's blocks are reported and left alone: the exit
# block has the right numbers, each call site with count and bytes, also those
# in init functions, whose text and symbols are long gone, and in the exit
# function. live goes on to show them, the log has said the same.
test_report()
{
	local mark

	fresh_mown
	mark=$(dmesg_mark)
	leaky_round
	exit_block leaky >"$WORK/block"
	equal "$(head -n 1 "$WORK/block")" "$(leaky_first_line 0)" "first line"
	leaky_sites >"$WORK/expected"
	sed 1d "$WORK/block" | functions leaky | diff "$WORK/expected" - ||
		fail "its sites are not those expected (<)"
	orphans leaky | diff "$WORK/expected" - ||
		fail "live does not show what exits says (<)"
	dmesg_since "$mark" | sed -n 's/^mown: //p' >"$WORK/log"
	equal "$(head -n 1 "$WORK/log")" \
		"leaky: left behind $LEFT objects ($(left_bytes) bytes), reclaimed 0" "log"
	sed 1d "$WORK/log" | functions leaky | diff "$WORK/expected" - ||
		fail "the log names other sites (>) than those expected (<)"
}

# kmalloc_objects(): how many objects the kmalloc caches hold. SLUB takes all of
# a slab that a CPU works on for in use; shrinking a cache takes it off the CPU.
kmalloc_objects()
{
	local cache

	for cache in /sys/kernel/slab/kmalloc-*/shrink; do
		echo 1 >"$cache"
	done
	awk '$1 ~ /^kmalloc-[0-9]/ { n += $2 } END { print n }' /proc/slabinfo
}

# settled(): the same, when it does not change any more, which RCU may take a
# while for
settled()
{
	local now last=0 i

	for ((i = 0; i < 10; i++)); do
		now=$(kmalloc_objects)
		[[ $((now - last)) -gt 100 || $((last - now)) -gt 100 ]] || break
		last=$now
		sleep 1
	done
	echo "$now"
}

# ten_rounds(seconds): by how many objects the kmalloc caches grow meanwhile,
# after a first round whose own growth (a module's sections in sysfs, mown's
# history) does not count. What others have taken gets so long to go again,
# which the kernel's kfree_rcu() takes some seconds for.
ten_rounds()
{
	local before after end i

	leaky_round
	before=$(settled)
	for ((i = 0; i < 10; i++)); do
		leaky_round
	done
	end=$((SECONDS + $1))
	after=$(kmalloc_objects)
	while [[ $((after - before)) -ge $LEFT && $SECONDS -lt $end ]]; do
		sleep 1
		after=$(kmalloc_objects)
	done
	echo $((after - before)) >"$WORK/grown"
	echo "the kmalloc caches held $before objects before, $after after"
}

# With reclaim the slab stays where it was, through ten rounds of 1,000 blocks.
# kmalloc caches belong to everybody, so others may take some meanwhile; but as
# many as one round leaves behind would mean that not all was given back.
test_reclaim()
{
	local grown left

	[[ -r /proc/slabinfo && -w /sys/kernel/slab/kmalloc-64/shrink ]] ||
		skip "no slabinfo"
	fresh_mown
	set_policy left_behind reclaim
	ten_rounds 30
	grown=$(<"$WORK/grown")
	[ "$grown" -lt "$LEFT" ] || fail "$grown objects more"
	# As many blocks as the eleven rounds, and every one has all reclaimed
	left=$(grep -cxF "$(leaky_first_line "$LEFT")" "$DEBUGFS/exits")
	equal "$left" 11 "accounts with all reclaimed"
	equal "$(orphans leaky)" "" "orphans in live"
}

# The control for that: with report the blocks stay, the same measure notices
# them, many more than it may miss above (others give back some meanwhile), and live
# lists them all, and those of the first round.
test_control()
{
	local grown

	[[ -r /proc/slabinfo && -w /sys/kernel/slab/kmalloc-64/shrink ]] ||
		skip "no slabinfo"
	fresh_mown
	set_policy left_behind report
	ten_rounds 0
	grown=$(<"$WORK/grown")
	[ "$grown" -gt $((5 * LEFT)) ] || fail "only $grown objects more"
	orphans leaky >"$WORK/orphans"
	equal "$(awk '{ n += $1 } END { print n }' "$WORK/orphans")" $((11 * LEFT)) \
		"orphans in live"
	equal "$(awk '{ print $4 }' "$WORK/orphans")" \
		"$(leaky_sites | awk '{ print $4 }')" "their sites"
}

# The API's author has promised that nothing outlives the module: reclaimed by
# default, and not if asked to report; a drop-in is reclaimed if asked to.
test_policies()
{
	fresh_mown
	load mown_test_leave
	unload mown_test_leave
	equal "$(exit_block mown_test_leave | head -n 1)" \
		"mown_test_leave: allocated 1, freed 0, released elsewhere 0, left behind 1 (64 bytes), reclaimed 1" \
		"API, auto"
	set_policy left_behind report
	load mown_test_leave
	unload mown_test_leave
	equal "$(exit_block mown_test_leave | head -n 1)" \
		"mown_test_leave: allocated 1, freed 0, released elsewhere 0, left behind 1 (64 bytes), reclaimed 0" \
		"API, report"
	equal "$(orphans mown_test_leave)" "1 64 kmalloc leave_behind" "API, report: live"
	set_policy left_behind reclaim
	load mown_dropin_leak small=5 medium=0 large=0 freed=0
	unload mown_dropin_leak
	equal "$(exit_block mown_dropin_leak | head -n 1)" \
		"mown_dropin_leak: allocated 5, freed 0, released elsewhere 0, left behind 5 (120 bytes), reclaimed 5" \
		"drop-in, reclaim"
	equal "$(orphans mown_dropin_leak)" "" "drop-in, reclaim: live"
}

# number_of(words): in the first line of the leaking module's block
number_of()
{
	exit_number "$(exit_block mown_dropin_leak)" "$1"
}

# What the kernel frees later was not leaked: the module hands a timer over that
# frees itself after five seconds. Until then it is an orphan as the other
# five are; then it is freed late, and not left behind any more.
test_freed_late()
{
	local block bytes object

	fresh_mown
	load mown_dropin_leak small=5 medium=0 large=0 freed=0 late_ms=5000
	unload mown_dropin_leak
	object=$(orphans mown_dropin_leak | awk '$4 == "hand_over" { print $1, $2 }')
	block=$(exit_block mown_dropin_leak)
	# If it is not freed now, it was not when live was read.
	if [ "$(exit_number "$block" "left behind")" = 6 ]; then
		equal "$(exit_number "$block" "freed late")" none "freed late, at first"
		bytes=${object#1 }
		equal "$object" "1 $bytes" "the object in live"
		[ "$bytes" -ge 100 ] || fail "the object has $bytes bytes"
	else
		echo "the machine was too slow to see it before the kernel freed it"
	fi
	# shellcheck disable=SC2016 # evaluated over and over
	wait_for 30 eval '[ "$(number_of "freed late")" = 1 ]' ||
		fail "not freed late: $(exit_block mown_dropin_leak)"
	equal "$(exit_block mown_dropin_leak | functions mown_dropin_leak)" \
		"mown_dropin_leak: allocated 6, freed 0, released elsewhere 0, left behind 5 (120 bytes), reclaimed 0, freed late 1
5 120 kmalloc hold_small" "the block"
	equal "$(orphans mown_dropin_leak)" "5 120 kmalloc hold_small" live
}

# A module that nobody here wrote: the kernel's own sample of leaks. Its source
# says what it does: two kmalloc() each of 32, 1024, 2048 and 4096 bytes, a list
# of ten elements of 25 longs, a list head and 25 longs, five times vmalloc() of 64
# bytes, and 129 bytes for each possible CPU, and it frees nothing.
test_kmemleak_sample()
{
	local cpus element

	[ -e "$OUTSIDE/kmemleak-test.ko" ] || skip "$OUTSIDE/kmemleak-test.ko is not built"
	fresh_mown
	load "$OUTSIDE/kmemleak-test.ko"
	unload kmemleak_test
	# 0-3 or 0,2-3: how many numbers that names
	cpus=$(tr ',' '\n' </sys/devices/system/cpu/possible |
		awk -F- '{ n += (NF > 1 ? $2 - $1 : 0) + 1 } END { print n }')
	element=$((25 * 8 + 2 * 8 + 25 * 8))
	exit_block kmemleak_test >"$WORK/block"
	equal "$(head -n 1 "$WORK/block")" \
		"kmemleak_test: allocated $((8 + 10 + 5 + cpus)), freed 0, released elsewhere 0, left behind $((8 + 10 + 5 + cpus)) ($((2 * (32 + 1024 + 2048 + 4096) + 10 * element + 5 * 64 + cpus * 129)) bytes), reclaimed 0" \
		"first line"
	{
		for size in 32 32 1024 1024 2048 2048 4096 4096; do
			echo "1 $size kmalloc kmemleak_test_init"
		done
		for _ in 1 2 3 4 5; do
			echo "1 64 vmalloc kmemleak_test_init"
		done
		echo "10 $((10 * element)) kmalloc kmemleak_test_init"
		echo "$cpus $((cpus * 129)) kmalloc kmemleak_test_init"
	} | sort -k2,2nr -k1,1n >"$WORK/expected"
	# The module's own name has a dash, the kernel's for it an underscore; clang's for
	# the function is that of all
	sed 1d "$WORK/block" | functions kmemleak_test |
		sed 's/ init_module$/ kmemleak_test_init/' | sort -k2,2nr -k1,1n |
		diff "$WORK/expected" - || fail "its sites are not those expected (<)"
	sed 1d "$WORK/block" | awk '{ print $2 }' >"$WORK/bytes"
	sort -nr "$WORK/bytes" | diff - "$WORK/bytes" ||
		fail "the sites are not in the order of their bytes"
}

start_tests 6
load_mown
run test_report "1,000 blocks of a module from outside are named by call site"
run test_reclaim "with reclaim ten rounds leave the slab where it was"
run test_control "with report the same measure notices, and live lists the orphans"
run test_policies "what is reclaimed by default, and what when asked"
run test_freed_late "what the kernel frees later is freed late, not left behind"
run test_kmemleak_sample "the kernel's own kmemleak-test, unmodified, is accounted for"
# The orphans are of no use to the tests that follow
mown_is_built_in || unload_mown
finish
