//! `--image fedora-coreos` against metadata of the published shape.

use serde_json::{Value, json};

use nsvm::image::{ImageError, Provisioner, Pull};
use nsvm::machine::config::{Arch, DiskFormat};
use nsvm::machine::event::Event;

use crate::server::{Reply, Server};
use crate::world::{World, digest, gzip, qcow2_disk, raw_disk, xz, zst};

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
    world.settings.stream_url = Some(server.url(STREAM));
    for field in ["location", "signature"] {
        // No server has a say in which files of this host are read.
        for place in ["http://example.org/disk.qcow2.xz", "file:///etc/passwd", "/etc/passwd"] {
            let mut text = metadata(&server, b"", "");
            let disk = "/architectures/x86_64/artifacts/qemu/formats/qcow2.xz/disk";
            text.pointer_mut(disk).unwrap()[field] = json!(place);
            serve(&server, &text);
            let error = world.refused("fedora-coreos", None);
            let expected = format!("the location \"{place}\" in it is not https");
            assert!(error.to_string().ends_with(&expected), "{error}");
        }
    }
}

/// Metadata that offers one disk in one format.
fn offering(server: &Server, format: &str, published: &[u8], disk: &[u8]) -> Value {
    let mut text = metadata(server, published, &digest(disk));
    let formats = "/architectures/x86_64/artifacts/qemu/formats";
    let formats = text.pointer_mut(formats).unwrap().as_object_mut().unwrap();
    let mut offered = formats.remove("qcow2.xz").unwrap();
    offered["disk"]["location"] = json!(server.url(&format!("/prod/disk.{format}")));
    formats.insert(format.to_owned(), offered);
    text
}

#[test]
fn whatever_format_is_offered_is_taken() {
    type Packer = fn(&[u8]) -> Vec<u8>;
    let plain: Packer = <[u8]>::to_vec;
    let packers = [("", plain), (".xz", xz), (".zst", zst), (".gz", gzip)];
    let disks =
        [("qcow2", DiskFormat::Qcow2, qcow2_disk(1)), ("raw", DiskFormat::Raw, raw_disk(1))];
    for (name, format, disk) in &disks {
        for (suffix, pack) in packers {
            let (server, published) = (Server::start(), pack(disk));
            let (world, offered) = (world(&server), format!("{name}{suffix}"));
            serve(&server, &offering(&server, &offered, &published, disk));
            server.route(&format!("/prod/disk.{offered}"), [Reply::file(&published)]);
            let pin = world.prepare("fedora-coreos", None).unwrap().pin;
            assert_eq!((pin.format, &pin.sha256), (*format, &digest(disk)), "{offered}");
        }
    }
}

#[test]
fn a_suffix_that_its_content_denies_is_refused() {
    let (server, disk) = (Server::start(), qcow2_disk(1));
    for published in [zst(&disk), gzip(&disk), disk.clone()] {
        let world = world(&server);
        serve(&server, &offering(&server, "qcow2.xz", &published, &disk));
        server.route("/prod/disk.qcow2.xz", [Reply::file(&published)]);
        let error = world.refused("fedora-coreos", None);
        assert!(error.to_string().ends_with("its name says xz, its content does not"), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn each_architecture_has_its_own_disk() {
    let server = Server::start();
    let (world, mut text) = (world(&server), json!({"stream": "stable", "architectures": {}}));
    for (seed, arch) in [(1, Arch::X86_64), (2, Arch::Aarch64)] {
        let disk = qcow2_disk(seed);
        let path = format!("/prod/{}.qcow2.xz", arch.name());
        server.route(&path, [Reply::file(&xz(&disk))]);
        let mut one = metadata(&server, &xz(&disk), &digest(&disk));
        let one = &mut one["architectures"]["x86_64"];
        one["artifacts"]["qemu"]["formats"]["qcow2.xz"]["disk"]["location"] =
            json!(server.url(&path));
        text["architectures"][arch.name()] = one.clone();
    }
    serve(&server, &text);
    for (seed, arch) in [(1, Arch::X86_64), (2, Arch::Aarch64), (1, Arch::X86_64)] {
        let pin = world.prepare_for(arch, "fedora-coreos", None).unwrap().pin;
        assert_eq!((pin.arch, pin.sha256), (arch, digest(&qcow2_disk(seed))));
    }
    assert_eq!((world.images().len(), server.requests(STREAM)), (2, 2));
}

#[test]
fn another_stream_than_the_one_that_was_meant_is_told() {
    let (server, disk) = (Server::start(), qcow2_disk(1));
    let (world, packed) = (world(&server), xz(&disk));
    serve(&server, &metadata(&server, &packed, &digest(&disk)));
    server.route(DISK, [Reply::file(&packed)]);
    let pin = world.prepare("fedora-coreos:next", None).unwrap().pin;
    assert_eq!(pin.stream.as_deref(), Some("stable"));
    let text = "NSVM_STREAM_URL leads to the stream \"stable\", not to next".to_owned();
    assert!(world.events.all().contains(&Event::Warning { text }));
}
