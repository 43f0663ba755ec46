//! Probe VMs: a payload of a few instructions that does real work and powers
//! off, run under an accelerator to see whether that one works. A device node
//! proves nothing, and neither do KVM's own capability calls.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::accel::{Accelerator, Candidate};
use super::choose::{Barrier, Outcome, Prober};
use super::command::{accel_value, escape};
use super::tail::tail;
use crate::host::Bounded;
use crate::machine::config::Arch;
use crate::machine::event::Progress;

/// Payload and exit status by which it says that it did its work.
const fn payload(guest: Arch) -> (&'static [u8], i32) {
    match guest {
        // isa-debug-exit: (0x31 << 1) | 1.
        Arch::X86_64 => (include_bytes!("probe/x86_64.bin"), 99),
        Arch::Aarch64 => (include_bytes!("probe/aarch64.bin"), 0),
    }
}

/// Runs probe VMs with one QEMU program.
pub struct ProbeVm<'p> {
    qemu: PathBuf,
    guest: Arch,
    progress: &'p dyn Progress,
}

impl<'p> ProbeVm<'p> {
    pub fn new(qemu: PathBuf, guest: Arch, progress: &'p dyn Progress) -> Self {
        Self { qemu, guest, progress }
    }

    fn try_run(&self, candidate: &Candidate, deadline: Duration) -> io::Result<Outcome> {
        let dir = tempfile::Builder::new().prefix("nsvm-probe-").tempdir()?;
        let (payload, done) = payload(self.guest);
        let disk = dir.path().join("payload");
        std::fs::write(&disk, payload)?;
        let log = dir.path().join("log");
        let start = Instant::now();
        let mut vm = Bounded::start(&mut self.command(candidate, &disk, &log)?, deadline)?;
        let Some(status) = vm.wait()? else {
            return Ok(Outcome::Late);
        };
        Ok(if status.code() == Some(done) {
            Outcome::Ended(start.elapsed())
        } else {
            Outcome::Failed(own_words(&tail(&log, 8)).unwrap_or_else(|| unexpected(status)))
        })
    }

    fn command(&self, candidate: &Candidate, disk: &Path, log: &Path) -> io::Result<Command> {
        let mut command = Command::new(&self.qemu);
        command.args(argv(self.guest, candidate, disk)).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(log)?);
        Ok(command)
    }
}

impl Prober for ProbeVm<'_> {
    fn barrier(&self, accelerator: Accelerator) -> Option<Barrier> {
        match accelerator {
            Accelerator::Kvm => kvm_barrier(Path::new("/dev/kvm")),
            _ => None,
        }
    }

    fn run(&self, candidate: &Candidate, deadline: Duration) -> Outcome {
        self.progress.step(format!("Probing accelerator {}", candidate.accelerator));
        self.try_run(candidate, deadline)
            .unwrap_or_else(|error| Outcome::Failed(format!("cannot run a probe VM: {error}")))
    }
}

/// The probe's arguments: the payload as boot sector or kernel, nothing else.
/// A triple fault ends it too (`-no-reboot`).
fn argv(guest: Arch, candidate: &Candidate, disk: &Path) -> Vec<OsString> {
    let mut argv: Vec<OsString> = ["-no-user-config", "-nodefaults", "-no-reboot"]
        .into_iter()
        .chain(["-display", "none", "-name", "nsvm-probe", "-m", "16"])
        .map(OsString::from)
        .collect();
    let machine: &[&str] = match guest {
        Arch::X86_64 => &["-M", "pc", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"],
        Arch::Aarch64 => &["-M", "virt,gic-version=max"],
    };
    argv.extend(machine.iter().map(OsString::from));
    argv.extend(["-accel".into(), accel_value(candidate.accelerator, guest).into()]);
    argv.extend(["-cpu".into(), candidate.cpu_model.clone().into()]);
    match guest {
        Arch::X86_64 => {
            let mut drive = OsString::from("if=ide,format=raw,file=");
            drive.push(escape(disk.as_os_str()));
            argv.extend(["-drive".into(), drive]);
        }
        Arch::Aarch64 => argv.extend(["-kernel".into(), disk.into()]),
    }
    argv
}

/// The line in which QEMU says why it gave up, without its own name. An
/// assertion only repeats in C what the line before it said.
fn own_words(stderr: &str) -> Option<String> {
    let said = |line: &&str| !line.trim().is_empty();
    let lines = || stderr.lines().rev().filter(said);
    let line = lines().find(|line| !line.contains(": Assertion `")).or_else(|| lines().next())?;
    let words = line.split_once(": ").filter(|(name, _)| name.contains("qemu-system-"));
    Some(words.map_or(line, |(_, rest)| rest).trim().to_owned())
}

fn unexpected(status: ExitStatus) -> String {
    format!("the probe VM ended without doing its work ({status})")
}

/// What the device node itself tells, before anything is run.
fn kvm_barrier(node: &Path) -> Option<Barrier> {
    let error = OpenOptions::new().read(true).write(true).open(node).err()?;
    let name = node.display();
    Some(match error.kind() {
        io::ErrorKind::NotFound => Barrier {
            reason: format!("\"{name}\" does not exist"),
            hint: Some(
                "Enable virtualization in the firmware (or nested virtualization), then run: \
                 sudo modprobe kvm"
                    .into(),
            ),
        },
        io::ErrorKind::PermissionDenied => Barrier {
            reason: format!("this user may not open \"{name}\""),
            hint: Some("Run: sudo usermod -aG kvm \"$USER\", then log in again".into()),
        },
        _ => Barrier { reason: format!("cannot open \"{name}\": {error}"), hint: None },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::accel::{Host, Os, candidates};

    #[test]
    fn the_reason_is_what_qemu_said_last() {
        let broken_kvm = "qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69\n\
            qemu-system-x86_64: ../../target/i386/kvm/kvm.c:3183: kvm_buf_set_msrs: \
            Assertion `ret == cpu->kvm_msr_buf->nmsrs' failed.";
        assert_eq!(own_words(broken_kvm).unwrap(), "error: failed to set MSR 0x10a to 0x69");
        let windows = r"C:\qemu\qemu-system-x86_64.exe: -accel whpx: WHPX: No accelerator found";
        assert_eq!(own_words(windows).unwrap(), "-accel whpx: WHPX: No accelerator found");
        assert_eq!(own_words("out of luck\n\n").unwrap(), "out of luck");
        assert_eq!(own_words(""), None);
    }

    #[test]
    fn a_missing_node_is_a_barrier_with_a_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let barrier = kvm_barrier(&dir.path().join("kvm")).unwrap();
        assert!(barrier.reason.ends_with("does not exist"), "{}", barrier.reason);
        assert!(barrier.hint.is_some());
        let node = dir.path().join("present");
        std::fs::write(&node, "").unwrap();
        assert_eq!(kvm_barrier(&node), None);
    }

    fn joined(guest: Arch, os: Os) -> String {
        let candidate = &candidates(Host { os, arch: guest }, guest)[0];
        let argv = argv(guest, candidate, Path::new("a,b"));
        argv.iter().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_probe_has_the_payload_and_nothing_else() {
        assert_eq!(
            joined(Arch::X86_64, Os::Windows),
            "-no-user-config -nodefaults -no-reboot -display none -name nsvm-probe -m 16 \
             -M pc -device isa-debug-exit,iobase=0xf4,iosize=1 \
             -accel whpx,kernel-irqchip=off -cpu max,vmx=off,monitor=off \
             -drive if=ide,format=raw,file=a,,b"
        );
        assert_eq!(
            joined(Arch::Aarch64, Os::MacOs),
            "-no-user-config -nodefaults -no-reboot -display none -name nsvm-probe -m 16 \
             -M virt,gic-version=max -accel hvf -cpu host -kernel a,b"
        );
    }

    /// Assembles a payload's source; `None` where there is no assembler for it.
    fn assemble(guest: Arch, source: &str) -> Option<Vec<u8>> {
        let tool = |name: &str| which::which(format!("{}-linux-gnu-{name}", guest.name())).ok();
        let (assembler, objcopy) = (tool("as")?, tool("objcopy")?);
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("a.S"), source).unwrap();
        let run = |program: &Path, args: &[&str], files: [PathBuf; 2]| {
            let status = Command::new(program).args(args).args(files).status().unwrap();
            assert!(status.success(), "{}", program.display());
        };
        run(&assembler, &["-o"], [path("a.o"), path("a.S")]);
        run(&objcopy, &["-O", "binary", "-j", ".text"], [path("a.o"), path("a.bin")]);
        Some(std::fs::read(path("a.bin")).unwrap())
    }

    #[test]
    fn the_payloads_are_their_sources() {
        for (guest, source) in [
            (Arch::X86_64, include_str!("probe/x86_64.S")),
            (Arch::Aarch64, include_str!("probe/aarch64.S")),
        ] {
            if let Some(assembled) = assemble(guest, source) {
                assert!(assembled == payload(guest).0, "{} differs", guest.name());
            }
        }
    }
}
