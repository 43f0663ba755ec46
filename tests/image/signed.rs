//! A publisher of a stream whose images are signed, on a server of the test.

use nsvm::image::{Entry, Settings};
use serde_json::json;

use crate::server::{Reply, Server};
use crate::world::{World, digest, qcow2_disk, xz};

#[path = "../common/openpgp.rs"]
#[allow(dead_code)] // the other user of the file needs other parts
pub mod openpgp;

pub use openpgp::Signer;

pub const DISK: &str = "/prod/disk.qcow2.xz";
pub const SIGNATURE: &str = "/prod/disk.qcow2.xz.sig";
pub const KEYS: &str = "/keys.gpg";

pub struct Publisher {
    pub server: Server,
    pub signer: Signer,
    pub packed: Vec<u8>,
    /// Of the stream.
    pub metadata: serde_json::Value,
}

impl Publisher {
    /// Serves metadata, the disk, a good signature and the keys.
    pub fn new() -> Self {
        Self::with(Signer::new())
    }

    pub fn with(signer: Signer) -> Self {
        let (server, disk) = (Server::start(), qcow2_disk(1));
        let packed = xz(&disk);
        let metadata = json!({"stream": "stable", "architectures": {"x86_64": {"artifacts": {
            "qemu": {"release": "44.1", "formats": {"qcow2.xz": {"disk": {
                "location": server.url(DISK),
                "signature": server.url(SIGNATURE),
                "sha256": digest(&packed),
                "uncompressed-sha256": digest(&disk),
            }}}},
        }}}});
        server.route("/streams/stable.json", [Reply::file(metadata.to_string().as_bytes())]);
        server.route(DISK, [Reply::file(&packed)]);
        server.route(SIGNATURE, [Reply::file(&signer.sign(&packed))]);
        server.route(KEYS, [Reply::file(&signer.ring())]);
        Self { server, signer, packed, metadata }
    }

    /// Its metadata names no signature.
    pub fn unsigned(&self) {
        let mut text = self.metadata.clone();
        let disk = "/architectures/x86_64/artifacts/qemu/formats/qcow2.xz/disk";
        text.pointer_mut(disk).unwrap().as_object_mut().unwrap().remove("signature");
        self.server.route("/streams/stable.json", [Reply::file(text.to_string().as_bytes())]);
    }

    /// A catalog's entry that pins these fingerprints.
    pub fn entry(&self, pins: &[String]) -> Entry {
        let entry = json!({
            "name": "ours", "summary": "of the test", "kind": "fcos-stream",
            "url": self.server.url("/streams/{stream}.json"),
            "release_url":
                self.server.url("/prod/streams/{stream}/builds/{release}/release.json"),
            "streams": ["stable"], "arches": ["x86_64"], "user": "core",
            "provisioner": "ignition",
            "keys": {"url": self.server.url(KEYS), "fingerprints": pins},
        });
        serde_json::from_value(entry).unwrap()
    }

    /// A world that knows the image `ours` and pins its publisher's key.
    pub fn world(&self, settings: impl FnOnce(&mut Settings)) -> World {
        let mut world = World::new();
        world.settings.catalog = vec![self.entry(&[self.signer.fingerprint()])];
        settings(&mut world.settings);
        world
    }
}
