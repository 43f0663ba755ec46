//! A temporary home and the program under test in it.
#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

pub mod json;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use assert_cmd::Command;

/// Nothing in these tests takes longer on a machine that works: a guest boots
/// in 15 s translated, in a minute on a busy host.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// What Wine says on a busy host instead of starting a program, now and then
/// (`ERROR_INTERNAL_ERROR`).
const WINE_IS_BUSY: i32 = 1359;

/// What `machine inspect` shows of a machine, in this order: podman's keys, then
/// ours.
pub const INSPECT_KEYS: [&str; 20] = [
    "ConfigPath",
    "ConfigDir",
    "ConnectionInfo",
    "Created",
    "Image",
    "LastUp",
    "Name",
    "Resources",
    "SSHConfig",
    "State",
    "UserModeNetworking",
    "Rootful",
    "Accelerator",
    "Mounts",
    "Ports",
    "Agent",
    "Protected",
    "SuspendReason",
    "Snapshots",
    "IdleSuspend",
];

/// An `NSVM_HOME` of its own, with a space in its path as on a Mac.
pub struct Home {
    dir: tempfile::TempDir,
    shares_images: bool,
    /// Else every machine boots, and nothing is made in the background.
    templates: bool,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("nsvm test ").tempdir().unwrap();
        Self { dir, shares_images: false, templates: false }
    }

    /// One that takes its images from the shared cache, if there is one: those
    /// that are built or downloaded take minutes.
    pub fn sharing_images() -> Self {
        Self { shares_images: true, ..Self::new() }
    }

    /// One whose machines may begin as copies of a template.
    pub fn with_templates() -> Self {
        Self { templates: true, ..Self::new() }
    }

    /// What the environment says of templates.
    fn templates(&self) -> (&'static str, &'static str) {
        ("NSVM_MACHINE_TEMPLATES", if self.templates { "true" } else { "false" })
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it, as this system writes it.
    pub fn join(&self, inner: &str) -> PathBuf {
        self.path().join(inner).components().collect()
    }

    /// `nsvm` in this home.
    pub fn nsvm<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(program());
        self.prepare(&mut command);
        command.args(args).timeout(PATIENCE);
        command
    }

    fn prepare(&self, command: &mut Command) {
        command.env("NSVM_HOME", self.path()).env("NSVM_SYSTEM_CONFIG", self.path().join("etc"));
        for unwanted in ["NSVM_MACHINE", "NSVM_QEMU", "NSVM_STREAM_URL", "NSVM_LOG", "NSVM_CONFIG"]
        {
            command.env_remove(unwanted);
        }
        let (name, value) = self.templates();
        command.env(name, value);
        if !self.shares_images {
            command.env_remove("NSVM_IMAGE_CACHE");
        }
    }

    /// Runs it to its end.
    pub fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ran {
        let mut command = self.nsvm(args);
        for _ in 0..3 {
            match command.output() {
                Err(e) if cfg!(windows) && e.raw_os_error() == Some(WINE_IS_BUSY) => {
                    std::thread::sleep(Duration::from_secs(1));
                }
                ran => return Ran(ran.unwrap()),
            }
        }
        Ran(command.output().unwrap())
    }

    /// A command that is not waited for: the builder of std.
    pub fn spawnable<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> std::process::Command {
        self.spawnable_by(&program(), args)
    }

    /// The same of another file with the program.
    pub fn spawnable_by<'a>(
        &self,
        program: &Path,
        args: impl IntoIterator<Item = &'a str>,
    ) -> std::process::Command {
        let mut command = std::process::Command::new(program);
        command.env("NSVM_HOME", self.path()).env("NSVM_SYSTEM_CONFIG", self.path().join("etc"));
        let (name, value) = self.templates();
        command.env(name, value);
        if !self.shares_images {
            command.env_remove("NSVM_IMAGE_CACHE");
        }
        command.args(args);
        command
    }

    /// Every file below the home, but for the image cache, whose path mentions
    /// `name`.
    pub fn traces_of(&self, name: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(self.path(), &mut found);
        let home = self.path().to_owned();
        found.retain(|path| {
            let inner = path.strip_prefix(&home).unwrap();
            !inner.starts_with("cache") && inner.to_string_lossy().contains(name)
        });
        found
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            walk(&path, found);
        }
        found.push(path);
    }
}

/// Processes that have `text` among their arguments, but for ourselves.
pub fn processes_with(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if pid != std::process::id() && String::from_utf8_lossy(&line).contains(text) {
            found.push(pid);
        }
    }
    found
}

/// A process that works in some home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub arguments: String,
}

impl Process {
    pub fn is_supervisor(&self) -> bool {
        self.arguments.split('\0').nth(1) == Some("supervise")
    }

    /// Not one that is only asked what it can do.
    pub fn is_qemu(&self) -> bool {
        self.arguments.contains("\0-uuid\0")
    }
}

impl Home {
    /// All processes that nsvm has started in this home and that live, zombies
    /// too: what it starts has its environment.
    pub fn processes(&self) -> Vec<Process> {
        let variable = format!("NSVM_HOME={}", self.path().display());
        let ours = |environment: &[u8]| {
            environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
        };
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let process = |entry: std::fs::DirEntry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let arguments = String::from_utf8_lossy(&line).into_owned();
            ours(&environment).then_some(Process { pid, arguments })
        };
        entries.filter_map(process).collect()
    }
}

/// Children of a process that have ended and that it has not reaped.
pub fn zombies_of(pid: u32) -> Vec<u32> {
    let stat = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = text.rsplit_once(')')?;
        let mut words = rest.split_whitespace();
        Some((words.next()? == "Z", words.next()?.parse::<u32>().ok()?))
    };
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|child| stat(*child) == Some((true, pid)))
        .collect()
}

/// An absolute path of Unix, as nsvm shows it on this system.
pub fn shown(path: &str) -> String {
    std::path::absolute(path).unwrap().display().to_string()
}

/// Copies a program by a process of its own (cp): what another test starts meanwhile
/// would hold the file open for writing, and nobody could execute it (ETXTBSY).
pub fn copy_program(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").args([from, to]).status().unwrap();
    assert!(copied.success(), "cp {} {}", from.display(), to.display());
}

/// The program under test.
pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_nsvm"))
}

/// How a command ended.
pub struct Ran(pub Output);

impl Ran {
    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap_or(-1)
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.0.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Panics unless it exited with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            code,
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout(),
            self.stderr()
        );
        self
    }

    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert_eq!(self.stdout(), text, "\n--- stderr\n{}", self.stderr());
        self
    }

    /// Panics unless stderr mentions every one of the texts.
    #[track_caller]
    pub fn complains(self, texts: &[&str]) -> Self {
        let stderr = self.stderr();
        for text in texts {
            assert!(stderr.contains(text), "no {text:?} in\n{stderr}");
        }
        self
    }
}
