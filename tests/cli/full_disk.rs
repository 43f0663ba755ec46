//! A disk that is full at each write in turn: a home on a tmpfs, in a mount
//! namespace of its own, with ever a page more that is free, or a file.

use std::process::Command;

use crate::common::{Home, program};

/// Pages are short. Only machines' disks have room: one that could never fit is
/// refused at once.
const PAGES: &str = r#"
mount -t tmpfs -o size=16m none "$NSVM_HOME" && mkdir "$NSVM_HOME/data" || exit 99
mount -t tmpfs -o size=2g none "$NSVM_HOME/data" || exit 99
leave() {   # so many times 4 KiB free
    rm -f "$NSVM_HOME/filler"
    head -c 16m /dev/zero >"$NSVM_HOME/filler" 2>/dev/null
    truncate -s -$(($1 * 4))K "$NSVM_HOME/filler"
}
"#;

/// Files are short, everywhere.
const FILES: &str = r#"
mount -t tmpfs -o size=2g none "$NSVM_HOME" || exit 99
leave() {   # so many files more
    used=$(df --output=iused "$NSVM_HOME" | tail -n 1)
    mount -o remount,nr_inodes=$((used + $1)) "$NSVM_HOME" || exit 97
}
"#;

/// Each verb fails and says why, leaving nothing, until there is room enough.
const STORY: &str = r#"
fail() { echo "$*" >&2; cat "$NSVM_HOME.said" >&2; exit 98; }
until_it_works() {   # VERB CHECK COMMAND...: CHECK fails if it left something
    verb=$1 check=$2 free=0
    shift 2
    while leave $free; ! "$NSVM" "$@" >"$NSVM_HOME.said" 2>&1; do
        [ "$free" -lt 512 ] || fail "$verb never works"
        grep -qi 'no space\|free some space\|more are needed' "$NSVM_HOME.said" || fail "$verb, $free free"
        grep -q panicked "$NSVM_HOME.said" && fail "$verb, $free free"
        $check || fail "$verb left something, $free free"
        free=$((free + 1))
    done
    echo "$verb works with $free"
}
litter() { find "$NSVM_HOME" -name '.tmp-*' | grep .; }
no_machine() { ! litter && [ -z "$(find "$NSVM_HOME" -name '*m1*' ! -name '*.lock')" ]; }
unchanged() { ! litter && [ "$(cat "$NSVM_HOME/config/machine/m1.json")" = "$config" ]; }
until_it_works init no_machine machine init -q --image /dev/null --disk-size 1 --memory 256 m1
config=$(cat "$NSVM_HOME/config/machine/m1.json")
until_it_works set unchanged machine set --memory 300 m1
config=$(cat "$NSVM_HOME/config/machine/m1.json")
until_it_works rename unchanged machine rename m1 m2
"$NSVM" machine rename m2 m1 >/dev/null || fail rename
leave 0
"$NSVM" machine inspect m1 >/dev/null 2>"$NSVM_HOME.said" || fail "inspect on a full disk"
"$NSVM" machine rm -f m1 >/dev/null 2>"$NSVM_HOME.said" || fail "rm on a full disk"
no_machine || fail "rm left something"
[ -z "$(find "$NSVM_HOME" -name '*m1*')" ] || fail "rm left locks"
echo done
"#;

/// A start on such a disk says why not, or goes on; what it leaves can be
/// stopped and started.
const START: &str = r#"
fail() { echo "$*" >&2; cat "$NSVM_HOME.said" >&2; exit 98; }
"$NSVM" machine init -q --image /dev/null --disk-size 1 --memory 256 m1 || fail init
# What accelerators can do here is known from then on.
"$NSVM" machine start -q --timeout 2 m1 >/dev/null 2>&1
refused=0
for free in $FREE; do
    leave $free
    "$NSVM" machine start -q --timeout 2 m1 >"$NSVM_HOME.said" 2>&1 && fail "it started"
    if grep -qi 'no space' "$NSVM_HOME.said"; then refused=$((refused + 1)); else
        grep -q "Error: unable to start" "$NSVM_HOME.said" || fail "$free free"
    fi
    grep -q panicked "$NSVM_HOME.said" && fail "$free free"
    "$NSVM" machine stop --force m1 >/dev/null 2>"$NSVM_HOME.said" || fail "stop, $free free"
    [ "$("$NSVM" machine inspect --format '{{.State}}' m1)" = stopped ] || fail "state, $free free"
    [ ! -e "$NSVM_HOME/state/run/m1" ] || fail "the run left something, $free free"
    find "$NSVM_HOME" -name '.tmp-*' | grep . && fail "litter, $free free"
done
"$NSVM" machine rm -f m1 >/dev/null 2>"$NSVM_HOME.said" || fail rm
echo "$refused refused"
"#;

fn tell(disk: &str, story: &str) -> String {
    let home = Home::new();
    let dir = home.path().join("home");
    std::fs::create_dir(&dir).unwrap();
    let namespaces = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    let mut command = Command::new("unshare");
    command.args([namespaces, "sh", "-c", &[disk, story].concat()]).env("NSVM", program());
    let long = std::env::var_os("NSVM_TEST_ALL").is_some();
    // With one, a supervisor can begin and hardly write.
    let chosen = |free: &usize| long || *free == 1 || free.is_multiple_of(4);
    let free: Vec<String> = (0..20).filter(chosen).map(|free| free.to_string()).collect();
    command.env("FREE", free.join(" ")).env("NSVM_HOME", &dir).env_remove("NSVM_IMAGE_CACHE");
    command.env("NSVM_SYSTEM_CONFIG", home.path().join("etc"));
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_change_that_finds_no_room_is_not_made() {
    for disk in [PAGES, FILES] {
        let told = tell(disk, STORY);
        eprintln!("{told}");
        for verb in ["init", "set", "rename"] {
            let line = told.lines().find(|line| line.starts_with(verb)).unwrap();
            assert!(!line.ends_with(" 0"), "it was never full: {line}");
        }
        assert!(told.ends_with("done\n"), "{told}");
    }
}

#[test]
fn a_start_that_finds_no_room_says_so_and_leaves_nothing() {
    for disk in [PAGES, FILES] {
        let told = tell(disk, START);
        assert!(!told.contains("0 refused"), "it was never full: {told}");
    }
}
