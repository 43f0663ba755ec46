//! A download that was interrupted goes on where it stopped, whatever ended
//! the program.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nsvm::image::{Cache, Prepared, Settings, Wanted, prepare};
use nsvm::machine::config::Arch;
use nsvm::machine::event::Silent;

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
    assert_eq!(server.seen().last().unwrap().range, Some(500_000));
    assert_eq!(server.seen().last().unwrap().sent, disk.len() - 500_000);
}

#[test]
fn a_changed_file_or_a_server_without_ranges_begins_anew() {
    let (old, new) = (raw_disk(1), raw_disk(2));
    let changed = Reply::file(&new).etag("new");
    for second in [changed.clone(), changed.without_ranges()] {
        let server = Server::start();
        let world = interrupted(&server, Reply::file(&old).etag("old"), &new);
        server.route(RAW, [second]);
        finish(&world, &server, &new);
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

/// What a `kill -9` hits: this test binary, running [`victim`] alone.
fn spawn_victim(url: &str, sha256: &str, cache: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "resume::victim", "--ignored"]);
    command.env("TEST_URL", url).env("TEST_SHA256", sha256).env("TEST_CACHE", cache);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
#[ignore = "run by killed_at_any_moment in a process of its own"]
fn victim() {
    let [Ok(url), Ok(sha256), Ok(cache)] =
        ["TEST_URL", "TEST_SHA256", "TEST_CACHE"].map(std::env::var)
    else {
        return;
    };
    let cache = Cache::open(Path::new(&cache)).unwrap();
    let wanted = Wanted { source: &url, sha256: Some(&sha256), arch: Arch::X86_64 };
    prepare(&cache, &wanted, &Settings::default(), &Silent, &AtomicBool::new(false)).unwrap();
}

#[test]
fn killed_at_any_moment() {
    const KILLS: usize = 10;
    let (mut world, server, disk) = (World::new(), Server::start(), raw_disk(1).repeat(16));
    world.settings.patience.stall = DEADLINE;
    // About two seconds in all.
    server.route(RAW, [Reply::file(&disk).etag("one").slowly(8 << 20)]);
    let (url, sha256) = (server.url(RAW), digest(&disk));
    for kill in 0..KILLS {
        let (before, requests) = (kept(&world), server.requests(RAW));
        let mut child = spawn_victim(&url, &sha256, &world.cache_dir());
        wait_until(|| server.requests(RAW) > requests);
        thread::sleep(Duration::from_millis(37 * (kill as u64 * 3 % 10)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!world.images().contains(&format!("{sha256}.raw")));
        // Exactly what was missing was asked for, and nothing got lost.
        assert_eq!(server.seen()[requests].range, Some(before).filter(|&before| before > 0));
        assert!(kept(&world) >= before);
    }
    let before = kept(&world);
    finish(&world, &server, &disk);
    assert_eq!(world.images(), [format!("{sha256}.raw")]);
    assert_eq!(server.seen().last().unwrap().range, Some(before));
}
