//! `kill -9` of the real program, at any moment: the next run goes on with
//! what is there.

use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::common::{Home, Ran};
use crate::server::{Reply, Server};
use crate::world::{digest, raw_disk, xz};

const XZ: &str = "/disk.raw.xz";
const KILLS: usize = 20;
/// Rounds that go on at the same time: most of a round is waiting.
const LANES: usize = 4;
/// A run takes about this long when nobody kills it, most of it the download.
const WHOLE: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(60);

/// What a kill may cost: bytes that the program had not read yet. A busy host
/// lets it wait while the kernel receives up to this (tcp(7): `tcp_rmem`).
const UNREAD_MAX: usize = 6 << 20;

/// What is published: it does not compress, so that both sides of the decoder
/// are at work during the whole of a run.
struct Published {
    disk: Vec<u8>,
    packed: Vec<u8>,
}

impl Published {
    fn new() -> Self {
        let disk = raw_disk(1).repeat(16);
        Self { packed: xz(&disk), disk }
    }
}

/// A home and a cache for one round.
struct World<'p> {
    home: Home,
    server: Server,
    published: &'p Published,
}

impl<'p> World<'p> {
    fn new(published: &'p Published) -> Self {
        let (home, server) = (Home::new(), Server::start());
        let speed = published.packed.len() / usize::try_from(WHOLE.as_secs()).unwrap();
        server.route(XZ, [Reply::file(&published.packed).etag("one").slowly(speed)]);
        Self { home, server, published }
    }

    fn init(&self) -> std::process::Command {
        let (url, sha256) = (self.server.url(XZ), digest(&self.published.packed));
        let args = ["machine", "init", "-q", "--disk-size", "1", "--image", &url];
        let mut command = self.home.spawnable([&args[..], &["--sha256", &sha256, "m1"]].concat());
        command.env("NSVM_IMAGE_CACHE", self.cache());
        command
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

    /// Whether the first request since then began where `kept` bytes end.
    fn asked_for_the_rest(&self, requests: usize, kept: usize) {
        if let Some(request) = self.server.seen().get(requests) {
            assert_eq!(request.range, Some(kept).filter(|&kept| kept > 0));
        }
    }

    /// Waits until so many bytes, and no more, were sent since then: the server
    /// counts a piece when it has sent it.
    fn sent_since(&self, requests: usize, expected: usize) {
        let end = Instant::now() + DEADLINE;
        let sent = || self.server.seen()[requests..].iter().map(|seen| seen.sent).sum::<usize>();
        while sent() < expected && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(sent(), expected);
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
                assert_eq!(name, self.base());
                assert_eq!(fs::read(self.cache().join(name)).unwrap(), self.published.disk);
            }
        }
    }

    fn base(&self) -> String {
        format!("{}.raw", digest(&self.published.disk))
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

/// A run that is killed when the server has sent so many more bytes, or all,
/// and a moment has passed.
fn killed_run(world: &World, state: &mut u64) {
    let (before, requests) = (world.kept(), world.server.requests(XZ));
    let length = world.published.packed.len();
    let enough = world.server.sent(XZ) + random(state, length + length / 4);
    let enough = enough.min(length);
    let moment = Duration::from_micros(u64::try_from(random(state, 100_000)).unwrap());
    let mut child = world.init().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait(&mut child, || world.server.sent(XZ) >= enough);
    thread::sleep(moment);
    // It may have ended by itself meanwhile.
    let _ = child.kill();
    child.wait().unwrap();
    world.nothing_bad();
    world.asked_for_the_rest(requests, before);
}

/// An empty cache, one kill or two, and an init that nobody kills.
fn round(published: &Published, state: &mut u64) {
    let world = World::new(published);
    let kills = 1 + random(state, 4) / 3;
    for _ in 0..kills {
        killed_run(&world, state);
    }
    let (kept, requests) = (world.kept(), world.server.requests(XZ));
    let before = world.server.sent(XZ);
    let was_cached = world.files().iter().any(|name| is_base(name));
    let was_made = world.nsvm(["machine", "rm", "-f", "m1"]).code() == 0;
    Ran(world.init().output().unwrap()).exits(0);
    world.nothing_bad();
    world.asked_for_the_rest(requests, kept);
    assert_eq!(world.files(), [world.base()]);
    let length = published.packed.len();
    let missing = if was_cached { 0 } else { length - kept };
    world.sent_since(requests, missing);
    assert!(before <= kept + kills * UNREAD_MAX || was_cached, "{before} bytes left {kept}");
    let percent = kept * 100 / length;
    eprintln!("{kills} kills left {percent} %, cached {was_cached}, made {was_made}");
    world.nsvm(["machine", "rm", "-f", "m1"]).exits(0);
    assert_eq!(world.home.traces_of("m1"), Vec::<std::path::PathBuf>::new());
}

/// Moments are counted in bytes at the server, so that they spread over a run
/// on a host of any speed.
#[test]
fn after_a_kill_at_any_of_twenty_moments_the_next_init_fetches_the_rest() {
    let (published, seed) = (Published::new(), seed());
    eprintln!("NSVM_TEST_SEED={seed}");
    let lane = |lane: usize| {
        let mut state = seed.wrapping_mul(2 * u64::try_from(lane).unwrap() + 1);
        (0..KILLS / LANES).for_each(|_| round(&published, &mut state));
    };
    thread::scope(|scope| {
        let lane = &lane;
        (0..LANES).for_each(|n| drop(scope.spawn(move || lane(n))));
    });
}
