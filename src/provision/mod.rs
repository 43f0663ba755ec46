//! What the guest is told at its first boot: one description, rendered for
//! Ignition. The templates are in `machine-config/`.

pub mod guest;
pub mod ignition;
pub mod keys;
