//! A disk that is really full: a small tmpfs, in a mount namespace that ends
//! with the programs in it.
#![cfg(target_os = "linux")]

use std::process::Command;

use crate::common::{Home, program};
use crate::server::{Reply, Server};
use crate::world::{digest, raw_disk, xz};

/// Fails for want of space, shows what is there, makes room, goes on.
const STORY: &str = r#"
mount -t tmpfs -o size="$SIZE" none "$NSVM_IMAGE_CACHE" || exit 99
if "$NSVM" image pull -q "$URL" --sha256 "$SHA256"; then echo "there was space" >&2; exit 98; fi
echo "after: $(cd "$NSVM_IMAGE_CACHE" && ls | grep -v -x -e index -e locks | sed 's/.*\.//' | xargs)"
mount -o remount,size=64m "$NSVM_IMAGE_CACHE" || exit 97
"$NSVM" image pull -q "$URL" --sha256 "$SHA256" >/dev/null || exit 96
echo "then: $(cd "$NSVM_IMAGE_CACHE" && ls | grep -v -x -e index -e locks | xargs)"
"#;

struct Ran {
    stdout: String,
    stderr: String,
}

/// Root has its own mounts for the asking; others need a user namespace, too.
fn tell(size: &str, url: &str, sha256: &str) -> Ran {
    let home = Home::new();
    let cache = home.path().join("images");
    std::fs::create_dir(&cache).unwrap();
    let namespaces = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    let mut command = Command::new("unshare");
    command.args([namespaces, "sh", "-c", STORY]).env("SIZE", size).env("NSVM", program());
    command.env("URL", url).env("SHA256", sha256).env("NSVM_HOME", home.path());
    let output = command.env("NSVM_IMAGE_CACHE", &cache).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ran = Ran { stdout: text(&output.stdout), stderr: text(&output.stderr) };
    assert!(output.status.success(), "{}: {}", output.status, ran.stderr);
    ran
}

fn complains(ran: &Ran) {
    for text in ["no space left in the image cache", "more are needed", "Hint: Free space there"] {
        assert!(ran.stderr.contains(text), "no {text:?} in {}", ran.stderr);
    }
}

#[test]
fn it_fills_up_while_the_disk_is_unpacked() {
    // 8 MiB that do not compress: the download fits, its disk beside it not.
    let (server, disk) = (Server::start(), raw_disk(1).repeat(8));
    let packed = xz(&disk);
    let file = Reply::file(&packed).etag("one");
    server.route("/disk.raw.xz", [file]);
    let ran = tell("12m", &server.url("/disk.raw.xz"), &digest(&packed));
    complains(&ran);
    assert!(ran.stdout.contains("after: download\n"), "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("then: {}.raw\n", digest(&disk))), "{}", ran.stdout);
    // All that was kept is not sent again.
    assert!(server.sent("/disk.raw.xz") <= packed.len() + (1 << 20));
}

#[test]
fn a_file_that_can_never_fit_is_not_begun() {
    let (server, disk) = (Server::start(), raw_disk(1).repeat(8));
    server.route("/disk.raw", [Reply::file(&disk)]);
    let ran = tell("4m", &server.url("/disk.raw"), &digest(&disk));
    complains(&ran);
    assert!(ran.stdout.contains("after: \n"), "{}", ran.stdout);
}

#[test]
fn a_download_without_length_stops_when_it_is_full() {
    let (server, disk) = (Server::start(), raw_disk(1).repeat(8));
    server.route("/disk.raw", [Reply::file(&disk).etag("one").chunked()]);
    let ran = tell("6m", &server.url("/disk.raw"), &digest(&disk));
    complains(&ran);
    assert!(ran.stdout.contains(&format!("then: {}.raw\n", digest(&disk))), "{}", ran.stdout);
}
