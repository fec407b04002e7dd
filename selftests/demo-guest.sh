#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# demo-guest.sh bugs|panic: what demo.sh runs in the virtual machine, at the top
# of mown's tree.
set -u

debugfs=/sys/kernel/debug/mown
driver=selftests/test_modules/mown_test_demo.ko

# say(text...): to whom it is shown
say()
{
	printf '\n%s\n' "$*" | fmt -w 78
}

# show(command): as one sees it who types it
show()
{
	printf '\n# %s\n' "$1"
	eval "$1" || exit 1
}

# expect(file, pattern): what must be there, or the demo has not worked
expect()
{
	local i

	# Reports come from a work item, so wait for them a while
	for ((i = 0; i < 600; i++)); do
		! grep -qE "$2" "$1" || return 0
		sleep 0.1
	done
	echo "demo: $1 does not have '$2'" >&2
	exit 1
}

bugs()
{
	say "mown is loaded, and then a driver that allocates through it. It is a" \
		"sample with three bugs: an error path frees a buffer that its caller" \
		"frees again, another buffer is freed by a pointer into its middle," \
		"and the exit function forgets five packets."
	show "insmod src/mown.ko"
	show "insmod $driver"
	expect $debugfs/violations "interior-free in demo_read_firmware"

	say "The two wrong frees were refused while the driver was loading. The" \
		"machine runs on, and the log has:"
	show "dmesg -t | sed -n '/BUG: mown:/,/^refused/p'"

	say "What the driver holds now, an allocation a line:"
	show "cat $debugfs/live"

	say "The same by call site, most bytes first:"
	show "cat $debugfs/mown_test_demo/sites"

	say "The driver goes. The packets, and the buffer whose free was refused," \
		"stay behind. The driver's author has promised that nothing outlives" \
		"the driver, by using <linux/mown.h>, so mown gives them back:"
	show "rmmod mown_test_demo"
	show "cat $debugfs/exits"

	expect $debugfs/violations "double-free in demo_reset"
	# Of 8 objects the ring, freed once, and the name are freed
	expect $debugfs/exits "^mown_test_demo: allocated 8, freed 2, .*left behind 6 .*reclaimed 6$"
	expect $debugfs/exits "^5 .* demo_queue_packet"
}

panic()
{
	say "On a machine that must not go on after a double free:"
	show "insmod src/mown.ko"
	show "echo panic >/sys/kernel/mown/policy/double_free"
	show "cat /sys/kernel/mown/policy/double_free"
	printf '\n# insmod %s\n' "$driver"
	insmod $driver
	# Not reached
}

case ${1-} in
bugs | panic) "$1" ;;
*) echo "usage: $0 bugs|panic" >&2; exit 2 ;;
esac
