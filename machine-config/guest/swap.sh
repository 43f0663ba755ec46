# Swap of $mib MiB, which nsvm sets in a line before this one. Where there is
# zram-generator it reads zram-generator.conf, which nsvm wrote, and on boots
# after that has set up the device already. Elsewhere a file, made once.
set -eu
if [ -e /usr/lib/systemd/system-generators/zram-generator ]; then
    exec systemctl start --no-block dev-zram0.swap
fi
dir=/var/lib/nsvm
file=$dir/swap
if [ ! -e "$file" ]; then
    mkdir -p "$dir"
    rm -f "$file.new"
    umask 077
    if [ "$(stat -f -c %T "$dir")" = btrfs ]; then
        # no copy-on-write and no compression for swap (btrfs-swapfile(5))
        btrfs filesystem mkswapfile --size "${mib}m" "$file.new" >/dev/null
    else
        fallocate -l "${mib}MiB" "$file.new" || { rm -f "$file.new"; exit 1; }
        mkswap "$file.new" >/dev/null
    fi
    chcon -t swapfile_t "$file.new" 2>/dev/null || :
    mv "$file.new" "$file"
fi
swapon "$file"
