//! Who needs a base image: the machines of this home by their configs, those of
//! other homes by what the cache has written down of them.

use crate::app::Context;
use crate::fs::is_locked;
use crate::image::User;
use crate::machine::config::MachineConfig;
use crate::machine::name::MachineName;
use crate::store::{Store, StoreError};

/// The machines of this home, read at one moment.
pub struct Uses<'a> {
    store: &'a Store,
    machines: Vec<MachineConfig>,
    /// Machines that need nobody knows which base.
    pub unreadable: Vec<StoreError>,
}

impl<'a> Uses<'a> {
    pub fn read(context: &'a Context) -> Result<Self, StoreError> {
        let store = &context.store;
        let (machines, unreadable) = store.list()?;
        Ok(Self { store, machines, unreadable })
    }

    /// Everyone who needs this base; `recorded` is what the cache knows.
    pub fn of(&self, sha256: &str, recorded: Vec<User>) -> Vec<User> {
        let own = self.machines.iter().filter(|config| config.image.sha256 == sha256);
        let own = own.map(|config| User {
            machine: config.name.to_string(),
            overlay: self.store.paths(&config.name).overlay(),
        });
        let mut users: Vec<User> = own.collect();
        for user in recorded {
            if !users.iter().any(|known| known.overlay == user.overlay) && self.counts(&user) {
                users.push(user);
            }
        }
        users.sort();
        users
    }

    /// In this home a disk without a config is what a killed init left, unless
    /// that init still holds the machine's lock.
    fn counts(&self, user: &User) -> bool {
        let Ok(name) = user.machine.parse::<MachineName>() else { return true };
        let paths = self.store.paths(&name);
        paths.overlay() != user.overlay
            || self.store.exists(&name)
            || is_locked(&paths.lock()).unwrap_or(true)
    }
}

/// The machines for a message: by name, those of other homes with their disk.
pub fn named(users: &[User], store: &Store) -> String {
    let name = |user: &User| {
        let parsed = user.machine.parse::<MachineName>();
        let is_own = parsed.is_ok_and(|name| store.paths(&name).overlay() == user.overlay);
        if is_own {
            format!("\"{}\"", user.machine)
        } else {
            format!("\"{}\" (with the disk \"{}\")", user.machine, user.overlay.display())
        }
    };
    users.iter().map(name).collect::<Vec<_>>().join(", ")
}
