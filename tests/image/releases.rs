//! `--image fedora-coreos:STREAM@RELEASE`.

use nsvm::image::{ImageError, Pull};
use serde_json::{Value, json};

use crate::server::{Reply, Server};
use crate::world::{World, digest, qcow2_disk, xz};

const JSON: &str = "/prod/streams/next/builds/41.1.2.0/release.json";
const DISK: &str = "/prod/streams/next/builds/41.1.2.0/x86_64/disk.qcow2.xz";
const IMAGE: &str = "fedora-coreos:next@41.1.2.0";

fn metadata(server: &Server, release: &str) -> (Value, Vec<u8>) {
    let disk = qcow2_disk(3);
    let packed = xz(&disk);
    let text = json!({"release": release, "stream": "next", "architectures": {"x86_64": {
        "commit": "aa", "media": {"qemu": {"artifacts": {"qcow2.xz": {"disk": {
            "location": server.url(DISK), "sha256": digest(&packed),
            "uncompressed-sha256": digest(&disk),
        }}}}}
    }}});
    (text, packed)
}

fn serve(release: &str) -> (World, Server) {
    let server = Server::start();
    let (text, packed) = metadata(&server, release);
    server.route(JSON, [Reply::file(text.to_string().as_bytes())]);
    server.route(DISK, [Reply::file(&packed)]);
    let mut world = World::new();
    world.settings.stream_url = Some(server.url("/streams/stable.json"));
    (world, server)
}

#[test]
fn an_older_release_is_had_by_name_and_never_asked_for_again() {
    let (world, server) = serve("41.1.2.0");
    let prepared = world.prepare(IMAGE, None).unwrap();
    let pin = &prepared.pin;
    assert_eq!((&*pin.source, pin.stream.as_deref()), (IMAGE, Some("next")));
    assert_eq!(pin.release.as_deref(), Some("41.1.2.0"));
    assert!(pin.verified.sha256 && pin.verified.disk_sha256);

    let world = world.pull(Pull::Newer);
    assert_eq!(world.prepare(IMAGE, None).unwrap(), prepared);
    let world = world.pull(Pull::Never);
    assert_eq!(world.prepare(IMAGE, None).unwrap(), prepared);
    assert_eq!((server.requests(JSON), server.requests(DISK)), (1, 1));
}

#[test]
fn a_release_that_is_another_or_none_is_refused() {
    let (world, _server) = serve("41.1.2.1");
    let error = world.refused(IMAGE, None);
    assert!(error.to_string().contains("it is about next 41.1.2.1, not next 41.1.2.0"), "{error}");

    let (world, server) = serve("41.1.2.0");
    let error = world.refused("fedora-coreos:next@41.9", None);
    assert!(error.to_string().contains("builds/41.9/release.json\" answered 404"), "{error}");
    for bad in ["fedora-coreos@../../x", "fedora-coreos:next@x", "fedora-coreos@1..2"] {
        let error = world.refused(bad, None);
        let fits = matches!(error, ImageError::BadRelease(_) | ImageError::Read { .. });
        assert!(fits, "{bad}: {error}");
    }
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn offline_a_release_that_is_not_here_is_not_asked_for() {
    let (world, server) = serve("41.1.2.0");
    let error = world.pull(Pull::Never).refused(IMAGE, None);
    assert!(matches!(error, ImageError::NotCached(_)), "{error}");
    assert!(server.seen().is_empty());
}
