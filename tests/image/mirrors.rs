//! `[image] mirrors`: servers to try before the publisher's.

use std::fs;
use std::path::Path;

use nsvm::image::{Pull, Signatures};
use nsvm::machine::event::Event;
use nsvm::machine::verified::Signature;

use crate::server::{Reply, Server};
use crate::signed::{DISK, Publisher, SIGNATURE};
use crate::world::{World, digest, qcow2_disk};

const JSON: &str = "/streams/stable.json";

/// A world of the publisher's image with one mirror.
fn world(publisher: &Publisher, mirror: String) -> World {
    publisher.world(|settings| settings.mirrors = vec![mirror])
}

fn tried_another(world: &World) -> bool {
    let warned = |event: &Event| matches!(event, Event::Warning { text } if text.starts_with("Trying the next server: "));
    world.events.all().iter().any(warned)
}

#[test]
fn a_mirror_serves_everything_that_it_has() {
    let (publisher, mirror) = (Publisher::new(), Publisher::new());
    // The mirror's metadata still names the publisher's server, as copies do.
    let text = publisher.metadata.to_string();
    mirror.server.route(&format!("/fcos{JSON}"), [Reply::file(text.as_bytes())]);
    mirror.server.route(&format!("/fcos{DISK}"), [Reply::file(&publisher.packed)]);
    let signature = publisher.signer.sign(&publisher.packed);
    mirror.server.route(&format!("/fcos{SIGNATURE}"), [Reply::file(&signature)]);
    let world = world(&publisher, mirror.server.url("/fcos/"));
    let verified = world.prepare("ours", None).unwrap().pin.verified;
    assert!(matches!(verified.signature, Signature::Good { .. }));
    assert_eq!(publisher.server.requests(JSON) + publisher.server.requests(DISK), 0);
    assert!(!tried_another(&world));
}

#[test]
fn a_mirror_that_lacks_or_changes_a_file_is_passed_over() {
    for reply in [Reply::status("404 Not Found"), Reply::file(b"something else"), Reply::web_page()]
    {
        let (publisher, mirror) = (Publisher::new(), Server::start());
        mirror.route(JSON, [reply.clone()]);
        mirror.route(DISK, [reply]);
        let world = world(&publisher, mirror.url("/"));
        world.prepare("ours", None).unwrap();
        assert_eq!((mirror.requests(DISK), publisher.server.requests(DISK)), (1, 1));
        assert!(tried_another(&world));
    }
}

#[test]
fn only_files_with_a_digest_come_from_an_unprotected_mirror() {
    let (publisher, mirror) = (Publisher::new(), Server::start());
    mirror.route(DISK, [Reply::file(&publisher.packed)]);
    // The same host by a name that does not look like it.
    let open = mirror.url("").replace("127.0.0.1", "0.0.0.0");
    world(&publisher, open).prepare("ours", None).unwrap();
    assert_eq!((mirror.requests(JSON), publisher.server.requests(JSON)), (0, 1));
    assert_eq!((mirror.requests(DISK), publisher.server.requests(DISK)), (1, 0));
}

#[test]
fn offline_no_mirror_is_asked() {
    let (publisher, mirror) = (Publisher::new(), Server::start());
    let world = world(&publisher, mirror.url("/")).pull(Pull::Never);
    world.prepare("ours", None).unwrap_err();
    assert!(mirror.seen().is_empty() && publisher.server.seen().is_empty());
}

/// Puts a file below `dir`, as a copy of a server has it.
fn copy(dir: &Path, path: &str, bytes: &[u8]) {
    let to = dir.join(path.trim_start_matches('/'));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::write(to, bytes).unwrap();
}

fn file_url(dir: &Path) -> String {
    url::Url::from_directory_path(dir).unwrap().to_string()
}

#[test]
fn a_directory_of_this_host_is_a_mirror_too() {
    let publisher = Publisher::new();
    let mut world = publisher.world(|_| ());
    let dir = world.dir().join("copy of all");
    world.settings.mirrors = vec![file_url(&dir)];
    // What it lacks comes from the publisher.
    copy(&dir, JSON, publisher.metadata.to_string().as_bytes());
    copy(&dir, SIGNATURE, &publisher.signer.sign(&publisher.packed));
    let verified = world.prepare("ours", None).unwrap().pin.verified;
    assert!(matches!(verified.signature, Signature::Good { .. }));
    let asked = [JSON, SIGNATURE, DISK].map(|path| publisher.server.requests(path));
    assert_eq!(asked, [0, 0, 1]);
    assert!(tried_another(&world));

    copy(&dir, DISK, &publisher.packed);
    let mut other = publisher.world(|_| ());
    other.settings.mirrors = vec![file_url(&dir)];
    let pin = other.prepare("ours", None).unwrap().pin;
    assert_eq!((pin.sha256, publisher.server.requests(DISK)), (digest(&qcow2_disk(1)), 1));
    assert_eq!(other.unfinished(), [""; 0]);
}

/// All that a host without a network needs on a disk that somebody brings.
#[test]
fn metadata_of_this_host_may_name_files_of_this_host() {
    let publisher = Publisher::new();
    let mut world = publisher.world(|settings| settings.signatures = Signatures::Require);
    let dir = world.dir().join("stick");
    let mut text = publisher.metadata.clone();
    let disk = "/architectures/x86_64/artifacts/qemu/formats/qcow2.xz/disk";
    let disk = text.pointer_mut(disk).unwrap();
    for (field, path) in [("location", DISK), ("signature", SIGNATURE)] {
        disk[field] = format!("{}{path}", file_url(&dir).trim_end_matches('/')).into();
    }
    copy(&dir, JSON, text.to_string().as_bytes());
    copy(&dir, DISK, &publisher.packed);
    world.settings.stream_url = Some(format!("{}{}", file_url(&dir), &JSON[1..]));
    let keyring = world.file("keys.asc", publisher.signer.armored().as_bytes());
    world.settings.keyring = Some(keyring.into());
    let error = world.refused("ours", None);
    assert!(error.to_string().contains("is missing, though its publisher names it"), "{error}");
    copy(&dir, SIGNATURE, &publisher.signer.sign(&publisher.packed));
    let verified = world.prepare("ours", None).unwrap().pin.verified;
    assert!(matches!(verified.signature, Signature::Good { .. }));
    assert!(publisher.server.seen().is_empty());

    fs::remove_file(dir.join(&DISK[1..])).unwrap();
    fs::remove_dir_all(world.cache_dir()).unwrap();
    let error = world.refused("ours", None);
    assert!(error.to_string().starts_with("cannot read \""), "{error}");
    assert!(error.hint().unwrap().contains("its disk is mounted"), "{error}");
}
