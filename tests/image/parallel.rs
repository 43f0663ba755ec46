//! Ten programs at once want one image that nobody has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::{Home, Ran};
use crate::server::{Reply, Server};
use crate::world::{digest, qcow2_disk, xz};

const PATH: &str = "/disk.qcow2.xz";
const MACHINES: usize = 10;

fn overlay_facts(overlay: &Path) -> Value {
    let mut command = Command::new("qemu-img");
    let output = command.args(["info", "--output", "json"]).arg(overlay).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn ten_inits_download_once() {
    let (home, server, disk) = (Home::new(), Server::start(), qcow2_disk(1));
    let packed = xz(&disk);
    // Slow enough for all to be there before it has come.
    server.route(PATH, [Reply::file(&packed).etag("one").slowly(64 << 10)]);
    let (url, sha256) = (server.url(PATH), digest(&packed));
    let cache = home.path().join("images");
    let machines: Vec<String> = (0..MACHINES).map(|n| format!("m{n}")).collect();
    let init = |name: &String| {
        let args = ["machine", "init", "-q", "--disk-size", "1", "--image", &url];
        let mut command = home.spawnable([&args[..], &["--sha256", &sha256, name]].concat());
        command.env("NSVM_IMAGE_CACHE", &cache).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let running: Vec<_> = machines.iter().map(init).collect();
    for child in running {
        Ran(child.wait_with_output().unwrap()).exits(0);
    }
    assert_eq!((server.requests(PATH), server.sent(PATH)), (1, packed.len()));

    let base = format!("{}.qcow2", digest(&disk));
    assert_eq!(names(&cache), [base.clone(), "index".into(), "locks".into(), "users".into()]);
    assert_eq!(fs::read(cache.join(&base)).unwrap(), disk);
    let inspected =
        home.nsvm(["machine", "inspect"].into_iter().chain(machines.iter().map(|m| &**m)));
    let inspected = Ran({ inspected }.output().unwrap()).exits(0).stdout();
    let inspected: Vec<Value> = serde_json::from_str(&inspected).unwrap();
    let mut seen = BTreeSet::new();
    for (machine, name) in inspected.iter().zip(&machines) {
        assert_eq!(machine["Name"], **name);
        let overlay = machine["Image"]["ImagePath"]["Path"].as_str().unwrap();
        let facts = overlay_facts(Path::new(overlay));
        assert_eq!(facts["format"], "qcow2");
        assert_eq!(facts["virtual-size"], 1 << 30);
        assert_eq!(facts["backing-filename-format"], "qcow2");
        let backing = Path::new(facts["full-backing-filename"].as_str().unwrap());
        assert_eq!(backing.canonicalize().unwrap(), cache.join(&base).canonicalize().unwrap());
        let identity = machine["SSHConfig"]["IdentityPath"].as_str().unwrap();
        seen.insert((overlay.to_owned(), fs::read(identity).unwrap()));
    }
    assert_eq!((inspected.len(), seen.len()), (MACHINES, MACHINES));
    let left = home.traces_of("tmp-");
    assert!(left.is_empty(), "{left:?}");
}
