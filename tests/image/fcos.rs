//! `--image fedora-coreos` against metadata of the published shape.

use serde_json::{Value, json};

use nsvm::image::{ImageError, Provisioner, Pull};

use crate::server::{Reply, Server};
use crate::world::{World, digest, qcow2_disk, xz};

const STREAM: &str = "/streams/stable.json";
const DISK: &str = "/prod/fcos-qemu.x86_64.qcow2.xz";

fn metadata(server: &Server, packed: &[u8], uncompressed_sha256: &str) -> Value {
    json!({"stream": "stable", "metadata": {}, "architectures": {"x86_64": {"artifacts": {
        "metal": {"release": "44.1", "formats": {}},
        "qemu": {"release": "44.20260102.3.1", "formats": {"qcow2.xz": {"disk": {
            "location": server.url(DISK),
            "sha256": digest(packed),
            "uncompressed-sha256": uncompressed_sha256,
        }}}},
    }}}})
}

fn world(server: &Server) -> World {
    let mut world = World::new();
    world.settings.stream_url = Some(server.url(STREAM));
    world
}

fn serve(server: &Server, metadata: &Value) {
    server.route(STREAM, [Reply::file(metadata.to_string().as_bytes())]);
}

#[test]
fn the_newest_release_is_pinned() {
    let (server, disk) = (Server::start(), qcow2_disk(1));
    let (world, packed) = (world(&server), xz(&disk));
    serve(&server, &metadata(&server, &packed, &digest(&disk)));
    server.route(DISK, [Reply::file(&packed)]);

    let prepared = world.prepare("fedora-coreos", None).unwrap();
    let pin = &prepared.pin;
    assert_eq!(pin.source, "fedora-coreos:stable");
    assert_eq!(pin.stream.as_deref(), Some("stable"));
    assert_eq!(pin.release.as_deref(), Some("44.20260102.3.1"));
    assert_eq!((&pin.sha256, pin.virtual_size), (&digest(&disk), 32 << 20));
    assert_eq!((&*prepared.user, prepared.provisioner), ("core", Provisioner::Ignition));

    assert_eq!(world.prepare("fedora-coreos:stable", None).unwrap(), prepared);
    assert_eq!(server.seen().len(), 2, "the second time all is in the cache");

    let world = world.pull(Pull::Newer);
    assert_eq!(world.prepare("fedora-coreos", None).unwrap(), prepared);
    assert_eq!((server.requests(STREAM), server.requests(DISK)), (2, 1));
}

#[test]
fn a_server_that_is_gone_costs_only_the_newest() {
    let (server, disk) = (Server::start(), qcow2_disk(1));
    let (world, packed) = (world(&server).pull(Pull::Newer), xz(&disk));
    let text = metadata(&server, &packed, &digest(&disk)).to_string();
    server.route(STREAM, [Reply::file(text.as_bytes()), Reply::status("404 Not Found")]);
    server.route(DISK, [Reply::file(&packed)]);
    let first = world.prepare("fedora-coreos", None).unwrap();
    assert_eq!(world.prepare("fedora-coreos", None).unwrap(), first);
}

#[test]
fn the_disk_inside_is_checked_too() {
    let (server, packed) = (Server::start(), xz(&qcow2_disk(1)));
    let world = world(&server);
    serve(&server, &metadata(&server, &packed, &"0".repeat(64)));
    server.route(DISK, [Reply::file(&packed)]);
    let error = world.refused("fedora-coreos", None);
    assert!(matches!(error, ImageError::Mismatch { .. }), "{error}");
    assert!(error.to_string().contains("(uncompressed)"), "{error}");
}

#[test]
fn metadata_that_is_none_says_so() {
    let cases = [
        (Reply::web_page(), "answered with a web page"),
        (Reply::status("404 Not Found"), "answered 404 Not Found"),
        (Reply::status("500 Internal Server Error"), "answered 500"),
        (Reply::file(b"{"), "it is no stream metadata"),
        (Reply::file(br#"{"stream": "x", "architectures": {}}"#), "no image for x86_64"),
    ];
    for (reply, expected) in cases {
        let server = Server::start();
        server.route(STREAM, [reply]);
        let error = world(&server).refused("fedora-coreos", None);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
}

#[test]
fn metadata_and_what_it_names_come_over_protected_ways() {
    let mut world = World::new();
    world.settings.stream_url = Some("http://example.org/stable.json".to_owned());
    assert!(matches!(world.refused("fedora-coreos", None), ImageError::Url { .. }));

    let server = Server::start();
    let mut text = metadata(&server, b"", "");
    let location = "/architectures/x86_64/artifacts/qemu/formats/qcow2.xz/disk/location";
    *text.pointer_mut(location).unwrap() = json!("http://example.org/disk.qcow2.xz");
    serve(&server, &text);
    world.settings.stream_url = Some(server.url(STREAM));
    let error = world.refused("fedora-coreos", None);
    assert!(error.to_string().contains("is not https"), "{error}");
}
