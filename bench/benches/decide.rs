//! The decision on prepared bursts, frames in, outcomes and answers out: what each kind of packet costs from its first
//! byte to its counters, without the rings around it.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant as Stopwatch};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use sekisho_bench::frames::{Frames, Packet, Part};
use sekisho_bench::print_line_rate_share;
use sekisho_bench::streams::Numbers;
use sekisho_dataplane::clock::Instant;
use sekisho_dataplane::counters::{Totals, WorkerCounters};
use sekisho_dataplane::frame::Link;
use sekisho_dataplane::generation::{Blueprint, Generation, PhasePlan, PolicyPlan, PoolPlan, PortPlan};
use sekisho_dataplane::pipeline::{Arrival, Common, Pipeline};
use sekisho_dataplane::policy::{
    Action, Decision, DivertFallback, FragmentLimits, Kind, PoolId, PortId, Reason, RejectWith, Role,
    SourceValidation, Taken,
};
use sekisho_dataplane::{RejectLimits, Replies};

const BURST: usize = 64;
const FRAMES: usize = 16_384;
const POOLS: usize = 999;
const SETS: usize = 4;
const ACCESS: PortId = PortId(0);
/// In the set that every policy allows.
const OWN_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 0);

/// Pools take turns with these policies.
const DROP: usize = 0;
const REJECT: usize = 1;
const EXEMPT: usize = 2;

fn generation() -> Generation {
    let pools = (0..POOLS).map(|n| PoolPlan {
        id: PoolId(n as u16 + 1),
        policy: n % 3,
        prefixes: vec![pool(false, n), pool(true, n)],
    });
    let policy = |kind, action| PolicyPlan {
        kind,
        allow: vec![0],
        action,
        reject_with: RejectWith::Rst,
        divert_fallback: DivertFallback::Drop,
        mirror: true,
        phases: vec![PhasePlan { from: 0, block: None, action, latch: Arc::default() }],
    };
    let set = |n: usize| {
        let address = Ipv4Addr::from_bits(OWN_SERVER.to_bits() + n as u32);
        vec![Ipv4Network::new(address, 32).expect("a valid length").into()]
    };
    let blueprint = Blueprint {
        number: 1,
        ports: vec![
            PortPlan { role: Role::Subscriber, peer: Some(1) },
            PortPlan { role: Role::Internet, peer: Some(0) },
        ],
        pools: pools.collect(),
        sets: (0..SETS).map(set).collect(),
        policies: vec![
            policy(Kind::Restrict, Action::Drop),
            policy(Kind::Restrict, Action::Reject),
            policy(Kind::Exempt, Action::Drop),
        ],
        source_validation: Some(SourceValidation::Enforce),
        ..Blueprint::default()
    };
    Generation::compile(&blueprint).expect("the blueprint compiles")
}

fn pool(v6: bool, n: usize) -> IpNetwork {
    match v6 {
        false => {
            Ipv4Network::new((0x0a00_0000 + ((n as u32) << 8)).into(), 24).expect("a valid length").into()
        }
        true => Ipv6Network::new((0x2001_0db8u128 << 96 | (n as u128) << 80).into(), 48)
            .expect("a valid length")
            .into(),
    }
}

/// A customer of a pool with that policy.
fn customer(numbers: &mut Numbers, v6: bool, policy: usize) -> IpAddr {
    let n = numbers.below(POOLS as u64 / 3) as usize * 3 + policy;
    match pool(v6, n).network() {
        IpAddr::V4(network) => IpAddr::V4((network.to_bits() | numbers.draw() as u32 & 0xff).into()),
        IpAddr::V6(network) => IpAddr::V6((network.to_bits() | numbers.wide() >> 48).into()),
    }
}

/// Addresses for benchmarks (RFC 2544, RFC 5180).
fn elsewhere(numbers: &mut Numbers, v6: bool) -> IpAddr {
    match v6 {
        false => IpAddr::V4((0xc612_0000 | numbers.draw() as u32 & 0x1_ffff).into()),
        true => IpAddr::V6((0x2001_0002 << 96 | numbers.wide() >> 48).into()),
    }
}

/// One kind of packet, and what must become of the most of them.
struct Case {
    name: &'static str,
    frames: Frames,
    expected: (Reason, Taken),
}

fn cases() -> Vec<Case> {
    let mut numbers = Numbers::new(25);
    let mut case = |name, v6, policy, port, expected, shape: &dyn Fn(usize, Packet) -> Packet| {
        let packets = (0..FRAMES).map(|n| {
            let packet = Packet::new(customer(&mut numbers, v6, policy), elsewhere(&mut numbers, v6), port);
            shape(n, packet)
        });
        Case { name, frames: Frames::new(packets), expected }
    };
    let plain = &|_, packet| packet;
    let forward = |reason| (reason, Taken::Forward);
    let mut cases = vec![
        case("straight/v4", false, DROP, 443, forward(Reason::OtherPort), plain),
        case("straight/v6", true, DROP, 443, forward(Reason::OtherPort), plain),
        case("straight/v4-vlan", false, DROP, 587, forward(Reason::Submission), &|_, packet| Packet {
            tags: &[0x8100],
            ..packet
        }),
        case("general/v4-qinq", false, DROP, 443, forward(Reason::OtherPort), &|_, packet| Packet {
            tags: &[0x88a8, 0x8100],
            ..packet
        }),
        case("general/v4-pppoe", false, DROP, 443, forward(Reason::OtherPort), &|_, packet| Packet {
            pppoe: true,
            ..packet
        }),
        case("port-25/denied", false, DROP, 25, (Reason::Port25Egress, Taken::Drop), plain),
        case("port-25/denied-v6", true, DROP, 25, (Reason::Port25Egress, Taken::Drop), plain),
        case("port-25/allowed", false, DROP, 25, forward(Reason::AllowedDestination), &|_, packet| Packet {
            destination: IpAddr::V4(OWN_SERVER),
            ..packet
        }),
        case("port-25/exempt", false, EXEMPT, 25, forward(Reason::ExemptPool), plain),
        case("rejects/answered", false, REJECT, 25, (Reason::Port25Egress, Taken::Reject), plain),
    ];
    // A first fragment, and the one that follows it.
    let pairs = (0..FRAMES / 2).flat_map(|n| {
        let packet = Packet::new(customer(&mut numbers, false, DROP), elsewhere(&mut numbers, false), 443);
        let id = n as u16;
        [Packet { part: Part::First(id), ..packet }, Packet { part: Part::Later(id), ..packet }]
    });
    let expected = forward(Reason::FragmentFollow);
    cases.push(Case { name: "fragments/first-and-later", frames: Frames::new(pairs), expected });
    cases
}

/// A pipeline at work on the same frames again and again.
struct Bursts<'a> {
    generation: &'a Generation,
    pipeline: Pipeline,
    bursts: Vec<Vec<&'a [u8]>>,
    decisions: Vec<Decision>,
    replies: Replies,
    now: i64,
}

impl<'a> Bursts<'a> {
    fn new(generation: &'a Generation, frames: &'a Frames) -> Bursts<'a> {
        let all: Vec<&[u8]> = frames.iter().collect();
        // Budgets that never end, so that the cost of answers is seen.
        let rejects = RejectLimits { burst: 1_000_000, interval_micros: 1, per_second: 10_000_000 };
        let counters = Arc::new(WorkerCounters::new(2, POOLS + 1));
        Bursts {
            generation,
            pipeline: Pipeline::new(Arc::new(Common::new(2, rejects)), counters, FragmentLimits::default()),
            bursts: all.chunks(BURST).map(<[_]>::to_vec).collect(),
            decisions: vec![Decision::UNDECIDED; BURST],
            replies: Replies::with_capacity(BURST),
            now: 1_780_000_000_000_000,
        }
    }

    /// Judges every frame once.
    fn pass(&mut self) {
        for burst in &self.bursts {
            self.replies.clear();
            let now = Instant::from_utc_micros(self.now);
            let arrival = Arrival { port: ACCESS, link: Link::Ethernet, now };
            self.pipeline.judge(self.generation, arrival, burst, &mut self.decisions, &mut self.replies);
            black_box((&self.decisions, &self.replies));
            // A packet each microsecond.
            self.now += BURST as i64;
        }
    }

    fn totals(&self) -> Totals {
        Totals::of([&**self.pipeline.counters()])
    }
}

fn bench(c: &mut Criterion) {
    let generation = generation();
    let mut group = c.benchmark_group("decide");
    group.sample_size(20).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for Case { name, frames, expected: (reason, taken) } in cases() {
        let mut bursts = Bursts::new(&generation, &frames);
        group.throughput(Throughput::Elements(FRAMES as u64));
        group.bench_function(name, |b| b.iter(|| bursts.pass()));
        let before = bursts.totals().received;
        let started = Stopwatch::now();
        for _ in 0..50 {
            bursts.pass();
        }
        let packets = (bursts.totals().received - before) as f64;
        print_line_rate_share(&format!("decide/{name}"), packets / started.elapsed().as_secs_f64());
        let totals = bursts.totals();
        assert!(totals.balance(), "the books balance");
        let expected = totals.decided[reason as usize][taken as usize];
        assert!(expected >= totals.received / 2, "{name}: {expected} of {}", totals.received);
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
