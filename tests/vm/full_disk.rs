//! A host's disk that is full when a guest's memory, files of it or the whole
//! machine are to be written there: a home on a tmpfs, in a mount namespace of its
//! own. (What needs no guest: `tests/cli/full_disk.rs`.)

use std::process::Command;

use crate::common::{Home, program};

/// Each fails and says why, leaves nothing, and disturbs nothing that runs; with
/// room it works.
const STORY: &str = r#"
mount -t tmpfs -o size=13g none "$NSVM_HOME" || exit 99
fail() {
    echo "$*" >&2
    cat "$NSVM_HOME.said" >&2
    "$NSVM" machine logs --supervisor m1 | tail -n 30 >&2
    "$NSVM" machine rm -f m1 >&2
    exit 98
}
leave() {   # so many MiB free
    used=$(df --output=used -k "$NSVM_HOME" | tail -n 1)
    mount -o "remount,size=$((used + $1 * 1024))k" "$NSVM_HOME" || exit 99
}
empty() { [ -z "$(ls -A "$1")" ]; }
refused() {   # WHAT COMMAND...: for want of room
    what=$1
    shift
    "$@" >"$NSVM_HOME.said" 2>&1 && fail "$what worked on a full disk"
    grep -qi 'no space' "$NSVM_HOME.said" || fail "$what does not say why"
    grep -q panicked "$NSVM_HOME.said" && fail "$what panicked"
    find "$NSVM_HOME" -name '.tmp*' -o -name 'suspended*' | grep . && fail "$what left something"
    echo "$what is refused"
}
: >"$NSVM_HOME.said"
out=$NSVM_HOME/out
"$NSVM" machine init -q --image debian-local --cpus 2 --memory 768 --disk-size 12 m1 || fail init
"$NSVM" machine start -q m1 >"$NSVM_HOME.said" 2>&1 || fail start
mkdir "$out"
in_m1() { "$NSVM" --machine m1 exec "$@"; }
in_m1 sh -c 'head -c 67108864 /dev/urandom >big; sync' || fail "a file in the guest"
in_m1 sh -c 'echo alive; exec sleep 600' >"$NSVM_HOME.alive" &
leave 16
refused cp "$NSVM" machine cp -q m1:big "$out/big"
empty "$out" || fail "cp left something"
refused suspend "$NSVM" machine suspend m1
[ "$("$NSVM" machine inspect --format '{{.State}}' m1)" = running ] || fail "it does not run on"
in_m1 pgrep -x sleep >"$NSVM_HOME.said" || fail "what ran there does not run on"
[ "$(cat "$NSVM_HOME.alive")" = alive ] || fail "nothing ran there"
mount -o remount,size=13g "$NSVM_HOME" || exit 99
"$NSVM" machine cp -q m1:big "$out/big" >"$NSVM_HOME.said" 2>&1 || fail "cp with room"
"$NSVM" machine suspend m1 >"$NSVM_HOME.said" 2>&1 || fail "suspend with room"
[ "$("$NSVM" machine inspect --format '{{.State}}' m1)" = suspended ] || fail "not suspended"
"$NSVM" machine stop --force m1 >"$NSVM_HOME.said" 2>&1 || fail "stop --force"
rm "$out/big"
leave 16
refused export "$NSVM" machine export -q m1 "$out/m1.nsvm"
empty "$out" || fail "export left something"
"$NSVM" machine rm -f m1 >"$NSVM_HOME.said" 2>&1 || fail rm
echo done
"#;

pub fn story() {
    let home = Home::new();
    let dir = home.path().join("home");
    std::fs::create_dir(&dir).unwrap();
    let namespaces = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    let mut command = Command::new("unshare");
    command.args([namespaces, "sh", "-c", STORY]).env("NSVM", program());
    command.env("NSVM_HOME", &dir).env("NSVM_SYSTEM_CONFIG", home.path().join("etc"));
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (told, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}: {told}{said}", output.status);
    for what in ["cp", "suspend", "export"] {
        assert!(told.contains(&format!("{what} is refused\n")), "{told}");
    }
    assert!(told.ends_with("done\n"), "{told}");
}
