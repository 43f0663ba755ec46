# Rust with the standard library of other systems. Sourced: `foreign_rust
# TARGET...` sets CARGO, RUSTC and BUILD_STD, which are words for cargo, and
# fails where no way is known.
#
# Rustup has these libraries ready. Debian has the source of its own compiler's
# library, and cargo builds it for any system (-Zbuild-std).
# shellcheck shell=sh
. scripts/toolchain.sh

# Outside the checkout: a fresh clone finds what an earlier one built.
FOREIGN_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/nsvm/build

foreign_rust() {
    BUILD_STD=
    _rustup_rust "$@" || _debian_rust
}

# Only if cargo is rustup's: libraries of another compiler are of no use to it.
_rustup_rust() {
    command -v rustup >/dev/null 2>&1 || return 1
    case $CARGO in /usr/bin/*) return 1 ;; esac
    rustup target add "$@" >&2
}

_debian_rust() {
    grep -qs "^ID=debian$" /etc/os-release || return 1
    sh scripts/setup.sh build-std || return 1
    CARGO=/usr/bin/cargo
    RUSTC=/usr/bin/rustc
    library=$(_debian_library) || return 1
    # Where cargo looks for the library's source otherwise belongs to rustup.
    export CARGO RUSTC RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT="$library"
    BUILD_STD=-Zbuild-std=std,panic_abort,test
}

# Unpacks the one directory that is needed of a large package, once a version.
_debian_library() {
    version=$(dpkg-query -W -f '${Version}' rustc-web) || return 1
    place=$FOREIGN_CACHE/rust-library-$(echo "$version" | tr -c 'A-Za-z0-9.\n' _)
    if ! [ -d "$place" ]; then
        echo "cross: unpacking the source of Rust's library, $version" >&2
        mkdir -p "$FOREIGN_CACHE"
        work=$(mktemp -d "$FOREIGN_CACHE/unpack.XXXXXX")
        (cd "$work" && apt-get download -q "rust-web-src=$version" >&2 &&
            dpkg-deb --fsys-tarfile ./*.deb >source.tar &&
            tar -xf source.tar --wildcards --strip-components=4 './usr/src/rustc-*/library') || {
            rm -rf "$work"
            echo "cross: cannot get Debian's rust-web-src $version" >&2
            return 1
        }
        mv "$work/library" "$place" 2>/dev/null || [ -d "$place" ] || return 1
        rm -rf "$work"
    fi
    echo "$place"
}
