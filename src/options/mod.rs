//! The options of unshare(1), nsenter(1) and their relatives, as clap reads
//! them, and what they mean: values of [`crate::namespace`]. Whose streams,
//! terminal and machine a program gets is the command's own. [`verdict`] says
//! how such a command ends.

mod create;
mod error;
mod getopt;
mod id_maps;
mod kinds;
mod limits;
mod lsns;
mod network;
mod nsenter;
mod unshare;
mod values;
pub mod verdict;

pub use create::CreateOptions;
pub use error::{OptionError, getopt_wording};
pub use getopt::{getopt_form, verb};
pub use id_maps::IdMapOptions;
pub use kinds::{KindFiles, KindFlags};
pub use limits::LimitOptions;
pub use lsns::LsnsOptions;
pub use network::NetworkOptions;
pub use nsenter::NsenterOptions;
pub use unshare::UnshareOptions;

use std::ffi::OsStr;

use serde_bytes::ByteBuf;

/// The exact bytes of an argument. (On Windows: UTF-8 of what was typed.)
pub fn bytes(text: &OsStr) -> ByteBuf {
    ByteBuf::from(text.as_encoded_bytes().to_vec())
}
