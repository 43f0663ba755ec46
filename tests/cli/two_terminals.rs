//! Commands for one machine at the same time, from several terminals. The disk
//! does not boot, so that a start lasts as long as it is let.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::common::json::valid;
use crate::common::{Home, Ran, processes_with};

const NAME: &str = "m1";

/// More than one of these commands ever takes, on a busy host too.
const PATIENCE: Duration = Duration::from_secs(180);

fn made() -> Home {
    let home = Home::new();
    make(&home);
    home
}

fn make(home: &Home) {
    let init = ["machine", "init", "-q", "--image", "/dev/null", "--disk-size", "1"];
    home.run([&init[..], &["--cpus", "1", "--memory", "256", NAME]].concat()).exits(0);
}

/// Runs all of them at once, each to its end.
fn at_once(home: &Home, commands: &[&[&str]]) -> Vec<Ran> {
    thread::scope(|scope| {
        let run = |words: &&[&str]| {
            let mut command = home.nsvm(words.iter().copied());
            command.timeout(PATIENCE);
            scope.spawn(move || Ran(command.output().unwrap()))
        };
        let running: Vec<_> = commands.iter().map(run).collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

/// Ended by itself, and said why not when it did not do its work.
#[track_caller]
fn ended_well(ran: &Ran) {
    match ran.code() {
        0 => {}
        125 => assert!(ran.stderr().contains("Error: "), "{}", ran.stderr()),
        other => panic!("ended with {other}\n{}\n{}", ran.stdout(), ran.stderr()),
    }
    for line in ran.stderr().lines() {
        assert!(!line.contains("panicked"), "{}", ran.stderr());
    }
}

fn config(home: &Home) -> Value {
    let path = home.path().join(format!("config/machine/{NAME}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn uuid(home: &Home) -> String {
    config(home)["Uuid"].as_str().unwrap().to_owned()
}

/// Sixteen inspect at a time while the `story` is told: each sees a whole
/// machine or none. A list never takes a start for its end: nothing boots here.
fn watched(home: &Home, story: impl FnOnce()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = 0;
            while !done.load(Ordering::Relaxed) {
                let inspect: &[&str] = &["machine", "inspect", NAME];
                for ran in at_once(home, &[inspect; 16]) {
                    ended_well(&ran);
                    let all = valid("inspect.schema.json", &ran.stdout());
                    assert_eq!(all.as_array().unwrap().len(), usize::from(ran.code() == 0));
                    seen += 1;
                }
                let listed = home.run(["machine", "list"]).exits(0).stdout();
                assert!(!listed.contains("Currently running"), "{listed}");
                thread::sleep(Duration::from_millis(200));
            }
            seen
        });
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(story));
        done.store(true, Ordering::Relaxed);
        let seen = watcher.join().unwrap();
        told.unwrap_or_else(|why| std::panic::resume_unwind(why));
        assert!(seen >= 16, "{seen}");
    });
}

const START: [&str; 6] = ["machine", "start", "-q", "--timeout", "5", NAME];

#[test]
fn a_machine_that_is_removed_while_it_starts_is_gone() {
    let home = made();
    watched(&home, || {
        for round in 0..3 {
            if round > 0 {
                make(&home);
            }
            let uuid = uuid(&home);
            let ran = at_once(&home, &[&START, &["machine", "rm", "--force", NAME]]);
            ran.iter().for_each(ended_well);
            assert_eq!(ran[0].code(), 125, "what is removed was not started");
            assert_eq!(ran[1].code(), 0, "{}", ran[1].stderr());
            assert_eq!(processes_with(&uuid), Vec::<u32>::new());
            assert_eq!(home.traces_of(NAME), Vec::<std::path::PathBuf>::new());
        }
    });
    home.run(["machine", "list", "-q"]).exits(0).prints("");
}

#[test]
fn changes_at_the_same_time_are_all_made_or_refused() {
    let home = made();
    watched(&home, || {
        for memory in ["300", "301", "302"] {
            let before = config(&home);
            let set = ["machine", "set", "--memory", memory, NAME];
            let root: [&str; 4] = ["machine", "set", "--rootful", NAME];
            let grow = ["machine", "set", "--disk-size", "2", NAME];
            let ran = at_once(&home, &[&set, &root, &grow]);
            for one in ran {
                one.exits(0);
            }
            let now = config(&home);
            assert_eq!(now["Resources"]["Memory"].to_string(), memory);
            assert_eq!((&now["Rootful"], &now["Resources"]["DiskSize"]), (&true.into(), &2.into()));
            home.run(["machine", "set", "--rootful=false", NAME]).exits(0);

            // Beside a start: before it, or refused, and then nothing is changed.
            let set = ["machine", "set", "--memory", "400", NAME];
            let ran = at_once(&home, &[&set, &START]);
            ran.iter().for_each(ended_well);
            let now = config(&home)["Resources"]["Memory"].to_string();
            if ran[0].code() == 0 {
                assert_eq!(now, "400");
            } else {
                assert!(ran[0].stderr().contains("unable to change settings"));
                assert_eq!(now, memory);
            }
            home.run(["machine", "stop", "--force", NAME]).exits(0);
            assert_eq!(config(&home)["Uuid"], before["Uuid"]);
        }
    });
    home.run(["machine", "rm", "--force", NAME]).exits(0);
}

#[test]
fn a_machine_that_is_stopped_lets_nobody_wait_for_ever() {
    let home = made();
    watched(&home, || {
        let start = ["machine", "start", "-q", "--timeout", "60", NAME];
        let exec = ["--machine", NAME, "exec", "true"];
        let mut starting = home.spawnable(start);
        let mut starting = starting.stderr(std::process::Stdio::null()).spawn().unwrap();
        let uuid = uuid(&home);
        let end = std::time::Instant::now() + PATIENCE;
        while processes_with(&uuid).is_empty() && starting.try_wait().unwrap().is_none() {
            assert!(std::time::Instant::now() < end, "QEMU does not appear");
            thread::sleep(Duration::from_millis(50));
        }
        let stop = ["machine", "stop", "--force", NAME];
        let ran = at_once(&home, &[&exec, &stop, &exec, &stop]);
        ran.iter().for_each(ended_well);
        assert_eq!([ran[0].code(), ran[2].code()], [125, 125]);
        assert_eq!([ran[1].code(), ran[3].code()], [0, 0], "{}", ran[1].stderr());
        assert!(!starting.wait().unwrap().success());
        assert_eq!(processes_with(&uuid), Vec::<u32>::new());
    });
    home.run(["machine", "rm", "--force", NAME]).exits(0);
}

/// The state machine of one run, told by its supervisor to who follows, and by
/// hand as docs/api.md has it.
#[cfg(unix)]
#[test]
fn events_and_status_tell_what_happens() {
    use std::io::{BufRead, BufReader, Read, Write};
    let home = made();
    let mut follow = home.spawnable(["machine", "events", "--format", "json", NAME]);
    let mut follow = follow.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut next_state = || loop {
        let event = valid("event.schema.json", &lines.next()?.unwrap());
        assert_eq!(event["machine"], NAME);
        if event["event"] == "state" {
            return event["state"].as_str().map(str::to_owned);
        }
    };
    assert_eq!(next_state().as_deref(), Some("stopped"));
    let mut starting = home.spawnable(["machine", "start", "-q", "--timeout", "60", NAME]);
    let mut starting = starting.stderr(std::process::Stdio::null()).spawn().unwrap();
    assert_eq!(next_state().as_deref(), Some("starting"));
    let listed = home.run(["machine", "list"]).exits(0).stdout();
    assert!(listed.contains("Currently starting"), "{listed}");

    let inspected = home.run(["machine", "inspect", NAME]).exits(0).stdout();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let socket = inspected[0]["ConnectionInfo"]["ControlSocket"]["Path"].as_str().unwrap();
    let ask = |request: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        valid("control-reply.schema.json", &text)
    };
    let status = ask("{\"op\":\"status\"}\n");
    assert_eq!((&status["protocol"], &status["machine"]), (&1.into(), &NAME.into()));
    assert_eq!(status["state"], "starting");
    for (wrong, named) in [
        ("{\"op\":\"dance\"}\n", "dance"),
        ("hello\n", "not understood"),
        ("{\"op\":\"forward\",\"port\":0}\n", "not understood"),
        // What might be meant to keep the program in is not passed over.
        ("{\"op\":\"exec\",\"argv\":[\"id\"],\"namespaces\":[\"user\"]}\n", "namespaces"),
        ("{\"op\":\"exec\",\"argv\":[\"id\"],\"unshare\":[\"--uesr\"]}\n", "--uesr"),
    ] {
        let failed = ask(wrong);
        assert_eq!(failed["reply"], "failed");
        assert!(failed["message"].as_str().unwrap().contains(named), "{failed}");
        assert!(failed["hint"].as_str().unwrap().contains("docs/api.md"), "{failed}");
    }
    for early in ["{\"op\":\"exec\",\"argv\":[\"id\"]}\n", "{\"op\":\"forward\",\"port\":22}\n"] {
        let down = ask(early);
        assert_eq!(down["reply"], "down", "there is no link yet: {down}");
    }

    home.run(["machine", "stop", "--force", NAME]).exits(0);
    assert!(!starting.wait().unwrap().success());
    let last = std::iter::from_fn(|| next_state().filter(|state| state != "stopped")).last();
    assert!(last.is_none_or(|state| state == "stopping"));
    home.run(["machine", "rm", "--force", NAME]).exits(0);
    // A machine that is gone has no events any more.
    assert!(follow.wait().unwrap().success());
}
