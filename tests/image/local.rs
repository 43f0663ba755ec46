//! `--image PATH`.

use std::fs;
use std::path::Path;

use nsvm::image::{Cache, ImageError, create_overlay, virtual_size};
use nsvm::machine::config::DiskFormat;

use crate::world::{World, digest, qcow2_disk, raw_disk, xz, zst};

#[test]
fn a_file_is_copied_once_and_again_when_it_changed() {
    let world = World::new();
    let (one, two) = (raw_disk(1), raw_disk(2));
    let path = world.file("disk.raw", &one);
    let first = world.prepare(&path, None).unwrap();
    assert_eq!((first.pin.format, first.pin.virtual_size), (DiskFormat::Raw, one.len() as u64));
    assert_eq!(fs::read(&first.base).unwrap(), one);

    let events = world.events.all().len();
    let again = world.prepare(&path, Some(&digest(&one))).unwrap();
    assert_eq!(again.base, first.base);
    assert!(again.pin.verified.sha256 && !first.pin.verified.sha256);
    assert_eq!(world.events.all().len(), events, "nothing was read");

    world.file("disk.raw", &two);
    assert_eq!(world.prepare(&path, None).unwrap().pin.sha256, digest(&two));
    assert_eq!(world.images().len(), 2);
}

#[test]
fn holes_stay_holes() {
    let world = World::new();
    let path = world.file("disk.raw", b"");
    fs::File::options().write(true).open(&path).unwrap().set_len(256 << 20).unwrap();
    let base = world.prepare(&path, None).unwrap().base;
    let found = fs::metadata(base).unwrap();
    assert_eq!(found.len(), 256 << 20);
    assert!(std::os::unix::fs::MetadataExt::blocks(&found) * 512 < 1 << 20);
}

#[test]
fn compressed_files_are_unpacked() {
    let (world, disk) = (World::new(), qcow2_disk(1));
    for (name, packed) in [("a.qcow2.xz", xz(&disk)), ("b.qcow2.zst", zst(&disk))] {
        let path = world.file(name, &packed);
        let prepared = world.prepare(&path, Some(&digest(&packed))).unwrap();
        assert_eq!(prepared.pin.sha256, digest(&disk), "{name}");
    }
    assert_eq!(world.images().len(), 1);
}

#[test]
fn a_truncated_image_is_damaged() {
    let (world, disk) = (World::new(), qcow2_disk(1));
    for (name, cut) in
        [("a.qcow2", &disk[..disk.len() - 70_000]), ("b.qcow2.xz", &xz(&disk)[..9000])]
    {
        let error = world.refused(&world.file(name, cut), None);
        assert!(matches!(error, ImageError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(name) && error.hint().is_some(), "{error}");
    }
}

#[test]
fn a_wrong_digest_names_both_even_when_the_file_is_cached() {
    let (world, disk) = (World::new(), raw_disk(1));
    let (path, wrong) = (world.file("disk.raw", &disk), "0".repeat(64));
    let text = world.refused(&path, Some(&wrong)).to_string();
    assert!(text.contains(&wrong) && text.contains(&digest(&disk)), "{text}");
    world.prepare(&path, None).unwrap();
    assert_eq!(world.prepare(&path, Some(&wrong)).unwrap_err().to_string(), text);
}

#[test]
fn an_image_that_names_other_files_is_refused() {
    let world = World::new();
    let base = world.file("base.raw", &raw_disk(1));
    let overlay = Path::new(&base).with_file_name("overlay.qcow2");
    create_overlay(&overlay, Path::new(&base), DiskFormat::Raw, 1 << 30).unwrap();
    let error = world.refused(overlay.to_str().unwrap(), None);
    assert!(matches!(error, ImageError::Untrusted { .. }), "{error}");
    assert!(error.hint().unwrap().contains("qemu-img convert"), "{error}");
}

#[test]
fn what_is_no_disk_image_says_what_it_is() {
    let world = World::new();
    let directory = world.refused("/tmp", None).to_string();
    assert_eq!(directory, "cannot use \"/tmp\" as an image: it is a directory");
    let empty = world.refused(&world.file("empty.raw", b""), None).to_string();
    assert!(empty.ends_with("it is an empty file"), "{empty}");
    let device = world.refused("/dev/zero", None).to_string();
    assert!(device.ends_with("it is a device or a pipe"), "{device}");
    let missing = world.refused("/missing/disk.raw", None).to_string();
    assert_eq!(missing, "cannot read the image \"/missing/disk.raw\"");
    let text = world.refused(&world.file("notes.txt", b"hello"), None).to_string();
    assert!(text.contains("not whole sectors"), "{text}");
}

#[test]
fn dev_null_is_a_disk_without_sectors() {
    let world = World::new();
    let prepared = world.prepare("/dev/null", None).unwrap();
    assert_eq!((prepared.pin.format, prepared.pin.virtual_size), (DiskFormat::Raw, 0));
    let overlay = world.cache_dir().join("../disk.qcow2");
    create_overlay(&overlay, &prepared.base, DiskFormat::Raw, 1 << 30).unwrap();
    assert_eq!(virtual_size(&overlay, DiskFormat::Qcow2).unwrap(), 1 << 30);
}

#[test]
fn a_cache_that_cannot_be_is_named() {
    let world = World::new();
    let file = world.file("file", b"");
    let error = Cache::open(&Path::new(&file).join("cache")).unwrap_err();
    assert!(matches!(error, ImageError::Cache { .. }), "{error}");
    assert!(error.hint().unwrap().contains("NSVM_IMAGE_CACHE"));
}

#[test]
fn a_base_that_is_gone_or_changed_is_noticed() {
    let world = World::new();
    let path = world.file("disk.qcow2", &qcow2_disk(1));
    let prepared = world.prepare(&path, None).unwrap();
    fs::remove_file(&prepared.base).unwrap();
    let error = world.cache().base(&prepared.pin).unwrap_err();
    assert!(matches!(error, ImageError::BaseMissing { .. }), "{error}");
    assert!(error.hint().unwrap().contains(&prepared.pin.sha256));

    fs::write(&prepared.base, raw_disk(1)).unwrap();
    world.cache().base(&prepared.pin).unwrap_err();

    fs::remove_file(&prepared.base).unwrap();
    assert_eq!(world.prepare(&path, None).unwrap(), prepared, "it is copied again");
    world.cache().base(&prepared.pin).unwrap();
}
