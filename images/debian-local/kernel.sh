#!/bin/sh
# kernel.sh WORK: takes the kernel package apart; the kernel goes to
# WORK/boot/kernel, the modules named in modules.txt and all they depend on to
# WORK/root/usr/lib/modules. Refuses a pattern that matches nothing: neither a
# module nor what the kernel has built in.
set -eu
here=$(dirname "$0") work=$1
k=$work/kernel

dpkg-deb -x "$work"/debs/linux-image-*.deb "$k"
version=$(ls "$k/usr/lib/modules")
from=$k/usr/lib/modules/$version
to=$work/root/usr/lib/modules/$version
mkdir -p "$to" "$work/boot"
cp "$k/boot/vmlinuz-$version" "$work/boot/kernel"
cp "$from"/modules.builtin* "$from/modules.order" "$to/"

# Resolved by `modinfo` and not by a full depmod, which takes ten times longer.
(cd "$from" && find kernel -name '*.ko*') >"$work/all"
sed 's/#.*//; /^ *$/d' "$here/modules.txt" | while read -r pattern; do
	grep -E "^kernel/$pattern(/|\.ko)" "$work/all" || grep -qE "^kernel/$pattern(/|\.ko)" "$from/modules.builtin" || {
		echo "build: modules.txt: the kernel has no $pattern" >&2
		exit 1
	}
done >"$work/new"
: >"$work/kept"
while [ -s "$work/new" ]; do
	cat "$work/new" >>"$work/kept"
	# names use _ and file names either _ or -
	(cd "$from" && xargs modinfo -F depends <"$work/new") | tr ',' '\n' | sort -u | sed '/^$/d; s/_/[-_]/g; s|.*|/&\\.ko|' >"$work/wanted"
	grep -f "$work/wanted" "$work/all" | grep -vxFf "$work/kept" >"$work/new" || :
done

sort -u "$work/kept" >"$work/keep"
(cd "$from" && tar -cf - -T "$work/keep") | tar -C "$to" -xf -
depmod -b "$work/root" "$version"
rm -rf "$k"
