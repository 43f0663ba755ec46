# kept.sh: what `early` of a system with and of one without systemd have in common:
# programs that run before there is an init, are run again when they end, and are
# told of to the host. Read by busybox.
#
# busybox is its own mkdir, mount and so on: a program that is executed costs an
# emulated CPU some 20 ms before the agent can start.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
flag=/run/nsvm/early
agent=/usr/local/libexec/nsvm-agent
passed=/sys/firmware/qemu_fw_cfg/by_name/opt/nsvm

# What commands may need that come before the init has made it.
prepare() {
	mkdir -p /run/nsvm /run/sshd
	chmod 700 /run/nsvm
	read -r host_name </etc/hostname && echo "$host_name" >/proc/sys/kernel/hostname
}

# Keys, directories and variables of this start, before anybody comes in. The
# initramfs has loaded what directories need: busybox unpacks no modules.
obey_host() {
	[ ! -e $passed/environment/raw ] || sh /etc/nsvm/environment.sh
	[ ! -e $passed/settings/raw ] || sh /etc/nsvm/settings.sh
}

# keep NAME UNIT PROGRAM...: runs it, and again when it ends, in the control group
# of the UNIT
keep() {
	name=$1 group=/sys/fs/cgroup/system.slice/$2
	shift 2
	mkdir -p "$group"
	(
		read -r pid _ </proc/self/stat
		echo "$pid" >"$group/cgroup.procs"
		echo "$pid" >"/run/nsvm/early-$name.pid"
		ulimit -n 1048576
		# as in their units; sshd sets its own
		[ "$name" = ssh ] || echo -900 >"/proc/$pid/oom_score_adj"
		while :; do
			"$@"
			sleep 0.2
		done
	) </dev/null >/dev/kmsg 2>&1 &
}

keep_agent() { keep agent nsvm-agent.service $agent serve; }

# Nothing that the host does not wait for runs beside the agent's start: on one
# emulated CPU sshd and systemd would take two thirds of it. Nor, there, beside the
# command that often comes at once: that takes 0.1 s instead of 0.4.
until_agent_serves() {
	tries=0
	until [ -S /run/nsvm/agent.sock ] || [ $tries -ge 25 ]; do
		tries=$((tries + 1))
		sleep 0.02
	done
	! grep -q TCG /proc/cpuinfo || sleep 0.3
}

keep_sshd() { keep ssh ssh.service /usr/sbin/sshd -D; }

# Sets $keeper and what it runs, $kept.
find_keeper() {
	read -r keeper <"/run/nsvm/early-$1.pid" &&
		kept=$(cat "/proc/$keeper/task/$keeper/children")
}

# Port 22 in the kernel's table, in the state LISTEN.
listens() {
	while read -r _ local _ state _; do
		case $local$state in *:00160A) return 0 ;; esac
	done </proc/net/tcp
	return 1
}

# Tells the host when sshd listens.
ready() {
	tries=0
	until listens; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] || return
		sleep 0.05
	done
	for port in /sys/class/virtio-ports/*; do
		read -r name <"$port/name" && [ "$name" = nsvm.ready ] || continue
		# does not end while nobody listens, as when the guest reboots
		echo ready >"/dev/${port##*/}" &
		sleep 60
		kill $! 2>/dev/null
	done
}

# The initramfs' busybox, which runs this, need not be seen any longer.
leave_initramfs() {
	[ -e /run/busybox ] || return 0
	umount -l /run/busybox
	rm /run/busybox
}
