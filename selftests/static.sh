#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The static checks: licence lines, checkpatch, kernel-doc, shellcheck, Python,
# and the compiler's and sparse's warnings. Silent tools are good tools: any
# word of theirs is a failure.
#
# Usage: static.sh KDIR

# The checks are called by name, which shellcheck does not follow.
# shellcheck disable=SC2317
set -u

here=$(cd "${0%/*}" && pwd -P)
top=${here%/*}
kdir=${1:?usage: static.sh KDIR}
source=$("$here/setup.sh" --source) || exit 1
cd "$top" || exit 1

failed=0

# check NAME COMMAND...: fails if the command fails or says anything
check()
{
	local name=$1 said

	shift
	if said=$("$@" 2>&1) && [[ ! $said ]]; then
		echo "static: $name: clean"
	else
		printf 'static: %s: FAILED\n%s\n' "$name" "$said"
		failed=1
	fi
}

tracked()
{
	git ls-files -- "$@"
}

# Every file but the licence itself, lists of files and of figures says what it is under.
spdx()
{
	tracked ':!COPYING' ':!*.gitignore' ':!*.csv' ':!*.svg' | while read -r file; do
		[[ $file == Documentation/ABI/* || $file == *.md ||
			$file == */settings || $file == */config ]] && continue
		head -n 3 "$file" | grep -q 'SPDX-License-Identifier: GPL-2.0' ||
			echo "$file: no SPDX line"
	done
}

# What checkpatch is told not to say stands, with the reasons, in .checkpatch.conf;
# but trace events have a layout of their own throughout the kernel, which breaks
# two of its rules in that directory only; and macros that declare or define a
# function each cannot stand in parentheses.
run_checkpatch()
{
	tracked '*.c' '*.h' Kconfig '*Makefile' |
		xargs perl "$source/scripts/checkpatch.pl" --no-tree --strict \
			--show-types --terse --no-summary -f |
		grep -v -e '^total: 0 errors, 0 warnings, 0 checks' \
			-e '^include/trace/events/.*:PARENTHESIS_ALIGNMENT:' \
			-e '^include/trace/events/.*:OPEN_ENDED_LINE:' \
			-e '^src/attach\.h:.* ERROR:COMPLEX_MACRO:' \
			-e '^src/wrap\.c:.* ERROR:COMPLEX_MACRO:'
	return 0
}

run_kernel_doc()
{
	tracked '*.c' '*.h' | xargs perl "$kdir/scripts/kernel-doc" -none -Werror
}

run_shellcheck()
{
	tracked '*.sh' .ci/run | xargs shellcheck
}

run_python()
{
	tracked '*.py' | xargs -n 1 python3 -W error -c '
import ast, os, pathlib, sys
path = sys.argv[1]
tree = ast.parse(pathlib.Path(path).read_text(), path)
for node in [tree, *tree.body]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
        if not ast.get_docstring(node):
            name = getattr(node, "name", "the module")
            print(f"{path}: {name}: no docstring")
for node in ast.walk(tree):
    if isinstance(node, ast.FunctionDef):
        args = [a for a in node.args.args if a.arg not in ("self", "cls")]
        if node.returns is None or any(a.annotation is None for a in args):
            print(f"{path}: {node.name}: not typed")
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
        for module in modules:
            root = (module or "").split(".")[0]
            sibling = os.path.join(os.path.dirname(path), root + ".py")
            if root not in sys.stdlib_module_names and not os.path.exists(sibling):
                print(f"{path}: {root} is not of the standard library")
'
	# What one takes of another is there
	tracked '*.py' | xargs python3 -B -W error -c '
import importlib, os, sys
for path in sys.argv[1:]:
    directory, name = os.path.split(path)
    sys.path.insert(0, directory)
    try:
        importlib.import_module(os.path.splitext(name)[0])
    except ImportError as error:
        print(f"{path}: {error}")
'
}

# The documentation's table is the one that is tested.
run_litmus()
{
	[[ $(<Documentation/litmus.rst) == *$'\n'"$(python3 -B selftests/test_litmus.py --rst)"$'\n'* ]] ||
		echo "Documentation/litmus.rst has another table than selftests/test_litmus.py"
}

# build DIR ARGS...: make says what it does; warnings go to standard error
build()
{
	local dir=$1

	shift
	make -s -C "$kdir" M="$dir" W=1 KCFLAGS=-Werror "$@" modules 2>&1 >/dev/null |
		grep -v -e 'SSL error' -e 'sign-file' -e 'Skipping BTF' \
			-e 'unavailability of vmlinux'
	return 0
}

# The tree's own objects stay as they are: the builds are made in copies.
copy_tree()
{
	rm -rf build/static && mkdir -p build/static
	tracked | cpio -pdm --quiet build/static
}

copy_tree || exit 1
copy=$top/build/static
check SPDX spdx
check checkpatch run_checkpatch
check kernel-doc run_kernel_doc
check shellcheck run_shellcheck
check python run_python
check litmus run_litmus
check 'W=1, sparse' build "$copy" C=1 CF=-Wsparse-error
check 'W=1, test modules' build "$copy/selftests/test_modules" MOWN="$copy" \
	KBUILD_EXTRA_SYMBOLS="$copy/Module.symvers"
check 'W=1, benchmark' build "$copy/selftests/bench" MOWN="$copy" \
	KBUILD_EXTRA_SYMBOLS="$copy/Module.symvers"
exit "$failed"
