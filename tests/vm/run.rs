//! `nsvm run` in a machine.

use crate::machine::Machine;

const OS_RELEASE: &str = "PRETTY_NAME=\"Another Linux 7\"\n";

/// What lies about in the guest that a run could leave.
fn remains(machine: &Machine) -> String {
    let script = "cat /proc/mounts; ip -o link; find /sys/fs/cgroup -name 'nsvm*' | sort; \
                  find /run/nsvm-stage /var/lib/nsvm/named -mindepth 1 2>/dev/null; :";
    machine.says(["--user-name", "root", "sh", "-c", script])
}

/// A tar on this host with the guest's static busybox and an os-release of its
/// own: another system.
fn another_system(machine: &Machine) -> std::path::PathBuf {
    let script = "set -e; d=$(mktemp -d); cd \"$d\"; mkdir bin etc; cp /bin/busybox bin/; \
                  for n in sh cat ps hostname ls readlink; do ln -s busybox bin/$n; done; \
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
    machine.run(["exec", "--user-name", "root", "rm", "-r", "/var/lib/nsvm/named/kept"]).exits(0);
    machine.run(["run", "sh", "-c", "exit 7"]).exits(7);
    machine.run(["run", "no-such-program"]).exits(127);
    assert_eq!(remains(machine), before);
}
