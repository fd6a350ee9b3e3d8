//! Throw-away networks: switches and hosts are network namespaces of their own, joined by virtual cables.
//! Nothing is ever added to the machine's own namespace, and no route leads out. Routers, and what runs on a
//! host, do not live here.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    net::UdpSocket,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use nix::sched::{CloneFlags, setns};

/// Every namespace of ours begins with this; the process id of its maker follows.
const PREFIX: &str = "p2plan";
/// Scenarios run one at a time: they measure times, on machines with few cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A network of this test alone. It is taken away when this is dropped, also by a panic.
pub(crate) struct Lab {
    prefix: String,
    switches: Vec<String>,
    /// With its interfaces: `eth0` is the first.
    hosts: BTreeMap<String, Vec<Port>>,
    routes: Vec<Route>,
    _turn: Option<MutexGuard<'static, ()>>,
}

/// The other end of a host's interface.
struct Port {
    switch: String,
    v4: bool,
}

/// What hosts with an IPv4 address on a switch, all but the router itself, reach by that router.
pub(super) struct Route {
    pub(super) switch: String,
    pub(super) router: String,
    pub(super) to: String,
    pub(super) via: String,
}

/// What a host gets on a cable.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wire<'a> {
    /// Which switch; the first where empty.
    pub(crate) switch: &'a str,
    /// IPv4 address with prefix length.
    pub(crate) v4: Option<&'a str>,
    /// IPv6: a link-local address.
    pub(crate) v6: bool,
    /// It may be used only after a duplicate was looked for, a second or two, as on real machines.
    pub(crate) dad: bool,
}

impl<'a> Wire<'a> {
    /// IPv4 alone: the address with prefix length.
    pub(crate) fn v4(switch: &'a str, address: &'a str) -> Self {
        Self { switch, v4: Some(address), ..Self::default() }
    }

    pub(super) fn switch_name(&self) -> &'a str {
        if self.switch.is_empty() { "sw" } else { self.switch }
    }
}

impl Lab {
    /// An empty network with one switch `sw`. `None`, with a printed reason, where this machine does not
    /// allow it.
    pub(crate) fn new() -> Option<Self> {
        Self::with_turn(Some(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The same beside whatever else runs: for what takes minutes of waiting and next to no work.
    pub(crate) fn aside() -> Option<Self> {
        Self::with_turn(None)
    }

    fn with_turn(turn: Option<MutexGuard<'static, ()>>) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            return skip("network namespaces need root");
        }
        remove_leftovers();
        let prefix = format!("{PREFIX}{}x{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let mut lab = Self { prefix, switches: Vec::new(), hosts: BTreeMap::new(), routes: Vec::new(), _turn: turn };
        match lab.try_switch("sw") {
            Ok(()) => Some(lab),
            Err(why) => skip(&why),
        }
    }

    /// One more switch, not connected to the first.
    pub(crate) fn switch(&mut self, name: &str) {
        self.try_switch(name).unwrap_or_else(|why| panic!("{why}"));
    }

    fn try_switch(&mut self, name: &str) -> Result<(), String> {
        let ns = self.ns(name);
        try_ip(&["netns", "add", &ns])?;
        self.switches.push(name.to_owned());
        try_sysctl(&ns, "net.ipv6.conf.default.disable_ipv6=1")?;
        let bridge = "link add br0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0";
        try_in(&ns, bridge)?;
        try_in(&ns, "link set br0 up")
    }

    /// One more host, with `eth0` on a switch.
    pub(crate) fn host(&mut self, name: &str, wire: Wire<'_>) -> Host {
        let host = self.bare(name);
        self.cable(name, wire);
        host
    }

    /// A host without any cable: only loopback.
    pub(crate) fn bare(&mut self, name: &str) -> Host {
        let ns = self.ns(name);
        ip(&["netns", "add", &ns]);
        self.hosts.insert(name.to_owned(), Vec::new());
        run(&ns, "link set lo up");
        Host { ns }
    }

    /// Waits until every port of every switch forwards and every host's cables have a carrier and their
    /// addresses: the tests are about programs, not about how quickly a kernel brings a cable up.
    pub(crate) fn settle(&self) {
        let begun = std::time::Instant::now();
        let wired = self.hosts.iter().filter(|(_, ports)| !ports.is_empty());
        for (name, _) in wired {
            while !self.is_up(&self.ns(name)) {
                assert!(begun.elapsed().as_secs() < 10, "{name} has no carrier");
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }

    fn is_up(&self, ns: &str) -> bool {
        let output = Command::new("ip").args(["-n", ns, "-br", "addr", "show", "up"]).output().expect("ip runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let disabled = |eth: &str| {
            let path = format!("/proc/sys/net/ipv6/conf/{eth}/disable_ipv6");
            let output = Command::new("ip").args(["netns", "exec", ns, "cat", &path]).output().expect("ip runs");
            output.stdout.starts_with(b"1")
        };
        let usable_v6 = |eth: &str| {
            let words = ["-n", ns, "-6", "addr", "show", "dev", eth, "scope", "link", "-tentative"];
            let output = Command::new("ip").args(words).output().expect("ip runs");
            String::from_utf8_lossy(&output.stdout).contains("fe80:")
        };
        text.lines().filter(|line| line.starts_with("eth")).all(|line| {
            let eth = line.split('@').next().unwrap_or_default();
            line.contains(" UP ") && (usable_v6(eth) || disabled(eth))
        })
    }

    /// One more interface of a host: `eth0`, `eth1`, and so on.
    pub(crate) fn cable(&mut self, host: &str, wire: Wire<'_>) {
        let name = wire.switch_name();
        let (switch, ns) = (self.ns(name), self.ns(host));
        let ports = self.hosts.get_mut(host).expect("the host was made before");
        let at = ports.len();
        let (eth, port) = (format!("eth{at}"), format!("{host}{at}"));
        ports.push(Port { switch: name.to_owned(), v4: wire.v4.is_some() });
        ip(&["link", "add", &port, "netns", &switch, "type", "veth", "peer", "name", &eth, "netns", &ns]);
        run(&switch, &format!("link set {port} master br0 up"));
        sysctl(&ns, &format!("net.ipv6.conf.{eth}.disable_ipv6={}", u8::from(!wire.v6)));
        sysctl(&ns, &format!("net.ipv6.conf.{eth}.accept_dad={}", u8::from(wire.dad)));
        sysctl(&ns, &format!("net.ipv6.conf.{eth}.router_solicitations=0"));
        if let Some(v4) = wire.v4 {
            run(&ns, &format!("addr add {v4} brd + dev {eth}"));
        }
        run(&ns, &format!("link set {eth} up"));
        for route in &self.routes {
            self.lead(host, at, route);
        }
    }

    /// From now on this is the way, for hosts that are here and for those that come.
    pub(super) fn route(&mut self, route: Route) {
        for (host, ports) in &self.hosts {
            (0..ports.len()).for_each(|at| self.lead(host, at, &route));
        }
        self.routes.push(route);
    }

    /// Tells a host, where the route is for this interface of it. The first interface goes before later ones.
    fn lead(&self, host: &str, at: usize, route: &Route) {
        let port = &self.hosts[host][at];
        if port.v4 && port.switch == route.switch && host != route.router {
            let words = format!("route append {} via {} dev eth{at} metric {at}", route.to, route.via);
            run(&self.ns(host), &words);
        }
    }

    /// Loses this share of the frames to and from a host's `eth0`, at random, without its knowing.
    pub(crate) fn loss(&self, host: &str, percent: u32) {
        let (switch, port) = (self.switch_of(host), format!("{host}0"));
        let _ = tc(&switch, &format!("qdisc del dev {port} clsact"));
        if percent == 0 {
            return;
        }
        tc(&switch, &format!("qdisc add dev {port} clsact")).unwrap_or_else(|why| panic!("{why}"));
        // ld rand; jge #limit, pass; ret TC_ACT_SHOT; pass: ret TC_ACT_UNSPEC
        let limit = u64::from(u32::MAX) * u64::from(percent) / 100;
        let program = format!("4,32 0 0 4294963256,53 1 0 {limit},6 0 0 2,6 0 0 4294967295");
        for side in ["ingress", "egress"] {
            let filter = ["-n", &switch, "filter", "add", "dev", &port, side, "bpf", "da", "bytecode", &program];
            tool("tc", &filter).unwrap_or_else(|why| panic!("{why}"));
        }
    }

    /// A host's `eth0` and where it is plugged in take packets of so many bytes.
    pub(crate) fn mtu(&self, host: &str, len: usize) {
        run(&self.ns(host), &format!("link set eth0 mtu {len}"));
        self.port_mtu(host, len);
    }

    /// The switch drops longer packets on their way to a host's `eth0`, and tells nobody.
    pub(crate) fn port_mtu(&self, host: &str, len: usize) {
        run(&self.switch_of(host), &format!("link set {host}0 mtu {len}"));
    }

    /// Pulls the cable of a host's `eth0`: the carrier is lost on both ends.
    pub(crate) fn unplug(&self, host: &str) {
        run(&self.switch_of(host), &format!("link set {host}0 down"));
    }

    /// Puts it back.
    pub(crate) fn plug(&self, host: &str) {
        run(&self.switch_of(host), &format!("link set {host}0 up"));
    }

    /// Where a host's `eth0` is plugged in.
    fn switch_of(&self, host: &str) -> String {
        self.ns(&self.hosts[host][0].switch)
    }

    fn ns(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let names = self.hosts.keys().chain(&self.switches);
        remove(names.map(|name| self.ns(name)));
    }
}

/// A host of a lab.
#[derive(Clone)]
pub(crate) struct Host {
    ns: String,
}

impl Host {
    /// A command on this host; its process is the program itself.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.ns]).arg(program.as_ref()).stdin(Stdio::null());
        command
    }

    /// A socket of this test's own process, on this host and at this address.
    pub(crate) fn socket(&self, addr: &str) -> UdpSocket {
        let namespace = File::open(Path::new("/run/netns").join(&self.ns)).expect("the host is there");
        // A thread that ends: only what it has opened stays in the namespace.
        std::thread::scope(|scope| {
            let opened = scope.spawn(|| {
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("root may enter");
                UdpSocket::bind(addr).unwrap_or_else(|why| panic!("{addr}: {why}"))
            });
            opened.join().expect("it is opened")
        })
    }

    /// `ip` on this host.
    pub(crate) fn ip(&self, words: &str) {
        run(&self.ns, words);
    }

    /// Rules of the packet filter of this host.
    pub(super) fn nft(&self, rules: &str) -> Result<(), String> {
        tool("ip", &["netns", "exec", &self.ns, "nft", rules])
    }

    /// From now on the datagrams that come to this port are counted.
    pub(crate) fn count(&self, port: u16) {
        self.count_longer(port, 0);
    }

    /// The same of those whose packets have more bytes than this.
    pub(crate) fn count_longer(&self, port: u16, len: usize) {
        let rules = format!(
            "table inet count {{
                counter datagrams {{}}
                chain input {{ type filter hook input priority 0; udp dport {port} meta length > {len} counter name datagrams; }}
            }}"
        );
        self.nft(&rules).unwrap_or_else(|why| panic!("{why}"));
    }

    /// How many have come.
    pub(crate) fn counted(&self) -> u64 {
        let output = self.command("nft").args(["list", "counter", "inet", "count", "datagrams"]).output().expect("nft runs");
        let listed = String::from_utf8(output.stdout).expect("words");
        let mut words = listed.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count in {listed:?}"))
    }

    /// A setting of this host's kernel.
    pub(super) fn sysctl(&self, setting: &str) {
        sysctl(&self.ns, setting);
    }

    /// An interface as docker leaves it on every machine, all with one address: with a carrier, with
    /// multicast, with nobody behind it.
    pub(crate) fn decoy(&self) {
        for words in [
            "link add docker0 type bridge forward_delay 0",
            "link add vethdk type veth peer name vethdk1",
            "link set vethdk master docker0 up",
            "link set vethdk1 up",
            "addr add 172.17.0.1/16 brd + dev docker0",
            "link set docker0 up",
        ] {
            run(&self.ns, words);
        }
    }
}

pub(super) fn skip<T>(why: &str) -> Option<T> {
    assert!(std::env::var_os("P2PCHAT_SKIP_NOTHING").is_none(), "must run here and cannot: {why}");
    println!("skipped: {why}");
    None
}

/// Namespaces of test processes that were killed.
fn remove_leftovers() {
    let names = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    remove(names.filter(|name| {
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('x').next());
        maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    }));
}

fn remove(names: impl Iterator<Item = String>) {
    for name in names {
        // What is gone already needs no removing.
        let _ = tool("ip", &["netns", "del", &name]);
    }
}

fn run(ns: &str, words: &str) {
    try_in(ns, words).unwrap_or_else(|why| panic!("{why}"));
}

fn try_in(ns: &str, words: &str) -> Result<(), String> {
    let words: Vec<_> = ["-n", ns].into_iter().chain(words.split(' ')).collect();
    try_ip(&words)
}

fn ip(words: &[&str]) {
    try_ip(words).unwrap_or_else(|why| panic!("{why}"));
}

fn try_ip(words: &[&str]) -> Result<(), String> {
    tool("ip", words)
}

fn tc(ns: &str, words: &str) -> Result<(), String> {
    tool("tc", &["-n", ns].into_iter().chain(words.split(' ')).collect::<Vec<_>>())
}

fn sysctl(ns: &str, setting: &str) {
    try_sysctl(ns, setting).unwrap_or_else(|why| panic!("{why}"));
}

fn try_sysctl(ns: &str, setting: &str) -> Result<(), String> {
    tool("ip", &["netns", "exec", ns, "sysctl", "-qw", setting])
}

fn tool(program: &str, words: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let mut why = format!("{program} {}: ", words.join(" "));
    let _ = write!(why, "{}", String::from_utf8_lossy(&output.stderr).trim());
    Err(why)
}
