//! The straight path against its specification.
//!
//! [`Pipeline::judge`] takes a burst and sends frames of the common shape straight through; [`Pipeline::judge_traced`]
//! sends every frame through the general path. Both must give the same decisions, the same answers and the same books,
//! on whatever comes, over any link, on any port.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Runs, RngSeed};
use sekisho_control::compile::{Compiler, fragment_limits, reject_limits};
use sekisho_control::config::{Config, parse_duration, parse_instant};
use sekisho_dataplane::Replies;
use sekisho_dataplane::affected::{Affected, Customer, Record};
use sekisho_dataplane::clock::Instant;
use sekisho_dataplane::counters::{PoolTotals, Totals, WorkerCounters};
use sekisho_dataplane::frame::Link;
use sekisho_dataplane::generation::{Blueprint, Generation, PortPlan};
use sekisho_dataplane::pipeline::{Arrival, Common, Pipeline};
use sekisho_dataplane::policy::{Decision, Grant, PoolId, PortId, Reason, Role};
use sekisho_dataplane::policy::{SourceValidation, Taken, Trace};
use sekisho_dataplane::port::MAX_BURST;
use sekisho_dataplane::port::pcap::{CaptureReader, CapturedFrame};
use sekisho_tests::{answers, frames, vectors};
use serde_json::{Map, json};

/// After every phase of the fixture has begun but the last one of policy `late`.
const NOW: i64 = 1_150_340_400_000_000;
/// Ports of the fixture.
const ACCESS: PortId = PortId(0);
const CORE: PortId = PortId(1);
const MAIL: PortId = PortId(2);
const FILTER: PortId = PortId(4);
const PORTS: [&str; 5] = ["access", "core", "mail", "mail-up", "filter"];
const LINKS: [Link; 7] =
    [Link::Ethernet, Link::Raw, Link::Ipv4, Link::Ipv6, Link::Cooked, Link::Cooked2, Link::Loopback];

/// Bursts of streams: small ones, whole ones, and some that are judged in chunks.
const SIZES: [usize; 11] = [1, 2, 3, 8, 30, 64, 65, 200, 255, 256, 400];

/// `PROPTEST_CASES` and `PROPTEST_RNG_SEED` ask for more runs, or others.
fn runs(cases: u32) -> Runs {
    let asked = |name| std::env::var_os(name).is_some();
    let mut runs = Runs { failure_persistence: None, ..Runs::default() };
    if !asked("PROPTEST_CASES") {
        runs.cases = cases;
    }
    if !asked("PROPTEST_RNG_SEED") {
        runs.rng_seed = RngSeed::Fixed(25);
    }
    runs
}

// ---------------------------------------------------------------------- the two ways

/// A pipeline with everything of its own.
struct Side {
    generation: Generation,
    pipeline: Pipeline,
    counters: Arc<WorkerCounters>,
    replies: Replies,
    affected: Affected,
}

impl Side {
    fn new(generation: Generation, pools: usize, down: &[PortId], limits: &Config) -> Side {
        let ports = generation.port_count();
        let common = Common::new(ports, reject_limits(&limits.limits));
        for &port in down {
            common.set_up(port, false);
        }
        let counters = Arc::new(WorkerCounters::new(ports, pools));
        let fragments = fragment_limits(&limits.limits);
        let affected = Affected::new(1, 32_768);
        let pipeline = Pipeline::new(Arc::new(common), Arc::clone(&counters), fragments)
            .with_affected(affected.recorder(0));
        Side { generation, pipeline, counters, replies: Replies::with_capacity(8), affected }
    }

    /// Everything that was booked of affected customers but the sketches, which have keys of their own.
    fn affected(&self) -> Vec<String> {
        let report = self.affected.read();
        assert_eq!(report.displaced_customers, 0, "there is room for all");
        let told = |Customer { record, at_most }: &Customer| {
            let Record { customer, pool, packets, connections, answers, .. } = record;
            let times = (record.first_micros, record.last_micros);
            format!("{customer} {pool:?} {packets:?} {connections} {answers} {at_most} {times:?}")
        };
        report.customers.iter().map(told).collect()
    }
}

/// The reasons that make a customer affected.
const PORT_25: [Reason; 5] = [
    Reason::Port25Quarantine,
    Reason::RoutedHeader,
    Reason::Port25UnknownSource,
    Reason::Port25Egress,
    Reason::Port25Mirror,
];

/// The two that must agree.
struct Pair {
    burst: Side,
    single: Side,
    pools: usize,
}

/// Counts the rules that were looked at, so that the general path is the one with a watcher.
#[derive(Default)]
struct Looked(u64);

impl Trace for Looked {
    fn rule(&mut self, _: &'static str, _: bool) {
        self.0 += 1;
    }
}

impl Pair {
    fn new(config: &Config, grants: &[Grant], down: &[PortId]) -> Pair {
        let side = |pools: &mut usize| {
            let compiled = Compiler::default().compile(config, grants.to_vec()).expect("it compiles");
            // The last pool came after the cells were made: it is booked with those in no pool.
            *pools = compiled.names.highest_pool();
            Side::new(compiled.generation, *pools, down, config)
        };
        let mut pools = 0;
        Pair { burst: side(&mut pools), single: side(&mut pools), pools }
    }

    /// The fixture with changes.
    fn fixture(overrides: &Map<String, serde_json::Value>) -> Pair {
        let grant =
            Grant { prefix: "203.0.113.77".parse().expect("a prefix"), given: NOW - 1, until: NOW + 1 };
        Pair::new(&config(overrides), &[grant], &[])
    }

    /// Judges a burst both ways and says where they differ.
    fn judge(&mut self, arrival: Arrival, frames: &[&[u8]]) -> Result<Vec<Decision>, String> {
        let mut decisions = vec![Decision::UNDECIDED; frames.len()];
        let Side { generation, pipeline, replies, .. } = &mut self.burst;
        replies.clear();
        pipeline.judge(generation, arrival, frames, &mut decisions, replies);
        let mut answers = replies.iter().peekable();

        let Side { generation, pipeline, replies, .. } = &mut self.single;
        let mut looked = Looked::default();
        for (at, (frame, decision)) in frames.iter().zip(&decisions).enumerate() {
            let mut expected = [Decision::UNDECIDED];
            replies.clear();
            pipeline.judge_traced(generation, arrival, &[frame], &mut expected, replies, &mut looked);
            let place = || format!("frame {at} of {} on {arrival:?}\n{}", frames.len(), hex(frame));
            if *decision != expected[0] {
                return Err(format!("{decision:?}\nis not {:?}\n{}", expected[0], place()));
            }
            let answer = answers.next_if(|(reply, _)| reply.answers as usize == at);
            let expected = replies.iter().next();
            let same = match (&answer, &expected) {
                (Some((reply, bytes)), Some((other, others))) => reply.port == other.port && bytes == others,
                (None, None) => true,
                _ => false,
            };
            if !same {
                return Err(format!("answer {answer:?}\nis not {expected:?}\n{}", place()));
            }
        }
        if answers.next().is_some() {
            return Err("an answer too many, or out of order".to_owned());
        }
        if !frames.is_empty() && looked.0 == 0 {
            return Err("nobody looked at a rule".to_owned());
        }
        Ok(decisions)
    }

    /// Compares the books, and has them balance.
    fn books(&self) -> Result<(), String> {
        let (burst, single) = (&*self.burst.counters, &*self.single.counters);
        for port in 0..self.burst.generation.port_count() {
            let port = PortId(port as u8);
            let (totals, expected) = (Totals::of_port([burst], port), Totals::of_port([single], port));
            if totals != expected {
                return Err(format!("{port:?}: {totals:?}\nis not {expected:?}"));
            }
            if !totals.balance() {
                return Err(format!("{port:?} does not balance: {totals:?}"));
            }
        }
        for pool in 0..self.pools {
            let pool = PoolId(pool as u16);
            let (totals, expected) = (PoolTotals::of([burst], pool), PoolTotals::of([single], pool));
            if totals != expected {
                return Err(format!("{pool:?}: {totals:?} is not {expected:?}"));
            }
        }
        let (affected, expected) = (self.burst.affected(), self.single.affected());
        if affected != expected {
            return Err(format!("affected: {affected:?}\nis not {expected:?}"));
        }
        let totals = Totals::of([burst]);
        let denied =
            |reason: Reason| totals.reason(reason) - totals.decided[reason as usize][Taken::Forward as usize];
        let booked: u64 = PORT_25.iter().map(|&reason| denied(reason) + totals.would[reason as usize]).sum();
        if booked != self.burst.affected.read().attempts {
            return Err(format!("affected: {booked} denied, {affected:?}"));
        }
        let known = (self.burst.pipeline.fragments_known(), self.single.pipeline.fragments_known());
        match known.0 == known.1 {
            true => Ok(()),
            false => Err(format!("datagrams remembered: {known:?}")),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn config(overrides: &Map<String, serde_json::Value>) -> Config {
    let text = toml::to_string(&vectors::overridden(overrides)).expect("a table is TOML");
    Config::from_toml(&text, Path::new("fixture.toml")).expect("a configuration")
}

/// The configurations in which the straight path has to look at something else than in the others.
fn configs() -> Vec<Map<String, serde_json::Value>> {
    let mut all = Vec::new();
    for (validation, quarantine) in [("enforce", "reject"), ("monitor", "monitor"), ("off", "drop")] {
        for depth in [4, 0] {
            let mut overrides = Map::new();
            overrides.insert("checks.nat64-prefixes".to_owned(), json!(["2001:db8:64::/96"]));
            overrides.insert("policy.quarantine.action".to_owned(), json!(quarantine));
            overrides.insert("checks.source-validation".to_owned(), json!(validation));
            overrides.insert("limits.l2-headers".to_owned(), json!(depth));
            overrides.insert("limits.fragments".to_owned(), json!(1000));
            all.push(overrides);
        }
    }
    all
}

fn arrival(port: PortId, link: Link) -> Arrival {
    Arrival { port, link, now: Instant::from_utc_micros(NOW) }
}

// ---------------------------------------------------------------------- frames near the common shape

/// A frame of the common shape, or one step beside it.
#[derive(Clone, Debug)]
struct Near {
    tags: Vec<u16>,
    source: Address,
    destination: Address,
    protocol: u8,
    ports: [u16; 2],
    /// Of IPv4: version and header length, and the field of the fragment.
    first: u8,
    fragment: u16,
    /// Bytes behind the ports.
    rest: usize,
    /// Added to the length that the IP header tells.
    length: i16,
    /// Bytes behind the packet, or, below 0, cut off.
    tail: isize,
}

#[derive(Clone, Copy, Debug)]
enum Address {
    V4(u32),
    V6(u128),
}

impl Near {
    fn frame(&self) -> Vec<u8> {
        let v6 = matches!(self.source, Address::V6(_));
        let mut payload: Vec<u8> = self.ports.iter().flat_map(|port| port.to_be_bytes()).collect();
        payload.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        payload.resize(4 + self.rest, 0xaa);
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for tag in &self.tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0x60, 0x64]);
        }
        frame.extend(if v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
        let told = |header: usize| ((header + payload.len()) as u16).wrapping_add_signed(self.length);
        match (self.source, self.destination) {
            (Address::V4(source), Address::V4(destination)) => {
                frame.extend([self.first, 0]);
                frame.extend(told(20).to_be_bytes());
                frame.extend([0x12, 0x34]);
                frame.extend(self.fragment.to_be_bytes());
                frame.extend([57, self.protocol, 0, 0]);
                frame.extend(source.to_be_bytes());
                frame.extend(destination.to_be_bytes());
            }
            (Address::V6(source), Address::V6(destination)) => {
                frame.extend([self.first ^ 0x25, 0, 0, 0]);
                frame.extend(told(0).to_be_bytes());
                frame.extend([self.protocol, 57]);
                frame.extend(source.to_be_bytes());
                frame.extend(destination.to_be_bytes());
            }
            _ => unreachable!("addresses of one family"),
        }
        frame.extend(payload);
        let length = frame.len().saturating_add_signed(self.tail);
        frame.resize(length, 0);
        frame
    }
}

/// Customers, servers, and addresses at the edges of what rules 5 and 6 and the pools tell apart.
const V4: [&str; 22] = [
    "203.0.113.5",   // rejected
    "203.0.113.115", // dropped
    "203.0.113.100", // watched
    "203.0.113.40",  // staged
    "203.0.113.77",  // has a grant
    "203.0.113.130", // exempt
    "203.0.113.13",  // in quarantine
    "203.0.113.50",  // diverted
    "192.0.2.70",    // in no phase that covers all
    "192.0.2.25",    // always reachable
    "192.0.2.200",
    "198.51.100.17", // in the set that all phases cover
    "198.51.100.200",
    "0.255.255.255",
    "1.0.0.0",
    "126.255.255.255",
    "127.0.0.1",
    "128.0.0.0",
    "223.255.255.255",
    "224.0.0.0",
    "240.0.0.1",
    "255.255.255.255",
];
const V6: [&str; 21] = [
    "2001:db8:d000:1::5", // rejected
    "2001:db8:d700::115", // dropped
    "2001:db8:d600::100", // watched
    "2001:db8:d200::40",  // staged
    "2001:db8:5000::130", // exempt
    "2001:db8:d0ff::13",  // in quarantine
    "2001:db8:d300::50",  // diverted
    "2001:db8:c000::70",  // in no phase that covers all
    "2001:db8:a::25",     // always reachable
    "3fff:1::17",         // in the set that all phases cover
    "64:ff9b::192.0.2.25",
    "2001:db8:64::198.51.100.17",
    "2000::",
    "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "4000::",
    "::",
    "::1",
    "::ffff:203.0.113.5",
    "fe80::1",
    "ff02::1",
];

fn v4(text: &str) -> Address {
    Address::V4(text.parse::<Ipv4Addr>().expect("an address").to_bits())
}

fn v6(text: &str) -> Address {
    Address::V6(text.parse::<Ipv6Addr>().expect("an address").to_bits())
}

fn addresses() -> impl Strategy<Value = (Address, Address)> {
    prop_oneof![
        (select(&V4[..9]), select(&V4[..])).prop_map(|(a, b)| (v4(a), v4(b))),
        (select(&V4[..]), select(&V4[..])).prop_map(|(a, b)| (v4(a), v4(b))),
        (select(&V6[..8]), select(&V6[..])).prop_map(|(a, b)| (v6(a), v6(b))),
        (select(&V6[..]), select(&V6[..])).prop_map(|(a, b)| (v6(a), v6(b))),
    ]
}

/// Mostly `usual`, else one of `others`.
fn mostly<T: Clone + std::fmt::Debug + 'static>(usual: T, others: Vec<T>) -> impl Strategy<Value = T> {
    prop_oneof![12 => Just(usual), 1 => select(others)]
}

fn near() -> impl Strategy<Value = Near> {
    let tags = prop_oneof![
        6 => Just(vec![]),
        3 => Just(vec![0x8100]),
        1 => prop::collection::vec(select(vec![0x8100u16, 0x88a8, 0x9100, 0x8847, 0x8864]), 0..6),
    ];
    let port = || select(vec![25u16, 25, 587, 465, 443, 0x1900, 24, 26, 1023, 1049, 50_000]);
    (
        (tags, addresses()),
        prop_oneof![8 => select(vec![6u8, 17]), 1 => select(vec![0u8, 1, 44, 50, 51, 58, 60, 132, 5, 7])],
        [port(), port()],
        mostly(0x45, vec![0x44, 0x46, 0x4f, 0x55, 0x65, 0x05, 0x40]),
        mostly(0, vec![0x4000, 0x8000, 0xc000, 0x2000, 0x2001, 0x1fff, 1, 0x1000, 2]),
        prop_oneof![6 => Just(16usize), 1 => 0usize..60],
        mostly(0, vec![1, -1, 2, -15, -16, -17, -20, -21, -40, 100, i16::MAX]),
        prop_oneof![6 => 0isize..20, 1 => -60isize..0],
    )
        .prop_map(
            |((tags, (source, destination)), protocol, ports, first, fragment, rest, length, tail)| Near {
                tags,
                source,
                destination,
                protocol,
                ports,
                first,
                fragment,
                rest,
                length,
                tail,
            },
        )
}

proptest! {
    #![proptest_config(runs(60))]

    #[test]
    fn bursts_of_frames_near_the_common_shape_are_judged_as_one_by_one(
        overrides in select(configs()),
        bursts in prop::collection::vec((0..5u8, prop::collection::vec(near(), 1..=MAX_BURST)), 1..4),
    ) {
        let mut pair = Pair::fixture(&overrides);
        for (port, shapes) in &bursts {
            let frames: Vec<Vec<u8>> = shapes.iter().map(Near::frame).collect();
            let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
            pair.judge(arrival(PortId(*port), Link::Ethernet), &frames).map_err(TestCaseError::fail)?;
        }
        pair.books().map_err(TestCaseError::fail)?;
    }
}

proptest! {
    #![proptest_config(runs(40))]

    #[test]
    fn bursts_of_any_bytes_over_any_link_are_judged_as_one_by_one(
        overrides in select(configs()),
        link in select(LINKS.to_vec()),
        port in 0..5u8,
        bytes in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..90), select(vec![0u16, 0x0800, 0x86dd, 0x8100, 0x8864, 0x8847])),
            1..=MAX_BURST,
        ),
    ) {
        let mut pair = Pair::fixture(&overrides);
        let frames: Vec<Vec<u8>> = bytes.into_iter().map(|(mut frame, kind)| {
            if kind != 0 && let Some(field) = frame.get_mut(12..14) {
                field.copy_from_slice(&kind.to_be_bytes());
            }
            frame
        }).collect();
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        pair.judge(arrival(PortId(port), link), &frames).map_err(TestCaseError::fail)?;
        pair.books().map_err(TestCaseError::fail)?;
    }
}

/// A frame of the common shape.
fn straight(source: Address, destination: Address, protocol: u8, ports: [u16; 2]) -> Near {
    Near {
        tags: vec![],
        source,
        destination,
        protocol,
        ports,
        first: 0x45,
        fragment: 0,
        rest: 16,
        length: 0,
        tail: 2,
    }
}

/// Frames of the common shape: of each kind, family and tag, and mail from every kind of customer.
fn plain() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (source, destination) in [(v4(V4[0]), v4(V4[12])), (v6(V6[0]), v6(V6[9]))] {
        for tags in [vec![], vec![0x8100]] {
            for (protocol, ports) in [(6, [50_000, 443]), (6, [50_000, 587]), (17, [50_000, 53])] {
                all.push(
                    Near { tags: tags.clone(), ..straight(source, destination, protocol, ports) }.frame(),
                );
            }
        }
    }
    all.push(Near { tags: vec![0x8100], ..straight(v4(V4[1]), v4(V4[12]), 6, [50_000, 25]) }.frame());
    all.extend(V4[..9].iter().map(|customer| straight(v4(customer), v4(V4[12]), 6, [50_000, 25]).frame()));
    for destination in [V6[9], "2001:db8:64::192.0.2.25"] {
        all.extend(
            V6[..8].iter().map(|customer| straight(v6(customer), v6(destination), 6, [50_000, 25]).frame()),
        );
    }
    all
}

/// Every byte of the headers with every value: nothing that the straight path does not look at may matter.
#[test]
fn frames_with_any_one_byte_of_their_headers_changed_are_judged_as_one_by_one() {
    let (customer4, customer6) = (v4(V4[1]), v6(V6[1]));
    let (server4, server6) = (v4(V4[12]), v6(V6[9]));
    let shapes = [
        straight(customer4, server4, 6, [50_000, 443]),
        Near { tags: vec![0x8100], ..straight(customer4, server4, 17, [50_000, 53]) },
        straight(customer4, server4, 6, [50_000, 25]),
        straight(customer6, server6, 17, [50_000, 53]),
        Near { tags: vec![0x8100], ..straight(customer6, server6, 6, [50_000, 443]) },
        straight(customer6, server6, 6, [50_000, 25]),
    ];
    let mut mutated = Vec::new();
    for frame in shapes.iter().map(Near::frame) {
        for at in 0..frame.len().min(14 + 4 + 40 + 20) {
            for value in 0..=255 {
                let mut frame = frame.clone();
                frame[at] = value;
                mutated.push(frame);
            }
        }
    }
    for overrides in configs() {
        // Of two-byte fields, only one byte changes here; the property tests change both.
        for port in [ACCESS, CORE, MAIL] {
            let mut pair = Pair::fixture(&overrides);
            for burst in mutated.chunks(MAX_BURST) {
                let burst: Vec<&[u8]> = burst.iter().map(Vec::as_slice).collect();
                pair.judge(arrival(port, Link::Ethernet), &burst)
                    .unwrap_or_else(|e| panic!("{overrides:?}: {e}"));
            }
            pair.books().unwrap_or_else(|e| panic!("{overrides:?}: {e}"));
        }
    }
}

#[test]
fn frames_cut_at_any_byte_are_judged_as_one_by_one() {
    for overrides in configs() {
        let mut pair = Pair::fixture(&overrides);
        for port in [ACCESS, CORE, MAIL, FILTER] {
            for frame in plain() {
                let cuts: Vec<&[u8]> = (0..=frame.len()).map(|length| &frame[..length]).collect();
                pair.judge(arrival(port, Link::Ethernet), &cuts)
                    .unwrap_or_else(|e| panic!("{overrides:?}: {e}"));
            }
        }
        pair.books().unwrap_or_else(|e| panic!("{overrides:?}: {e}"));
    }
}

/// Bursts of every size up to the largest, and of some beyond it, which are judged in chunks.
#[test]
fn bursts_of_any_size_are_judged_as_one_by_one() {
    let mut dice = 0;
    let mut next = || {
        dice += 1;
        frames::frame(dice)
    };
    let plain = plain();
    let mut pair = Pair::fixture(&Map::new());
    for size in (1..=MAX_BURST).chain([257, 300, 511, 512, 513, 1000]) {
        // Every other frame is plain, so that both ways are taken at every place.
        let burst: Vec<Vec<u8>> =
            (0..size).map(|n| if n % 2 == 0 { plain[n / 2 % plain.len()].clone() } else { next() }).collect();
        let burst: Vec<&[u8]> = burst.iter().map(Vec::as_slice).collect();
        for port in [ACCESS, CORE] {
            pair.judge(arrival(port, Link::Ethernet), &burst).unwrap_or_else(|e| panic!("size {size}: {e}"));
        }
    }
    pair.books().unwrap_or_else(|e| panic!("{e}"));
}

/// Whatever the straight path can decide: a comparison of what never happens proves nothing.
#[test]
fn frames_of_the_common_shape_reach_every_outcome_of_the_straight_path() {
    let mut frames = plain();
    // From nobody, and to nobody.
    for (a, b) in [(v4("198.51.100.200"), v4("192.0.2.1")), (v6("3fff:2::1"), v6("3fff:2::1"))] {
        for (protocol, ports) in
            [(6, [50_000, 443]), (6, [587, 50_000]), (17, [50_000, 53]), (6, [50_000, 25])]
        {
            frames.push(Near { fragment: 0x4000, tail: 0, ..straight(a, b, protocol, ports) }.frame());
        }
    }
    // To a customer.
    for (a, b) in [(v4("198.51.100.200"), v4(V4[0])), (v6("3fff:2::1"), v6(V6[0]))] {
        for (protocol, ports) in [(6, [443, 50_000]), (6, [587, 50_000]), (17, [53, 50_000])] {
            frames.push(straight(a, b, protocol, ports).frame());
        }
    }
    for customer in &V4[..9] {
        for server in ["192.0.2.25", "198.51.100.17"] {
            frames.push(straight(v4(customer), v4(server), 6, [50_000, 25]).frame());
        }
    }
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let mut seen = BTreeSet::new();
    for overrides in configs() {
        let mut pair = Pair::fixture(&overrides);
        for port in [ACCESS, CORE, MAIL] {
            let decisions =
                pair.judge(arrival(port, Link::Ethernet), &frames).unwrap_or_else(|e| panic!("{e}"));
            for Decision { reason, taken, would, pool, .. } in decisions {
                let (verdict, would) = (format!("{taken:?}"), would.map_or("", Reason::code));
                let who = if pool == PoolId::NONE { "nobody" } else { "customer" };
                seen.insert(format!("{} {reason} {verdict} {would} {who}", PORTS[usize::from(port.0)]));
            }
        }
        pair.books().unwrap_or_else(|e| panic!("{e}"));
    }
    for expected in [
        "access submission Forward  customer",
        "access other-port Forward  customer",
        "access not-tcp Forward  customer",
        "access submission Forward  nobody",
        "access other-port Forward  nobody",
        "access not-tcp Forward  nobody",
        "access submission Forward spoofed-source nobody",
        "access other-port Forward spoofed-source nobody",
        "access not-tcp Forward spoofed-source nobody",
        "access spoofed-source Drop  nobody",
        "core submission Forward  customer",
        "core other-port Forward  customer",
        "core not-tcp Forward  customer",
        "core submission Forward  nobody",
        "core other-port Forward  nobody",
        "core not-tcp Forward  nobody",
        "core inbound-mail Forward  nobody",
        "mail server-origin Forward  nobody",
        "mail not-tcp Forward  nobody",
        "access port25-egress Drop  customer",
        "access port25-egress Reject  customer",
        "access port25-egress Divert  customer",
        "access not-in-scope Forward port25-egress customer",
        "access not-in-scope Forward  customer",
        "access allowed-destination Forward  customer",
        "access exempt-pool Forward  customer",
        "access exempt-grant Forward  customer",
        "access port25-quarantine Drop  customer",
        "access port25-quarantine Reject  customer",
        "access not-in-scope Forward port25-quarantine customer",
        "access port25-unknown-source Drop  nobody",
    ] {
        assert!(seen.contains(expected), "{expected} is not in {seen:#?}");
    }
}

/// No configuration gives a filter port a peer, but a blueprint can.
#[test]
fn a_filter_port_with_a_peer_is_judged_as_one_by_one() {
    let blueprint = Blueprint {
        ports: vec![
            PortPlan { role: Role::Filter, peer: Some(1) },
            PortPlan { role: Role::Internet, peer: Some(0) },
        ],
        source_validation: Some(SourceValidation::Enforce),
        ..Blueprint::default()
    };
    let limits = config(&Map::new());
    let side = || Side::new(Generation::compile(&blueprint).expect("it compiles"), 1, &[], &limits);
    let mut pair = Pair { burst: side(), single: side(), pools: 1 };
    let frames = plain();
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let decisions = pair.judge(arrival(PortId(0), Link::Ethernet), &frames).unwrap_or_else(|e| panic!("{e}"));
    assert!(decisions.iter().any(|decision| decision.reason == Reason::ServerOrigin));
    pair.books().unwrap_or_else(|e| panic!("{e}"));
}

// ---------------------------------------------------------------------- made-up traffic with state

fn grant((address, given, lasts): &(String, String, String)) -> Grant {
    let given = parse_instant(given).expect("an instant");
    let lasts = parse_duration(lasts).expect("a duration");
    Grant { prefix: address.parse().expect("a prefix"), given, until: given.saturating_add_unsigned(lasts) }
}

fn port_named(name: &str) -> PortId {
    PortId(PORTS.iter().position(|port| *port == name).expect("a port of the fixture") as u8)
}

/// Fragments, budgets, diverts and their way back, phases that begin: whole scenes, in bursts of random size.
#[test]
fn scenes_of_made_up_traffic_are_judged_as_one_by_one() {
    let scenes = std::env::var("PROPTEST_CASES").map_or(24, |cases| cases.parse().expect("a number"));
    let mut bursts = 0;
    let mut reasons = BTreeSet::new();
    for seed in 0..scenes {
        let scene = frames::scene(seed, 2000);
        let grants: Vec<Grant> = scene.grants.iter().map(grant).collect();
        let down: Vec<PortId> = scene.down.iter().map(|name| port_named(name)).collect();
        let mut pair = Pair::new(&config(&scene.overrides), &grants, &down);
        let mut rest = &scene.arrivals[..];
        // One port's frames of a stretch of time are one burst, at one instant.
        let mut sizes = SIZES.iter().cycle().skip(seed as usize % SIZES.len());
        while !rest.is_empty() {
            let size = *sizes.next().expect("endless");
            let (stretch, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            for port in PORTS {
                let mut burst: Vec<&[u8]> = Vec::new();
                burst.extend(stretch.iter().filter(|a| a.port == port).map(|a| a.frame.as_slice()));
                let now = Instant::from_utc_micros(stretch[0].at);
                let arrival = Arrival { port: port_named(port), link: Link::Ethernet, now };
                match pair.judge(arrival, &burst) {
                    Ok(decisions) => reasons.extend(decisions.iter().map(|decision| decision.reason)),
                    Err(e) => panic!("scene {seed}: {e}"),
                }
                bursts += 1;
            }
        }
        pair.books().unwrap_or_else(|e| panic!("scene {seed}: {e}"));
    }
    // A router's reasons are not a bridge's.
    let of_bridges = Reason::ALL.iter().filter(|reason| reason.rule() != "route").count();
    assert!(bursts > 500 && (scenes < 24 || reasons.len() == of_bridges), "{reasons:?}");
}

/// The same packets over every link: only Ethernet goes straight, the others must not.
#[test]
fn made_up_packets_over_every_link_are_judged_as_one_by_one() {
    let mut pair = Pair::fixture(&Map::new());
    let frames: Vec<Vec<u8>> = plain().into_iter().chain((0..2000).map(frames::frame)).collect();
    for link in LINKS {
        let mut judged = 0;
        for (n, burst) in frames.chunks(200).enumerate() {
            let wrapped: Vec<Vec<u8>> = burst.iter().map(|frame| over(link, frame)).collect();
            let wrapped: Vec<&[u8]> = wrapped.iter().map(Vec::as_slice).collect();
            for port in [ACCESS, CORE, MAIL, FILTER] {
                let arrival = arrival(port, link);
                let decisions = pair.judge(arrival, &wrapped).unwrap_or_else(|e| panic!("burst {n}: {e}"));
                judged += decisions.iter().filter(|d| d.reason == Reason::OtherPort).count();
            }
        }
        assert!(judged > 10, "{link:?}: hardly a frame was understood");
    }
    pair.books().unwrap_or_else(|e| panic!("{e}"));
}

/// An Ethernet frame's payload behind another link's header.
fn over(link: Link, frame: &[u8]) -> Vec<u8> {
    let payload = frame.get(14..).unwrap_or(&[]);
    let kind = frame.get(12..14).unwrap_or(&[0, 0]);
    match link {
        Link::Ethernet => frame.to_vec(),
        Link::Raw | Link::Ipv4 | Link::Ipv6 => payload.to_vec(),
        Link::Cooked => [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0], kind, payload].concat(),
        Link::Cooked2 => [kind, &[0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0], payload].concat(),
        Link::Loopback => {
            let family = if kind == [0x86, 0xdd] { 30u32 } else { 2 };
            [&family.to_le_bytes(), payload].concat()
        }
    }
}

// ---------------------------------------------------------------------- real captures

/// A policy under which real captures meet every kind of customer: in pools, under each action, and in none.
const CAPTURES: &str = r#"
[[port]]
name = "customers"
role = "subscriber"
peer = "core"
driver = "memory"

[[port]]
name = "core"
role = "internet"
peer = "customers"
driver = "memory"

[[port]]
name = "mail"
role = "servers"
peer = "mail-up"
driver = "memory"

[[port]]
name = "mail-up"
role = "internet"
peer = "mail"
driver = "memory"

[[policy]]
name = "closed"
action = "reject"
phases = [{ name = "all", from = "2006-06-01T00:00:00+09:00", block = "all" }]

[[policy]]
name = "watched"
action = "monitor"
phases = [{ name = "all", from = "2006-06-01T00:00:00+09:00", block = "all" }]

[[policy]]
name = "static"
kind = "exempt"

[[pool]]
name = "lower"
policy = "closed"
prefixes = ["0.0.0.0/1", "2000::/4", "::/8"]

[[pool]]
name = "private"
policy = "static"
prefixes = ["10.0.0.0/8", "2001:db8::/32"]

[[pool]]
name = "home"
policy = "watched"
prefixes = ["192.168.0.0/16", "172.16.0.0/12"]

[checks]
source-validation = "VALIDATION"

[limits]
fragments = 4096
"#;

#[test]
fn real_captures_are_judged_as_one_by_one() {
    let captures = answers::captures();
    assert!(captures.len() > 500, "{} captures", captures.len());
    let mut judged = 0;
    let mut straight = 0;
    for (run, validation) in ["enforce", "monitor", "off"].into_iter().enumerate() {
        let text = CAPTURES.replace("VALIDATION", validation);
        let config = Config::from_toml(&text, Path::new("captures.toml")).expect("a configuration");
        let mut pair = Pair::new(&config, &[], &[]);
        // A third of the captures each time, all of them together.
        for (n, capture) in captures.iter().enumerate().filter(|(n, _)| n % 3 == run) {
            let mut bursts = Bursts::of(capture);
            let mut sizes = SIZES.iter().cycle().skip(n % SIZES.len());
            while let Some((link, frames)) = bursts.next(*sizes.next().expect("endless")) {
                let frames: Vec<&[u8]> = frames.iter().map(|frame| frame.bytes.as_slice()).collect();
                for port in 0..4 {
                    let decisions = pair
                        .judge(arrival(PortId(port), link), &frames)
                        .unwrap_or_else(|e| panic!("{}: {e}", capture.name));
                    judged += decisions.len();
                    let common = |d: &&Decision| matches!(d.reason, Reason::OtherPort | Reason::NotTcp);
                    straight += decisions.iter().filter(common).count();
                }
            }
            pair.books().unwrap_or_else(|e| panic!("{}: {e}", capture.name));
        }
    }
    assert!(straight > 1000 && straight < judged, "{straight} of {judged}");
}

/// A capture's frames, in bursts of one link.
struct Bursts {
    reader: Option<CaptureReader>,
    next: CapturedFrame,
    has_next: bool,
    left: usize,
}

impl Bursts {
    /// Of the largest captures, the first frames.
    const MOST: usize = 3000;

    fn of(capture: &answers::Answered) -> Bursts {
        let bytes = capture.bytes().unwrap_or_else(|e| panic!("{}: {e}", capture.name));
        let reader = CaptureReader::from_reader(std::io::Cursor::new(bytes), &capture.name);
        let mut bursts =
            Bursts { reader: reader.ok(), next: CapturedFrame::default(), has_next: true, left: Self::MOST };
        bursts.advance();
        bursts
    }

    /// What can't be read on ends it: what was read is judged.
    fn advance(&mut self) {
        let reader = self.reader.as_mut().filter(|_| self.left > 0);
        self.has_next = reader.is_some_and(|reader| reader.next(&mut self.next).unwrap_or(false));
        self.left = self.left.saturating_sub(1);
    }

    fn next(&mut self, size: usize) -> Option<(Link, Vec<CapturedFrame>)> {
        let link = self.next.link;
        let mut frames = Vec::new();
        while self.has_next && frames.len() < size && self.next.link == link {
            frames.push(self.next.clone());
            self.advance();
        }
        (!frames.is_empty()).then(|| (link.into(), frames))
    }
}
