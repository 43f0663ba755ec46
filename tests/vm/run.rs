//! `nsvm run` in a machine.

use std::io::Write;
use std::net::TcpListener;
use std::thread;

use crate::machine::Machine;

const OS_RELEASE: &str = "PRETTY_NAME=\"Another Linux 7\"\n";

/// What lies about in the guest that a run could leave.
fn remains(machine: &Machine) -> String {
    let script = "cat /proc/mounts; ip -o link; find /sys/fs/cgroup -name 'nsvm*' | sort; \
                  find /run/nsvm-stage /var/lib/nsvm/named /var/lib/nsvm/roots -mindepth 1 2>/dev/null; :";
    machine.says(["--user-name", "root", "sh", "-c", script])
}

/// A tar on this host with the guest's static busybox and an os-release of its
/// own: another system.
fn another_system(machine: &Machine) -> std::path::PathBuf {
    let script = "set -e; d=$(mktemp -d); cd \"$d\"; mkdir bin etc; cp /bin/busybox bin/; \
                  for n in sh cat ps hostname ls readlink nc; do ln -s busybox bin/$n; done; \
                  printf '%s' \"$0\" >etc/os-release; tar -cz .; rm -r \"$d\"";
    let tar = machine.run(["exec", "sh", "-c", script, OS_RELEASE]).exits(0);
    let path = machine.home.path().join("another.tar.gz");
    std::fs::write(&path, &tar.0.stdout).unwrap();
    path
}

pub fn story(machine: &Machine) {
    let tar = another_system(machine);
    let tar = tar.to_str().unwrap();
    let before = remains(machine);
    machine.run(["run", "--rootfs", tar, "cat", "/etc/os-release"]).exits(0).prints(OS_RELEASE);
    // The second time it is there already.
    let script = "echo $$; hostname; ps; cat /proc/mounts; ls /sys/class/net";
    let seen = machine.run(["run", "--rootfs", tar, "--hostname", "box", "sh", "-c", script]);
    let seen = seen.exits(0).stdout();
    assert!(seen.starts_with("1\nbox\n"), "{seen}");
    assert!(seen.ends_with("\nlo\n"), "{seen}");
    for foreign in ["/dev/vda", "nsvm-agent", "systemd", "eth0", "enp"] {
        assert!(!seen.contains(foreign), "{foreign} in {seen}");
    }
    // The guest's own root: its user is root in there, and changes are lost.
    let script = "id -u; rm -rf /etc/os-release && echo x >/root/y && ls /root";
    machine.run(["run", "sh", "-c", script]).exits(0).prints("0\ny\n");
    assert!(machine.says(["cat", "/etc/os-release"]).contains("Debian"));
    // Under a name they are kept.
    machine.run(["run", "--name", "kept", "sh", "-c", "echo 1 >/kept"]).exits(0);
    machine.run(["run", "--name", "kept", "cat", "/kept"]).exits(0).prints("1\n");
    way_out(machine, tar);
    removal(machine, tar);
    machine.run(["run", "sh", "-c", "exit 7"]).exits(7);
    machine.run(["run", "no-such-program"]).exits(127);
    assert_eq!(remains(machine), before);
}

/// Through the machine to this host, and back comes what it says.
fn way_out(machine: &Machine, tar: &str) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in server.incoming() {
            // A client that has gone is told by its own test.
            let _ = client.and_then(|mut client| client.write_all(b"the host says hello\n"));
        }
    });
    // What the guest itself asks, or what the stub asks for it.
    let servers = "grep -h ^nameserver /run/systemd/resolve/resolv.conf /etc/resolv.conf \
                   2>/dev/null | grep -v ' 127' | sort -u";
    let servers = machine.says(["sh", "-c", servers]);
    let inside = "grep -h ^nameserver /etc/resolv.conf | sort -u";
    // QEMU's user network has this host at 10.0.2.2.
    let fetch = format!("timeout 60 bash -c 'cat < /dev/tcp/10.0.2.2/{port}'");
    let script = format!("ls /sys/class/net; {fetch}; {inside}");
    for options in ["--network=nat", "--network=nat --read-only"] {
        let line = ["run"].into_iter().chain(options.split(' ')).chain(["sh", "-c", &script]);
        let seen = machine.run(line).exits(0);
        assert_eq!(
            seen.stdout(),
            format!("eth0\nlo\nthe host says hello\n{servers}\n"),
            "{options}"
        );
    }
    // A root that has no such file gets one.
    let script = format!("nc 10.0.2.2 {port} </dev/null; cat /etc/resolv.conf");
    let line = ["run", "--rootfs", tar, "--network", "nat", "sh", "-c", &script];
    let seen = machine.run(line).exits(0).stdout();
    assert!(seen.starts_with("the host says hello\n"), "{seen}");
    for server in servers.lines() {
        assert!(seen.contains(server), "{seen}");
    }
    let gone = "while ip -o link | grep -q nsvm; do sleep 0.1; done";
    machine.says(["timeout", "60", "sh", "-c", gone]);
}

/// What is kept is told, and goes when it is told to.
fn removal(machine: &Machine, tar: &str) {
    let names = |machine: &Machine| {
        let all: Vec<serde_json::Value> = serde_json::from_str(
            &machine.run(["rootfs", "ls", "--format", "json"]).exits(0).stdout(),
        )
        .unwrap();
        all.iter().map(|kept| kept["Name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    machine.run(["run", "--rootfs", tar, "--name", "web", "sh", "-c", "echo 1 >/new"]).exits(0);
    let all = names(machine);
    assert_eq!((all.len(), &all[0], &all[1]), (3, &"kept".to_owned(), &"web".to_owned()));
    let digest = &all[2];
    let table = machine.run(["rootfs", "list", "--noheading"]).exits(0).stdout();
    let last = table.lines().last().unwrap();
    assert!(last.starts_with(&digest[..12]) && last.ends_with("web"), "{table}");
    machine.run(["rootfs", "prune", "--force"]).exits(0).complains(&["nothing to remove"]);
    machine.run(["rootfs", "rm", &digest[..12]]).exits(125).complains(&["\"web\" was made from"]);
    machine.run(["rootfs", "rm", "kept", "web"]).exits(0).prints("kept\nweb\n");
    machine.run(["rootfs", "prune", "--force"]).exits(0);
    assert_eq!(names(machine), [] as [String; 0]);
    machine.run(["rootfs", "rm", "web"]).exits(125).complains(&["no root file system \"web\""]);
    machine.run(["rootfs", "rm", "--force", "web"]).exits(0).prints("");
}
