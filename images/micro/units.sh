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

# To check the signatures of ext4 (2.4 MB) and the others takes an emulated CPU 0.2 s
# of a start of 3, and nothing here asks for it: those of the initramfs lose theirs.
# At a module's end stand signature, struct module_signature (12 bytes, the last
# four are the signature's length) and a word of 28 bytes (linux/module_signature.h).
for name in virtio_blk ext4 crc16 mbcache jbd2 crc32c_generic virtio_net failover net_failover qemu_fw_cfg evdev button; do
	find "$root/usr/lib/modules" -name "$name.ko.xz" | while read -r file; do
		xz -dc "$file" >"$root/run/module"
		size=$(stat -c %s "$root/run/module")
		tail -c 28 "$root/run/module" | grep -q '^~Module signature appended~$' || continue
		# shellcheck disable=SC2046 # four numbers
		set -- $(tail -c 32 "$root/run/module" | od -An -tu1 -N 4)
		head -c $((size - 40 - (($1 << 24) + ($2 << 16) + ($3 << 8) + $4))) "$root/run/module" | xz -3 --check=crc32 >"$file"
		rm "$root/run/module"
	done
done
