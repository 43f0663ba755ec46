//! A client whose ways are pipes, cut and replaced.

use std::sync::mpsc;

use anyhow::anyhow;

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

/// The agent's end of one way.
struct Way {
    reader: io::PipeReader,
    writer: io::PipeWriter,
}

impl Way {
    fn new() -> (Self, Connection) {
        let (reader, host_writer) = io::pipe().unwrap();
        let (host_reader, writer) = io::pipe().unwrap();
        (Self { reader, writer }, Connection::new(host_reader, host_writer))
    }

    fn opening(&mut self) -> Opening {
        let mut bytes = [0; Opening::LENGTH];
        self.reader.read_exact(&mut bytes).unwrap();
        Opening::decode(&bytes).unwrap()
    }

    fn send(&mut self, stream: &mut resume::Resumable) {
        let mut out = Vec::new();
        while stream.output(&mut out) {}
        self.writer.write_all(&out).unwrap();
    }

    fn receive(&mut self, stream: &mut resume::Resumable, until: u64) {
        let mut buffer = [0; 4096];
        while stream.received() < until {
            let count = self.reader.read(&mut buffer).unwrap();
            assert!(count > 0, "the client has closed");
            stream.input(&buffer[..count]).unwrap();
        }
    }
}

/// Ways that the test hands out.
struct Given(mpsc::Receiver<Result<Connection, Unreachable>>);

impl Guide for Given {
    fn find(&mut self) -> Result<Connection, Unreachable> {
        let never = |_| Err(Unreachable::Ever(anyhow!("no more ways")));
        self.0.recv_timeout(DEADLINE).unwrap_or_else(never)
    }

    fn forgotten(&self) -> anyhow::Error {
        anyhow!("it was restarted")
    }
}

fn found() -> (mpsc::Sender<Result<Connection, Unreachable>>, Given) {
    let (give, ways) = mpsc::channel();
    (give, Given(ways))
}

#[test]
fn what_was_under_way_arrives_by_the_next_way() {
    let (mut agent, connection) = Way::new();
    let (give, find) = found();
    let Connection { mut reader, mut writer, away } = open(connection, find, |_| {}).unwrap();
    writer.write_all(b"request").unwrap();
    let first = agent.opening();
    assert_eq!(first.resume, None);
    let mut stream = resume::Resumable::default();
    agent.receive(&mut stream, 7);
    stream.write(b"answer");
    agent.send(&mut stream);
    let mut got = [0; 6];
    reader.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"answer");
    // Half a record is on its way when that ends.
    stream.write(b"lost and found");
    let mut out = Vec::new();
    stream.output(&mut out);
    agent.writer.write_all(&out[..resume::HEADER + 4]).unwrap();
    drop(agent);
    writer.write_all(b"more").unwrap();
    give.send(Err(Unreachable::Yet(anyhow!("busy")))).unwrap();
    let (mut agent, connection) = Way::new();
    give.send(Ok(connection)).unwrap();
    let again = agent.opening();
    assert_eq!((again.token, again.resume), (first.token, Some(10)));
    assert!(away.load(Ordering::Relaxed));
    agent.writer.write_all(&Answer::Attached(stream.received()).encode()).unwrap();
    stream.resumed(10).unwrap();
    agent.send(&mut stream);
    agent.receive(&mut stream, 11);
    let mut got = [0; 14];
    reader.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"lost and found");
    let mut got = [0; 20];
    let count = stream.read(&mut got);
    assert_eq!(&got[..count], b"requestmore");
}

#[test]
fn an_agent_that_knows_nothing_ends_it() {
    let (agent, connection) = Way::new();
    let (give, find) = found();
    let Connection { mut reader, mut writer, .. } = open(connection, find, |_| {}).unwrap();
    drop(agent);
    let (mut agent, connection) = Way::new();
    give.send(Ok(connection)).unwrap();
    agent.opening();
    agent.writer.write_all(&Answer::Unknown.encode()).unwrap();
    let error = reader.read(&mut [0]).unwrap_err();
    assert!(error.to_string().contains("it was restarted"), "{error}");
    assert!(writer.write_all(b"x").is_err());
}

/// One that does not answer is left alone, and stays open: its end would tell
/// the agent that this client is gone.
#[test]
fn a_way_without_an_answer_is_given_up_and_the_user_told() {
    let (agent, connection) = Way::new();
    let (give, find) = found();
    let (tell, told) = mpsc::channel();
    let times = Times { answer: Duration::from_millis(200), quiet: Duration::from_millis(50) };
    let tell = move |notice| tell.send(notice).unwrap();
    let opened = open_within(times, connection, find, tell).unwrap();
    drop(agent);
    let (mut silent, connection) = Way::new();
    give.send(Ok(connection)).unwrap();
    let first = silent.opening();
    let (mut agent, connection) = Way::new();
    give.send(Ok(connection)).unwrap();
    let again = agent.opening();
    assert_eq!((first.token, again.resume), (again.token, Some(0)));
    let (closed, heard) = mpsc::channel();
    let waiting = thread::spawn(move || closed.send(silent.reader.read(&mut [0])));
    assert!(heard.recv_timeout(Duration::from_millis(100)).is_err(), "it was closed");
    agent.writer.write_all(&Answer::Attached(0).encode()).unwrap();
    assert_eq!(heard.recv_timeout(DEADLINE).unwrap().unwrap(), 0);
    waiting.join().unwrap().unwrap();
    let notices: Vec<_> = (0..2).map(|_| told.recv_timeout(DEADLINE).unwrap()).collect();
    assert_eq!(notices, [Notice::Away, Notice::Back]);
    drop(opened);
}
