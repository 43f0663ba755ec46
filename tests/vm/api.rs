//! The control endpoint as docs/api.md has it, for programs that are not nsvm:
//! lines of JSON on a socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use crate::common::json::{PRINTERS, valid};
use crate::machine::Machine;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// What only the guest's own loopback has.
const GUEST_PORT: u16 = 7778;

/// A request and what comes back.
struct Asked(BufReader<UnixStream>);

impl Asked {
    fn of(machine: &Machine, request: &Value) -> Self {
        let stream = UnixStream::connect(machine.control_socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut asked = Self(BufReader::new(stream));
        asked.say(request);
        asked
    }

    fn say(&mut self, line: &Value) {
        writeln!(self.0.get_ref(), "{line}").unwrap();
    }

    fn reply(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        valid("control-reply.schema.json", &line)
    }

    /// What was printed, and the last reply.
    fn end(mut self) -> Ended {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            let reply = self.reply();
            let bytes = || BASE64_STANDARD.decode(reply["base64"].as_str().unwrap()).unwrap();
            match reply["reply"].as_str().unwrap() {
                "stdout" => stdout.extend(bytes()),
                "stderr" => stderr.extend(bytes()),
                _ => return Ended { stdout, stderr, last: reply },
            }
        }
    }
}

struct Ended {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    last: Value,
}

fn exec(machine: &Machine, mut request: Value) -> Asked {
    request["op"] = "exec".into();
    Asked::of(machine, &request)
}

fn stdin(bytes: &[u8]) -> Value {
    json!({ "input": "stdin", "base64": BASE64_STANDARD.encode(bytes) })
}

pub fn programs(machine: &Machine) {
    let script = "printf '%s|' \"$@\" \"$A\" \"$PWD\"; printf '\\377' >&2; exit 7";
    let request = json!({
        "argv": ["sh", "-c", script, "sh", "a b", "ä'\n", ""],
        "env": { "A": "$x" },
        "cwd": "/tmp",
    });
    let ended = exec(machine, request).end();
    assert_eq!(String::from_utf8(ended.stdout).unwrap(), "a b|ä'\n||$x|/tmp|");
    assert_eq!(ended.stderr, [0xff]);
    let exit = json!({ "reply": "exit", "code": 7, "signal": null, "message": null });
    assert_eq!(ended.last, exit);

    let whoami = |request| {
        let ended = exec(machine, request).end();
        (String::from_utf8(ended.stdout).unwrap(), ended.last["code"].clone())
    };
    let id = ["sh", "-c", "echo $$ $(id -un)"];
    let kinds = ["-Urpf", "--mount-proc"];
    assert_eq!(whoami(json!({ "argv": id, "unshare": kinds })), ("1 root\n".into(), 0.into()));
    assert_eq!(whoami(json!({ "argv": ["id", "-un"] })), ("core\n".into(), 0.into()));
    let root = json!({ "argv": ["id", "-un"], "user": "root" });
    assert_eq!(whoami(root), ("root\n".into(), 0.into()));
    machine.run(["ns", "create", "api", "--hostname", "inside"]).exits(0);
    let named = json!({ "argv": ["hostname"], "ns": "api" });
    assert_eq!(whoami(named), ("inside\n".into(), 0.into()));
    machine.run(["ns", "rm", "api"]).exits(0);

    let missing = exec(machine, json!({ "argv": ["no-such-program"] })).end().last;
    assert_eq!(missing["code"], 127);
    assert!(missing["message"].as_str().unwrap().contains("no-such-program"), "{missing}");
    let refused = exec(machine, json!({ "argv": ["id"], "user": "nobody-here" })).end().last;
    assert!(refused["message"].as_str().unwrap().contains("nobody-here"), "{refused}");
}

pub fn streams(machine: &Machine) {
    // Stdin is at its end unless more is announced.
    assert_eq!(exec(machine, json!({ "argv": ["cat"] })).end().last["code"], 0);
    let mut cat = exec(machine, json!({ "argv": ["cat"], "stdin": true }));
    for part in [&b"one\n"[..], b"\0\xff", b""] {
        cat.say(&stdin(part));
    }
    cat.say(&json!({ "input": "end" }));
    let ended = cat.end();
    assert_eq!((ended.stdout.as_slice(), &ended.last["code"]), (&b"one\n\0\xff"[..], &0.into()));

    // More than the credit, and more than is kept for one who reads late.
    let chunk = vec![b'x'; 40_000];
    let mut count = exec(machine, json!({ "argv": ["wc", "-c"], "stdin": true }));
    for _ in 0..50 {
        count.say(&stdin(&chunk));
    }
    count.say(&json!({ "input": "end" }));
    assert_eq!(count.end().stdout, b"2000000\n");
    let much = exec(machine, json!({ "argv": ["head", "-c", "3000000", "/dev/zero"] }));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(much.end().stdout.len(), 3_000_000);

    let mut asleep = exec(machine, json!({ "argv": ["sleep", "4242"] }));
    asleep.say(&json!({ "input": "signal", "signal": "TERM" }));
    let ended = asleep.end().last;
    assert_eq!((&ended["code"], &ended["signal"]), (&143.into(), &15.into()));

    for (wrong, why) in [
        (json!({ "input": "dance" }), "not understood"),
        (json!({ "input": "signal", "signal": "NONE" }), "NONE"),
        (json!({ "input": "stdin", "base64": "%" }), "base64"),
    ] {
        let mut asked = exec(machine, json!({ "argv": ["sleep", "4243"], "stdin": true }));
        asked.say(&wrong);
        let last = asked.end().last;
        assert_eq!(last["reply"], "failed", "{last}");
        assert!(last["message"].as_str().unwrap().contains(why), "{last}");
    }

    // Who goes away hangs up.
    let gone = exec(machine, json!({ "argv": ["sleep", "4244"] }));
    let sleeping = |seconds: &str| {
        let pgrep = ["exec", "pgrep", "-xf", &format!("sleep {seconds}")];
        machine.run(pgrep).code() == 0
    };
    until("it runs", || sleeping("4244"));
    drop(gone);
    until("it has ended", || ["4242", "4243", "4244"].iter().all(|seconds| !sleeping(seconds)));
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub fn forwards(machine: &Machine) {
    let forward = |port: u16| Asked::of(machine, &json!({ "op": "forward", "port": port }));
    let refused = forward(GUEST_PORT).reply();
    assert_eq!(refused["reply"], "failed");
    let why = refused["message"].as_str().unwrap();
    assert!(why.contains(&GUEST_PORT.to_string()) && why.contains("refused"), "{why}");

    let serve = format!(
        "systemd-run -q --unit nsvm-echo systemd-socket-activate --inetd -a -l 127.0.0.1:{GUEST_PORT} cat"
    );
    machine.run(["exec", "sudo", "sh", "-c", &serve]).exits(0);
    until("somebody listens", || forward(GUEST_PORT).reply()["reply"] == "done");
    let mut asked = forward(GUEST_PORT);
    assert_eq!(asked.reply(), json!({ "reply": "done" }));
    let bytes: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
    let sent = bytes.clone();
    let mut up = asked.0.get_ref().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        up.write_all(&sent).unwrap();
        up.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    asked.0.read_to_end(&mut back).unwrap();
    sending.join().unwrap();
    assert!(back == bytes, "{} bytes came back", back.len());
    machine.run(["exec", "sudo", "systemctl", "stop", "nsvm-echo"]).exits(0);

    // One that speaks first.
    let mut ssh = forward(22);
    assert_eq!(ssh.reply(), json!({ "reply": "done" }));
    let mut banner = [0; 8];
    ssh.0.read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-2.0-");
}

/// The example of the page, by the page.
pub fn example(machine: &Machine) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let page = std::fs::read_to_string(page).unwrap();
    let example = page.lines().skip_while(|line| *line != "    import base64, json, socket");
    let example: Vec<&str> = example
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| line.strip_prefix("    ").unwrap_or(line))
        .collect();
    let call = "import sys\nfor reply in run(sys.argv[1], 'sh', '-c', 'echo $$; exit 3', \
                unshare=['-Urpf']): print(reply)";
    let script = format!("{}\n{call}\n", example.join("\n"));
    let mut python = Command::new("python3");
    let ran = python.arg("-c").arg(script).arg(machine.control_socket()).output();
    let Ok(ran) = ran else { return eprintln!("skipped: there is no python3 here") };
    let printed = String::from_utf8_lossy(&ran.stdout);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(printed.starts_with("b'1\\n'\n"), "{printed}{said}");
    assert!(printed.contains("'reply': 'exit', 'code': 3"), "{printed}{said}");
}

/// What verbs about the guest print as JSON.
pub fn printers(machine: &Machine) {
    machine.run(["ns", "create", "web", "--memory", "64M", "--hostname", "w"]).exits(0);
    machine.run(["run", "--name", "kept", "true"]).exits(0);
    let runs = PRINTERS.iter().filter(|printer| printer.of_guest);
    for printer in runs {
        let name = (printer.verb == "ns inspect").then_some("web");
        let words = printer.verb.split(' ').chain(printer.options.iter().copied()).chain(name);
        let value = valid(printer.schema, &machine.run(words).exits(0).stdout());
        assert!(value.as_array().is_none_or(|all| !all.is_empty()), "{}", printer.verb);
    }
    let listed = machine.run(["lsns", "-J", "--output-all", "--tree"]).exits(0).stdout();
    valid("lsns.schema.json", &listed);
    let status = Asked::of(machine, &json!({ "op": "status" })).reply();
    assert_eq!((&status["reply"], &status["state"]), (&"status".into(), &"running".into()));
    let first = Asked::of(machine, &json!({ "op": "events" })).reply();
    assert_eq!(first["inner"], json!({ "event": "state", "state": "running" }));
    machine.run(["ns", "rm", "web"]).exits(0);
    machine.run(["rootfs", "rm", "kept"]).exits(0);
}

pub fn story(machine: &Machine) {
    programs(machine);
    streams(machine);
    forwards(machine);
    example(machine);
    printers(machine);
}
