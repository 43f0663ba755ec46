//! Every way a server can fail, in one table: no bad image in the cache, no
//! hang, an error that says what to do, and the next try against a good server
//! succeeds.

use std::fs;
use std::time::{Duration, Instant};

use crate::server::{Reply, Server};
use crate::world::{World, digest, gzip, qcow2_disk, raw_disk, xz, zst};

/// Far above what a loaded host needs; a hang is for ever.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a server does, and what becomes of it.
struct Case {
    name: &'static str,
    file: &'static str,
    /// What its publisher made.
    good: Vec<u8>,
    replies: Vec<Reply>,
    outcome: Outcome,
}

enum Outcome {
    /// The image, and no more body bytes sent than these.
    Image { sent: usize },
    /// Parts of the message and of the hint.
    Refused(&'static str, &'static str),
    /// The same, and something is kept for the next try.
    Interrupted(&'static str, &'static str),
}

use Outcome::{Image, Interrupted, Refused};

fn check(case: &Case) {
    let (mut world, server) = (World::new(), Server::start());
    // Long enough for a busy host to send in, where silence is not the point.
    if !case.name.contains("silent") {
        world.settings.patience.stall = Duration::from_secs(10);
    }
    server.route(case.file, case.replies.clone());
    let (url, sha256, begun) = (server.url(case.file), digest(&case.good), Instant::now());
    eprintln!("case: {}", case.name);
    let (message, hint) = match &case.outcome {
        Image { sent } => {
            world.prepare(&url, Some(&sha256)).unwrap();
            assert!(server.sent(case.file) <= *sent, "{} of {sent} bytes", server.sent(case.file));
            (None, None)
        }
        Refused(message, hint) => (Some((world.refused(&url, Some(&sha256)), message)), Some(hint)),
        Interrupted(message, hint) => {
            let error = world.interrupted(&url, Some(&sha256));
            assert!(!world.unfinished().is_empty(), "nothing was kept: {error}");
            (Some((error, message)), Some(hint))
        }
    };
    if let (Some((error, message)), Some(hint)) = (message, hint) {
        assert!(error.to_string().contains(message), "no {message:?} in: {error}");
        let found = error.hint().unwrap_or_else(|| panic!("no hint: {error}"));
        assert!(found.contains(hint), "no {hint:?} in: {found}");
    }
    assert!(begun.elapsed() < DEADLINE, "it took {:?}", begun.elapsed());
    server.route(case.file, [Reply::file(&case.good).etag("good")]);
    let base = world.prepare(&url, Some(&sha256)).unwrap().base;
    assert_eq!(world.images(), [base.file_name().unwrap().to_str().unwrap()]);
    assert_eq!(world.unfinished(), [""; 0]);
}

fn all(cases: impl IntoIterator<Item = Case>) {
    cases.into_iter().for_each(|case| check(&case));
}

const RAW: &str = "/disk.raw";
const XZ: &str = "/disk.qcow2.xz";

fn raw(name: &'static str, replies: Vec<Reply>, outcome: Outcome) -> Case {
    Case { name, file: RAW, good: raw_disk(1), replies, outcome }
}

fn packed(name: &'static str, reply: Reply, outcome: Outcome) -> Case {
    Case { name, file: XZ, good: xz(&qcow2_disk(1)), replies: vec![reply], outcome }
}

#[test]
fn connections_that_end_too_early() {
    let (disk, file) = (raw_disk(1), || Reply::file(&raw_disk(1)).etag("one"));
    let all_of_it = Image { sent: disk.len() };
    let twice = || Image { sent: 2 * disk.len() };
    let end = disk.len() - 1;
    all([
        raw("cut before the first byte", vec![file().cut_after(0), file()], all_of_it),
        raw("cut after one byte", vec![file().cut_after(1), file()], Image { sent: disk.len() }),
        raw(
            "cut before the last byte",
            vec![file().cut_after(end), file()],
            Image { sent: disk.len() },
        ),
        raw("cut, then no ranges", vec![file().cut_after(end), file().without_ranges()], twice()),
        raw(
            "cut, then another file, then the first again",
            vec![file().cut_after(9000), Reply::file(&raw_disk(2)).etag("two"), file()],
            twice(),
        ),
        raw("cut while busy", vec![file().cut_after(9000), busy(), file()], twice()),
        raw(
            "chunks that are cut",
            vec![file().chunked().cut_after(9000), file().chunked()],
            twice(),
        ),
        raw(
            "cut, then it is gone",
            vec![file().cut_after(9000), Reply::status("404 Not Found")],
            Interrupted("answered 404", "in a browser"),
        ),
        raw(
            "cut, then a login page",
            vec![file().cut_after(9000), Reply::web_page()],
            Interrupted("answered with a web page", "login"),
        ),
        raw(
            "always cut",
            vec![file().cut_after(0)],
            Refused("was cut after 0 bytes", "run the command again"),
        ),
        raw(
            "silent after a while, always",
            vec![file().without_ranges().stall_after(9000)],
            Interrupted("sent nothing for", "goes on where it stopped"),
        ),
        raw("silent after a while, once", vec![file().stall_after(9000), file()], twice()),
        raw(
            "without length, cut",
            vec![file().without_length().cut_after(9216)],
            Refused("is not what was asked for", "Run the command again"),
        ),
        raw("without length", vec![file().without_length()], Image { sent: disk.len() }),
        raw("in chunks", vec![file().chunked()], Image { sent: disk.len() }),
    ]);
}

fn busy() -> Reply {
    Reply::status("503 Service Unavailable")
}

#[test]
fn lies_about_the_length_and_wrong_answers() {
    let (disk, file) = (raw_disk(1), || Reply::file(&raw_disk(1)).etag("one"));
    let twice = || Image { sent: 2 * disk.len() };
    let web_page = || Reply::file(b"\n<html><body>Please log in</body></html>");
    let gone = || Reply::status("404 Not Found");
    all([
        raw("too long a length, once", vec![file().claiming(disk.len() + 512), file()], twice()),
        raw(
            "too long a length, always",
            vec![file().claiming(disk.len() + 512)],
            Refused("changed while it was downloaded", "again later"),
        ),
        raw(
            "too short a length",
            vec![file().claiming(disk.len() - 512)],
            Refused("is not what was asked for", "Run the command again"),
        ),
        raw(
            "a length of nothing",
            vec![file().claiming(0)],
            Refused("is not what was asked for", "again"),
        ),
        raw("gone, then there", vec![gone(), file()], Refused("answered 404", "in a browser")),
        raw("busy, then there", vec![busy(), busy(), file()], twice()),
        raw("busy for ever", vec![busy()], Refused("answered 503", "again later")),
        raw("a login page", vec![Reply::web_page()], Refused("a web page", "login")),
        raw("a login page without type", vec![web_page()], Refused("it is a web page", "login")),
        raw(
            "a login page in chunks",
            vec![web_page().chunked()],
            Refused("it is a web page", "login"),
        ),
        packed(
            "another image",
            Reply::file(&xz(&qcow2_disk(2))),
            Refused("its digest is", "again"),
        ),
        packed("an image that is not packed", Reply::file(&qcow2_disk(1)), {
            Refused("its name says xz, its content does not", "qcow2 or raw")
        }),
        packed("nothing", Reply::file(b""), Refused("its content does not", "qcow2 or raw")),
    ]);
}

#[test]
fn files_that_are_not_what_was_published() {
    let good = xz(&qcow2_disk(1));
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        Reply::file(&bytes)
    };
    let with = |more: &[u8]| Reply::file(&[&good[..], more].concat());
    let damaged = || Refused("cannot be decompressed", "Get the file again");
    all([
        packed("a byte flipped in the header", flipped(14), damaged()),
        packed("a byte flipped in the middle", flipped(good.len() / 2), damaged()),
        packed("a byte flipped in the index", flipped(good.len() - 16), damaged()),
        packed("a byte flipped at the end", flipped(good.len() - 1), damaged()),
        packed(
            "cut off",
            Reply::file(&good[..good.len() / 2]),
            Refused("too early", "Get the file again"),
        ),
        packed(
            "cut off by one",
            Reply::file(&good[..good.len() - 1]),
            Refused("too early", "again"),
        ),
        packed("garbage behind", with(&[b'x'; 64]), damaged()),
        packed("zeroes behind", with(&[0; 8]), Refused("its digest is", "again")),
        packed("the same again behind", with(&good), Refused("its digest is", "again")),
    ]);
}

#[test]
fn bombs() {
    // A disk of 1 MiB, then far more than it can hold. The digest is right.
    let mut bomb = qcow2_disk(1);
    bomb[24..32].copy_from_slice(&(1_u64 << 20).to_be_bytes());
    bomb.resize(24 << 20, 0);
    let packed = [
        ("/bomb.qcow2.xz", xz(&bomb)),
        ("/bomb.qcow2.gz", gzip(&bomb)),
        ("/bomb.qcow2.zst", zst(&bomb)),
    ];
    for (path, bytes) in packed {
        let (world, server) = (World::new(), Server::start());
        server.route(path, [Reply::file(&bytes)]);
        let error = world.refused(&server.url(path), Some(&digest(&bytes)));
        assert!(error.to_string().contains("it unpacks to more than 18.0 MiB"), "{error}");
        assert!(error.hint().unwrap().contains("unpack it yourself"), "{error}");
    }
}

/// The same file, said to need 3 GiB of memory (The .xz File Format, 3.1 and
/// 5.3.1).
fn hungry(mut file: Vec<u8>) -> Vec<u8> {
    const STREAM_HEADER: usize = 12;
    let header = &mut file[STREAM_HEADER..];
    let length = 4 * (usize::from(header[0]) + 1) - 4;
    assert_eq!(&header[1..4], [0, 0x21, 1], "one filter, LZMA2, no sizes");
    header[4] = 39;
    let mut crc = flate2::Crc::new();
    crc.update(&header[..length]);
    header[length..length + 4].copy_from_slice(&crc.sum().to_le_bytes());
    file
}

#[test]
fn a_dictionary_of_gigabytes() {
    let (world, server, file) = (World::new(), Server::start(), hungry(xz(&qcow2_disk(1))));
    server.route(XZ, [Reply::file(&file)]);
    let error = world.refused(&server.url(XZ), Some(&digest(&file)));
    assert!(error.to_string().contains("more than 1 GiB of memory"), "{error}");
    assert!(error.hint().unwrap().contains("unpack it yourself"), "{error}");
}

#[test]
fn several_streams_are_one_disk() {
    let (world, server, disk) = (World::new(), Server::start(), qcow2_disk(1));
    let (one, two) = disk.split_at(100_000);
    let file = [xz(one), vec![0; 4], xz(two)].concat();
    server.route(XZ, [Reply::file(&file)]);
    let base = world.prepare(&server.url(XZ), Some(&digest(&file))).unwrap().base;
    assert_eq!(fs::read(base).unwrap(), disk);
}
