//! Machines that are not to be removed by mistake.

use super::{Context, Refusal};
use crate::machine::config::MachineConfig;
use crate::machine::name::MachineName;

/// Protects each machine, or no longer; none of them is changed where one does
/// not exist.
pub fn protect(context: &Context, names: &[MachineName], protected: bool) -> anyhow::Result<()> {
    for name in names {
        context.store.load(name)?;
    }
    for name in names {
        let _lock = context.store.lock(name)?;
        let config = context.store.load(name)?;
        context.store.save(&MachineConfig { protected, ..config })?;
    }
    Ok(())
}

/// The refusal to remove a protected machine.
pub fn refusal(name: &MachineName) -> Refusal {
    Refusal::new(format!("machine \"{name}\" is protected"))
        .hint(format!("Use `nsvm machine unprotect {name}` first"))
}
