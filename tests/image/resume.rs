//! A download that was interrupted goes on where it stopped, whatever ended
//! the program.

use std::fs;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use nsvm::image::Prepared;

use crate::server::{Reply, Server};
use crate::world::{World, digest, raw_disk};

const RAW: &str = "/disk.raw";
const DEADLINE: Duration = Duration::from_secs(60);

/// A world in which the first try ended after 500,000 bytes.
fn interrupted(server: &Server, first: Reply, disk: &[u8]) -> World {
    let mut world = World::new();
    let patience = world.settings.patience;
    world.settings.patience.stall = DEADLINE;
    server.route(RAW, [first.stall_after(500_000)]);
    thread::scope(|scope| {
        scope.spawn(|| {
            wait_until(|| kept(&world) == 500_000);
            world.cancel.store(true, Ordering::Relaxed);
        });
        world.interrupted(&server.url(RAW), Some(&digest(disk)));
    });
    world.cancel.store(false, Ordering::Relaxed);
    world.settings.patience = patience;
    world
}

/// Bytes that an interrupted download has left.
fn kept(world: &World) -> usize {
    let names = world.unfinished();
    let length = names.first().and_then(|name| fs::metadata(world.cache_dir().join(name)).ok());
    length.map_or(0, |found| usize::try_from(found.len()).unwrap())
}

fn wait_until(condition: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain");
        thread::sleep(Duration::from_millis(5));
    }
}

fn finish(world: &World, server: &Server, disk: &[u8]) -> Prepared {
    let prepared = world.prepare(&server.url(RAW), Some(&digest(disk))).unwrap();
    assert_eq!(fs::read(&prepared.base).unwrap(), disk);
    assert_eq!(world.unfinished(), [""; 0]);
    prepared
}

#[test]
fn the_next_try_asks_for_the_rest() {
    let (server, disk) = (Server::start(), raw_disk(1));
    let file = Reply::file(&disk).etag("one");
    let world = interrupted(&server, file.clone(), &disk);
    server.route(RAW, [file]);
    finish(&world, &server, &disk);
    let last = server.seen().pop().unwrap();
    assert_eq!((last.range, last.condition.as_deref()), (Some(500_000), Some("\"one\"")));
    assert_eq!(last.sent, disk.len() - 500_000);
}

#[test]
fn a_changed_file_or_a_server_without_ranges_begins_anew() {
    let (old, new) = (raw_disk(1), raw_disk(2));
    let changed = Reply::file(&new).etag("new");
    let (conditional, part) = (changed.clone(), changed.clone().without_conditions());
    for (second, requests) in [(conditional, 2), (part, 3), (changed.without_ranges(), 2)] {
        let server = Server::start();
        let world = interrupted(&server, Reply::file(&old).etag("old"), &new);
        server.route(RAW, [second]);
        finish(&world, &server, &new);
        assert_eq!(server.requests(RAW), requests);
    }
}

#[test]
fn what_was_kept_is_not_believed() {
    let (server, disk) = (Server::start(), raw_disk(1));
    let file = Reply::file(&disk).etag("one");
    let world = interrupted(&server, file.clone(), &disk);
    server.route(RAW, [file]);
    let kept = world.cache_dir().join(&world.unfinished()[0]);
    let mut bytes = fs::read(&kept).unwrap();
    bytes[1000] ^= 1;
    fs::write(&kept, bytes).unwrap();
    finish(&world, &server, &disk);
    let starts: Vec<_> = server.seen().iter().map(|seen| seen.range).collect();
    assert_eq!(starts, [None, Some(500_000), None]);
}

#[test]
fn a_complete_file_is_not_asked_for_again() {
    let (server, disk) = (Server::start(), raw_disk(1));
    let file = Reply::file(&disk).etag("one");
    let world = interrupted(&server, file, &disk);
    fs::write(world.cache_dir().join(&world.unfinished()[0]), &disk).unwrap();
    finish(&world, &server, &disk);
    assert_eq!(server.requests(RAW), 1);
}

/// A kill between the two: the base has its name, and nobody knows it yet, or
/// what was downloaded is still there.
#[test]
fn killed_before_all_was_tidied_up_costs_no_byte() {
    let (server, disk) = (Server::start(), raw_disk(1));
    let world = interrupted(&server, Reply::file(&disk).etag("one"), &disk);
    let name = world.unfinished().pop().unwrap();
    let (bytes, note) = (world.cache_dir().join(&name), format!("index/{name}.json"));
    let note = world.cache_dir().join(note);
    let noted = fs::read(&note).unwrap();
    fs::write(&bytes, &disk).unwrap();
    let base = world.cache_dir().join(format!("{}.raw", digest(&disk)));
    fs::write(&base, &disk).unwrap();
    assert_eq!(finish(&world, &server, &disk).base, base);

    fs::write(&bytes, &disk).unwrap();
    fs::write(&note, noted).unwrap();
    finish(&world, &server, &disk);
    assert!(!note.exists());
    assert_eq!(server.requests(RAW), 1);
}
