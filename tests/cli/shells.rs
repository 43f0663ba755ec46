//! Completions in real shells: what a Tab makes of a line. The shells are those
//! that are installed.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nsvm::agent::pty;
use nsvm::protocol::request::Size;

use crate::common::{Home, Ran, program};
use crate::failures::init;

/// A shell begins, and asks nsvm, in far less on a busy host.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is typed, and what its words are after a Tab.
const LINES: [(&str, &str); 9] = [
    ("nsvm machine ini", "<nsvm><machine><init>"),
    ("nsvm machine start wo", "<nsvm><machine><start><work>"),
    ("nsvm machine inspect play w", "<nsvm><machine><inspect><play><work>"),
    ("nsvm --machine  p", "<nsvm><--machine><play>"),
    ("nsvm machine set --mem", "<nsvm><machine><set><--memory>"),
    ("nsvm machine init --image fedora-coreos:t", "<--image><fedora-coreos:testing>"),
    ("nsvm machine init --image=fedora-coreos:n", "<init><--image=fedora-coreos:next>"),
    ("nsvm machine set --rootful=f", "<set><--rootful=false>"),
    ("nsvm completion po", "<nsvm><completion><powershell>"),
];

/// Two machines, the script of the shell, and the program on PATH.
struct World {
    home: Home,
    path: String,
    script: String,
}

impl World {
    /// `None`: the shell is not here.
    fn with(shell: &str) -> Option<Self> {
        let found = Command::new(shell).arg("-c").arg("exit 0").stderr(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            eprintln!("skipped: there is no {shell} here");
            return None;
        }
        let home = Home::new();
        for name in ["work", "play"] {
            home.run(init(&["-q", "--image", "/dev/null", name])).exits(0);
        }
        let script = home.path().join("completions");
        let text = home.run(["completion", shell]).exits(0).stdout();
        std::fs::write(&script, text).unwrap();
        let dir = program().parent().unwrap().display().to_string();
        let path = format!("{dir}:{}", std::env::var("PATH").unwrap());
        Some(Self { script: script.display().to_string(), home, path })
    }

    fn prepare(&self, command: &mut Command) {
        command.env("PATH", &self.path).env("NSVM_HOME", self.home.path());
        command.env("HOME", self.home.path()).env("TERM", "dumb").env_remove("NSVM_IMAGE_CACHE");
    }
}

/// Somebody at a terminal with a shell.
struct Typist {
    keys: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
    shell: Child,
}

impl Typist {
    fn start(world: &World, words: &[&str]) -> Self {
        let uid = rustix::process::getuid().as_raw();
        let pty = pty::open(Size { rows: 40, cols: 200, ..Size::default() }, uid).unwrap();
        let terminal = File::from(pty.terminal);
        let end = || Stdio::from(terminal.try_clone().unwrap());
        // The terminal is to be that of the shell's own session.
        let mut shell = Command::new("setsid");
        shell.arg("--ctty").args(words).stdin(end()).stdout(end()).stderr(end());
        world.prepare(&mut shell);
        let shell = shell.spawn().unwrap();
        let keys = File::from(pty.master);
        let mut master = keys.try_clone().unwrap();
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = master.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { keys, screen, seen: String::new(), shell }
    }

    fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// Panics unless the screen shows the text in time.
    #[track_caller]
    fn sees(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.seen.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("no {text:?} in {:?}", self.seen),
            }
        }
        self.seen.clear();
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Each line, then a Tab; the words are printed by what is typed before them.
fn type_lines(shell: &mut Typist) {
    for (line, words) in LINES {
        shell.types(&format!("{line}\t\x01printf '<%s>' \x05; echo\r"));
        shell.sees(words);
    }
}

#[test]
fn bash_completes() {
    let Some(world) = World::with("bash") else { return };
    let mut shell = Typist::start(&world, &["bash", "--norc", "--noprofile", "-i"]);
    shell.types(&format!("source '{}' && echo 'rea'dy\r", world.script));
    shell.sees("ready");
    type_lines(&mut shell);
}

#[test]
fn zsh_completes() {
    let Some(world) = World::with("zsh") else { return };
    let mut shell = Typist::start(&world, &["zsh", "-f", "-i"]);
    shell.types("bindkey -e; autoload -Uz compinit && compinit -u -D && ");
    shell.types(&format!("source '{}' && echo 'rea'dy\r", world.script));
    shell.sees("ready");
    type_lines(&mut shell);
}

/// fish answers what it would offer without a terminal.
#[test]
fn fish_completes() {
    let Some(world) = World::with("fish") else { return };
    for (line, words) in LINES {
        let mut fish = Command::new("fish");
        world.prepare(&mut fish);
        let asks = format!("source '{}'; complete -C '{line}'", world.script);
        let ran = Ran(fish.args(["--no-config", "-c", &asks]).output().unwrap()).exits(0);
        let wanted = words.rsplit(['<', '>']).find(|word| !word.is_empty()).unwrap();
        let stdout = ran.stdout();
        let first = stdout.lines().next().unwrap_or_default();
        let offered = first.split('\t').next().unwrap_or_default();
        assert_eq!(offered, wanted, "{line}: {stdout}{}", ran.stderr());
    }
}

/// What fish, zsh and bash are told to set is set.
#[test]
fn each_shell_takes_the_variables_over() {
    for shell in ["bash", "zsh", "fish"] {
        let Some(world) = World::with(shell) else { continue };
        let mut command = Command::new(shell);
        world.prepare(&mut command);
        let take = match shell {
            "fish" => "nsvm machine env --shell fish work | source",
            _ => "eval \"$(nsvm machine env work)\"",
        };
        let back = take.replace("env", "env --unset");
        let show = "echo \"[$NSVM_MACHINE] [$CONTAINER_SSHKEY]\"";
        let script = format!("{take}; {show}; {back}; {show}");
        command.env("SHELL", format!("/bin/{shell}"));
        let ran = Ran(command.args(["-c", &script]).output().unwrap()).exits(0);
        let key = world.home.path().join("data/work/id_ed25519");
        assert_eq!(ran.stdout(), format!("[work] [{}]\n[] []\n", key.display()), "{shell}");
    }
}
