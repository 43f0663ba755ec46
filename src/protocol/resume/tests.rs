//! What holds for two ends whose way is cut at any byte.

use proptest::prelude::*;

use super::*;

/// Two ends and what is on its way between them.
#[derive(Default)]
struct Pair {
    ends: [Resumable; 2],
    /// To the end of that number.
    flying: [Vec<u8>; 2],
    written: [Vec<u8>; 2],
    read: [Vec<u8>; 2],
}

#[derive(Debug, Clone)]
enum Act {
    Write(usize, usize),
    /// The end gives its way something.
    Send(usize),
    /// So many bytes arrive there.
    Arrive(usize, usize),
    Read(usize, usize),
    /// The way is lost with all that flies, and another is found.
    Cut,
}

impl Pair {
    fn act(&mut self, act: &Act) {
        match *act {
            Act::Write(end, count) => {
                let begin = self.written[end].len();
                let bytes: Vec<u8> =
                    (begin..begin + count).map(|n| (n * 31 % 251).to_le_bytes()[0]).collect();
                let taken = self.ends[end].write(&bytes);
                self.written[end].extend(&bytes[..taken]);
            }
            Act::Send(end) => {
                self.ends[end].output(&mut self.flying[1 - end]);
            }
            Act::Arrive(end, count) => {
                let count = count.min(self.flying[end].len());
                let bytes: Vec<u8> = self.flying[end].drain(..count).collect();
                self.ends[end].input(&bytes).unwrap();
            }
            Act::Read(end, count) => {
                let mut buffer = vec![0; count];
                let count = self.ends[end].read(&mut buffer);
                self.read[end].extend(&buffer[..count]);
            }
            Act::Cut => {
                self.flying = Default::default();
                let received = self.ends.each_ref().map(Resumable::received);
                self.ends[0].resumed(received[1]).unwrap();
                self.ends[1].resumed(received[0]).unwrap();
            }
        }
    }

    /// Until nothing moves any more.
    fn settle(&mut self) {
        loop {
            let before = (
                self.read.each_ref().map(Vec::len),
                self.ends.each_ref().map(|e| (e.given, e.given_of_next, e.confirmed)),
            );
            for end in [0, 1] {
                self.act(&Act::Send(end));
                self.act(&Act::Arrive(1 - end, usize::MAX));
                self.act(&Act::Read(1 - end, WINDOW));
            }
            let after = (
                self.read.each_ref().map(Vec::len),
                self.ends.each_ref().map(|e| (e.given, e.given_of_next, e.confirmed)),
            );
            if before == after {
                return;
            }
        }
    }
}

fn act() -> impl Strategy<Value = Act> {
    let end = 0..2usize;
    prop_oneof![
        3 => (end.clone(), 0..200_000usize).prop_map(|(end, count)| Act::Write(end, count)),
        4 => end.clone().prop_map(Act::Send),
        4 => (end.clone(), 0..150_000usize).prop_map(|(end, count)| Act::Arrive(end, count)),
        2 => (end.clone(), 0..40usize).prop_map(|(end, count)| Act::Arrive(end, count)),
        3 => (end, 0..200_000usize).prop_map(|(end, count)| Act::Read(end, count)),
        1 => Just(Act::Cut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_is_lost_or_doubled_wherever_the_way_is_cut(acts in prop::collection::vec(act(), 0..120)) {
        let mut pair = Pair::default();
        for act in &acts {
            pair.act(act);
            for end in &pair.ends {
                prop_assert!(end.held.len() <= WINDOW && end.arrived.len() <= WINDOW);
            }
        }
        pair.act(&Act::Cut);
        pair.settle();
        prop_assert!(pair.read[0] == pair.written[1] && pair.read[1] == pair.written[0]);
        prop_assert!(pair.ends.iter().all(|end| !end.has_output()));
        // What was read is not held for ever: there is room again.
        for end in &mut pair.ends {
            prop_assert!(end.write(&vec![0; WINDOW]) as u64 > WINDOW as u64 - CONFIRM);
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_grow(bytes in prop::collection::vec(any::<u8>(), 0..3000), offset: u64) {
        let mut end = Resumable::default();
        end.write(b"something");
        end.output(&mut Vec::new());
        let _ = end.resumed(offset % 20);
        let _ = end.input(&bytes);
        prop_assert!(end.arrived.len() <= bytes.len());
    }
}

fn record(tag: u8, offset: u64, bytes: &[u8]) -> Vec<u8> {
    [&header(tag, offset, bytes.len())[..], bytes].concat()
}

#[test]
fn a_full_window_takes_no_more_until_it_is_read() {
    let mut pair = Pair::default();
    pair.act(&Act::Write(0, WINDOW + 5));
    assert_eq!(pair.written[0].len(), WINDOW);
    while pair.ends[0].has_output() {
        pair.act(&Act::Send(0));
    }
    pair.act(&Act::Arrive(1, usize::MAX));
    assert_eq!(pair.ends[0].write(b"x"), 0);
    pair.act(&Act::Read(1, WINDOW / 2));
    pair.act(&Act::Send(1));
    pair.act(&Act::Arrive(0, usize::MAX));
    assert_eq!(pair.ends[0].write(&vec![0; WINDOW]), WINDOW / 2);
}

#[test]
fn a_peer_that_breaks_the_rules_is_told_which() {
    let fresh = Resumable::default;
    let refused = |bytes: &[u8]| fresh().input(bytes).unwrap_err();
    assert_eq!(refused(&record(9, 0, b"")), ResumeError::UnknownTag(9));
    assert_eq!(refused(&record(DATA, 4, b"x")), ResumeError::Gap { expected: 0, found: 4 });
    assert_eq!(refused(&record(CONFIRMED, 1, b"")), ResumeError::NeverSent(1));
    let mut long = record(DATA, 0, b"");
    long[9..].copy_from_slice(&[0xff; 4]);
    assert_eq!(refused(&long), ResumeError::TooLong(u32::MAX));
    let mut end = fresh();
    let piece = vec![0; MAX_RECORD];
    let overrun = (0..).find_map(|n| {
        end.input(&record(DATA, n * MAX_RECORD as u64, &piece)).err().map(|error| (n, error))
    });
    assert_eq!(overrun, Some((WINDOW as u64 / MAX_RECORD as u64, ResumeError::Overrun)));
    assert_eq!(fresh().resumed(1), Err(ResumeError::NeverSent(1)));
}

#[test]
fn what_came_twice_counts_once() {
    let mut end = Resumable::default();
    end.input(&record(DATA, 0, b"abcd")).unwrap();
    end.input(&record(DATA, 2, b"cdef")).unwrap();
    end.input(&record(DATA, 0, b"ab")).unwrap();
    let mut buffer = [0; 20];
    let count = end.read(&mut buffer);
    assert_eq!((&buffer[..count], end.received()), (&b"abcdef"[..], 6));
}
