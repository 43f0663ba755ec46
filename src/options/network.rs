//! `--network`: what a new network namespace is given.

use super::OptionError;
use crate::namespace::kind::{Kind, Kinds};
use crate::namespace::network::Network;

/// Shared by whatever makes namespaces.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct NetworkOptions {
    /// The network: none (only loopback), host (the machine's own), or nat (a
    /// way out through the machine); none and nat imply --net
    #[arg(long, value_name = "none|host|nat")]
    network: Option<String>,
}

impl NetworkOptions {
    /// Whether it shall be the one that is there.
    pub fn is_host(&self) -> bool {
        self.network.as_deref() == Some("host")
    }

    /// The network that was asked for, and the kinds with the one it implies.
    pub fn resolve(&self, kinds: Kinds) -> Result<(Network, Kinds), OptionError> {
        let with_net = kinds.union(Kinds::NONE.with(Kind::Net));
        match self.network.as_deref() {
            None => Ok((Network::Bare, kinds)),
            Some("none") => Ok((Network::Loopback, with_net)),
            Some("nat") => Ok((Network::Nat, with_net)),
            Some("host") if kinds.contains(Kind::Net) => {
                Err(OptionError::Exclusive("--net --network=host"))
            }
            Some("host") => Ok((Network::Bare, kinds)),
            Some(other) => Err(OptionError::Network(other.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_implies_its_namespace_and_the_machines_own_forbids_one() {
        let net = Kinds::NONE.with(Kind::Net);
        let resolve = |text: &str, kinds| {
            let options = NetworkOptions { network: Some(text.to_owned()) };
            options.resolve(kinds).map_err(|e| e.to_string())
        };
        assert_eq!(resolve("none", Kinds::NONE), Ok((Network::Loopback, net)));
        assert_eq!(resolve("nat", net), Ok((Network::Nat, net)));
        assert_eq!(resolve("host", Kinds::NONE), Ok((Network::Bare, Kinds::NONE)));
        let refused = "mutually exclusive arguments: --net --network=host".to_owned();
        assert_eq!(resolve("host", net), Err(refused));
        let refused = "invalid --network \"bridge\": it must be none, host or nat".to_owned();
        assert_eq!(resolve("bridge", net), Err(refused));
        assert_eq!(NetworkOptions::default().resolve(net).unwrap(), (Network::Bare, net));
    }
}
