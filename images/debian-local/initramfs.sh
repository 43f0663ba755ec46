#!/bin/sh
# initramfs.sh WORK: builds WORK/boot/initrd out of `init`, the guest's
# own static busybox and the few modules that are needed before the root is.
set -eu
here=$(dirname "$0") work=$1
t=$work/initramfs
version=$(ls "$work/root/usr/lib/modules")
bb=$work/root/usr/bin/busybox

# Ignition writes keys as the user: `/` must be open to everybody.
mkdir -p "$t" && chmod 755 "$t"
mkdir "$t/bb" "$t/modules" "$t/dev" "$t/proc" "$t/sys" "$t/run" "$t/sysroot" "$t/tmp"
cp "$here/init" "$t/init"
cp "$bb" "$t/bb/busybox"
# Its shell finds the others in itself (273 links take an emulated CPU 20 ms to make
# and to remove).
ln -s busybox "$t/bb/sh"

# What `init` mounts first.
cat >"$t/mounts" <<EOF
dev /dev devtmpfs defaults 0 0
proc /proc proc defaults 0 0
sys /sys sysfs defaults 0 0
run /run tmpfs mode=755,nosuid,nodev 0 0
EOF

# Ignition relabels for SELinux whether or not the system has it, and gives up
# when there is no setfiles.
printf '#!/bb/sh\nexec cat >/dev/null\n' >"$t/bb/setfiles"
chmod 755 "$t/init" "$t/bb/busybox" "$t/bb/setfiles"

# unsign FILE: at a module's end stand signature, struct module_signature (12 bytes,
# the last four are the signature's length) and a word of 28 bytes
# (linux/module_signature.h).
unsign() {
	tail -c 28 "$1" | grep -q '^~Module signature appended~$' || return 0
	size=$(stat -c %s "$1")
	# shellcheck disable=SC2046 # four numbers
	set -- "$1" $(tail -c 32 "$1" | od -An -tu1 -N 4)
	truncate -s $((size - 40 - (($2 << 24) + ($3 << 16) + ($4 << 8) + $5))) "$1"
}

# add LIST MODULE...: with what they depend on. Loading order is dependency order.
# They are unpacked here since busybox cannot do it, and the archive as a whole is
# packed: the BIOS reads slower than the kernel unpacks. Nothing in the guest asks for
# signatures, and to check these takes an emulated CPU 0.2 s.
add() {
	list=$1
	shift
	for module; do
		modprobe -d "$work/root" -S "$version" --show-depends "$module"
	done | sed -n 's/^insmod \(.*[^ ]\) *$/\1/p' | awk '!seen[$0]++' | while read -r file; do
		name=$(basename "$file" .xz)
		xz -dc "$file" >"$t/modules/$name"
		unsign "$t/modules/$name"
		echo "$name" >>"$t/modules/$list"
	done
}
add order virtio_blk ext4 virtio_net virtio_console qemu_fw_cfg evdev button
add 9p 9pnet_virtio 9p

sed -n 's/^[^#]* \([^ ]*\) c\([0-9]*\):\([0-9]*\)$/\1 \2 \3/p' \
	"$work/root/usr/lib/modules/$version/modules.devname" >"$t/modules/nodes"

(cd "$t" && find . | LC_ALL=C sort | "$bb" cpio -o -H newc -R 0:0 2>/dev/null) | zstd -q -19 >"$work/boot/initrd"
rm -rf "$t"
