//! Ways of memory, cut and replaced.

use futures::io::{AsyncReadExt, AsyncWriteExt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::*;
use crate::protocol::resume::Token;

const TOKEN: Token = Token { id: [1; 16], secret: [2; 16] };
const PATIENCE: Duration = Duration::from_millis(100);

fn way() -> (DuplexStream, Rc<Cell<bool>>, Way) {
    let (client, agent) = tokio::io::duplex(64 * 1024);
    let lost = Rc::new(Cell::new(false));
    (client, Rc::clone(&lost), Way::new(agent.compat(), lost, Rc::new(Cell::new(1000))))
}

fn opening(resume: Option<u64>) -> Opening {
    Opening { token: TOKEN, resume }
}

/// The client's end of a way, after its opening.
async fn arrive(client: &mut DuplexStream, stream: &mut resume::Resumable) {
    let mut buffer = [0; 4096];
    let count = client.read(&mut buffer).await.unwrap();
    stream.input(&buffer[..count]).unwrap();
}

fn read(stream: &mut resume::Resumable) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let count = stream.read(&mut buffer);
    buffer[..count].to_vec()
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_comes_back_misses_nothing() {
    let registry = Registry::new(Duration::from_secs(60));
    let (mut client, lost, first) = way();
    let mut ours = registry.open(&opening(None), first).unwrap();
    let mut theirs = resume::Resumable::default();
    ours.write_all(b"before ").await.unwrap();
    arrive(&mut client, &mut theirs).await;
    lost.set(true);
    drop(client);
    // Nobody is there, and still it is taken.
    ours.write_all(b"meanwhile ").await.unwrap();
    let (mut client, _, second) = way();
    assert!(registry.open(&opening(Some(theirs.received())), second).is_none());
    ours.write_all(b"after").await.unwrap();
    let mut answer = [0; Answer::LENGTH];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(Answer::decode(&answer), Some(Answer::Attached(0)));
    theirs.resumed(0).unwrap();
    while theirs.received() < 22 {
        arrive(&mut client, &mut theirs).await;
    }
    assert_eq!(read(&mut theirs), b"before meanwhile after");
    theirs.write(b"input");
    let mut out = Vec::new();
    theirs.output(&mut out);
    client.write_all(&out).await.unwrap();
    let mut got = [0; 5];
    ours.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"input");
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_hangs_up_or_stays_away_ends_the_stream() {
    let registry = Registry::new(PATIENCE);
    let (client, _, first) = way();
    let mut ours = registry.open(&opening(None), first).unwrap();
    drop(client);
    assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
    drop(ours);
    let (client, lost, second) = way();
    let mut ours = registry.open(&opening(None), second).unwrap();
    lost.set(true);
    drop(client);
    let begun = std::time::Instant::now();
    assert_eq!(ours.read(&mut [0]).await.unwrap(), 0);
    assert!(begun.elapsed() >= PATIENCE);
    assert!(ours.write_all(b"x").await.is_err());
}

#[tokio::test(flavor = "current_thread")]
async fn strangers_and_the_late_are_refused() {
    let registry = Registry::new(PATIENCE);
    let (_kept, _, first) = way();
    let _ours = registry.open(&opening(None), first).unwrap();
    let wrong = Token { secret: [3; 16], ..TOKEN };
    let other = Token { id: [9; 16], ..TOKEN };
    for opening in [
        Opening { token: wrong, resume: Some(0) },
        Opening { token: other, resume: Some(0) },
        // More than was ever sent.
        opening(Some(1)),
    ] {
        let (mut client, _, way) = way();
        assert!(registry.open(&opening, way).is_none());
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(Answer::decode(&answer.try_into().unwrap()), Some(Answer::Unknown));
    }
    let (_client, _, way) = way();
    assert!(registry.open(&opening(None), way).is_none());
}

#[tokio::test(flavor = "current_thread")]
async fn a_window_that_is_full_holds_the_writer_back() {
    let registry = Registry::new(PATIENCE);
    let (client, lost, first) = way();
    let mut ours = registry.open(&opening(None), first).unwrap();
    lost.set(true);
    drop(client);
    let wrote = tokio::time::timeout(PATIENCE / 2, async {
        let mut count = 0;
        loop {
            ours.write_all(&[0; 1024]).await.unwrap();
            count += 1024;
            if count == resume::WINDOW {
                break;
            }
        }
    });
    wrote.await.unwrap();
    let more = tokio::time::timeout(PATIENCE / 2, ours.write_all(b"x")).await;
    assert!(more.is_err(), "nothing more is taken");
}
