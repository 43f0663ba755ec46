# Gives the root what its disk has gained: the last partition and the file
# system on it grow to the end. Prints the file system's size in bytes. Run by
# nsvm as root after `machine set --disk-size`; done twice it changes nothing.
set -u
at=/sysroot
findmnt -n -M "$at" >/dev/null || at=/
device=$(findmnt -n -o SOURCE -M "$at") kind=$(findmnt -n -o FSTYPE -M "$at")
# a subvolume or a bind mount stands in brackets behind it
device=$(readlink -f "${device%%\[*}")
part=/sys/class/block/${device##*/}

# The partition is followed by more than the spare GPT, which one MiB holds.
has_room() {
    [ -e "$part/partition" ] || return
    read -r start <"$part/start"
    read -r size <"$part/size"
    read -r all <"$(readlink -f "$part/..")/size"
    [ $((all - start - size)) -gt 2048 ]
}

grow_partition() {
    read -r number <"$part/partition"
    disk=/dev/$(basename "$(readlink -f "$part/..")")
    if command -v growpart >/dev/null; then
        growpart "$disk" "$number"
        return
    fi
    sfdisk --quiet --relocate gpt-bak-std "$disk"
    echo ', +' | sfdisk --quiet --no-reread --force -N "$number" "$disk"
    partx --update --nr "$number" "$disk"
}

{
    ! has_room || grow_partition
    case $kind in
    ext4) resize2fs "$device" ;;
    xfs) xfs_growfs "$at" ;;
    btrfs) btrfs filesystem resize max "$at" ;;
    esac
} >&2
df -B1 --output=size "$at" | tail -n 1
