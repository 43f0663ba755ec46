//! Stream metadata on a bad way: cut, silent, late, wrong, not metadata at all.

use serde_json::json;

use crate::server::{Reply, Server};
use crate::world::{World, digest, qcow2_disk, xz};

const STREAM: &str = "/streams/stable.json";
const DISK: &str = "/prod/qemu.qcow2.xz";

/// Metadata for the disk, as `change` leaves it, and its server.
fn published(change: impl FnOnce(&mut serde_json::Value)) -> (World, Server, Vec<u8>) {
    let (mut world, server, disk) = (World::new(), Server::start(), qcow2_disk(1));
    let packed = xz(&disk);
    let mut text = json!({"stream": "stable", "architectures": {"x86_64": {"artifacts": {
        "qemu": {"release": "44.1", "formats": {"qcow2.xz": {"disk": {
            "location": server.url(DISK),
            "sha256": digest(&packed),
            "uncompressed-sha256": digest(&disk),
        }}}},
    }}}});
    change(
        &mut text["architectures"]["x86_64"]["artifacts"]["qemu"]["formats"]["qcow2.xz"]["disk"],
    );
    server.route(DISK, [Reply::file(&packed)]);
    world.settings.stream_url = Some(server.url(STREAM));
    (world, server, text.to_string().into_bytes())
}

#[test]
fn what_passes_costs_a_try_only() {
    let busy = || Reply::status("502 Bad Gateway");
    let ways: [fn(Reply) -> Vec<Reply>; 4] = [
        |good| vec![good.clone().etag("one").cut_after(100), good.etag("one")],
        |good| vec![good.clone().etag("one").stall_after(100), good.etag("one")],
        |good| vec![good.chunked()],
        |good| vec![good.without_length()],
    ];
    for way in ways {
        let (world, server, text) = published(|_| ());
        server.route(STREAM, way(Reply::file(&text)));
        world.prepare("fedora-coreos", None).unwrap();
    }
    let (world, server, text) = published(|_| ());
    server.route(STREAM, [busy(), busy(), Reply::file(&text)]);
    world.prepare("fedora-coreos", None).unwrap();
}

#[test]
fn what_stays_is_an_error_with_a_way_out() {
    type Way = fn(&[u8]) -> Reply;
    let cases: [(Way, &str, &str); 6] = [
        (
            |text| Reply::file(text).without_ranges().cut_after(9),
            "was cut after",
            "run the command again",
        ),
        (
            |text| Reply::file(text).without_ranges().stall_after(9),
            "sent nothing for",
            "Check the network",
        ),
        (|text| Reply::file(&text[..99]), "it is no stream metadata", "NSVM_STREAM_URL"),
        (|_| Reply::file(b"<html>log in</html>"), "it is no stream metadata", "login page"),
        (|_| Reply::web_page(), "answered with a web page", "login"),
        (|_| Reply::file(&vec![b' '; 5 << 20]), "too many for what was asked", "NSVM_STREAM_URL"),
    ];
    for (reply, message, hint) in cases {
        let (world, server, text) = published(|_| ());
        server.route(STREAM, [reply(&text)]);
        let error = world.refused("fedora-coreos", None);
        assert!(error.to_string().contains(message), "no {message:?} in: {error}");
        let found = error.hint().unwrap_or_else(|| panic!("no hint: {error}"));
        assert!(found.contains(hint), "no {hint:?} in: {found}");
    }
}

#[test]
fn one_digit_of_a_digest() {
    for (field, what) in [("sha256", "qcow2.xz\""), ("uncompressed-sha256", "(uncompressed)\"")] {
        let (world, server, text) = published(|disk| {
            let mut digits = disk[field].as_str().unwrap().to_owned();
            let other = if digits.starts_with('0') { "1" } else { "0" };
            digits.replace_range(..1, other);
            disk[field] = digits.into();
        });
        server.route(STREAM, [Reply::file(&text)]);
        let error = world.refused("fedora-coreos", None);
        assert!(error.to_string().contains("is not what was asked for"), "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
}
