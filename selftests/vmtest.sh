#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Run a command as root under one of Debian's stock kernels or one of ours, in a
# throw-away virtual machine that sees the host's files. Loading a module that may
# crash the kernel is then harmless, and nothing has to be installed on the host.
#
# How it works: fetch-kernel.sh or build-kernel.sh has the kernel. QEMU boots it
# with a small initramfs; its init mounts the host's / read-only over 9p, puts a
# tmpfs over it so that the guest can write anywhere, and switches to it. What
# COMMAND writes to stdout and stderr, its exit status, and what gcov counted come back
# through virtio-serial ports; the kernel's console goes to a file of its own. A guest of
# another architecture has a small system of its own in place of the host's programs.

set -u

usage()
{
	cat <<EOF_USAGE
Usage: ${0##*/} [-k KERNEL] [-c CPUS] [-m MEM] [-a "KERNEL ARGS"] [-t SECONDS]
                 [-l FILE] [--] COMMAND...
       ${0##*/} [-k KERNEL] --kdir | --kver

Run COMMAND as root under KERNEL in a virtual machine and exit with its status.

  -k KERNEL   6.1 (default), 6.12 (from bookworm-backports), one of these with
              -rt or -arm64, sid (its newest; as root), or a full version such
              as 6.1.0-56-amd64; or a name that build-kernel.sh knows, such as
              debug, which is built the first time
  -c CPUS     number of virtual CPUs (default 2)
  -m MEM      memory in MiB (default 1024)
  -a ARGS     more arguments for the kernel's command line
  -t SECONDS  time limit, boot included (default 600)
  -l FILE     where to keep the kernel's console log
              (default: \$MOWN_CACHE/console.log, the latest run)
  --kdir      print the directory to build modules for KERNEL in (make -C)
  --kver      print what uname -r says under KERNEL

Exit status: COMMAND's; 124 when the time is up; 125 when the guest panicked or
was lost before COMMAND ended (with the end of the console on stderr); 1 if no
guest could be started; 2 for a bad option. A guest of one of Debian's kernels that
is lost before COMMAND has begun, or has not begun it after $boot_limit seconds, is started
again, twice at most, and says so: no module of ours is in it by then.

COMMAND gets PATH, HOME, TERM, MOWN_*, KSFT* and KSELFTEST* from the environment
and /dev/null as stdin. /tmp and /run are the guest's own, and nothing that it
writes reaches the host.

MOWN_CACHE (default ~/.cache/mown) holds the kernels; remove one from there to
get Debian's newest. MOWN_ACCEL=tcg or kvm overrides the choice between them;
tcg-single has one host thread for all CPUs, for what patches code that the other
CPUs run meanwhile: QEMU loses a CPU at that now and then ("Oops: int3"), 10.0,
which fetch-qemu.sh gets where it is older than 8.1, as well; with tcg-icount the
time stamp counter counts instructions. MOWN_GCOV=DIR is where to leave a tar file of
what a kernel with gcov has in /sys/kernel/debug/gcov at the end.
EOF_USAGE
}

die()
{
	echo "vmtest: $*" >&2
	exit 1
}

bad_usage()
{
	echo "vmtest: $*" >&2
	usage >&2
	exit 2
}

# A user who is not root may lack the directory of modprobe
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "${0%/*}" && pwd -P)

# --- The guest -------------------------------------------------------------

# Process 1 of the guest, as /init from the initramfs.
guest_init()
{
	cat <<'EOF_INIT'
#!/bin/busybox sh
fail() { echo "vmtest: $*"; reboot -f; }
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
for m in $(ls /ko); do insmod /ko/$m || fail "cannot load $m"; done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 host /host ||
	fail "cannot mount the host's files"
mount -t tmpfs upper /upper
. /vmtest/paths
# over DIR WHERE: a directory of the host's, to which the guest can write
n=0
over()
{
	n=$((n + 1))
	mkdir -p "$2" /upper/$n/u /upper/$n/w
	mount -t overlay -o "lowerdir=/host$1,upperdir=/upper/$n/u,workdir=/upper/$n/w" root \
		"$2" || fail "cannot mount $1"
}
over "$SYSTEM" /root
# Of a system that has not the host's programs the rest is the host's all the same
[ ! "$SYSTEM" ] || for dir in /host/*; do
	dir=${dir#/host}
	case $dir in
	/bin | /boot | /dev | /etc | /lib* | /lost+found) continue ;;
	/proc | /run | /sbin | /sys | /tmp | /usr | /var) continue ;;
	esac
	[ -L "/host$dir" ] || [ ! -d "/host$dir" ] || over "$dir" "/root$dir"
done
over "$KERNEL/lib/modules" /root/lib/modules
cd /root
for d in dev proc sys; do mount --move /$d $d; done
mount -t tmpfs -o mode=1777 tmp tmp; mount -t tmpfs run run
mkdir -p dev/pts dev/shm run/lock
mount -t devpts pts dev/pts; mount -t tmpfs -o mode=1777 shm dev/shm
mount -t debugfs debugfs sys/kernel/debug
mount -t tracefs tracefs sys/kernel/tracing
mount -t securityfs securityfs sys/kernel/security
ln -s /proc/self/fd dev/fd
for i in 0:stdin 1:stdout 2:stderr; do ln -s fd/${i%:*} dev/${i#*:}; done
ifconfig lo up
cp -r /vmtest /bin/busybox run
# switch_root empties the initramfs, where this script is
exec switch_root /root /run/busybox sh /run/vmtest/main
EOF_INIT
}

# What /init goes on with in the host's file system, still process 1. It keeps
# to busybox, so that the host's tools are COMMAND's business only.
guest_main()
{
	cat <<'EOF_MAIN'
bb=/run/busybox
# The ports' names arrive some time after the driver
for name in out err status gcov; do
	until port=$($bb grep -lx "vmtest.$name" /sys/class/virtio-ports/*/name 2>/dev/null); do
		$bb usleep 10000
	done
	port=${port%/name}
	eval "$name=/dev/${port##*/}"
done
# A port can be open only once, and COMMAND may open /dev/stdout: give it pipes.
# dd, since cat would use splice, which does not wait until the host has it all.
$bb mkfifo /run/vmtest/1 /run/vmtest/2
$bb dd bs=32k if=/run/vmtest/1 of=$out 2>/dev/null & dd1=$!
$bb dd bs=32k if=/run/vmtest/2 of=$err 2>/dev/null & dd2=$!
echo "selftests begin" >/dev/kmsg
echo begun >$status
$bb setsid /bin/bash /run/vmtest/command </dev/null >/run/vmtest/1 2>/run/vmtest/2
rc=$?
# Processes left behind would hold the pipes open
for p in /proc/[0-9]*; do
	case ${p#/proc/} in 1 | $dd1 | $dd2) ;; *) kill -9 ${p#/proc/} 2>/dev/null;; esac
done
wait $dd1 $dd2
# A copy, as tar wants to know sizes, which these files do not tell
if [ -d /sys/kernel/debug/gcov ]; then
	$bb cp -r /sys/kernel/debug/gcov /run/vmtest
	$bb tar -C /run/vmtest -c gcov | $bb dd bs=32k of=$gcov 2>/dev/null
fi
echo $rc >$status
$bb reboot -f
EOF_MAIN
}

# guest_command CWD COMMAND...: the script that becomes COMMAND
guest_command()
{
	local v

	printf 'cd %q || exit 125\n' "$1"
	printf 'exec env -i'
	printf ' PATH=%q' "$guest_path"
	for v in HOME TERM "${!MOWN_@}" "${!KSFT@}" "${!KSELFTEST@}"; do
		[[ -v $v ]] && printf ' %s=%q' "$v" "${!v}"
	done
	printf ' %q' "${@:2}"
	echo
}

# make_initrd FILE CWD COMMAND...
make_initrd()
{
	local root=$work/initrd n=100 ko

	rm -rf "$root"
	mkdir -p "$root"/{bin,dev,proc,sys,host,upper,root,ko,vmtest}
	cp "$busybox" "$root/bin/busybox"
	for ko in virtio_pci virtio_console 9pnet_virtio 9p overlay; do
		modprobe -d "$kernel" -S "$kver" --show-depends "$ko" ||
			die "kernel $kver has no module $ko"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/modules"
	# Of a kernel of our own there is none: all is built in
	while read -r ko; do
		case $ko in
		*.xz) xz -dc "$ko" ;;
		*.zst) zstd -dcq "$ko" ;;
		*) cat "$ko" ;;
		esac >"$root/ko/$((n++)).ko" || die "cannot read $ko"
	done <"$work/modules"
	guest_init >"$root/init"
	chmod 755 "$root/init"
	guest_main >"$root/vmtest/main"
	guest_command "${@:2}" >"$root/vmtest/command"
	printf '%s=%q\n' KERNEL "$kernel" SYSTEM "$system" >"$root/vmtest/paths"
	(cd "$root" && find . | cpio -o -H newc -R 0:0 --quiet) >"$1" ||
		die "cannot pack the initramfs"
}

# --- The machine -----------------------------------------------------------

# begun: whether the guest has come as far as COMMAND, see guest_main
begun()
{
	[[ -s $work/status ]]
}

# stop_stalled PID: end QEMU if the guest has not begun in time. Now and then an emulated
# CPU is lost at boot, and the guest stands still then until its whole time is up.
stop_stalled()
{
	local end=$((SECONDS + boot_limit))

	until begun; do
		kill -0 "$1" || return
		((SECONDS < end)) || { kill "$1"; return; }
		sleep 1
	done
}

# boot ACCEL SECONDS CWD COMMAND...: the result is what boot returns.
boot()
{
	local accel=$1 limit=$2 rc qemu port status tails
	local cmdline="console=$tty,115200 loglevel=8 panic=-1 $bootargs $kargs"

	make_initrd "$work/initrd.img" "${@:3}"
	case $accel in
	kvm) accel="kvm -cpu host" ;;
	tcg | tcg-single | tcg-icount)
		case $accel in
		tcg) accel="tcg,thread=multi -cpu $cpu" ;;
		tcg-single) accel="tcg,thread=single -cpu $cpu" ;;
		tcg-icount) accel="tcg,thread=single -icount shift=0,sleep=off"
			accel+=" -cpu $cpu$not_random" ;;
		esac
		# On a busy host an emulated CPU may stand still for some time, and the
		# timer's first ticks may be late
		cmdline="watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120 no_timer_check $cmdline" ;;
	esac
	# Files, not pipes: a slow reader of ours must not hold up the guest
	rm -f "$work"/{out,err,status,gcov}
	touch "$work"/{out,err,status,gcov}
	# Sockets, as a kernel without ACPI finds only the first core of each.
	# shellcheck disable=SC2206 # $accel is several words on purpose
	qemu=("$emulator" -M "$machine" -accel $accel -smp "$cpus,sockets=$cpus,cores=1"
		-m "$mem" -nodefaults -no-user-config -display none -no-reboot
		-kernel "$image" -initrd "$work/initrd.img"
		-append "$cmdline" -serial "file:$log"
		-virtfs "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"
		-device "virtio-serial-pci,max_ports=5")
	for port in out err status gcov; do
		qemu+=(-chardev "file,id=$port,path=$work/$port,append=on"
			-device "virtserialport,chardev=$port,name=vmtest.$port")
	done

	# QEMU must not outlive this script, however it ends: hence setpriv.
	setpriv --pdeathsig TERM timeout -k 5 "$limit" "${qemu[@]}" \
		</dev/null >"$work/qemu.log" 2>&1 &
	vm=$!
	((!again)) || stop_stalled "$vm" </dev/null &>/dev/null &
	tail -q -s 0.1 -c +1 -f --pid "$vm" "$work/out" &
	tails=("$!")
	tail -q -s 0.1 -c +1 -f --pid "$vm" "$work/err" >&2 &
	tails+=("$!")
	wait "$vm"
	rc=$?
	vm=
	wait "${tails[@]}"

	if [[ ${MOWN_GCOV-} && -s $work/gcov ]]; then
		mkdir -p "$MOWN_GCOV"
		cp "$work/gcov" "$(mktemp "$MOWN_GCOV/XXXXXX.tar")"
	fi
	status=$(sed -n 2p "$work/status")
	[[ ! $status ]] || return "$status"
	tail -n 60 "$log" >&2
	cat "$work/qemu.log" >&2
	if ((rc == 124 || rc == 137)); then
		echo "vmtest: time is up ($limit seconds)" >&2
		return 124
	fi
	if grep -a 'Kernel panic - not syncing' "$log" >&2; then
		echo "vmtest: the guest panicked" >&2
	else
		echo "vmtest: no verdict, the guest was lost (qemu exited with $rc):" \
			"${qemu[*]@Q}" >&2
	fi
	return 125
}

# choose_accel: print kvm or tcg. A /dev/kvm that opens says little (guests can
# hang on it), so a short trial boot decides, once per host kernel.
choose_accel()
{
	local answer

	answer=$cache/accel-$(uname -r)
	if [[ ! -s $answer ]]; then
		echo tcg >"$work/accel"
		if [[ -w /dev/kvm ]]; then
			echo "vmtest: trying whether KVM works (20 seconds at most)" >&2
			log=$work/probe.log boot kvm 20 / true &>/dev/null && echo kvm >"$work/accel"
		fi
		mv "$work/accel" "$answer"
	fi
	cat "$answer"
}

# --- Main ------------------------------------------------------------------

kernel=6.1 cpus=2 mem=1024 kargs='' limit=600 log='' print=''
# How often a guest that does not begin is started again, and after how many seconds
again=0 boot_limit=60
while getopts ':k:c:m:a:t:l:h-:' opt; do
	case $opt in
	k) kernel=$OPTARG ;;
	c) cpus=$OPTARG ;;
	m) mem=$OPTARG ;;
	a) kargs+=" $OPTARG" ;;
	t) limit=$OPTARG ;;
	l) log=$OPTARG ;;
	h) usage; exit 0 ;;
	-) [[ $OPTARG == kdir || $OPTARG == kver ]] || bad_usage "unknown option --$OPTARG"
		print=$OPTARG ;;
	:) bad_usage "option -$OPTARG needs a value" ;;
	*) bad_usage "unknown option -$OPTARG" ;;
	esac
done
shift $((OPTIND - 1))
for n in "$cpus" "$mem" "$limit"; do
	[[ $n =~ ^[1-9][0-9]*$ ]] || bad_usage "'$n' is not a positive number"
done
[[ $print || $# -gt 0 ]] || bad_usage "no COMMAND given"

cache=${MOWN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mown}
mkdir -p "$cache" || die "cannot write $cache"
cache=$(realpath "$cache")
work=$(mktemp -d) || die "cannot make a temporary directory"
vm=
trap '[[ $vm ]] && kill "$vm" && wait; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [[ $kernel == [0-9]* || $kernel == sid ]]; then
	kernel=$("$here/fetch-kernel.sh" "$kernel") || exit 1
	kver=${kernel##*/}
	kdir=$(realpath "$kernel/lib/modules/$kver/build")
	image=$kernel/boot/vmlinux
	bootargs=''
	again=2
else
	kernel=$("$here/build-kernel.sh" "$kernel") || exit 1
	kver=$(<"$kernel/include/config/kernel.release")
	kdir=$kernel
	# Not vmlinux, as the entry for that runs before KASAN can
	image=$kernel/arch/x86/boot/bzImage
	# Without ACPI, only a triple fault ends the machine. Addresses as elsewhere.
	bootargs="reboot=t no5lvl"
fi
# What the guest's architecture asks for, and where its programs are
if [[ -e $kernel/system ]]; then
	# A CPU with atomic instructions, which are fast to emulate, and without pointer
	# authentication, which is slow
	emulator=qemu-system-aarch64 machine=virt cpu=neoverse-n1 not_random='' tty=ttyAMA0
	system=$(realpath "$kernel/system")
	busybox=$system/bin/busybox
	guest_path=/usr/sbin:/usr/bin:/sbin:/bin
	# QEMU translates a program anew for each address that it is loaded at. And of
	# memory set aside for devices (CMA) the page cache has some meanwhile, which
	# is not counted as free
	bootargs="norandmaps cma=0"
	MOWN_ACCEL=${MOWN_ACCEL:-tcg}
else
	# q35, as the older machine's interrupt tables take ACPI seconds to read
	# when slub_debug is on
	emulator=qemu-system-x86_64 machine=q35 cpu=max not_random=,rdrand=off,rdseed=off
	tty=ttyS0 system='' guest_path=$PATH
	busybox=$(command -v busybox)
fi
case $print in
kdir) echo "$kdir"; exit 0 ;;
kver) echo "$kver"; exit 0 ;;
esac

[[ ! -e $kernel/linux ]] || die "${kernel##*/} is for User-Mode Linux: see umltest.sh"
for tool in "$emulator" busybox cpio modprobe; do
	command -v "$tool" >/dev/null ||
		die "$tool is missing (see ${0%/*}/setup.sh${system:+ --arm64})"
done
emulator=$("$here/fetch-qemu.sh" "$emulator") || exit 1
cwd=$(pwd -P)
case $cwd/ in
/tmp/* | /run/* | /dev/* | /proc/* | /sys/*)
	die "the guest has its own /${cwd:1:4}: call from another directory than $cwd" ;;
/boot/* | /etc/* | /usr/* | /var/*)
	[[ ! $system ]] || die "a guest of arm64 has not the host's $cwd" ;;
esac

accel=${MOWN_ACCEL:-$({ flock 5; choose_accel; } 5>"$cache/lock")}
if [[ ! $log ]]; then
	log=$cache/console.log
	rm -f "$log"	# another run may still be writing to it: leave it that one
fi
boot "$accel" "$limit" "$cwd" "$@"
rc=$?
while ((again-- > 0 && (rc == 124 || rc == 125))) && ! begun; do
	echo "vmtest: the guest was lost before COMMAND began: once more" >&2
	boot "$accel" "$limit" "$cwd" "$@"
	rc=$?
done
exit "$rc"
