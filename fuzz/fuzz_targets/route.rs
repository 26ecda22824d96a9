//! Any bytes as frames that a router receives: led to next hops in a burst and one by one, by the router of the captures
//! that hold it to the RFCs.
//!
//! What has to hold for every frame: both forms come to the same, the books balance, what is forwarded has one router less
//! to pass and a header whose checksum is right, and nothing but a tag is longer or shorter.
#![no_main]

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use sekisho_control::compile::{Compiled, Compiler};
use sekisho_control::config::Config;
use sekisho_control::routing::{Device, StaticRoutes, common};
use sekisho_dataplane::Replies;
use sekisho_dataplane::clock::Instant;
use sekisho_dataplane::counters::{Totals, WorkerCounters};
use sekisho_dataplane::frame::Link;
use sekisho_dataplane::generation::Generation;
use sekisho_dataplane::pipeline::{Arrival, Outcomes, Pipeline};
use sekisho_dataplane::policy::{Decision, FragmentLimits, PortId};
use sekisho_dataplane::route::{Edit, RouteReader};

const ROUTER: &str = include_str!("../../tests/data/route/router.toml");
const UTC_MICROS: i64 = 1_150_340_400_000_000;
const PORTS: usize = 3;
const POOLS: usize = 8;
const BURST: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    thread_local!(static BENCH: RefCell<Bench> = RefCell::new(Bench::new()));
    BENCH.with_borrow_mut(|bench| bench.judge(bytes));
});

struct Side {
    pipeline: Pipeline,
    counters: Arc<WorkerCounters>,
    routes: StaticRoutes,
    reader: RouteReader,
}

struct Bench {
    generation: Generation,
    burst: Side,
    single: Side,
    now: i64,
}

/// What became of the frames, and what was made for them.
type Came = (Vec<Decision>, Vec<Vec<u8>>, Vec<(PortId, Vec<u8>)>);

impl Bench {
    fn new() -> Bench {
        let config = Config::from_toml(ROUTER, Path::new("router.toml")).expect("the router is accepted");
        let Compiled { generation, .. } = Compiler::default().compile(&config, Vec::new()).expect("tables");
        let side = || {
            let counters = Arc::new(WorkerCounters::new(PORTS, POOLS));
            let common = Arc::new(common(&config, false));
            (0..PORTS as u8)
                .for_each(|port| common.punts().expect("a router's").set_taken(PortId(port), true));
            let pipeline = Pipeline::new(common, Arc::clone(&counters), FragmentLimits::default());
            let mut routes = StaticRoutes::new(&config, 1, |_| Device::default(), false).expect("tables");
            let reader = routes.routes.reader();
            Side { pipeline, counters, routes, reader }
        };
        Bench { generation, burst: side(), single: side(), now: UTC_MICROS }
    }

    /// The first byte says the port; then each frame has its length before it.
    fn judge(&mut self, bytes: &[u8]) {
        let Some((port, mut rest)) = bytes.split_first() else { return };
        let mut frames = Vec::new();
        while let ([length, more @ ..], true) = (rest, frames.len() < BURST) {
            let (frame, left) = more.split_at(usize::from(*length).min(more.len()));
            frames.push(frame);
            rest = left;
        }
        // No budget of an earlier input is spent any more.
        self.now += 3_600_000_000;
        let arrival = Arrival {
            port: PortId(port % PORTS as u8),
            link: Link::Ethernet,
            now: Instant::from_utc_micros(self.now),
        };
        let together = come(&self.generation, &mut self.burst, arrival, &frames, true);
        let alone = come(&self.generation, &mut self.single, arrival, &frames, false);
        assert_eq!(together, alone);
        for ((frame, decision), left) in frames.iter().zip(&together.0).zip(&together.1) {
            if decision.out.is_some() && frame != left {
                assert_eq!(decision.taken, sekisho_dataplane::policy::Taken::Forward);
                check(frame, left);
            }
        }
        for side in [&self.burst, &self.single] {
            assert!(Totals::of([&*side.counters]).balance());
        }
        self.burst.routes.routes.reclaim();
    }
}

fn come(generation: &Generation, side: &mut Side, arrival: Arrival, frames: &[&[u8]], burst: bool) -> Came {
    let mut decisions = vec![Decision::UNDECIDED; frames.len()];
    let mut edits = vec![Edit::NOTHING; frames.len()];
    let mut replies = Replies::for_routing(BURST);
    let outcomes = Outcomes { decisions: &mut decisions, edits: &mut edits };
    let mut online = side.reader.online();
    match burst {
        true => side.pipeline.judge_routed(generation, &mut online, arrival, frames, outcomes, &mut replies),
        false => {
            let pipeline = &mut side.pipeline;
            pipeline.judge_routed_traced(
                generation,
                &mut online,
                arrival,
                frames,
                outcomes,
                &mut replies,
                &mut (),
            );
        }
    }
    let left = frames.iter().zip(&edits).map(|(frame, edit)| {
        let mut left = frame.to_vec();
        edit.carry_out_on(&mut left);
        left
    });
    let left = left.collect();
    (decisions, left, replies.iter().map(|(reply, bytes)| (reply.port, bytes.to_vec())).collect())
}

/// What was changed in a frame is right.
fn check(frame: &[u8], left: &[u8]) {
    let ip = |frame: &[u8]| if frame[12..14] == [0x81, 0] { 18 } else { 14 };
    let (before, now) = (&frame[ip(frame)..], &left[ip(left)..]);
    assert_eq!(before.len(), now.len());
    match now[0] >> 4 {
        4 => {
            assert_eq!(now[8] + 1, before[8]);
            let words = now[..usize::from(now[0] & 15) * 4].chunks(2);
            let sum: u32 = words.map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
            assert_eq!((&before[..8], before[9], &before[12..]), (&now[..8], now[9], &now[12..]));
        }
        _ => {
            assert_eq!(now[7] + 1, before[7]);
            assert_eq!((&before[..7], &before[8..]), (&now[..7], &now[8..]));
        }
    }
}
