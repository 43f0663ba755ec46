//! The figures as a Markdown table.

use std::fmt::Write as _;

use super::stats::Summary;

/// One line of the table: ours, and what it is compared with.
#[derive(Debug, Clone)]
pub struct Row {
    pub what: String,
    pub ours: Figure,
    pub peer: String,
    pub theirs: Figure,
    pub aim: Aim,
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Figure {
    Absent,
    /// In seconds.
    Times(Summary),
    /// In bytes.
    Size(u64),
}

/// How a row compares, and what it must come to. By medians.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Aim {
    None,
    /// The difference, without a limit.
    Above,
    /// Seconds above the peer.
    AtMostAbove(f64),
    /// The quotient, without a limit.
    Times,
    /// Times the peer.
    AtMostTimes(f64),
    /// The same by 95th percentiles.
    P95AtMostTimes(f64),
    /// Seconds.
    Under(f64),
    /// Bytes.
    UnderSize(u64),
}

impl Figure {
    /// No samples are an absent figure.
    pub fn times(seconds: &[f64]) -> Self {
        Summary::of(seconds).map_or(Self::Absent, Self::Times)
    }

    fn count(self) -> String {
        if let Self::Times(summary) = self { summary.n.to_string() } else { String::new() }
    }

    fn median(self) -> String {
        match self {
            Self::Absent => String::new(),
            Self::Times(summary) => time(summary.median),
            Self::Size(bytes) => size(bytes),
        }
    }

    fn p95(self) -> String {
        if let Self::Times(summary) = self { time(summary.p95) } else { String::new() }
    }

    fn seconds(self) -> Option<f64> {
        if let Self::Times(summary) = self { Some(summary.median) } else { None }
    }

    fn late(self) -> Option<f64> {
        if let Self::Times(summary) = self { Some(summary.p95) } else { None }
    }
}

pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| measured | n | median | p95 | beside it | median | p95 | compared | aim |\n\
         |---|--:|--:|--:|---|--:|--:|--:|---|\n",
    );
    for row in rows {
        let n = if row.ours == Figure::Absent { row.theirs.count() } else { row.ours.count() };
        let (compared, aim) = judge(row);
        let cells = [
            row.what.clone(),
            n,
            row.ours.median(),
            row.ours.p95(),
            row.peer.clone(),
            row.theirs.median(),
            row.theirs.p95(),
            compared,
            aim,
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// The comparison and whether the aim is met.
fn judge(row: &Row) -> (String, String) {
    let pair = row.ours.seconds().zip(row.theirs.seconds());
    let above = pair.map(|(ours, theirs)| ours - theirs);
    let times = pair.map(|(ours, theirs)| ours / theirs);
    let difference = above.map_or(String::new(), signed);
    let quotient = times.map_or(String::new(), |times| format!("{times:.2} x"));
    match row.aim {
        Aim::None => (String::new(), String::new()),
        Aim::Above => (difference, String::new()),
        Aim::Times => (quotient, String::new()),
        Aim::AtMostAbove(limit) => {
            (difference, verdict(&format!("at most {}", signed(limit)), above.map(|a| a <= limit)))
        }
        Aim::AtMostTimes(limit) => {
            let shown = (limit * 100.0).round() / 100.0;
            (quotient, verdict(&format!("at most {shown} x"), times.map(|t| t <= limit)))
        }
        Aim::P95AtMostTimes(limit) => {
            let pair = row.ours.late().zip(row.theirs.late());
            let times = pair.map(|(ours, theirs)| ours / theirs);
            let quotient = times.map_or(String::new(), |times| format!("{times:.2} x (p95)"));
            (quotient, verdict(&format!("at most {limit} x"), times.map(|t| t <= limit)))
        }
        Aim::Under(limit) => {
            let met = row.ours.seconds().map(|seconds| seconds < limit);
            (quotient, verdict(&format!("under {}", time(limit)), met))
        }
        Aim::UnderSize(limit) => {
            let met = if let Figure::Size(bytes) = row.ours { Some(bytes < limit) } else { None };
            (String::new(), verdict(&format!("under {}", size(limit)), met))
        }
    }
}

fn verdict(aim: &str, met: Option<bool>) -> String {
    match met {
        Some(true) => format!("{aim}: met"),
        Some(false) => format!("{aim}: **missed**"),
        None => aim.to_owned(),
    }
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

fn signed(seconds: f64) -> String {
    if seconds.abs() < 1.0 {
        format!("{:+.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:+.2} s")
    }
}

fn size(bytes: u64) -> String {
    // Exact for anything below 8 PiB.
    #[allow(clippy::cast_precision_loss)]
    let mib = bytes as f64 / f64::from(1 << 20);
    format!("{mib:.2} MiB")
}

/// How it was done, for whoever reads the table.
pub fn notes(arguments: usize, silent: usize) -> String {
    let mut text = format!(
        "- Times are from just before a process starts until its end is seen; p95 by nearest rank.\n\
         - Starts: both guests had their first boot and were shut down cleanly; nsvm and bare QEMU\n  \
           in turn. The bare line is nsvm's own with all {arguments} arguments; only the name, the\n  \
           port and the paths of disk, sockets and console log differ. Its disk is a copy of the\n  \
           machine's from before the first boot, provisioned by the same Ignition config (without\n  \
           nsvm's agent). The guest is not polled: `ssh true` is tried when the guest says over\n  \
           its virtio port that sshd listens. nsvm waits for its agent, which needs no sshd.\n  \
           Processor time is read when the start is done.\n\
         - `ssh`: no configuration file, pinned host key, curve25519, ed25519, aes128-gcm.\n\
         - Commands: four kinds in turn, in one guest; `ssh` runs `true` as a builtin of the login\n  \
           shell, nsvm and the guest's own loop as a program.\n"
    );
    if silent > 0 {
        let _ = writeln!(
            text,
            "- **The guest did not say that it is ready in {silent} of the bare boots**: there, and surely\n  \
             in nsvm's, it was found by a knock, which begins after 40 s. Those times are too long."
        );
    }
    text
}

#[cfg(test)]
#[allow(dead_code, unused_imports)] // the benchmark itself has no harness: tests/bench.rs
mod tests {
    use super::*;

    fn row(ours: f64, theirs: &[f64], aim: Aim) -> Row {
        let (ours, theirs) = (Figure::times(&[ours]), Figure::times(theirs));
        Row { what: "w".into(), ours, peer: "p".into(), theirs, aim }
    }

    #[test]
    fn both_sides_stand_in_one_line() {
        let text = table(&[row(0.0123, &[1.0], Aim::AtMostTimes(0.5))]);
        let line = text.lines().last().unwrap();
        let expected =
            "| w | 1 | 12.3 ms | 12.3 ms | p | 1.00 s | 1.00 s | 0.01 x | at most 0.5 x: met |";
        assert_eq!(line, expected);
        assert!(text.lines().all(|line| line.matches('|').count() == 10), "{text}");
    }

    #[test]
    fn an_aim_is_judged_by_medians() {
        let judged = |ours, theirs: &[f64], aim| judge(&row(ours, theirs, aim));
        let (compared, aim) = judged(3.0, &[1.5], Aim::AtMostAbove(1.0));
        assert_eq!((&*compared, &*aim), ("+1.50 s", "at most +1.00 s: **missed**"));
        let (compared, aim) = judged(0.034, &[0.03], Aim::AtMostAbove(0.005));
        assert_eq!((&*compared, &*aim), ("+4.0 ms", "at most +5.0 ms: met"));
        let (compared, aim) = judged(0.009, &[], Aim::Under(0.01));
        assert_eq!((&*compared, &*aim), ("", "under 10.0 ms: met"));
        assert_eq!(judged(1.0, &[], Aim::AtMostTimes(0.5)).1, "at most 0.5 x");
        let (compared, aim) = judged(3.0, &[1.0, 1.0, 2.0], Aim::P95AtMostTimes(1.2));
        assert_eq!((&*compared, &*aim), ("1.50 x (p95)", "at most 1.2 x: **missed**"));
    }

    #[test]
    fn sizes_are_in_mebibytes() {
        let aim = Aim::UnderSize(3 << 20);
        let row = Row { ours: Figure::Size(3 << 19), ..row(0.0, &[], aim) };
        assert_eq!(row.ours.median(), "1.50 MiB");
        assert_eq!(judge(&row).1, "under 3.00 MiB: met");
    }
}
