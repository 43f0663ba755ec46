//! What the host reads of a guest: its greeting, frames, and listings, which
//! are rendered, too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nsvm::namespace::explain;
use nsvm::namespace::kind::{Kind, Kinds};
use nsvm::namespace::listing::{Art, Choice, Column, Format, Snapshot, Style, Tree, render, rows};
use nsvm::namespace::rootfs::RootFsAnswer;
use nsvm::protocol::frame::Decoder;
use nsvm::protocol::hello::Hello;
use nsvm::protocol::message::FromAgent;

fuzz_target!(|bytes: &[u8]| {
    let _ = Hello::scan(bytes);
    let mut decoder = Decoder::default();
    let space = decoder.space();
    let count = space.len().min(bytes.len());
    space[..count].copy_from_slice(&bytes[..count]);
    decoder.filled(count);
    while let Ok(Some(frame)) = decoder.next() {
        if let Ok(FromAgent::Plan(plan)) = FromAgent::decode(frame) {
            explain::render(&plan.steps, &plan.program);
        }
    }
    let _ = rmp_serde::from_slice::<RootFsAnswer>(bytes);
    if let Ok(snapshot) = rmp_serde::from_slice::<Snapshot>(bytes) {
        show(&snapshot);
    }
});

fn show(snapshot: &Snapshot) {
    for tree in [Tree::None, Tree::Process, Tree::Owner, Tree::Parent] {
        let kinds: Kinds = Kind::ALL.into_iter().collect();
        let choice = Choice { kinds, task: None, persistent: false, namespace: None, tree, filter: None };
        let Ok(rows) = rows(snapshot, &choice) else { continue };
        for style in [Style::Aligned, Style::Raw, Style::Json] {
            let format = Format {
                columns: Column::ALL.to_vec(),
                headings: true,
                style,
                tree,
                nowrap: false,
                width: Some(80),
                art: Art::Lines,
            };
            render(snapshot, &rows, &format);
        }
    }
}
