#!/bin/sh
# root.sh WORK CACHE MIRROR: the guest's packages, unpacked and configured, in
# WORK/root; packages that are only taken apart (the kernel) in WORK/debs.
# Owns the conversation with mmdebstrap and apt; changes no file of the guest
# beyond what packages bring. Run as (fake) root.
set -eu
here=$(dirname "$0") work=$1 cache=$2 mirror=$3

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
# Its versioned name is only known through the metapackage. The cache may hold
# kernels of other versions and architectures: exactly this one is taken.
cat >"$work/fetch-kernel.sh" <<'EOF'
set -eu
# fetch-kernel.sh ROOT TO
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
cd "$1/var/cache/apt/archives"
image=$(apt-cache depends --important linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
file=$(apt-cache show --no-all-versions "$image" | sed -n 's|^Filename: .*/||p')
apt-get --quiet=2 download "$image"
cp -l "$file" "$2/"
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
mmdebstrap --quiet --mode=root --format=directory --variant=essential \
	--include="$(cat "$here/packages.txt" "$here/provisioner.txt" | sed 's/#.*//' | tr -s ' \n' ,,)" \
	--aptopt="$work/apt.conf" \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/info/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--skip=essential/unlink \
	--setup-hook="sh '$work/cache.sh' '$cache' \"\$1/var/cache/apt/archives\"" \
	--customize-hook="sh '$work/fetch-kernel.sh' \"\$1\" '$work/debs'" \
	--customize-hook="sh '$work/cache.sh' \"\$1/var/cache/apt/archives\" '$cache'" \
	trixie "$work/root" "$mirror"
