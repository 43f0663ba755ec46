#!/bin/sh
# root.sh WORK CACHE MIRROR ARCH: the packages of a guest of Debian's ARCH,
# unpacked and configured, in WORK/root; packages that are only taken apart (the
# kernel, and the boot loader that this host has none of) in WORK/debs.
# Owns the conversation with mmdebstrap and apt; changes no file of the guest
# beyond what packages bring. Run as (fake) root.
set -eu
here=$(dirname "$0") work=$1 cache=$2 mirror=$3 arch=$4

# apt inside mmdebstrap starts from an empty configuration: let it fetch the
# way the host does (proxies, credentials by reference, clock checks).
apt-config dump | grep '^Acquire::' | grep -v -e '^Acquire::IndexTargets' -e '^Acquire::Changelogs' -e ' "";$' >"$work/apt.conf" || :
cat >>"$work/apt.conf" <<EOF
Acquire::Languages "none";
APT::Install-Recommends "false";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d/";
EOF

# The kernel is not installed: its scripts would build a generic initramfs.
# Its versioned name is only known through the metapackage. GRUB's modules for
# a foreign architecture are in no package of this host's. The cache may hold
# other versions and architectures: exactly these are taken.
cat >"$work/fetch-parts.sh" <<'EOF'
set -eu
# fetch-parts.sh ROOT ARCH TO
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
cd "$1/var/cache/apt/archives"
arch=$2
image=$(apt-cache depends --important "linux-image-$arch" | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
[ "$arch" = amd64 ] && grub='' || grub=grub-efi-$arch-bin
for package in "$image" $grub; do
	apt-get --quiet=2 download "$package"
	cp -l "$(apt-cache show --no-all-versions "$package" | sed -n 's|^Filename: .*/||p')" "$3/"
done
EOF

# Keeping the archives outside makes the next build download nothing.
cat >"$work/cache.sh" <<'EOF'
set -eu
# cache.sh FROM TO: hard links where possible, copies elsewhere
mkdir -p "$2"
for deb in "$1"/*.deb; do
	[ -e "$deb" ] || continue
	cp -ln "$deb" "$2/" 2>/dev/null || cp -n "$deb" "$2/"
done
EOF

mkdir -p "$work/debs" "$cache"
mmdebstrap --quiet --mode=root --architectures="$arch" --format=directory --variant=essential \
	--include="$(cat "$here/packages.txt" "$here/provisioner.txt" | sed 's/#.*//' | tr -s ' \n' ,,)" \
	--aptopt="$work/apt.conf" \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/info/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--skip=essential/unlink \
	--setup-hook="sh '$work/cache.sh' '$cache' \"\$1/var/cache/apt/archives\"" \
	--customize-hook="sh '$work/fetch-parts.sh' \"\$1\" $arch '$work/debs'" \
	--customize-hook="sh '$work/cache.sh' \"\$1/var/cache/apt/archives\" '$cache'" \
	trixie "$work/root" "$mirror"
