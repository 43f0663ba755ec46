//! `--signature` and `--keyring`.

use nsvm::image::{ImageError, Pull, SignatureError, Signatures, Unfit};
use nsvm::machine::event::Event;
use nsvm::machine::verified::Signature;

use crate::server::Reply;
use crate::signed::{DISK, KEYS, Publisher, SIGNATURE, Signer};
use crate::world::{World, raw_disk};

fn require(settings: &mut nsvm::image::Settings) {
    settings.signatures = Signatures::Require;
}

fn auto(_: &mut nsvm::image::Settings) {}

/// Why the image is not trusted, after which nothing of it is left.
fn refused(world: &World) -> SignatureError {
    let error = world.refused("ours", None);
    assert!(error.hint().is_some(), "{error}");
    match error {
        ImageError::Signature { source, .. } => source,
        other => panic!("{other}"),
    }
}

fn warnings(world: &World) -> Vec<String> {
    let text = |event: Event| match event {
        Event::Warning { text } => Some(text),
        _ => None,
    };
    world.events.all().into_iter().filter_map(text).collect()
}

#[test]
fn a_good_signature_is_checked_and_pinned() {
    for publisher in [Publisher::new(), Publisher::with(Signer::with_subkey(true))] {
        let world = publisher.world(require);
        let verified = world.prepare("ours", None).unwrap().pin.verified;
        assert!(verified.sha256 && verified.disk_sha256);
        let fingerprint = publisher.signer.fingerprint();
        assert_eq!(verified.signature, Signature::Good { fingerprint });
        // The second time all is in the cache, and so is what was checked.
        assert_eq!(world.prepare("ours", None).unwrap().pin.verified, verified);
        let (disk, keys) = (publisher.server.requests(DISK), publisher.server.requests(KEYS));
        assert_eq!((disk, keys, publisher.server.requests(SIGNATURE)), (1, 1, 1));
        assert_eq!(warnings(&world), [""; 0]);
    }
}

#[test]
fn the_keys_are_fetched_once() {
    let publisher = Publisher::new();
    let world = publisher.world(require).pull(Pull::Newer);
    world.prepare("ours", None).unwrap();
    let other = raw_disk(7);
    publisher.server.route(SIGNATURE, [Reply::file(&publisher.signer.sign(&other))]);
    std::fs::remove_dir_all(world.cache_dir().join("index")).unwrap();
    let error = world.prepare("ours", None).unwrap_err();
    assert!(error.to_string().contains("its signature is bad"), "{error}");
    assert_eq!(publisher.server.requests(KEYS), 1);
}

/// What becomes of an image.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    Good,
    /// It is taken, and its record says why nothing was checked.
    Unchecked(&'static str),
    /// The same, and the user is warned.
    Warned(&'static str),
    /// Part of the error, and whether that was known before the disk came.
    Refused(&'static str, When),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    After,
}

use Verdict::{Good, Refused, Unchecked, Warned};
use When::{After, Before};

/// What a publisher has done wrong, and what `auto` and `require` make of it.
/// `off` looks at nothing.
type State = (&'static str, fn(&Publisher), [Verdict; 2]);

fn both(verdict: Verdict) -> [Verdict; 2] {
    [verdict, verdict]
}

fn serves(publisher: &Publisher, path: &str, reply: Reply) {
    publisher.server.route(path, [reply]);
}

fn states() -> Vec<State> {
    let unknown = Refused("not among the trusted ones", Before);
    let no_keys = "cannot be had";
    let lost_keys = [Warned(no_keys), Refused(no_keys, Before)];
    let unsigned = "no signature is published for it";
    vec![
        ("good", |_| (), both(Good)),
        (
            "of another file",
            |p| serves(p, SIGNATURE, Reply::file(&p.signer.sign(b"another file"))),
            both(Refused("its signature is bad", After)),
        ),
        (
            "a stranger's",
            |p| serves(p, SIGNATURE, Reply::file(&Signer::new().sign(&p.packed))),
            both(unknown),
        ),
        (
            "missing",
            |p| serves(p, SIGNATURE, Reply::status("404 Not Found")),
            both(Refused("is missing, though its publisher names it", Before)),
        ),
        (
            "a server that fails",
            |p| serves(p, SIGNATURE, Reply::status("500 Internal Server Error")),
            both(Refused("answered 500", Before)),
        ),
        (
            "a login page",
            |p| serves(p, SIGNATURE, Reply::web_page()),
            both(Refused("answered with a web page", Before)),
        ),
        (
            "a login page that does not say so",
            |p| serves(p, SIGNATURE, Reply::file(b"<html>log in")),
            both(Refused("its signature is none", Before)),
        ),
        ("not named", Publisher::unsigned, [Unchecked(unsigned), Refused("no signature", Before)]),
        ("no keys", |p| serves(p, KEYS, Reply::status("404 Not Found")), lost_keys),
        ("a login page for keys", |p| serves(p, KEYS, Reply::web_page()), lost_keys),
        (
            "only keys that are not pinned",
            |p| serves(p, KEYS, Reply::file(&Signer::new().ring())),
            lost_keys,
        ),
    ]
}

fn reason(verified: &Signature) -> &str {
    match verified {
        Signature::Unchecked { reason } => reason,
        Signature::Good { .. } => "good",
    }
}

fn check(name: &str, mode: Signatures, verdict: Verdict, spoil: fn(&Publisher)) {
    let publisher = Publisher::new();
    spoil(&publisher);
    let world = publisher.world(|settings| settings.signatures = mode);
    let case = format!("{name}, {mode:?}");
    if let Refused(part, when) = verdict {
        let error = world.refused("ours", None);
        assert!(error.to_string().contains(part), "{case}: {error}");
        assert!(error.hint().is_some(), "{case}: {error}");
        let expected = usize::from(when == After);
        assert_eq!(publisher.server.requests(DISK), expected, "{case}");
        return;
    }
    let verified = world.prepare("ours", None).unwrap().pin.verified;
    assert!(verified.sha256 && verified.disk_sha256, "{case}");
    let (found, warnings) = (reason(&verified.signature), warnings(&world));
    match verdict {
        Good => assert_eq!(found, "good", "{case}"),
        Unchecked(why) | Warned(why) => assert!(found.contains(why), "{case}: {found}"),
        Refused(..) => unreachable!(),
    }
    assert_eq!(warnings.len(), usize::from(matches!(verdict, Warned(_))), "{case}: {warnings:?}");
    assert!(warnings.iter().all(|w| w.starts_with("The signature is not checked: ")), "{case}");
}

#[test]
fn each_mode_for_whatever_can_be_wrong() {
    for (name, spoil, [auto, require]) in states() {
        check(name, Signatures::Auto, auto, spoil);
        check(name, Signatures::Require, require, spoil);
        check(name, Signatures::Off, Unchecked("--signature off"), spoil);
    }
}

#[test]
fn keys_whose_server_is_gone_only_warn() {
    let publisher = Publisher::new();
    let mut world = publisher.world(auto);
    let mut entry = serde_json::to_value(&world.settings.catalog[0]).unwrap();
    entry["keys"]["url"] = "http://127.0.0.1:1/keys.gpg".into();
    world.settings.catalog = vec![serde_json::from_value(entry).unwrap()];
    world.settings.signatures = Signatures::Require;
    let error = refused(&world);
    assert!(matches!(error, SignatureError::NoKeys { .. }), "{error}");
    world.settings.signatures = Signatures::Auto;
    let verified = world.prepare("ours", None).unwrap().pin.verified;
    assert!(matches!(verified.signature, Signature::Unchecked { .. }));
    assert!(warnings(&world)[0].contains("cannot reach \"127.0.0.1\""));
}

#[test]
fn dead_keys_are_refused() {
    for (signer, expected) in [
        (Signer::new().expired(), Unfit::Expired),
        (Signer::new().revoked(), Unfit::Revoked),
        (Signer::with_subkey(false), Unfit::NotForSigning),
    ] {
        let publisher = Publisher::with(signer);
        match refused(&publisher.world(auto)) {
            SignatureError::Key { unfit, .. } => assert_eq!(unfit, expected),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_new_key_is_fetched_when_the_kept_ones_do_not_fit() {
    let publisher = Publisher::new();
    let newer = Signer::new();
    let pins = [publisher.signer.fingerprint(), newer.fingerprint()];
    let mut world = publisher.world(require).pull(Pull::Newer);
    world.settings.catalog = vec![publisher.entry(&pins)];
    world.prepare("ours", None).unwrap();

    let both = [publisher.signer.ring(), newer.ring()].concat();
    publisher.server.route(KEYS, [Reply::file(&both)]);
    publisher.server.route(SIGNATURE, [Reply::file(&newer.sign(&publisher.packed))]);
    std::fs::remove_dir_all(world.cache_dir().join("index")).unwrap();
    let verified = world.prepare("ours", None).unwrap().pin.verified;
    assert_eq!(verified.signature, Signature::Good { fingerprint: newer.fingerprint() });
    assert_eq!(publisher.server.requests(KEYS), 2);
}

#[test]
fn a_keyring_of_ones_own_is_trusted_as_it_is() {
    let publisher = Publisher::new();
    let stranger = Signer::new();
    publisher.server.route(SIGNATURE, [Reply::file(&stranger.sign(&publisher.packed))]);
    let mut world = publisher.world(require);
    let path = world.file("keys.asc", stranger.armored().as_bytes());
    world.settings.keyring = Some(path.into());
    let verified = world.prepare("ours", None).unwrap().pin.verified;
    assert_eq!(verified.signature, Signature::Good { fingerprint: stranger.fingerprint() });
    assert_eq!(publisher.server.requests(KEYS), 0);

    // What that key has signed is not what the pinned ones have.
    world.settings.keyring = None;
    let error = world.prepare("ours", None).unwrap_err();
    assert!(error.to_string().contains("not among the trusted ones"), "{error}");

    world.settings.keyring = Some("/no/such/keyring".into());
    let error = world.prepare("ours", None).unwrap_err();
    assert!(error.to_string().contains("the keyring \"/no/such/keyring\""), "{error}");
}

#[test]
fn what_was_not_checked_is_checked_when_it_is_required() {
    let publisher = Publisher::new();
    let mut world = publisher.world(|settings| settings.signatures = Signatures::Off);
    let first = world.prepare("ours", None).unwrap();
    assert_eq!(first.pin.verified.signature, Signature::unchecked("--signature off"));
    assert_eq!(publisher.server.requests(SIGNATURE), 0);

    world.settings.signatures = Signatures::Require;
    world.settings.pull = Pull::Never;
    let error = world.prepare("ours", None).unwrap_err();
    assert!(error.to_string().contains("without a checked signature"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("Use --pull missing"));

    world.settings.pull = Pull::Missing;
    let second = world.prepare("ours", None).unwrap();
    assert_eq!((second.base, publisher.server.requests(DISK)), (first.base, 2));
    assert!(matches!(second.pin.verified.signature, Signature::Good { .. }));

    // Enough for less, without a request.
    let before = publisher.server.seen().len();
    world.settings.signatures = Signatures::Auto;
    world.prepare("ours", None).unwrap();
    assert_eq!(publisher.server.seen().len(), before);
}

#[test]
fn what_nobody_signs_cannot_be_required_to_be_signed() {
    let publisher = Publisher::new();
    let world = publisher.world(require);
    let path = world.file("disk.raw", &raw_disk(1));
    let url = publisher.server.url(DISK);
    let digest = crate::world::digest(&publisher.packed);
    for (source, sha256) in [(&*path, None), (&*url, Some(&*digest)), ("debian-local", None)] {
        let error = world.prepare(source, sha256).unwrap_err();
        let expected =
            matches!(error, ImageError::Signature { source: SignatureError::NotPublished, .. });
        assert!(expected, "{error}");
    }
    assert_eq!(publisher.server.requests(DISK), 0);
    assert_eq!(world.images(), [""; 0], "nothing was built or copied");
}

#[test]
fn a_resumed_download_is_checked_from_its_first_byte() {
    let publisher = Publisher::new();
    let file = Reply::file(&publisher.packed).etag("one");
    let cut = publisher.packed.len() / 2;
    publisher.server.route(DISK, [file.clone().cut_after(cut), file]);
    publisher.world(require).prepare("ours", None).unwrap();
    assert_eq!(publisher.server.sent(DISK), publisher.packed.len());
}
