#!/bin/sh
# units.sh ROOT: which systemd units run, when, and with what rights. Each
# process at boot costs some 50 to 100 ms on an emulated CPU, so what this
# machine has no use for does not start; and a login waits for nothing but
# what it needs itself: D-Bus, logind, the user's own systemd instance.
set -eu
root=$1
systemd=$root/etc/systemd

# write FILE: standard input becomes ROOT/etc/FILE
write() {
	mkdir -p "$(dirname "$root/etc/$1")"
	cat >"$root/etc/$1"
}

# systemctl warns of /proc, which offline work does not need
units() { chroot "$root" systemctl "$@" 2>&1 | grep -v -e '^Created symlink' -e '^Removed' -e /proc -e 'your invocation' -e 'Your mileage' >&2 || :; }

# hide FOLDER NAME...: an empty file of higher priority in its place
hide() {
	folder=$1
	shift
	mkdir -p "$root/etc/$folder"
	for name; do ln -sf /dev/null "$root/etc/$folder/$name"; done
}

units set-default multi-user.target

# Hardware, firmware and consoles that are not there: the way in is ssh.
units mask getty@tty1.service serial-getty@ttyS0.service getty-static.service \
	systemd-ask-password-wall.path systemd-ask-password-console.path \
	systemd-hibernate-clear.service systemd-hwdb-update.service \
	systemd-pcrextend.socket systemd-pcrlock.socket systemd-pcrmachine.service \
	systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-pstore.service \
	systemd-tpm2-setup.service systemd-tpm2-setup-early.service \
	systemd-udev-load-credentials.service

# Upkeep of a system that is installed once and lives for years. The random
# seed must not be shared by the machines of one image.
units mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
	e2scrub_reap.service fstrim.timer ldconfig.service systemd-firstboot.service \
	systemd-journal-catalog-update.service systemd-journal-flush.service \
	systemd-machine-id-commit.service systemd-random-seed.service \
	systemd-sysusers.service systemd-tmpfiles-clean.timer systemd-update-done.service

# Old or rare interfaces.
units mask remote-fs.target systemd-creds.socket systemd-initctl.socket systemd-sysext.socket

# The initramfs has done this already: file systems mounted, device nodes of
# modules made that load on first use. (Where a unit is a mount, systemd finds
# it active; only those that it would set up anew are masked.)
units mask kmod-static-nodes.service systemd-tmpfiles-setup-dev.service \
	systemd-tmpfiles-setup-dev-early.service sys-kernel-config.mount \
	modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service \
	modprobe@efi_pstore.service modprobe@fuse.service modprobe@loop.service
rm -f "$root/etc/fstab" "$root/etc/modules-load.d/modules.conf" "$root/etc/modules"

# Nobody is kept out while the system boots: a login that comes early waits
# for logind. So there is nothing to permit later.
hide tmpfiles.d systemd-nologin.conf
units mask systemd-user-sessions.service

# Generators: fstab and debug (systemd.mask= and the like) remain.
hide systemd/system-generators systemd-getty-generator systemd-gpt-auto-generator \
	systemd-hibernate-resume-generator systemd-rc-local-generator systemd-run-generator \
	systemd-ssh-generator systemd-system-update-generator systemd-sysv-generator systemd-tpm2-generator

# The user's own instance; it may use every controller that can be handed out.
hide systemd/user-generators systemd-xdg-autostart-generator
units --global mask ssh-agent.socket systemd-tmpfiles-setup.service systemd-tmpfiles-clean.timer
write systemd/system/user@.service.d/10-nsvm.conf <<EOF
[Service]
Delegate=cpu cpuset io memory pids
EOF

# udev: links and permissions for the devices a virtual machine has, and
# drivers for what hangs on the virtio bus. The rest of the coldplug (64
# consoles, every processor feature, ...) took longer than all of systemd.
hide udev/rules.d 60-autosuspend.rules 60-cdrom_id.rules 60-dmi-id.rules 60-drm.rules 60-evdev.rules \
	60-fido-id.rules 60-infiniband.rules 60-persistent-alsa.rules 60-persistent-input.rules \
	60-persistent-storage-mtd.rules 60-persistent-storage-tape.rules 60-persistent-v4l.rules \
	60-sensor.rules 60-serial.rules 64-btrfs.rules 70-camera.rules 70-joystick.rules \
	70-memory.rules 70-mouse.rules 70-touchpad.rules 70-uaccess.rules 71-seat.rules \
	73-seat-late.rules 73-special-net-names.rules 75-net-description.rules 75-probe_mtd.rules \
	78-sound-card.rules 80-debian-compat.rules 81-net-dhcp.rules 90-iocost.rules 96-e2scrub.rules
write systemd/system/systemd-udev-trigger.service.d/10-nsvm.conf <<EOF
[Service]
ExecStart=
ExecStart=-/usr/bin/udevadm trigger --action=add --subsystem-match=virtio-ports --subsystem-match=virtio --subsystem-match=block --subsystem-match=net --subsystem-match=input --subsystem-match=rtc
EOF

# D-Bus' socket is all that a login needs to find; it waits on it for logind.
write systemd/system/dbus.socket.d/10-nsvm.conf <<EOF
[Unit]
DefaultDependencies=no
Before=sockets.target shutdown.target
Conflicts=shutdown.target
EOF
# Debian checks the configuration with a second sshd before each start.
write systemd/system/ssh.service.d/10-nsvm.conf <<EOF
[Unit]
DefaultDependencies=no
Wants=dbus.socket
After=dbus.socket
Before=shutdown.target
Conflicts=shutdown.target
[Service]
ExecStartPre=
EOF
# After the first boot `early` has started these before systemd. What they
# were to tell the host is told; once all is up a restart takes over.
install -D -m 755 "$(dirname "$0")/early" "$root/usr/lib/nsvm/early"
install -m 644 "$(dirname "$0")/kept.sh" "$root/usr/lib/nsvm/kept.sh"
for unit in ssh nsvm-agent nsvm-ready; do
	write systemd/system/$unit.service.d/20-early.conf <<-EOF
		[Unit]
		ConditionPathExists=!/run/nsvm/early
	EOF
done
write systemd/system/ssh.service.d/30-early.conf <<EOF
[Service]
ExecStartPre=-/usr/lib/nsvm/early end ssh
EOF
write systemd/system/nsvm-agent.service.d/30-early.conf <<EOF
[Service]
ExecStartPre=-/usr/lib/nsvm/early end agent
EOF
write systemd/system/nsvm-early-done.service <<EOF
[Unit]
Description=nsvm: the units of what was started early may take over
ConditionPathExists=/run/nsvm/early
After=ssh.service nsvm-agent.service nsvm-ready.service
[Service]
Type=oneshot
ExecStart=/bin/rm /run/nsvm/early
[Install]
WantedBy=multi-user.target
EOF
units enable nsvm-early-done.service

# A key from Ignition is kept; otherwise the first start makes one.
write systemd/system/sshd-keygen.service <<EOF
[Unit]
Description=SSH host key
DefaultDependencies=no
ConditionFileNotEmpty=!/etc/ssh/ssh_host_ed25519_key
Before=ssh.service
[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
EOF

write systemd/journald.conf.d/10-nsvm.conf <<EOF
[Journal]
Storage=volatile
RuntimeMaxUse=16M
EOF
write systemd/logind.conf.d/10-nsvm.conf <<EOF
[Login]
NAutoVTs=0
ReserveVT=0
EOF

# Debian enables what it installs; keep a later \`preset-all\` from doing so.
write systemd/system-preset/99-default.preset <<EOF
enable ssh.service
disable *
EOF
