#!/bin/sh
# Makes a Debian package of an installed tree:
# sh packaging/deb.sh TREE ARCH VERSION OUT
# TREE is what `make install DESTDIR=TREE PREFIX=/usr` made, ARCH is x86_64 or
# aarch64.
set -eu
tree=$1 arch=$2 version=$3 out=$4
case $arch in
x86_64) debian=amd64 qemu=qemu-system-x86 ;;
aarch64) debian=arm64 qemu="qemu-system-arm, qemu-efi-aarch64" ;;
*) echo "deb: \"$arch\" is neither x86_64 nor aarch64" >&2; exit 1 ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$tree" "$work/nsvm"
chmod -R u+rwX,go+rX,go-w "$work/nsvm"
install -d "$work/nsvm/DEBIAN" "$work/nsvm/usr/share/doc/nsvm"
install -m 0644 "$(dirname "$0")/../LICENSE" "$work/nsvm/usr/share/doc/nsvm/copyright"
size=$(du -sk "$work/nsvm/usr" | cut -f 1)
cat >"$work/nsvm/DEBIAN/control" <<CONTROL
Package: nsvm
Version: $version
Architecture: $debian
Maintainer: The nsvm developers <nsvm@localhost>
Installed-Size: $size
Depends: $qemu
Recommends: openssh-client
Section: admin
Priority: optional
Description: Linux namespaces inside small virtual machines
 nsvm keeps small Linux virtual machines, the way podman machine does, and runs
 namespace commands (unshare, nsenter, lsns) in them as if they were local.
CONTROL
dpkg-deb --root-owner-group --build "$work/nsvm" "$out/nsvm_${version}_$debian.deb"
