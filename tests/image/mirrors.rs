//! `[image] mirrors`: servers to try before the publisher's.

use nsvm::image::Pull;
use nsvm::machine::event::Event;
use nsvm::machine::verified::Signature;

use crate::server::{Reply, Server};
use crate::signed::{DISK, Publisher, SIGNATURE};
use crate::world::World;

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
