#!/bin/sh
# disk.sh WORK OUT ARCH: makes the disk of WORK/root, a system of Debian's ARCH,
# without mounting anything:
#
#   | GPT | 1 BIOS-BOOT: GRUB's core | 2 EFI-SYSTEM: GRUB for UEFI, nsvm/ | 3 root |
#
# The root comes last so that it can grow. Only amd64 has a BIOS to fill the first
# partition for. OUT is a qcow2. In nsvm/ are kernel, initrd and GRUB's configuration,
# and, where these two are all it takes to boot, their arguments in one line: then the
# host may start the kernel without GRUB, which takes a third of a boot that is
# translated.
set -eu
here=$(dirname "$0") work=$1 out=$2 arch=$3
disk=$work/disk.raw

# GRUB's modules: this host's, or those of the package taken apart; the type of
# the root's partition (Discoverable Partitions Specification)
case $arch in
amd64)
	grub=/usr/lib/grub efi=x86_64-efi loader=BOOTX64.EFI
	root_type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
	;;
arm64)
	dpkg-deb -x "$work"/debs/grub-efi-arm64-bin_*.deb "$work/grub"
	grub=$work/grub/usr/lib/grub efi=arm64-efi loader=BOOTAA64.EFI
	root_type=B921B045-1DF0-41C3-AF44-4C6F280D3FAE
	;;
esac

# words FILE...: their words in one line, without comments
words() { sed 's/#.*//' "$@" | tr -s ' \n' ' ' | sed 's/^ //; s/ $//'; }

# MiB; the root's free space is for machines that nobody gave a larger disk
esp_mib=$(($(cat "$work"/boot/* | wc -c) / 1048576 + 5))
core_at=1 esp_at=2 root_at=$((2 + esp_mib)) root_mib=1024
sectors() { echo $(($1 * 2048)); }

# place FILE AT_MIB
place() { dd if="$1" of="$disk" bs=1M seek="$2" conv=notrunc,sparse status=none; }

# poke VALUE OFFSET FILE: VALUE as a 64-bit little-endian number
poke() {
	bytes='' value=$1
	for _ in 1 2 3 4 5 6 7 8; do
		bytes="$bytes\\$(printf %03o $((value % 256)))" value=$((value / 256))
	done
	# shellcheck disable=SC2059 # the format is the bytes
	printf "$bytes" | dd of="$3" bs=1 seek="$2" conv=notrunc status=none
}

truncate -s $((root_at + root_mib + 1))M "$disk"
sfdisk --quiet "$disk" <<EOF
label: gpt
start=$(sectors $core_at), size=2048, type=21686148-6449-6E6F-744E-656564454649, name=BIOS-BOOT
start=$(sectors $esp_at), size=$(sectors $esp_mib), type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=EFI-SYSTEM
start=$(sectors $root_at), size=$(sectors $root_mib), type=$root_type, name=root
EOF

# resize: descriptors are reserved for growing up to 2 TiB (in 4 KiB blocks)
mke2fs -qF -t ext4 -L root -m 0 -e remount-ro -E resize=536870912,root_owner=0:0 -d "$work/root" "$work/root.ext4" ${root_mib}M
place "$work/root.ext4" $root_at

# (,gpt2): on the disk that GRUB itself was loaded from
make_grub() {
	format=$1 image=$2
	shift 2
	grub-mkimage -d "$grub/$format" -O "$format" -p '(,gpt2)/nsvm' -o "$image" part_gpt fat normal smbios regexp test "$@"
}

# What grub-install does, which wants a block device: boot.img loads the first
# sector of core.img from a fixed place (at byte 0x5c), which loads the rest
# from the place in its last list entry (at 0x1f4). The jump at 0x66 becomes
# two NOPs, as grub-install does for disks that the BIOS numbers right.
boot_by_bios() {
	make_grub i386-pc "$work/core.img" biosdisk linux16
	poke $(($(sectors $core_at) + 1)) 500 "$work/core.img"
	place "$work/core.img" $core_at
	dd if=$grub/i386-pc/boot.img of="$disk" bs=1 count=440 conv=notrunc status=none
	poke "$(sectors $core_at)" 92 "$disk"
	printf '\220\220' | dd of="$disk" bs=1 seek=102 conv=notrunc status=none
}
[ $arch != amd64 ] || boot_by_bios

make_grub $efi "$work/grub.efi" linux
truncate -s ${esp_mib}M "$work/esp"
mkfs.vfat -n ESP "$work/esp" >"$work/log" 2>&1
mmd -i "$work/esp" ::EFI ::EFI/BOOT ::nsvm
mcopy -i "$work/esp" "$work/grub.efi" ::EFI/BOOT/$loader
arguments=$(words "$here/arguments.txt" "$here/system.args" "$here/provisioner.args")
sed "s|@arguments@|$arguments|" "$here/grub.cfg" >"$work/boot/grub.cfg"
case $arch$arguments in amd64*ignition.platform.id=*)
	printf '%s' "console=ttyS0 $arguments" >"$work/boot/arguments"
	;;
esac
mcopy -i "$work/esp" "$work"/boot/* ::nsvm
place "$work/esp" $esp_at

qemu-img convert -q -f raw -O qcow2 "$disk" "$out"
