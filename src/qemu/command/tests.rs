use super::*;
use crate::qemu::accel::candidates;
use crate::qemu::board::Able;

fn launch(os: Os, arch: Arch, accelerator: Accelerator) -> Launch {
    let host = Host { os, arch };
    let able = Able { accelerator, microvm: true, tsc: true };
    let all = candidates(host, arch);
    let candidate = all.into_iter().find(|c| c.accelerator == accelerator).unwrap();
    let choice =
        Choice { in_use: accelerator, cpu_model: candidate.cpu_model, rejected: Vec::new() };
    Launch {
        host,
        arch,
        board: Board::choose(arch, None, able),
        choice,
        tcg_threads: TcgThreads::Default,
        sandbox: false,
        firmware: None,
        name: "t1".parse().unwrap(),
        uuid: "2f9c4f0a-1c5e-4d0e-9a53-3b2f6b1d8c11".into(),
        cpus: 2,
        memory: MiB(1024),
        ram: Ram::Own,
        overlay: "/d/disk.qcow2".into(),
        layers: Vec::new(),
        base: "/c/base.qcow2".into(),
        base_format: DiskFormat::Qcow2,
        ignition: None,
        seed: None,
        environment: None,
        settings: None,
        volumes: Vec::new(),
        ssh_port: 40022,
        ports: Vec::new(),
        qmp_socket: "/r/qmp.sock".into(),
        ready_socket: "/r/ready.sock".into(),
        link_socket: "/r/link.sock".into(),
        serial_log: "/s/serial.log".into(),
        kernel_arguments: None,
        kernel: None,
        tsc_khz: None,
        entry: Entry::Boot,
    }
}

fn lines(launch: &Launch) -> Vec<String> {
    argv(launch).into_iter().map(|arg| arg.into_string().unwrap()).collect()
}

/// The value after an option; `None` when the option is absent.
fn value(launch: &Launch, option: &str) -> Option<String> {
    let lines = lines(launch);
    let at = lines.iter().position(|arg| arg == option)?;
    lines.get(at + 1).cloned()
}

/// What all hosts have in common: everything after `-boot`.
const DEVICES: [&str; 30] = [
    "-boot",
    "menu=off,strict=on",
    "-blockdev",
    "driver=qcow2,node-name=disk0,discard=unmap,detect-zeroes=unmap,\
     file.driver=file,file.discard=unmap,file.filename=/d/disk.qcow2,\
     backing.driver=qcow2,backing.file.driver=file,backing.file.filename=/c/base.qcow2",
    "-device",
    "virtio-blk-pci,drive=disk0,bootindex=1",
    "-netdev",
    "user,id=net0,hostfwd=tcp:127.0.0.1:40022-:22",
    "-device",
    "virtio-net-pci,netdev=net0,romfile=,mac=52:54:00:12:34:56",
    "-device",
    "virtio-rng-pci",
    "-device",
    "virtio-balloon-pci,free-page-reporting=on,deflate-on-oom=on",
    "-chardev",
    "socket,id=ready,server=on,wait=off,path=/r/ready.sock",
    "-chardev",
    "socket,id=link,server=on,wait=off,path=/r/link.sock",
    "-device",
    "virtio-serial-pci",
    "-device",
    "virtserialport,chardev=ready,name=nsvm.ready",
    "-device",
    "virtserialport,chardev=link,name=nsvm.link,id=link0",
    "-chardev",
    "file,id=serial0,append=on,path=/s/serial.log",
    "-serial",
    "chardev:serial0",
    "-chardev",
    "socket,id=qmp,server=on,wait=off,path=/r/qmp.sock",
];

fn whole(head: &[&str], tail: &[&str]) -> Vec<String> {
    let uuid = ["-uuid", "2f9c4f0a-1c5e-4d0e-9a53-3b2f6b1d8c11"];
    let start = ["-no-user-config", "-nodefaults", "-display", "none", "-name", head[0]];
    let size = ["-smp", "cpus=2", "-m", "size=1024M"];
    let monitor = ["-mon", "chardev=qmp,mode=control"];
    let generation = ["-device", "vmgenid,guid=auto"];
    let generation = if head.contains(&Q35) { &generation[..] } else { &[] };
    let parts: [&[&str]; 8] =
        [&start, &uuid, &head[1..], &size, &DEVICES, &monitor, generation, tail];
    parts.concat().into_iter().map(str::to_owned).collect()
}

const Q35: &str = "q35,graphics=off,vmport=off,smbus=off,sata=off";
const VIRT: &str = "virt,gic-version=max,highmem=on";
const ON_LINUX: &str = "guest=nsvm-t1,process=nsvm-t1";
const ELSEWHERE: &str = "guest=nsvm-t1";

/// What each machine has beside its disk.
const VARIABLES: &str = "/d/efi-variables.fd";

/// The board with its flash devices, and what is in them.
fn flash(code: &str) -> (String, [String; 4]) {
    let node = "driver=raw,node-name=";
    let of = |name: &str, path: &str| format!("{node}{name},file.driver=file,file.filename={path}");
    let code = of("code0,read-only=on", code);
    let pair = ["-blockdev".into(), code, "-blockdev".into(), of("variables0", VARIABLES)];
    (format!("{VIRT},pflash0=code0,pflash1=variables0"), pair)
}

fn with_flash(mut launch: Launch, code: &str) -> Launch {
    launch.firmware = Some(Firmware::Flash { code: code.into(), variables: VARIABLES.into() });
    launch
}

/// The whole command line of a guest that has its firmware in flash.
fn whole_with_flash(name: &str, accel: &str, cpu: &str, code: &str) -> Vec<String> {
    let (board, pair) = flash(code);
    let pair: Vec<&str> = pair.iter().map(String::as_str).collect();
    whole(&[&[name, "-machine", &board, "-accel", accel, "-cpu", cpu][..], &pair].concat(), &[])
}

#[test]
fn linux_x86_64_translated() {
    let mut launch = launch(Os::Linux, Arch::X86_64, Accelerator::Tcg);
    launch.sandbox = true;
    launch.ignition = Some("/c/machine/t1.ign".into());
    launch.kernel_arguments = Some("quiet rd.driver.pre=a,b".into());
    let head = [ON_LINUX, "-machine", Q35, "-accel", "tcg,tb-size=256", "-cpu", "max,-erms"];
    let tail = [
        "-fw_cfg",
        "name=opt/com.coreos/config,file=/c/machine/t1.ign",
        "-smbios",
        "type=11,value=io.systemd.stub.kernel-cmdline-extra=quiet rd.driver.pre=a,,b",
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ];
    assert_eq!(lines(&launch), whole(&head, &tail));
}

#[test]
fn a_kernel_of_the_image_is_started_without_a_boot_loader() {
    let mut launch = launch(Os::Linux, Arch::X86_64, Accelerator::Tcg);
    launch.kernel_arguments = Some("panic=5 rd.driver.pre=a,b".into());
    launch.kernel = Some(Kernel {
        image: "/c,1/boot/kernel".into(),
        initrd: "/c,1/boot/initrd".into(),
        arguments: "quiet".into(),
    });
    let head = [ON_LINUX, "-machine", Q35, "-accel", "tcg,tb-size=256", "-cpu", "max,-erms"];
    let tail = [
        "-kernel",
        "/c,1/boot/kernel",
        "-initrd",
        "/c,1/boot/initrd",
        "-append",
        "quiet panic=5 rd.driver.pre=a,b",
    ];
    assert_eq!(lines(&launch), whole(&head, &tail));
    launch.kernel_arguments = None;
    assert_eq!(value(&launch, "-append").as_deref(), Some("quiet"));
}

#[test]
fn a_microvm_is_told_what_it_cannot_measure() {
    let mut launch = launch(Os::Linux, Arch::X86_64, Accelerator::Tcg);
    launch.board = Board::MicroVm;
    launch.tsc_khz = Some(2_596_126);
    launch.kernel_arguments = Some("panic=5".into());
    launch.kernel = Some(Kernel {
        image: "/c/kernel".into(),
        initrd: "/c/initrd".into(),
        arguments: "quiet".into(),
    });
    launch.ram = Ram::Written("/c/memory".into());
    let board = value(&launch, "-machine").unwrap();
    assert!(board.starts_with("microvm,") && board.ends_with(",memory-backend=microvm.ram"));
    assert!(value(&launch, "-object").unwrap().contains("id=microvm.ram,"));
    let told = value(&launch, "-append");
    assert_eq!(told.as_deref(), Some("quiet panic=5 tsc_early_khz=2596126"));
    assert!(lines(&launch).iter().all(|line| !line.contains("vmgenid")));
    // Another measurement is no other hardware; another board is.
    let again = Launch { tsc_khz: Some(2_596_130), ..launch.clone() };
    assert_eq!(digest(&again), digest(&launch));
    let other = Launch { board: Board::Q35, ..launch.clone() };
    assert_ne!(digest(&other), digest(&launch));
}

#[test]
fn the_seed_is_a_second_disk_that_nobody_writes() {
    let mut launch = launch(Os::Linux, Arch::X86_64, Accelerator::Kvm);
    launch.seed = Some("/d/my seed,1.img".into());
    launch.environment = Some("/r/environment".into());
    let lines = lines(&launch);
    let at = |wanted: &str| lines.iter().position(|line| line == wanted).unwrap();
    let seed = "driver=raw,node-name=seed0,read-only=on,file.driver=file,\
                file.filename=/d/my seed,,1.img";
    assert!(at("virtio-blk-pci,drive=disk0,bootindex=1") < at(seed));
    assert_eq!(at(seed) + 2, at("virtio-blk-pci,drive=seed0"));
    at("name=opt/nsvm/environment,file=/r/environment");
}

#[test]
fn an_old_qemu_translates_on_one_thread() {
    let mut launch = launch(Os::Linux, Arch::X86_64, Accelerator::Tcg);
    launch.tcg_threads = TcgThreads::sound_for(Version::new(8, 0, 5));
    assert_eq!(value(&launch, "-accel").as_deref(), Some("tcg,tb-size=256,thread=single"));
    launch.tcg_threads = TcgThreads::sound_for(Version::new(8, 1, 0));
    assert_eq!(value(&launch, "-accel").as_deref(), Some("tcg,tb-size=256"));
    launch.tcg_threads = TcgThreads::One;
    launch.choice.in_use = Accelerator::Kvm;
    assert_eq!(value(&launch, "-accel").as_deref(), Some("kvm"));
}

#[test]
fn linux_x86_64_under_kvm() {
    let launch = launch(Os::Linux, Arch::X86_64, Accelerator::Kvm);
    let head = [ON_LINUX, "-machine", Q35, "-accel", "kvm", "-cpu", "host"];
    assert_eq!(lines(&launch), whole(&head, &[]));
}

#[test]
fn linux_aarch64_translated_and_under_kvm() {
    for (accelerator, accel, cpu) in [
        (Accelerator::Tcg, "tcg,tb-size=256", "max,pauth-impdef=on"),
        (Accelerator::Kvm, "kvm", "host"),
    ] {
        let code = "/usr/share/AAVMF/AAVMF_CODE.fd";
        let launch = with_flash(launch(Os::Linux, Arch::Aarch64, accelerator), code);
        assert_eq!(lines(&launch), whole_with_flash(ON_LINUX, accel, cpu, code));
    }
}

#[test]
fn firmware_that_fits_no_flash_is_one_image() {
    let mut launch = launch(Os::Linux, Arch::Aarch64, Accelerator::Kvm);
    launch.firmware = Some(Firmware::Image("/usr/share/edk2/aarch64/QEMU_EFI.fd".into()));
    let bios = ["-bios", "/usr/share/edk2/aarch64/QEMU_EFI.fd"];
    let head = [&[ON_LINUX, "-machine", VIRT, "-accel", "kvm", "-cpu", "host"][..], &bios].concat();
    assert_eq!(lines(&launch), whole(&head, &[]));
}

#[test]
fn macos_arm64_under_hvf() {
    for code in [
        "/opt/homebrew/share/qemu/edk2-aarch64-code.fd",
        "/opt/local/share/qemu/edk2-aarch64-code.fd",
    ] {
        let launch = with_flash(launch(Os::MacOs, Arch::Aarch64, Accelerator::Hvf), code);
        assert_eq!(lines(&launch), whole_with_flash(ELSEWHERE, "hvf", "host", code));
    }
}

#[test]
fn macos_x86_64_under_hvf() {
    let launch = launch(Os::MacOs, Arch::X86_64, Accelerator::Hvf);
    let head = [ELSEWHERE, "-machine", Q35, "-accel", "hvf", "-cpu", "host"];
    assert_eq!(lines(&launch), whole(&head, &[]));
}

#[test]
fn windows_x86_64_under_whpx() {
    let launch = launch(Os::Windows, Arch::X86_64, Accelerator::Whpx);
    let accel = "whpx,kernel-irqchip=off";
    let cpu = "max,vmx=off,monitor=off";
    let head = [ELSEWHERE, "-machine", Q35, "-accel", accel, "-cpu", cpu];
    assert_eq!(lines(&launch), whole(&head, &[]));
}

#[test]
fn windows_arm64_under_whpx() {
    let code = r"C:\Program Files\qemu\share\edk2-aarch64-code.fd";
    let launch = with_flash(launch(Os::Windows, Arch::Aarch64, Accelerator::Whpx), code);
    assert_eq!(lines(&launch), whole_with_flash(ELSEWHERE, "whpx", "host", code));
}

#[test]
fn macos_and_windows_translated() {
    for os in [Os::MacOs, Os::Windows] {
        let intel = launch(os, Arch::X86_64, Accelerator::Tcg);
        let head = [ELSEWHERE, "-machine", Q35, "-accel", "tcg,tb-size=256", "-cpu", "max,-erms"];
        assert_eq!(lines(&intel), whole(&head, &[]));
        let arm = with_flash(launch(os, Arch::Aarch64, Accelerator::Tcg), "/f,1.fd");
        let cpu = "max,pauth-impdef=on";
        assert_eq!(lines(&arm), whole_with_flash(ELSEWHERE, "tcg,tb-size=256", cpu, "/f,,1.fd"));
    }
}

#[test]
fn paths_keep_commas_spaces_and_letters_of_any_script() {
    let mut launch = launch(Os::Windows, Arch::X86_64, Accelerator::Whpx);
    launch.overlay = r"C:\Users\Zoë, Ltd\my disk,v2.qcow2".into();
    launch.serial_log = "/tmp/наш журнал,1".into();
    let disk = value(&launch, "-blockdev").unwrap();
    let escaped = r",file.filename=C:\Users\Zoë,, Ltd\my disk,,v2.qcow2,backing.driver=";
    assert!(disk.contains(escaped), "{disk}");
    let lines = lines(&launch);
    assert!(lines.contains(&"file,id=serial0,append=on,path=/tmp/наш журнал,,1".to_owned()));
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_utf_8_keeps_its_bytes() {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let odd = OsString::from_vec(b"/d/\xff,\xfe".to_vec());
    assert_eq!(escape(&odd).as_bytes(), b"/d/\xff,,\xfe");
}

#[test]
fn the_confinement_is_asked_for_only_where_it_exists() {
    let mut launch = launch(Os::Linux, Arch::X86_64, Accelerator::Kvm);
    assert_eq!(value(&launch, "-sandbox"), None);
    launch.sandbox = true;
    assert!(value(&launch, "-sandbox").unwrap().contains("spawn=deny"));
}

#[test]
fn published_ports_are_on_the_loopback_beside_ssh() {
    let mut launch = launch(Os::Linux, Arch::X86_64, Accelerator::Kvm);
    launch.ports = vec!["8080:80".parse().unwrap(), "5432:5432".parse().unwrap()];
    assert_eq!(
        value(&launch, "-netdev").unwrap(),
        "user,id=net0,hostfwd=tcp:127.0.0.1:40022-:22,hostfwd=tcp:127.0.0.1:8080-:80,\
         hostfwd=tcp:127.0.0.1:5432-:5432"
    );
}

#[test]
fn volumes_are_shared_by_9p_and_qemu_keeps_the_read_only_ones() {
    let mut launch = launch(Os::Linux, Arch::X86_64, Accelerator::Kvm);
    assert_eq!(value(&launch, "-fsdev"), None);
    let dir = |tag: &str, path: &str, read_only| SharedDir {
        tag: tag.into(),
        path: path.into(),
        read_only,
    };
    launch.volumes = vec![dir("nsvm0", "/my dir,1", true), dir("nsvm1", "/b", false)];
    launch.settings = Some("/r/settings".into());
    let lines = lines(&launch);
    let at = |wanted: &str| lines.iter().position(|line| line == wanted).unwrap();
    let first = "local,id=nsvm0,security_model=none,multidevs=remap,readonly=on,path=/my dir,,1";
    assert_eq!(at(first) + 2, at("virtio-9p-pci,fsdev=nsvm0,mount_tag=nsvm0"));
    at("local,id=nsvm1,security_model=none,multidevs=remap,path=/b");
    at("name=opt/nsvm/settings,file=/r/settings");
}

#[test]
fn a_raw_base_is_never_guessed_at() {
    let mut launch = launch(Os::Linux, Arch::X86_64, Accelerator::Kvm);
    launch.base = "/c/a, b.raw".into();
    launch.base_format = DiskFormat::Raw;
    let disk = value(&launch, "-blockdev").unwrap();
    let end = ",backing.driver=raw,backing.file.driver=file,backing.file.filename=/c/a,, b.raw";
    assert!(disk.ends_with(end), "{disk}");
}

#[test]
fn endpoints_on_loopback_listen_nowhere_else() {
    let mut launch = launch(Os::Windows, Arch::X86_64, Accelerator::Whpx);
    launch.qmp_socket = Endpoint::Loopback(4444);
    let socket = "socket,id=qmp,server=on,wait=off,host=127.0.0.1,port=4444";
    assert!(lines(&launch).contains(&socket.to_owned()));
}

#[test]
fn a_guest_that_goes_on_has_the_same_hardware() {
    let booted = launch(Os::Linux, Arch::X86_64, Accelerator::Tcg);
    let resumed = Launch { entry: Entry::Memory, ssh_port: 1, ..booted.clone() };
    assert_eq!(lines(&resumed)[lines(&booted).len()..], ["-S", "-incoming", "defer"]);
    assert_eq!(digest(&resumed), digest(&booted));
    let other = Launch { seed: Some("/d/seed.img".into()), ..booted.clone() };
    assert_ne!(digest(&other), digest(&booted));
}

#[test]
fn a_memory_in_a_file_is_never_given_back_to_it() {
    let own = launch(Os::Linux, Arch::X86_64, Accelerator::Tcg);
    let kept = Launch { ram: Ram::Kept, ..own.clone() };
    let file = PathBuf::from("/t/a,b");
    for (ram, access) in [
        (Ram::Written(file.clone()), "share=on"),
        (Ram::Copied { file: file.clone(), read_only: false }, "share=off"),
        (Ram::Copied { file, read_only: true }, "share=off,readonly=on,rom=off"),
    ] {
        let in_file = Launch { ram, ..own.clone() };
        let lines = lines(&in_file);
        assert!(!lines.iter().any(|line| line.contains("balloon")), "{lines:?}");
        assert!(lines.contains(&format!("{Q35},memory-backend=pc.ram")));
        let backend = format!("memory-backend-file,id=pc.ram,size=1024M,{access},mem-path=/t/a,,b");
        assert_eq!(value(&in_file, "-object"), Some(backend));
        // A guest that is suspended later goes on without the file.
        assert_eq!(digest(&in_file), digest(&kept));
    }
    assert_ne!(digest(&own), digest(&kept));
}
