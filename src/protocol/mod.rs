//! What host and guest agent say to each other: pure values.

pub mod hello;
