//! Against servers that say exactly what each test needs.

use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::JoinHandle;

use serde_json::json;

use super::*;

const SOON: Duration = Duration::from_secs(10);
const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#;

/// The server's half of a conversation.
struct Peer {
    input: BufReader<UnixStream>,
    output: UnixStream,
}

impl Peer {
    fn say(&mut self, line: &str) {
        self.output.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// The id of the next command, which must be `command`.
    fn expect(&mut self, command: &str) -> u64 {
        let mut line = String::new();
        self.input.read_line(&mut line).unwrap();
        let request: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(request["execute"], command);
        request["id"].as_u64().unwrap()
    }

    fn greet(&mut self) {
        self.say(GREETING);
        let id = self.expect("qmp_capabilities");
        self.say(&format!(r#"{{"return": {{}}, "id": {id}}}"#));
    }
}

struct Server {
    dir: tempfile::TempDir,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn new(talk: impl FnOnce(Peer) + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("qmp")).unwrap();
        let thread = std::thread::spawn(move || {
            let output = listener.accept().unwrap().0;
            talk(Peer { input: BufReader::new(output.try_clone().unwrap()), output });
        });
        Self { dir, thread: Some(thread) }
    }

    fn connect(&self) -> Result<(Qmp, UnboundedReceiver<QmpEvent>), QmpError> {
        Qmp::connect(&self.dir.path().join("qmp"), SOON, || true)
    }

    fn finish(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_command_gets_its_answer_among_events_and_garbage() {
    let server = Server::new(|mut peer| {
        peer.say(r#"{"event": "EARLY", "timestamp": {}}"#);
        peer.greet();
        let id = peer.expect("query-status");
        peer.say("this is not JSON");
        peer.say(r#"{"event": "RESUME", "data": {"a": 1}}"#);
        peer.say(r#"{"return": {"status": "wrong id"}, "id": 99}"#);
        peer.say(&format!(r#"{{"return": {{"status": "running"}}, "id": {id}}}"#));
    });
    let (qmp, mut events) = server.connect().unwrap();
    assert_eq!(qmp.query_status(SOON).unwrap(), "running");
    assert_eq!(events.blocking_recv().unwrap().name, "EARLY");
    let resume = QmpEvent { name: "RESUME".into(), data: json!({"a": 1}) };
    assert_eq!(events.blocking_recv(), Some(resume));
    assert_eq!(events.blocking_recv(), None, "the end of the connection ends the events");
    server.finish();
}

#[test]
fn a_refusal_is_told_in_qemus_words() {
    let server = Server::new(|mut peer| {
        peer.greet();
        let id = peer.expect("frobnicate");
        let error = r#"{"class": "CommandNotFound", "desc": "The command was not found"}"#;
        peer.say(&format!(r#"{{"id": {id}, "error": {error}}}"#));
    });
    let (qmp, _events) = server.connect().unwrap();
    let error = qmp.execute("frobnicate", json!({"x": 1}), SOON).unwrap_err();
    assert_eq!(error.to_string(), "QEMU refused \"frobnicate\": The command was not found");
    server.finish();
}

#[test]
fn a_late_answer_is_dropped_and_the_next_command_gets_its_own() {
    let server = Server::new(|mut peer| {
        peer.greet();
        let late = peer.expect("query-uuid");
        let id = peer.expect("query-uuid");
        peer.say(&format!(r#"{{"return": {{"UUID": "late"}}, "id": {late}}}"#));
        peer.say(&format!(r#"{{"return": {{"UUID": "right"}}, "id": {id}}}"#));
    });
    let (qmp, _events) = server.connect().unwrap();
    let error = qmp.query_uuid(Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, QmpError::Timeout { .. }), "{error}");
    assert_eq!(qmp.query_uuid(SOON).unwrap(), "right");
    server.finish();
}

#[test]
fn an_answer_longer_than_any_buffer_arrives_whole() {
    let server = Server::new(|mut peer| {
        peer.greet();
        let id = peer.expect("query-uuid");
        let long = "x".repeat(300_000);
        peer.say(&format!(r#"{{"return": {{"UUID": "{long}"}}, "id": {id}}}"#));
    });
    let (qmp, _events) = server.connect().unwrap();
    assert_eq!(qmp.query_uuid(SOON).unwrap().len(), 300_000);
    server.finish();
}

#[test]
fn the_end_of_the_connection_ends_every_wait() {
    let server = Server::new(|mut peer| {
        peer.greet();
        peer.expect("query-uuid");
    });
    let (qmp, mut events) = server.connect().unwrap();
    let error = qmp.query_uuid(SOON).unwrap_err();
    assert!(matches!(error, QmpError::Closed { .. }), "{error}");
    assert_eq!(events.blocking_recv(), None);
    let error = qmp.query_uuid(SOON).unwrap_err();
    assert!(matches!(error, QmpError::Closed { .. }), "{error}");
    assert!(qmp.quit(SOON).is_ok(), "what has ended needs no end");
    server.finish();
}

#[test]
fn an_answer_without_the_expected_field_is_shown() {
    let server = Server::new(|mut peer| {
        peer.greet();
        let id = peer.expect("query-uuid");
        peer.say(&format!(r#"{{"return": {{"UUID": 5}}, "id": {id}}}"#));
    });
    let (qmp, _events) = server.connect().unwrap();
    let error = qmp.query_uuid(SOON).unwrap_err();
    assert!(error.to_string().ends_with("{\"UUID\":5}"), "{error}");
    server.finish();
}

#[test]
fn a_server_that_never_greets_is_given_up() {
    let server = Server::new(|mut peer| {
        let mut rest = Vec::new();
        peer.input.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "no command goes to a server that has not greeted");
    });
    let path = server.dir.path().join("qmp");
    let error = Qmp::connect(&path, Duration::from_millis(50), || true).unwrap_err();
    assert!(matches!(error, QmpError::Timeout { .. }), "{error}");
    server.finish();
}

#[test]
fn connecting_waits_for_the_socket_but_not_for_the_dead() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("qmp");
    let mut asked = 0;
    let error = Qmp::connect(&path, SOON, || {
        asked += 1;
        asked < 5
    });
    assert!(matches!(error, Err(QmpError::Died(_))));
    let error = Qmp::connect(&path, Duration::from_millis(20), || true).unwrap_err();
    assert!(error.to_string().contains('"') && matches!(error, QmpError::Connect { .. }));
}

#[test]
fn commands_from_several_threads_do_not_mix() {
    let server = Server::new(|mut peer| {
        peer.greet();
        let ids: Vec<u64> = (0..8).map(|_| peer.expect("query-uuid")).collect();
        for id in ids.into_iter().rev() {
            peer.say(&format!(r#"{{"return": {{"UUID": "{id}"}}, "id": {id}}}"#));
        }
    });
    let (qmp, _events) = server.connect().unwrap();
    let answers: Vec<String> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..8).map(|_| scope.spawn(|| qmp.query_uuid(SOON))).collect();
        calls.into_iter().map(|call| call.join().unwrap().unwrap()).collect()
    });
    let distinct: std::collections::HashSet<_> = answers.iter().collect();
    assert_eq!(distinct.len(), 8);
    server.finish();
}
