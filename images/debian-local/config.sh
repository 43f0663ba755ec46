#!/bin/sh
# config.sh ROOT: what the guest is configured to be: names, logins, limits.
# Owns files below ROOT/etc, except systemd units (units.sh).
set -eu
root=$1
etc=$root/etc

# write FILE [MODE]: standard input becomes ROOT/FILE
write() {
	mkdir -p "$(dirname "$root/$1")"
	cat >"$root/$1"
	chmod "${2:-644}" "$root/$1"
}

# Names, time and language. The initramfs gives each machine its own identity.
echo uninitialized | write etc/machine-id 444
echo nsvm | write etc/hostname
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' | write etc/hosts
printf '0.0 0 0.0\n0\nUTC\n' | write etc/adjtime
ln -sf /usr/share/zoneinfo/Etc/UTC "$etc/localtime"
echo LANG=C.UTF-8 | write etc/default/locale
echo LANG=C.UTF-8 | write etc/locale.conf

# A user reaches root without a password by either name of the group.
chroot "$root" groupadd --system wheel
write etc/sudoers.d/10-nsvm 440 <<EOF
%sudo ALL=(ALL:ALL) NOPASSWD: ALL
%wheel ALL=(ALL:ALL) NOPASSWD: ALL
EOF

# Keys alone open the door. The session limits are above what one link with
# many streams, or many parallel tests, will ask for.
rm -f "$etc"/ssh/ssh_host_*
# a host's LANG names a locale that this small system does not have
sed -i 's/^AcceptEnv/#&/' "$etc/ssh/sshd_config"
write etc/ssh/sshd_config.d/10-nsvm.conf <<EOF
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys.d/ignition
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM yes
UseDNS no
PrintLastLog no
MaxSessions 200
MaxStartups 200
AllowStreamLocalForwarding yes
EOF
sed -i 's|^Subsystem.*|Subsystem sftp internal-sftp|' "$etc/ssh/sshd_config"

# No message of the day and no mail check, which cost a login some processes.
# pam_systemd (in common-session) starts the user's own systemd instance.
write etc/pam.d/sshd <<EOF
@include common-auth
account  required  pam_nologin.so
@include common-account
session  required  pam_loginuid.so
session  optional  pam_keyinit.so force revoke
session  required  pam_limits.so
session  required  pam_env.so envfile=/etc/default/locale
@include common-session
@include common-password
EOF

# Namespaces are what this machine is for. (A leading - : where it exists.)
{
	echo '-kernel.unprivileged_userns_clone = 1'
	echo '-kernel.apparmor_restrict_unprivileged_userns = 0'
	for kind in cgroup ipc mnt net pid time user uts; do
		echo "user.max_${kind}_namespaces = 65536"
	done
	# ping and low ports inside namespaces without privilege
	echo 'net.ipv4.ping_group_range = 0 2147483647'
	echo 'net.ipv4.ip_unprivileged_port_start = 0'
} | write etc/sysctl.d/50-nsvm.conf

# What the build left behind.
rm -rf "$etc/apt/apt.conf.d/99mmdebstrap" \
	"$root"/var/cache/* "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt
mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/lib/nsvm"
