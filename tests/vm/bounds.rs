//! What a command may use of the machine: its limits and its network.

use std::io::Write;
use std::net::TcpListener;
use std::thread;

use crate::machine::Machine;

const GROUPS: &str = "ls -d /sys/fs/cgroup/nsvm/*/ 2>/dev/null";

fn unshare(machine: &Machine, options: &str, script: &str) -> crate::common::Ran {
    let options = options.split(' ').chain(["sh", "-c", script]);
    machine.run(["unshare"].into_iter().chain(options))
}

pub fn limits(machine: &Machine) {
    let script = "cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); \
                  cat cpu.max memory.max memory.swap.max pids.max; id -un";
    unshare(machine, "--cpus 0.5 --memory 256M --pids-limit 64", script)
        .exits(0)
        .prints("50000 100000\n268435456\n268435456\n64\ncore\n");
    let weight = "grep -h default /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/io.weight";
    unshare(machine, "--io-weight 50", weight).exits(0).prints("default 50\n");
    let killed = "was ended by the kernel: out of its 32 MiB of memory (OOM)";
    unshare(machine, "--memory 32M", "exec tail /dev/zero")
        .exits(137)
        .complains(&[&format!("unshare: the program {killed}")]);
    unshare(machine, "-r -p --fork --memory 32M", "exec tail /dev/zero").exits(137);
    // A process of it alone: the program's own end stays.
    unshare(machine, "--memory 32M", "tail /dev/zero; exit 3")
        .exits(3)
        .complains(&[&format!("a process of the program {killed}")]);
    unshare(machine, "--pids-limit 3", "sleep 9 & sleep 9 & sleep 9 & wait")
        .exits(2)
        .complains(&["Cannot fork"]);
    // What is left behind keeps its limits, and the group goes with it.
    unshare(machine, "--memory 64M", "setsid sleep 2 >&- 2>&- <&- &").exits(0);
    let gone = format!("until [ -z \"$({GROUPS})\" ]; do sleep 0.1; done");
    machine.says(["timeout", "60", "sh", "-c", &gone]);
}

/// Of all programs in a named namespace together.
pub fn named(machine: &Machine) {
    let bounds = ["--memory", "32M", "--pids-limit", "20"];
    machine.run(["ns", "create", "small", "--net", "-r"].into_iter().chain(bounds)).exits(0);
    let exec = |script| machine.run(["ns", "exec", "small", "sh", "-c", script]);
    let script = "cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); pwd; cat memory.max pids.max";
    let seen = exec(script).exits(0).stdout();
    assert!(seen.starts_with("/sys/fs/cgroup/nsvm/ns-small-"), "{seen}");
    assert!(seen.ends_with("\n33554432\n20\n"), "{seen}");
    let many = "for i in $(seq 30); do sleep 1000 >&- 2>&- <&- & done";
    exec(many).exits(2).complains(&["Cannot fork"]);
    let told: serde_json::Value =
        serde_json::from_str(&machine.run(["ns", "inspect", "small"]).exits(0).stdout()).unwrap();
    let limits = serde_json::json!({ "Memory": 32 << 20, "PidsLimit": 20 });
    assert_eq!(told[0]["Limits"], limits);
    machine.run(["ns", "rm", "--force", "small"]).exits(0);

    // The next one under that name starts with nothing in it.
    machine.run(["ns", "create", "small", "--net", "-r"].into_iter().chain(bounds)).exits(0);
    let oom = "a process of the program was ended by the kernel: out of its 32 MiB of memory (OOM)";
    exec("tail /dev/zero; exit 3").exits(3).complains(&[oom]);
    let after = exec("true").exits(0);
    assert!(!after.stderr().contains("OOM"), "of another program: {}", after.stderr());
    machine.run(["ns", "rm", "small"]).exits(0);
    machine.run(["ns", "create", "tiny", "--user", "--memory", "4096"]).exits(125);
    machine.says(["sh", "-c", &format!("test -z \"$({GROUPS})\"")]);
}

pub fn network(machine: &Machine) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    // QEMU's user network has this host at 10.0.2.2.
    let fetch = format!(
        "timeout 60 bash -c 'cat < /dev/tcp/10.0.2.2/{}'",
        server.local_addr().unwrap().port()
    );
    thread::spawn(move || {
        for client in server.incoming() {
            // A client that has gone is told by its own test.
            let _ = client.and_then(|mut client| client.write_all(b"the host says hello\n"));
        }
    });
    let devices = "ip -o addr | cut -d' ' -f2 | sort -u | tr '\\n' ' '; echo";
    let servers = "grep ^nameserver /etc/resolv.conf | grep -vc ' 127'";
    for options in ["--rootful --net --network nat", "--map-root-user --network nat"] {
        let ran = unshare(machine, options, &format!("{devices}; {fetch}; {servers}")).exits(0);
        assert_eq!(ran.stdout(), "eth0 lo \nthe host says hello\n1\n", "{options}");
    }
    unshare(machine, "--rootful --net --network none", devices).exits(0).prints("lo \n");
    let alone = format!("{fetch} 2>&1");
    let ran = unshare(machine, "--user-name root --network none", &alone).exits(1);
    assert!(ran.stdout().contains("unreachable"), "{}", ran.stdout());
    unshare(machine, "--network host", &fetch).exits(0).prints("the host says hello\n");
    // No service of the machine: sshd would answer at once.
    let ssh = "timeout 3 bash -c ': < /dev/tcp/10.0.2.15/22'";
    unshare(machine, "--network host", ssh).exits(0);
    unshare(machine, "-r --network nat", ssh).exits(124);
    // A named one keeps its network, and takes it along.
    machine.run(["ns", "create", "linked", "--network", "nat"]).exits(0);
    machine
        .run(["ns", "exec", "linked", "sh", "-c", &fetch])
        .exits(0)
        .prints("the host says hello\n");
    machine.run(["ns", "rm", "linked"]).exits(0);
    let gone = "while ip -o link | grep -q nsvm; do sleep 0.1; done";
    machine.says(["timeout", "60", "sh", "-c", gone]);
}
