//! From an image stream to a command in the guest: what `machine init` does
//! when no image is named, against a server of the published shape.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use liblzma::stream::MtStreamBuilder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::common::{Home, PATIENCE, Ran};
use crate::server::{Reply, Server};

const STREAM: &str = "/streams/stable.json";
const DISK: &str = "/prod/streams/stable/builds/44.20260102.3.1/qemu.qcow2.xz";
const RELEASE: &str = "44.20260102.3.1";
const NAME: &str = "streamed";

/// Many blocks, as published images have, but packed in seconds.
const BLOCK: u64 = 16 << 20;

fn packed(disk: &[u8]) -> Vec<u8> {
    let stream = MtStreamBuilder::new().threads(2).preset(0).block_size(BLOCK).encoder().unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(disk).unwrap();
    encoder.finish().unwrap()
}

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Only what is read of it, and something that is not.
fn metadata(server: &Server, packed: &[u8], disk: &[u8]) -> Value {
    let location = server.url(DISK);
    let disk = json!({
        "location": location, "sha256": digest(packed), "uncompressed-sha256": digest(disk),
    });
    json!({
        "stream": "stable",
        "metadata": {"last-modified": "2026-01-20T17:00:00Z", "generator": "test"},
        "architectures": {std::env::consts::ARCH: {
            "artifacts": {
                "metal": {"release": RELEASE, "formats": {"pxe": {}}},
                "qemu": {"release": RELEASE, "formats": {"qcow2.xz": {"disk": disk}}},
            },
            "images": {},
        }},
    })
}

struct World {
    home: Home,
    server: Server,
}

impl World {
    fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ran {
        let mut command = self.home.nsvm(args);
        command.env("NSVM_IMAGE_CACHE", self.home.path().join("streamed images"));
        command.env("NSVM_STREAM_URL", self.server.url(STREAM)).timeout(PATIENCE);
        Ran(command.output().unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.run(["machine", "logs", "--supervisor", NAME]).stdout());
        }
        self.run(["machine", "rm", "-f", NAME]);
    }
}

#[test]
fn from_the_stream_to_a_command() {
    let _alone = crate::alone();
    let world = World { home: Home::sharing_images(), server: Server::start() };
    let base = world.home.run(["image", "pull", "-q", "debian-local"]).exits(0).stdout();
    let disk = std::fs::read(base.trim()).unwrap();
    let packed = packed(&disk);
    let text = metadata(&world.server, &packed, &disk).to_string();
    world.server.route(STREAM, [Reply::file(text.as_bytes())]);
    world.server.route(DISK, [Reply::file(&packed).etag("one")]);

    let init = ["machine", "init", "--cpus", "2", "--memory", "1024", "--disk-size", "12", NAME];
    world.run(init).exits(0).prints("Machine init complete\n");
    let inspected: Value =
        serde_json::from_str(&world.run(["machine", "inspect", NAME]).exits(0).stdout()).unwrap();
    let image = &inspected[0]["Image"];
    assert_eq!((&image["Release"], &image["SHA256"]), (&json!(RELEASE), &json!(digest(&disk))));
    let overlay = image["ImagePath"]["Path"].as_str().unwrap();
    assert!(backing_file(overlay).ends_with(&format!("{}.qcow2", digest(&disk))));

    world.run(["machine", "start", NAME]).exits(0);
    let said = world.run(["--machine", NAME, "exec", "id", "-un"]).exits(0).stdout();
    assert_eq!(said, "core\n");
    world.run(["machine", "stop", NAME]).exits(0);
    // A start needs nothing from the network.
    assert_eq!((world.server.requests(STREAM), world.server.requests(DISK)), (1, 1));
    assert_eq!(world.server.sent(DISK), packed.len());
}

fn backing_file(overlay: &str) -> String {
    let mut command = Command::new("qemu-img");
    let output =
        command.args(["info", "--output", "json"]).arg(Path::new(overlay)).output().unwrap();
    let facts: Value = serde_json::from_slice(&output.stdout).unwrap();
    facts["full-backing-filename"].as_str().unwrap().to_owned()
}
