//! The same options through the guest's own util-linux and through nsvm:
//! exit code, output, first line of complaint, and what the program sees of
//! its ids, namespaces, capabilities, clocks and mounts. What differs on
//! purpose is told in docs/conformance.md.

use std::collections::BTreeSet;

use crate::machine::Machine;

/// Options of unshare(1), to be taken alone and in pairs.
const UNSHARE: [&str; 29] = [
    "--user",
    "-r",
    "-c",
    "-Um",
    "-rn",
    "-ru --ipc",
    "-rpf",
    "-rC",
    "-rT --boottime 100000 --fork",
    "-rT --monotonic=-5 --fork",
    "--map-user=5",
    "--map-group 7",
    "--map-auto",
    "--map-subids",
    "--map-users 0:100000:10",
    "--map-groups auto",
    "--setgroups deny",
    "--setgroups allow",
    "--setgroups x",
    "--kill-child",
    "--kill-child=NONE",
    "--mount-proc",
    "--propagation slave",
    "--wd /usr",
    "--root /nowhere",
    "--setuid 0",
    "--setgid 3",
    "--keep-caps",
    "--mount-binfmt",
];

/// Options that end the parsing, alone.
const REFUSED: [&str; 6] =
    ["--bogus", "--monotonic 5", "--propagation x", "--map-users 1:2", "--setuid x", "--root"];

/// Options of nsenter(1); T is a process in namespaces of its own.
const NSENTER: [&str; 24] = [
    "",
    "-t T",
    "-t T -a",
    "-t T -a --preserve-credentials",
    "-t T -U",
    "-t T -U --preserve-credentials",
    "-t T -U -n --preserve-credentials --keep-caps",
    "-t T -n",
    "-t T -Un --preserve-credentials",
    "-t T -U -m -p --preserve-credentials",
    "-t T -U -p -F --preserve-credentials",
    "-t T -U -u -i -C --preserve-credentials -w",
    "-t T -U -r --preserve-credentials",
    "-t T -U -m -W/usr --preserve-credentials",
    "-t T -U -S 0 -G 0",
    "-t T -U -S follow -G follow",
    "-t T -U -e --preserve-credentials",
    "-t T -U -c --preserve-credentials",
    "-t T -w/usr -W/usr -U",
    "-n",
    "-n/no/such/file",
    "--net=/proc/T/ns/net",
    "-t x -n",
    "-t 4000000 -n",
];

/// Options of lsns(8), with all of whose output both must agree; @ is
/// that process.
/// Trees are compared as JSON, because lines are drawn by the locale, and
/// numbers of processes apart: here a shell is one of them.
const LSNS: [&str; 20] = [
    "-p @ -l -o NS,TYPE,PATH,PID,PPID,UID,USER,COMMAND,PNS,ONS",
    "-p @ -t net",
    "-p @ -t net -J",
    "-p @ -t net -r",
    "-p @ -t uts -t ipc -n",
    "-p @ -t user -o +ONS",
    "-p @ -T -J -o NS,TYPE",
    "-p @ --tree=parent -t pid -t user -J -o NS,TYPE,PNS",
    "-p @ --output-all -t cgroup",
    "-p 4000000",
    "-J -p 4000000",
    "-t x",
    "-o NS,x",
    "--tree=x",
    "-p x",
    "-J -r",
    "-P -p 1",
    "-p 1 5",
    "5",
    "x",
];

/// The whole system, as root: others may not see a process of init's.
const LSNS_ALL: [&str; 4] = [
    "-o NS,TYPE,PID -n",
    "-J -l -o NS,TYPE,USER,COMMAND",
    "-t mnt -o NS,PATH -r",
    "-T -J -o NS,ONS",
];

/// What a program sees. Few processes, because each costs a translated guest
/// 30 ms.
const PROBE: &str = r#"
id; pwd; echo "$HOME"
cd /proc/self && cat uid_map gid_map setgroups timens_offsets
grep -E '^Cap(Eff|Amb|Inh)' status; grep -c ' shared:' mountinfo; grep -c ' master:' mountinfo
readlink ns/mnt ns/uts ns/ipc ns/net ns/user ns/cgroup ns/pid_for_children ns/time
"#;

/// Runs each line of its input as options of $1, told apart by lines.
const REFERENCE: &str = r#"
while IFS= read -r options; do
    $1 $options sh /tmp/probe </dev/null >/tmp/out.$$ 2>/tmp/err.$$
    echo "== $?"; cat /tmp/out.$$; echo "-- $(head -n 1 /tmp/err.$$)"
done
rm -f /tmp/out.$$ /tmp/err.$$
"#;

/// How many of them one command takes: a busy host's guest needs seconds for
/// each, and the command has a deadline.
const AT_ONCE: usize = 40;

/// What one command did.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    code: String,
    stdout: String,
    complaint: String,
}

/// What the guest's own programs say that they take is taken.
fn every_option(machine: &Machine) {
    for verb in ["unshare", "nsenter", "lsns"] {
        let ours = machine.home.run([verb, "--help"]).exits(0).stdout();
        let ours = options(&ours);
        let theirs = machine.says([verb, "--help"]);
        let theirs = options(&theirs);
        assert!(theirs.len() > 25, "{verb}: {theirs:?}");
        let missing: Vec<_> = theirs.difference(&ours).collect();
        assert!(missing.is_empty(), "nsvm {verb} lacks {missing:?}");
    }
}

/// The options at the beginning of a line of help.
fn options(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = lines.flat_map(|line| {
        let words = line.split([' ', ',', '=', '[']).filter(|word| !word.is_empty());
        words.take_while(|word| word.starts_with('-')).take(2)
    });
    words.map(str::to_owned).collect()
}

pub fn util_linux(machine: &Machine) {
    every_option(machine);
    let prepare = format!("cat >/tmp/probe <<'END'\n{PROBE}\nEND\nreadlink /proc/self/ns/*");
    let outside = machine.says(["sh", "-c", &prepare]).replace('\n', " ");
    let all = std::env::var_os("NSVM_TEST_ALL").is_some();
    let mut different = Vec::new();
    let mut compared = 0;
    let mut compare_some = |user: &str, verb: &str, lines: &[String]| {
        let theirs = reference(machine, user, verb, &outside, lines);
        assert_eq!(theirs.len(), lines.len(), "the reference lost its way");
        for (line, theirs) in lines.iter().zip(theirs) {
            if is_known(user, line) {
                continue;
            }
            compared += 1;
            let ours = through_nsvm(machine, user, verb, &outside, line);
            if ours != theirs {
                different.push(format!("{user}: {verb} {line}\n ours {ours:?}\ntheirs {theirs:?}"));
            }
        }
    };
    let mut compare = |user: &str, verb: &str, lines: &[String]| {
        lines.chunks(AT_ONCE).for_each(|lines| compare_some(user, verb, lines));
    };
    let singles: Vec<String> = UNSHARE.iter().chain(&REFUSED).map(|o| (*o).to_owned()).collect();
    compare("core", "unshare", &singles);
    compare("root", "unshare", &if all { singles.clone() } else { every(4, &singles) });
    let pairs = pairs();
    compare("core", "unshare", &if all { pairs } else { every(17, &pairs) });
    let target = target(machine);
    let entering: Vec<String> = NSENTER.iter().map(|o| o.replace('T', &target)).collect();
    compare("core", "nsenter", &entering);
    compare("root", "nsenter", &if all { entering.clone() } else { every(3, &entering) });
    let listing: Vec<String> = LSNS.iter().map(|o| o.replace('@', &target)).collect();
    listing_alike(machine, "core", &listing, &mut different);
    let whole = LSNS_ALL.map(str::to_owned);
    listing_alike(machine, "root", &whole, &mut different);
    compared += listing.len() + whole.len() + 1;
    // A user who has nothing but the process that looks.
    let alone = ["-l", "-o", "NS,TYPE,NPROCS,UID,USER"];
    let theirs = machine.says([&["--user-name", "nobody", "lsns"][..], &alone].concat());
    let ours = machine.run([&["lsns", "--user-name", "nobody"][..], &alone].concat()).exits(0);
    let ours = ours.stdout().trim().to_owned();
    if ours != theirs || ours.lines().count() != 9 {
        different.push(format!("nobody: lsns\n ours {ours:?}\ntheirs {theirs:?}"));
    }
    machine.says(["sh", "-c", &format!("kill -9 {target}; rm /tmp/probe")]);
    eprintln!("compared {compared} commands with util-linux");
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

/// Compares what is listed byte for byte, and complaints.
fn listing_alike(machine: &Machine, user: &str, lines: &[String], different: &mut Vec<String>) {
    let args = ["--machine", crate::machine::NAME, "exec", "--user-name", user];
    let script = REFERENCE.replace("$options sh /tmp/probe", "$options");
    let mut command =
        machine.home.nsvm([&args[..], &["--", "sh", "-c", &script, "sh", "lsns"]].concat());
    let output = command.write_stdin(lines.join("\n") + "\n").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let theirs: Vec<&str> = text.split("== ").skip(1).collect();
    assert_eq!(theirs.len(), lines.len(), "the reference lost its way");
    for (line, theirs) in lines.iter().zip(theirs) {
        let args = ["lsns", "--user-name", user].into_iter().chain(line.split_whitespace());
        let ran = machine.run(args);
        let stderr = ran.stderr();
        let complaint = stderr.lines().next().unwrap_or_default();
        let ours = format!("{}\n{}-- {complaint}\n", ran.code(), ran.stdout());
        if ours != theirs {
            different.push(format!("{user}: lsns {line}\n ours {ours:?}\ntheirs {theirs:?}"));
        }
    }
}

/// Root takes everybody's subordinate ids there: `docs/conformance.md`.
fn is_known(user: &str, line: &str) -> bool {
    user == "root" && ["auto", "subids"].iter().any(|known| line.contains(known))
}

/// The id that 2.41 loses of automatic maps (`docs/conformance.md`): of the
/// users, which are ours, and of the groups, which `features` made its own.
const LOST: [(&str, &str); 6] = [
    ("1 100000 999999", "1 100000 1000000"),
    ("1001 101000 998999", "1001 101000 999000"),
    ("1 200000 65535", "1 200000 65536"),
    ("1001 201000 64535", "1001 201000 64536"),
    // Around an id that is mapped to another.
    ("6 100005 999994", "6 100005 999995"),
    ("8 200007 65528", "8 200007 65529"),
];

fn every(step: usize, all: &[String]) -> Vec<String> {
    all.iter().step_by(step).cloned().collect()
}

fn pairs() -> Vec<String> {
    let mut all = Vec::new();
    for (at, first) in UNSHARE.iter().enumerate() {
        all.extend(UNSHARE[at + 1..].iter().map(|second| format!("{first} {second}")));
    }
    all
}

/// A process of core's in namespaces of its own.
fn target(machine: &Machine) -> String {
    let start = "setsid unshare -muinpUC --map-root-user --mount-proc --fork --kill-child \
                 sleep 98720 </dev/null >/dev/null 2>&1 & \
                 until pgrep -fx 'sleep 98720'; do sleep 0.1; done";
    machine.says(["sh", "-c", start])
}

fn reference(
    machine: &Machine,
    user: &str,
    verb: &str,
    outside: &str,
    lines: &[String],
) -> Vec<Seen> {
    let args = ["--machine", crate::machine::NAME, "exec", "--user-name", user];
    let script = ["sh", "-c", REFERENCE, "sh", verb];
    let mut command = machine.home.nsvm([&args[..], &script].concat());
    let output = command.write_stdin(lines.join("\n") + "\n").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let one = |part: &str| {
        let (code, rest) = part.split_once('\n').unwrap_or((part, ""));
        let (stdout, complaint) = rest.rsplit_once("-- ").unwrap_or((rest, ""));
        let whole = |text: String, (lost, kept): (&str, &str)| text.replace(lost, kept);
        let stdout = LOST.into_iter().fold(seen(stdout, outside), whole);
        Seen { code: code.into(), stdout, complaint: plain(complaint) }
    };
    text.split("== ").skip(1).map(one).collect()
}

fn through_nsvm(machine: &Machine, user: &str, verb: &str, outside: &str, line: &str) -> Seen {
    let options = line.split_whitespace();
    let args = [verb, "--user-name", user].into_iter().chain(options);
    let ran = machine.run(args.chain(["sh", "/tmp/probe"]));
    let stderr = ran.stderr();
    Seen {
        code: ran.code().to_string(),
        stdout: seen(&ran.stdout(), outside),
        complaint: plain(stderr.lines().next().unwrap_or_default()),
    }
}

/// Namespaces by whether they are those outside; one blank for many.
fn seen(stdout: &str, outside: &str) -> String {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match line.split_once(":[") {
            Some((kind, _)) if outside.contains(line) => format!("{kind} same\n"),
            Some((kind, _)) => format!("{kind} new\n"),
            None => format!("{}\n", words.join(" ")),
        }
    };
    stdout.lines().map(line).collect()
}

/// Without numbers of processes, which differ from run to run.
fn plain(complaint: &str) -> String {
    let words = complaint.trim_end().split(' ');
    let plain = |word: &str| match word.strip_prefix("/proc/").and_then(|rest| rest.split_once('/'))
    {
        Some((_, file)) => format!("/proc/N/{file}"),
        None => word.to_owned(),
    };
    words.map(plain).collect::<Vec<_>>().join(" ")
}
