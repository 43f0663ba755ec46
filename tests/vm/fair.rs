//! Streams that share the one link.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::machine::{Machine, NAME};

/// So many words go there and back.
const WORDS: usize = 60;

/// What lies between an echo's request and its answer at the worst: the windows
/// of the bulk stream and of SSH, 1 and 2 MiB, each way of the queues half of it
/// again. A stream that waited for all of another's bytes would see it all.
const BETWEEN: u64 = 8 << 20;

/// While one command's output fills the link, another's words go there and back
/// in order, and for each of them only a bounded part of the bulk is sent.
pub fn interactive_beside_bulk(machine: &Machine) {
    let mut bulk = machine.home.spawnable(["--machine", NAME, "exec", "cat", "/dev/zero"]);
    let mut bulk = bulk.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut output = bulk.stdout.take().unwrap();
    let (moved, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (moving, ends) = (Arc::clone(&moved), Arc::clone(&done));
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        while !ends.load(Ordering::Relaxed) {
            let count = output.read(&mut buffer).unwrap();
            assert!(count > 0, "the bulk ended");
            moving.fetch_add(count as u64, Ordering::Relaxed);
        }
    });
    let mut echo = machine.home.spawnable(["--machine", NAME, "exec", "cat"]);
    let mut echo = echo.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = echo.stdin.take().unwrap();
    let mut lines = BufReader::new(echo.stdout.take().unwrap()).lines();
    let mut between = Vec::new();
    for word in 0..WORDS {
        let before = moved.load(Ordering::Relaxed);
        writeln!(input, "{word}").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), word.to_string());
        between.push(moved.load(Ordering::Relaxed) - before);
    }
    done.store(true, Ordering::Relaxed);
    drop(input);
    assert!(echo.wait().unwrap().success());
    reader.join().unwrap();
    // Its output is closed: it ends as by SIGPIPE.
    bulk.wait().unwrap();
    between.sort_unstable();
    let (median, worst) = (between[WORDS / 2], between[WORDS - 1]);
    let all = moved.load(Ordering::Relaxed);
    eprintln!("{all} bytes beside {WORDS} words: {median} for each, {worst} at most");
    assert!(all > WORDS as u64 * 1024, "there was no bulk: {all}");
    assert!(median < BETWEEN, "{between:?}");
}
