#!/bin/sh
# Installs what building, the demo and the tests need and is not there yet.
# Says what it does; asks first on a terminal, never when CI is set.
# Words ask for more: `foreign` is for building and running aarch64 guests on an
# x86_64 host, `build-std` for Rust's library of other systems from Debian's
# archive, `windows` for building and running Windows programs, `qemu-user` for
# building and running aarch64 programs, `dist` for releases, `test` for the shells
# whose completions are tested.
set -eu
words=" $* "
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }
is() { grep -qs "^ID=$1\$" /etc/os-release; }
has() { command -v "$1" >/dev/null 2>&1; }
asked_for() { case $words in *" $1 "*) ;; *) return 1 ;; esac; }
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif has sudo; then sudo "$@"; else
        say "this needs root, and there is no sudo: $*"
        exit 1
    fi
}

# Asks once, on a terminal, before anything is installed.
confirm() {
    say "will install: $*"
    if [ -n "${CI:-}" ] || ! [ -t 0 ]; then return; fi
    printf 'setup: go on? [Y/n] ' >&2
    read -r answer
    case $answer in '' | y | Y | yes) ;; *) exit 1 ;; esac
}

# The packages whose proof (a command, a file) is missing; lines "PACKAGE PROOF".
missing() {
    sed 's/#.*//; /^[[:space:]]*$/d' | while read -r package proof; do
        case $proof in
        */*) [ -e "$proof" ] || echo "$package" ;;
        *) PATH=$PATH:/usr/sbin:/sbin has "$proof" || echo "$package" ;;
        esac
    done | sort -u | tr '\n' ' '
}

# What building a guest of the host's own architecture needs; a third word names
# the guests that a line is for.
recipe_needs() {
    asked_for foreign && foreign=foreign || foreign=
    sed 's/#.*//' "$1" | awk -v arch="$(dpkg --print-architecture)" -v foreign="$foreign" \
        'NF == 2 || $3 == arch || $3 == foreign { print $1, $2 }'
}

linux_needs() {
    cat <<-EOF
	gcc cc
	make make
	pkg-config pkg-config
	ca-certificates /etc/ssl/certs/ca-certificates.crt
	openssh-client ssh
	EOF
}

debian() {
    needs=$(
        linux_needs
        echo "libssl-dev /usr/include/openssl/ssl.h"
        case $(uname -m) in
        x86_64) echo "qemu-system-x86 qemu-system-x86_64" ;;
        *) echo "qemu-system-arm qemu-system-aarch64" ;;
        esac
        if asked_for foreign; then
            echo "qemu-system-arm qemu-system-aarch64"
            echo "qemu-efi-aarch64 /usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
        fi
        if asked_for build-std; then
            printf 'rustc-web /usr/bin/rustc\ncargo-web /usr/bin/cargo\n'
        fi
        if asked_for dist || asked_for qemu-user; then
            echo "gcc-aarch64-linux-gnu aarch64-linux-gnu-gcc"
            echo "libc6-dev-arm64-cross /usr/aarch64-linux-gnu/lib/libc.a"
            echo "qemu-user-static qemu-aarch64-static"
        fi
        if asked_for dist; then
            echo "gcc-mingw-w64-x86-64-win32 x86_64-w64-mingw32-gcc"
            echo "perl perl"
            echo "rpm rpmbuild"
            echo "zip zip"
            echo "unzip unzip"
        fi
        if asked_for test; then
            printf 'zsh zsh\nfish fish\n'
        fi
        if asked_for windows; then
            echo "gcc-mingw-w64-x86-64-win32 x86_64-w64-mingw32-gcc"
            echo "wine64 /usr/lib/wine/wine64"
        fi
        echo "qemu-utils qemu-img"
        # The recipe of debian-local takes its packages from the host's archive.
        if is debian; then recipe_needs images/debian-local/host-packages.txt; fi
        if is debian && ! sh scripts/toolchain.sh --check 2>/dev/null; then
            printf 'rustc-web rustc-1.89\ncargo-web cargo-1.89\n'
        fi
    )
    packages=$(echo "$needs" | missing)
    [ -n "${packages% }" ] || return 0
    confirm "$packages"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -q >&2
    # A newer qemu-utils than the archive's QEMU would be removed in favour of
    # it: name both, in one version.
    case " $packages " in *" qemu-"*)
        version=$(apt-cache madison qemu-utils | awk 'NR == 1 { print $3 }')
        packages="$packages qemu-utils=$version"
        ;;
    esac
    # shellcheck disable=SC2086 # a list of words
    as_root apt-get install -y -q --no-install-recommends --allow-downgrades $packages >&2
}

fedora() {
    needs=$(
        linux_needs | sed 's/openssh-client/openssh-clients/; s/pkg-config /pkgconf-pkg-config /'
        echo "openssl-devel /usr/include/openssl/ssl.h"
        echo "qemu-system-x86-core qemu-system-x86_64"
        echo "qemu-img qemu-img"
        echo "glibc-static /usr/lib64/libc.a"
        sh scripts/toolchain.sh --check 2>/dev/null || printf 'cargo cargo-1.89\nrust rustc-1.89\n'
    )
    packages=$(echo "$needs" | missing)
    [ -n "${packages% }" ] || return 0
    confirm "$packages"
    # shellcheck disable=SC2086 # a list of words
    as_root dnf install -y $packages >&2
}

macos() {
    has brew || { say "Homebrew is needed: see https://brew.sh"; exit 1; }
    packages=
    has qemu-system-x86_64 || packages="$packages qemu"
    has pkg-config || packages="$packages pkgconf"
    [ -d "$(brew --prefix)/opt/openssl@3" ] || packages="$packages openssl@3"
    [ -n "$packages" ] || return 0
    confirm "$packages"
    # shellcheck disable=SC2086 # a list of words
    brew install $packages >&2
}

case $(uname -s) in
Darwin) macos ;;
Linux)
    if has apt-get; then debian
    elif has dnf; then fedora
    else
        lacking=$(linux_needs | missing)
        [ -z "${lacking% }" ] || { say "please install: $lacking"; exit 1; }
    fi
    ;;
*) say "this system is not known: install Rust, QEMU and OpenSSL's headers yourself" ;;
esac
sh scripts/toolchain.sh --check
