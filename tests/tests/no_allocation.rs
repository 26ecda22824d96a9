//! Nothing is allocated per packet: once the first bursts are through, the heap is not touched again, whatever the
//! packets are.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use sekisho_control::compile::{Compiler, fragment_limits, reject_limits};
use sekisho_control::config::Config;
use sekisho_dataplane::affected::Affected;
use sekisho_dataplane::clock::Instant;
use sekisho_dataplane::counters::{Totals, WorkerCounters};
use sekisho_dataplane::frame::Link;
use sekisho_dataplane::generation::Generation;
use sekisho_dataplane::pipeline::{Arrival, Common, Pipeline};
use sekisho_dataplane::policy::{Decision, FragmentLimits, PortId, Reason, Taken};
use sekisho_dataplane::port::MemoryDriver;
use sekisho_dataplane::port::memory::Ring;
use sekisho_dataplane::publication::publish;
use sekisho_dataplane::route::punt::{PuntLimits, Punts};
use sekisho_dataplane::route::{Change, Link as RouteLink, LinkId, Neighbour, Routes};
use sekisho_dataplane::tap::Wanted;
use sekisho_dataplane::worker::Corridor;
use sekisho_dataplane::{RejectLimits, Replies};
use sekisho_tests::{frames, vectors};
use serde_json::{Map, json};

/// Counts what each thread asks of the heap.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn asked() -> u64 {
    ASKED.get()
}

fn count() {
    // A thread that is ending has no counter any more, and judges nothing.
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
}

// SAFETY: everything is the system's allocator's doing; the counter is a thread's own and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller guarantees.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller guarantees.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller guarantees.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count();
        // SAFETY: as the caller guarantees.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const NOW: i64 = 1_150_340_400_000_000;
const BURST: usize = 64;
const PACKETS: usize = 100_000;
const ACCESS: PortId = PortId(0);
const CORE: PortId = PortId(1);
const MAIL: PortId = PortId(2);

#[test]
fn the_heap_is_watched() {
    let before = asked();
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(asked() - before, 2);
    let mut list: Vec<u64> = std::hint::black_box(Vec::with_capacity(1));
    let before = asked();
    list.extend([1, 2, 3]);
    assert_eq!(asked() - before, 1, "a list that grows");
}

// ---------------------------------------------------------------------- what is judged

struct Way {
    generation: Generation,
    pipeline: Pipeline,
    counters: Arc<WorkerCounters>,
    common: Arc<Common>,
}

/// The fixture, with a fragment table that fills up and forgets.
fn way() -> Way {
    let mut overrides = Map::new();
    overrides.insert("limits.fragments".to_owned(), json!(500));
    overrides.insert("limits.fragment-lifetime".to_owned(), json!("1s"));
    overrides.insert("limits.reject-interval".to_owned(), json!("1s"));
    let text = toml::to_string(&vectors::overridden(&overrides)).expect("a table is TOML");
    let config = Config::from_toml(&text, Path::new("fixture.toml")).expect("a configuration");
    let compiled = Compiler::default().compile(&config, Vec::new()).expect("it compiles");
    let common = Arc::new(Common::new(config.ports.len(), reject_limits(&config.limits)));
    let counters = Arc::new(WorkerCounters::new(config.ports.len(), compiled.names.highest_pool() + 1));
    let limits = fragment_limits(&config.limits);
    let pipeline = Pipeline::new(Arc::clone(&common), Arc::clone(&counters), limits);
    // Few places for affected customers, so that they change hands.
    let pipeline = pipeline.with_affected(Affected::new(1, 32).recorder(0));
    Way { generation: compiled.generation, pipeline, counters, common }
}

/// What a packet is made of.
#[derive(Clone)]
struct Packet<'a> {
    /// EtherTypes of VLAN tags.
    tags: &'a [u16],
    source: &'a str,
    destination: &'a str,
    ports: [u16; 2],
    flags: u8,
    /// IPv4: the fragment field. IPv6: the same in a Fragment header, if it is not 0.
    fragment: u16,
    identification: u16,
    payload: usize,
}

const SYN: Packet<'_> = Packet {
    tags: &[],
    source: "203.0.113.5",
    destination: "198.51.100.200",
    ports: [50_000, 25],
    flags: 2,
    fragment: 0,
    identification: 1,
    payload: 0,
};
const MORE: u16 = 0x2000;

impl Packet<'_> {
    fn frame(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0x0f, 1, 2, 0, 0, 0, 1, 1];
        for tag in self.tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0x60, 0x64]);
        }
        let mut segment: Vec<u8> = self.ports.iter().flat_map(|port| port.to_be_bytes()).collect();
        segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.resize(20 + self.payload, 0x55);
        match (self.source.parse::<Ipv4Addr>(), self.destination.parse::<Ipv4Addr>()) {
            (Ok(source), Ok(destination)) => {
                frame.extend([8, 0, 0x45, 0]);
                frame.extend((20 + segment.len() as u16).to_be_bytes());
                frame.extend(self.identification.to_be_bytes());
                frame.extend(self.fragment.to_be_bytes());
                frame.extend([57, 6, 0, 0]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
            }
            _ => {
                let [next, header] = if self.fragment == 0 { [6, 0] } else { [44, 8] };
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend((header + segment.len() as u16).to_be_bytes());
                frame.extend([next as u8, 57]);
                for address in [self.source, self.destination] {
                    frame.extend(address.parse::<Ipv6Addr>().expect("an address").octets());
                }
                if self.fragment != 0 {
                    let field = (self.fragment & 0x1fff) << 3 | u16::from(self.fragment & MORE != 0);
                    frame.extend([6, 0]);
                    frame.extend(field.to_be_bytes());
                    frame.extend([0, 0]);
                    frame.extend(self.identification.to_be_bytes());
                }
            }
        }
        frame.extend(segment);
        frame.resize(frame.len().max(60), 0);
        frame
    }
}

const SIX: Packet<'_> = Packet { source: "2001:db8:d000:1::5", destination: "3fff:2::1", ..SYN };

/// Frames of one kind, and decisions that must be among those for them.
struct Kind {
    name: &'static str,
    port: PortId,
    frames: Vec<Vec<u8>>,
    expected: &'static [(&'static str, Taken)],
}

fn kinds() -> Vec<Kind> {
    use Taken::{Divert, Drop, Forward, Reject};
    let kind = |name, port, packets: Vec<Packet<'_>>, expected| {
        let frames = packets.iter().map(Packet::frame).collect();
        Kind { name, port, frames, expected }
    };
    let customers: Vec<String> = (1..=12).map(|n| format!("203.0.113.{n}")).collect();
    let of_each = |packet: &Packet<'_>| -> Vec<Vec<u8>> {
        customers.iter().map(|source| Packet { source, ..packet.clone() }.frame()).collect()
    };
    let fragments = |packet: &Packet<'_>| -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for identification in 0..2_000 {
            for fragment in [MORE, MORE | 3, 200, MORE | 1] {
                all.push(Packet { identification, fragment, payload: 40, ..packet.clone() }.frame());
            }
        }
        all
    };
    vec![
        kind(
            "straight",
            ACCESS,
            vec![
                Packet { ports: [50_000, 443], ..SYN },
                Packet { ports: [50_000, 587], tags: &[0x8100], ..SIX },
                Packet { source: "203.0.113.130", ..SYN },
                Packet { source: "203.0.113.115", ..SYN },
                Packet { source: "10.0.0.1", ..SYN },
            ],
            &[
                ("other-port", Forward),
                ("submission", Forward),
                ("exempt-pool", Forward),
                ("port25-egress", Drop),
                ("spoofed-source", Drop),
            ],
        ),
        kind(
            "general",
            ACCESS,
            vec![
                Packet { ports: [50_000, 443], tags: &[0x88a8, 0x8100], ..SYN },
                Packet { destination: "192.0.2.25", tags: &[0x9100, 0x8100], ..SYN },
                Packet { destination: "2001:db8:a::25", ..SIX },
                Packet { source: "2001:db8:d600::100", ..SIX },
                Packet { tags: &[0x8100; 5], ..SYN },
                Packet { source: "127.0.0.1", ..SYN },
            ],
            &[
                ("other-port", Forward),
                ("allowed-destination", Forward),
                ("not-in-scope", Forward),
                ("encap-depth", Drop),
                ("bogon-source", Drop),
            ],
        ),
        Kind {
            name: "rejects over IPv4",
            port: ACCESS,
            frames: of_each(&SYN),
            expected: &[("port25-egress", Reject), ("port25-egress", Drop)],
        },
        Kind {
            name: "rejects with ICMP, large packets",
            port: ACCESS,
            frames: vec![
                Packet { source: "203.0.113.20", payload: 1_400, ..SYN }.frame(),
                Packet { source: "2001:db8:d100::20", payload: 1_400, ..SIX }.frame(),
            ],
            expected: &[("port25-egress", Reject), ("port25-egress", Drop)],
        },
        Kind {
            name: "fragments over IPv4",
            port: ACCESS,
            frames: fragments(&SYN),
            expected: &[
                ("port25-egress", Reject),
                ("fragment-follow", Drop),
                ("tiny-fragment", Drop),
                ("fragment-orphan", Forward),
            ],
        },
        Kind {
            name: "fragments over IPv6",
            port: ACCESS,
            frames: fragments(&Packet { ports: [50_000, 443], ..SIX }),
            expected: &[
                ("other-port", Forward),
                ("fragment-follow", Forward),
                ("fragment-overlap", Drop),
                ("fragment-orphan", Forward),
            ],
        },
        kind(
            "mirror",
            CORE,
            vec![
                Packet {
                    source: "198.51.100.200",
                    destination: "203.0.113.5",
                    ports: [25, 50_000],
                    flags: 0x12,
                    ..SYN
                },
                Packet {
                    source: "192.0.2.25",
                    destination: "203.0.113.5",
                    ports: [25, 50_000],
                    flags: 0x12,
                    ..SYN
                },
                Packet { source: "3fff:2::1", destination: "2001:db8:d600::100", ports: [25, 50_000], ..SIX },
            ],
            &[("port25-mirror", Drop), ("return-allowed", Forward)],
        ),
        kind(
            "diverts",
            ACCESS,
            vec![Packet { source: "203.0.113.50", ..SYN }, Packet { source: "2001:db8:d300::50", ..SIX }],
            &[("port25-egress", Divert)],
        ),
        Kind {
            name: "made up",
            port: ACCESS,
            frames: (0..2_000).map(frames::frame).collect(),
            expected: &[
                ("malformed", Drop),
                ("not-ip", Forward),
                ("header-chain", Drop),
                ("opaque", Forward),
            ],
        },
    ]
}

#[test]
fn no_packet_of_any_kind_is_judged_with_the_heap() {
    for Kind { name, port, frames, expected } in kinds() {
        let Way { generation, mut pipeline, counters, .. } = way();
        let mut decisions = vec![Decision::UNDECIDED; BURST];
        let mut replies = Replies::with_capacity(BURST);
        let mut seen = BTreeMap::new();
        let mut answers = 0;
        let mut judged = 0;
        let mut at_first = 0;
        let mut slices: Vec<&[u8]> = Vec::with_capacity(BURST);
        let mut next = frames.iter().cycle();
        let mut now = NOW;
        // The first bursts may still ask for room.
        let warm = 4 * BURST;
        while judged < PACKETS + warm {
            if judged == warm {
                at_first = asked();
            }
            slices.clear();
            slices.extend(next.by_ref().take(BURST).map(Vec::as_slice));
            replies.clear();
            let arrival = Arrival { port, link: Link::Ethernet, now: Instant::from_utc_micros(now) };
            pipeline.judge(&generation, arrival, &slices, &mut decisions, &mut replies);
            now += 10_000;
            judged += BURST;
            answers += replies.iter().count();
            if judged <= warm || judged > PACKETS {
                let before = asked();
                for Decision { reason, taken, .. } in &decisions {
                    *seen.entry((reason.code(), format!("{taken:?}"))).or_insert(0) += 1;
                }
                at_first += asked() - before;
            }
        }
        let allocations = asked() - at_first;
        assert_eq!(allocations, 0, "{name}: the heap was asked while {PACKETS} packets were judged");
        let totals = Totals::of([&*counters]);
        for (code, taken) in expected {
            assert!(
                seen.contains_key(&(*code, format!("{taken:?}"))),
                "{name}: no {code} {taken:?} in {seen:?}"
            );
        }
        assert_eq!(answers as u64, totals.taken(Taken::Reject), "{name}");
        assert!(totals.balance(), "{name}");
    }
}

/// The same from ring to ring, answers included.
#[test]
fn no_packet_of_any_kind_is_carried_with_the_heap() {
    carry(None);
}

/// The same while a capture copies all of it, with a reader that comes in time, and with one that does not.
#[test]
fn no_packet_of_any_kind_is_copied_for_a_capture_with_the_heap() {
    carry(Some(PACKETS));
    carry(Some(BURST));
}

/// Carries packets of every kind; with a capture, copies of each into so many places, of which a reader takes those of
/// a burst after each.
fn carry(places_of_capture: Option<usize>) {
    for Kind { name, port, frames, .. } in kinds() {
        let Way { generation, pipeline, counters, common } = way();
        let tap = common.tap();
        let capture = places_of_capture.map(|places| tap.begin(Wanted::ALL, places, 1_600));
        let mut copies = 0;
        let places = frames.len().max(256);
        let mut driver = MemoryDriver::new(5, places, 1_600, Ring::Endless);
        for frame in frames.iter().cycle().take(places) {
            assert!(driver.load(port, frame), "{name}");
        }
        let mut corridor = Corridor::new(driver, pipeline, BURST);
        let (_publisher, mut readers) = publish(generation, 1);
        let mut reader = readers.pop().expect("one reader");
        let mut online = reader.online();
        let mut now = NOW;
        let mut at_first = 0;
        for burst in 0..4 + PACKETS / BURST {
            if burst == 4 {
                at_first = asked();
            }
            let mut clock = || {
                now += 10_000;
                Instant::from_utc_micros(now)
            };
            assert_eq!(corridor.serve(port, &mut online, &mut clock).frames, BURST, "{name}");
            for copy in capture.iter().flat_map(|capture| (1..BURST).map_while(|_| tap.next(*capture))) {
                tap.give_back(copy);
                copies += 1;
            }
        }
        if let Some(capture) = capture {
            // The reader takes one less than come: with few places, some are lost.
            let lost = tap.lost(capture);
            assert_eq!(lost > 0, places_of_capture == Some(BURST), "{name}");
            assert!(copies >= PACKETS / 2, "{name}");
        }
        assert_eq!(asked() - at_first, 0, "{name}: the heap was asked while {PACKETS} packets were carried");
        assert!(Totals::of([&*counters]).balance(), "{name}");
    }
}

/// A router's packets: led to a next hop with and without a tag, refused, fragmented, punted, waiting for a next hop and
/// leaving when it is known.
#[test]
fn no_packet_of_a_router_is_carried_with_the_heap() {
    let Way { generation, .. } = way();
    let often = RejectLimits { burst: 1000, interval_micros: 1, per_second: 1_000_000 };
    let limits = PuntLimits { places: 64, longest: 2048, per_second: [1_000_000; 3], resolves: true };
    let common = Arc::new(Common::new(5, often).with_router(Punts::new(5, limits), often));
    let punts = common.punts().expect("a router's");
    punts.set_taken(MAIL, true);
    let counters = Arc::new(WorkerCounters::new(5, 1));
    let pipeline = Pipeline::new(Arc::clone(&common), Arc::clone(&counters), FragmentLimits::default());
    let mut routes = Routes::new(1).expect("tables");
    let mut reader = routes.reader();
    let link = |n: u32, port: PortId, vlan, mtu, address: &str| {
        let addresses = vec![address.parse().expect("a network")];
        Change::LinkUp(RouteLink { id: LinkId(n), port, vlan, mac: [2, 0, 0, 0, 0, 1], mtu, addresses })
    };
    let neighbour = |link: u32, address: &str| {
        let address = address.parse().expect("an address");
        Change::SetNeighbour(Neighbour { link: LinkId(link), address, mac: [2, 0, 0, 0, 9, link as u8] })
    };
    let late = neighbour(3, "10.3.0.9");
    let applied = routes.apply(&[
        link(1, MAIL, None, 1500, "10.1.0.1/24"),
        link(2, CORE, Some(7), 1500, "10.2.0.1/24"),
        link(3, CORE, None, 576, "10.3.0.1/24"),
        neighbour(2, "10.2.0.9"),
        neighbour(3, "10.3.0.8"),
    ]);
    assert!(applied.refused.is_empty());
    let packet = |destination: &str, ttl: u8, payload: usize| {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
        frame.extend(((28 + payload) as u16).to_be_bytes());
        frame.extend([0, 1, 0, 0, ttl, 17, 0, 0, 10, 1, 0, 9]);
        frame.extend(destination.parse::<Ipv4Addr>().expect("an address").octets());
        frame.extend([0x9c, 0x40, 0, 53, 0, (8 + payload) as u8, 0, 0]);
        let words = frame[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let sum: u32 = words.sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.resize(frame.len() + payload, 7);
        frame
    };
    let kinds = [
        packet("10.2.0.9", 64, 18),
        packet("10.2.0.9", 1, 18),
        packet("10.3.0.8", 64, 1000),
        packet("10.3.0.9", 64, 18),
        packet("10.1.0.1", 64, 18),
        packet("192.0.2.1", 64, 18),
    ];
    let mut driver = MemoryDriver::new(5, 64, 1_600, Ring::Endless).with_fresh_headers();
    for frame in kinds.iter().cycle().take(60) {
        assert!(driver.load(MAIL, frame));
    }
    let (_publisher, mut readers) = publish(generation, 1);
    let mut generations = readers.pop().expect("one reader");
    let mut online = generations.online();
    let mut online_routes = reader.online();
    let mut corridor = Corridor::new(driver, pipeline, BURST);
    let (mut now, mut at_first) = (NOW, 0);
    for burst in 0..4 + PACKETS / BURST {
        if burst == 4 {
            at_first = asked();
        }
        if burst == PACKETS / BURST / 2 {
            // What the control side does is not counted.
            let before = asked();
            routes.apply(std::slice::from_ref(&late));
            at_first += asked() - before;
        }
        let mut clock = || {
            now += 10_000;
            Instant::from_utc_micros(now)
        };
        corridor.serve_routed(MAIL, &mut online, &mut online_routes, &mut clock);
        assert!(corridor.tend(true, &mut online, &mut online_routes, &mut clock).is_none());
        while let Some(frame) = punts.next_punted() {
            punts.give_back(frame);
        }
        while punts.next_wanted().is_some() {}
    }
    assert_eq!(asked() - at_first, 0, "the heap was asked while {PACKETS} packets were routed");
    let totals = Totals::of([&*counters]);
    assert!(totals.balance(), "{totals:?}");
    for (reason, taken) in [
        (Reason::NotTcp, Taken::Forward),
        (Reason::TtlExceeded, Taken::Reject),
        (Reason::NoRoute, Taken::Reject),
        (Reason::Punted, Taken::Forward),
        (Reason::Unresolved, Taken::Drop),
    ] {
        let count = totals.decided[reason as usize][taken as usize];
        assert!(count > 0, "no {reason} {taken:?}");
    }
    assert!(totals.fragmented > 0 && totals.fragments > totals.fragmented && totals.waiting == 0);
}
