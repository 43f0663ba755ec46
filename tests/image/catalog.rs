//! The distributions of the embedded catalog, from a server of the test in place
//! of their publishers': the paths and the lists are as those have them.

use serde_json::Value;
use sha2::{Digest as _, Sha512};

use nsvm::image::{Catalog, Entry, ImageError, Kind};
use nsvm::machine::config::Arch;

use crate::server::{Reply, Server};
use crate::world::{World, digest, qcow2_disk};

/// How a publisher writes the digest of a file: its own bytes and name.
type List = fn(&[u8], &str) -> String;

fn sha512(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn debian(disk: &[u8], name: &str) -> String {
    format!("{}  another.tar.xz\n{}  {name}\n", sha512(b"another"), sha512(disk))
}

fn ubuntu(disk: &[u8], name: &str) -> String {
    format!("{} *{name}\n{} *another.squashfs\n", digest(disk), digest(b"another"))
}

fn fedora(disk: &[u8], name: &str) -> String {
    let lines = format!("# {name}: {} bytes\nSHA256 ({name}) = {}", disk.len(), digest(disk));
    format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{lines}\n\
         -----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCAAdFiEE\n-----END PGP SIGNATURE-----\n"
    )
}

fn alpine(disk: &[u8], _: &str) -> String {
    sha512(disk)
}

fn rocky(disk: &[u8], name: &str) -> String {
    format!("# {name}: {} bytes\nSHA256 ({name}) = {}\n", disk.len(), digest(disk))
}

/// The name is that of the build which the address is a link to.
fn opensuse(disk: &[u8], name: &str) -> String {
    format!("{}  {}\n", digest(disk), name.replace("-Cloud", "-16.0.0-Cloud-Build16.44"))
}

/// An image of the catalog, where it is published, and how.
#[derive(Clone, Copy)]
struct Published {
    image: &'static str,
    arch: Arch,
    /// Host and path of the image.
    at: &'static str,
    /// What stands in place of the file's name for the list, or what follows it.
    list_at: &'static str,
    list: List,
    user: &'static str,
}

const fn of(image: &'static str, at: &'static str, list_at: &'static str) -> Published {
    Published { image, arch: Arch::X86_64, at, list_at, list: debian, user: "debian" }
}

impl Published {
    const fn by(self, user: &'static str, list: List) -> Self {
        Self { list, user, ..self }
    }

    const fn aarch64(self) -> Self {
        Self { arch: Arch::Aarch64, ..self }
    }
}

#[rustfmt::skip] // an image's addresses are compared line by line
const ALL: [Published; 13] = [
    of("debian:13", "cloud.debian.org/images/cloud/trixie/latest/debian-13-generic-amd64.qcow2",
        "SHA512SUMS"),
    of("debian:bookworm", "cloud.debian.org/images/cloud/bookworm/latest/debian-12-generic-arm64.qcow2",
        "SHA512SUMS").aarch64(),
    of("ubuntu:24.04", "cloud-images.ubuntu.com/releases/noble/release/ubuntu-24.04-server-cloudimg-amd64.img",
        "SHA256SUMS").by("ubuntu", ubuntu),
    of("ubuntu:noble", "cloud-images.ubuntu.com/releases/noble/release/ubuntu-24.04-server-cloudimg-arm64.img",
        "SHA256SUMS").by("ubuntu", ubuntu).aarch64(),
    of("fedora:44", "dl.fedoraproject.org/pub/fedora/linux/releases/44/Cloud/x86_64/images/Fedora-Cloud-Base-Generic-44-1.7.x86_64.qcow2",
        "Fedora-Cloud-44-1.7-x86_64-CHECKSUM").by("fedora", fedora),
    of("fedora:43", "dl.fedoraproject.org/pub/fedora/linux/releases/43/Cloud/aarch64/images/Fedora-Cloud-Base-Generic-43-1.6.aarch64.qcow2",
        "Fedora-Cloud-43-1.6-aarch64-CHECKSUM").by("fedora", fedora).aarch64(),
    of("alpine:3.23", "dl-cdn.alpinelinux.org/alpine/v3.23/releases/cloud/nocloud_alpine-3.23.4-x86_64-bios-cloudinit-r0.qcow2",
        ".sha512").by("alpine", alpine),
    of("alpine", "dl-cdn.alpinelinux.org/alpine/v3.23/releases/cloud/nocloud_alpine-3.23.4-aarch64-uefi-cloudinit-r0.qcow2",
        ".sha512").by("alpine", alpine).aarch64(),
    of("rocky:10", "dl.rockylinux.org/pub/rocky/10/images/x86_64/Rocky-10-GenericCloud-Base.latest.x86_64.qcow2",
        ".CHECKSUM").by("rocky", rocky),
    of("rocky:9", "dl.rockylinux.org/pub/rocky/9/images/aarch64/Rocky-9-GenericCloud-Base.latest.aarch64.qcow2",
        ".CHECKSUM").by("rocky", rocky).aarch64(),
    of("opensuse:leap", "download.opensuse.org/distribution/leap/16.0/appliances/Leap-16.0-Minimal-VM.x86_64-Cloud.qcow2",
        ".sha256").by("opensuse", opensuse),
    of("opensuse:15.6", "download.opensuse.org/distribution/leap/15.6/appliances/openSUSE-Leap-15.6-Minimal-VM.aarch64-Cloud.qcow2",
        ".sha256").by("opensuse", opensuse).aarch64(),
    of("opensuse:tumbleweed", "download.opensuse.org/ports/aarch64/tumbleweed/appliances/openSUSE-Tumbleweed-Minimal-VM.aarch64-Cloud.qcow2",
        ".sha256").by("opensuse", opensuse).aarch64(),
];

/// The catalog's entry for a distribution, by another name, whose server is that
/// of the test.
fn moved(entry: &Entry, server: &Server) -> Entry {
    let mut value = serde_json::to_value(entry).unwrap();
    value["name"] = format!("{}-here", entry.name).into();
    for field in ["url", "checksums"] {
        if let Value::String(text) = &mut value[field] {
            *text = text.replace("https://", &server.url("/"));
        }
    }
    serde_json::from_value(value).unwrap()
}

fn check(published: &Published) {
    let colon = published.image.find(':').unwrap_or(published.image.len());
    let (name, rest) = published.image.split_at(colon);
    let entry = Catalog::embedded().find(name).unwrap();
    let (server, disk) = (Server::start(), qcow2_disk(1));
    let mut world = World::new();
    world.settings.catalog = vec![moved(entry, &server)];
    let at = format!("/{}", published.at);
    let (dir, file) = at.rsplit_once('/').unwrap();
    let list_at = match published.list_at {
        suffix if suffix.starts_with('.') => format!("{at}{suffix}"),
        name => format!("{dir}/{name}"),
    };
    server.route(&list_at, [Reply::file((published.list)(&disk, file).as_bytes())]);
    let (text, arch) = (format!("{name}-here{rest}"), published.arch);

    let mut flipped = disk.clone();
    *flipped.last_mut().unwrap() ^= 1;
    server.route(&at, [Reply::file(&flipped)]);
    let error = world.prepare_for(arch, &text, None).unwrap_err();
    assert!(matches!(error, ImageError::Mismatch { .. }), "{text}: {error}");
    assert_eq!(world.images(), [""; 0], "{text}");

    server.route(&at, [Reply::file(&disk)]);
    let prepared = world.prepare_for(arch, &text, None).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!((prepared.pin.sha256, prepared.pin.arch), (digest(&disk), arch));
    assert_eq!((&*prepared.user, prepared.provisioner), (published.user, entry.provisioner));
}

#[test]
fn each_distribution_is_found_by_its_own_kind_of_list() {
    ALL.iter().for_each(check);
    let is_tried = |entry: &&Entry| ALL.iter().any(|one| one.image.starts_with(&entry.name));
    let cloud = |entry: &&Entry| matches!(entry.kind, Kind::CloudImage(_));
    let entries = Catalog::embedded().images.iter().filter(cloud);
    let left_out: Vec<&Entry> = entries.filter(|entry| !is_tried(entry)).collect();
    assert!(left_out.is_empty(), "{left_out:?}");
}
