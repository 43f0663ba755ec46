#!/bin/sh
# build.sh: makes a guest image out of Debian packages alone. Owns the command
# line, the checks, the order of the steps and the clean-up.
#
#   root.sh -> kernel.sh -> config.sh -> units.sh -> provisioner.sh -> initramfs.sh -> disk.sh
#
# What differs between the images is in provisioner.{txt,sh,args}: packages,
# configuration, kernel arguments. Those here are debian-local's; another image
# has its own in place of them (images/NAME/), and shares all else.
# Needs no mount of the host's and no loop device. Without root it enters a
# user namespace of its own.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin

usage='usage: build.sh --out FILE.qcow2 --work DIR [--packages-cache DIR] [--mirror URL] [--arch ARCH]
       build.sh [--arch ARCH] --check (ARCH: x86_64 or aarch64; else the host'"'"'s)'

say() { echo "build: $*" >&2; }
fail() { say "$*"; exit 1; }

# Sets $debian_arch, and $foreign if this host runs its programs by qemu-user.
choose_arch() {
	host=$(uname -m)
	case ${arch:-$host} in
	x86_64) debian_arch=amd64 ;;
	aarch64) debian_arch=arm64 ;;
	*) fail "no such architecture: ${arch:-$host} (x86_64, aarch64)" ;;
	esac
	foreign=''
	[ "${arch:-$host}" = "$host" ] || foreign=foreign
	[ "$foreign$debian_arch" != foreignamd64 ] || fail "images for x86_64 are built on x86_64 hosts only"
}

# Prints the missing host packages, if any; false when something is missing.
check() {
	missing=$(sed 's/#.*//; /^ *$/d' "$here/host-packages.txt" | while read -r package proof only; do
		case $only in '' | "$debian_arch" | "$foreign") ;; *) continue ;; esac
		case $proof in
		*/*) [ -e "$proof" ] || echo "$package" ;;
		*) command -v "$proof" >/dev/null || echo "$package" ;;
		esac
	done | tr '\n' ' ')
	[ -z "$missing" ] || fail "missing Debian packages: ${missing% } (apt-get install ${missing% })"
	[ -z "$foreign" ] || arch-test "$debian_arch" >/dev/null ||
		fail "this host does not run $arch programs (is binfmt_misc set up? see binfmt.d(5))"
}

# The archive that the host's own apt uses, if the host is a Debian.
host_mirror() {
	. /etc/os-release
	[ "$ID" = debian ] || return 0
	apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
		awk '$1 !~ /-/ && $2 == "main" { print $3; exit }'
}

out='' work='' cache='' mirror='' arch='' only_check=''
while [ $# -gt 0 ]; do
	[ "$1" = --check ] || [ $# -ge 2 ] || fail "$usage"
	case $1 in
	--check) only_check=1 && shift && continue ;;
	--arch) arch=$2 ;;
	--out) out=$2 ;;
	--work) work=$2 ;;
	--packages-cache) cache=$2 ;;
	--mirror) mirror=$2 ;;
	*) fail "$usage" ;;
	esac
	shift 2
done
[ -n "$only_check" ] || { [ -n "$out" ] && [ -n "$work" ]; } || fail "$usage"
choose_arch
check
[ -z "$only_check" ] || exit 0

if [ "$(id -u)" != 0 ]; then
	namespace='unshare --map-root-user --map-auto --mount --pid --fork --kill-child'
	$namespace true 2>/dev/null ||
		fail "neither root nor a user namespace with subordinate ids: use sudo (or install uidmap)"
	exec $namespace sh "$here/build.sh" --out "$out" --work "$work" --packages-cache "$cache" --mirror "$mirror" --arch "$arch"
fi

mirror=${mirror:-$(host_mirror)}
[ -n "$mirror" ] || fail "no Debian archive in this host's apt sources: name one with --mirror URL"

mkdir -p "$work"
work=$(cd "$work" && pwd)
scratch=$(mktemp -d "$work/build.XXXXXX")
trap 'rm -rf "$scratch" "$out.partial"' EXIT
trap 'exit 1' HUP INT TERM

# step SCRIPT TEXT ARGS...
step() {
	script=$1 text=$2
	shift 2
	say "$text"
	sh "$here/$script" "$@" >&2 || fail "$script failed"
}

step root.sh "install packages" "$scratch" "${cache:-$scratch/cache}" "$mirror" "$debian_arch"
step kernel.sh "choose kernel modules" "$scratch"
step config.sh "configure" "$scratch/root"
step units.sh "choose units" "$scratch/root"
step provisioner.sh "prepare for the first boot" "$scratch/root"
step initramfs.sh "make initramfs" "$scratch"
step disk.sh "make disk" "$scratch" "$out.partial" "$debian_arch"
mv "$out.partial" "$out"
say "made $out"
