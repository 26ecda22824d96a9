//! `[[port]]`: names, roles, pairs and drivers.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use sekisho_dataplane::policy::Role;
use sekisho_dataplane::port::xdp::{XdpMode, ZeroCopy};

use super::error::{quoted, shown};
use super::health;
use super::keys::{Key, Shape, Takes, Without};
use super::model::{Driver, Health, Mode, Port, Rate, ReceiveRing, RouterPort};
use super::reader::{Entry, Name, Names, Table, Word};
use super::report::{Report, listed};
use super::router;
use super::settings::path;
use super::source::{Place, SourceId};

const MOST: usize = 256;

pub(super) static SHAPE: Shape = Shape {
    what: "a port",
    keys: &[
        Key::new("name", Takes::Some("a name"), Without::Refused, "Labels metrics and answers."),
        Key::new(
            "role",
            Takes::word::<Role>(),
            Without::Refused,
            "What it faces. \"subscriber\": customers. \"internet\": the world. \"servers\": the provider's own mail \
             segment. \"filter\": an SMTP filter for diverted traffic, of which there is one.",
        ),
        Key::new(
            "peer",
            Takes::Some("the name of a port"),
            Without::RefusedFor("every port of a bridge but a filter"),
            "The other end: what this port receives leaves there. Two ports name each other. What comes back from a \
             filter leaves by the port that it would have left by without it.",
        ),
        Key::new(
            "driver",
            Takes::word::<DriverName>(),
            Without::Refused,
            "What moves the frames. \"packet\": AF_PACKET rings, any interface of Linux. \"pcap\": captures in and out. \
             \"memory\": nothing, for tests. \"xdp\": AF_XDP sockets, which \
             carry more, above all where the card's driver has XDP. \"dpdk\" is read and checked, and run refuses it.",
        ),
        Key::new(
            "device",
            Takes::Some("an interface as ip link names it; of dpdk a PCI address or a virtual device"),
            Without::RefusedFor("packet, xdp and dpdk"),
            "Two ports can't have the same one.",
        ),
        Key::new(
            "read",
            Takes::Some("a path"),
            Without::Means("nothing is received"),
            "Of pcap: the capture that is received, pcap or pcapng.",
        ),
        Key::new(
            "write",
            Takes::Some("a path"),
            Without::Means("nothing is kept"),
            "Of pcap: the capture that is sent to. It is written anew.",
        ),
        Key::new(
            "rate",
            Takes::word::<Rate>(),
            Without::Is("\"as-fast-as-possible\""),
            "Of pcap: how fast the capture comes. \"capture\": as its time stamps are apart.",
        ),
        Key::new(
            "receive-ring",
            Takes::word::<ReceiveRing>(),
            Without::Is("\"blocks\""),
            "Of packet: what the kernel puts frames into. \"blocks\" (TPACKET_V3) has room for the most; on a quiet \
             link a frame waits for up to a millisecond. \"slots\" (TPACKET_V2) hands over each frame at once, and \
             does not forward frames whose checksums a sender on a virtual link left open.",
        ),
        Key::new(
            "mode",
            Takes::word::<XdpMode>(),
            Without::Is("\"auto\""),
            "Of xdp: where in the kernel frames are taken. \"native\": in the card's driver. \"generic\": in the network \
             stack, for any interface. \"auto\": native, else generic.",
        ),
        Key::new(
            "zero-copy",
            Takes::word::<ZeroCopy>(),
            Without::Is("\"auto\""),
            "Of xdp: whether the card reads and writes frames where the workers do. \"on\": it must. \"off\": the kernel \
             copies them. \"auto\": if the card's driver can.",
        ),
        Key::new(
            "mac",
            Takes::Some("a MAC such as \"02:00:00:00:00:01\""),
            Without::RefusedFor("pcap and memory in mode \"route\""),
            "Of mode \"route\": the port's own MAC. Without it, the device's.",
        ),
        Key::new(
            "mtu",
            Takes::Whole(68, u16::MAX as u64),
            Without::Means("the device's"),
            "Of mode \"route\": the longest packet that leaves here.",
        ),
        Key::new(
            "addresses",
            Takes::Some("a list of addresses with their networks' lengths"),
            Without::Means("none"),
            "Of mode \"route\": the router's own addresses here, such as \"192.0.2.1/24\".",
        ),
        Key::new(
            "vlans",
            Takes::Inlines(&router::VLAN),
            Without::Means("none"),
            "Of mode \"route\": tagged networks of the port.",
        ),
        Key::new(
            "twin",
            Takes::Some("a name of an interface, or false"),
            Without::Means("sk- and the port's name, where the port is an interface"),
            "Of mode \"route\": the TAP interface by which the kernel speaks at this port. With false there is none.",
        ),
        Key::new(
            "health",
            Takes::Inline(&health::SHAPE),
            Without::Means("the link alone tells"),
            "Of a filter: how it is found out whether it answers. While it does not, divert-fallback holds.",
        ),
    ],
    remarks: &[],
};

/// The drivers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DriverName {
    Pcap,
    Memory,
    Packet,
    Xdp,
    Dpdk,
}

impl Word for DriverName {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("pcap", Self::Pcap),
        ("packet", Self::Packet),
        ("xdp", Self::Xdp),
        ("dpdk", Self::Dpdk),
        ("memory", Self::Memory),
    ];
}

impl DriverName {
    /// The keys that belong to some driver.
    const KEYS: &'static [&'static str] =
        &["read", "write", "rate", "device", "receive-ring", "mode", "zero-copy"];

    /// Its own keys.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Pcap => &["read", "write", "rate"],
            Self::Memory => &[],
            Self::Packet => &["device", "receive-ring"],
            Self::Xdp => &["device", "mode", "zero-copy"],
            Self::Dpdk => &["device"],
        }
    }

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, name)| *name == self).map_or("", |(word, _)| word)
    }
}

/// The ports of a configuration, and what others need to know of them.
pub(super) struct Ports {
    pub(super) ports: Vec<Port>,
    /// Whether something may be diverted. `None` if a role could not be read: then nobody knows.
    pub(super) filter: Option<bool>,
}

/// A port whose peer is not looked up yet.
struct Draft<'a> {
    place: Place,
    name: Option<Name<'a>>,
    role: Option<Role>,
    peer: Option<Name<'a>>,
    /// Something stands behind `peer =`, a name or not.
    peer_given: bool,
    driver: Option<Driver>,
    health: Option<Health>,
    router: RouterPort,
}

/// Reads every `[[port]]`.
pub(super) fn read(report: &mut Report, root: &Table<'_>, mode: Mode, folder: &Path) -> Ports {
    let entry = root.get("port");
    let values = entry.as_ref().map_or(&[][..], |entry| entry.tables(report));
    match (&entry, values) {
        (None, _) => {
            report.refuse_file(SourceId::MAIN, "there is no port", "add a `[[port]]` for each interface")
        }
        (Some(entry), []) if entry.value.get_ref().is_array() => {
            report.refuse(entry.place(), "there is no port", "add a `[[port]]` for each interface");
        }
        (Some(_), [.., last]) if values.len() > MOST => {
            let message = format!("there are {} ports, more than {MOST}", values.len());
            report.refuse(Place::main(last.span()), message, "split them over several daemons");
        }
        (Some(_), _) => {}
    }

    let mut names = Names::new("port", "ports");
    let mut files = Files::default();
    let mut drafts = Vec::new();
    let mut addresses = router::Addresses::default();
    for value in values.iter().take(MOST) {
        let Some(table) = Table::named(report, value, "port", "", &SHAPE) else {
            continue;
        };
        let name = table.name(report);
        let peer = table.get("peer");
        let role = table.require(report, "role", "\"subscriber\"").and_then(|entry| entry.word(report));
        let draft = Draft {
            place: table.place.clone(),
            role,
            health: health::read(report, &table, role),
            peer_given: peer.is_some(),
            peer: peer.and_then(|entry| Some(Name { text: entry.string(report)?, place: entry.place() })),
            driver: driver(report, &table, folder, &mut files),
            router: router::port(report, &table, mode, &mut addresses),
            name,
        };
        router::refuse_no_mac(report, &table, mode, draft.driver.as_ref(), &draft.router);
        // A port without a usable name has its number all the same: indices stay those of `drafts`.
        match &draft.name {
            Some(name) => names.add(report, name.clone(), ""),
            None => names.skip(draft.place.clone()),
        }
        drafts.push(draft);
    }

    refuse_second_filter(report, &drafts);
    let peers = pair_up(report, &drafts, &names, mode);
    let unread = drafts.iter().any(|draft| draft.role.is_none()) || drafts.len() != values.len();
    let filter = drafts.iter().any(|draft| draft.role == Some(Role::Filter));
    let ports = drafts.into_iter().zip(peers).filter_map(|(draft, peer)| {
        let Draft { name, role, driver, health, router, .. } = draft;
        Some(Port { name: name?.text.to_owned(), role: role?, peer, driver: driver?, health, router })
    });
    Ports { ports: ports.collect(), filter: if filter || !unread { Some(filter) } else { None } }
}

fn refuse_second_filter(report: &mut Report, drafts: &[Draft<'_>]) {
    let mut filters = drafts.iter().filter(|draft| draft.role == Some(Role::Filter));
    let Some(first) = filters.next() else {
        return;
    };
    for more in filters {
        let help = "one `filter` port takes all diverted traffic: give this one another role, or remove it";
        let note = "the first `filter` port stands here";
        report.refuse_beside(
            more.place.clone(),
            "there is more than one `filter` port",
            help,
            first.place.clone(),
            note,
        );
    }
}

/// The peer of each port. What is not a mutual pair is refused.
fn pair_up(report: &mut Report, drafts: &[Draft<'_>], names: &Names<'_>, mode: Mode) -> Vec<Option<usize>> {
    let peers: Vec<_> =
        drafts.iter().map(|draft| draft.peer.as_ref().and_then(|peer| names.resolve(report, peer))).collect();
    for (index, draft) in drafts.iter().enumerate() {
        let title =
            draft.name.as_ref().map_or("a port".to_owned(), |name| format!("port {}", quoted(name.text)));
        let Some(written) = &draft.peer else {
            let needs = draft.role.is_some_and(|role| role != Role::Filter) && mode == Mode::Bridge;
            if needs && !draft.peer_given {
                let message =
                    format!("{title} has no `peer`: in bridge mode, what it receives leaves by its peer");
                report.refuse(draft.place.clone(), message, suggested_peer(drafts, index));
            }
            continue;
        };
        if mode == Mode::Route {
            let help = "remove `peer`: in route mode a packet leaves by the port that its route names";
            report.refuse(written.place.clone(), format!("{title} has a `peer` in route mode"), help);
            continue;
        }
        if draft.role == Some(Role::Filter) {
            let help = "remove `peer`: what comes back from the filter leaves by the port that it would have left by without it";
            report.refuse(written.place.clone(), format!("{title} is a `filter` port and has no peer"), help);
            continue;
        }
        let Some(peer) = peers[index] else {
            continue;
        };
        let other = &drafts[peer];
        if peer == index {
            report.refuse(
                written.place.clone(),
                format!("{title} is its own peer"),
                suggested_peer(drafts, index),
            );
        } else if other.role == Some(Role::Filter) {
            let help = "name the port on the other side of the network";
            report.refuse(written.place.clone(), format!("{title} has the `filter` port as its peer"), help);
        } else if let (Some(theirs), Some(back)) = (&other.peer, peers[peer])
            && back != index
            && back != peer
            && drafts[back].role != Some(Role::Filter)
        {
            let message = format!(
                "{title} has the peer {}, but that one has the peer {}",
                quoted(written.text),
                quoted(theirs.text)
            );
            let help = "peers name each other: each port has one other end";
            report.refuse_beside(
                written.place.clone(),
                message,
                help,
                theirs.place.clone(),
                "it names another port here",
            );
        }
    }
    peers
}

/// The remedy for a port without a peer: the port that names it, if there is one.
fn suggested_peer(drafts: &[Draft<'_>], index: usize) -> String {
    let name = drafts[index].name.as_ref().map(|name| name.text);
    let suitor = drafts.iter().enumerate().find(|(other, draft)| {
        *other != index && name.is_some() && draft.peer.as_ref().map(|peer| peer.text) == name
    });
    match suitor.and_then(|(_, draft)| draft.name.as_ref()) {
        Some(name) => {
            format!("write `peer = \"{}\"`, which names this port as its peer", shown(name.text, 60))
        }
        None => "write `peer = \"…\"` with the port on the other side of the network".into(),
    }
}

fn driver(report: &mut Report, table: &Table<'_>, folder: &Path, files: &mut Files) -> Option<Driver> {
    let entry = table.require(report, "driver", "\"packet\"")?;
    let name: DriverName = entry.word(report)?;
    refuse_stray_keys(report, table, name);
    match name {
        DriverName::Memory => Some(Driver::Memory),
        DriverName::Pcap => {
            let mut file = |key, way| {
                let entry = table.get(key)?;
                let path = folder.join(path(report, &entry)?);
                files.claim(report, &path, way, entry.place());
                Some(path)
            };
            let (read, write) = (file("read", Way::Read), file("write", Way::Write));
            let rate =
                table.get("rate").and_then(|entry| entry.word(report)).unwrap_or(Rate::AsFastAsPossible);
            Some(Driver::Pcap { read, write, rate })
        }
        DriverName::Packet | DriverName::Xdp | DriverName::Dpdk => {
            let example = if name == DriverName::Dpdk { "\"0000:01:00.0\"" } else { "\"eth1\"" };
            let entry = table.require(report, "device", example)?;
            let device = device(report, &entry, name)?;
            files.claim_device(report, &device, entry.place());
            Some(match name {
                DriverName::Packet => {
                    let ring = table.get("receive-ring").and_then(|entry| entry.word(report));
                    Driver::Packet { device, receive: ring.unwrap_or(ReceiveRing::Blocks) }
                }
                DriverName::Xdp => {
                    let mode = table.get("mode").and_then(|entry| entry.word(report)).unwrap_or_default();
                    let zero_copy =
                        table.get("zero-copy").and_then(|entry| entry.word(report)).unwrap_or_default();
                    Driver::Xdp { device, mode, zero_copy }
                }
                DriverName::Dpdk | DriverName::Pcap | DriverName::Memory => Driver::Dpdk { device },
            })
        }
    }
}

/// Refuses keys that belong to other drivers.
fn refuse_stray_keys(report: &mut Report, table: &Table<'_>, driver: DriverName) {
    let strays = DriverName::KEYS.iter().filter(|key| !driver.keys().contains(key));
    for entry in strays.filter_map(|key| table.get(key)) {
        let (key, driver_word) = (entry.key, driver.word());
        let owners =
            DriverName::WORDS.iter().filter(|(_, other)| other.keys().contains(&key)).map(|(word, _)| *word);
        let help = match driver.keys() {
            [] => format!("remove it: the driver `{driver_word}` has no keys of its own"),
            own => {
                let (own, owners) = (listed(own.iter().copied()), listed(owners));
                format!("the driver `{driver_word}` takes {own}; `{key}` belongs to {owners}")
            }
        };
        report.refuse(entry.key_place, format!("`{key}` is no key of the driver `{driver_word}`"), help);
    }
}

/// The name of an interface as the kernel takes it, or of a DPDK device.
fn device(report: &mut Report, entry: &Entry<'_>, driver: DriverName) -> Option<String> {
    /// `IFNAMSIZ`, less the zero at its end (netdevice(7)).
    const LONGEST_INTERFACE: usize = 15;
    const LONGEST: usize = 255;
    let text = entry.string(report)?;
    let kernel = driver != DriverName::Dpdk;
    let longest = if kernel { LONGEST_INTERFACE } else { LONGEST };
    let odd = text.chars().any(|c| c.is_whitespace() || c.is_control() || (kernel && c == '/'));
    if text.is_empty() || text.len() > longest || odd || matches!(text, "." | "..") {
        let help = if kernel {
            "write the name that `ip link` shows, at most 15 bytes without blanks"
        } else {
            "write a PCI address such as `0000:01:00.0`, or a virtual device with its arguments"
        };
        report.refuse(entry.place(), format!("{} is no name of a device", quoted(text)), help);
        return None;
    }
    Some(text.to_owned())
}

/// What a port does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Read,
    Write,
}

/// Which files and devices the ports have taken.
#[derive(Default)]
struct Files {
    captures: HashMap<PathBuf, (Way, Place)>,
    devices: HashMap<String, Place>,
}

impl Files {
    /// Captures may be read by several ports; one that is written is nobody else's.
    fn claim(&mut self, report: &mut Report, path: &Path, way: Way, place: Place) {
        let Some(file) = identity(path) else {
            return;
        };
        let Some((earlier, other)) = self.captures.get(&file) else {
            self.captures.insert(file, (way, place));
            return;
        };
        let message = match (earlier, way) {
            (Way::Read, Way::Read) => return,
            (Way::Write, Way::Write) => "two ports write this capture",
            (Way::Read, Way::Write) | (Way::Write, Way::Read) => "this capture is both read and written",
        };
        report.refuse_beside(
            place,
            message,
            "write to a file of its own",
            other.clone(),
            "the other use stands here",
        );
    }

    fn claim_device(&mut self, report: &mut Report, device: &str, place: Place) {
        if let Some(other) = self.devices.get(device) {
            let message = format!("two ports have the device {}", quoted(device));
            report.refuse_beside(
                place,
                message,
                "give each port a device of its own",
                other.clone(),
                "the other one stands here",
            );
        } else {
            self.devices.insert(device.to_owned(), place);
        }
    }
}

/// One path for all paths of a file that may not exist yet; `None` for a device such as /dev/null, which anybody may
/// write.
fn identity(path: &Path) -> Option<PathBuf> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_char_device()) {
        return None;
    }
    if let Ok(real) = fs::canonicalize(path) {
        return Some(real);
    }
    if let (Some(Ok(folder)), Some(name)) = (path.parent().map(fs::canonicalize), path.file_name()) {
        return Some(folder.join(name));
    }
    let mut plain = PathBuf::new();
    for component in std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => plain.push(component),
        }
    }
    Some(plain)
}
