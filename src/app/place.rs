//! Where a namespace command runs: in a machine, or on this host.

use super::Context;
use super::local::Local;
use super::session::Connection;
use super::{run, sharing};
use crate::machine::name::MachineName;
use crate::protocol::request::{Bytes, ExecRequest, Surroundings, UserSpec};

/// A kernel with an agent.
#[derive(Debug, Clone)]
pub enum Place {
    Machine { context: Box<Context>, name: MachineName },
    Local(Local),
}

impl Place {
    /// A stream to the agent there.
    pub fn connection(&self) -> anyhow::Result<Connection> {
        match self {
            Self::Machine { context, name } => run::connection(context, name),
            Self::Local(local) => local.connection(),
        }
    }

    /// The same, and one to a machine goes on when what carries it dies. It
    /// ends with this process; `say` tells its user when that takes a while.
    pub fn lasting_connection(&self, say: fn(&str)) -> anyhow::Result<Connection> {
        match self {
            Self::Machine { context, name } => run::lasting_connection(context, name, say),
            Self::Local(local) => local.connection(),
        }
    }

    /// Who runs a request that names nobody; none: whoever calls.
    pub fn default_user(&self) -> anyhow::Result<Option<UserSpec>> {
        match self {
            Self::Machine { context, name } => {
                Ok(Some(run::default_user(&context.store.load(name)?)))
            }
            Self::Local(_) => Ok(None),
        }
    }

    /// Fills in what the place decides: who runs the request; on this host that it
    /// starts from the caller's own surroundings.
    pub fn complete(&self, request: &mut ExecRequest) -> anyhow::Result<()> {
        match self {
            Self::Machine { context, name } => {
                let config = context.store.load(name)?;
                request.user.get_or_insert_with(|| run::default_user(&config));
            }
            Self::Local(_) => request.surroundings = surroundings(request),
        }
        Ok(())
    }

    /// The same for what the caller has typed: where a volume has the caller's
    /// directory, it starts there.
    pub fn complete_typed(&self, request: &mut ExecRequest) -> anyhow::Result<()> {
        if let Self::Machine { context, name } = self {
            let volumes = context.store.load(name)?.volumes;
            let directory = context.directory.as_deref();
            let there = directory.and_then(|dir| sharing::in_guest(&volumes, dir));
            request.caller_cwd = there.map(Bytes::from);
        }
        self.complete(request)
    }

    /// Where all that is typed starts in the user's home.
    #[must_use]
    pub fn at_home(mut self) -> Self {
        if let Self::Machine { context, .. } = &mut self {
            context.directory = None;
        }
        self
    }
}

/// Another user gets a login of its own, as by su(1) with a dash.
fn surroundings(request: &ExecRequest) -> Surroundings {
    if request.user.is_some() { Surroundings::Login } else { Surroundings::Own }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Place {
        Place::Local(Local { program: "/nowhere/nsvm".into(), agent: None })
    }

    #[test]
    fn here_the_caller_keeps_its_surroundings_and_another_user_logs_in() {
        let mut own = ExecRequest::new(["true"]);
        local().complete(&mut own).unwrap();
        assert_eq!((own.user, own.surroundings), (None, Surroundings::Own));
        let mut other = ExecRequest::new(["true"]);
        other.user = Some("nobody".parse().unwrap());
        local().complete(&mut other).unwrap();
        assert_eq!(other.surroundings, Surroundings::Login);
    }

    #[test]
    fn a_missing_agent_or_kernel_is_named() {
        let error = local().connection().err().unwrap();
        let said = if crate::host::HAS_NAMESPACES { "nsvm-agent" } else { "needs a Linux host" };
        assert!(error.to_string().contains(said), "{error}");
    }
}
