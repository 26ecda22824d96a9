//! A pipeline with its tables and endless traffic in memory, as the benches drive it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant as Stopwatch};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use sekisho_control::bench::traffic::{Shape, outbound};
use sekisho_control::cores;
use sekisho_dataplane::RejectLimits;
use sekisho_dataplane::affected::{Affected, Report};
use sekisho_dataplane::clock::Instant;
use sekisho_dataplane::counters::{Totals, WorkerCounters};
use sekisho_dataplane::generation::{Blueprint, Generation, PhasePlan, PolicyPlan, PoolPlan, PortPlan};
use sekisho_dataplane::pipeline::{Common, Pipeline};
use sekisho_dataplane::policy::{
    Action, DivertFallback, FragmentLimits, Kind, PoolId, PortId, RejectWith, Role, SourceValidation,
};
use sekisho_dataplane::port::MemoryDriver;
use sekisho_dataplane::port::memory::Ring;
use sekisho_dataplane::publication::{Publisher, Reader, publish};
use sekisho_dataplane::route::punt::{PuntLimits, Punts};
use sekisho_dataplane::route::{Change, Hop, Link, LinkId, Neighbour, RouteKind, RouteReader, Routes};
use sekisho_dataplane::tap::{MAX_COPIES, Wanted};
use sekisho_dataplane::worker::Corridor;

use crate::streams::Numbers;

const ACCESS: PortId = PortId(0);
const BATCH: usize = 64;
const WINDOW: Duration = Duration::from_millis(100);
/// The instant of every burst whose time does not matter, in UTC microseconds.
const NOW: i64 = 1_780_000_000_000_000;

/// A subscriber port with endless traffic from the customers of so many pools.
pub struct Load {
    corridor: Corridor<MemoryDriver>,
    publisher: Publisher<Generation>,
    generations: Reader<Generation>,
    counters: Arc<WorkerCounters>,
    common: Arc<Common>,
    capture: u64,
    affected: Option<Affected>,
    micros: f64,
    routes: Option<Routing>,
}

/// A router's part of a load.
struct Routing {
    /// Kept for its readers.
    _routes: Routes,
    reader: RouteReader,
}

/// A next hop and what leads to it.
pub struct Route {
    /// The prefix.
    pub prefix: IpNetwork,
    /// Which of the routers it goes by.
    pub router: u32,
}

impl Load {
    /// Traffic of `shape` from `pools` pools of one /24 (IPv6: /40) each, under a policy with `sets` sets that
    /// drops everything else on port 25.
    pub fn new(v6: bool, pools: usize, sets: usize, shape: Shape) -> Load {
        Load::denying(v6, pools, sets, shape, Action::Drop, None)
    }

    /// The same, under a policy with this action; with so many places for affected customers, if they are booked.
    pub fn denying(
        v6: bool,
        pools: usize,
        sets: usize,
        shape: Shape,
        action: Action,
        affected: Option<usize>,
    ) -> Load {
        let prefixes: Vec<IpNetwork> = (0..pools).map(|n| pool_prefix(v6, n)).collect();
        let mut blueprint = blueprint(&prefixes, sets);
        for policy in &mut blueprint.policies {
            policy.action = action;
            policy.phases.iter_mut().for_each(|phase| phase.action = action);
        }
        let generation = Generation::compile(&blueprint).expect("the blueprint compiles");
        let (publisher, mut readers) = publish(generation, 1);
        let counters = Arc::new(WorkerCounters::new(2, pools + 1));
        let common = Arc::new(Common::new(2, RejectLimits::default()));
        let pipeline = Pipeline::new(Arc::clone(&common), Arc::clone(&counters), FragmentLimits::default());
        let affected = affected.map(|customers| Affected::new(1, customers));
        let pipeline = match &affected {
            Some(affected) => pipeline.with_affected(affected.recorder(0)),
            None => pipeline,
        };
        let slot = if shape.size == sekisho_control::bench::traffic::Size::Imix { 1536 } else { 128 };
        let mut driver = MemoryDriver::new(2, shape.frames, slot, Ring::Endless);
        for frame in outbound(&prefixes, shape) {
            assert!(driver.load(ACCESS, &frame), "the frame fits its place");
        }
        let generations = readers.pop().expect("one reader");
        let corridor = Corridor::new(driver, pipeline, BATCH);
        Load {
            corridor,
            publisher,
            generations,
            counters,
            common,
            capture: 0,
            affected,
            micros: 0.0,
            routes: None,
        }
    }

    /// The same as [`new`](Load::new), in route mode: to destinations spread over `routes`, whose next hops are all
    /// known. Frames come anew each time, as from a wire.
    pub fn routing(v6: bool, pools: usize, sets: usize, shape: Shape, routes: &[Route]) -> Load {
        Load::led(v6, pools, sets, shape, routes, Some(routes))
    }

    /// The same traffic to the same destinations, in route mode, all by a default route: whatever a router does, but for
    /// a look-up that finds more than one answer.
    pub fn routing_by_default(v6: bool, pools: usize, sets: usize, shape: Shape, routes: &[Route]) -> Load {
        let prefix = if v6 { "::/0" } else { "0.0.0.0/0" };
        let route = Route { prefix: prefix.parse().expect("a prefix"), router: 0 };
        Load::led(v6, pools, sets, shape, routes, Some(&[route]))
    }

    /// The same traffic to the same destinations, bridged. Its frames come anew as well.
    pub fn bridging(v6: bool, pools: usize, sets: usize, shape: Shape, routes: &[Route]) -> Load {
        Load::led(v6, pools, sets, shape, routes, None)
    }

    /// Traffic to destinations of some routes, led by a table of others, or bridged.
    fn led(
        v6: bool,
        pools: usize,
        sets: usize,
        shape: Shape,
        destinations: &[Route],
        routes: Option<&[Route]>,
    ) -> Load {
        let prefixes: Vec<IpNetwork> = (0..pools).map(|n| pool_prefix(v6, n)).collect();
        let mut frames = outbound(&prefixes, shape);
        spread(&mut frames, destinations);
        let generation = Generation::compile(&blueprint(&prefixes, sets)).expect("the blueprint compiles");
        let (publisher, mut readers) = publish(generation, 1);
        let counters = Arc::new(WorkerCounters::new(2, pools + 1));
        let common = Common::new(2, RejectLimits::default());
        let common = Arc::new(match routes {
            Some(_) => {
                let limits = PuntLimits { places: 1, ..PuntLimits::default() };
                common.with_router(Punts::new(2, limits), RejectLimits::default())
            }
            None => common,
        });
        let pipeline = Pipeline::new(Arc::clone(&common), Arc::clone(&counters), FragmentLimits::default());
        let mut driver = MemoryDriver::new(2, shape.frames, 128, Ring::Endless).with_fresh_headers();
        for frame in frames {
            assert!(driver.load(ACCESS, &frame), "the frame fits its place");
        }
        let generations = readers.pop().expect("one reader");
        let corridor = Corridor::new(driver, pipeline, BATCH);
        let routes = routes.map(|routes| {
            let mut tables = Routes::new(1).expect("the tables");
            let applied = tables.apply(&changes(routes));
            assert!(applied.refused.is_empty(), "{:?}", applied.refused.first());
            Routing { reader: tables.reader(), _routes: tables }
        });
        let (capture, affected, micros) = (0, None, 0.0);
        Load { corridor, publisher, generations, counters, common, capture, affected, micros, routes }
    }

    /// Has what is wanted copied from now on.
    pub fn capture(&mut self, wanted: Wanted) {
        self.capture = self.common.tap().begin(wanted, MAX_COPIES, 2048);
    }

    /// Takes the copies, as the control side does; gives how many there were, and how many were lost so far.
    pub fn take_copies(&mut self) -> (u64, u64) {
        let tap = self.common.tap();
        let mut copies = 0;
        while let Some(copy) = tap.next(self.capture) {
            tap.give_back(copy);
            copies += 1;
        }
        (copies, tap.lost(self.capture))
    }

    /// Carries at least so many packets, of which so many come in a microsecond by the load's own clock. Gives the
    /// nanoseconds that each took.
    pub fn carry_in_time(&mut self, packets: u64, per_microsecond: f64) -> f64 {
        let mut generations = self.generations.online();
        let (mut carried, mut now) = (0, self.micros);
        let started = Stopwatch::now();
        while carried < packets {
            let mut clock = || Instant::from_utc_micros(NOW + now as i64);
            let frames = self.corridor.serve(ACCESS, &mut generations, &mut clock).frames as u64;
            carried += frames;
            now += frames as f64 / per_microsecond;
        }
        self.micros = now;
        started.elapsed().as_nanos() as f64 / carried as f64
    }

    /// Everything that was booked of affected customers, if it was.
    pub fn affected(&self) -> Option<Report> {
        self.affected.as_ref().map(Affected::read)
    }

    /// Carries at least so many packets.
    pub fn carry(&mut self, packets: u64) {
        let mut generations = self.generations.online();
        let mut clock = || Instant::from_utc_micros(NOW);
        let mut carried = 0;
        match &mut self.routes {
            None => {
                while carried < packets {
                    carried += self.corridor.serve(ACCESS, &mut generations, &mut clock).frames as u64;
                }
            }
            Some(Routing { reader, .. }) => {
                let mut routes = reader.online();
                while carried < packets {
                    let corridor = &mut self.corridor;
                    let served = corridor.serve_routed(ACCESS, &mut generations, &mut routes, &mut clock);
                    carried += served.frames as u64;
                }
            }
        }
    }

    /// Packets per second over so many of them.
    pub fn rate_of(&mut self, packets: u64) -> f64 {
        let started = Stopwatch::now();
        self.carry(packets);
        packets as f64 / started.elapsed().as_secs_f64()
    }

    /// Packets per second over `time` while another thread publishes what `next` compiles, so many times a
    /// second; none if `next` is none.
    pub fn rate_beside(
        &mut self,
        time: Duration,
        next: Option<(&(dyn Fn() -> Generation + Sync), u32)>,
    ) -> f64 {
        let Load { corridor, publisher, generations, counters, .. } = self;
        let mut publish = next.map(|(compile, per_second)| {
            let publish = move || {
                publisher.publish(compile());
                publisher.reclaim();
            };
            (publish, per_second)
        });
        let work = publish.as_mut().map(|(publish, per_second)| (publish as Work<'_>, *per_second));
        rate(corridor, generations, counters, time, work)
    }

    /// Packets per second over `time` while another thread does `work`, so many times a second; none if it has none.
    pub fn rate_while(&mut self, time: Duration, work: Option<(Work<'_>, u32)>) -> f64 {
        let Load { corridor, generations, counters, .. } = self;
        rate(corridor, generations, counters, time, work)
    }

    /// Where the worker counts.
    pub fn counters(&self) -> Arc<WorkerCounters> {
        Arc::clone(&self.counters)
    }

    /// The longest burst in each of so many times with a reload in them, and in each of the quiet times of equal length
    /// before: another thread compiles, publishes and frees a generation in the one and sleeps in the other, so that the
    /// machine's mood falls on both alike. They are as long as it takes for the kernel's ticks to fall into all of them.
    pub fn longest_bursts(&mut self, reloads: u64, compile: &(dyn Fn() -> Generation + Sync)) -> Longest {
        // Even: a quiet time. Odd: a reload.
        let window = AtomicU64::new(0);
        let Load { corridor, publisher, generations, .. } = self;
        std::thread::scope(|scope| {
            let now = &window;
            scope.spawn(move || {
                pin_beside();
                for reload in 0..reloads {
                    std::thread::sleep(WINDOW);
                    now.store(2 * reload + 1, Ordering::Relaxed);
                    let began = Stopwatch::now();
                    publisher.publish(compile());
                    while publisher.held() > 0 {
                        std::thread::yield_now();
                        publisher.reclaim();
                    }
                    std::thread::sleep(WINDOW.saturating_sub(began.elapsed()));
                    now.store(2 * reload + 2, Ordering::Relaxed);
                }
            });
            pin_worker();
            let mut generations = generations.online();
            let mut clock = || Instant::from_utc_micros(NOW);
            let mut longest = vec![Duration::ZERO; 2 * reloads as usize];
            loop {
                let began = Stopwatch::now();
                corridor.serve(ACCESS, &mut generations, &mut clock);
                let took = began.elapsed();
                let Some(longest) = longest.get_mut(window.load(Ordering::Relaxed) as usize) else { break };
                *longest = took.max(*longest);
            }
            let of = |first| {
                let mut times: Vec<Duration> = longest.iter().skip(first).step_by(2).copied().collect();
                times.sort();
                times
            };
            Longest { quiet: of(0), reload: of(1) }
        })
    }

    /// What was counted so far.
    pub fn totals(&self) -> Totals {
        Totals::of([&*self.counters])
    }
}

/// What another thread does while a load is carried.
type Work<'a> = &'a mut (dyn FnMut() + Send);

/// The cores of this process before any of its threads was bound to one: a bound thread, and what it spawns, knows of
/// that one alone.
fn all_cores() -> &'static [usize] {
    static ALL: OnceLock<Vec<usize>> = OnceLock::new();
    ALL.get_or_init(|| cores::all().unwrap_or_default())
}

/// Puts the worker's thread on the last core.
fn pin_worker() {
    all_cores().last().map(|core| cores::pin(*core));
}

/// Puts another thread on the first, as in the daemon; on a machine of one core they share it.
fn pin_beside() {
    all_cores().first().map(|core| cores::pin(*core));
}

fn rate(
    corridor: &mut Corridor<MemoryDriver>,
    generations: &mut Reader<Generation>,
    counters: &WorkerCounters,
    time: Duration,
    work: Option<(Work<'_>, u32)>,
) -> f64 {
    let done = AtomicBool::new(false);
    let before = Totals::of([counters]).received;
    std::thread::scope(|scope| {
        if let Some((work, per_second)) = work {
            let done = &done;
            scope.spawn(move || {
                pin_beside();
                let pause = Duration::from_secs(1) / per_second;
                while !done.load(Ordering::Relaxed) {
                    let began = Stopwatch::now();
                    work();
                    std::thread::sleep(pause.saturating_sub(began.elapsed()));
                }
            });
        }
        pin_worker();
        let mut generations = generations.online();
        let mut clock = || Instant::from_utc_micros(NOW);
        let started = Stopwatch::now();
        while started.elapsed() < time {
            for _ in 0..1_000 {
                corridor.serve(ACCESS, &mut generations, &mut clock);
            }
        }
        done.store(true, Ordering::Relaxed);
        (Totals::of([counters]).received - before) as f64 / started.elapsed().as_secs_f64()
    })
}

/// The longest burst of each window, in ascending order.
pub struct Longest {
    /// Of the windows in which nothing was reloaded.
    pub quiet: Vec<Duration>,
    /// Of the windows that were a reload each.
    pub reload: Vec<Duration>,
}

/// Packets a second with something going on beside the load, as a share of those without it: the median of so many
/// rounds. `rate` measures once, with it or without; both find the same warm tables.
#[allow(clippy::print_stdout)]
pub fn median_ratio(rounds: usize, what: &str, mut rate: impl FnMut(bool) -> f64) -> f64 {
    rate(true);
    let mut ratios: Vec<f64> = (0..rounds)
        .map(|round| {
            let (without, with) = (rate(false), rate(true));
            let ratio = with / without;
            let (without, with) = (without / 1e6, with / 1e6);
            println!("round {round}: {without:.1} Mpps without, {with:.1} Mpps with {what}: {ratio:.3}");
            ratio
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios[rounds / 2]
}

/// Carries packets for a while and prints how many of them a second.
pub fn line_rate_share(name: &str, load: &mut Load) {
    let packets = 4_000_000;
    let started = Stopwatch::now();
    load.carry(packets);
    print_line_rate_share(name, packets as f64 / started.elapsed().as_secs_f64());
    assert!(load.totals().balance(), "the books balance");
}

/// Prints packets per second on one core, and what share of a link's line rate of 64-byte frames that is
/// (20 bytes of preamble and gap; IEEE 802.3).
#[allow(clippy::print_stdout)]
pub fn print_line_rate_share(name: &str, packets_per_second: f64) {
    let mpps = packets_per_second / 1e6;
    let shares: Vec<String> = [10.0, 25.0, 40.0, 100.0]
        .iter()
        .map(|gigabits| format!("{gigabits}GbE {:.0} %", mpps / (gigabits * 1e3 / 8.0 / 84.0) * 100.0))
        .collect();
    println!("{name}: {mpps:.1} Mpps on one core; of 64-byte line rate: {}", shares.join(", "));
}

/// The tables of a [`Load`] of IPv4, with `more` prefixes in pools beside those that its traffic comes from.
pub fn generation(pools: usize, sets: usize, more: usize) -> Generation {
    let prefixes: Vec<IpNetwork> = (0..pools).map(|n| pool_prefix(false, n)).collect();
    let mut blueprint = blueprint(&prefixes, sets);
    let beside = |n: usize| -> IpNetwork {
        Ipv4Network::new((0x6440_0000 + ((n as u32) << 6)).into(), 26).expect("a valid length").into()
    };
    blueprint.pools[0].prefixes.extend((0..more).map(beside));
    Generation::compile(&blueprint).expect("the blueprint compiles")
}

/// Leads frames to addresses inside the routes' prefixes, a flow always to the same one.
fn spread(frames: &mut [Vec<u8>], routes: &[Route]) {
    let mut flows: HashMap<Vec<u8>, IpAddr> = HashMap::new();
    let mut numbers = Numbers::new(1812);
    for frame in frames {
        let flow = frame[26..].to_vec();
        let to = *flows.entry(flow).or_insert_with(|| {
            let Route { prefix, .. } = &routes[numbers.below(routes.len() as u64) as usize];
            match prefix {
                IpNetwork::V4(net) => {
                    IpAddr::V4((net.ip().to_bits() | numbers.draw() as u32 & !net.mask().to_bits()).into())
                }
                IpNetwork::V6(net) => {
                    IpAddr::V6((net.ip().to_bits() | numbers.wide() & !net.mask().to_bits()).into())
                }
            }
        });
        match to {
            IpAddr::V4(to) => {
                frame[30..34].copy_from_slice(&to.octets());
                frame[24..26].fill(0);
                let words = frame[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
                let sum: u32 = words.sum();
                let sum = (sum & 0xffff) + (sum >> 16);
                let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            IpAddr::V6(to) => frame[38..54].copy_from_slice(&to.octets()),
        }
    }
}

/// A router on two ports, with as many routers behind the second as the routes name.
fn changes(routes: &[Route]) -> Vec<Change> {
    let link = |n: u32, addresses: &[&str]| {
        let addresses = addresses.iter().map(|text| text.parse().expect("a network")).collect();
        // As the traffic has it.
        let mac = [2, 0, 0, 0, 0, n as u8 + 1];
        let (id, port) = (LinkId(n), PortId(n as u8));
        Change::LinkUp(Link { id, port, vlan: None, mac, mtu: 1500, addresses })
    };
    let via = |v6: bool, router: u32| match v6 {
        false => IpAddr::V4((0xc633_6000 + 2 + router).into()),
        true => IpAddr::V6(((0xfe80u128 << 112) | (2 + u128::from(router))).into()),
    };
    let mut changes = vec![link(0, &["10.255.255.1/30"]), link(1, &["198.51.96.1/21"])];
    let mut routers: Vec<IpAddr> =
        routes.iter().map(|route| via(route.prefix.is_ipv6(), route.router)).collect();
    routers.sort_unstable();
    routers.dedup();
    changes.extend(routers.into_iter().enumerate().map(|(n, address)| {
        let mac = [2, 0, 0, 1, (n >> 8) as u8, n as u8];
        Change::SetNeighbour(Neighbour { link: LinkId(1), address, mac })
    }));
    changes.extend(routes.iter().map(|route| {
        let via = Some(via(route.prefix.is_ipv6(), route.router));
        let hops = vec![Hop::new(LinkId(1), via)];
        Change::SetRoute { prefix: route.prefix, kind: RouteKind::Unicast(hops) }
    }));
    changes
}

fn pool_prefix(v6: bool, n: usize) -> IpNetwork {
    match v6 {
        false => {
            let network = (0x0a00_0000u32 + ((n as u32) << 8)).into();
            Ipv4Network::new(network, 24).expect("a valid length").into()
        }
        true => {
            let network = (0x2001_0db8u128 << 96 | (n as u128) << 80).into();
            Ipv6Network::new(network, 48).expect("a valid length").into()
        }
    }
}

fn blueprint(prefixes: &[IpNetwork], sets: usize) -> Blueprint {
    let pools = prefixes.iter().enumerate().map(|(n, prefix)| PoolPlan {
        id: PoolId(n as u16 + 1),
        policy: 0,
        prefixes: vec![*prefix],
    });
    let set = |n: usize| vec![Ipv4Network::new((0xc633_0000 + n as u32).into(), 32).expect("valid").into()];
    Blueprint {
        number: 1,
        ports: vec![
            PortPlan { role: Role::Subscriber, peer: Some(1) },
            PortPlan { role: Role::Internet, peer: Some(0) },
        ],
        pools: pools.collect(),
        sets: (0..sets).map(set).collect(),
        policies: vec![PolicyPlan {
            kind: Kind::Restrict,
            allow: vec![0],
            action: Action::Drop,
            reject_with: RejectWith::Rst,
            divert_fallback: DivertFallback::Reject,
            mirror: true,
            phases: vec![PhasePlan { from: 0, block: None, action: Action::Drop, latch: Arc::default() }],
        }],
        source_validation: Some(SourceValidation::Enforce),
        ..Blueprint::default()
    }
}
