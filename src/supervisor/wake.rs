//! The first words to a guest that goes on after it stood still: what time it
//! is, and random numbers of its own.

use std::time::Duration;

use uuid::Uuid;

use super::clock::put_right;
use super::guest::ask;
use crate::link::Link;
use crate::protocol::request::{Bytes, Request};

/// How long the guest may take for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells both; what went wrong is for a warning.
pub async fn wake(link: &Link) -> Result<(), String> {
    let clock = put_right(link).await;
    ask(link, Request::Reseed(seed()), PATIENCE).await?;
    clock.map(drop)
}

/// Uuids of version 4 have 122 random bits each.
fn seed() -> Bytes {
    Bytes::from((0..3).flat_map(|_| Uuid::new_v4().into_bytes()).collect::<Vec<u8>>())
}
