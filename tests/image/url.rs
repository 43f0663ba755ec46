//! `--image URL --sha256 DIGEST`.

use std::fs;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use nsvm::image::{FetchError, ImageError, Provisioner, Pull};
use nsvm::machine::config::DiskFormat;
use nsvm::machine::event::Event;

use crate::server::{Reply, Server};
use crate::world::{World, digest, mode, qcow2_disk, raw_disk, xz};

const PATH: &str = "/disk.qcow2.xz";
const RAW: &str = "/disk.raw";

#[test]
fn a_good_download_is_verified_named_by_its_content_and_kept() {
    let (world, server, disk) = (World::new(), Server::start(), qcow2_disk(1));
    let packed = xz(&disk);
    server.route(PATH, [Reply::file(&packed)]);
    let prepared = world.prepare(&server.url(PATH), Some(&digest(&packed))).unwrap();

    assert_eq!(prepared.base, world.cache_dir().join(format!("{}.qcow2", digest(&disk))));
    assert_eq!(fs::read(&prepared.base).unwrap(), disk);
    assert_eq!(mode(&prepared.base), 0o444);
    let pin = &prepared.pin;
    assert_eq!((&pin.source, pin.format), (&server.url(PATH), DiskFormat::Qcow2));
    assert_eq!((pin.virtual_size, &pin.sha256), (32 << 20, &digest(&disk)));
    assert_eq!((&*prepared.user, prepared.provisioner), ("core", Provisioner::Auto));
    assert_eq!(world.cache().base(pin).unwrap(), prepared.base);
    assert_eq!(world.images().len(), 1);

    let length = packed.len() as u64;
    let last = Event::Bytes {
        what: "Downloading disk.qcow2.xz".to_owned(),
        done: length,
        total: Some(length),
    };
    assert_eq!(world.events.all().last(), Some(&last));

    assert_eq!(world.prepare(&server.url(PATH), Some(&digest(&packed))).unwrap(), prepared);
    assert_eq!(server.requests(PATH), 1, "the second time it is in the cache");
}

#[test]
fn the_same_file_from_another_server_is_not_downloaded_again() {
    let (world, one, two) = (World::new(), Server::start(), Server::start());
    let disk = raw_disk(1);
    one.route(RAW, [Reply::file(&disk)]);
    let first = world.prepare(&one.url(RAW), Some(&digest(&disk))).unwrap();
    let second = world.prepare(&two.url(RAW), Some(&digest(&disk))).unwrap();
    assert_eq!((first.base, two.requests(RAW)), (second.base, 0));
    assert_eq!(second.pin.source, two.url(RAW));
}

#[test]
fn a_wrong_digest_names_both() {
    let (world, server, disk) = (World::new(), Server::start(), raw_disk(1));
    server.route(RAW, [Reply::file(&disk)]);
    let wrong = "0".repeat(64);
    let text = world.refused(&server.url(RAW), Some(&wrong)).to_string();
    assert!(text.contains(&wrong) && text.contains(&digest(&disk)), "{text}");
}

#[test]
fn one_flipped_byte_is_found() {
    let (world, server, disk) = (World::new(), Server::start(), raw_disk(1));
    for (path, mut file) in [(RAW, disk.clone()), (PATH, xz(&qcow2_disk(1)))] {
        let sha256 = digest(&file);
        let middle = file.len() / 2;
        file[middle] ^= 1;
        server.route(path, [Reply::file(&file)]);
        let error = world.refused(&server.url(path), Some(&sha256));
        let fits = matches!(error, ImageError::Mismatch { .. } | ImageError::Damaged { .. });
        assert!(fits && error.hint().is_some(), "{error}");
    }
}

#[test]
fn a_cut_connection_is_continued_where_it_ended() {
    let (world, server, disk) = (World::new(), Server::start(), raw_disk(1));
    let file = Reply::file(&disk).etag("one");
    server.route(RAW, [file.clone().cut_after(300_000), file.clone().cut_after(300_000), file]);
    world.prepare(&server.url(RAW), Some(&digest(&disk))).unwrap();
    assert_eq!(server.sent(RAW), disk.len());
    let starts: Vec<_> = server.seen().iter().map(|seen| seen.range).collect();
    assert_eq!(starts, [None, Some(300_000), Some(600_000)]);
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let (world, server, disk) = (World::new(), Server::start(), raw_disk(1));
    let file = Reply::file(&disk).without_ranges();
    server.route(RAW, [file.clone().cut_after(300_000), file]);
    world.prepare(&server.url(RAW), Some(&digest(&disk))).unwrap();
    assert_eq!(server.sent(RAW), disk.len() + 300_000);
}

#[test]
fn a_file_that_changes_meanwhile_is_begun_anew() {
    let (world, server) = (World::new(), Server::start());
    let (old, new) = (raw_disk(1), raw_disk(2));
    let cut = Reply::file(&old).etag("old").cut_after(300_000);
    server.route(RAW, [cut, Reply::file(&new).etag("new")]);
    let prepared = world.prepare(&server.url(RAW), Some(&digest(&new))).unwrap();
    assert_eq!(fs::read(prepared.base).unwrap(), new);
}

#[test]
fn a_server_that_always_cuts_is_given_up() {
    let (world, server, disk) = (World::new(), Server::start(), raw_disk(1));
    server.route(RAW, [Reply::file(&disk).without_ranges().cut_after(1000)]);
    let error = world.interrupted(&server.url(RAW), Some(&digest(&disk)));
    assert!(matches!(error, ImageError::Fetch(FetchError::Cut { .. })), "{error}");
    assert_eq!(server.requests(RAW), 3);
}

#[test]
fn a_silent_server_is_given_up() {
    let (world, server, disk) = (World::new(), Server::start(), raw_disk(1));
    server.route(RAW, [Reply::file(&disk).without_ranges().stall_after(1000)]);
    let start = Instant::now();
    let error = world.interrupted(&server.url(RAW), Some(&digest(&disk)));
    assert!(matches!(error, ImageError::Fetch(FetchError::Stalled { .. })), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn nobody_there() {
    let world = World::new();
    let error = world.refused("http://127.0.0.1:1/disk.raw", Some(&digest(b"")));
    assert!(matches!(error, ImageError::Fetch(FetchError::Connect { .. })), "{error}");
    assert!(error.to_string().starts_with("cannot reach \"127.0.0.1\""), "{error}");
}

#[test]
fn a_busy_server_is_asked_again_and_a_missing_file_is_not() {
    let (world, server, disk) = (World::new(), Server::start(), raw_disk(1));
    server.route(RAW, [Reply::status("503 Service Unavailable"), Reply::file(&disk)]);
    world.prepare(&server.url(RAW), Some(&digest(&disk))).unwrap();
    assert_eq!(server.requests(RAW), 2);

    let error = World::new().refused(&server.url("/missing"), Some(&digest(&disk)));
    let text = format!("\"{}\" answered 404 Not Found", server.url("/missing"));
    assert_eq!((error.to_string(), server.requests("/missing")), (text, 1));
}

#[test]
fn a_login_page_is_no_image() {
    let (world, server) = (World::new(), Server::start());
    server.route("/typed", [Reply::web_page()]);
    server.route("/untyped", [Reply::file(b"<!DOCTYPE html><p>log in")]);
    let error = world.refused(&server.url("/typed"), Some(&digest(b"")));
    assert!(matches!(error, ImageError::Fetch(FetchError::WebPage { .. })), "{error}");
    assert!(error.hint().unwrap().contains("login"));
    let error = world.refused(&server.url("/untyped"), Some(&digest(b"")));
    assert!(error.to_string().ends_with("it is a web page"), "{error}");
}

#[test]
fn a_few_redirects_are_followed_and_a_circle_is_left() {
    let (world, server, disk) = (World::new(), Server::start(), raw_disk(1));
    server.route("/a", [Reply::redirect(RAW)]);
    server.route(RAW, [Reply::file(&disk)]);
    server.route("/circle", [Reply::redirect("/circle")]);
    world.prepare(&server.url("/a"), Some(&digest(&disk))).unwrap();
    let error = World::new().refused(&server.url("/circle"), Some(&digest(&disk[1..])));
    assert!(error.to_string().contains("too many redirects"), "{error}");
}

#[test]
fn two_at_once_download_once() {
    let (world, server, disk) = (World::new(), Server::start(), raw_disk(1));
    let sha256 = digest(&disk);
    // The first answer stalls for a moment and is continued.
    let file = Reply::file(&disk).etag("one");
    server.route(RAW, [file.clone().stall_after(500_000), file]);
    let bases: Vec<_> = thread::scope(|scope| {
        let run = || scope.spawn(|| world.prepare(&server.url(RAW), Some(&sha256)).unwrap().base);
        [run(), run(), run()].map(|thread| thread.join().unwrap()).to_vec()
    });
    assert!(bases.iter().all(|base| *base == bases[0]));
    assert_eq!(server.seen().iter().filter(|seen| seen.range.is_none()).count(), 1);
    let waited = |event: &Event| matches!(event, Event::Note { text } if text.starts_with("Waiting for another nsvm"));
    assert!(world.events.all().iter().any(waited));
}

#[test]
fn giving_up_ends_it_soon() {
    let (mut world, server, disk) = (World::new(), Server::start(), raw_disk(1));
    world.settings.patience.stall = Duration::from_secs(60);
    server.route(RAW, [Reply::file(&disk).stall_after(500_000)]);
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(300));
            world.cancel.store(true, Ordering::Relaxed);
        });
        let error = world.interrupted(&server.url(RAW), Some(&digest(&disk)));
        assert!(matches!(error, ImageError::Cancelled), "{error}");
    });
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn offline_means_no_request_at_all() {
    let (world, server, disk) = (World::new().pull(Pull::Never), Server::start(), raw_disk(1));
    let error = world.refused(&server.url(RAW), Some(&digest(&disk)));
    assert!(matches!(error, ImageError::NotCached(_)), "{error}");
    assert!(server.seen().is_empty());
}

#[test]
fn what_a_killed_process_left_is_swept_away() {
    let (world, server, disk) = (World::new(), Server::start(), raw_disk(1));
    server.route(RAW, [Reply::file(&disk)]);
    fs::create_dir_all(world.cache_dir().join("recipe-x.work/deep")).unwrap();
    fs::write(world.cache_dir().join("download-0123.partial"), b"half").unwrap();
    world.prepare(&server.url(RAW), Some(&digest(&disk))).unwrap();
    assert_eq!(world.images(), [format!("{}.raw", digest(&disk))]);
}
