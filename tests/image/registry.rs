//! `--image docker://...` against a registry of the test: token, index,
//! manifest, layer, and a redirect to where the bytes are.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use nsvm::image::{ImageError, Provisioner, Pull, RegistryError};

use crate::server::{Reply, Server};
use crate::world::{World, digest, qcow2_disk, xz, zst};

const NAME: &str = "podman/machine-os";

/// A registry with one repository, whose readers need a token.
#[derive(Clone)]
struct Registry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// By tag and by digest.
    documents: HashMap<String, String>,
    /// Where blobs are: they are elsewhere.
    blobs: HashMap<String, String>,
    /// Tokens given so far; the last one counts.
    tokens: usize,
    /// Blobs are refused until so many tokens were given.
    tokens_needed: usize,
    seen: Vec<String>,
}

impl Registry {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let registry = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let this = registry.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let this = this.clone();
                // An error means that the client has gone.
                thread::spawn(move || {
                    let _ = this.answer(stream);
                });
            }
        });
        registry
    }

    fn image(&self, tag: &str) -> String {
        let mark = if tag.starts_with("sha256:") { "@" } else { ":" };
        format!("docker://{}/{NAME}{mark}{tag}", self.address)
    }

    /// Puts a document in; returns its digest.
    fn put(&self, document: &Value) -> String {
        let text = document.to_string();
        let digest = format!("sha256:{}", digest(text.as_bytes()));
        self.state.lock().unwrap().documents.insert(digest.clone(), text);
        digest
    }

    fn tag(&self, tag: &str, document: &Value) {
        let text = document.to_string();
        self.state.lock().unwrap().documents.insert(tag.to_owned(), text);
    }

    /// An artifact whose disk for QEMU has these bytes, tagged `1`. Returns the
    /// index's digest.
    fn publish(&self, cdn: &Server, packed: &[u8]) -> String {
        let layer = format!("sha256:{}", digest(packed));
        cdn.route("/disk", [Reply::file(packed).etag("disk")]);
        self.state.lock().unwrap().blobs.insert(layer.clone(), cdn.url("/disk"));
        let manifest = self.put(&manifest(&[&layer]));
        let index =
            index(&[("x86_64", Some("applehv"), "sha256:00"), ("x86_64", Some("qemu"), &manifest)]);
        self.tag("1", &index);
        self.put(&index)
    }

    fn seen(&self, part: &str) -> usize {
        self.state.lock().unwrap().seen.iter().filter(|path| path.contains(part)).count()
    }

    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let path = lines.next()?.split(' ').nth(1)?.to_owned();
        let headers: Vec<String> =
            lines.take_while(|line| !line.is_empty()).map(|l| l.to_ascii_lowercase()).collect();
        let mut state = self.state.lock().unwrap();
        state.seen.push(path.clone());
        let authorized = format!("authorization: bearer token{}", state.tokens);
        let is_authorized = headers.contains(&authorized) && state.tokens > 0;
        let (status, header, body) = if path.starts_with("/token?") {
            assert!(path.contains("scope=repository%3Apodman%2Fmachine-os%3Apull"), "{path}");
            state.tokens += 1;
            ("200 OK", String::new(), format!("{{\"token\": \"token{}\"}}", state.tokens))
        } else if !is_authorized {
            let realm = format!("http://{}/token", self.address);
            let header = format!("WWW-Authenticate: Bearer realm=\"{realm}\",service=\"test\"\r\n");
            ("401 Unauthorized", header, "{}".to_owned())
        } else {
            state.content(&path)
        };
        drop(state);
        write!(
            stream,
            "HTTP/1.1 {status}\r\n{header}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .ok()
    }
}

impl State {
    fn content(&self, path: &str) -> (&'static str, String, String) {
        let rest = path.strip_prefix(&format!("/v2/{NAME}/")).unwrap_or_default();
        if let Some(document) = rest.strip_prefix("manifests/").and_then(|r| self.documents.get(r))
        {
            let kind = "Content-Type: application/vnd.oci.image.index.v1+json\r\n".to_owned();
            return ("200 OK", kind, document.clone());
        }
        match rest.strip_prefix("blobs/").and_then(|digest| self.blobs.get(digest)) {
            Some(_) if self.tokens < self.tokens_needed => {
                ("401 Unauthorized", String::new(), String::new())
            }
            Some(to) => ("307 Temporary Redirect", format!("Location: {to}\r\n"), String::new()),
            None => ("404 Not Found", String::new(), "{\"errors\": []}".to_owned()),
        }
    }
}

fn manifest(layers: &[&str]) -> Value {
    let layers: Vec<Value> = layers
        .iter()
        .map(|digest| json!({ "mediaType": "application/zstd", "digest": digest, "size": 1 }))
        .collect();
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:44", "size": 2 },
        "layers": layers,
    })
}

fn index(entries: &[(&str, Option<&str>, &str)]) -> Value {
    let entry = |(arch, disk, digest): &(&str, Option<&str>, &str)| {
        let annotations: Value = disk.map_or_else(|| json!({}), |disk| json!({ "disktype": disk }));
        json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest, "size": 1, "annotations": annotations,
            "platform": { "architecture": arch, "os": "linux" },
        })
    };
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries.iter().map(entry).collect::<Vec<_>>(),
    })
}

fn refusal(error: &ImageError) -> &RegistryError {
    assert!(error.hint().is_some(), "{error}");
    match error {
        ImageError::Registry { source, .. } => source,
        other => panic!("{other}"),
    }
}

#[test]
fn the_disk_for_qemu_is_found_checked_and_kept() {
    let (world, registry, cdn) = (World::new(), Registry::start(), Server::start());
    let disk = qcow2_disk(1);
    let packed = zst(&disk);
    let index = registry.publish(&cdn, &packed);
    let image = registry.image("1");
    let prepared = world.prepare(&image, None).unwrap();
    assert_eq!((&prepared.pin.source, &prepared.pin.sha256), (&image, &digest(&disk)));
    assert_eq!((&*prepared.user, prepared.provisioner), ("core", Provisioner::Ignition));

    let before = registry.seen("/");
    assert_eq!(world.prepare(&image, None).unwrap(), prepared);
    assert_eq!(registry.seen("/"), before, "the second time it is in the cache");
    // The same bytes under another name are not downloaded again.
    world.prepare(&registry.image(&index), None).unwrap();
    let world = world.pull(Pull::Newer);
    assert_eq!(world.prepare(&image, None).unwrap(), prepared);
    assert_eq!(cdn.requests("/disk"), 1);
}

#[test]
fn the_token_stays_with_the_registry() {
    let (world, registry) = (World::new(), Registry::start());
    // Another registry is the place of the bytes: it would record a token.
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let packed = xz(&qcow2_disk(1));
    registry.publish(&Server::start(), &packed);
    let layer = format!("sha256:{}", digest(&packed));
    let url = format!("http://{}/disk", elsewhere.local_addr().unwrap());
    registry.state.lock().unwrap().blobs.insert(layer, url);
    let heads = thread::spawn(move || {
        let (mut stream, _) = elsewhere.accept().unwrap();
        let lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", packed.len()).unwrap();
        stream.write_all(&packed).unwrap();
        head.join("\n").to_ascii_lowercase()
    });
    world.prepare(&registry.image("1"), None).unwrap();
    let head = heads.join().unwrap();
    assert!(head.starts_with("get /disk") && !head.contains("authorization"), "{head}");
}

#[test]
fn an_interrupted_layer_is_continued_and_checked_whole() {
    let (world, registry, cdn) = (World::new(), Registry::start(), Server::start());
    let packed = xz(&qcow2_disk(1));
    registry.publish(&cdn, &packed);
    let cut = |at| Reply::file(&packed).etag("disk").cut_after(at);
    cdn.route("/disk", [cut(packed.len() / 2), Reply::status("503 Service Unavailable")]);
    world.interrupted(&registry.image("1"), None);
    cdn.route("/disk", [Reply::file(&packed).etag("disk")]);
    world.prepare(&registry.image("1"), None).unwrap();
    assert_eq!(cdn.seen().last().unwrap().range, Some(packed.len() / 2));
}

#[test]
fn a_token_that_has_expired_is_replaced() {
    let (world, registry, cdn) = (World::new(), Registry::start(), Server::start());
    registry.publish(&cdn, &xz(&qcow2_disk(1)));
    registry.state.lock().unwrap().tokens_needed = 2;
    world.prepare(&registry.image("1"), None).unwrap();
    assert_eq!(registry.seen("/token"), 2);
}

#[test]
fn wrong_bytes_never_get_a_name() {
    let (world, registry, cdn) = (World::new(), Registry::start(), Server::start());
    registry.publish(&cdn, &xz(&qcow2_disk(1)));
    cdn.route("/disk", [Reply::file(&xz(&qcow2_disk(2))).etag("disk")]);
    let error = world.refused(&registry.image("1"), None);
    assert!(matches!(error, ImageError::Mismatch { .. }), "{error}");

    // A manifest that is not what the index names, an index that is not what
    // the user names.
    let manifest = registry.put(&manifest(&["sha256:00"]));
    registry.tag("2", &index(&[("x86_64", Some("qemu"), &manifest)]));
    registry.tag(&manifest, &json!({ "schemaVersion": 2, "layers": [] }));
    let error = world.refused(&registry.image("2"), None);
    assert!(error.to_string().contains("digest"), "{error}");
    let error = world.refused(&registry.image(&manifest), None);
    assert!(matches!(refusal(&error), RegistryError::Answer(_)), "{error}");
}

#[test]
fn what_is_no_disk_for_this_machine_says_why() {
    let (world, registry) = (World::new(), Registry::start());
    let two = registry.put(&manifest(&["sha256:01", "sha256:02"]));
    let odd = registry.put(&manifest(&["sha256:../../x"]));
    for (document, part) in [
        (index(&[("aarch64", Some("qemu"), &two)]), "no disk for x86_64: there is aarch64"),
        (index(&[("x86_64", None, &two)]), "nothing in it has a `disktype`"),
        (index(&[("x86_64", Some("wsl"), &two)]), "no disk for QEMU: there is wsl"),
        (index(&[("amd64", Some("qemu"), &two)]), "it has 2 layers"),
        (index(&[("amd64", Some("qemu"), &odd)]), "is no digest"),
        (index(&[("amd64", Some("qemu"), "sha256:../x")]), "is no digest"),
        (json!({ "schemaVersion": 2 }), "neither an index nor a manifest"),
    ] {
        registry.tag("odd", &document);
        let error = world.refused(&registry.image("odd"), None);
        refusal(&error);
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = world.refused(&registry.image("no-such-tag"), None);
    assert!(matches!(refusal(&error), RegistryError::Status { status: 404, .. }), "{error}");
    let error = world.refused("docker://", None);
    assert!(matches!(refusal(&error), RegistryError::Reference(_)), "{error}");
}

#[test]
fn a_registry_that_cannot_be_reached_is_an_error_of_the_network() {
    let (world, registry, cdn) = (World::new(), Registry::start(), Server::start());
    registry.publish(&cdn, &xz(&qcow2_disk(1)));
    let image = registry.image("1");
    let never = World::new().pull(Pull::Never);
    assert!(matches!(never.refused(&image, None), ImageError::NotCached(_)));
    world.prepare(&image, None).unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = world.refused_only(&format!("docker://{closed}/{NAME}:1"));
    assert!(matches!(error, ImageError::Fetch(_)), "{error}");
}
