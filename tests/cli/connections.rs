//! Connections of podman and docker that lead into machines.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::{Home, Ran};

const INIT: [&str; 6] = ["machine", "init", "-q", "--image", "/dev/null", "--disk-size"];

/// nsvm with podman's and docker's files in its home; `path` is its PATH.
fn run(home: &Home, path: &str, args: &[&str]) -> Ran {
    let mut command = home.nsvm(args.iter().copied());
    command.env("PODMAN_CONNECTIONS_CONF", file(home)).env("PATH", path);
    command.env("DOCKER_CONFIG", home.path().join("docker"));
    // Where podman keeps connections before version 5.
    command.env("CONTAINERS_CONF", home.path().join("containers.conf"));
    Ran(command.output().unwrap())
}

fn file(home: &Home) -> PathBuf {
    home.path().join("podman/podman-connections.json")
}

fn connections(home: &Home) -> Value {
    serde_json::from_slice(&fs::read(file(home)).unwrap()).unwrap()
}

/// The number that the machine's user was given.
fn user_id(home: &Home, name: &str) -> Option<u64> {
    let path = home.path().join(format!("config/machine/{name}.json"));
    let config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    config["Ssh"]["Uid"].as_u64()
}

/// No program but ours is found.
const NOWHERE: &str = "/nowhere";

#[test]
fn without_podman_its_file_is_written_and_only_our_part_of_it() {
    let home = Home::new();
    let theirs = json!({ "Connection": { "Default": "theirs", "Connections": {
        "theirs": { "URI": "ssh://u@h/s", "Identity": "/t", "New": 1 },
    }}, "Farm": { "List": {} } });
    fs::create_dir_all(file(&home).parent().unwrap()).unwrap();
    fs::write(file(&home), theirs.to_string()).unwrap();
    run(&home, NOWHERE, &[&INIT[..], &["1", "m1"]].concat()).exits(0);
    run(&home, NOWHERE, &["machine", "connect", "podman", "m1"]).exits(0).prints("");
    let inspected = home.run(["machine", "inspect", "m1"]).exits(0).stdout();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let ssh = &inspected[0]["SSHConfig"];
    let made = connections(&home);
    let all = &made["Connection"]["Connections"];
    let port = &ssh["Port"];
    let uid = user_id(&home, "m1").unwrap_or(1000);
    let user = format!("ssh://core@127.0.0.1:{port}/run/user/{uid}/podman/podman.sock");
    assert_eq!(all["m1"]["URI"], user);
    assert_eq!(
        all["m1-root"]["URI"],
        format!("ssh://root@127.0.0.1:{port}/run/podman/podman.sock")
    );
    assert_eq!(all["m1"]["Identity"], ssh["IdentityPath"]);
    assert_eq!(made["Connection"]["Default"], "theirs");
    assert_eq!(all["theirs"], theirs["Connection"]["Connections"]["theirs"]);

    // They follow a machine to its new name.
    run(&home, NOWHERE, &["machine", "rename", "m1", "m0"]).exits(0);
    let renamed = connections(&home);
    assert!(renamed["Connection"]["Connections"]["m1"].is_null(), "{renamed}");
    let key = renamed["Connection"]["Connections"]["m0-root"]["Identity"].as_str().unwrap();
    assert_eq!(Path::new(key), home.join("data/m0/id_ed25519"));
    run(&home, NOWHERE, &["machine", "rename", "m0", "m1"]).exits(0);

    // A machine that is rootful is reached as root.
    run(&home, NOWHERE, &["machine", "set", "--rootful", "m1"]).exits(0);
    run(&home, NOWHERE, &["machine", "connect", "podman", "--default", "m1"]).exits(0);
    assert_eq!(connections(&home)["Connection"]["Default"], "m1-root");
    run(&home, NOWHERE, &[&INIT[..], &["1", "theirs"]].concat()).exits(0);
    run(&home, NOWHERE, &["machine", "connect", "podman", "theirs"])
        .exits(125)
        .complains(&["\"theirs\" that is not nsvm's", "Hint: "]);

    run(&home, NOWHERE, &["machine", "rm", "m1"])
        .exits(125)
        .complains(&["podman's connections \"m1\" and \"m1-root\"", "nothing was deleted"]);
    assert_eq!(connections(&home)["Connection"]["Default"], "m1-root");
    run(&home, NOWHERE, &["machine", "rm", "-f", "m1"]).exits(0);
    let mut left = theirs;
    left["Connection"]["Default"] = "".into();
    assert_eq!(connections(&home), left);
    run(&home, NOWHERE, &["machine", "rm", "-f", "theirs"]).exits(0);
    assert_eq!(connections(&home), left, "what was refused is not undone");
}

/// In the home of a user whose number is another than the first.
#[test]
fn podmans_socket_is_that_of_the_guests_user() {
    let home = Home::new();
    run(&home, NOWHERE, &[&INIT[..], &["1", "m1"]].concat()).exits(0);
    let path = home.path().join("config/machine/m1.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["Ssh"]["Uid"] = json!(1234);
    fs::write(&path, config.to_string()).unwrap();
    run(&home, NOWHERE, &["machine", "connect", "podman", "m1"]).exits(0);
    let uri = &connections(&home)["Connection"]["Connections"]["m1"]["URI"];
    assert!(uri.as_str().unwrap().ends_with("/run/user/1234/podman/podman.sock"), "{uri}");
}

#[test]
fn init_makes_the_connection_when_it_is_asked_to() {
    let home = Home::new();
    let options = ["1", "--update-connection", "m1"];
    run(&home, NOWHERE, &[&INIT[..], &options].concat()).exits(0);
    assert_eq!(connections(&home)["Connection"]["Default"], "m1");
    run(&home, NOWHERE, &["machine", "disconnect", "podman", "m1"]).exits(0);
    assert_eq!(connections(&home)["Connection"]["Connections"], json!({}));
    run(&home, NOWHERE, &["machine", "disconnect", "podman", "m1"])
        .exits(125)
        .complains(&["machine \"m1\" has no connection of podman"]);
    fs::write(file(&home), "[1]").unwrap();
    run(&home, NOWHERE, &["machine", "connect", "podman", "m1"])
        .exits(125)
        .complains(&["podman-connections.json", "not what podman writes"]);
    assert_eq!(fs::read_to_string(file(&home)).unwrap(), "[1]");
    // Nothing was made, so there is nothing to undo.
    run(&home, NOWHERE, &["machine", "rm", "-f", "m1"]).exits(0).complains(&[]);
}

/// The PATH on which there is such a program.
fn path_with(program: &str) -> Option<String> {
    let path = std::env::var("PATH").unwrap();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        eprintln!("skipped: there is no {program} here");
    }
    found.then_some(path)
}

#[test]
fn podman_itself_knows_the_connections_that_are_made() {
    let Some(path) = path_with("podman") else { return };
    let home = Home::new();
    fs::write(home.path().join("containers.conf"), "").unwrap();
    let podman = |args: &[&str]| {
        let mut command = std::process::Command::new("podman");
        command.args(["system", "connection"]).args(args);
        command.env("PODMAN_CONNECTIONS_CONF", file(&home));
        command.env("CONTAINERS_CONF", home.path().join("containers.conf"));
        Ran(command.output().unwrap()).exits(0).stdout()
    };
    let known = || {
        let text = podman(&["list", "--format", "{{.Name}} {{.Default}} {{.URI}}"]);
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let theirs = ["--identity", "/t", "theirs", "ssh://u@127.0.0.1:1/run/p.sock"];
    podman(&[&["add"], &theirs[..]].concat());
    run(&home, &path, &[&INIT[..], &["1", "m1"]].concat()).exits(0);
    let connect = |more: &[&str]| {
        let all = [&["machine", "connect", "podman"], more, &["m1"]].concat();
        run(&home, &path, &all).exits(0);
    };
    let (uid, port) = (user_id(&home, "m1").unwrap_or(1000), port_of(&home, "m1"));
    let ours = |port: u64, default: &str| {
        let is = |name: &str| default == name;
        let user = format!("ssh://core@127.0.0.1:{port}/run/user/{uid}/podman/podman.sock");
        let root = format!("ssh://root@127.0.0.1:{port}/run/podman/podman.sock");
        vec![
            format!("m1 {} {user}", is("m1")),
            format!("m1-root {} {root}", is("m1-root")),
            format!("theirs {} {}", is("theirs"), theirs[3]),
        ]
    };
    for _ in 0..2 {
        connect(&[]);
        assert_eq!(known(), ours(port, "theirs"));
    }
    connect(&["--default"]);
    assert_eq!(known(), ours(port, "m1"));
    // Another port: the default stays what it is.
    let history = home.path().join("data/m1/history.json");
    let mut there: Value = serde_json::from_slice(&fs::read(&history).unwrap()).unwrap();
    let moved = if port == 40_001 { 40_002 } else { 40_001 };
    there["SSHPort"] = json!(moved);
    fs::write(history, there.to_string()).unwrap();
    connect(&[]);
    assert_eq!(known(), ours(port_of(&home, "m1"), "m1"));
    assert_eq!(port_of(&home, "m1"), moved);
    run(&home, &path, &["machine", "set", "--rootful", "m1"]).exits(0);
    connect(&["--default"]);
    assert_eq!(known(), ours(moved, "m1-root"));
    if file(&home).exists() {
        // One that knows its file: the host key is not looked for in ~/.ssh.
        let all: Value = serde_json::from_str(&podman(&["list", "--format", "json"])).unwrap();
        let machines = all.as_array().unwrap().iter().filter(|one| one["IsMachine"] == true);
        let mut names: Vec<_> = machines.map(|one| one["Name"].as_str().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["m1", "m1-root"]);
    }

    run(&home, &path, &[&INIT[..], &["1", "theirs"]].concat()).exits(0);
    run(&home, &path, &["machine", "connect", "podman", "theirs"])
        .exits(125)
        .complains(&["\"theirs\" that is not nsvm's"]);
    run(&home, &path, &["machine", "rm", "-f", "theirs"]).exits(0);
    run(&home, &path, &["machine", "rm", "-f", "m1"]).exits(0);
    assert_eq!(known(), [format!("theirs false {}", theirs[3])]);
}

/// Where `inspect` says that the machine's SSH server is or will be.
fn port_of(home: &Home, name: &str) -> u64 {
    let format = "{{.SSHConfig.Port}}";
    let port = home.run(["machine", "inspect", "--format", format, name]).exits(0).stdout();
    port.trim().parse().unwrap()
}

#[test]
fn docker_gets_a_context_and_ssh_the_way_there() {
    run(&Home::new(), NOWHERE, &["machine", "connect", "docker", "m1"])
        .exits(125)
        .complains(&["m1: VM does not exist"]);
    let Some(path) = path_with("docker") else { return };
    let home = Home::new();
    run(&home, &path, &[&INIT[..], &["1", "m1"]].concat()).exits(0);
    run(&home, NOWHERE, &["machine", "connect", "docker", "m1"])
        .exits(125)
        .complains(&["no docker on PATH", "Hint: "]);
    let docker = |args: &[&str]| {
        let mut command = std::process::Command::new("docker");
        command.args(args).env("DOCKER_CONFIG", home.path().join("docker"));
        let ran = command.output().unwrap();
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    };
    let host = ["context", "inspect", "--format", "{{.Endpoints.docker.Host}}", "nsvm-m1"];
    for _ in 0..2 {
        run(&home, &path, &["machine", "connect", "docker", "m1"])
            .exits(0)
            .complains(&["Include", "ssh.config"]);
        assert_eq!(docker(&host), "ssh://nsvm-m1");
    }
    let entry = fs::read_to_string(home.path().join("data/m1/ssh.config")).unwrap();
    assert!(entry.starts_with("Host nsvm-m1\n"), "{entry}");
    let env = run(&home, &path, &["machine", "env", "m1"]).exits(0).stdout();
    assert!(env.contains("DOCKER_HOST='ssh://nsvm-m1'"), "{env}");

    run(&home, &path, &["machine", "connect", "docker", "--default", "m1"]).exits(0);
    assert_eq!(docker(&["context", "show"]), "nsvm-m1");
    run(&home, &path, &["machine", "rm", "-f", "m1"]).exits(0);
    assert_eq!(docker(&["context", "ls", "-q"]), "default");

    docker(&["context", "create", "nsvm-m2", "--docker", "host=tcp://127.0.0.1:1"]);
    run(&home, &path, &[&INIT[..], &["1", "m2"]].concat()).exits(0);
    run(&home, &path, &["machine", "connect", "docker", "m2"])
        .exits(125)
        .complains(&["\"nsvm-m2\" that is not nsvm's"]);
    run(&home, &path, &["machine", "rm", "-f", "m2"]).exits(0);
    assert!(docker(&["context", "ls", "-q"]).contains("nsvm-m2"));
}

#[cfg(unix)]
#[test]
fn a_shell_takes_the_variables_over_and_back() {
    let home = Home::new();
    home.run([&INIT[..], &["1", "m1"]].concat()).exits(0);
    let shown = |script: &str, args: &[&str]| {
        let lines = home.run([&["machine", "env", "m1"][..], args].concat()).exits(0).stdout();
        let script = format!("{lines}\n{script}");
        let ran = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        String::from_utf8(ran.stdout).unwrap()
    };
    let key = home.path().join("data/m1/id_ed25519").display().to_string();
    let all = r#"printf '%s|' "$NSVM_MACHINE" "$CONTAINER_SSHKEY" "${DOCKER_HOST-none}""#;
    // The home has a space in its path.
    assert_eq!(shown(all, &["--shell", "bash"]), format!("m1|{key}|none|"));
    assert_eq!(shown("echo ${NSVM_MACHINE-gone}", &["--shell", "zsh", "--unset"]), "gone\n");
    let fish = home.run(["machine", "env", "--shell", "fish", "m1"]).exits(0).stdout();
    assert!(fish.contains("set -gx NSVM_MACHINE 'm1'"), "{fish}");
    let power = home.run(["machine", "env", "--shell", "pwsh", "m1"]).exits(0).stdout();
    assert!(power.contains("$Env:NSVM_MACHINE = 'm1'"), "{power}");
}
