//! What a machine is asked for at init, and whether the guest has it: the same
//! list for a guest made by Ignition and for one made by cloud-init.

use std::path::PathBuf;
use std::process::Command;

use crate::common::Home;
use crate::machine::Machine;
use crate::sharing;

const ZONE: &str = "Asia/Kathmandu";

/// MiB.
const SWAP: u64 = 64;

/// A password with what shells, systemd and PAM each take for special, on this
/// host's loopback. Nobody listens there: no test asks for it.
const PROXY: &str = "http://u:p%20$HOME'\"\\a@127.0.0.1:3128/?a=#b";
const PROXY_IN_GUEST: &str = "http://u:p%20$HOME'\"\\a@10.0.2.2:3128/?a=#b";
const NO_PROXY: &str = "localhost,127.0.0.1,*.example.org";

/// Who provisions, and so which file of the user's own is merged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    Ignition,
    CloudInit,
}

/// All that a host's own environment may have, which tests must not.
pub const PROXY_VARIABLES: [&str; 10] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// The host's environment at a start.
pub const ENVIRONMENT: [(&str, &str); 2] = [("HTTPS_PROXY", PROXY), ("no_proxy", NO_PROXY)];

/// The options of `machine init` that ask for every feature. The files they
/// name are made in the home.
pub fn options(home: &Home, by: By) -> Vec<String> {
    let authority = write(home, "authority.pem", &authority());
    let (option, merged) = match by {
        By::Ignition => ("--ignition-merge", write(home, "own.ign", OWN_IGNITION)),
        By::CloudInit => ("--cloud-init", write(home, "own.yaml", OWN_CLOUD_CONFIG)),
    };
    let swap = SWAP.to_string();
    let playbook = write(home, "play book.yaml", PLAYBOOK);
    let options = [
        "--timezone",
        ZONE,
        "--swap",
        &swap,
        "--guest-ca",
        &authority,
        option,
        &merged,
        "--playbook",
        &playbook,
    ]
    .map(str::to_owned);
    options.into_iter().chain(sharing::options(home)).collect()
}

/// What stands for Ansible in the guest notes how it was called and keeps this:
/// no image of the tests has the real one.
const PLAYBOOK: &str = "- hosts: all\n  tasks: []\n";

/// The user's own: a file of theirs, and one of ours with their text.
const OWN_IGNITION: &str = r#"{
    "ignition": { "version": "3.1.0" },
    "storage": { "files": [
        { "path": "/usr/local/bin/ansible-playbook", "mode": 493, "contents": { "source": "data:,%23!%2Fbin%2Fsh%0Aecho%20%24(id%20-un)%20%24*%20%3Eran%0Acp%20playbook.yaml%20played%0A" } },
        { "path": "/etc/own", "contents": { "source": "data:,mine%0A" } },
        { "path": "/etc/subgid", "overwrite": true, "contents": { "source": "data:,core%3A200000%3A65536%0A" } }
    ] }
}"#;
const OWN_CLOUD_CONFIG: &str = "\
#cloud-config
write_files:
- path: /usr/local/bin/ansible-playbook
  permissions: \"0755\"
  content: \"#!/bin/sh\\necho $(id -un) $* >ran\\ncp playbook.yaml played\\n\"
- {path: /etc/own, content: \"mine\\n\"}
- {path: /etc/subgid, content: \"core:200000:65536\\n\"}
runcmd:
- [sh, -c, 'systemctl is-enabled nsvm-ready.service >/var/tmp/own-ran']
";

fn write(home: &Home, name: &str, text: &str) -> String {
    let path: PathBuf = home.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn authority() -> String {
    let mut asked = rcgen::CertificateParams::new(Vec::new()).unwrap();
    asked.distinguished_name.push(rcgen::DnType::CommonName, "nsvm test authority");
    asked.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    asked.self_signed(&key).unwrap().pem()
}

/// The one that `init` was told of, or else the image's.
fn user(machine: &Machine) -> String {
    machine.config()["Ssh"]["Username"].as_str().unwrap().to_owned()
}

pub fn accounts(machine: &Machine) {
    let user = user(machine);
    let groups = machine.says(["id", "-Gn", &user]);
    for wanted in ["sudo", "wheel"] {
        assert!(groups.split(' ').any(|group| group == wanted), "{groups}");
    }
    assert_eq!(machine.says(["getent", "passwd", &user]).split(':').nth(6), Some("/bin/bash"));
    assert_eq!(machine.says(["sudo", "-n", "id", "-u"]), "0");
    // Nobody logs in by password.
    for user in [user.as_str(), "root"] {
        let entry = machine.says(["sudo", "getent", "shadow", user]);
        let password = entry.split(':').nth(1).unwrap();
        assert!(password.starts_with(['!', '*']), "{entry}");
    }
    assert_eq!(machine.says(["cat", "/etc/subuid"]), format!("{user}:100000:1000000"));
    assert_eq!(machine.says(["loginctl", "show-user", &user, "-P", "Linger"]), "yes");
    // The link checks it at each dial; the guest must have no other.
    let keys = machine.says(["sh", "-c", "echo /etc/ssh/ssh_host_*"]);
    assert_eq!(keys, "/etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_ed25519_key.pub");
    let made = machine.config()["Ssh"]["HostKey"].as_str().unwrap().to_owned();
    assert_eq!(machine.says(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]), made);
}

/// The machine's own key, and no other, lets its user and root in.
pub fn keys(machine: &Machine) {
    // Ignition may keep each origin's keys in a file of its own.
    const LIST: &str =
        "id -un; cat ~/.ssh/authorized_keys ~/.ssh/authorized_keys.d/* 2>/dev/null; true";
    let identity = machine.inspect()["SSHConfig"]["IdentityPath"].as_str().unwrap().to_owned();
    let public = std::fs::read_to_string(format!("{identity}.pub")).unwrap();
    let entry = machine.home.run(["machine", "ssh-config", machine.name()]).exits(0).stdout();
    let entry = write(&machine.home, "ssh config of features", &entry);
    let name = format!("nsvm-{}", machine.name());
    let own = user(machine);
    for user in [own.as_str(), "root"] {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", &entry, "-l", user, "-o", "BatchMode=yes", "-o", "ConnectTimeout=120"]);
        let output = ssh.args([&name, LIST]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let mut lines = said.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(lines.next(), Some(user), "{said}");
        assert_eq!(lines.collect::<Vec<_>>(), [public.trim()], "{user}");
    }
}

pub fn names_and_time(machine: &Machine) {
    assert_eq!(machine.says(["uname", "-n"]), machine.name());
    assert_eq!(machine.says(["cat", "/etc/hostname"]), machine.name());
    assert_eq!(machine.says(["date", "+%z"]), "+0545");
    assert!(machine.says(["readlink", "/etc/localtime"]).ends_with(&format!("zoneinfo/{ZONE}")));
    assert_eq!(machine.says(["cat", "/etc/timezone"]), ZONE);
}

pub fn disk_and_swap(machine: &Machine) {
    let disk = machine.says(["df", "--output=size", "-BM", "/"]);
    let disk: u64 = disk.lines().last().unwrap().trim().trim_end_matches('M').parse().unwrap();
    assert!((11_000..=12_288).contains(&disk), "{disk} MiB");
    let swap = machine.says(["swapon", "--show=SIZE", "--bytes", "--noheadings"]);
    // One page of it is the header.
    let swap: u64 = swap.parse().unwrap();
    assert!(((SWAP << 20) - 65_536..=SWAP << 20).contains(&swap), "{swap} bytes");
    assert_eq!(machine.inspect()["Resources"]["Swap"], SWAP);
}

/// Commands, login shells, services and the user's own systemd all see what
/// the host had at this start.
pub fn proxies(machine: &Machine) {
    let wanted = format!("{PROXY_IN_GUEST}\n{NO_PROXY}");
    let print = ["printenv", "HTTPS_PROXY", "no_proxy"];
    assert_eq!(machine.says(print), wanted);
    let login = ["env", "-u", "HTTPS_PROXY", "-u", "no_proxy", "sh", "-lc", &print.join(" ")];
    assert_eq!(machine.says(login), wanted);
    let service = ["sudo", "systemd-run", "--wait", "--pipe", "-q"];
    assert_eq!(machine.says(service.into_iter().chain(print)), wanted);
    let own = ["systemd-run", "--user", "--wait", "--pipe", "-q"];
    assert_eq!(machine.says(own.into_iter().chain(print)), wanted);
}

/// In the bundle that every TLS library of Debian reads.
pub fn authorities(machine: &Machine) {
    let path = machine.home.path().join("authority.pem");
    let certificate = std::fs::read_to_string(path).unwrap();
    let bundle = machine.says(["cat", "/etc/ssl/certs/ca-certificates.crt"]);
    let body = certificate.lines().nth(1).unwrap();
    assert!(bundle.contains(body), "the bundle lacks {body}");
}

/// Where both speak, the user's own holds.
pub fn the_users_own(machine: &Machine) {
    assert_eq!(machine.says(["cat", "/etc/own"]), "mine");
    // useradd(8) may have added a line for a user that this one does not name.
    let ranges = machine.says(["cat", "/etc/subgid"]);
    assert!(ranges.starts_with("core:200000:65536") && !ranges.contains(":1000000"), "{ranges}");
}

/// Run once, as the user, with the file as it was.
pub fn playbook(machine: &Machine) {
    let called = format!("{} -i localhost, -c local playbook.yaml", user(machine));
    assert_eq!(machine.says(["cat", "ran"]), called);
    assert_eq!(machine.says(["cat", "played"]), PLAYBOOK.trim());
    machine.says(["rm", "ran", "played"]);
}

/// All of the above, in order.
pub fn all(machine: &Machine) {
    let list: [fn(&Machine); 10] = [
        accounts,
        keys,
        names_and_time,
        disk_and_swap,
        proxies,
        authorities,
        the_users_own,
        playbook,
        sharing::volumes,
        sharing::ports,
    ];
    for feature in list {
        feature(machine);
    }
}
