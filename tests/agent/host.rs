//! What this host itself has to compare with: a process in namespaces of its
//! own, and its lsns(8).

use std::process::{Child, Command, Output, Stdio};

use nsvm::namespace::kind::Kind;

use crate::client::eventually;

/// A process in namespaces of its own, ended with its user.
pub struct Apart(Child);

impl Apart {
    pub fn start() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "--uts", "--ipc", "sleep", "600"]).stdin(Stdio::null());
        let apart = Self(command.spawn().unwrap());
        let own = std::fs::read_link("/proc/self/ns/ipc").unwrap();
        let its = format!("/proc/{}/ns/ipc", apart.id());
        eventually("it is apart", || std::fs::read_link(&its).is_ok_and(|link| link != own));
        apart
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn link(&self, kind: Kind) -> String {
        format!("/proc/{}/ns/{}", self.id(), kind.proc_name())
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What lsns(8) answers. Before 2.41 it ends without a word when a process of
/// anybody's goes while it looks (util-linux issue 2799), as those of the other
/// tests do all the time: such a look does not count.
pub fn lsns(mut command: Command) -> Output {
    let disturbed = |output: &Output| {
        output.status.code() == Some(1) && output.stdout.is_empty() && output.stderr.is_empty()
    };
    (0..100)
        .map(|_| command.output().unwrap())
        .find(|output| !disturbed(output))
        .expect("not one look of a hundred was undisturbed")
}
