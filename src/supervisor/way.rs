//! A client's way to the guest's agent.

use std::sync::{Arc, Weak};

use super::clients::LINK_PATIENCE;
use super::link_keeper::{LinkWatch, down};
use crate::control::message::Reply;
use crate::link::{InUse, Link};

/// A stream to the agent.
pub struct Way {
    pub stream: yamux::Stream,
    /// Not kept: a link ends when nobody holds it.
    pub link: Weak<Link>,
    /// To be held for as long as a client uses it.
    pub in_use: InUse,
}

/// Opens one over this link; else the reply that says why there is none.
pub async fn open(watch: LinkWatch) -> Result<Way, Reply> {
    let up = watch.up_within(LINK_PATIENCE).await?;
    let in_use = up.in_use();
    // One that is lost at this moment: the next one may be up soon.
    let stream = up.open().await.map_err(|e| down(&e.to_string()))?;
    Ok(Way { stream, link: Arc::downgrade(&up), in_use })
}
