#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Modules and mown itself come and go, in every order that the kernel allows,
# with files open and being read.
# shellcheck disable=SC1091,SC2317 # run calls the cases

. "$(dirname "$0")/functions.sh"

MODULE=mown_dropin_leak

# insert_fresh_mown(): with nothing known of earlier cases
insert_fresh_mown()
{
	unload_mown
	insert_mown || fail "mown cannot be loaded"
}

# nothing_there(): no trace of mown in the file systems
nothing_there()
{
	[ ! -e "$SYSFS" ] || fail "$SYSFS is there without mown"
	[ ! -e "$DEBUGFS" ] || fail "$DEBUGFS is there without mown"
}

# With no owner ever, and again: whatever the first left would be in the way of
# the second (a file of the same name, a slab cache of the same name).
test_alone()
{
	local i

	unload_mown
	nothing_there
	for ((i = 0; i < 10; i++)); do
		insert_mown || fail "round $i: insmod failed"
		[ -d "$SYSFS/policy" ] || fail "round $i: no $SYSFS/policy"
		[ -e "$DEBUGFS/live" ] || fail "round $i: no $DEBUGFS/live"
		"${RMMOD[@]}" mown || fail "round $i: rmmod failed"
		nothing_there
	done
}

# After its users: reclaimed or freed, nothing of theirs is left, and the net
# that was on for them is off.
test_after_users()
{
	local i

	for ((i = 0; i < 5; i++)); do
		insert_fresh_mown
		set_policy left_behind reclaim
		load "$MODULE"
		load mown_test_leave
		unload "$MODULE"
		unload mown_test_leave
		"${RMMOD[@]}" mown || fail "round $i: rmmod failed"
		nothing_there
	done
}

# While a module links to mown the kernel keeps mown, and it works on.
test_in_use()
{
	insert_fresh_mown
	load "$MODULE" small=3
	! "${RMMOD[@]}" mown 2>/dev/null || fail "mown could be unloaded"
	equal "$(counter "$MODULE" allocated)" 10 "allocated, with mown kept"
	unload "$MODULE"
	"${RMMOD[@]}" mown || fail "rmmod failed without users"
}

# A hundred rounds of a user that leaves 35 orphans each time. Of the accounts
# the last 64 are kept, and with an account that is dropped its orphans are
# forgotten: so what mown takes for itself has a bound, and all that is kept is
# alike. At the half another user goes, which has one.
test_hundred()
{
	local i

	insert_fresh_mown
	set_policy left_behind report
	load mown_test_leave
	for ((i = 0; i < 100; i++)); do
		[ "$i" -ne 50 ] || unload mown_test_leave
		load "$MODULE" small=20 medium=10 large=5 freed=15
		unload "$MODULE"
	done
	grep '^[a-z].*: allocated' "$DEBUGFS/exits" >"$WORK/exits"
	equal "$(sort "$WORK/exits" | uniq -c | tr -s ' ')" \
		" 63 $MODULE: allocated 50, freed 15, released elsewhere 0, left behind 35 (27480 bytes), reclaimed 0
 1 mown_test_leave: allocated 1, freed 0, released elsewhere 0, left behind 1 (64 bytes), reclaimed 0" \
		"the accounts"
	equal "$(stat_value owners)" 64 "owners"
	equal "$(stat_value records)" $((63 * 35 + 1)) "records"
	equal "$(sed 1d "$DEBUGFS/live" | cut -d' ' -f1 | sort | uniq -c | tr -s ' ')" \
		" $((63 * 35)) $MODULE(gone)
 1 mown_test_leave(gone)" "live"
	equal "$(ls "$SYSFS/modules")" "" "owners in sysfs"
}

# Orphans belong to nobody any more, so they do not keep mown. Gone with it, they
# are forgotten: a new mown knows nothing of them.
test_orphans()
{
	insert_fresh_mown
	set_policy left_behind report
	load "$MODULE" small=200
	unload "$MODULE"
	equal "$(grep -c "^$MODULE(gone) " "$DEBUGFS/live")" 203 "orphans"
	"${RMMOD[@]}" mown || fail "rmmod with orphans failed"
	nothing_there
	insert_mown || fail "insmod failed"
	equal "$(wc -l <"$DEBUGFS/live")" 1 "lines of live of a new mown"
	equal "$(<"$DEBUGFS/exits")" "mown exits 1" "exits of a new mown"
}

# A module may be unloaded while somebody reads about it. Who has its file open
# then gets the error of a file that is gone, at the next read: EIO in debugfs,
# ENODEV in sysfs. mown's own debugfs file keeps mown while it is open.
test_open_files()
{
	insert_fresh_mown
	set_policy left_behind reclaim
	load "$MODULE" small=1000
	exec 5<"$DEBUGFS/$MODULE/live" 6<"$DEBUGFS/$MODULE/stats" \
		7<"$SYSFS/modules/$MODULE/live" 8<"$DEBUGFS/live"
	equal "$(dd bs=100 count=1 2>/dev/null <&5 | head -n 1)" \
		"mown live 1: module address size family age_ms pid cpu site" \
		"a read while the module is there"
	unload "$MODULE"
	[ ! -e "$DEBUGFS/$MODULE" ] || fail "$DEBUGFS/$MODULE is still there"
	equal "$(error_of cat <&5)" "Input/output error" "second read of live"
	equal "$(error_of cat <&6)" "Input/output error" "first read of stats"
	equal "$(error_of cat <&7)" "No such device" "read in sysfs"
	equal "$(head -n 1 <&8)" \
		"mown live 1: module address size family age_ms pid cpu site" \
		"mown's own live"
	# The same name is a new module, and the old file still is the old one's
	load "$MODULE"
	equal "$(error_of cat <&5)" "Input/output error" "with a new module"
	unload "$MODULE"
	exec 5<&- 6<&- 7<&-
	! "${RMMOD[@]}" mown 2>/dev/null || fail "mown could be unloaded, live open"
	exec 8<&-
	"${RMMOD[@]}" mown || fail "rmmod with all files closed failed"
}

# read_all(): read every file of mown over and over; those that go meanwhile
# give errors, which is right
read_all()
{
	while :; do
		find "$SYSFS" "$DEBUGFS" -type f -exec cat {} + >/dev/null 2>&1
	done
}

# Two readers read whatever there is while modules come and go, and mown too: no
# splat, no reader that hangs, no module that cannot go. A file that is just
# being read keeps mown, so that is tried again.
test_readers()
{
	local i readers=()

	insert_fresh_mown
	read_all &
	readers+=($!)
	read_all &
	readers+=($!)
	# shellcheck disable=SC2064 # these readers
	trap "kill ${readers[*]}" EXIT
	for ((i = 0; i < 12; i++)); do
		set_policy left_behind reclaim
		load "$MODULE" small=500
		load mown_test_leave
		unload mown_test_leave
		unload "$MODULE"
		[ $((i % 4)) -ne 3 ] || {
			wait_for 60 "${RMMOD[@]}" mown 2>/dev/null ||
				fail "mown cannot be unloaded"
			insert_mown || fail "mown cannot be loaded"
		}
	done
	kill "${readers[@]}" || fail "a reader has died"
	trap - EXIT
	wait_for 60 no_process "${readers[@]}" || fail "a reader hangs"
}

# no_process(pid...): they are gone
no_process()
{
	local pid

	for pid; do
		! kill -0 "$pid" 2>/dev/null || return 1
	done
}

start_tests 7
load_mown
run test_alone "mown comes and goes ten times, without a trace"
run test_after_users "mown goes after its users"
run test_in_use "mown stays while a module uses it"
run test_hundred "a hundred rounds of a user: 64 accounts with their orphans, and no more"
run test_orphans "mown goes with orphans recorded, and forgets them"
run test_open_files "a file that is open when its module goes: EIO, or ENODEV in sysfs"
run test_readers "every file is read while modules come and go"
finish
