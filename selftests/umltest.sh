#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Run a command as root under a kernel that is a process of the host's: User-Mode
# Linux, as build-kernel.sh makes it. It runs at the host's speed and is up in a
# fraction of a second, but has one CPU, no ftrace and no jump labels.
#
# How it works: the guest's root is the host's / by hostfs, read-only, with its own
# /tmp and /run. What COMMAND writes to stdout and stderr, and its exit status, go to
# files in a directory of the host's that the guest may write, and are printed at the
# end; the kernel's console goes to a file of its own.

set -u

usage()
{
	cat <<EOF_USAGE
Usage: ${0##*/} [-k KERNEL] [-m MEM] [-a "KERNEL ARGS"] [-t SECONDS] [-l FILE]
                  [--] COMMAND...

Run COMMAND as root under KERNEL in User-Mode Linux and exit with its status.

  -k KERNEL   a name that build-kernel.sh knows (default uml)
  -m MEM      memory in MiB (default 1024)
  -a ARGS     more arguments for the kernel's command line
  -t SECONDS  time limit, boot included (default 600)
  -l FILE     where to keep the kernel's console log
              (default: \$MOWN_CACHE/console-uml.log, the latest run)

Exit status: COMMAND's; 124 when the time is up; 125 when the guest was lost before
COMMAND ended (with the end of the console on stderr); 1 if no guest could be
started; 2 for a bad option.
EOF_USAGE
}

die()
{
	echo "umltest: $*" >&2
	exit 1
}

bad_usage()
{
	echo "umltest: $*" >&2
	usage >&2
	exit 2
}

# Process 1 of the guest. It keeps to busybox, so that the host's tools are COMMAND's
# business only.
guest_init()
{
	cat <<'EOF_INIT'
#!/bin/busybox sh
bb=/bin/busybox
work=${0%/*}
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t devtmpfs dev /dev
$bb mount -t tmpfs run /run
$bb mkdir /run/umltest
$bb mount -t hostfs -o "$work" none /run/umltest
$bb mount -t tmpfs -o mode=1777 tmp /tmp
$bb mount -t debugfs debugfs /sys/kernel/debug
$bb ln -s /proc/self/fd /dev/fd
for i in 0:stdin 1:stdout 2:stderr; do $bb ln -s fd/${i%:*} /dev/${i#*:}; done
cd /run/umltest
# Pipes, as COMMAND may open /dev/stdout, and hostfs is in no hurry to write.
$bb mkfifo /run/1 /run/2
$bb cat /run/1 >out & cat1=$!
$bb cat /run/2 >err & cat2=$!
echo "selftests begin" >/dev/kmsg
$bb setsid $bb sh command </dev/null >/run/1 2>/run/2
rc=$?
wait $cat1 $cat2
echo $rc >status
$bb sync
$bb poweroff -f
EOF_INIT
}

# guest_command CWD COMMAND...: the script that becomes COMMAND
guest_command()
{
	local v

	printf 'cd %q || exit 125\n' "$1"
	printf 'exec env -i'
	for v in PATH HOME TERM "${!MOWN_@}"; do
		[[ -v $v ]] && printf ' %s=%q' "$v" "${!v}"
	done
	printf ' %q' "${@:2}"
	echo
}

# boot CWD COMMAND...: the result is what boot returns.
boot()
{
	local rc
	local uml=("$dir/linux" mem="${mem}M" root=/dev/root rootfstype=hostfs
		rootflags=/ ro init="$work/init" loglevel=8 uml_dir="$work/uml/"
		con=null "con0=null,fd:1" ssl=null)

	guest_init >"$work/init"
	chmod 755 "$work/init"
	guest_command "$@" >"$work/command"
	touch "$work"/{out,err}
	# shellcheck disable=SC2086 # $kargs is several words on purpose
	setpriv --pdeathsig TERM timeout -k 5 "$limit" "${uml[@]}" $kargs \
		</dev/null >"$log" 2>&1 &
	vm=$!
	wait "$vm"
	rc=$?
	vm=
	cat "$work/out"
	cat "$work/err" >&2
	if [[ -s $work/status ]]; then
		return "$(<"$work/status")"
	fi
	tail -n 60 "$log" >&2
	if ((rc == 124 || rc == 137)); then
		echo "umltest: time is up ($limit seconds)" >&2
		return 124
	fi
	echo "umltest: no verdict, the guest was lost (it exited with $rc)" >&2
	return 125
}

kernel=uml mem=1024 kargs='' limit=600 log=''
while getopts ':k:m:a:t:l:h' opt; do
	case $opt in
	k) kernel=$OPTARG ;;
	m) mem=$OPTARG ;;
	a) kargs+=" $OPTARG" ;;
	t) limit=$OPTARG ;;
	l) log=$OPTARG ;;
	h) usage; exit 0 ;;
	:) bad_usage "option -$OPTARG needs a value" ;;
	*) bad_usage "unknown option -$OPTARG" ;;
	esac
done
shift $((OPTIND - 1))
for n in "$mem" "$limit"; do
	[[ $n =~ ^[1-9][0-9]*$ ]] || bad_usage "'$n' is not a positive number"
done
(($#)) || bad_usage "no COMMAND given"
[[ -x /bin/busybox ]] || die "/bin/busybox is missing (see ${0%/*}/setup.sh)"

here=$(cd "${0%/*}" && pwd -P)
dir=$("$here/build-kernel.sh" "$kernel") || exit 1
[[ -x $dir/linux ]] || die "$kernel is not for User-Mode Linux"
work=$(mktemp -d) || die "cannot make a temporary directory"
vm=
trap '[[ $vm ]] && kill "$vm" && wait; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
if [[ ! $log ]]; then
	log=${dir%/kernels/*}/console-uml.log
	rm -f "$log"	# another run may still be writing to it: leave it that one
fi
cwd=$(pwd -P)
case $cwd/ in
/tmp/* | /run/* | /dev/* | /proc/* | /sys/*)
	die "the guest has its own /${cwd:1:4}: call from another directory than $cwd" ;;
esac
boot "$cwd" "$@"
rc=$?
exit "$rc"
