//! Images that the catalog knows by an address, from a server of the test:
//! entries as users write them, of the kinds and layouts of the embedded ones.

use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use nsvm::image::{ChecksumError, Entry, ImageError, Provisioner, Pull};

use crate::server::{Reply, Server};
use crate::world::{World, digest, qcow2_disk, xz};

const DISK: &str = "/13/disk-13-amd64.qcow2.xz";
const NAME: &str = "disk-13-amd64.qcow2.xz";
const LIST: &str = "/13/SUMS";

fn entry(server: &Server, checksums: &str) -> Entry {
    entry_of(json!({
        "name": "distro", "kind": "cloud-image",
        "url": server.url("/{version}/disk-{version}-{deb_arch}.qcow2.xz"),
        "checksums": checksums,
        "versions": [
            { "version": "13", "aliases": ["codename"] },
            { "version": "12" },
        ],
        "arches": ["x86_64"], "user": "admin", "provisioner": "cloud-init",
    }))
}

fn entry_of(value: Value) -> Entry {
    serde_json::from_value(value).unwrap()
}

fn world(entry: Entry) -> World {
    let mut world = World::new();
    world.settings.catalog = vec![entry];
    world
}

/// A server with a disk and this list, and a world that knows it.
fn published(packed: &[u8], list: &str) -> (World, Server) {
    let server = Server::start();
    server.route(DISK, [Reply::file(packed)]);
    server.route(LIST, [Reply::file(list.as_bytes())]);
    let world = world(entry(&server, &server.url(LIST)));
    (world, server)
}

fn sha512(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_version_is_found_by_its_list_and_pinned() {
    let disk = qcow2_disk(1);
    let packed = xz(&disk);
    let (world, server) = published(&packed, &format!("{}  {NAME}\n", digest(&packed)));
    let prepared = world.prepare("distro", None).unwrap();
    let pin = &prepared.pin;
    assert_eq!((&*pin.source, pin.release.as_deref()), ("distro:13", Some("13")));
    assert_eq!(pin.sha256, digest(&disk));
    assert_eq!((&*prepared.user, prepared.provisioner), ("admin", Provisioner::CloudInit));
    assert_eq!(server.seen().len(), 2);

    for text in ["distro:13", "distro:codename"] {
        assert_eq!(world.prepare(text, None).unwrap(), prepared);
    }
    assert_eq!(server.seen().len(), 2, "the second time all is in the cache");
    let world = world.pull(Pull::Newer);
    assert_eq!(world.prepare("distro", None).unwrap(), prepared);
    assert_eq!((server.requests(LIST), server.requests(DISK)), (2, 1));
}

#[test]
fn every_form_of_list_is_obeyed() {
    let packed = xz(&qcow2_disk(1));
    let (good, bad) = (digest(&packed), "0".repeat(64));
    let (good_512, bad_512) = (sha512(&packed), "0".repeat(128));
    for (list, matches) in [
        (format!("SHA256 ({NAME}) = {good}\n"), true),
        (format!("SHA256 ({NAME}) = {bad}\n"), false),
        (format!("{good_512} *{NAME}\n"), true),
        (format!("{bad_512} *{NAME}\n"), false),
        // The stronger one decides.
        (format!("{good}  {NAME}\n{bad_512}  {NAME}\n"), false),
    ] {
        let (world, _server) = published(&packed, &list);
        if matches {
            world.prepare("distro", None).unwrap();
        } else {
            let error = world.refused("distro", None);
            assert!(matches!(error, ImageError::Mismatch { .. }), "{list}{error}");
            assert!(error.to_string().contains("000000") && error.hint().is_some(), "{error}");
        }
    }
}

#[test]
fn a_digest_beside_the_image_needs_no_name() {
    let (server, packed) = (Server::start(), xz(&qcow2_disk(1)));
    server.route(DISK, [Reply::file(&packed)]);
    server.route(&format!("{DISK}.sha512"), [Reply::file(sha512(&packed).as_bytes())]);
    world(entry(&server, "{url}.sha512")).prepare("distro:13", None).unwrap();
}

#[test]
fn an_interrupted_download_is_checked_whole_by_its_longer_digest() {
    let packed = xz(&qcow2_disk(1));
    let (world, server) = published(&packed, &format!("{}  {NAME}\n", sha512(&packed)));
    let cut = Reply::file(&packed).etag("a").cut_after(packed.len() / 2);
    server.route(DISK, [cut, Reply::status("503 Service Unavailable")]);
    world.interrupted("distro", None);
    server.route(DISK, [Reply::file(&packed).etag("a")]);
    world.prepare("distro", None).unwrap();
    assert_eq!(server.seen().last().unwrap().range, Some(packed.len() / 2));
}

#[test]
fn a_publisher_that_replaces_list_and_image_is_asked_again() {
    let (old, new) = (xz(&qcow2_disk(1)), xz(&qcow2_disk(2)));
    let (world, server) = published(&new, "");
    let line = |packed: &[u8]| Reply::file(format!("{}  {NAME}\n", digest(packed)).as_bytes());
    server.route(LIST, [line(&old), line(&new)]);
    assert_eq!(world.prepare("distro", None).unwrap().pin.sha256, digest(&qcow2_disk(2)));
}

#[test]
fn a_server_that_is_gone_costs_only_the_newest() {
    let packed = xz(&qcow2_disk(1));
    let (world, server) = published(&packed, &format!("{}  {NAME}\n", digest(&packed)));
    let world = world.pull(Pull::Newer);
    let first = world.prepare("distro", None).unwrap();
    server.route(LIST, [Reply::status("404 Not Found")]);
    assert_eq!(world.prepare("distro", None).unwrap(), first);
}

#[test]
fn what_is_wrong_is_said_with_a_way_out() {
    let packed = xz(&qcow2_disk(1));
    let (world, server) = published(&packed, "nothing of use");
    let error = world.refused("distro", None);
    let missing = matches!(&error, ImageError::Checksums { source: ChecksumError::Missing(n), .. } if n == NAME);
    assert!(missing && error.hint().is_some(), "{error}");

    server.route(LIST, [Reply::web_page()]);
    assert!(world.refused("distro", None).to_string().contains("answered with a web page"));
    let error = world.refused("distro:11", None);
    assert!(error.to_string().ends_with("it has 13, 12"), "{error}");
    let never = world.pull(Pull::Never);
    assert!(matches!(never.refused("distro", None), ImageError::NotCached(_)));
}

#[test]
fn an_entry_that_is_not_sound_is_refused_by_name() {
    let server = Server::start();
    let error = world(entry(&server, "http://example.org/SUMS")).refused("debian-local", None);
    assert!(error.to_string().starts_with("the image \"distro\" of the config file"), "{error}");
    assert!(error.hint().unwrap().contains("[[image.catalog]]"));
}

#[test]
fn a_named_file_has_its_digest_in_the_entry() {
    let (server, disk) = (Server::start(), qcow2_disk(1));
    let packed = xz(&disk);
    server.route("/x86_64.xz", [Reply::file(&packed)]);
    let named = |sha256: &str| {
        entry_of(json!({
            "name": "mine", "kind": "download", "url": server.url("/{arch}.xz"),
            "sha256": { "x86_64": sha256 }, "arches": ["x86_64"], "user": "me",
            "provisioner": "auto",
        }))
    };
    let prepared = world(named(&digest(&packed))).prepare("mine", None).unwrap();
    assert_eq!((&*prepared.pin.source, &*prepared.user), ("mine", "me"));
    let error = world(named(&"0".repeat(64))).refused("mine", None);
    assert!(matches!(error, ImageError::Mismatch { .. }), "{error}");
}
