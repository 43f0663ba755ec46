//! New network namespaces: only loopback, or a way out through the machine,
//! which here is a network namespace of its own.

use std::process::Command;

use nsvm::namespace::kind::Kind;
use nsvm::namespace::network::Network;
use nsvm::namespace::spec::{MapTarget, NamespaceSpec};
use nsvm::protocol::outcome::{FailedStep, Outcome};

use crate::client::{Agent, Finished, Link, eventually};
use crate::namespaces::{kinds, nap, request, run, sleeping};
use crate::needs_root;

const DEVICES: &str = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort | tr '\\n' ' '";

fn with(network: Network) -> NamespaceSpec {
    NamespaceSpec { kinds: kinds(&[Kind::Net]), network, ..NamespaceSpec::default() }
}

fn unprivileged(network: Network) -> NamespaceSpec {
    NamespaceSpec {
        kinds: kinds(&[Kind::Net, Kind::User]),
        map_user: Some(MapTarget::Id(0)),
        map_group: Some(MapTarget::Id(0)),
        ..with(network)
    }
}

/// The devices of the machine's own namespace.
fn outside(link: &Link) -> String {
    run(link, "root", NamespaceSpec::default(), DEVICES).stdout
}

fn nat(link: &Link, script: &str) -> Finished {
    run(link, "nobody", unprivileged(Network::Nat), script)
}

#[test]
fn without_a_network_there_is_only_loopback_and_it_is_up() {
    needs_root!();
    let agent = Agent::start_alone("");
    let link = agent.attach();
    let script = format!("{DEVICES}; (: < /dev/tcp/127.0.0.1/1) 2>&1 | grep -om1 refused");
    let both = [("root", with(Network::Loopback)), ("nobody", unprivileged(Network::Loopback))];
    for (user, spec) in both {
        let done = run(&link, user, spec, &script);
        assert_eq!(done.stdout, "lo refused\n", "{user}: {done:?}");
    }
}

#[test]
fn a_way_out_is_a_pair_of_devices_that_goes_with_the_namespace() {
    needs_root!();
    let agent = Agent::start_alone("");
    let link = agent.attach();
    let routes = "tail -n +2 /proc/net/route | cut -f1-3,8";
    for (user, spec) in [("root", with(Network::Nat)), ("nobody", unprivileged(Network::Nat))] {
        let done = run(&link, user, spec, &format!("{DEVICES}; echo; {routes}"));
        let mut lines = done.stdout.lines();
        assert_eq!(lines.next(), Some("eth0 lo "), "{user}: {done:?}");
        // A default route to the gateway, and the subnet of four addresses.
        let (default, subnet) = (lines.next().unwrap(), lines.next().unwrap());
        let fields: Vec<&str> = default.split('\t').collect();
        assert_eq!((fields[0], fields[1], fields[3]), ("eth0", "00000000", "00000000"));
        let gateway = u32::from_str_radix(fields[2], 16).unwrap().swap_bytes();
        let fields: Vec<&str> = subnet.split('\t').collect();
        assert_eq!(u32::from_str_radix(fields[3], 16).unwrap().swap_bytes(), 0xffff_fffc);
        assert_eq!(u32::from_str_radix(fields[1], 16).unwrap().swap_bytes() + 1, gateway);
        eventually("the device has gone", || !outside(&link).contains("nsvm"));
    }
    // Plain users cannot have one without a user namespace, as with --net.
    let refused = run(&link, "nobody", with(Network::Nat), "true");
    let Outcome::NotStarted(failure) = &refused.outcome else { panic!("{refused:?}") };
    assert_eq!((failure.step, failure.errno), (FailedStep::Namespaces, 1), "{failure:?}");
    assert!(!outside(&link).contains("nsvm"));
}

#[test]
fn many_at_once_have_addresses_of_their_own() {
    needs_root!();
    let agent = Agent::start_alone("");
    let link = agent.attach();
    let script = "tail -n +2 /proc/net/route | cut -f3 | grep -v ^00000000; read -r line";
    let mut talks: Vec<_> = (0..8)
        .map(|_| {
            let argv = ["bash", "-c", script];
            link.talk(request("nobody", unprivileged(Network::Nat), &argv))
        })
        .collect();
    let mut gateways: Vec<String> =
        talks.iter_mut().map(|talk| talk.stdout_until("\n").trim().to_owned()).collect();
    gateways.sort();
    gateways.dedup();
    assert_eq!(gateways.len(), 8, "{gateways:?}");
    drop(talks);
    drop(link);
    let link = agent.attach();
    eventually("all devices have gone", || !outside(&link).contains("nsvm"));
}

/// The world outside is a third namespace, beyond the machine.
#[test]
fn the_world_outside_can_be_reached_and_cannot_reach_in() {
    needs_root!();
    if !Command::new("ip").arg("-V").output().is_ok_and(|ran| ran.status.success()) {
        eprintln!("SKIPPED: this test needs ip(8); tests/vm has the same");
        return;
    }
    let world = nap(98_801);
    let agent = Agent::start_alone(&format!(
        "unshare --net sleep {world} & world=$!
         until [ \"$(readlink /proc/$world/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do sleep 0.05; done
         ip link add up0 mtu 1400 type veth peer name down0 netns $world
         ip addr add 192.0.2.2/24 dev up0; ip link set up0 up; ip link set lo up
         ip route add default via 192.0.2.1
         in_world() {{ nsenter -t $world -n \"$@\"; }}
         in_world ip addr add 192.0.2.1/24 dev down0; in_world ip link set down0 up
         in_world ip link set lo up"
    ));
    let link = agent.attach();
    let world = sleeping(98_801)[0];
    let _killed = Killed(world);
    // Nobody listens anywhere: what tells is whether a refusal comes back.
    let connect = |to: &str| format!("timeout 2 bash -c \": < /dev/tcp/{to}/7\" 2>&1; echo $?");
    let done = nat(&link, &connect("192.0.2.1"));
    assert!(done.stdout.contains("refused"), "{done:?}");
    let done = nat(&link, "ip -o link show eth0");
    assert!(done.stdout.contains("mtu 1400"), "{done:?}");
    // Neither another namespace nor the world gets in.
    let own = "ip -4 -o addr show eth0 | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1; read -r x";
    let mut talk = link.talk(request("root", with(Network::Nat), &["bash", "-c", own]));
    let inside = talk.stdout_until("\n").trim().to_owned();
    let gateway = "$(ip -4 route show default | cut -d' ' -f3)";
    for to in [&inside, "192.0.2.2", gateway] {
        let done = nat(&link, &connect(to));
        assert_eq!(done.stdout, "124\n", "{to}: {done:?}");
    }
    let in_world = |script: &str| {
        let target = world.to_string();
        Command::new("nsenter").args(["-t", &target, "-n", "bash", "-c", script]).output().unwrap()
    };
    let route = in_world(&format!("ip route add {inside} via 192.0.2.2"));
    assert!(route.status.success(), "{route:?}");
    let tried = in_world(&connect(&inside));
    assert_eq!(String::from_utf8_lossy(&tried.stdout), "124\n", "{tried:?}");
}

/// A process that is killed, also when the test fails.
struct Killed(u32);

impl Drop for Killed {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.0.cast_signed()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}
