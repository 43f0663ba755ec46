//! What the guest is told at its first boot: one description, rendered for
//! Ignition and for cloud-init. The templates are in `machine-config/`.

pub mod authorities;
pub mod cloud_init;
pub mod guest;
pub mod ignition;
pub mod keys;
pub mod seed;
pub mod settings;
pub mod time_zone;
