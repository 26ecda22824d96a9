//! What a configuration says, once it is found good: names resolved to indices, defaults filled in, prefixes
//! parsed. The rest of the program takes these values as they stand and checks nothing again.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnetwork::{IpNetwork, Ipv6Network};
use sekisho_dataplane::policy::{
    Action, DivertFallback, Kind, RejectWith, ReversePath, Role, SourceValidation,
};
use sekisho_dataplane::port::xdp::{XdpMode, ZeroCopy};
use sekisho_dataplane::worker::Poll;

use super::kernel_table::FromKernel;

/// A checked configuration. Lists stand in the order of the file (`sets` too).
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// `[dataplane]`.
    pub dataplane: Dataplane,
    /// `[[port]]`, at least one.
    pub ports: Vec<Port>,
    /// `[sets]`.
    pub sets: Vec<Set>,
    /// `[[policy]]`.
    pub policies: Vec<Policy>,
    /// `[[pool]]`.
    pub pools: Vec<Pool>,
    /// `[[route]]`, in route mode.
    pub routes: Vec<StaticRoute>,
    /// `[[neighbour]]`, in route mode.
    pub neighbours: Vec<StaticNeighbour>,
    /// `[routing]`, in route mode.
    pub routing: Routing,
    /// `[checks]`.
    pub checks: Checks,
    /// `[limits]`.
    pub limits: Limits,
    /// `[control]`.
    pub control: Control,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[affected]`.
    pub affected: Affected,
}

/// How frames are forwarded, and by which workers.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataplane {
    /// Bridge or router.
    pub mode: Mode,
    /// One worker each; `None`: one per available core, less one for control. Never empty, no core twice. Whether
    /// the cores exist is seen when they are used.
    pub cores: Option<Vec<usize>>,
    /// Frames per burst, 1 to 256.
    pub batch: usize,
    /// What a worker does while its ports have nothing for it.
    pub poll: Poll,
}

impl Default for Dataplane {
    fn default() -> Self {
        Self { mode: Mode::Bridge, cores: None, batch: 64, poll: Poll::Busy }
    }
}

/// How a frame finds the port it leaves by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// By the peer of the port it came in by, byte for byte the same.
    Bridge,
    /// By its destination address.
    Route,
}

/// One interface of the dataplane.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name; it labels metrics.
    pub name: String,
    /// The side of the network that it faces.
    pub role: Role,
    /// The other end of its pair, an index into [`Config::ports`]; `None` for a `filter` port only.
    pub peer: Option<usize>,
    /// What moves its frames.
    pub driver: Driver,
    /// How it is found out whether a filter answers; `None`: its link decides. Of a `filter` port only.
    pub health: Option<Health>,
    /// What it has as a router's port; nothing in bridge mode.
    pub router: RouterPort,
}

/// What a port has in route mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterPort {
    /// The router's MAC there; `None`: the device's.
    pub mac: Option<[u8; 6]>,
    /// The longest IP packet; `None`: the device's, else 1500.
    pub mtu: Option<u16>,
    /// The router's addresses in what is untagged, with the lengths of their networks' prefixes.
    pub addresses: Vec<IpNetwork>,
    /// The VLANs that it is in, no number twice.
    pub vlans: Vec<Vlan>,
    /// The name of the kernel's interface that stands for it; no two ports have the same.
    pub twin: Option<String>,
}

/// A VLAN of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Its number, 1 to 4094.
    pub id: u16,
    /// The router's addresses there.
    pub addresses: Vec<IpNetwork>,
}

/// A route that does not come from the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// Its prefix, without host bits.
    pub to: IpNetwork,
    /// What it does.
    pub kind: StaticKind,
}

/// What a static route does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaticKind {
    /// Forwards to these, at least one, which share the flows evenly.
    Via(Vec<StaticHop>),
    /// Drops in silence.
    Blackhole,
    /// Drops; the sender is told that the host is unreachable.
    Unreachable,
    /// Drops; the sender is told that it is prohibited.
    Prohibit,
}

/// A next hop of a static route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StaticHop {
    /// Its port, an index into [`Config::ports`].
    pub port: usize,
    /// The VLAN there, if it is not what is untagged.
    pub vlan: Option<u16>,
    /// The next router; `None`: destinations are on the link themselves.
    pub via: Option<IpAddr>,
}

/// Where a router's routes come from, besides the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routing {
    /// From the kernel, by twins.
    pub kernel: bool,
    /// Whether hosts are told of better first hops.
    pub redirects: bool,
}

impl Default for Routing {
    fn default() -> Self {
        Self { kernel: true, redirects: false }
    }
}

/// A neighbour whose MAC need not be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticNeighbour {
    /// Its port, an index into [`Config::ports`].
    pub port: usize,
    /// The VLAN there, if it is not what is untagged.
    pub vlan: Option<u16>,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC.
    pub mac: [u8; 6],
}

/// A check of a filter, made again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// By which protocol.
    pub check: HealthCheck,
    /// The filter's address.
    pub address: IpAddr,
    /// Its TCP port, for a check by TCP.
    pub tcp_port: u16,
    /// Our address for it, of the same version of IP; always there for a check by TCP.
    pub source: Option<IpAddr>,
    /// The VLAN that the filter's address is in, if its port carries tags.
    pub vlan: Option<u16>,
    /// Between two checks, in microseconds.
    pub interval_micros: u64,
    /// After so many without an answer in a row, it is down; at least one.
    pub fail_after: u32,
}

/// The protocol of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HealthCheck {
    /// ARP, for an IPv4 address.
    Arp,
    /// Neighbor Discovery, for an IPv6 address.
    Nd,
    /// A TCP connection that is begun.
    Tcp,
}

/// What moves the frames of a port.
#[derive(Clone, Debug, PartialEq)]
pub enum Driver {
    /// Captures in and out.
    Pcap {
        /// Frames come from here; `None`: no frame ever comes. Joined to the configuration's folder if relative.
        read: Option<PathBuf>,
        /// Frames go here; `None`: nowhere. Joined to the configuration's folder if relative.
        write: Option<PathBuf>,
        /// How fast the capture is played.
        rate: Rate,
    },
    /// Rings in memory, for tests and benches.
    Memory,
    /// AF_PACKET rings.
    Packet {
        /// The interface's name.
        device: String,
        /// How frames come from the kernel.
        receive: ReceiveRing,
    },
    /// AF_XDP.
    Xdp {
        /// The interface's name.
        device: String,
        /// Where in the kernel its program runs.
        mode: XdpMode,
        /// Whether the kernel copies.
        zero_copy: ZeroCopy,
    },
    /// A DPDK device.
    Dpdk {
        /// PCI address or virtual device with its arguments.
        device: String,
    },
}

impl Driver {
    /// The interface of this host that it opens.
    pub fn device(&self) -> Option<&str> {
        match self {
            Driver::Packet { device, .. } | Driver::Xdp { device, .. } => Some(device),
            Driver::Pcap { .. } | Driver::Memory | Driver::Dpdk { .. } => None,
        }
    }
}

/// What an AF_PACKET socket receives into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ReceiveRing {
    /// Blocks of frames (TPACKET_V3): room for the most, and checksums that a sender left open are completed.
    #[default]
    Blocks,
    /// A slot for each frame (TPACKET_V2): each is there at once, and open checksums are not forwarded.
    Slots,
}

/// How fast a capture is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rate {
    /// As fast as the worker takes the frames.
    AsFastAsPossible,
    /// At the distances of the capture's timestamps.
    Capture,
}

/// A named list of destinations.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Its prefixes, none twice, without host bits. May be empty.
    pub prefixes: Vec<IpNetwork>,
    /// The kernel's table that they come from, if they do.
    pub from_kernel: Option<FromKernel>,
}

/// What holds for the pools bound to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Restrict, exempt or quarantine.
    pub kind: Kind,
    /// Sets always reachable on port 25: indices into [`Config::sets`], none twice.
    pub allow: Vec<usize>,
    /// What a deny does, unless the deciding phase says otherwise.
    pub action: Action,
    /// How a reject answers.
    pub reject_with: RejectWith,
    /// What a divert does while the filter is down.
    pub divert_fallback: DivertFallback,
    /// Whether the answers to a customer's forged SYNs are denied too (rule 20 of the policy).
    pub mirror: bool,
    /// Its phases in the order of the file.
    pub phases: Vec<Phase>,
}

/// From an instant on, destinations of a policy are denied.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Its name, unique within the policy.
    pub name: String,
    /// When it begins: UTC, microseconds since 1970-01-01.
    pub from_micros: i64,
    /// The same as the file writes it.
    pub from_text: String,
    /// What it denies.
    pub block: Block,
    /// What its denies do, in the place of the policy's action.
    pub action: Option<Action>,
}

/// The destinations of a phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// Every destination.
    All,
    /// The destinations in these sets: indices into [`Config::sets`], at least one, none twice.
    Sets(Vec<usize>),
}

/// A named list of customers' prefixes.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Its name; it labels metrics.
    pub name: String,
    /// What people call it: free text of at most 200 characters, no control characters.
    pub title: Option<String>,
    /// Its policy, an index into [`Config::policies`].
    pub policy: usize,
    /// Its prefixes, without host bits; none is in this or another pool a second time.
    pub prefixes: Vec<IpNetwork>,
    /// The kernel's table that they come from, if they do.
    pub from_kernel: Option<FromKernel>,
}

/// Checks of packets that do not depend on a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Checks {
    /// What becomes of a customer-side source in no pool.
    pub source_validation: SourceValidation,
    /// The operator's NAT64 prefixes (RFC 6052 §2.2), besides 64:ff9b::/96.
    pub nat64_prefixes: Vec<Ipv6Network>,
    /// Whether the way back to a source must lead where its packet came from, in route mode.
    pub urpf: ReversePath,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            source_validation: SourceValidation::Enforce,
            nat64_prefixes: Vec::new(),
            urpf: ReversePath::Off,
        }
    }
}

/// Bounds of what a worker walks, remembers and answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// VLAN tags and MPLS labels of a frame.
    pub l2_headers: usize,
    /// Extension headers of an IPv6 packet.
    pub extension_headers: usize,
    /// Fragmented datagrams remembered.
    pub fragments: usize,
    /// Of these, at most so many of one source.
    pub fragments_per_source: usize,
    /// How long one is remembered, in microseconds.
    pub fragment_lifetime_micros: u64,
    /// Answers that a customer address may get at once.
    pub reject_burst: u32,
    /// After how many microseconds it may get one more.
    pub reject_interval_micros: u64,
    /// Answers per second to all customers together.
    pub reject_per_second: u32,
    /// ICMP errors that an address may get at once, in route mode.
    pub icmp_burst: u32,
    /// After how many microseconds it may get one more.
    pub icmp_interval_micros: u64,
    /// ICMP errors per second to all addresses together.
    pub icmp_per_second: u32,
    /// Grants at a time.
    pub grants: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            l2_headers: 4,
            extension_headers: 8,
            fragments: 65_536,
            fragments_per_source: 256,
            fragment_lifetime_micros: 120_000_000,
            reject_burst: 5,
            reject_interval_micros: 10_000_000,
            reject_per_second: 10_000,
            icmp_burst: 10,
            icmp_interval_micros: 100_000,
            icmp_per_second: 10_000,
            grants: 65_536,
        }
    }
}

/// Where the daemon is spoken to, and where it remembers. See [`Config::socket`] and [`Config::state`] for what holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Control {
    /// Its Unix socket, if one is written. Joined to the configuration's folder if relative.
    pub socket: Option<PathBuf>,
    /// The group that may change what is in force, if one is written: a name or a number.
    pub group: Option<String>,
    /// The folder of what outlives it, if one is written. Joined to the configuration's folder if relative.
    pub state: Option<PathBuf>,
}

impl Control {
    /// The socket of a daemon that is told no other.
    pub const SOCKET: &'static str = "/run/sekisho/control.sock";
    /// The state folder of a daemon that is told no other.
    pub const STATE: &'static str = "/var/lib/sekisho";
}

impl Config {
    /// Whether a port is an interface of this host, and not a capture or a test's.
    pub fn is_live(&self) -> bool {
        let live = |port: &Port| !matches!(port.driver, Driver::Pcap { .. } | Driver::Memory);
        self.ports.iter().any(live)
    }

    /// Whether the kernel's routes and neighbours are mirrored.
    pub fn mirrors_kernel(&self) -> bool {
        self.dataplane.mode == Mode::Route
            && self.routing.kernel
            && self.ports.iter().any(|port| port.router.twin.is_some())
    }

    /// Whether the kernel is kept from forwarding what ports receive.
    pub fn holds_ports(&self) -> bool {
        self.dataplane.mode == Mode::Route && self.ports.iter().any(|port| port.driver.device().is_some())
    }

    /// The control socket. Who only reads captures needs none, and must be able to do so beside a daemon: there is
    /// one where it is written, or where a port is live.
    pub fn socket(&self) -> Option<&Path> {
        let default = self.is_live().then_some(Path::new(Control::SOCKET));
        self.control.socket.as_deref().or(default)
    }

    /// The state folder, by the same rule.
    pub fn state(&self) -> Option<&Path> {
        let default = self.is_live().then_some(Path::new(Control::STATE));
        self.control.state.as_deref().or(default)
    }
}

/// Who is denied on port 25, or would be.
#[derive(Clone, Debug, PartialEq)]
pub struct Affected {
    /// Customers that each worker has room for; 0: nobody is booked.
    pub customers: usize,
    /// How customers are named to those who ask.
    pub privacy: Privacy,
}

impl Default for Affected {
    fn default() -> Self {
        Self { customers: 32_768, privacy: Privacy::Off }
    }
}

/// How customers are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Privacy {
    /// By their addresses.
    Off,
    /// By a keyed hash of the address, which lasts as long as the process.
    Hash,
}

/// Where metrics are scraped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Address and port of the HTTP listener; `None`: there is none.
    pub listen: Option<SocketAddr>,
}
