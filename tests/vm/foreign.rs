//! An aarch64 guest on an x86_64 host: the image is built under qemu-user,
//! booted by UEFI and translated. Ten minutes and more, so this is for
//! `make test-long`, which names the guest's agent in `NSVM_FOREIGN_AGENT`.

use std::path::PathBuf;
use std::process::Stdio;

use crate::common::{Home, Ran};

const NAME: &str = "foreign";

const ARCH: &str = "aarch64";

struct Foreign {
    home: Home,
    agent: PathBuf,
}

impl Foreign {
    #[track_caller]
    fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.home.nsvm(args.iter().copied());
        Ran(command.env("NSVM_AGENT", &self.agent).output().unwrap())
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.run(&["machine", "logs", "--serial", NAME]).stdout());
        }
        let _ = self.run(&["machine", "rm", "-f", NAME]);
    }
}

pub fn story() {
    let agent = std::env::var_os("NSVM_FOREIGN_AGENT").expect("`make test-long` names the agent");
    let machine = Foreign { home: Home::sharing_images(), agent: agent.into() };
    // Built at most once; no deadline but the recipe's own.
    let pull = ["image", "pull", "--arch", ARCH, "debian-local"];
    let pulled = machine.home.spawnable(pull).stdout(Stdio::null()).status().unwrap();
    assert!(pulled.success(), "{pulled}");

    let init = ["machine", "init", "-q", "--image", "debian-local", "--arch", ARCH];
    let size = ["--cpus", "1", "--memory", "1024", "--disk-size", "4", NAME];
    machine.run(&[&init[..], &size[..]].concat()).exits(0);
    machine.run(&["machine", "start", "-q", NAME]).exits(0);

    let run = |args: &[&str]| machine.run(&[&["--machine", NAME], args].concat()).exits(0).stdout();
    assert_eq!(run(&["exec", "uname", "-m"]).trim(), ARCH);
    let article = ["--user", "--pid", "--map-root-user", "--mount-proc", "--fork"];
    let listed = run(&[&["unshare"], &article[..], &["bash", "-c", "ps -ef; true"]].concat());
    let lines: Vec<Vec<&str>> =
        listed.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert_eq!((lines[0][0], lines[0][1]), ("root", "1"), "{listed}");
    assert!(lines[0].contains(&"bash") && lines[1].contains(&"ps"), "{listed}");
    assert_eq!(run(&["exec", "systemctl", "is-system-running", "--wait"]).trim(), "running");
    machine.run(&["machine", "stop", NAME]).exits(0);
}
