//! A VM is saved and loaded, and what was damaged in between never runs.

use std::fs::{self, File};
use std::path::Path;

use nsvm::machine::suspended::Memory;
use nsvm::qemu::command::Entry;
use nsvm::qemu::migration::{MigrationError, load, save};
use nsvm::qemu::process::QemuProcess;
use nsvm::qemu::qmp::Qmp;
use serde_json::Value;

use crate::{SOON, Vm};

fn monitor(vm: &Vm, process: &mut QemuProcess) -> Qmp {
    let path = vm.path("qmp.sock");
    Qmp::connect(&path, SOON, || process.check_alive().is_ok()).unwrap().0
}

/// A VM whose firmware ran for a moment, in a file.
fn saved(vm: &Vm, to: &Path) -> Memory {
    let mut process = vm.start(&[]);
    let qmp = monitor(vm, &mut process);
    qmp.execute("stop", Value::Null, SOON).unwrap();
    let mut file = File::create(to).unwrap();
    let memory = save(&qmp, &vm.path("memory.sock"), &mut file, SOON).unwrap();
    assert_eq!(memory.length, fs::metadata(to).unwrap().len());
    qmp.quit(SOON).unwrap();
    process.wait_exit(SOON).unwrap().expect("quit ends it");
    memory
}

/// Loads it into another QEMU; what that then says of its guest.
fn loaded(vm: &mut Vm, from: &Path, memory: Memory) -> Result<String, MigrationError> {
    vm.launch.entry = Entry::Memory;
    let mut process = vm.start(&[]);
    let qmp = monitor(vm, &mut process);
    let mut file = File::open(from).unwrap();
    let result = load(&qmp, &vm.path("memory.sock"), &mut file, memory, SOON).map(|()| {
        assert_eq!(qmp.query_status(SOON).unwrap(), "paused", "only cont lets it run");
        qmp.execute("cont", Value::Null, SOON).unwrap();
        qmp.query_status(SOON).unwrap()
    });
    let _ = process.kill();
    result
}

#[test]
fn a_vm_goes_on_in_another_qemu() {
    let mut vm = Vm::new();
    let file = vm.path("ram");
    let memory = saved(&vm, &file);
    assert_eq!(loaded(&mut vm, &file, memory).unwrap(), "running");
}

#[test]
fn a_memory_that_is_cut_or_changed_is_never_let_run() {
    let mut vm = Vm::new();
    let file = vm.path("ram");
    let memory = saved(&vm, &file);
    let whole = fs::read(&file).unwrap();

    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let cut = loaded(&mut vm, &file, memory).unwrap_err();
    assert!(matches!(cut, MigrationError::Damaged(_)), "{cut}");
    // A length that fits, as after a power cut on some file systems.
    let zeroed = [&whole[..whole.len() / 2], &vec![0; whole.len() - whole.len() / 2][..]].concat();
    fs::write(&file, zeroed).unwrap();
    let zeroed = loaded(&mut vm, &file, memory).unwrap_err();
    assert!(matches!(zeroed, MigrationError::Damaged(_)), "{zeroed}");

    let mut changed = whole.clone();
    let at = whole.len() / 2;
    changed[at] ^= 1;
    fs::write(&file, changed).unwrap();
    assert!(loaded(&mut vm, &file, memory).is_err());

    // It was not the file's fault that nobody was there to load it.
    fs::write(&file, whole).unwrap();
    assert_eq!(loaded(&mut vm, &file, memory).unwrap(), "running");
}
