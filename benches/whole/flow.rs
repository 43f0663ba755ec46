//! Many bytes through the link, and a few beside them.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::children::{self, Heed};
use super::machine::{Machine, SHORT};
use super::report::{Aim, Figure, Row};
use super::say;
use super::settings::Settings;
use super::ssh::Ssh;

const MIB: u64 = 64;

/// Of the time by `ssh`: nine tenths of its speed.
const AIM: f64 = 1.0 / 0.9;

/// A word beside a flood takes at most so many times as long as alone.
const AIM_BESIDE: f64 = 2.0;

/// `dir` gets a file to send.
pub fn rows(
    settings: &Settings,
    machine: &Machine,
    ssh: &Ssh,
    dir: &Path,
) -> anyhow::Result<Vec<Row>> {
    say("Bytes through the link");
    let sent = dir.join("sent");
    File::create(&sent)?.set_len(MIB << 20)?;
    let master = ssh.master()?;
    let count = format!("{}", MIB << 20);
    let out = ["head", "-c", &count, "/dev/zero"];
    let into = ["sh", "-c", "'cat >/dev/null'"];
    let mut samples: [[Vec<f64>; 2]; 2] = Default::default();
    for _ in 0..settings.starts {
        let [theirs_out, theirs_in] = [&out[..], &into[..]].map(|words| {
            let mut command = master.command();
            command.args(words);
            command
        });
        let ours_out = machine.nsvm(["exec"].into_iter().chain(out));
        let ours_in = machine.nsvm(["exec", "sh", "-c", "cat >/dev/null"]);
        for (way, commands) in
            [[ours_out, theirs_out], [ours_in, theirs_in]].into_iter().enumerate()
        {
            for (side, mut command) in commands.into_iter().enumerate() {
                let input = if way == 0 { Stdio::null() } else { File::open(&sent)?.into() };
                samples[way][side].push(seconds(&mut command, input)?);
            }
        }
    }
    let [out, into] = &samples;
    let bulk = |what: &str, [ours, theirs]: &[Vec<f64>; 2]| Row {
        what: format!("{MIB} MiB {what} by `nsvm exec`"),
        ours: Figure::times(ours),
        peer: "`ssh`, ControlMaster open, the same cipher".into(),
        theirs: Figure::times(theirs),
        aim: Aim::AtMostTimes(AIM),
    };
    let [alone, beside] = words(settings, machine)?;
    Ok(vec![
        bulk("out of the guest", out),
        bulk("into the guest", into),
        Row {
            what: "a word to `cat` and back, beside a flood".into(),
            ours: Figure::times(&beside),
            peer: "the same alone".into(),
            theirs: Figure::times(&alone),
            aim: Aim::P95AtMostTimes(AIM_BESIDE),
        },
    ])
}

fn seconds(command: &mut Command, input: Stdio) -> anyhow::Result<f64> {
    command.stdin(input).stdout(Stdio::null()).process_group(0);
    let begun = Instant::now();
    let mut child = command.spawn()?;
    let ended = children::wait(&mut child, SHORT * 2, Heed::Signals);
    let wall = begun.elapsed().as_secs_f64();
    match ended {
        Ok(status) => ensure!(status.success(), "it ended with {status}"),
        Err(e) => {
            children::end(&mut child);
            return Err(e);
        }
    }
    Ok(wall)
}

/// Each word's way there and back: alone, then while another command's output
/// fills the link.
fn words(settings: &Settings, machine: &Machine) -> anyhow::Result<[Vec<f64>; 2]> {
    let mut echo = Ended(
        machine
            .nsvm(["exec", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()?,
    );
    let alone = rounds(&mut echo.0, settings.commands)?;
    let flood = machine
        .nsvm(["exec", "cat", "/dev/zero"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()?;
    let _flood = Ended(flood);
    // Until it is under way.
    rounds(&mut echo.0, 5)?;
    Ok([alone, rounds(&mut echo.0, settings.commands)?])
}

fn rounds(echo: &mut Child, count: usize) -> anyhow::Result<Vec<f64>> {
    let input = echo.stdin.as_mut().context("it has no stdin")?;
    let output = echo.stdout.as_mut().context("it has no stdout")?;
    let mut samples = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        input.write_all(b"word\n")?;
        let mut word = [0; 5];
        for at in 0..word.len() {
            read_byte(output, &mut word[at..=at])?;
        }
        samples.push(begun.elapsed().as_secs_f64());
        ensure!(&word == b"word\n", "another word came back");
    }
    Ok(samples)
}

fn read_byte(output: &mut ChildStdout, byte: &mut [u8]) -> anyhow::Result<()> {
    let mut fds = [PollFd::new(output, PollFlags::IN)];
    let ready = poll(&mut fds, Some(&Timespec::try_from(SHORT)?))?;
    ensure!(ready > 0, "no word came back within {} s", SHORT.as_secs());
    Ok(output.read_exact(byte)?)
}

/// A program that runs until this is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        children::end(&mut self.0);
    }
}
