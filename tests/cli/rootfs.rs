//! `nsvm --local run --rootfs`: tars and directories of this host, through the
//! same agent that a machine has.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::common::{Home, Ran};

/// Where the agent keeps what was sent.
const ROOTS: &str = "/var/lib/nsvm/roots";

const OS_RELEASE: &str = "PRETTY_NAME=\"Another Linux 7\"\n";

/// A test that needs root ends here otherwise, visibly.
macro_rules! needs_root {
    () => {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: this test needs root");
            return;
        }
    };
}

/// A tar, and what the agent has made of it, until dropped.
struct Tar {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl Tar {
    fn new(name: &str, write: impl FnOnce(&mut Builder<Vec<u8>>)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = Builder::new(Vec::new());
        // Tells the roots of tests apart that run at the same time.
        file(&mut builder, "etc/test", dir.path().display().to_string().as_bytes());
        write(&mut builder);
        let path = dir.path().join(name);
        std::fs::write(&path, builder.into_inner().unwrap()).unwrap();
        Self { dir, path }
    }

    /// A small system: sh, cat and ls of this host.
    fn system(name: &str) -> Self {
        Self::new(name, |builder| {
            file(builder, "etc/os-release", OS_RELEASE.as_bytes());
            for name in ["sh", "cat", "ls"] {
                program(builder, name);
            }
        })
    }

    fn digest(&self) -> String {
        let digest = Sha256::digest(std::fs::read(&self.path).unwrap());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn kept(&self) -> PathBuf {
        Path::new(ROOTS).join(self.digest())
    }

    fn run(&self, args: &[&str]) -> Ran {
        run(&[&["--rootfs", self.path.to_str().unwrap()], args].concat())
    }
}

impl Drop for Tar {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.kept());
    }
}

fn run(args: &[&str]) -> Ran {
    let all = [&["--local", "run"], args].concat();
    Home::new().run(all)
}

fn header(size: usize, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn file(builder: &mut Builder<Vec<u8>>, name: &str, content: &[u8]) {
    builder.append_data(&mut header(content.len(), 0o755), name, content).unwrap();
}

fn link(builder: &mut Builder<Vec<u8>>, name: &str, to: &str) {
    let mut header = header(0, 0o777);
    header.set_entry_type(EntryType::Symlink);
    builder.append_link(&mut header, name, to).unwrap();
}

/// A program of this host and the libraries it is linked with.
fn program(builder: &mut Builder<Vec<u8>>, name: &str) {
    let path = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(name));
    let path = path.iter().find(|path| path.exists()).unwrap().canonicalize().unwrap();
    file(builder, &format!("bin/{name}"), &std::fs::read(&path).unwrap());
    let output = Command::new("ldd").arg(&path).output().unwrap();
    for word in String::from_utf8_lossy(&output.stdout).split_whitespace() {
        if word.starts_with('/') {
            file(builder, word.trim_start_matches('/'), &std::fs::read(word).unwrap());
        }
    }
}

#[test]
fn a_tar_is_another_system() {
    needs_root!();
    let tar = Tar::system("root.tar");
    tar.run(&["cat", "/etc/os-release"]).exits(0).prints(OS_RELEASE);
    assert!(tar.kept().is_dir());
    tar.run(&["sh", "-c", "echo $$; echo x > /etc/os-release; ls /"])
        .exits(0)
        .prints("1\nbin\ndev\netc\nlib\nlib64\nproc\nrun\nsys\ntmp\n");
    // What one run has changed, the next does not see.
    tar.run(&["--user-name", "nobody", "cat", "/etc/os-release"]).exits(0).prints(OS_RELEASE);
    tar.run(&["hostname"]).exits(127);
}

#[test]
fn a_tar_is_sent_once() {
    needs_root!();
    let tar = Tar::system("root.tar");
    tar.run(&["cat", "/etc/os-release"]).exits(0);
    // It would be noticed if it came again.
    std::fs::write(tar.kept().join("etc/os-release"), "changed\n").unwrap();
    tar.run(&["cat", "/etc/os-release"]).exits(0).prints("changed\n");
}

fn packed(suffix: &str, bytes: &[u8]) -> Vec<u8> {
    match suffix {
        "xz" => liblzma::encode_all(bytes, 0).unwrap(),
        "zst" => zstd::encode_all(bytes, 1).unwrap(),
        _ => {
            let fast = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), fast);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

#[test]
fn a_tar_may_be_compressed() {
    needs_root!();
    for suffix in ["gz", "xz", "zst"] {
        let mut tar = Tar::system("root.tar");
        let path = tar.dir.path().join(format!("root.tar.{suffix}"));
        std::fs::write(&path, packed(suffix, &std::fs::read(&tar.path).unwrap())).unwrap();
        tar.path = path;
        tar.run(&["cat", "/etc/os-release"]).exits(0).prints(OS_RELEASE);
    }
}

#[test]
fn a_directory_is_one_too() {
    needs_root!();
    let tar = Tar::system("root.tar");
    let dir = tar.dir.path().join("root");
    tar::Archive::new(std::fs::File::open(&tar.path).unwrap()).unpack(&dir).unwrap();
    run(&["--rootfs", dir.to_str().unwrap(), "cat", "/etc/os-release"]).exits(0).prints(OS_RELEASE);
}

#[test]
fn a_tar_that_breaks_off_leaves_nothing() {
    needs_root!();
    let tar = Tar::system("root.tar");
    let whole = std::fs::read(&tar.path).unwrap();
    for end in [whole.len() / 2, 700] {
        std::fs::write(&tar.path, &whole[..end]).unwrap();
        let ran = tar.run(&["cat", "/etc/os-release"]).exits(125);
        let _ = ran.complains(&["root.tar", "cannot unpack the root file system"]);
        assert!(!tar.kept().exists());
    }
    let mut tar = tar;
    assert!(Command::new("gzip").arg("-1").arg(&tar.path).status().unwrap().success());
    tar.path = tar.dir.path().join("root.tar.gz");
    let packed = std::fs::read(&tar.path).unwrap();
    std::fs::write(&tar.path, &packed[..packed.len() - 9]).unwrap();
    tar.run(&["cat", "/etc/os-release"]).exits(125).complains(&["reading it"]);
    assert!(!tar.kept().exists());
    let unfinished =
        |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().contains(&tar.digest());
    assert_eq!(std::fs::read_dir(ROOTS).unwrap().flatten().filter(unfinished).count(), 0);
}

#[test]
fn what_is_no_root_file_system_is_refused() {
    needs_root!();
    run(&["--rootfs", "/nonexistent", "x"]).exits(125).complains(&["\"/nonexistent\""]);
    let empty = Tar::new("empty.tar", |_| {});
    std::fs::write(&empty.path, [0; 1024]).unwrap();
    empty.run(&["x"]).exits(125).complains(&["it holds no files"]);
    let text = Tar::new("text.tar", |_| {});
    std::fs::write(&text.path, "\x1b[2Jno tar at all\n".repeat(100)).unwrap();
    let ran = text.run(&["x"]).exits(125);
    assert!(!ran.stderr().contains('\x1b'), "{}", ran.stderr());
}

#[test]
fn a_tar_writes_nowhere_else() {
    needs_root!();
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap().to_owned();
    let tar = Tar::new("evil.tar", |builder| {
        link(builder, "out", &target);
        file(builder, "out/through-a-link", b"x");
        link(builder, "up", "../../../../../../../../tmp");
        file(builder, "up/nsvm-test-escape", b"x");
        // The crate refuses to write such a name, so it is put in by hand.
        let mut header = header(1, 0o644);
        let name = b"../../../../nsvm-test-escape";
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
        let mut device = self::header(0, 0o666);
        device.set_entry_type(EntryType::Char);
        device.set_device_major(1).unwrap();
        device.set_device_minor(3).unwrap();
        builder.append_data(&mut device, "a-device", std::io::empty()).unwrap();
        program(builder, "ls");
    });
    let ran = tar.run(&["/bin/ls", "/"]);
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    for path in ["/tmp/nsvm-test-escape", "/var/lib/nsvm-test-escape", "/nsvm-test-escape"] {
        assert!(!Path::new(path).exists(), "{path}");
    }
    // It may be refused as a whole; if not, devices are left out.
    assert!(ran.code() == 125 || !ran.stdout().contains("a-device"), "{}", ran.stdout());
    assert!(ran.code() == 125 || ran.code() == 0, "{}", ran.stderr());
}

#[test]
fn what_a_program_runs_on_is_not_removed() {
    needs_root!();
    let tar = Tar::system("root.tar");
    let digest = tar.digest();
    let home = Home::new();
    let path = tar.path.to_str().unwrap();
    let mut command =
        home.spawnable(["--local", "run", "--rootfs", path, "sh", "-c", "echo up; read line"]);
    let mut runs = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut up = [0; 3];
    runs.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let rootfs = |args: &[&str]| Home::new().run([&["--local", "rootfs"], args].concat());
    let told: Vec<serde_json::Value> =
        serde_json::from_str(&rootfs(&["ls", "--format", "json"]).exits(0).stdout()).unwrap();
    let own = told.iter().find(|kept| kept["Name"] == *digest).unwrap();
    assert_eq!((&own["Kind"], &own["InUse"]), (&"sent".into(), &true.into()));
    assert!(own["Size"].as_u64() > Some(100_000), "{own}");
    rootfs(&["rm", "--force", &digest]).exits(125).complains(&[&digest, "a program runs on it"]);
    // Another one may run there meanwhile.
    tar.run(&["cat", "/etc/os-release"]).exits(0).prints(OS_RELEASE);
    drop(runs.stdin.take());
    assert!(!runs.wait().unwrap().success());
    rootfs(&["rm", &digest[..20]]).exits(0).prints(&format!("{digest}\n"));
    assert!(!tar.kept().exists());
    // It comes again.
    tar.run(&["cat", "/etc/os-release"]).exits(0).prints(OS_RELEASE);
}
