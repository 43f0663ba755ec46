//! `kill -9` of the real program, at any moment: the next run goes on with
//! what is there.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::common::{Home, Ran};
use crate::server::{Reply, Server};
use crate::world::{digest, raw_disk};

const RAW: &str = "/disk.raw";
const KILLS: usize = 20;
/// A run takes about this long when nobody kills it, all of it the download.
const WHOLE: Duration = Duration::from_secs(4);
const DEADLINE: Duration = Duration::from_secs(60);

/// What a kill may cost: bytes in the buffers of the two sockets, most when the
/// program still reads again what was kept. Those that it has read are kept.
const LOST_MAX: usize = 384 << 10;

struct World {
    home: Home,
    server: Server,
    disk: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let (home, server, disk) = (Home::new(), Server::start(), raw_disk(1).repeat(16));
        let speed = disk.len() / usize::try_from(WHOLE.as_secs()).unwrap();
        server.route(RAW, [Reply::file(&disk).etag("one").slowly(speed)]);
        Self { home, server, disk }
    }

    fn init(&self, name: &str) -> std::process::Command {
        let (url, sha256) = (self.server.url(RAW), digest(&self.disk));
        let args = ["machine", "init", "-q", "--disk-size", "1", "--image", &url];
        let mut command = self.home.spawnable([&args[..], &["--sha256", &sha256, name]].concat());
        command.env("NSVM_IMAGE_CACHE", self.cache());
        command
    }

    fn spawn(&self) -> Child {
        self.init("m1").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn cache(&self) -> std::path::PathBuf {
        self.home.path().join("images")
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.cache()).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
        names.retain(|name| !matches!(&**name, "index" | "locks" | "users"));
        names.sort();
        names
    }

    fn nsvm<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ran {
        let mut command = self.home.nsvm(args);
        Ran(command.env("NSVM_IMAGE_CACHE", self.cache()).output().unwrap())
    }

    fn is_cached(&self) -> bool {
        self.files().iter().any(|name| is_base(name))
    }

    /// Whether the first request since then began where `kept` bytes end.
    fn asked_for_the_rest(&self, requests: usize, kept: usize) {
        if let Some(request) = self.server.seen().get(requests) {
            assert_eq!(request.range, Some(kept).filter(|&kept| kept > 0));
        }
    }

    /// Bytes that an unfinished download has left.
    fn kept(&self) -> usize {
        let unfinished = self.files().into_iter().find(|name| name.ends_with(".download"));
        let length = unfinished.and_then(|name| fs::metadata(self.cache().join(name)).ok());
        length.map_or(0, |found| usize::try_from(found.len()).unwrap())
    }

    /// A base of that name is whole, whenever somebody looks.
    fn nothing_bad(&self) {
        for name in self.files() {
            if is_base(&name) {
                assert_eq!(name, format!("{}.raw", digest(&self.disk)));
                assert_eq!(fs::read(self.cache().join(name)).unwrap(), self.disk);
            }
        }
    }
}

fn is_base(name: &str) -> bool {
    matches!(name.split_once('.'), Some((_, "raw" | "qcow2")))
}

/// Waits for the end of the program or for `condition`, whichever is first.
fn wait(child: &mut Child, condition: impl Fn() -> bool) {
    let end = Instant::now() + DEADLINE;
    while child.try_wait().unwrap().is_none() && !condition() {
        assert!(Instant::now() < end, "waited in vain");
        thread::sleep(Duration::from_millis(1));
    }
}

fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
    let chosen = std::env::var("NSVM_TEST_SEED").ok().and_then(|text| text.parse().ok());
    chosen.unwrap_or_else(|| u64::try_from(now()).unwrap()) | 1
}

/// xorshift64: below `limit`.
fn random(state: &mut u64, limit: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state % u64::try_from(limit).unwrap()).unwrap()
}

/// One run that is killed when the server has sent so many more bytes and a
/// moment has passed; the moment alone counts when nothing is to be fetched.
fn killed_run(world: &World, state: &mut u64) {
    let (before, requests) = (world.kept(), world.server.requests(RAW));
    let enough = world.server.sent(RAW) + random(state, world.disk.len() / 6);
    let moment = Duration::from_micros(u64::try_from(random(state, 60_000)).unwrap());
    let cached = world.is_cached();
    let mut child = world.spawn();
    wait(&mut child, || cached || world.server.sent(RAW) >= enough);
    thread::sleep(moment);
    // It may have ended by itself meanwhile.
    let _ = child.kill();
    child.wait().unwrap();
    world.nothing_bad();
    world.asked_for_the_rest(requests, before);
}

/// Moments are counted in bytes at the server, so that they spread over a run
/// on a host of any speed.
#[test]
fn at_twenty_random_moments() {
    let world = World::new();
    let mut state = seed();
    eprintln!("NSVM_TEST_SEED={state}");
    let (mut cached, mut made) = (0, 0);
    for _ in 0..KILLS {
        cached += usize::from(world.is_cached());
        made += usize::from(world.nsvm(["machine", "rm", "-f", "m1"]).code() == 0);
        killed_run(&world, &mut state);
    }
    world.nsvm(["machine", "rm", "-f", "m1"]);
    let (before, requests) = (world.kept(), world.server.requests(RAW));
    Ran(world.init("m1").output().unwrap()).exits(0);
    world.nothing_bad();
    world.asked_for_the_rest(requests, before);
    assert_eq!(world.files(), [format!("{}.raw", digest(&world.disk))]);
    world.nsvm(["machine", "rm", "-f", "m1"]).exits(0);
    assert_eq!(world.home.traces_of("m1"), Vec::<std::path::PathBuf>::new());
    let twice = world.server.sent(RAW) - world.disk.len();
    eprintln!(
        "{KILLS} kills, {cached} of them with the image cached, {made} too late; {twice} bytes were sent twice"
    );
    assert!(twice <= KILLS * LOST_MAX, "{twice} bytes were sent twice");
}
