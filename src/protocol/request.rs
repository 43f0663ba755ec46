//! What the host asks for: the first frame of a stream.
//!
//! Encoded as `MessagePack` maps with names, so that a field can be added.
//! Texts that belong to the guest (arguments, environment, paths) are bytes:
//! Linux promises no encoding.

use serde::{Deserialize, Serialize};
pub use serde_bytes::ByteBuf as Bytes;

use super::frame::{self, FrameError, Kind};
use crate::namespace::enter::EnterSpec;
use crate::namespace::limits::Limits;
use crate::namespace::named::{Name, NamedSpec};
use crate::namespace::rootfs::RootFsVerb;
use crate::namespace::run::{Digest, RunSpec};
use crate::namespace::spec::NamespaceSpec;

/// One request; more verbs become more variants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Run a program; [`super::outcome::Outcome`] answers last.
    Exec(Box<ExecRequest>),
    /// Tell the [`super::outcome::Plan`] of that, and run nothing.
    Explain(Box<ExecRequest>),
    /// Write what this user may see of the guest's namespaces to stdout, as a
    /// [`crate::namespace::listing::Snapshot`]; an outcome answers last.
    List(ListRequest),
    /// About named namespaces: a list of [`crate::namespace::named::Named`]
    /// answers, or an outcome that says why not.
    Named(NamedRequest),
    /// Tell [`super::outcome::Info`].
    Info,
    /// Step the clock by so much, and tell the time it then shows; 0: only tell.
    Clock { step_nanos: i64 },
    /// Stir these bytes into the kernel's random numbers; exit code 0 when
    /// nothing that was seeded before repeats. Links of before are given up.
    /// Not of this host.
    Reseed(Bytes),
    /// Exit code 0 if this root file system is there, else 1.
    HasRoot(Digest),
    /// Unpack the tar on stdin as this root file system; [`ROOT_TRAILER`] comes
    /// behind it. Only root may.
    TakeRoot(Digest),
    /// About the root file systems that are kept: a
    /// [`crate::namespace::rootfs::RootFsAnswer`] on stdout; an outcome answers
    /// last. Only root may.
    RootFs(RootFsVerb),
}

/// Ends the stream of [`Request::TakeRoot`]: one that breaks off is no root.
pub const ROOT_TRAILER: &[u8] = b"nsvm: end of root file system\n";

/// A program to run, in new namespaces or in none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Program and arguments, byte for byte; empty: the user's login shell.
    #[serde(default)]
    pub argv: Vec<Bytes>,
    /// Added to the environment of [`Surroundings`]; the last of equal names
    /// counts.
    #[serde(default)]
    pub env: Vec<(Bytes, Bytes)>,
    /// Where to start; none: as the [`Surroundings`] say, the user's home or
    /// where the agent is.
    #[serde(default)]
    pub cwd: Option<Bytes>,
    /// The guest's name of the caller's own directory, absolute: without a
    /// `cwd` it is where to start, if it can be entered.
    #[serde(default)]
    pub caller_cwd: Option<Bytes>,
    /// Who runs it; none: whoever the agent runs as.
    #[serde(default)]
    pub user: Option<UserSpec>,
    /// What environment and directory it starts from.
    #[serde(default)]
    pub surroundings: Surroundings,
    /// A terminal instead of pipes.
    #[serde(default)]
    pub tty: Option<Terminal>,
    /// Namespaces of others to enter before new ones are made.
    #[serde(default)]
    pub enter: Option<Box<EnterSpec>>,
    /// The named namespace to run in: with it nothing else is entered, and
    /// the user is who asks, not who the program is inside.
    #[serde(default)]
    pub inside: Option<Name>,
    #[serde(default)]
    pub namespaces: NamespaceSpec,
    /// A root file system of its own, with all namespaces; instead of the two
    /// above.
    #[serde(default)]
    pub run: Option<Box<RunSpec>>,
    /// Of the program and all that comes of it.
    #[serde(default)]
    pub limits: Limits,
}

/// A look at the guest's namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListRequest {
    /// Whose; none: whoever the agent runs as.
    #[serde(default)]
    pub user: Option<UserSpec>,
    /// The command line of the process that looks: it is a process there too,
    /// as in lsns(8).
    #[serde(default)]
    pub command: String,
}

/// What a program's environment and directory are before a request adds to
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Surroundings {
    /// Those of a clean login of its user.
    #[default]
    Login,
    /// The agent's own: it was started by the caller, for this one request.
    Own,
}

/// Something about named namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRequest {
    /// Who asks; none: whoever the agent runs as.
    #[serde(default)]
    pub user: Option<UserSpec>,
    pub verb: NamedVerb,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamedVerb {
    /// Make one; it is told.
    Create(Box<NamedSpec>),
    /// Tell the plan of that, and make nothing.
    Explain(Box<NamedSpec>),
    /// Tell all of the user's; root's are everyone's.
    List,
    /// Tell this one.
    Inspect(Name),
    /// End its processes and forget it; nothing is told.
    Remove {
        name: Name,
        /// At once, and even when there is none.
        #[serde(default)]
        force: bool,
    },
}

/// `NAME|UID[:GROUP]`, looked up in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSpec {
    pub user: String,
    #[serde(default)]
    pub group: Option<String>,
}

/// The terminal the program gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// The host's `TERM`.
    pub term: Bytes,
    pub size: Size,
}

/// A terminal's size in characters and, where known, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Size {
    pub rows: u16,
    pub cols: u16,
    #[serde(default)]
    pub xpixel: u16,
    #[serde(default)]
    pub ypixel: u16,
}

/// The user's text was not of the form `NAME|UID[:GROUP]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid user \"{0}\": it must be NAME or UID, optionally followed by :GROUP")]
pub struct UserSpecError(String);

impl std::str::FromStr for UserSpec {
    type Err = UserSpecError;

    fn from_str(text: &str) -> Result<Self, UserSpecError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        if user.is_empty() || group == Some("") || text.contains(['\0', '\n']) {
            return Err(UserSpecError(text.to_owned()));
        }
        Ok(Self { user: user.to_owned(), group: group.map(str::to_owned) })
    }
}

impl ExecRequest {
    /// A program and its arguments, all else left to the defaults.
    pub fn new(argv: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        let argv = argv.into_iter().map(|arg| Bytes::from(arg.into())).collect();
        Self { argv, ..Self::default() }
    }
}

impl Request {
    /// Appends the request's frame; [`FrameError::TooLong`] when arguments
    /// and environment are larger than any Linux accepts.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let payload = rmp_serde::to_vec_named(self).expect("plain fields serialize");
        if payload.len() > frame::MAX_REQUEST {
            return Err(FrameError::TooLong { kind: Kind::Request, length: payload.len() });
        }
        frame::encode(Kind::Request, &payload, out);
        Ok(())
    }

    /// Reads a request's payload.
    pub fn decode(payload: &[u8]) -> Result<Self, FrameError> {
        rmp_serde::from_slice(payload)
            .map_err(|e| FrameError::Malformed { kind: Kind::Request, reason: e.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(request: &Request) -> Request {
        let mut bytes = Vec::new();
        request.encode(&mut bytes).unwrap();
        Request::decode(&bytes[frame::HEADER..]).unwrap()
    }

    #[test]
    fn requests_keep_every_byte() {
        let mut exec =
            ExecRequest::new([b"printf".to_vec(), b"".to_vec(), vec![0xff, b'\n', b'$']]);
        exec.env.push((Bytes::from(b"A".to_vec()), Bytes::from(vec![0x80])));
        exec.tty = Some(Terminal {
            term: Bytes::from(b"xterm".to_vec()),
            size: Size { rows: 24, cols: 80, ..Size::default() },
        });
        exec.user = Some("core:wheel".parse().unwrap());
        let request = Request::Exec(Box::new(exec));
        assert_eq!(round_trip(&request), request);
        assert_eq!(round_trip(&Request::Info), Request::Info);
    }

    #[test]
    fn absent_and_unknown_fields_are_fine_and_broken_bytes_are_not() {
        #[derive(Serialize)]
        enum Newer {
            Exec(Fields),
        }
        #[derive(Serialize)]
        struct Fields {
            later: u8,
        }
        let bytes = rmp_serde::to_vec_named(&Newer::Exec(Fields { later: 1 })).unwrap();
        assert_eq!(Request::decode(&bytes), Ok(Request::Exec(Box::default())));
        assert!(Request::decode(b"\xff\xff").is_err());
    }

    #[test]
    fn a_request_no_kernel_would_take_is_refused_before_it_is_sent() {
        let request = Request::Exec(Box::new(ExecRequest::new([vec![b'x'; frame::MAX_REQUEST]])));
        assert!(matches!(request.encode(&mut Vec::new()), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn users_are_a_name_or_number_with_an_optional_group() {
        let both: UserSpec = "1000:wheel".parse().unwrap();
        assert_eq!((both.user.as_str(), both.group.as_deref()), ("1000", Some("wheel")));
        assert_eq!("core".parse::<UserSpec>().unwrap().group, None);
        for bad in ["", ":g", "u:", "a\nb"] {
            assert!(bad.parse::<UserSpec>().is_err(), "{bad:?}");
        }
    }
}
