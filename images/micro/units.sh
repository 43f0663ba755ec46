#!/bin/sh
# units.sh ROOT: what runs, and when, in a guest without systemd: `early` starts
# it all, and busybox's init is process 1 from then on.
set -eu
root=$1

# write FILE [MODE]: standard input becomes ROOT/FILE
write() {
	mkdir -p "$(dirname "$root/$1")"
	cat >"$root/$1"
	chmod "${2:-644}" "$root/$1"
}

# The initramfs calls it by the one name at the first boot, by the other later.
install -D -m 755 "$(dirname "$0")/early" "$root/usr/lib/nsvm/early"
install -m 644 "$(dirname "$0")/kept.sh" "$root/usr/lib/nsvm/kept.sh"
ln -sf ../lib/nsvm/early "$root/usr/sbin/init"

for name in halt poweroff reboot; do ln -sf ../bin/busybox "$root/usr/sbin/$name"; done
write etc/inittab <<EOF
# Of busybox's init. What runs all the time is kept by /usr/lib/nsvm/early.
::ctrlaltdel:/usr/sbin/reboot
::shutdown:/usr/bin/busybox swapoff -a
::shutdown:/usr/bin/busybox umount -a -r
EOF
# The ACPI power button, as busybox's acpid names it.
write etc/acpi/PWRF/00000080 755 <<EOF
#!/bin/sh
exec /usr/sbin/poweroff
EOF

# nsvm leaves the unit of its agent here, as in any guest; nobody reads it
mkdir -p "$root/etc/systemd/system"
rm -f "$root/etc/fstab" "$root/etc/modules-load.d/modules.conf" "$root/etc/modules"
