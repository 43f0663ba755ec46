#!/bin/sh
# Builds the archives of a release: sh packaging/dist.sh OUT [TARGET...]
#
# Without targets, those that this host can link: x86_64 and aarch64 Linux and
# x86_64 Windows on Debian, both Macs on a Mac. Each archive has nsvm and the
# agents of both architectures; those of Linux come as deb and rpm too. On a Mac
# NSVM_AGENTS names a directory with nsvm-agent-x86_64 and nsvm-agent-aarch64,
# which only Linux builds.
set -eu
cd "$(dirname "$0")/.."
. scripts/foreign.sh
out=$1
shift
mkdir -p "$out"
out=$(cd "$out" && pwd)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
built=${CARGO_TARGET_DIR:-$PWD/target}

case $(uname -s) in
Darwin) default="aarch64-apple-darwin x86_64-apple-darwin" ;;
*) default="x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu x86_64-pc-windows-gnu" ;;
esac
targets=${*:-$default}

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc

# Linux programs are static: they run on any distribution.
flags() {
    case $1 in *-linux-gnu) echo "-C target-feature=+crt-static" ;; *) echo "" ;; esac
}

cargo_build() {
    target=$1
    shift
    foreign_rust "$target"
    # shellcheck disable=SC2086 # nothing or one word
    RUSTFLAGS=$(flags "$target") "$CARGO" build --locked --target "$target" $BUILD_STD "$@"
}

agents() {
    if [ -n "${NSVM_AGENTS:-}" ]; then echo "$NSVM_AGENTS"; return; fi
    [ "$(uname -s)" = Linux ] || { echo "dist: set NSVM_AGENTS: only Linux builds agents" >&2; return 1; }
    mkdir -p "$built/agents"
    for arch in x86_64 aarch64; do
        target=$arch-unknown-linux-gnu
        cargo_build "$target" --no-default-features --bin nsvm-agent --profile agent >&2
        cp "$built/$target/agent/nsvm-agent" "$built/agents/nsvm-agent-$arch"
    done
    echo "$built/agents"
}

case " $targets" in
*windows* | *linux*) sh scripts/setup.sh dist ;;
esac
agents=$(agents)

for target in $targets; do
    echo "dist: $target" >&2
    cargo_build "$target" --release --features vendored --bin nsvm
    name=nsvm-$version-$target
    tree=$built/dist/$name
    rm -rf "$tree"
    case $target in
    *windows*)
        # Beside each other, as Windows has no libexec.
        install -d "$tree"
        install -m 0755 "$built/$target/release/nsvm.exe" "$tree/"
        install -m 0755 "$agents"/nsvm-agent-* "$tree/"
        ;;
    *)
        install -d "$tree/bin" "$tree/libexec/nsvm"
        install -m 0755 "$built/$target/release/nsvm" "$tree/bin/nsvm"
        install -m 0755 "$agents"/nsvm-agent-* "$tree/libexec/nsvm/"
        ;;
    esac
    install -m 0644 LICENSE README.md CHANGELOG.md "$tree/"
    case $target in
    *windows*) (cd "$built/dist" && rm -f "$out/$name.zip" && zip -qr "$out/$name.zip" "$name") ;;
    *) tar -C "$built/dist" -czf "$out/$name.tar.gz" "$name" ;;
    esac
    case $target in
    *-linux-gnu)
        package=$built/dist/package-$target
        rm -rf "$package"
        install -d "$package/usr"
        cp -R "$tree/bin" "$tree/libexec" "$package/usr/"
        sh packaging/deb.sh "$package" "${target%%-*}" "$version" "$out"
        sh packaging/rpm.sh "$package" "${target%%-*}" "$version" "$out"
        ;;
    esac
done

# Every crate that is in the programs, with its version, license and digest.
if command -v cargo-cyclonedx >/dev/null 2>&1; then
    "$CARGO" cyclonedx --format json --all-features --override-filename "nsvm-$version-sbom" >&2
    mv "nsvm-$version-sbom.json" "$out/"
else
    echo "dist: no SBOM, because cargo-cyclonedx is not installed: cargo install cargo-cyclonedx" >&2
fi
sum=sha256sum
command -v $sum >/dev/null 2>&1 || sum="shasum -a 256"
(cd "$out" && rm -f SHA256SUMS && $sum -- * >.sums && mv .sums SHA256SUMS)
