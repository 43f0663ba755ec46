#!/bin/sh
# Builds the archives of a release: sh packaging/dist.sh OUT [TARGET...]
#
# Without targets, those that this host can link: x86_64 and aarch64 Linux and
# x86_64 Windows on Debian, both Macs on a Mac. Each archive has nsvm and the
# agents of both architectures; those of Linux come as deb and rpm too. On a Mac
# NSVM_AGENTS names a directory with nsvm-agent-x86_64 and nsvm-agent-aarch64,
# which only Linux builds.
# The same sources give the same archives: times in them are the last commit's.
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

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc

# Linux programs are static: they run on any distribution.
flags() {
    case $1 in *-linux-gnu) echo "-C target-feature=+crt-static" ;; *) echo "" ;; esac
}

# TARGET FLAGS and words for cargo.
cargo_build() {
    target=$1 flags=$2
    shift 2
    foreign_rust "$target"
    # shellcheck disable=SC2086 # nothing or one word
    RUSTFLAGS=$flags "$CARGO" build --locked --target "$target" $BUILD_STD "$@"
}

agents() {
    if [ -n "${NSVM_AGENTS:-}" ]; then echo "$NSVM_AGENTS"; return; fi
    [ "$(uname -s)" = Linux ] || { echo "dist: set NSVM_AGENTS: only Linux builds agents" >&2; return 1; }
    mkdir -p "$built/agents"
    for arch in x86_64 aarch64; do
        target=$arch-unknown-linux-gnu
        cargo_build "$target" "$(sh scripts/agent-flags.sh "$target")" \
            --no-default-features --bin nsvm-agent --profile agent >&2
        cp "$built/$target/agent/nsvm-agent" "$built/agents/nsvm-agent-$arch"
    done
    echo "$built/agents"
}

# Manual pages and completions, which are the same for all systems, from the
# program for this one.
documents() {
    native=$("${RUSTC:-rustc}" -vV | sed -n 's/^host: //p')
    nsvm=$built/$native/release/nsvm
    [ -x "$nsvm" ] ||
        cargo_build "$native" "$(flags "$native")" --release --features vendored --bin nsvm >&2
    share=$built/documents
    rm -rf "$share"
    install -d "$share/man/man1" "$share/bash-completion/completions" \
        "$share/zsh/site-functions" "$share/fish/vendor_completions.d" "$share/nsvm"
    "$nsvm" man "$share/man/man1" >&2
    "$nsvm" completion bash >"$share/bash-completion/completions/nsvm"
    "$nsvm" completion zsh >"$share/zsh/site-functions/_nsvm"
    "$nsvm" completion fish >"$share/fish/vendor_completions.d/nsvm.fish"
    "$nsvm" completion powershell >"$share/nsvm/nsvm.ps1"
    echo "$share"
}

# DIR and NAME as OUT/NAME.tar.gz or .zip. Only Linux has what makes it the same
# each time.
pack() {
    dir=$1 name=$2
    if [ "$(uname -s)" = Linux ]; then
        find "$dir/$name" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    fi
    case $name in
    *windows*)
        rm -f "$out/$name.zip"
        (cd "$dir" && find "$name" | LC_ALL=C sort | TZ=UTC zip -qX -@ "$out/$name.zip")
        ;;
    *linux*)
        tar -C "$dir" --sort=name --owner=0 --group=0 --numeric-owner -cf - "$name" |
            gzip -9n >"$out/$name.tar.gz"
        ;;
    *) tar -C "$dir" -czf "$out/$name.tar.gz" "$name" ;;
    esac
}

case " $targets" in
*windows* | *linux*) sh scripts/setup.sh dist ;;
esac
agents=$(agents)
documents=$(documents)

for target in $targets; do
    echo "dist: $target" >&2
    cargo_build "$target" "$(flags "$target")" --release --features vendored --bin nsvm
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
    cp -R "$documents" "$tree/share"
    pack "$built/dist" "$name"
    case $target in
    *-linux-gnu)
        package=$built/dist/package-$target
        rm -rf "$package"
        install -d "$package/usr"
        cp -R "$tree/bin" "$tree/libexec" "$tree/share" "$package/usr/"
        sh packaging/deb.sh "$package" "${target%%-*}" "$version" "$out"
        sh packaging/rpm.sh "$package" "${target%%-*}" "$version" "$out"
        ;;
    esac
done

# Every crate that is in the programs, with its version, license and digest.
if ! command -v cargo-cyclonedx >/dev/null 2>&1; then
    "$CARGO" install --quiet --locked --version 0.5.9 --root "$built/tools" cargo-cyclonedx >&2
    PATH=$PATH:$built/tools/bin
fi
"$CARGO" cyclonedx --format json --all-features --target all \
    --override-filename "nsvm-$version-sbom" >&2
mv "nsvm-$version-sbom.json" "$out/"

sum=sha256sum
command -v $sum >/dev/null 2>&1 || sum="shasum -a 256"
(cd "$out" && rm -f SHA256SUMS && $sum -- * >.sums && mv .sums SHA256SUMS)
sh packaging/check.sh "$out"
