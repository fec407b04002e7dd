#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What mown shows: that each file is there, with its mode and its format, and
# that files that tell of the same thing tell the same.
# shellcheck disable=SC1091,SC2317 # run calls the cases

. "$(dirname "$0")/functions.sh"

MODULE=mown_dropin_leak
COUNTERS="allocated freed live live_bytes released_elsewhere stale untracked
untracked_freed unknown_frees unknown_passed double_frees interior_frees
mismatched_frees foreign_frees quarantined quarantined_bytes"
COUNTERS+=" use_after_frees overflows redzones_lost failed limited"
COUNTERS+=" transferred_in transferred_out disowned"
KNOBS="stack_depth quarantine_bytes limit_bytes fail_nth"
LIVE_HEADER="mown live 1: module address size family age_ms pid cpu site"
SITES_HEADER="mown sites 1: count bytes family site"

# hold(small, medium, large, freed): the module holds that many objects of 24,
# 200 and 5000 bytes, each kind from a function of its own, and has freed some
# of 64 bytes. It never frees the others: mown is to do that.
hold()
{
	set_policy left_behind reclaim
	load "$MODULE" small="$1" medium="$2" large="$3" freed="$4"
}

# modes(expected, file...)
modes()
{
	stat -c "%a %n" "${@:2}" >"$WORK/modes" || fail "a file is missing"
	! grep -v "^$1 " "$WORK/modes" || fail "mode is not $1"
}

# header(file, expected)
header()
{
	local line

	IFS= read -r line <"$1"
	equal "$line" "$2" "$1"
}

# lines_of(file): its lines of the module, without the header
lines_of()
{
	awk -v name="$MODULE" 'NR > 1 && $1 == name' "$1"
}

# A fresh mown has these files and no other, its debugfs files readable for
# root only and writable for nobody: under lockdown others cannot be read.
test_files()
{
	unload_mown
	[ ! -e "$SYSFS" ] || fail "$SYSFS is there without mown"
	[ ! -e "$DEBUGFS" ] || fail "$DEBUGFS is there without mown"
	insert_mown || fail "mown cannot be loaded"

	equal "$(cd "$SYSFS" && echo *)" \
		"attach clear detach fail_nth history modules policy quarantine_bytes stack_depth version" "$SYSFS"
	equal "$(cd "$DEBUGFS" && echo *)" "attached exits live stats violations" "$DEBUGFS"
	modes 444 "$SYSFS/version"
	modes 644 "$SYSFS"/{stack_depth,quarantine_bytes,history,fail_nth} "$SYSFS"/policy/*
	modes 200 "$SYSFS"/{attach,clear,detach}
	modes 400 "$DEBUGFS"/*
	equal "$(<"$SYSFS/version")" "$(modinfo -F version "$(mown_ko)")" "version"
}

# Nothing has happened yet: headers alone. That is what a script sees that runs
# before the first module, so it must not be an error.
test_empty()
{
	unload_mown
	insert_mown || fail "mown cannot be loaded"
	equal "$(<"$DEBUGFS/live")" "$LIVE_HEADER" live
	equal "$(<"$DEBUGFS/exits")" "mown exits 1" exits
	equal "$(<"$DEBUGFS/violations")" "mown violations 1" violations
	header "$DEBUGFS/stats" "mown stats 1"
	equal "$(ls "$SYSFS/modules")" "" "owners"
	equal "$(stat_value net)" off "net"
	equal "$(stat_value owners)" 0 owners
	# What a stock kernel has is enough for all of it
	load mown_test_pressure
	equal "$(stat_value net)" complete "net with an owner"
	unload mown_test_pressure
	wait_for 60 net_is_off || fail "the net is on without an owner"
}

net_is_off()
{
	[ "$(stat_value net)" = off ]
}

# A module that links to mown gets its directories when it is loaded, one that
# does not gets none, and they go with it.
test_owner_files()
{
	local file

	[ ! -e "$SYSFS/modules/$MODULE" ] || fail "$MODULE is there already"
	equal "$(error_of cat "$DEBUGFS/$MODULE/live")" \
		"No such file or directory" "live of a module that is not there"
	hold 1 1 1 1
	equal "$(ls "$SYSFS/modules")" "$MODULE" "owners"
	equal "$(ls "$SYSFS/modules/$MODULE")" \
		"$(tr ' ' '\n' <<<"$COUNTERS $KNOBS checkpoint policy" | sort)" "its files"
	for file in $COUNTERS; do
		modes 400 "$SYSFS/modules/$MODULE/$file"
	done
	for file in $KNOBS policy/double_free; do
		modes 644 "$SYSFS/modules/$MODULE/$file"
	done
	modes 200 "$SYSFS/modules/$MODULE/checkpoint"
	for file in $COUNTERS; do
		[[ $(<"$SYSFS/modules/$MODULE/$file") =~ ^[0-9]+$ ]] ||
			fail "$file is not a number"
	done
	equal "$(cd "$DEBUGFS/$MODULE" && echo *)" "live since sites stats" "its files"
	modes 400 "$DEBUGFS/$MODULE"/*
	header "$DEBUGFS/$MODULE/live" "$LIVE_HEADER"
	header "$DEBUGFS/$MODULE/sites" "$SITES_HEADER"
	header "$DEBUGFS/$MODULE/since" "mown since 1: count bytes family site"
	header "$DEBUGFS/$MODULE/stats" "mown stats 1"
	unload "$MODULE"
	[ ! -e "$SYSFS/modules/$MODULE" ] || fail "its sysfs directory is still there"
	[ ! -e "$DEBUGFS/$MODULE" ] || fail "its debugfs directory is still there"
	equal "$(lines_of "$DEBUGFS/live")" "" "its lines in live"
}

# The numbers follow from what the module was told to do, and are the same in
# sysfs and in stats, where each is explained.
test_counters()
{
	local name expected

	hold 7 3 2 4
	for name in $COUNTERS; do
		case $name in
		allocated) expected=$((7 + 3 + 2 + 4)) ;;
		freed) expected=4 ;;
		live) expected=$((7 + 3 + 2)) ;;
		live_bytes) expected=$((7 * 24 + 3 * 200 + 2 * 5000)) ;;
		quarantined) expected=4 ;;
		# An object of 64 bytes takes 64
		quarantined_bytes) expected=$((4 * 64)) ;;
		*) expected=0 ;;
		esac
		equal "$(counter "$MODULE" "$name")" "$expected" "sysfs $name"
		echo "$name $expected" >>"$WORK/counters"
	done
	# Not a counter, so in stats only: the net has been whole all the time
	echo "blind 0" >>"$WORK/counters"
	awk 'NR > 1 { print $1, $2 }' "$DEBUGFS/$MODULE/stats" | sort |
		diff <(sort "$WORK/counters") - || fail "stats is not what was expected (<)"
	for name in stats $MODULE/stats; do
		awk 'NR > 1 && NF < 4 { print FILENAME ": not explained: " $0; bad = 1 }
			END { exit bad }' "$DEBUGFS/$name" || exit 1
	done
}

# A record a line: which module, where, how big, of which family, since when,
# by whom, on which CPU, from where. Each can be told beforehand, but for the
# address, which must be one, and no other object's.
test_live()
{
	local pid cpus before after

	set_policy left_behind reclaim
	before=$(awk '{ print int($1 * 1000) }' /proc/uptime)
	# exec keeps the process, so this is the pid of insmod
	pid=$(bash -c 'echo $$; exec "$@"' - "${INSMOD[@]}" "$MODDIR/$MODULE.ko" \
		small=7 medium=3 large=2) || fail "insmod failed"
	after=$(awk '{ print int($1 * 1000) }' /proc/uptime)
	cpus=$(getconf _NPROCESSORS_CONF)

	lines_of "$DEBUGFS/live" >"$WORK/all"
	awk -v name="$MODULE" -v pid="$pid" -v cpus="$cpus" \
		-v oldest="$(($(awk '{ print int($1 * 1000) }' /proc/uptime) - before + 20))" '
		function bad(why) { print why ": " $0; failed = 1; exit }
		BEGIN {
			size["hold_small"] = 24; left["hold_small"] = 7
			size["hold_medium"] = 200; left["hold_medium"] = 3
			size["hold_large"] = 5000; left["hold_large"] = 2
		}
		{
			if (NF != 9) bad(NF " words")
			if ($1 != name) bad("module")
			if ($2 !~ /^ffff[0-9a-f]+$/ || length($2) != 16) bad("address")
			if (seen[$2]++) bad("address seen before")
			if ($4 != "kmalloc") bad("family")
			# No older than the module, but for the clocks'"'"' grain
			if ($5 !~ /^[0-9]+$/ || $5 > oldest) bad("age, at most " oldest)
			if ($6 != pid) bad("pid, not " pid)
			if ($7 !~ /^[0-9]+$/ || $7 >= cpus) bad("cpu of " cpus)
			if ($8 !~ /^hold_[a-z]+\+0x[0-9a-f]+\/0x[0-9a-f]+$/) bad("site")
			if ($9 != "[" name "]") bad("site is not in its module")
			split($8, site, "+")
			if ($3 != size[site[1]]) bad("size, not " size[site[1]])
			left[site[1]]--
		}
		END {
			for (f in left)
				if (!failed && left[f]) {
					print f ": " left[f] " missing"
					failed = 1
				}
			exit failed
		}' "$WORK/all" || fail "(module loaded at $before to $after ms)"
	# An owner's own file says the same, but for the age
	lines_of "$DEBUGFS/$MODULE/live" | awk '{ $5 = ""; print }' >"$WORK/own"
	awk '{ $5 = ""; print }' "$WORK/all" | diff - "$WORK/own" ||
		fail "live and $MODULE/live differ"
}

# A line a call site, most bytes first: not the order of allocation, of address
# or of count. Sums of live's lines by site are the same, and so are the totals.
test_sites()
{
	local counts

	for counts in "7 3 2" "1000 3 2" "5 100 2"; do
		# shellcheck disable=SC2086 # three words
		hold $counts 4
		# shellcheck disable=SC2086 # three words
		set -- $counts
		{
			echo "$1 $(($1 * 24)) kmalloc hold_small"
			echo "$2 $(($2 * 200)) kmalloc hold_medium"
			echo "$3 $(($3 * 5000)) kmalloc hold_large"
		} | sort -k2,2nr >"$WORK/expected"
		sed -n "2,\$s/+0x[0-9a-f]*\/0x[0-9a-f]* \[$MODULE\]\$//p" \
			"$DEBUGFS/$MODULE/sites" >"$WORK/sites"
		diff "$WORK/expected" "$WORK/sites" ||
			fail "sites is not (<) what was allocated"
		lines_of "$DEBUGFS/$MODULE/live" | awk '
			{ n[$8 " " $9]++; bytes[$8 " " $9] += $3 }
			END { for (s in n) print n[s], bytes[s], "kmalloc", s }' |
			sort -k2,2nr >"$WORK/sums"
		sed 1d "$DEBUGFS/$MODULE/sites" | diff "$WORK/sums" - ||
			fail "live's sums (<) are not what sites says"
		equal "$(awk 'NR > 1 { n += $1 } END { print n }' "$DEBUGFS/$MODULE/sites")" \
			"$(counter "$MODULE" live)" "objects"
		equal "$(awk 'NR > 1 { n += $2 } END { print n }' "$DEBUGFS/$MODULE/sites")" \
			"$(counter "$MODULE" live_bytes)" "bytes"
		unload "$MODULE"
	done
}

# age(): age_ms of the module's oldest object
age()
{
	lines_of "$DEBUGFS/live" | awk '$5 > age { age = $5 } END { print age + 0 }'
}

# uptime_ms(): the clock, in ms
uptime_ms()
{
	awk '{ print int($1 * 1000) }' /proc/uptime
}

# later_than(ms): has the clock gone past that?
later_than()
{
	[ "$(uptime_ms)" -gt "$1" ]
}

# An object gets older, by as much as the clock has gone on between two reads.
test_age()
{
	local first t1 t2 t3 t4 second grown

	hold 1 0 0 0
	t1=$(uptime_ms)
	first=$(age)
	t2=$(uptime_ms)
	wait_for 60 later_than $((t2 + 500)) || fail "the clock stands still"
	t3=$(uptime_ms)
	second=$(age)
	t4=$(uptime_ms)
	grown=$((second - first))
	# A busy machine may stand still between any two reads; the clocks are not the
	# same, and have grains
	[ "$grown" -ge $((t3 - t2 - 200)) ] ||
		fail "$first ms, then $second ms, $((t3 - t2)) ms later at least"
	[ "$grown" -le $((t4 - t1 + 200)) ] ||
		fail "$first ms, then $second ms, $((t4 - t1)) ms later at most"
}

# With two owners each has its own lines only, and live has those of both.
test_two_owners()
{
	local owners

	owners=$(stat_value owners) || exit 1
	hold 2 0 0 0
	load mown_test_leave
	equal "$(stat_value owners)" $((owners + 2)) owners
	equal "$(awk 'NR > 1 { print $1 }' "$DEBUGFS/$MODULE/live" | sort | uniq -c | tr -s ' ')" \
		" 2 $MODULE" "$MODULE/live"
	equal "$(awk 'NR > 1 { print $1 }' "$DEBUGFS/mown_test_leave/live")" \
		"mown_test_leave" "mown_test_leave/live"
	equal "$(awk '$1 ~ /^mown_/ { print $1 }' "$DEBUGFS/live" | sort | uniq -c | tr -s ' ')" \
		" 2 $MODULE"$'\n'" 1 mown_test_leave" live
	unload "$MODULE"
	equal "$(awk '$1 ~ /^mown_/ { print $1 }' "$DEBUGFS/live")" \
		mown_test_leave "live when one is gone"
	equal "$(stat_value owners)" $((owners + 1)) "owners when one is gone"
}

# Every file can be read in pieces of one byte and of any size, and then says
# the same as in one go: 220 records do not fit into one buffer.
test_pieces()
{
	local file size

	hold 200 10 10 0
	for file in live sites stats; do
		# Not the age, which changes between the reads
		awk '{ if (NF > 8) $5 = ""; print }' "$DEBUGFS/$MODULE/$file" >"$WORK/whole"
		for size in 100 4096 1000000; do
			# sites and stats are short
			[ "$size" != 100 ] || [ "$file" = live ] || size=1
			dd bs="$size" if="$DEBUGFS/$MODULE/$file" 2>/dev/null |
				awk '{ if (NF > 8) $5 = ""; print }' |
				diff "$WORK/whole" - || fail "$file in pieces of $size bytes"
		done
	done
	equal "$(wc -l <"$DEBUGFS/$MODULE/live")" 221 "lines of live"
}

# What leaks addresses is for root alone, and debugfs files take no writes.
test_access()
{
	local file

	command -v setpriv >/dev/null || skip "no setpriv"
	hold 1 1 1 0
	for file in $SYSFS/modules/$MODULE/live $DEBUGFS/live $DEBUGFS/exits \
		$DEBUGFS/violations $DEBUGFS/stats $DEBUGFS/$MODULE/live; do
		equal "$(error_of setpriv --reuid 65534 --regid 65534 --clear-groups \
			cat "$file")" "Permission denied" "$file"
	done
	setpriv --reuid 65534 --regid 65534 --clear-groups cat "$SYSFS/version" \
		"$SYSFS"/policy/* "$SYSFS/stack_depth" "$SYSFS/quarantine_bytes" >/dev/null ||
		fail "a knob cannot be read by everybody"
	for file in live exits violations stats $MODULE/live $MODULE/sites; do
		! bash -c 'echo x >"$1"' - "$DEBUGFS/$file" 2>/dev/null ||
			fail "$file takes a write"
	done
}

# The knobs that are numbers: their defaults, and each value in range comes
# back as it was written.
test_numbers()
{
	local bytes value memory

	unload_mown
	insert_mown || fail "mown cannot be loaded"
	equal "$(<"$SYSFS/stack_depth")" 0 "default of stack_depth"
	memory=$(awk '$1 == "MemTotal:" { print $2 * 1024 }' /proc/meminfo)
	bytes=$((memory / 1000 < 1 << 20 ? memory / 1000 : 1 << 20))
	value=$(<"$SYSFS/quarantine_bytes")
	# A page more or less: of whole pages
	[[ $value -ge $((bytes - 4096)) && $value -le $((bytes + 4096)) ]] ||
		fail "default of quarantine_bytes: $value, expected about $bytes"
	for value in 0 1 8 15 16; do
		echo "$value" >"$SYSFS/stack_depth" || fail "stack_depth $value refused"
		equal "$(<"$SYSFS/stack_depth")" "$value" stack_depth
	done
	for value in 0 1 4096 1048576 $((memory / 2)); do
		echo "$value" >"$SYSFS/quarantine_bytes" || fail "quarantine_bytes $value refused"
		equal "$(<"$SYSFS/quarantine_bytes")" "$value" quarantine_bytes
	done
}

start_tests 11
load_mown
run test_files "the files of mown are there, with their modes, and no other"
run test_empty "without an owner there are headers and nothing else; with one a complete net"
run test_owner_files "an owner's files come and go with it"
run test_counters "the counters are what the module did, in sysfs and stats alike"
run test_live "live: one record a line, in all its columns"
run test_sites "sites: most bytes first, and what live and the counters sum up to"
run test_age "age_ms grows with the clock"
run test_two_owners "two owners are told apart"
run test_pieces "a file read in pieces is the same file"
run test_access "only root sees addresses and counters, and debugfs takes no writes"
run test_numbers "stack_depth and quarantine_bytes: defaults, and values that come back"
finish
