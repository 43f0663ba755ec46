//! From the config file to what `inspect` shows, through the program itself.

use serde_json::Value;

use crate::common::{Home, Ran};
use crate::server::{Reply, Server};
use crate::signed::{DISK, KEYS, Publisher, SIGNATURE};

const JSON: &str = "/streams/stable.json";

/// An entry of the catalog, mirrors and rules as a user writes them.
fn config(publisher: &Publisher, mirror: &Server) -> String {
    let url = |path: &str| publisher.server.url(path);
    format!(
        r#"
        [image]
        default = "ours:stable"
        signature = "require"
        mirrors = ["{}"]

        [[image.catalog]]
        name = "ours"
        kind = "fcos-stream"
        url = "{}"
        streams = ["stable", "next"]
        keys = {{ url = "{}", fingerprints = ["{}"] }}
        arches = ["x86_64", "aarch64"]
        user = "admin"
        provisioner = "ignition"
        "#,
        mirror.url("/fcos"),
        url("/streams/{stream}.json"),
        url(KEYS),
        publisher.signer.fingerprint(),
    )
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout()).unwrap()
}

#[test]
fn the_config_file_names_an_image_its_keys_and_its_mirrors() {
    let (publisher, mirror, home) = (Publisher::new(), Server::start(), Home::new());
    mirror.route(&format!("/fcos{DISK}"), [Reply::file(&publisher.packed)]);
    let path = home.path().join("config/nsvm.toml");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, config(&publisher, &mirror)).unwrap();
    let init = ["machine", "init", "--arch", "x86_64", "--disk-size", "1", "m1"];
    home.run(init).exits(0).complains(&["Trying the next server"]);
    let asked = [JSON, SIGNATURE, DISK, KEYS].map(|path| publisher.server.requests(path));
    assert_eq!((asked, mirror.requests(&format!("/fcos{DISK}"))), ([1, 1, 0, 1], 1));

    let machine = &json(&home.run(["machine", "inspect", "m1"]).exits(0))[0];
    let verified = &machine["Image"]["Verified"];
    assert_eq!((&verified["SHA256"], &verified["DiskSHA256"]), (&true.into(), &true.into()));
    assert_eq!(verified["Signature"]["Good"], true);
    assert_eq!(verified["Signature"]["Fingerprint"], publisher.signer.fingerprint());
    assert_eq!(machine["Image"]["Release"], "44.1");
    assert_eq!(machine["SSHConfig"]["RemoteUsername"], "admin");
    let image = &json(&home.run(["image", "inspect", "ours"]).exits(0))[0];
    let checked = &image["Sources"][0]["Verified"]["Signature"];
    assert_eq!(checked["Fingerprint"], publisher.signer.fingerprint(), "{image}");

    home.run(["machine", "rm", "-f", "m1"]).exits(0);
    home.run(["machine", "init", "-q", "--pull", "never", "--disk-size", "1", "m2"]).exits(0);
    assert_eq!(publisher.server.seen().len(), 3);
}
