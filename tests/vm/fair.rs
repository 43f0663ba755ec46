//! Streams that share the one link.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::machine::{Machine, NAME};

/// So many words go there and back.
const WORDS: usize = 60;

/// What lies between an echo's request and its answer at the worst: the windows
/// of the bulk stream and of SSH, 1 and 2 MiB, each way of the queues half of it
/// again. A stream that waited for all of another's bytes would see it all.
const BETWEEN: u64 = 8 << 20;

/// So many go there and back by themselves. One of 1,500 was stuck in the guest when its
/// port had two watchers.
const ALONE: usize = 6000;

/// A word that is stuck comes with the next word of another's: the host tells the guest the
/// time every 10 s. On the busiest host one that is not takes a part of this.
const STUCK: Duration = Duration::from_secs(5);

/// No word waits until something else comes by the link.
pub fn words_alone(machine: &Machine) {
    let mut echo = Echo::new(machine);
    let mut longest = Duration::ZERO;
    for word in 0..ALONE {
        let begun = Instant::now();
        echo.word(word);
        longest = longest.max(begun.elapsed());
    }
    echo.end();
    eprintln!("{ALONE} words: {longest:?} at most");
    assert!(longest < STUCK, "a word took {longest:?}");
}

/// `cat` in the guest, to which words are said.
struct Echo {
    program: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Echo {
    fn new(machine: &Machine) -> Self {
        let mut command = machine.home.spawnable(["--machine", NAME, "exec", "cat"]);
        let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = program.stdin.take().unwrap();
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        Self { program, input, lines }
    }

    /// There and back.
    fn word(&mut self, word: usize) {
        writeln!(self.input, "{word}").unwrap();
        assert_eq!(self.lines.next().unwrap().unwrap(), word.to_string());
    }

    fn end(mut self) {
        drop(self.input);
        assert!(self.program.wait().unwrap().success());
    }
}

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
    let mut echo = Echo::new(machine);
    let mut between = Vec::new();
    for word in 0..WORDS {
        let before = moved.load(Ordering::Relaxed);
        echo.word(word);
        between.push(moved.load(Ordering::Relaxed) - before);
    }
    done.store(true, Ordering::Relaxed);
    echo.end();
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
