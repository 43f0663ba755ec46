# Takes over what the host says about this machine at this start: directories of
# its own (9p), and what has changed since the first boot. Lines of a word and
# its value; everything is done again at each boot and changes nothing twice.
# /run/nsvm-volumes tells the host how it went: "+TARGET", or "-TARGET: REASON".
set -u
umask 022
passed=/sys/firmware/qemu_fw_cfg/by_name/opt/nsvm/settings/raw
volumes=/run/nsvm-volumes
key=/etc/ssh/ssh_host_ed25519_key

# Some roots do not let even root make a directory in them (Fedora CoreOS).
make_target() {
    mkdir -p "$1" 2>/dev/null && return
    chattr -i / 2>/dev/null
    mkdir -p "$1"
    made=$?
    chattr +i / 2>/dev/null
    return $made
}

# is_mounted TAG TARGET; the kernel writes a space as \040
is_mounted() {
    while read -r tag at _; do
        [ "$tag" = "$1" ] && [ "$(printf %b "$at")" = "$2" ] && return
    done </proc/self/mounts
    return 1
}

# mount_volume TAG ro|rw TARGET
mount_volume() {
    is_mounted "$1" "$3" && return
    make_target "$3" || return
    { [ -d /sys/module/9p ] && [ -d /sys/module/9pnet_virtio ]; } || modprobe -q -a 9pnet_virtio 9p
    options=trans=virtio,version=9p2000.L,msize=262144,cache=mmap,nodev,nosuid,$2
    [ ! -e /sys/fs/selinux/enforce ] || options=$options,context=system_u:object_r:nfs_t:s0
    mount -t 9p -o "$options" "$1" "$3"
}

volume() {
    rest=${1#* }
    target=${rest#* }
    if said=$(mount_volume "${1%% *}" "${rest%% *}" "$target" 2>&1); then
        printf '+%s\n' "$target" >>"$volumes.new"
    else
        grep -qw 9p /proc/filesystems || said='its kernel has no 9p'
        printf '%s: %s\n' "-$target" "$(printf %s "$said" | tr '\n' ' ')" >>"$volumes.new"
        failed=1
    fi
}

# put FILE MODE: standard input, unless that is there already
put() {
    cat >"$1.new"
    chmod "$2" "$1.new"
    if cmp -s "$1.new" "$1"; then rm "$1.new"; else mv "$1.new" "$1"; fi
}

host_name() {
    printf '%s\n' "$1" | put /etc/hostname 644
    printf '%s' "$1" >/proc/sys/kernel/hostname
}

time_zone() {
    ln -sfn "../usr/share/zoneinfo/$1" /etc/localtime
    [ ! -e /etc/timezone ] || printf '%s\n' "$1" | put /etc/timezone 644
}

# sshd is not up yet: it starts with this key.
host_key() {
    printf %s "$1" | base64 -d | put "$key" 600
    ssh-keygen -y -f "$key" | put "$key.pub" 644
}

# user_key KIND OLD KIND NEW COMMENT...: who had the first has the second
user_key() {
    old="$1 $2"
    shift 2
    for file in /root /home/* /var/home/* /var/roothome; do
        for file in "$file/.ssh/authorized_keys" "$file/.ssh/authorized_keys.d/ignition"; do
            grep -qsF "$old" "$file" || continue
            while IFS= read -r line || [ -n "$line" ]; do
                case $line in "$old"*) line="$*" ;; esac
                printf '%s\n' "$line"
            done <"$file" >/run/nsvm-keys
            # in place: owner, mode and label stay
            cat /run/nsvm-keys >"$file"
            rm /run/nsvm-keys
        done
    done
}

failed=0
: >"$volumes.new"
while IFS= read -r line; do
    value=${line#* }
    case $line in
    'volume '*) volume "$value" ;;
    'host-name '*) host_name "$value" ;;
    'time-zone '*) time_zone "$value" ;;
    'machine-id '*) printf '%s\n' "$value" | put /etc/machine-id 444 ;;
    'host-key '*) host_key "$value" ;;
    # shellcheck disable=SC2086 # two keys, words both
    'user-key '*) user_key $value ;;
    esac
done <"$passed"
mv "$volumes.new" "$volumes"
exit $failed
