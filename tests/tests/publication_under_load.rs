//! Two generations, published in turn a thousand times a second, while packets are judged: every burst by one of
//! them alone, the books balanced, nothing freed too early and nothing left behind.
//!
//! The two give every packet different outcomes, and what is number 1 in one is something else in the other: pools,
//! policies, sets, phases, ports. So whoever took a part of one and a part of the other would give a burst that
//! neither gives, which `a_mixture_of_the_two_would_be_noticed` shows part by part.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant as Stopwatch};

use crossbeam::channel;
use ipnetwork::IpNetwork;
use sekisho_dataplane::clock::Instant;
use sekisho_dataplane::counters::{PoolTotals, Totals, WorkerCounters};
use sekisho_dataplane::frame::{Depth, Link};
use sekisho_dataplane::generation::{Blueprint, Generation, PhasePlan, PolicyPlan, PoolPlan, PortPlan};
use sekisho_dataplane::pipeline::{Arrival, Common, Pipeline};
use sekisho_dataplane::policy::{
    Action, Decision, DivertFallback, FragmentLimits, Grant, Kind, Latch, PoolId, PortId, Reason, RejectWith,
    ReversePath, Role, SourceValidation, Taken,
};
use sekisho_dataplane::port::memory::Ring;
use sekisho_dataplane::port::{Burst, Driver, Held, MAX_BURST, MemoryDriver, PortError};
use sekisho_dataplane::publication::{Publisher, publish};
use sekisho_dataplane::worker::{Corridor, Poll, Worker};
use sekisho_dataplane::{RejectLimits, Replies};

const NOW: i64 = 1_150_340_400_000_000;
const ACCESS: PortId = PortId(0);
const PORTS: usize = 4;
/// Pool numbers in use, with 0 for "in no pool".
const POOLS: usize = 5;
/// How many generations a test publishes, and how often.
const PUBLICATIONS: u64 = 1_500;
const EACH: Duration = Duration::from_millis(1);

/// Memory and time are measured: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

// ---------------------------------------------------------------------- the two generations

fn prefixes(texts: &[&str]) -> Vec<IpNetwork> {
    texts.iter().map(|text| text.parse().expect("a prefix")).collect()
}

fn policy(kind: Kind, allow: &[usize], action: Action, phases: Vec<PhasePlan>) -> PolicyPlan {
    PolicyPlan {
        kind,
        allow: allow.to_vec(),
        action,
        reject_with: RejectWith::Rst,
        divert_fallback: DivertFallback::Drop,
        mirror: true,
        phases,
    }
}

fn phase(block: Option<&[usize]>, action: Action, latch: &Arc<Latch>) -> PhasePlan {
    PhasePlan { from: 0, block: block.map(<[usize]>::to_vec), action, latch: Arc::clone(latch) }
}

fn pool(id: u16, policy: usize, texts: &[&str]) -> PoolPlan {
    PoolPlan { id: PoolId(id), policy, prefixes: prefixes(texts) }
}

fn ports(peers: [usize; PORTS]) -> Vec<PortPlan> {
    let roles = [Role::Subscriber, Role::Internet, Role::Subscriber, Role::Internet];
    roles.into_iter().zip(peers).map(|(role, peer)| PortPlan { role, peer: Some(peer) }).collect()
}

/// Customers whom generation A denies one destination and B only watches.
const P: [&str; 2] = ["203.0.113.0/25", "2001:db8:1::/48"];
/// Customers whom generation A exempts and B denies everything.
const Q: [&str; 2] = ["203.0.113.128/25", "2001:db8:2::/48"];
const ALLOWED: [&str; 2] = ["192.0.2.25/32", "2001:db8:a::25/128"];
const BLOCKED: [&str; 2] = ["198.51.100.0/24", "2001:db8:b::/48"];

/// Generation A. Every phase holds `latch`, so that its count tells how many generations live.
fn a(latch: &Arc<Latch>) -> Blueprint {
    Blueprint {
        number: 0,
        ports: ports([1, 0, 3, 2]),
        pools: vec![
            pool(1, 0, &P),
            pool(2, 1, &Q),
            pool(3, 2, &["10.3.0.0/16"]),
            pool(4, 1, &["10.4.0.0/16"]),
        ],
        sets: vec![prefixes(&ALLOWED), prefixes(&BLOCKED)],
        policies: vec![
            policy(Kind::Restrict, &[0], Action::Drop, vec![phase(Some(&[1]), Action::Drop, latch)]),
            policy(Kind::Exempt, &[], Action::Drop, vec![]),
            policy(Kind::Quarantine, &[], Action::Drop, vec![]),
        ],
        grants: vec![],
        source_validation: Some(SourceValidation::Enforce),
        reverse_path: ReversePath::Off,
        redirects: false,
        nat64: vec![],
        depth: Depth { l2_headers: 4, extension_headers: 8 },
    }
}

/// Generation B: other numbers for the same things, and so many sets that their bitmaps are longer.
fn b(latch: &Arc<Latch>) -> Blueprint {
    let mut sets = vec![prefixes(&BLOCKED), prefixes(&ALLOWED)];
    sets.extend((2..68).map(|n| vec![format!("192.0.2.{n}/32").parse().expect("a prefix")]));
    sets.extend([prefixes(&BLOCKED), prefixes(&ALLOWED)]);
    Blueprint {
        number: 1,
        ports: ports([3, 2, 1, 0]),
        pools: vec![
            pool(1, 2, &["10.3.0.0/16"]),
            pool(2, 0, &["10.4.0.0/16"]),
            pool(3, 1, &P),
            pool(4, 0, &Q),
        ],
        sets,
        policies: vec![
            policy(
                Kind::Restrict,
                &[],
                Action::Drop,
                vec![phase(Some(&[2]), Action::Monitor, latch), phase(None, Action::Drop, latch)],
            ),
            policy(
                Kind::Restrict,
                &[69],
                Action::Monitor,
                vec![phase(Some(&[68]), Action::Monitor, latch), phase(None, Action::Monitor, latch)],
            ),
            policy(Kind::Quarantine, &[], Action::Monitor, vec![]),
        ],
        grants: vec![Grant {
            prefix: "203.0.113.200/32".parse().expect("a prefix"),
            given: 0,
            until: i64::MAX,
        }],
        source_validation: Some(SourceValidation::Monitor),
        reverse_path: ReversePath::Strict,
        redirects: true,
        nat64: vec![],
        depth: Depth { l2_headers: 1, extension_headers: 8 },
    }
}

fn compile(blueprint: &Blueprint) -> Generation {
    Generation::compile(blueprint).expect("it compiles")
}

// ---------------------------------------------------------------------- packets

fn frame(tags: usize, source: &str, destination: &str, protocol: u8, port: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for _ in 0..tags {
        frame.extend([0x81, 0, 0, 100]);
    }
    let segment: Vec<u8> =
        [&50_000u16.to_be_bytes()[..], &port.to_be_bytes(), &[0; 8], &[0x50, 2, 1, 0, 0, 0, 0, 0]].concat();
    match (source.parse::<Ipv4Addr>(), destination.parse::<Ipv4Addr>()) {
        (Ok(source), Ok(destination)) => {
            frame.extend([8, 0, 0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, protocol, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        _ => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, protocol, 64]);
            frame.extend(source.parse::<Ipv6Addr>().expect("an address").octets());
            frame.extend(destination.parse::<Ipv6Addr>().expect("an address").octets());
        }
    }
    frame.extend(segment);
    frame
}

/// Every customer to every destination; straight through and by the general path.
fn packets() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (sources, destinations) in [
        (
            ["203.0.113.5", "203.0.113.130", "203.0.113.200", "10.200.0.1"],
            ["192.0.2.25", "198.51.100.1", "192.0.2.99"],
        ),
        (
            ["2001:db8:1::5", "2001:db8:2::5", "2001:db8:2::6", "2001:db8:99::1"],
            ["2001:db8:a::25", "2001:db8:b::1", "3fff::1"],
        ),
    ] {
        for source in sources {
            for destination in destinations {
                for (tags, protocol, port) in
                    [(0, 6, 25), (1, 6, 25), (2, 6, 25), (0, 6, 443), (1, 17, 53), (0, 6, 587)]
                {
                    all.push(frame(tags, source, destination, protocol, port));
                }
            }
        }
    }
    all
}

fn pipeline(counters: &Arc<WorkerCounters>) -> Pipeline {
    let common = Common::new(PORTS, RejectLimits::default());
    let fragments = FragmentLimits { datagrams: 64, ..FragmentLimits::default() };
    Pipeline::new(Arc::new(common), Arc::clone(counters), fragments)
}

fn arrival() -> Arrival {
    Arrival { port: ACCESS, link: Link::Ethernet, now: Instant::from_utc_micros(NOW) }
}

/// What a generation alone says of a burst.
fn judged(generation: &Generation, burst: &[&[u8]]) -> Vec<Decision> {
    let counters = Arc::new(WorkerCounters::new(PORTS, POOLS));
    let mut decisions = vec![Decision::UNDECIDED; burst.len()];
    pipeline(&counters).judge(generation, arrival(), burst, &mut decisions, &mut Replies::default());
    decisions
}

// ---------------------------------------------------------------------- that a mixture would show

#[test]
fn the_two_generations_differ_in_every_packet() {
    let packets = packets();
    let burst: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let latch = Arc::default();
    let (of_a, of_b) = (judged(&compile(&a(&latch)), &burst), judged(&compile(&b(&latch)), &burst));
    for (a, b) in of_a.iter().zip(&of_b) {
        assert_ne!(a, b);
        assert!(a.out.is_none() || b.out.is_none() || a.out != b.out, "{a:?}, {b:?}");
    }
    // Not all of them by the same thing.
    let reasons = |decisions: &[Decision]| {
        let mut reasons: Vec<Reason> = decisions.iter().map(|decision| decision.reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons.len()
    };
    assert!(reasons(&of_a) >= 8 && reasons(&of_b) >= 8, "{of_a:?}\n{of_b:?}");
}

#[test]
fn a_mixture_of_the_two_would_be_noticed() {
    let packets = packets();
    let burst: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
    let latch = Arc::default();
    let (a, b) = (a(&latch), b(&latch));
    let pure = [judged(&compile(&a), &burst), judged(&compile(&b), &burst)];
    for (one, other) in [(&a, &b), (&b, &a)] {
        let policies_of_pools = one.pools.iter().map(|pool| {
            let same_number = other.pools.iter().find(|other| other.id == pool.id).expect("the same numbers");
            PoolPlan { policy: same_number.policy, ..pool.clone() }
        });
        let one = one.clone();
        // The reverse path and redirects are a router's, and say nothing at a bridge.
        let mixtures = [
            ("ports", Blueprint { ports: other.ports.clone(), ..one.clone() }),
            ("pools", Blueprint { pools: other.pools.clone(), ..one.clone() }),
            ("policies of pools", Blueprint { pools: policies_of_pools.collect(), ..one.clone() }),
            ("sets", Blueprint { sets: other.sets.clone(), ..one.clone() }),
            ("policies", Blueprint { policies: other.policies.clone(), ..one.clone() }),
            ("source validation", Blueprint { source_validation: other.source_validation, ..one.clone() }),
            ("depth", Blueprint { depth: other.depth, ..one.clone() }),
        ];
        for (part, mixture) in mixtures {
            // Policies that name sets which are not there would not even compile.
            let Ok(mixture) = Generation::compile(&mixture) else { continue };
            let mixed = judged(&mixture, &burst);
            assert!(!pure.contains(&mixed), "a mixture of {part} shows nothing");
        }
    }
    // In A, where B's grant lies in a pool that is exempt, it shows nothing.
    let without = judged(&compile(&Blueprint { grants: a.grants.clone(), ..b.clone() }), &burst);
    assert!(!pure.contains(&without), "a mixture of grants shows nothing");
}

// ---------------------------------------------------------------------- publication

/// Publishes A and B in turn, on time, until all have been published or somebody says stop. At most a few wait to be
/// freed: where other programs keep a worker off its core, the next one comes later.
fn publish_in_turn(
    publisher: &mut Publisher<Generation>,
    blueprints: &[Blueprint; 2],
    mut between: impl FnMut(u64) -> bool,
) {
    let mut due = Stopwatch::now();
    for n in 1..=PUBLICATIONS {
        let next = Generation::compile(&Blueprint { number: n, ..blueprints[n as usize % 2].clone() });
        publisher.publish(next.expect("it compiles"));
        let published = Stopwatch::now();
        while publisher.reclaim() > 4 {
            assert!(published.elapsed() < Duration::from_secs(20), "nothing is freed");
            thread::sleep(EACH / 10);
        }
        if !between(n) {
            break;
        }
        due += EACH;
        thread::sleep(due.saturating_duration_since(Stopwatch::now()));
    }
}

/// Says stop when it goes, so that a test that fails ends.
struct StopAtTheEnd<'a>(&'a AtomicBool);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of the resident memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// How many phases a generation has.
fn phases(blueprint: &Blueprint) -> usize {
    blueprint.policies.iter().map(|policy| policy.phases.len()).sum()
}

/// Holders of the latch beside this test and its blueprints: phases of generations that live.
fn phases_alive(latch: &Arc<Latch>, blueprints: &[Blueprint; 2]) -> usize {
    let held =
        |blueprint: &Blueprint| blueprint.policies.iter().map(|policy| policy.phases.len()).sum::<usize>();
    Arc::strong_count(latch) - 1 - blueprints.iter().map(held).sum::<usize>()
}

#[test]
fn every_burst_is_judged_by_one_generation_while_a_thousand_are_published_a_second() {
    let _alone = alone();
    let latch = Arc::default();
    let blueprints = [a(&latch), b(&latch)];
    let packets = packets();
    let burst: Vec<&[u8]> = packets.iter().map(Vec::as_slice).cycle().take(MAX_BURST).collect();
    let expected = blueprints.each_ref().map(|blueprint| judged(&compile(blueprint), &burst));
    let (mut publisher, mut readers) = publish(compile(&blueprints[0]), 1);
    let mut reader = readers.pop().expect("one reader");
    let counters = Arc::new(WorkerCounters::new(PORTS, POOLS));
    let done = AtomicBool::new(false);
    let (say, heard) = mpsc::channel();
    let mut before = 0;

    let (bursts, switches) = thread::scope(|scope| {
        let stop = StopAtTheEnd(&done);
        let judge = scope.spawn(|| {
            let mut pipeline = pipeline(&counters);
            let mut decisions = vec![Decision::UNDECIDED; burst.len()];
            let mut replies = Replies::with_capacity(MAX_BURST);
            let (mut bursts, mut switches, mut last) = (0u64, 0u64, 0);
            let mut online = reader.online();
            while !done.load(Ordering::Relaxed) {
                let generation = online.burst();
                let number = generation.number();
                pipeline.judge(&generation, arrival(), &burst, &mut decisions, &mut replies);
                if decisions != expected[number as usize % 2] || number < last {
                    say.send((number, last, decisions.clone())).expect("a listener");
                    break;
                }
                switches += u64::from(number != last);
                (last, bursts) = (number, bursts + 1);
            }
            (bursts, switches)
        });
        publish_in_turn(&mut publisher, &blueprints, |n| {
            if n == PUBLICATIONS / 5 {
                before = resident();
            }
            heard.try_recv().map_or(true, |(number, last, decisions)| {
                panic!("generation {number} after {last}: {decisions:?}");
            })
        });
        let after = resident();
        assert!(after < before + 4096, "memory grew from {before} to {after} KiB");
        drop(stop);
        judge.join().expect("the judge ends")
    });

    assert!(heard.try_recv().is_err(), "a burst that neither generation gives");
    assert!(
        switches > PUBLICATIONS / 10,
        "of {PUBLICATIONS} generations, {switches} were seen in {bursts} bursts"
    );
    let totals = Totals::of([&*counters]);
    assert_eq!(totals.received, bursts * MAX_BURST as u64);
    assert!(totals.balance(), "{totals:?}");
    assert_eq!(publisher.reclaim(), 0, "the reader is offline");
    assert_eq!(
        phases_alive(&latch, &blueprints),
        phases(&blueprints[PUBLICATIONS as usize % 2]),
        "one is in force"
    );
    drop((publisher, reader));
    assert_eq!(phases_alive(&latch, &blueprints), 0);
}

/// A ring that watches by which ports the frames of one burst leave, and has a break now and then.
struct Watching {
    driver: MemoryDriver,
    receives: u64,
    /// Where the burst at hand leaves.
    out: Option<PortId>,
    /// Bursts that left by more than one port.
    mixed: u64,
    /// How many generations have been published, and whether that is the end of it.
    published: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Driver for Watching {
    fn receive(&mut self, port: PortId, burst: &mut Burst) -> Result<(), PortError> {
        self.receives += 1;
        self.out = None;
        // The worker goes to sleep, and holds no generation then.
        if self.receives.is_multiple_of(1_000) {
            return Ok(());
        }
        self.driver.receive(port, burst)
    }

    fn bytes_mut(&mut self, frame: &Held) -> &mut [u8] {
        self.driver.bytes_mut(frame)
    }

    fn push_tag(&mut self, frame: &mut Held, tag: [u8; 4]) -> bool {
        self.driver.push_tag(frame, tag)
    }

    fn pop_tag(&mut self, frame: &mut Held) {
        self.driver.pop_tag(frame);
    }

    fn transmit(&mut self, port: PortId, frame: Held) -> bool {
        self.mixed += u64::from(self.out.is_some_and(|out| out != port));
        self.out = Some(port);
        self.driver.transmit(port, frame)
    }

    /// Sleeps through more publications than may wait to be freed: they must not wait for a worker that sleeps.
    fn wait(&mut self, _timeout: Duration) {
        let until = self.published.load(Ordering::Relaxed) + 10;
        while self.published.load(Ordering::Relaxed) < until && !self.stop.load(Ordering::Relaxed) {
            thread::sleep(EACH / 2);
        }
    }

    fn bytes(&self, frame: &Held) -> &[u8] {
        self.driver.bytes(frame)
    }

    fn answer(&mut self, port: PortId, bytes: &[u8], cause: &Held) -> bool {
        self.driver.answer(port, bytes, cause)
    }

    fn release(&mut self, frame: Held) {
        self.driver.release(frame);
    }

    fn flush(&mut self) -> Result<(), (PortId, PortError)> {
        self.driver.flush()
    }

    fn is_exhausted(&self, port: PortId) -> bool {
        self.driver.is_exhausted(port)
    }

    fn inject(&mut self, port: PortId, bytes: &[u8]) -> bool {
        self.driver.inject(port, bytes)
    }
}

/// A ring on which packets of two customers take turns. Of them, A drops the first one's and lets the second one's
/// pass by port 1; B lets the first one's pass by port 3, and drops the second one's.
fn ring(published: &Arc<AtomicU64>, stop: &Arc<AtomicBool>) -> Watching {
    let mut driver = MemoryDriver::new(PORTS, 1024, 128, Ring::Endless);
    for n in 0..1000 {
        let (tags, v6) = (n / 2 % 2, n / 4 % 2 == 1);
        let packet = match (n % 2, v6) {
            (0, false) => frame(tags, "203.0.113.5", "198.51.100.1", 6, 25),
            (0, true) => frame(tags, "2001:db8:1::5", "2001:db8:b::1", 6, 25),
            (_, false) => frame(tags, "203.0.113.130", "192.0.2.99", 6, 25),
            (_, true) => frame(tags, "2001:db8:2::5", "3fff::1", 6, 25),
        };
        assert!(driver.load(ACCESS, &packet));
    }
    let (published, stop) = (Arc::clone(published), Arc::clone(stop));
    Watching { driver, receives: 0, out: None, mixed: 0, published, stop }
}

/// Two workers from ring to ring. The books tell which generation judged what.
#[test]
fn workers_keep_their_books_while_a_thousand_generations_are_published_a_second() {
    let _alone = alone();
    let latch = Arc::default();
    let blueprints = [a(&latch), b(&latch)];
    let (mut publisher, readers) = publish(compile(&blueprints[0]), 2);
    let stop = Arc::new(AtomicBool::new(false));
    let at_the_end = StopAtTheEnd(&stop);
    let published = Arc::new(AtomicU64::new(0));
    let (failures, failed) = channel::unbounded();
    let (mut threads, mut counters) = (Vec::new(), Vec::new());
    for (index, generations) in readers.into_iter().enumerate() {
        let books = Arc::new(WorkerCounters::new(PORTS, POOLS));
        let common = Arc::new(Common::new(PORTS, RejectLimits::default()));
        let fragments = FragmentLimits { datagrams: 64, ..FragmentLimits::default() };
        let pipeline = Pipeline::new(Arc::clone(&common), Arc::clone(&books), fragments);
        let worker = Worker {
            index,
            ports: vec![ACCESS],
            corridor: Corridor::new(ring(&published, &stop), pipeline, 64),
            poll: Poll::Interrupt,
            generations,
            routes: None,
            clock: || Instant::from_utc_micros(NOW),
            stop: Arc::clone(&stop),
            pulse: Arc::default(),
            common,
            failures: failures.clone(),
        };
        counters.push(books);
        threads.push(thread::spawn(|| worker.run()));
    }
    let mut before = 0;
    publish_in_turn(&mut publisher, &blueprints, |n| {
        if n == PUBLICATIONS / 5 {
            before = resident();
        }
        published.store(n, Ordering::Relaxed);
        threads.iter().all(|thread| !thread.is_finished())
    });
    let after = resident();
    assert!(after < before + 4096, "memory grew from {before} to {after} KiB");
    drop(at_the_end);
    for thread in threads {
        let (ring, rounds) = thread.join().expect("a worker ends");
        assert_eq!(ring.mixed, 0, "of {rounds:?}");
        assert!(rounds.sleeps > 0 && rounds.bursts > 1_000, "{rounds:?}");
    }
    assert!(failed.try_recv().is_err(), "no port fails");

    let totals = Totals::of(counters.iter().map(Arc::as_ref));
    assert!(totals.balance() && totals.errors() == 0, "{totals:?}");
    let [nobody, a_denies, a_forwards, b_forwards, b_denies] =
        [0, 1, 2, 3, 4].map(|pool| PoolTotals::of(counters.iter().map(Arc::as_ref), PoolId(pool)));
    let pool = |packets, denied, would| PoolTotals { packets, denied, would };
    assert_eq!(nobody, pool(0, 0, 0));
    assert_eq!(a_denies, pool(a_denies.packets, a_denies.packets, 0));
    assert_eq!(a_forwards, pool(a_forwards.packets, 0, 0));
    assert_eq!(b_forwards, pool(b_forwards.packets, 0, b_forwards.packets));
    assert_eq!(b_denies, pool(b_denies.packets, b_denies.packets, 0));
    let decided = |reason: Reason, taken: Taken| totals.decided[reason as usize][taken as usize];
    assert_eq!(decided(Reason::Port25Egress, Taken::Drop), a_denies.packets + b_denies.packets);
    assert_eq!(decided(Reason::ExemptPool, Taken::Forward), a_forwards.packets);
    assert_eq!(decided(Reason::NotInScope, Taken::Forward), b_forwards.packets);
    assert_eq!(totals.would[Reason::Port25Egress as usize], b_forwards.packets);
    let left = |port| Totals::of_port(counters.iter().map(Arc::as_ref), PortId(port)).transmitted;
    assert_eq!([0, 1, 2, 3].map(left), [0, a_forwards.packets, 0, b_forwards.packets]);
    // Both had their turns.
    assert!(a_denies.packets > totals.received / 20 && b_denies.packets > totals.received / 20, "{totals:?}");

    assert_eq!(publisher.reclaim(), 0, "the workers are gone");
    drop(publisher);
    assert_eq!(phases_alive(&latch, &blueprints), 0, "a generation was left behind");
}
