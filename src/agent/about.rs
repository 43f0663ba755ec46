//! Who this agent is and what its guest can do.

use std::fs;
use std::path::Path;

use crate::namespace::kind::Kind;
use crate::protocol::hello::{Hello, PROTOCOL};
use crate::protocol::outcome::Info;

/// Facts that do not change while the agent runs.
#[derive(Debug, Clone)]
pub struct About {
    hello: Hello,
}

impl About {
    /// Reads them from this system.
    pub fn of_system() -> Self {
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let noted = std::env::current_exe().map(|exe| {
            let mut name = exe.into_os_string();
            name.push(".sha256");
            read(Path::new(&name))
        });
        let hello = Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // As sha256sum writes it: the digest comes first.
            sha256: first_word(&noted.unwrap_or_default()),
            boot_id: read(Path::new("/proc/sys/kernel/random/boot_id")),
            arch: std::env::consts::ARCH.to_owned(),
            kernel: read(Path::new("/proc/sys/kernel/osrelease")),
            busy: false,
        };
        Self { hello }
    }

    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    pub fn info(&self) -> Info {
        Info {
            version: self.hello.version.clone(),
            boot_id: self.hello.boot_id.clone(),
            kernel: self.hello.kernel.clone(),
            namespaces: supported().map(|kind| kind.option().to_owned()).collect(),
            limits: supported().filter_map(limit).collect(),
        }
    }
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// The kinds that this kernel was built with.
fn supported() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| Path::new("/proc/self/ns").join(kind.proc_name()).exists())
}

/// Read anew each time: root may change it.
fn limit(kind: Kind) -> Option<(String, u64)> {
    let text = fs::read_to_string(Path::new("/proc/sys/user").join(kind.limit_name())).ok()?;
    Some((kind.option().to_owned(), text.trim().parse().ok()?))
}
