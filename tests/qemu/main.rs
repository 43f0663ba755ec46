//! `nsvm::qemu` against the QEMU of this host: `make test` installs one.

#![cfg(unix)]

mod disk;
mod migration;

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nsvm::fs::{Lock, is_locked};
use nsvm::machine::config::{Arch, DiskFormat};
use nsvm::machine::event::Silent;
use nsvm::machine::units::MiB;
use nsvm::qemu::accel::{Accelerator, Candidate, Choice, Host};
use nsvm::qemu::board::Board;
use nsvm::qemu::choose::{Barrier, Outcome, Prober};
use nsvm::qemu::command::{Entry, Launch, Ram, TcgThreads, argv};
use nsvm::qemu::facts::{Facts, FactsError, survey, survey_with};
use nsvm::qemu::firmware::Firmware;
use nsvm::qemu::locate::Wanted;
use nsvm::qemu::port::free_port;
use nsvm::qemu::probe::ProbeVm;
use nsvm::qemu::process::{Life, ProcessError, QemuProcess, own_words};
use nsvm::qemu::qmp::Qmp;

/// Far above what anything here takes, on a machine that is busy.
const SOON: Duration = Duration::from_secs(30);
const UUID: &str = "2f9c4f0a-1c5e-4d0e-9a53-3b2f6b1d8c11";

const GUEST: Arch = Arch::host();

fn wanted(chosen: Option<&Path>) -> Wanted<'_> {
    Wanted { host: Host::current(), guest: GUEST, chosen }
}

/// The architectures this host has a QEMU for; the host's own must be one.
fn installed() -> Vec<(Arch, Facts)> {
    let dir = tempfile::tempdir().unwrap();
    let survey = |guest| {
        let wanted = Wanted { guest, ..wanted(None) };
        survey(&wanted, &dir.path().join(guest.name()), &Silent).map(|facts| (guest, facts))
    };
    let all: Vec<_> =
        [Arch::X86_64, Arch::Aarch64].into_iter().filter_map(|a| survey(a).ok()).collect();
    assert!(all.iter().any(|(guest, _)| *guest == GUEST), "QEMU for {} is missing", GUEST.name());
    all
}

/// Counts the probe VMs that it has another one run.
struct Counting<'a> {
    inner: ProbeVm<'a>,
    ran: &'a RefCell<Vec<Accelerator>>,
}

impl Prober for Counting<'_> {
    fn barrier(&self, accelerator: Accelerator) -> Option<Barrier> {
        self.inner.barrier(accelerator)
    }

    fn run(&self, candidate: &Candidate, deadline: Duration) -> Outcome {
        self.ran.borrow_mut().push(candidate.accelerator);
        self.inner.run(candidate, deadline)
    }
}

#[test]
fn a_choice_is_made_once_and_then_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("accelerators.json");
    let ran = RefCell::default();
    let choose = || {
        let start = Instant::now();
        let facts = survey_with(&wanted(None), &cache, |qemu| {
            let inner = ProbeVm::new(qemu.path().to_owned(), GUEST, &Silent);
            Box::new(Counting { inner, ran: &ran })
        });
        eprintln!("{:?} in {:?}", ran.borrow(), start.elapsed());
        facts.unwrap()
    };
    let first = choose();
    eprintln!("{:#?}", first.choice);
    let probes = ran.borrow().len();
    assert!(probes > 0);
    let second = choose();
    assert_eq!(first, second);
    assert_eq!(ran.borrow().len(), probes, "the second choice probes nothing");
    // Not always last: on a busy host the others may be asked again after it.
    assert!(ran.borrow().contains(&first.choice.in_use), "what is used has ended its probe");
}

/// A host where no probe can be run, e.g. for want of disk space.
struct Hopeless;

impl Prober for Hopeless {
    fn barrier(&self, _: Accelerator) -> Option<Barrier> {
        None
    }

    fn run(&self, _: &Candidate, _: Duration) -> Outcome {
        Outcome::Failed("no space left".into())
    }
}

#[test]
fn what_failed_altogether_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("accelerators.json");
    let error = survey_with(&wanted(None), &cache, |_| Box::new(Hopeless)).unwrap_err();
    assert!(error.to_string().ends_with("tcg: no space left"), "{error}");
    let facts = survey(&wanted(None), &cache, &Silent).unwrap();
    let reasons = facts.choice.rejected.iter().map(|rejection| rejection.reason.as_str());
    assert_eq!(reasons.filter(|reason| reason.contains("no space")).count(), 0);
}

/// A stand-in for QEMU that counts its starts in the file `starts`.
fn wrapper(dir: &Path, real: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.join("qemu-system-x86_64");
    let starts = dir.join("starts");
    let script =
        format!("#!/bin/sh\necho >>'{}'\nexec '{}' \"$@\"\n", starts.display(), real.display());
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_remembered_choice_starts_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("accelerators.json");
    let real = survey(&wanted(None), &cache, &Silent).unwrap().qemu;
    let program = wrapper(dir.path(), real.path());
    let starts = || fs::read(dir.path().join("starts")).unwrap().len();
    let ask = || survey(&wanted(Some(&program)), &cache, &Silent).unwrap();
    let first = ask();
    assert!(starts() > 0);
    let before = starts();
    assert_eq!(ask(), first);
    assert_eq!(starts(), before);
    // An upgraded program is a new one.
    fs::write(&program, fs::read_to_string(&program).unwrap() + "\n").unwrap();
    assert_eq!(ask().choice.in_use, first.choice.in_use);
    assert!(starts() > before);
}

#[test]
fn the_translators_probe_ends_well() {
    for (guest, facts) in installed() {
        let prober = ProbeVm::new(facts.qemu.path().to_owned(), guest, &Silent);
        let outcome = prober.run(&Candidate::tcg(guest), SOON);
        eprintln!("{}: {outcome:?}", guest.name());
        assert!(matches!(outcome, Outcome::Ended(_)), "{outcome:?}");
        let early = prober.run(&Candidate::tcg(guest), Duration::from_millis(1));
        assert_eq!(early, Outcome::Late);
    }
}

#[test]
fn a_cpu_that_does_not_exist_is_a_failure_in_qemus_words() {
    let facts = survey(&wanted(None), &tempfile::tempdir().unwrap().path().join("c"), &Silent);
    let prober = ProbeVm::new(facts.unwrap().qemu.path().to_owned(), GUEST, &Silent);
    let nonsense = Candidate { cpu_model: "nonsense".into(), ..Candidate::tcg(GUEST) };
    let outcome = prober.run(&nonsense, SOON);
    let expected = Outcome::Failed("unable to find CPU model 'nonsense'".into());
    assert_eq!(outcome, expected);
}

#[test]
fn a_program_that_is_not_there_has_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("qemu");
    let error = survey(&wanted(Some(&absent)), &dir.path().join("c"), &Silent).unwrap_err();
    assert!(matches!(error, FactsError::ChosenAbsent(_)), "{error}");
    assert!(error.hint().unwrap().contains("NSVM_QEMU"));
}

/// A VM without a system on its disk, stopped before its first instruction.
struct Vm {
    dir: tempfile::TempDir,
    launch: Launch,
    qemu: PathBuf,
}

impl Vm {
    fn new() -> Self {
        let own = installed().into_iter().find(|(guest, _)| *guest == GUEST).unwrap();
        Self::with(own)
    }

    fn with((guest, facts): (Arch, Facts)) -> Self {
        // Names with all that a path may hold.
        let dir = tempfile::Builder::new().prefix("ns vm,ü ").tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        disk::create_empty(&path("disk.qcow2"));
        disk::create_empty(&path("base.qcow2"));
        fs::write(path("t1.ign"), "{}").unwrap();
        let tcg = Candidate::tcg(guest);
        let launch = Launch {
            host: Host::current(),
            arch: guest,
            board: if guest == Arch::Aarch64 { Board::Virt } else { Board::Q35 },
            choice: Choice {
                in_use: tcg.accelerator,
                cpu_model: tcg.cpu_model,
                rejected: Vec::new(),
            },
            tcg_threads: TcgThreads::Default,
            sandbox: facts.qemu.features.sandbox,
            // Not as flash: this host's own variables are nobody's to write.
            firmware: facts.firmware.as_ref().map(|found| Firmware::Image(found.code().into())),
            name: "t1".parse().unwrap(),
            uuid: UUID.into(),
            cpus: 2,
            memory: MiB(128),
            ram: Ram::Own,
            overlay: path("disk.qcow2"),
            layers: Vec::new(),
            base: path("base.qcow2"),
            base_format: DiskFormat::Qcow2,
            ignition: Some(path("t1.ign")),
            seed: None,
            settings: None,
            volumes: Vec::new(),
            ports: Vec::new(),
            environment: None,
            ssh_port: free_port(None).unwrap(),
            qmp_socket: path("qmp.sock").into(),
            ready_socket: path("ready.sock").into(),
            link_socket: path("link.sock").into(),
            serial_log: path("serial.log"),
            kernel_arguments: Some("a=b,c".into()),
            kernel: None,
            tsc_khz: None,
            entry: Entry::Boot,
        };
        let qemu = facts.qemu.path().to_owned();
        Self { dir, launch, qemu }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self, extra: &[&str]) -> QemuProcess {
        let lock = Lock::acquire(&self.path("vm.lock"), SOON).unwrap();
        let argv: Vec<OsString> =
            argv(&self.launch).into_iter().chain(extra.iter().map(OsString::from)).collect();
        QemuProcess::start(&self.qemu, &argv, &self.path("qemu.log"), lock, Life::Own).unwrap()
    }

    fn locked(&self) -> bool {
        is_locked(&self.path("vm.lock")).unwrap()
    }
}

fn early_death(process: &mut QemuProcess) -> ProcessError {
    process.wait_exit(SOON).unwrap().expect("it ends by itself");
    process.check_alive().unwrap_err()
}

#[test]
fn a_vm_lives_holds_its_lock_and_ends_by_its_monitor() {
    for own in installed() {
        live_and_end(&Vm::with(own));
    }
}

fn live_and_end(vm: &Vm) {
    let mut process = vm.start(&["-S"]);
    let path = vm.path("qmp.sock");
    let connected = Qmp::connect(&path, SOON, || process.check_alive().is_ok());
    let (qmp, mut events) =
        connected.unwrap_or_else(|error| panic!("{error}: {}", own_words(&vm.path("qemu.log"))));
    assert_eq!(qmp.query_uuid(SOON).unwrap(), UUID);
    assert_eq!(qmp.query_status(SOON).unwrap(), "prelaunch");
    assert!(vm.locked());
    assert!(vm.path("ready.sock").exists());
    qmp.quit(SOON).unwrap();
    let status = process.wait_exit(SOON).unwrap().expect("quit ends it");
    assert!(status.success(), "{status}");
    assert!(!vm.locked());
    assert_eq!(events.blocking_recv().unwrap().name, "SHUTDOWN");
    assert_eq!(events.blocking_recv(), None);
    assert_eq!(own_words(&vm.path("qemu.log")), "", "no option of ours is deprecated");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn an_empty_disk_is_told_on_the_serial_console() {
    let vm = Vm::new();
    let mut process = vm.start(&[]);
    let end = Instant::now() + SOON;
    let console = || nsvm::qemu::tail::tail(&vm.path("serial.log"), 10);
    while !console().contains("No bootable device") {
        process.check_alive().unwrap();
        assert!(Instant::now() < end, "{}", console());
        std::thread::sleep(Duration::from_millis(20));
    }
    process.kill().unwrap();
}

#[test]
fn a_missing_disk_ends_it_early_with_the_reason() {
    let vm = Vm::new();
    fs::remove_file(vm.path("disk.qcow2")).unwrap();
    let mut process = vm.start(&["-S"]);
    let error = Qmp::connect(&vm.path("qmp.sock"), SOON, || process.check_alive().is_ok());
    assert!(error.is_err());
    let text = early_death(&mut process).to_string();
    assert!(text.contains("disk.qcow2"), "{text}");
}

#[test]
fn a_port_that_was_taken_meanwhile_is_told() {
    let vm = Vm::new();
    let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, vm.launch.ssh_port)).unwrap();
    let mut process = vm.start(&["-S"]);
    let text = early_death(&mut process).to_string();
    assert!(text.contains("Could not set up host forwarding rule"), "{text}");
}
