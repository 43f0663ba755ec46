//! What the agent reads of a host: a stream of frames. A request that can be
//! read must come back from its own encoding unchanged.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nsvm::protocol::frame::{Decoder, HEADER};
use nsvm::protocol::message::FromHost;
use nsvm::protocol::request::Request;

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = decoder.space();
        let count = space.len().min(rest.len());
        space[..count].copy_from_slice(&rest[..count]);
        decoder.filled(count);
        rest = &rest[count..];
        loop {
            match decoder.next() {
                Ok(Some(frame)) => drop(FromHost::decode(frame)),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    if let Ok(request) = Request::decode(bytes) {
        let mut again = Vec::new();
        if request.encode(&mut again).is_ok() {
            assert_eq!(Request::decode(&again[HEADER..]).as_ref(), Ok(&request));
        }
    }
});
