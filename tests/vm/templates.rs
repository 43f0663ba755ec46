//! Machines that begin as copies of a frozen one: each is somebody else, none
//! reaches another, and the template stays what it was.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::common::{Home, PATIENCE, Process, Ran};

const FIRST: &str = "first";
const COPIES: [&str; 5] = ["c1", "c2", "c3", "c4", "c5"];
const LATE: &str = "late";
const KILLED: &str = "killed";
const SAID: &str = "the guest begins as a copy of the template: ok";

/// A home with a cache of its own that has the image: what other tests need is
/// never touched.
fn home(image: &str) -> Guarded {
    let builder = Home::sharing_images();
    let pulled = builder.run(["image", "pull", "-q", image]).exits(0).stdout();
    let base = Path::new(pulled.trim());
    let (cache, digest) = (base.parent().unwrap(), base.file_stem().unwrap().to_str().unwrap());
    let home = Home::with_templates();
    let to = home.path().join("cache/images");
    fs::create_dir_all(to.join("index")).unwrap();
    take(base, &to.join(base.file_name().unwrap()));
    for entry in fs::read_dir(cache.join("index")).unwrap().flatten() {
        if fs::read_to_string(entry.path()).is_ok_and(|text| text.contains(digest)) {
            take(&entry.path(), &to.join("index").join(entry.file_name()));
        }
    }
    Guarded(home)
}

/// Removes the machines, whatever became of them.
struct Guarded(Home);

impl Drop for Guarded {
    fn drop(&mut self) {
        for name in COPIES.into_iter().chain([FIRST, LATE, KILLED]) {
            if std::thread::panicking() {
                let log = self.0.run(["machine", "logs", "--supervisor", name]).stdout();
                eprintln!("--- {name}\n{log}");
            }
            let _ = self.0.nsvm(["machine", "rm", "-f", name]).output();
        }
    }
}

fn take(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).unwrap();
    }
}

fn init<'a>(image: &'a str, name: &'a str) -> [&'a str; 11] {
    let image = ["machine", "init", "--now", "--image", image, "--cpus", "2"];
    let rest = ["--memory", "1024", "--disk-size=12", name];
    [&image[..], &rest[..]].concat().try_into().unwrap()
}

fn says(home: &Home, name: &str, script: &str) -> String {
    let ran = home.run(["--machine", name, "exec", "sudo", "sh", "-c", script]).exits(0);
    ran.stdout().trim().to_owned()
}

fn listed(home: &Home) -> Vec<Value> {
    let json = home.run(["image", "template", "list", "--format", "json"]).exits(0).stdout();
    serde_json::from_str(&json).unwrap()
}

/// The template that is made in the background after the first boot.
fn made(home: &Home) -> PathBuf {
    let end = Instant::now() + PATIENCE;
    loop {
        let made = listed(home);
        let making = home.processes();
        let making = making.iter().any(|process| process.arguments.contains("make-template"));
        if let (Some(template), false) = (made.first(), making) {
            assert_eq!(template["Unusable"], Value::Null, "{template}");
            assert_eq!((&template["Memory"], &template["CPUs"]), (&1024.into(), &2.into()));
            let digest = template["Digest"].as_str().unwrap();
            return home.path().join("cache/images/templates").join(digest);
        }
        let log = home.path().join("state/machine/first/template.log");
        let log = fs::read_to_string(log).unwrap_or_default();
        assert!(!log.contains("Error"), "{log}");
        assert!(Instant::now() < end, "no template is made: {log}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn digests(template: &Path) -> Vec<Vec<u8>> {
    let digest = |name: &str| {
        let mut file = File::open(template.join(name)).unwrap();
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer).unwrap() {
                0 => return hash.finalize().to_vec(),
                count => hash.update(&buffer[..count]),
            }
        }
    };
    ["template.json", "memory", "devices", "disk.qcow2"].map(digest).to_vec()
}

pub fn story(image: &'static str) {
    let guarded = home(image);
    let home = &guarded.0;
    let first = home.run(init(image, FIRST)).exits(0).stderr();
    assert!(!first.contains("template"), "{first}");
    let template = made(home);
    // Nothing of how it was made is left, and nobody else may look.
    assert_eq!(home.run(["machine", "list", "-q"]).exits(0).stdout(), "first\n");
    assert_eq!(home.processes().iter().filter(|process| process.is_qemu()).count(), 1);
    let before = digests(&template);

    five_at_once(home, image);
    all_differ(home);
    if image != "micro" {
        assert_eq!(says(home, "c1", "systemctl is-system-running"), "running");
        // On a PC the kernel is told as well.
        #[cfg(target_arch = "x86_64")]
        assert!(says(home, "c1", "dmesg").contains("crng reseeded due to virtual machine fork"));
    }
    doors(home);
    apart(home);
    later_lives(home);
    killed(home, image);
    assert_eq!(digests(&template), before);

    // One that cannot be loaded costs a boot, and is not tried again.
    let devices = fs::read(template.join("devices")).unwrap();
    fs::write(template.join("devices"), vec![0; devices.len()]).unwrap();
    let said = home.run(init(image, LATE)).exits(0).stderr();
    assert!(said.contains("the template cannot be used, the machine boots instead"), "{said}");
    assert_eq!(says(home, LATE, "hostname"), LATE);
    assert!(listed(home)[0]["Unusable"].as_str().unwrap().contains("damaged"));
    home.run(["image", "template", "rm", "--all"]).exits(0);
    assert!(listed(home).is_empty() && !template.exists());
    // Its memory has lost its name, and those that began on it go on.
    assert_eq!(says(home, "c3", "echo on"), "on");
}

fn five_at_once(home: &Home, image: &'static str) {
    let begin = |name: &&'static str| {
        let mut command = home.spawnable(init(image, name));
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let begun: Vec<_> = COPIES.iter().map(begin).collect();
    for start in begun {
        let said = Ran(start.wait_with_output().unwrap()).exits(0).stderr();
        assert!(said.contains(SAID), "{said}");
    }
}

/// What tells machines apart, and the command that shows it.
const TELLING: [(&str, &str); 10] = [
    ("machine-id", "cat /etc/machine-id"),
    ("machine-id of D-Bus", "cat /var/lib/dbus/machine-id 2>/dev/null || cat /etc/machine-id"),
    ("host name", "hostname; cat /etc/hostname"),
    ("host key", "cat /etc/ssh/ssh_host_ed25519_key.pub"),
    ("secret host key", "sha256sum /etc/ssh/ssh_host_*_key"),
    ("keys", "cat /root/.ssh/authorized_keys.d/ignition"),
    ("random bytes", "head -c 32 /dev/urandom | sha256sum"),
    ("random numbers of the kernel", "cat /proc/sys/kernel/random/uuid"),
    ("where a new process has its memory", "cat /proc/self/maps"),
    (
        "keys made there",
        "rm -f /run/k /run/k.pub; ssh-keygen -q -t ed25519 -N '' -f /run/k; cat /run/k.pub",
    ),
];

fn all_differ(home: &Home) {
    let script = TELLING.map(|(_, script)| script).join("; echo +++; ");
    let machines: Vec<&str> = COPIES.into_iter().chain([FIRST]).collect();
    let said: Vec<String> = machines.iter().map(|name| says(home, name, &script)).collect();
    let said: Vec<Vec<&str>> = said.iter().map(|said| said.split("+++").collect()).collect();
    for (at, (what, _)) in TELLING.iter().enumerate() {
        let all: BTreeSet<&str> = said.iter().map(|said| said[at].trim()).collect();
        assert_eq!(all.len(), machines.len(), "{what}: {all:?}");
        assert!(!all.contains(""), "{what}");
    }
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    for name in COPIES {
        let before = now();
        let own = says(
            home,
            name,
            "date +%s.%N; hostname; ls /var/lib/systemd/random-seed 2>/dev/null || :",
        );
        let (clock, own) = own.split_once('\n').unwrap();
        let clock: f64 = clock.parse().unwrap();
        assert!(before - clock < 0.2 && clock - now() < 0.2, "{name}: {before} {clock}");
        assert_eq!(own, name, "and there is no seed of an earlier boot");
    }
}

/// Each has its own key let in and no other, by its own host key.
fn doors(home: &Home) {
    let data = |name: &str, file: &str| home.path().join("data").join(name).join(file);
    let inspected =
        home.run([&["machine", "inspect"][..], &COPIES[..2]].concat()).exits(0).stdout();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let host_key = |name: &str| says(home, name, "cat /etc/ssh/ssh_host_ed25519_key.pub");
    for (at, name) in COPIES[..2].iter().copied().enumerate() {
        let other = COPIES[1 - at];
        let all = "cat /root/.ssh/authorized_keys* /root/.ssh/*.d/* /home/*/.ssh/authorized_keys* \
                   /home/*/.ssh/*.d/* 2>/dev/null | grep .";
        let own = fs::read_to_string(data(name, "id_ed25519.pub")).unwrap();
        let keys = says(home, name, all);
        assert!(keys.lines().count() >= 2 && keys.lines().all(|key| key == own.trim()), "{keys}");
        let port = inspected[at]["SSHConfig"]["Port"].to_string();
        // Who knocks, and whom they take this machine for.
        let ssh = |user: &str, taken_for: &str| {
            let known = home.path().join("known");
            let line = format!("[127.0.0.1]:{port} {}\n", host_key(taken_for));
            fs::write(&known, line).unwrap();
            let mut command = Command::new("ssh");
            command.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"]);
            command.args(["-o", "StrictHostKeyChecking=yes"]);
            command.arg("-o").arg(format!("UserKnownHostsFile=\"{}\"", known.display()));
            command.arg("-i").arg(data(user, "id_ed25519"));
            let ran = command.args(["-p", &port, "core@127.0.0.1", "true"]).output().unwrap();
            (ran.status.success(), String::from_utf8_lossy(&ran.stderr).into_owned())
        };
        let (entered, said) = ssh(name, name);
        assert!(entered, "{said}");
        let (entered, said) = ssh(other, name);
        assert!(!entered && said.contains("Permission denied"), "{said}");
        let (entered, said) = ssh(name, other);
        assert!(!entered && said.contains("Host key verification failed"), "{said}");
    }
}

/// What one writes, in memory or on its disk, no other sees.
fn apart(home: &Home) {
    says(home, "c1", "head -c 100000000 /dev/urandom >/dev/shm/x; echo mine >/var/mark; sync");
    let sum = |name: &str| says(home, name, "sha256sum /usr/bin/bash /usr/lib/*/libc.so.6");
    assert_eq!(says(home, "c2", "ls /var/mark /dev/shm/x 2>/dev/null || :"), "");
    assert_eq!(sum("c1"), sum("c2"));
}

/// Later a copy is a machine as any other: suspended, stopped, started.
fn later_lives(home: &Home) {
    let boot = says(home, "c2", "cat /proc/sys/kernel/random/boot_id");
    home.run(["machine", "suspend", "c2"]).exits(0);
    let said = home.run(["machine", "start", "c2"]).exits(0).stderr();
    assert!(said.contains("the guest goes on where it was: ok"), "{said}");
    assert_eq!(says(home, "c2", "cat /proc/sys/kernel/random/boot_id"), boot);
    let who = "cat /etc/machine-id /etc/hostname /etc/ssh/ssh_host_ed25519_key.pub";
    let known = says(home, "c1", who);
    home.run(["machine", "stop", "c1"]).exits(0);
    let said = home.run(["machine", "start", "c1"]).exits(0).stderr();
    assert!(!said.contains("template"), "{said}");
    assert_eq!(says(home, "c1", who), known);
    assert_eq!(says(home, "c1", "cat /var/mark"), "mine");
    assert_ne!(says(home, "c1", "cat /proc/sys/kernel/random/boot_id"), boot);
}

/// It may have ended meanwhile.
fn kill(process: &Process) {
    let pid = Pid::from_raw(process.pid.try_into().unwrap()).unwrap();
    let _ = kill_process(pid, Signal::KILL);
}

/// SIGKILL in the middle of beginning: the next start is that of a machine that
/// is nobody else's, as a copy or booted.
fn killed(home: &Home, image: &str) {
    let all = std::env::var_os("NSVM_TEST_ALL").is_some();
    let delays: &[u64] =
        if all { &[100, 200, 300, 400, 500, 600, 800, 900, 1000, 1500] } else { &[300, 800] };
    for delay in delays {
        let [machine, init, _now, rest @ ..] = init(image, KILLED);
        home.run([&[machine, init][..], &rest].concat()).exits(0);
        let mut start = home.spawnable(["machine", "start", KILLED]);
        let mut start = start.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(*delay));
        let of_it = |process: &Process| {
            let disk = format!("data/{KILLED}/disk.qcow2");
            process.arguments.contains(&disk) || process.arguments.ends_with(&format!("{KILLED}\0"))
        };
        let found: Vec<Process> = home.processes().into_iter().filter(of_it).collect();
        eprintln!("killed after {delay} ms: {} processes", found.len());
        found.iter().filter(|process| !process.is_qemu()).for_each(kill);
        start.wait().unwrap();
        // QEMU is left in one half of the rounds.
        if delay % 200 == 0 {
            found.iter().filter(|process| process.is_qemu()).for_each(kill);
            // One that is dying lets go of the machine last, and seems to run until then.
            let end = Instant::now() + PATIENCE;
            let state = ["machine", "inspect", "--format", "{{.State}}", KILLED];
            while home.run(state).exits(0).stdout() == "running\n" {
                assert!(Instant::now() < end, "its QEMU was killed and runs on");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let again = home.run(["machine", "start", KILLED]);
        assert!(
            again.code() == 0 || again.stderr().contains("already running"),
            "{}",
            again.stderr()
        );
        let said = says(home, KILLED, "hostname; cat /etc/hostname");
        assert_eq!(said, "killed\nkilled");
        let key = fs::read_to_string(home.path().join("data/killed/id_ed25519.pub")).unwrap();
        assert_eq!(says(home, KILLED, "cat /root/.ssh/authorized_keys.d/ignition"), key.trim());
        assert!(!home.path().join("data/killed/beginning").exists());
        home.run(["machine", "rm", "-f", KILLED]).exits(0);
    }
}
