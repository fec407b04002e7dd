#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The files of policy/: what they show, what they take, and what they do not.
# shellcheck disable=SC1091,SC2317 # run calls the cases

. "$(dirname "$0")/functions.sh"

# What the design lets be chosen for each violation, in the order shown.
declare -A WORDS=(
	[double_free]="auto warn panic"
	[interior_free]="auto warn panic"
	[mismatched_free]="auto warn panic"
	[unknown_free]="auto warn panic pass"
	[foreign_free]="auto warn panic pass"
	[use_after_free]="auto warn panic pass"
	[overflow]="auto warn panic pass"
	[limit]="auto warn panic pass"
	[left_behind]="auto report reclaim panic"
)

# shows(violation, word): the file has its words, this one in brackets
shows()
{
	local words=" ${WORDS[$1]} "

	words=${words/ $2 / [$2] }
	words=${words# }
	equal "$(<"$SYSFS/policy/$1")" "${words% }" "$1"
}

# refuses(violation, text): one write of it is EINVAL
refuses()
{
	equal "$(error_of_write "$SYSFS/policy/$1" "$2")" "Invalid argument" "$1, '$2'"
}

# Right after loading, each violation is dealt with as its way in says: auto.
test_default()
{
	local v

	unload_mown
	insert_mown || fail "mown cannot be loaded"
	equal "$(cd "$SYSFS/policy" && echo *)" \
		"double_free foreign_free interior_free left_behind limit mismatched_free overflow unknown_free use_after_free" \
		"the files"
	for v in $VIOLATIONS; do
		shows "$v" auto
	done
}

# Each word of each file can be chosen and is then the one in brackets, with
# and without the newline that echo adds; no other file changes with it.
test_words()
{
	local v word other

	for v in $VIOLATIONS; do
		for word in ${WORDS[$v]} auto; do
			echo "$word" >"$SYSFS/policy/$v" || fail "$v: '$word' refused"
			shows "$v" "$word"
			for other in $VIOLATIONS; do
				[ "$other" = "$v" ] || shows "$other" auto
			done
		done
		for word in ${WORDS[$v]} auto; do
			printf %s "$word" >"$SYSFS/policy/$v" ||
				fail "$v: '$word' without a newline refused"
			shows "$v" "$word"
		done
	done
}

# Anything else is EINVAL, and what was chosen stays chosen: not auto, so that
# a reset would show. A word of another file is as wrong as a made-up one.
test_others()
{
	local v word

	for v in $VIOLATIONS; do
		set_policy "$v" panic
		for word in warn pass report reclaim; do
			[[ " ${WORDS[$v]} " == *" $word "* ]] || refuses "$v" "$word"
		done
		for word in $'\n' ' ' $'nonsense\n' AUTO aut autos 'auto warn' auto,warn \
			'[auto]' ' auto' 'auto ' 0 -1 %s%n; do
			refuses "$v" "$word"
		done
		shows "$v" panic
		echo auto >"$SYSFS/policy/$v"
	done
}

# What was chosen is gone with mown: a new one begins with auto.
test_reload()
{
	set_policy double_free warn
	set_policy left_behind report
	unload_mown
	insert_mown || fail "mown cannot be loaded"
	shows double_free auto
	shows left_behind auto
}

start_tests 4
load_mown
run test_default "every policy is auto at first"
run test_words "every word can be chosen and is shown in brackets"
run test_others "any other word is EINVAL and changes nothing"
run test_reload "a newly loaded mown begins with auto"
finish
