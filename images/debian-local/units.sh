#!/bin/sh
# units.sh ROOT: which systemd units run, when, and with what rights. Each
# process at boot costs some 50 ms on an emulated CPU, so what a virtual
# machine has no use for is masked.
set -eu
root=$1
systemd=$root/etc/systemd

# write FILE: standard input becomes ROOT/etc/systemd/FILE
write() {
	mkdir -p "$(dirname "$systemd/$1")"
	cat >"$systemd/$1"
}

mask() { chroot "$root" systemctl --quiet mask "$@"; }

# Hardware and firmware that is not there; getty: the way in is ssh.
mask systemd-pstore.service systemd-hwdb-update.service \
	systemd-tpm2-setup-early.service systemd-tpm2-setup.service \
	systemd-pcrmachine.service systemd-pcrphase.service systemd-pcrphase-sysinit.service \
	systemd-hibernate-clear.service \
	getty@tty1.service serial-getty@ttyS0.service getty-static.service \
	systemd-ask-password-wall.path systemd-ask-password-console.path
# Upkeep of a system that is installed once and updated in place; this one is
# replaced. The random seed must not be shared by machines of one image.
mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer \
	e2scrub_all.timer e2scrub_reap.service systemd-tmpfiles-clean.timer \
	ldconfig.service systemd-firstboot.service systemd-machine-id-commit.service \
	systemd-sysusers.service systemd-update-done.service \
	systemd-journal-catalog-update.service systemd-journal-flush.service \
	systemd-random-seed.service
# The initramfs has mounted these file systems, or their modules load on demand.
mask kmod-static-nodes.service modprobe@configfs.service modprobe@drm.service \
	modprobe@efi_pstore.service modprobe@fuse.service modprobe@dm_mod.service modprobe@loop.service \
	dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount
rm -f "$root/etc/modules-load.d/modules.conf" "$root/etc/modules"

# Debian enables what it installs; keep a later `preset-all` from doing so.
write system-preset/99-default.preset <<EOF
enable ssh.service
disable *
EOF

write journald.conf.d/10-nsvm.conf <<EOF
[Journal]
Storage=volatile
RuntimeMaxUse=16M
EOF

# The user's own systemd instance may use every controller that can be handed out.
write system/user@.service.d/10-nsvm.conf <<EOF
[Service]
Delegate=cpu cpuset io memory pids
EOF

# Debian checks the configuration with a second sshd before each start.
write system/ssh.service.d/10-nsvm.conf <<EOF
[Service]
ExecStartPre=
EOF
# A key from Ignition is kept; otherwise the first start makes one.
write system/sshd-keygen.service <<EOF
[Unit]
Description=SSH host key
ConditionFileNotEmpty=!/etc/ssh/ssh_host_ed25519_key
Before=ssh.service
[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
EOF
