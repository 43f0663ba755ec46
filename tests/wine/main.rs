//! nsvm for Windows, from `init` to `rm`, under Wine.
//!
//! Its QEMU is this host's, started through `launcher.c`. `scripts/windows.sh`
//! builds what is needed and `NSVM_WINDOWS` names the directory that it is in.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[path = "../common/mod.rs"]
mod common;
mod terminal;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use common::{Home, Ran, processes_with};

const NAME: &str = "w1";

/// A start takes a minute on a busy host; nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(240);

/// Debian's `wine` also starts this, but first complains of what it does not find.
const WINE: &str = "/usr/lib/wine/wine64";

/// nsvm.exe with a home of its own.
struct Windows {
    home: Home,
    /// Where nsvm.exe and the launcher of QEMU are.
    programs: PathBuf,
}

impl Windows {
    fn new(programs: PathBuf) -> Self {
        Self { home: Home::new(), programs }
    }

    fn spawnable(&self, args: &[&str]) -> std::process::Command {
        let prefix = std::env::var_os("NSVM_WINE_PREFIX").expect("scripts/windows.sh names it");
        let agent = PathBuf::from(std::env::var_os("NSVM_AGENT").expect("make test names it"));
        let mut command = std::process::Command::new(WINE);
        command
            .arg(self.programs.join("nsvm.exe"))
            .args(args)
            .env("WINEPREFIX", &prefix)
            .env("NSVM_TEST_PREFIX", &prefix)
            .env("WINEDEBUG", "-all")
            .env("NSVM_HOME", on_drive(self.home.path()))
            .env("NSVM_AGENT", on_drive(&agent))
            .env("NSVM_QEMU", on_drive(&self.programs.join("qemu-system-x86_64.exe")))
            .env("NSVM_TEST_LOOPBACK", "1")
            .env_remove("DISPLAY");
        for unwanted in ["NSVM_MACHINE", "NSVM_IMAGE_CACHE", "NSVM_CONFIG", "NSVM_LOG"] {
            command.env_remove(unwanted);
        }
        command
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, Stdio::null())
    }

    /// With files for what it prints: Wine's other processes, which stay, inherit
    /// the streams of the first one, and the end of a pipe would never come.
    #[track_caller]
    fn run_with(&self, args: &[&str], stdin: Stdio) -> Ran {
        let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let mut command = self.spawnable(args);
        command.stdin(stdin).stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end {
                child.kill().unwrap();
                panic!("{args:?} does not end: {}", String::from_utf8_lossy(&written(&mut err)));
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Ran(Output { status, stdout: written(&mut out), stderr: written(&mut err) })
    }

    #[track_caller]
    fn inspect(&self) -> Value {
        let ran = self.run(&["machine", "inspect", NAME]).exits(0);
        serde_json::from_str::<Value>(&ran.stdout()).unwrap()[0].take()
    }

    fn uuid(&self) -> String {
        config(&self.home)["Uuid"].as_str().unwrap().to_owned()
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in ["supervisor.log", "qemu.log", "serial.log"] {
                let path = self.home.path().join(format!("state/machine/{NAME}/{log}"));
                let text = std::fs::read(path).unwrap_or_default();
                eprintln!("--- {log}\n{}", String::from_utf8_lossy(&text));
            }
        }
        let _ = self.run(&["machine", "rm", "-f", NAME]);
    }
}

fn written(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn config(home: &Home) -> Value {
    let path = home.path().join(format!("config/machine/{NAME}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A path of this host as Wine's programs see it.
fn on_drive(path: &Path) -> String {
    format!("Z:{}", path.to_str().unwrap().replace('/', "\\"))
}

#[test]
fn the_life_of_a_machine_on_windows() {
    let Some(programs) = std::env::var_os("NSVM_WINDOWS") else {
        eprintln!("SKIPPED: scripts/windows.sh builds what this needs, on x86_64 Debian");
        return;
    };
    let windows = Windows::new(programs.into());
    init(&windows);
    start(&windows);
    commands(&windows);
    copies(&windows);
    terminal::keys_and_screen(&windows);
    a_supervisor_that_is_killed(&windows);
    stop(&windows);
    removal(&windows);
}

/// The base image comes by a path on a drive, from the shared cache.
fn init(windows: &Windows) {
    windows
        .run(&["exec", "true"])
        .exits(125)
        .complains(&["nsvm-machine-default: VM does not exist", "nsvm machine init --now"]);
    let linux = Home::sharing_images();
    let size = ["--cpus", "2", "--memory", "1024", "--disk-size", "12"];
    let make = [&["machine", "init", "--image", "debian-local"][..], &size, &[NAME]].concat();
    linux.run(make).exits(0);
    // The cache may have several images of that name: which one this machine got.
    let sha256 = config(&linux)["Image"]["Sha256"].as_str().unwrap().to_owned();
    let found = linux.run(["image", "inspect", &sha256]).exits(0).stdout();
    let found: Value = serde_json::from_str(&found).unwrap();
    let image = on_drive(Path::new(found[0]["Path"]["Path"].as_str().unwrap()));
    // What the catalog says of the image on Linux, where it comes by its name.
    let from = ["machine", "init", "--provisioner", "ignition", "--image", &image];
    let make = [&from[..], &size, &[NAME]].concat();
    windows.run(&make).exits(0).prints("Machine init complete\n");
    windows.run(&make).exits(125).complains(&["Error: machine \"w1\" already exists"]);

    // The same files as on Linux, and as private: Wine writes down the system's
    // rights as the group's.
    assert_eq!(files_of(&windows.home), files_of(&linux));
    for secret in ["data/w1/id_ed25519", "config/machine/w1.ign", "data/w1/disk.qcow2"] {
        let mode = windows.home.path().join(secret).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "{secret} has mode {mode:o}");
    }
    linux.run(["machine", "rm", "-f", NAME]).exits(0);
    assert_eq!(windows.inspect()["State"], "stopped");
}

fn files_of(home: &Home) -> BTreeSet<PathBuf> {
    let traces = home.traces_of(NAME).into_iter();
    traces.map(|path| path.strip_prefix(home.path()).unwrap().to_owned()).collect()
}

fn start(windows: &Windows) {
    let started = windows.run(&["machine", "start", NAME]).exits(0);
    let started = started.prints("Machine \"w1\" started successfully\n");
    started.complains(&["QEMU answers", "the guest agent answers"]);
    let inspected = windows.inspect();
    assert_eq!(inspected["State"], "running");
    assert_eq!(inspected["Resources"]["Memory"], 1024);
    assert_eq!(inspected["Agent"]["Ready"], true);
    assert_eq!(inspected["Accelerator"]["InUse"], "tcg");
    assert_eq!(inspected["Accelerator"]["Rejected"][0]["Name"], "whpx");
    let again = windows.run(&["machine", "start", NAME]).exits(125);
    again.complains(&["Error: unable to start \"w1\": already running"]);
    assert_eq!(qemus(windows).len(), 1);
}

/// QEMU itself; the launcher has the UUID among its arguments too.
fn qemus(windows: &Windows) -> Vec<u32> {
    let is_qemu = |pid: &u32| {
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        program.ends_with("qemu-system-x86_64")
    };
    processes_with(&windows.uuid()).into_iter().filter(is_qemu).collect()
}

fn commands(windows: &Windows) {
    let run = |args: &[&str]| windows.run(&[&["--machine", NAME], args].concat());
    let unshare = ["unshare", "--user", "--pid", "--map-root-user", "--mount-proc", "--fork"];
    let unshare = |args: &[&str]| run(&[&unshare, args].concat());
    unshare(&["true"]).exits(0).prints("");
    unshare(&["sh", "-c", "echo $$ $(id -u); exit 3"]).exits(3).prints("1 0\n");
    unshare(&["no-such-program"]).exits(127);
    run(&["exec", "--", "sh", "-c", "kill -9 $$"]).exits(137);
    // Arguments come as they are, and newlines are not Windows'.
    let odd = ["exec", "--", "printf", "%s|", "a b", "c\"d\\", "", "Zoë", "*"];
    run(&odd).exits(0).prints("a b|c\"d\\||Zoë|*|");
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(&bytes).unwrap();
    input.rewind().unwrap();
    let sum = windows.run_with(&["--machine", NAME, "exec", "sha256sum"], input.into()).exits(0);
    // Of those bytes, by sha256sum(1).
    assert!(sum.stdout().starts_with(SUM), "{}", sum.stdout());
}

const SUM: &str = "2c030d49ec131bfbbb446ad21e7a2f12cdb4f2f4f3fda3ac709dd2e68a4646c7";

/// By paths as Windows writes them, and as git-bash does.
fn copies(windows: &Windows) {
    let (from, back) =
        ["Zoë, my file.txt", "zurück.txt"].map(|n| windows.home.path().join(n)).into();
    std::fs::write(&from, "a\r\nb\n").unwrap();
    let git_bash = format!("/z{}", from.display());
    for typed in [on_drive(&from), format!(r"\\?\{}", on_drive(&from)), git_bash] {
        windows.run(&["machine", "cp", &typed, "w1:/tmp/copied"]).exits(0);
        let there = windows.run(&["--machine", NAME, "exec", "cat", "/tmp/copied"]);
        there.exits(0).prints("a\r\nb\n");
        windows.run(&["--machine", NAME, "exec", "rm", "/tmp/copied"]).exits(0);
    }
    windows.run(&["machine", "cp", &on_drive(&from), "w1:/tmp/copied"]).exits(0);
    windows.run(&["machine", "cp", "w1:/tmp/copied", &on_drive(&back)]).exits(0);
    assert_eq!(std::fs::read_to_string(&back).unwrap(), "a\r\nb\n");
}

/// The VM goes on, keeps its lock, and the next command finds it again.
fn a_supervisor_that_is_killed(windows: &Windows) {
    let home = on_drive(windows.home.path());
    let is_supervisor = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("nsvm.exe")
            && String::from_utf8_lossy(&environment).contains(&home)
    };
    let found: Vec<u32> = processes_with("supervise").into_iter().filter(is_supervisor).collect();
    let [supervisor] = found[..] else { panic!("no supervisor, or several: {found:?}") };
    let pid = Pid::from_raw(i32::try_from(supervisor).unwrap()).unwrap();
    let before = qemus(windows);
    kill_process(pid, Signal::KILL).unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while Path::new(&format!("/proc/{supervisor}")).exists() {
        assert!(Instant::now() < end, "the supervisor does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(windows.inspect()["State"], "running");
    windows.run(&["machine", "start", NAME]).exits(125).complains(&["already running"]);
    let echo = windows.run(&["--machine", NAME, "exec", "echo", "found again"]);
    echo.exits(0).prints("found again\n");
    assert_eq!(qemus(windows), before);
}

fn stop(windows: &Windows) {
    let uuid = windows.uuid();
    for _ in 0..2 {
        let stop = windows.run(&["machine", "stop", NAME]).exits(0);
        stop.prints("Machine \"w1\" stopped successfully\n");
    }
    assert_eq!(windows.inspect()["State"], "stopped");
    assert_eq!(processes_with(&uuid), Vec::<u32>::new());
}

/// Of a machine that runs, which is then gone with all that was its own.
fn removal(windows: &Windows) {
    let uuid = windows.uuid();
    let mut start = windows.spawnable(&["machine", "start", NAME]);
    let mut start = start.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(120);
    while qemus(windows).is_empty() {
        assert!(Instant::now() < end, "QEMU does not appear");
        std::thread::sleep(Duration::from_millis(50));
    }
    windows.run(&["machine", "rm", "-f", NAME]).exits(0);
    start.wait().unwrap();
    assert_eq!(processes_with(&uuid), Vec::<u32>::new());
    assert_eq!(windows.home.traces_of(NAME), Vec::<PathBuf>::new());
    let gone = windows.run(&["machine", "rm", "-f", NAME]).exits(125);
    gone.complains(&["w1: VM does not exist"]);
}
