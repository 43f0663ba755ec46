//! Directories, ports and files between the host and a guest.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{Home, Ran};
use crate::machine::Machine;

const WRITABLE: &str = "/mnt/my own dir";
const READ_ONLY: &str = "/mnt/read only";

/// What the guest listens on.
const GUEST_PORT: u16 = 7777;

/// The options of `machine init` that share two directories, with spaces in
/// both paths, and publish a port.
pub fn options(home: &Home) -> Vec<String> {
    let dir = |name: &str| {
        let dir = home.path().join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("from host"), "host\n").unwrap();
        dir.to_str().unwrap().to_owned()
    };
    let port = nsvm::qemu::port::free_port(None).unwrap();
    let writable = format!("{}:{WRITABLE}", dir("shared dir"));
    let read_only = format!("{}:{READ_ONLY}:ro", dir("read only dir"));
    let published = format!("{port}:{GUEST_PORT}");
    ["-v", &writable, "--volume", &read_only, "-p", &published].map(str::to_owned).into()
}

pub fn volumes(machine: &Machine) {
    let root = |script: &str| machine.run(["exec", "sudo", "sh", "-c", script]);
    assert_eq!(machine.says(["cat", &format!("{WRITABLE}/from host")]), "host");
    assert_eq!(machine.says(["cat", &format!("{READ_ONLY}/from host")]), "host");
    root(&format!("echo guest >'{WRITABLE}/from guest'")).exits(0);
    let written = machine.home.path().join("shared dir/from guest");
    assert_eq!(fs::read_to_string(written).unwrap(), "guest\n");
    let below = machine.home.path().join("shared dir/below");
    fs::create_dir_all(&below).unwrap();
    let pwd = ["--machine", machine.name(), "unshare", "--map-root-user", "pwd"];
    let here = machine.home.nsvm(pwd).current_dir(&below).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&here.stdout), format!("{WRITABLE}/below\n"));
    // But not what starts at the user's home, wherever it is typed.
    let in_shared = |args: &[&str]| {
        Ran(machine.home.nsvm(args.iter().copied()).current_dir(&below).output().unwrap()).exits(0)
    };
    let copied = format!("{}:typed in a volume", machine.name());
    in_shared(&["machine", "cp", "-q", "/etc/hostname", &copied]);
    let (home, listed) = (machine.says(["pwd"]), ["ls", "typed in a volume"]);
    assert_eq!(machine.says(listed), listed[1]);
    assert!(fs::read_dir(&below).unwrap().next().is_none());
    in_shared(&["machine", "ssh", machine.name(), "pwd"]).prints(&format!("{home}\n"));
    machine.says(["rm", "typed in a volume"]);
    root(&format!("touch '{READ_ONLY}/x'")).exits(1).complains(&["Read-only file system"]);
    // Not the guest's word: QEMU refuses although the guest mounts it anew.
    let again = "mount -t 9p -o trans=virtio,version=9p2000.L,rw nsvm1 /srv";
    root(&format!("umount '{READ_ONLY}' && {again} && ! touch /srv/x && umount /srv"))
        .exits(0)
        .complains(&["touch: cannot touch '/srv/x': Read-only file system"]);
    root("systemctl restart nsvm-settings.service").exits(0);
    assert_eq!(machine.says(["cat", &format!("{READ_ONLY}/from host")]), "host");
    assert!(!machine.home.path().join("read only dir/x").exists());
    let mounts = machine.inspect()["Mounts"].clone();
    assert_eq!((&mounts[0]["Target"], &mounts[0]["ReadOnly"]), (&WRITABLE.into(), &false.into()));
    assert_eq!((&mounts[1]["Target"], &mounts[1]["ReadOnly"]), (&READ_ONLY.into(), &true.into()));
}

/// An echo server in the guest answers on the host's loopback.
pub fn ports(machine: &Machine) {
    let serve = format!(
        "systemd-run -q --unit nsvm-echo systemd-socket-activate --inetd -a -l {GUEST_PORT} cat"
    );
    machine.run(["exec", "sudo", "sh", "-c", &serve]).exits(0);
    let port = machine.inspect()["Ports"][0]["HostPort"].as_u64().unwrap();
    let port = u16::try_from(port).unwrap();
    let end = Instant::now() + Duration::from_secs(120);
    while echo(port).is_none_or(|answer| answer != "over and back") {
        assert!(Instant::now() < end, "nobody answers on port {port}");
        std::thread::sleep(Duration::from_millis(200));
    }
    machine.run(["exec", "sudo", "systemctl", "stop", "nsvm-echo"]).exits(0);
}

fn echo(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.write_all(b"over and back").ok()?;
    stream.shutdown(Shutdown::Write).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A file and a tree, there and back: content, modes, times and links.
pub fn copies(machine: &Machine) {
    let home = &machine.home;
    let name = machine.name();
    let tree = home.path().join("a tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    let program = tree.join("sub/a program");
    // More than the credit of one stream.
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&program, &bytes).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o751)).unwrap();
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(&program).unwrap().set_modified(long_ago).unwrap();
    symlink("sub/a program", tree.join("link")).unwrap();
    fs::set_permissions(tree.join("sub"), fs::Permissions::from_mode(0o700)).unwrap();

    let cp = |from: &str, to: &str| home.run(["machine", "cp", "-q", from, to]);
    let guest = |path: &str| format!("{name}:{path}");
    home.run(["machine", "cp", tree.to_str().unwrap(), &guest("copied tree")])
        .exits(0)
        .prints("Copy successful\n");
    let there = "copied tree/sub/a program";
    assert_eq!(machine.says(["stat", "-c", "%a %Y %s %U", there]), "751 1000000000 12000000 core");
    assert_eq!(machine.says(["readlink", "copied tree/link"]), "sub/a program");
    // Once more it goes into the directory that is there now.
    cp(tree.to_str().unwrap(), &guest("copied tree")).exits(0).prints("");
    assert_eq!(machine.says(["stat", "-c", "%a", "copied tree/a tree/sub"]), "700");

    let back = home.path().join("back");
    cp(&guest("copied tree"), back.to_str().unwrap()).exits(0).prints("");
    let program = back.join("sub/a program");
    assert!(fs::read(&program).unwrap() == bytes);
    let found = fs::metadata(&program).unwrap();
    assert_eq!((found.mode() & 0o7777, found.mtime()), (0o751, 1_000_000_000));
    assert_eq!(fs::read_link(back.join("link")).unwrap(), Path::new("sub/a program"));
    cp(&guest("~/copied tree/sub/a program"), back.to_str().unwrap()).exits(0);
    assert_eq!(fs::metadata(back.join("a program")).unwrap().len(), 12_000_000);

    // What fails says why and leaves nothing.
    cp(&guest("/no/such"), back.to_str().unwrap())
        .exits(125)
        .complains(&["/no/such: no such file"]);
    cp(&guest("/etc/shadow"), back.to_str().unwrap()).exits(125).complains(&["Permission denied"]);
    cp("/etc/hostname", &guest("/no/dir/x")).exits(125).complains(&["/no/dir: no such directory"]);
    cp("/etc/hostname", &guest("/root/")).exits(125).complains(&["/root"]);
    let left: Vec<_> = fs::read_dir(&back).unwrap().map(|e| e.unwrap().file_name()).collect();
    // The two of the tree, the tree once more, and the program.
    assert_eq!(left.len(), 4, "{left:?}");
    machine.says(["rm", "-r", "copied tree"]);
    fs::remove_dir_all(&back).unwrap();
}
