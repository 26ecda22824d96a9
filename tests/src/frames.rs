//! Frames made up from a seed: structured enough to get past the first check, and wrong in every way that
//! counts.
//!
//! Link headers × IPv4 with options and AH, or IPv6 with extension headers × TCP, UDP, ICMP and others ×
//! fragments whose identifications collide and whose bytes overlap × mutations, between addresses that mean
//! something in the fixture of the vectors. The same seed gives the same frames.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

use crate::replay::Arrival;
use crate::twin::{Micros, instant};

/// A stream of numbers that a seed gives (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The stream of that seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound as u64).expect("below a usize")
    }

    /// Whether something happens that happens `percent` times of a hundred.
    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn byte(&mut self) -> u8 {
        self.roll().to_le_bytes()[0]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

/// A run: changes of the fixture, grants, dead ports, and frames with their instants.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Changes of the fixture, as in a vector.
    pub overrides: Map<String, Value>,
    /// Address, given and for.
    pub grants: Vec<(String, String, String)>,
    /// Dead ports.
    pub down: Vec<String>,
    /// The frames.
    pub arrivals: Vec<Arrival>,
}

/// The instants that phases of the fixture begin at.
const PHASES: [&str; 3] =
    ["2005-10-18T00:00:00+09:00", "2006-06-01T00:00:00+09:00", "2011-01-15T00:00:00+09:00"];

#[rustfmt::skip]
const CUSTOMERS4: [&str; 22] = [
    "203.0.113.5", "203.0.113.80", "203.0.113.77", "203.0.113.13", "203.0.113.20", "203.0.113.40",
    "203.0.113.50", "203.0.113.100", "203.0.113.115", "192.0.2.70", "203.0.113.200",
    "203.0.113.130", "203.0.113.150", "203.0.113.161", "203.0.113.16", "203.0.113.31",
    "203.0.113.127", "203.0.113.128", "203.0.113.255", "203.0.113.51", "203.0.113.6", "192.0.2.127",
];
#[rustfmt::skip]
const CUSTOMERS6: [&str; 17] = [
    "2001:db8:d000:1::5", "2001:db8:d800:2::80", "2001:db8:d100::20", "2001:db8:d200::40",
    "2001:db8:d300::50", "2001:db8:d600::100", "2001:db8:d700::115", "2001:db8:c000::70",
    "2001:db8:e000::200", "2001:db8:5000::130", "2001:db8:50ff::150", "2001:db8:d0ff::13",
    "2001:db8:d300::51", "2001:db8:d000::", "2001:db8:dfff:ffff::1", "2001:db8:d000:1::6",
    "2001:db8:d1ff:ffff:ffff:ffff:ffff:ffff",
];
#[rustfmt::skip]
const SERVERS4: [&str; 10] = [
    "192.0.2.25", "192.0.2.26", "192.0.2.200", "198.51.100.16", "198.51.100.31", "198.51.100.15",
    "198.51.100.32", "198.51.100.200", "198.51.100.90", "1.2.3.4",
];
#[rustfmt::skip]
const SERVERS6: [&str; 14] = [
    "2001:db8:a::25", "2001:db8:a::26", "2001:db8:b::200", "3fff:1::17", "3fff:2::1",
    "3fff:0:ffff:ffff::1", "64:ff9b::192.0.2.25", "64:ff9b::198.51.100.17",
    "64:ff9b::198.51.100.200", "64:ff9b:1::192.0.2.25", "2001:db8:64::192.0.2.25",
    "2001:db8:64::198.51.100.17", "2001:db8:48:c000:2:1900::", "fd00::5",
];
#[rustfmt::skip]
const ODD4: [&str; 14] = [
    "0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255", "10.0.0.5", "169.254.7.7", "1.0.0.0", "126.255.255.255", "128.0.0.0",
    "223.255.255.255", "192.0.2.1",
];
#[rustfmt::skip]
const ODD6: [&str; 13] = [
    "::", "::1", "::2", "::ffff:203.0.113.5", "::fffe:0:0", "ff02::1", "ff0e::25", "fe80::1",
    "febf::1", "fec0::1", "fe7f::1", "ff02::16", "2001:db8::1",
];
const PORTS: [u16; 9] = [25, 587, 465, 443, 50000, 2525, 67, 68, 0x1900];
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0x0f, 1];
const CUSTOMER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];

/// One frame, as it might be received on any port.
pub fn frame(seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let port = dice.pick(&["access", "core", "mail"]);
    let packet = Packet::random(&mut dice, port);
    let body = if dice.percent(25) { packet.random_piece(&mut dice) } else { packet.whole(&mut dice) };
    let mut frame = wrap(&mut dice, &body);
    if dice.percent(30) {
        mutate(&mut dice, &mut frame);
    }
    frame
}

/// A run of `count` frames.
pub fn scene(seed: u64, count: usize) -> Scene {
    let mut dice = Dice::new(seed);
    let at = start(&mut dice);
    Scene {
        overrides: overrides(&mut dice),
        grants: grants(&mut dice, at),
        down: if dice.percent(15) { vec!["filter".to_owned()] } else { Vec::new() },
        arrivals: arrivals(&mut dice, at, count),
    }
}

/// Around a phase's instant, or on an ordinary day.
fn start(dice: &mut Dice) -> Micros {
    let at = dice.pick(&[
        PHASES[0],
        PHASES[1],
        PHASES[2],
        "2006-06-15T12:00:00+09:00",
        "2006-01-15T12:00:00+09:00",
    ]);
    let before = dice.pick(&[0, 1, 10, 1_000_000, 60_000_000]);
    instant(at).expect("an instant") - before
}

fn overrides(dice: &mut Dice) -> Map<String, Value> {
    let mut overrides = Map::new();
    let choices = [
        ("checks.source-validation", json!("off")),
        ("checks.source-validation", json!("monitor")),
        ("checks.nat64-prefixes", json!(["2001:db8:64::/96", "2001:db8:48::/48"])),
        ("limits.fragments", json!(3)),
        ("limits.fragments-per-source", json!(1)),
        ("limits.fragments-per-source", json!(2)),
        ("limits.fragment-lifetime", json!("10s")),
        ("limits.reject-burst", json!(1)),
        ("limits.reject-burst", json!(2)),
        ("limits.reject-interval", json!("1s")),
        ("limits.reject-per-second", json!(3)),
        ("limits.l2-headers", json!(2)),
        ("limits.extension-headers", json!(3)),
        ("policy.dynamic.action", json!("monitor")),
        ("policy.dynamic.action", json!("divert")),
        ("policy.dynamic.mirror", json!(false)),
        ("policy.dynamic.reject-with", json!("icmp")),
        ("policy.dynamic.phases.all-operators.action", json!("divert")),
        ("policy.dynamic.phases.mobile-carriers.action", json!("monitor")),
        ("policy.quarantine.action", json!("monitor")),
        ("policy.quarantine.action", json!("divert")),
        ("policy.quarantine.mirror", json!(false)),
        (
            "policy.quarantine.phases",
            json!([{ "name": "all", "from": "2005-01-01T00:00:00Z", "block": "all" }]),
        ),
        ("policy.divert.divert-fallback", json!("drop")),
        ("policy.divert.reject-with", json!("icmp")),
    ];
    for _ in 0..dice.below(8) {
        let (path, value) = choices[dice.below(choices.len())].clone();
        overrides.insert(path.to_owned(), value);
    }
    // Two denies at once that are only watched.
    if overrides.get("policy.quarantine.action") == Some(&json!("monitor")) {
        let phase = json!({ "name": "all", "from": "2005-01-01T00:00:00Z", "block": "all" });
        overrides.insert("policy.quarantine.phases".to_owned(), json!([phase]));
    }
    overrides
}

fn grants(dice: &mut Dice, at: Micros) -> Vec<(String, String, String)> {
    let given = |micros| jiff::Timestamp::from_microsecond(micros).expect("an instant").to_string();
    let mut grants = Vec::new();
    for _ in 0..dice.below(3) {
        let prefix = dice.pick(&[
            "203.0.113.77",
            "203.0.113.72/29",
            "203.0.113.13",
            "2001:db8:d000:1::5",
            "2001:db8:d000:1::/64",
            "10.0.0.5",
        ]);
        let since = at + dice.pick(&[-1_800_000_000, -1, 0, 1, 1_000_000]);
        let lasts = dice.pick(&["1s", "30m", "2h"]);
        grants.push((prefix.to_owned(), given(since), lasts.to_owned()));
    }
    grants
}

fn arrivals(dice: &mut Dice, mut at: Micros, count: usize) -> Vec<Arrival> {
    let mut all: Vec<Arrival> = Vec::new();
    // A few datagrams at a time, so that their fragments meet.
    let mut datagrams: Vec<(&str, Packet)> = Vec::new();
    while all.len() < count {
        at += step(dice);
        let port = dice.pick(&[
            "access", "access", "access", "access", "access", "core", "core", "core", "mail", "mail-up",
        ]);
        let (port, frame) = match dice.below(100) {
            0..50 => {
                let packet = Packet::random(dice, port);
                let body = packet.whole(dice);
                (port.to_owned(), wrap(dice, &body))
            }
            50..85 => {
                if datagrams.len() < 6 {
                    datagrams.push((port, Packet::of_few(dice, port)));
                } else if dice.percent(10) {
                    let index = dice.below(datagrams.len());
                    datagrams[index] = (port, Packet::of_few(dice, port));
                }
                let (port, packet) = &datagrams[dice.below(datagrams.len())];
                let body = packet.random_piece(dice);
                (port.to_string(), wrap(dice, &body))
            }
            85 if !all.is_empty() && dice.percent(20) => {
                // The same again, when a life of a fragment or of a grant ends.
                let again = &all[all.len() - 1 - dice.below(all.len().min(40))];
                let life = dice.pick(&[1_000_000, 1_000_000, 1_000_000, 10_000_000, 120_000_000])
                    - dice.pick(&[0, 0, 1]);
                at = at.max(again.at + life);
                (again.port.clone(), again.frame.clone())
            }
            85..90 if !all.is_empty() => {
                let again = &all[all.len() - 1 - dice.below(all.len().min(40))];
                let port = if dice.percent(50) { port } else { again.port.as_str() };
                (port.to_owned(), again.frame.clone())
            }
            90..95 if !all.is_empty() => {
                let again = &all[all.len() - 1 - dice.below(all.len().min(40))];
                ("filter".to_owned(), again.frame.clone())
            }
            _ => (port.to_owned(), other_than_ip(dice)),
        };
        let mut frame = frame;
        if dice.percent(10) {
            mutate(dice, &mut frame);
        }
        // Of equal instants the order of the inputs would decide.
        if all.last().is_some_and(|last| last.at == at && last.port != port) {
            at += 1;
        }
        all.push(Arrival { port, at, frame });
    }
    all
}

/// From one frame to the next: mostly nothing, sometimes to the edge of a lifetime, a budget or a phase.
fn step(dice: &mut Dice) -> Micros {
    match dice.below(1000) {
        0..994 => dice.pick(&[0, 1, 1, 1, 10, 1000]),
        994..999 => dice.pick(&[100_000, 999_999, 1_000_000, 5_000_000, 9_999_999]),
        _ => dice.pick(&[10_000_000, 30_000_000, 59_000_000, 60_000_000, 119_999_999, 121_000_000]),
    }
}

// ---------------------------------------------------------------------- packets

/// A packet that can be sent whole or in pieces.
#[derive(Clone, Debug)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    /// IPv4 options, or the extension headers in front of a Fragment header.
    front: Vec<u8>,
    /// The number of the first header of `front` (IPv6).
    first: u8,
    /// Where in `front` the number of what follows stands; `None`: in the fixed header.
    next_at: Option<usize>,
    /// The number of what `rest` starts with.
    next: u8,
    /// What can be cut into fragments.
    rest: Vec<u8>,
}

impl Packet {
    /// A packet as it may be received on that port.
    fn random(dice: &mut Dice, port: &str) -> Self {
        if dice.percent(3) {
            return Self::of_no_address(dice);
        }
        let (source, destination) = addresses(dice, port);
        Self::between(dice, port, source, destination)
    }

    /// What a host sends before it has an address, or what looks like it.
    fn of_no_address(dice: &mut Dice) -> Self {
        let (source, destination, next, rest) = if dice.percent(50) {
            let ports = [[0, 68, 0, 67], [0, 67, 0, 68], [0, 68, 0, 25], [1, 68, 0, 67]];
            let udp = [dice.pick(&ports), [0, 24, 0, 0]].concat();
            (dice.pick(&["0.0.0.0", "0.0.0.0", "0.0.0.1"]), "255.255.255.255", 17, udp)
        } else {
            let kind = dice.pick(&[131, 132, 133, 135, 143, 128, 134, 130]);
            (dice.pick(&["::", "::", "::1"]), "ff02::16", dice.pick(&[58, 58, 58, 17]), vec![kind, 0, 0, 0])
        };
        let (source, destination) = (parse(source), parse(destination));
        let mut packet = Self {
            source,
            destination,
            front: Vec::new(),
            first: 0,
            next_at: None,
            next,
            rest: [rest, vec![0; 20]].concat(),
        };
        if source.is_ipv6() && dice.percent(30) {
            packet.front_headers(dice, 1);
        }
        packet
    }

    /// A packet between two of very few addresses.
    fn of_few(dice: &mut Dice, port: &str) -> Self {
        let (customer, server) = if dice.percent(50) {
            (
                dice.pick(&["203.0.113.5", "203.0.113.50", "203.0.113.130"]),
                dice.pick(&["198.51.100.200", "192.0.2.25"]),
            )
        } else {
            (
                dice.pick(&["2001:db8:d000:1::5", "2001:db8:d300::50"]),
                dice.pick(&["3fff:2::1", "2001:db8:a::25"]),
            )
        };
        let (customer, server) = (parse(customer), parse(server));
        if port == "access" {
            Self::between(dice, port, customer, server)
        } else {
            Self::between(dice, port, server, customer)
        }
    }

    fn between(dice: &mut Dice, port: &str, source: IpAddr, destination: IpAddr) -> Self {
        let v6 = source.is_ipv6();
        let (protocol, upper) = upper_layer(dice, v6, port);
        let mut packet = Self {
            source,
            destination,
            front: Vec::new(),
            first: 0,
            next_at: None,
            next: protocol,
            rest: upper,
        };
        if v6 {
            let behind = if dice.percent(35) { chain_length(dice) } else { 0 };
            packet.prepend_headers(dice, behind);
            let before = if dice.percent(20) { chain_length(dice) } else { 0 };
            packet.front_headers(dice, before);
        } else {
            if dice.percent(10) {
                for _ in 0..dice.pick(&[1, 1, 1, 2, 8, 9]) {
                    let next = packet.next;
                    packet.rest.splice(0..0, header(dice, 51, next));
                    packet.next = 51;
                }
            }
            if dice.percent(15) {
                packet.front = options4(dice);
            }
        }
        packet
    }

    /// Puts extension headers in front of the rest.
    fn prepend_headers(&mut self, dice: &mut Dice, count: usize) {
        for _ in 0..count {
            let kind = extension(dice);
            let next = self.next;
            self.rest.splice(0..0, header(dice, kind, next));
            self.next = kind;
        }
    }

    /// Puts extension headers into the front, whose last one will name what follows.
    fn front_headers(&mut self, dice: &mut Dice, count: usize) {
        for index in 0..count {
            let kind = extension(dice);
            if index == 0 {
                self.first = kind;
            } else if let Some(at) = self.next_at {
                self.front[at] = kind;
            }
            self.next_at = Some(self.front.len());
            let header = header(dice, kind, 59);
            self.front.extend(header);
        }
    }

    fn whole(&self, dice: &mut Dice) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let flags = dice.pick(&[0, 0, 0x4000, 0x8000]);
                self.ipv4(dice, source, destination, 0x1234, flags, &self.rest)
            }
            _ => self.ipv6(self.next, &self.rest),
        }
    }

    /// A fragment: of few identifications, at an offset and with a length that may be anything.
    fn random_piece(&self, dice: &mut Dice) -> Vec<u8> {
        let identification = dice.pick(&[1_u16, 1, 2, 3]);
        let offset = match dice.below(10) {
            0..5 => 0,
            5..7 => dice.pick(&[8, 16, 24, 32, 40]),
            7..9 => dice.below(self.rest.len() / 8 + 1) * 8,
            _ => dice.pick(&[8, 48, 64, 1480, 65528]),
        };
        let length = dice.pick(&[0, 4, 7, 8, 16, 20, 24, 32, 40, 48, 80, 80, 1000]);
        let data: Vec<u8> = if offset < self.rest.len() {
            self.rest[offset..self.rest.len().min(offset + length)].to_vec()
        } else {
            dice.bytes(length.min(40))
        };
        let more = if dice.percent(80) {
            offset == 0 || offset + data.len() < self.rest.len()
        } else {
            dice.percent(50)
        };
        let units = u16::try_from(offset).expect("an offset below 65536");
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let flags = (units / 8) | if more { 0x2000 } else { 0 };
                self.ipv4(dice, source, destination, identification, flags, &data)
            }
            _ => {
                let next = if dice.percent(95) { self.next } else { dice.byte() };
                let mut fragment = vec![next, 0];
                fragment.extend_from_slice(&(units | u16::from(more)).to_be_bytes());
                fragment.extend_from_slice(&[0, 0]);
                fragment.extend_from_slice(&identification.to_be_bytes());
                fragment.extend_from_slice(&data);
                self.ipv6(44, &fragment)
            }
        }
    }

    fn ipv4(
        &self,
        dice: &mut Dice,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        id: u16,
        flags: u16,
        data: &[u8],
    ) -> Vec<u8> {
        let header = 20 + self.front.len();
        let mut packet = vec![0x40 | u8::try_from(header / 4).expect("at most 15 words"), 0];
        packet.extend_from_slice(&length(header + data.len()));
        packet.extend_from_slice(&id.to_be_bytes());
        packet.extend_from_slice(&flags.to_be_bytes());
        packet.extend_from_slice(&[dice.pick(&[1, 57, 255]), self.next, 0, 0]);
        packet.extend_from_slice(&source.octets());
        packet.extend_from_slice(&destination.octets());
        packet.extend_from_slice(&self.front);
        // Half of the checksums are right: none may decide.
        if dice.percent(50) {
            let sum =
                packet.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("sixteen bits");
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        packet.extend_from_slice(data);
        packet
    }

    fn ipv6(&self, next: u8, data: &[u8]) -> Vec<u8> {
        let mut front = self.front.clone();
        let mut first = self.first;
        match self.next_at {
            Some(at) => front[at] = next,
            None => first = next,
        }
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend_from_slice(&length(front.len() + data.len()));
        packet.extend_from_slice(&[first, 57]);
        for address in [self.source, self.destination] {
            let IpAddr::V6(address) = address else { unreachable!("an IPv6 packet") };
            packet.extend_from_slice(&address.octets());
        }
        packet.extend_from_slice(&front);
        packet.extend_from_slice(data);
        packet
    }
}

/// Source and destination of a packet received on that port: mostly as they should be.
fn addresses(dice: &mut Dice, port: &str) -> (IpAddr, IpAddr) {
    let v6 = dice.percent(45);
    // Some customers send more than others, so that their budgets end.
    let customer = |dice: &mut Dice| match (v6, dice.below(10)) {
        (false, 0..5) => parse(dice.pick(&CUSTOMERS4[..3])),
        (false, 5..9) => parse(dice.pick(&CUSTOMERS4)),
        (false, _) => IpAddr::V4(Ipv4Addr::new(203, 0, 113, dice.byte())),
        (true, 0..5) => parse(dice.pick(&CUSTOMERS6[..3])),
        (true, 5..9) => parse(dice.pick(&CUSTOMERS6)),
        (true, _) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xd000 | u16::from(dice.byte()), 0, 0, 0, 0, 1)),
    };
    let server = |dice: &mut Dice| parse(if v6 { dice.pick(&SERVERS6) } else { dice.pick(&SERVERS4) });
    let odd = |dice: &mut Dice| parse(if v6 { dice.pick(&ODD6) } else { dice.pick(&ODD4) });
    let any = |dice: &mut Dice| match dice.below(3) {
        0 => customer(dice),
        1 => server(dice),
        _ => odd(dice),
    };
    let own = |dice: &mut Dice, usual: &dyn Fn(&mut Dice) -> IpAddr| {
        if dice.percent(88) { usual(dice) } else { any(dice) }
    };
    match port {
        "access" => (own(dice, &customer), own(dice, &server)),
        "core" => (own(dice, &server), own(dice, &customer)),
        _ => (own(dice, &server), own(dice, &server)),
    }
}

fn parse(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// How many extension headers: few, or about as many as are walked.
fn chain_length(dice: &mut Dice) -> usize {
    dice.pick(&[1, 1, 1, 1, 1, 2, 2, 2, 3, 4, 7, 8, 9])
}

fn extension(dice: &mut Dice) -> u8 {
    dice.pick(&[0, 60, 60, 60, 60, 43, 43, 51, 135, 139, 140, 44])
}

/// An extension header of that kind, followed by `next`.
fn header(dice: &mut Dice, kind: u8, next: u8) -> Vec<u8> {
    let mut header = match kind {
        // A Fragment header: mostly atomic.
        44 => {
            let field = if dice.percent(70) { 0 } else { dice.pick(&[1_u16, 8, 9, 64]) };
            let [high, low] = field.to_be_bytes();
            vec![next, 0, high, low, 0, 0, 0, dice.pick(&[1, 2, 3])]
        }
        // A routing header: type, segments left, segments.
        43 => {
            let segments = dice.below(3);
            let mut header = vec![
                next,
                u8::try_from(segments * 2).expect("few"),
                dice.pick(&[0, 0, 1, 2, 2, 2, 3, 3, 4, 4, 4, 253]),
            ];
            header.extend([dice.pick(&[0, 0, 1, 2]), 0, 0, 0, 0]);
            header.extend(dice.bytes(segments * 16));
            header
        }
        51 => {
            let words = dice.pick(&[0, 1, 4, 5]);
            let mut header = vec![next, words, 0, 0];
            header.extend(dice.bytes((usize::from(words) + 2) * 4 - 4));
            header
        }
        _ => {
            let units = dice.pick(&[0, 0, 0, 1, 3]);
            let mut header = vec![next, units];
            header.extend(dice.bytes((usize::from(units) + 1) * 8 - 2));
            header
        }
    };
    // A length that lies, now and then.
    if dice.percent(2) {
        header[1] = dice.byte();
    }
    header
}

fn options4(dice: &mut Dice) -> Vec<u8> {
    let mut options: Vec<u8> = match dice.below(10) {
        0..3 => vec![1; dice.pick(&[4, 8, 40])],
        3 if dice.percent(50) => vec![0x83, 7, 4, 198, 51, 100, 1],
        4 => vec![1, 1, 0x89, 7, 4, 198, 51, 100, 1],
        5 => vec![7, 7, 4, 0x83, 3, 4, 0],
        6 => vec![0, 0x83, 7, 4],
        7 => vec![0x94, 4, 0, 25],
        8 => vec![7, dice.pick(&[0, 1, 39]), dice.pick(&[4, 0x83]), 0x83],
        _ => {
            let count = dice.below(40);
            dice.bytes(count)
        }
    };
    // The source route may come last, cut short by the end of the header.
    if dice.percent(5) {
        options.truncate(36);
        options.resize(options.len().next_multiple_of(4) + 3, 1);
        options.push(dice.pick(&[0x83, 0x89]));
    }
    options.resize(options.len().next_multiple_of(4), 0);
    options
}

/// The protocol and the bytes of what stands behind the IP headers.
fn upper_layer(dice: &mut Dice, v6: bool, port: &str) -> (u8, Vec<u8>) {
    match dice.below(100) {
        0..70 => (6, tcp(dice, port)),
        70..80 => {
            let mut udp = Vec::new();
            for port in [dice.pick(&PORTS), dice.pick(&PORTS), dice.pick(&[8_u16, 24, 7]), 0] {
                udp.extend_from_slice(&port.to_be_bytes());
            }
            if dice.percent(30) {
                udp[..4].copy_from_slice(&[0, 68, 0, 67]);
            }
            let count = dice.below(40);
            udp.extend(dice.bytes(count));
            cut(dice, &mut udp, 8);
            (17, udp)
        }
        80..90 => {
            let kind = dice.pick(&[128, 133, 135, 131, 132, 143, 134, 8, 0, 3]);
            let mut icmp = vec![kind, 0, 0, 0, 0, 0, 0, 0];
            let count = dice.below(40);
            icmp.extend(dice.bytes(count));
            cut(dice, &mut icmp, 8);
            (if v6 == dice.percent(90) { 58 } else { 1 }, icmp)
        }
        _ => {
            let protocol =
                dice.pick(&[132, 132, 33, 136, 2, 50, 47, 4, 41, 59, 253, 255, 0, 60, 43, 44, 51, 135]);
            let count = dice.below(48);
            (protocol, dice.bytes(count))
        }
    }
}

fn tcp(dice: &mut Dice, port: &str) -> Vec<u8> {
    let mail = if dice.percent(70) { 25 } else { dice.pick(&PORTS) };
    let other = if dice.percent(80) { 50000 } else { dice.pick(&PORTS) };
    // From customers, mail goes to port 25; inbound it is the answers that matter.
    let to_mail = dice.percent(if port == "access" { 95 } else { 40 });
    let ports: [u16; 2] = if to_mail { [other, mail] } else { [mail, other] };
    let mut segment = Vec::new();
    for port in ports {
        segment.extend_from_slice(&port.to_be_bytes());
    }
    for number in [dice.pick(&[0_u32, 1000, u32::MAX, u32::MAX - 3]), dice.pick(&[0_u32, 7000, u32::MAX])] {
        segment.extend_from_slice(&number.to_be_bytes());
    }
    let words = dice.pick(&[5, 5, 5, 5, 5, 6, 8, 15]);
    let written = if dice.percent(90) { words } else { dice.pick(&[0, 3, 4, 5, 6, 15]) };
    let flags = if dice.percent(85) {
        dice.pick(&[0x02, 0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x01])
    } else {
        dice.byte()
    };
    segment.extend_from_slice(&[written << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    segment.extend(std::iter::repeat_n(1, usize::from(words - 5) * 4));
    let count = dice.pick(&[0, 0, 1, 40, 60, 90, 600]);
    segment.extend(dice.bytes(count));
    cut(dice, &mut segment, 20);
    segment
}

/// Cuts a header short, now and then.
fn cut(dice: &mut Dice, bytes: &mut Vec<u8>, header: usize) {
    if dice.percent(5) {
        let count = dice.below(header + 1);
        bytes.truncate(count);
    }
}

// ---------------------------------------------------------------------- link headers and mutations

/// Puts link headers around an IP packet.
fn wrap(dice: &mut Dice, packet: &[u8]) -> Vec<u8> {
    let v6 = packet.first().is_some_and(|b| b >> 4 == 6);
    let mut kind: u16 = if v6 { 0x86dd } else { 0x0800 };
    let mut head: Vec<u8> = Vec::new();
    let layout = dice.below(100);
    // Inside out: the session or the labels, then the tags.
    match layout {
        65..75 => {
            let protocol = if v6 { 0x57 } else { 0x21 };
            let ppp = if dice.percent(30) { vec![protocol] } else { vec![0, protocol] };
            let mut count = u16::try_from(ppp.len() + packet.len()).expect("a small packet");
            if dice.percent(10) {
                count = dice.pick(&[0, 1, 2, 3, count.saturating_sub(1), count + 1, 9999]);
            }
            head = vec![dice.pick(&[0x11, 0x11, 0x11, 0x21]), dice.pick(&[0, 0, 0, 9])];
            head.extend_from_slice(&dice.pick(&[1_u16, 0x1234]).to_be_bytes());
            head.extend_from_slice(&count.to_be_bytes());
            head.extend(ppp);
            kind = 0x8864;
        }
        75..80 => {
            let labels = dice.pick(&[1, 1, 1, 2, 3, 4, 5]);
            for index in 0..labels {
                head.extend_from_slice(&[0, dice.byte(), if index + 1 == labels { 1 } else { 0 }, 61]);
            }
            kind = 0x8847;
        }
        _ => {}
    }
    let tags = match layout {
        0..50 => 0,
        50..60 => dice.pick(&[1, 1, 2, 2, 3, 4, 5, 6]),
        _ => dice.pick(&[0, 0, 0, 0, 1, 1, 2, 4]),
    };
    for _ in 0..tags {
        let mut tag = vec![dice.byte(), dice.byte()];
        tag.extend_from_slice(&kind.to_be_bytes());
        head.splice(0..0, tag);
        kind = dice.pick(&[0x8100, 0x8100, 0x88a8, 0x9100]);
    }
    let mut frame = Vec::new();
    frame.extend_from_slice(&if dice.percent(97) {
        GATEWAY
    } else {
        dice.pick(&[[0xff; 6], [1, 0, 0x5e, 1, 2, 3]])
    });
    frame.extend_from_slice(&CUSTOMER_MAC);
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend(head);
    frame.extend_from_slice(packet);
    // Ethernet pads to 60 bytes.
    if dice.percent(50) && frame.len() < 60 {
        let filler = dice.pick(&[0, 0, 0xee]);
        frame.resize(60, filler);
    }
    frame
}

fn other_than_ip(dice: &mut Dice) -> Vec<u8> {
    let mut frame = GATEWAY.to_vec();
    frame.extend_from_slice(&CUSTOMER_MAC);
    let kind: u16 = dice
        .pick(&[0x0806, 0x88cc, 0x8863, 0x8864, 0x8100, 0x8847, 0x8847, 0x0800, 0x86dd, 48, 0x8848, 0xffff]);
    frame.extend_from_slice(&kind.to_be_bytes());
    let count = dice.pick(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 20, 46]);
    frame.extend(dice.bytes(count));
    if dice.percent(10) {
        let count = dice.below(15);
        frame.truncate(count);
    }
    frame
}

/// Makes a frame wrong: bits flipped, cut, lengthened, or one field overwritten.
fn mutate(dice: &mut Dice, frame: &mut Vec<u8>) {
    match dice.below(4) {
        0 if !frame.is_empty() => {
            for _ in 0..=dice.below(3) {
                let bit = dice.below(frame.len().min(120) * 8);
                frame[bit / 8] ^= 1 << (bit % 8);
            }
        }
        1 => {
            let count = dice.below(frame.len() + 1);
            frame.truncate(count);
        }
        2 => {
            let count = dice.below(20);
            let more = dice.bytes(count);
            frame.extend(more);
        }
        _ if frame.len() > 20 => {
            let at = 12 + dice.below(frame.len().min(100) - 12);
            frame[at] = dice.pick(&[
                0,
                1,
                4,
                6,
                25,
                44,
                51,
                0xff,
                frame[at].wrapping_add(1),
                frame[at].wrapping_sub(1),
            ]);
        }
        _ => {}
    }
}

fn length(count: usize) -> [u8; 2] {
    u16::try_from(count).expect("a small packet").to_be_bytes()
}
