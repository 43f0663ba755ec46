//! An ordinary user, whose home has spaces and umlauts in its path and is so
//! deep that no socket fits below it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::json::valid;
use crate::common::{Ran, copy_program, processes_with, program};

/// Nobody's account is called so, and none is needed.
const UID: u32 = 61_234;

/// The program and the agent where that user can read them, and a home.
struct Somebody {
    dir: tempfile::TempDir,
    home: PathBuf,
}

impl Somebody {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("nsvm-somebody-").tempdir().unwrap();
        let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
        open(dir.path()).unwrap();
        copy_program(&program(), &dir.path().join("nsvm"));
        if let Some(agent) = std::env::var_os("NSVM_AGENT") {
            copy_program(Path::new(&agent), &dir.path().join("nsvm-agent"));
        }
        let home = dir.path().join("Benutzer von Jörg Größe").join("ä".repeat(60));
        fs::create_dir_all(&home).unwrap();
        for path in [home.parent().unwrap(), &home] {
            std::os::unix::fs::chown(path, Some(UID), Some(UID)).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        }
        Self { dir, home }
    }

    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(self.dir.path().join("nsvm"));
        command.args(args).current_dir(&self.home).uid(UID).gid(UID).stdin(Stdio::null());
        command.env_clear().env("HOME", &self.home).env("LANG", "C.UTF-8");
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        Ran(command.output().unwrap())
    }

    fn inspect(&self) -> Value {
        let text = self.run(&["machine", "inspect", "m1"]).exits(0).stdout();
        valid("inspect.schema.json", &text)[0].clone()
    }
}

#[test]
fn a_user_with_an_odd_home_lacks_nothing() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    let user = Somebody::new();
    let init = ["machine", "init", "--image", "/dev/null", "--disk-size", "1", "--cpus", "1"];
    let options = ["--memory", "256", "--update-connection", "m1"];
    user.run(&[&init[..], &options].concat()).exits(0).prints("Machine init complete\n");
    let inspected = user.inspect();
    let path = |key: &str| PathBuf::from(inspected.pointer(key).unwrap().as_str().unwrap());
    for key in ["/ConfigPath/Path", "/Image/ImagePath/Path", "/SSHConfig/IdentityPath"] {
        assert!(path(key).starts_with(&user.home) && path(key).exists(), "{key}");
    }
    let socket = path("/ConnectionInfo/ControlSocket/Path");
    assert!(socket.as_os_str().len() < 104, "{}", socket.display());
    let runtime = socket.parent().unwrap().parent().unwrap().to_owned();
    assert_eq!(fs::metadata(&runtime).unwrap().permissions().mode() & 0o777, 0o700);
    let podman = user.home.join(".config/containers/podman-connections.json");
    assert!(fs::read_to_string(podman).unwrap().contains("m1-root"));
    let env = user.run(&["machine", "env", "m1"]).exits(0).stdout();
    assert!(env.contains(user.home.to_str().unwrap()), "{env}");
    user.run(&["machine", "set", "--memory", "300", "m1"]).exits(0);
    user.run(&["machine", "list", "-q"]).exits(0).prints("m1\n");
    user.run(&["config", "show", "--origin"]).exits(0);

    // The VM runs and its sockets answer; there is nothing to boot in it.
    let start = user.run(&["machine", "start", "-q", "--timeout", "4", "m1"]).exits(125);
    if std::env::var_os("NSVM_AGENT").is_some() {
        start.complains(&["SSH server", "Hint: "]);
        let log = user.run(&["machine", "logs", "--supervisor", "m1"]).exits(0).stdout();
        assert!(log.contains("QEMU answers"), "{log}");
    }
    user.run(&["machine", "rm", "--force", "m1"]).exits(0);
    assert_eq!(processes_with(user.home.to_str().unwrap()), Vec::<u32>::new());
    user.run(&["machine", "list", "-q"]).exits(0).prints("");
    user.run(&["machine", "reset", "--yes"]).exits(0);
    assert!(!runtime.exists(), "{}", runtime.display());
}
