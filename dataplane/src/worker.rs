//! The poll loop: one worker, one core, run to completion.
//!
//! A worker asks its ports for frames in turn and carries each burst through the pipeline to the ports it
//! leaves by before it takes the next. With nothing to do it says that it holds no generation, and spins or
//! sleeps as its [`Poll`] says; before it sleeps it goes offline from the publication, so that nobody waits
//! for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrayvec::ArrayVec;
use crossbeam::channel::Sender;
use crossbeam::utils::CachePadded;

use crate::action::{Made, Replies, Reply};
use crate::clock::Instant;
use crate::counters::{Cell, WorkerCounters};
use crate::cycles;
use crate::generation::Generation;
use crate::health::Checks;
use crate::pipeline::{Arrival, Common, Outcomes, Pipeline};
use crate::policy::{Decision, PortId, Taken};
use crate::port::{Burst, Driver, Held, MAX_BURST, PortError};
use crate::publication::{Online, Reader};
use crate::route::punt::Punts;
use crate::route::{Edit, OnlineRoutes, RouteReader};
use crate::stages::{EVERY, Lap, Stage, StageCells};
use crate::tap::Origin;

/// What a worker tells the control thread.
#[derive(Debug)]
pub struct PortFailure {
    /// The worker's number.
    pub worker: usize,
    /// The port that stopped working. It took only itself down.
    pub port: PortId,
    /// Why.
    pub error: PortError,
}

/// What a worker does while its ports have nothing for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Poll {
    /// Asks again at once. The core is its own.
    #[default]
    Busy,
    /// Asks again for a while, then sleeps until a frame comes.
    Adaptive,
    /// Sleeps until a frame comes.
    Interrupt,
}

/// How long an adaptive worker asks before it sleeps: above this many packets a second, evenly spaced, it
/// never does.
const SPIN: Duration = Duration::from_micros(200);
/// The longest sleep, so that a worker hears of the end and looks after its ports.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);
/// The same for a router, so that what the kernel sends does not lie about.
const LONGEST_SLEEP_OF_ROUTER: Duration = Duration::from_millis(1);
/// An adaptive worker looks at the clock once in so many rounds that find nothing.
const ROUNDS_PER_LOOK: u64 = 64;
/// Whether the ports work is asked once in so many rounds.
const ROUNDS_PER_CHECK: u64 = 1024;
/// Told to stop, a worker still takes what has arrived, for so many rounds at most.
const LAST_ROUNDS: u64 = 64;

/// What a worker has done so far. It writes, anybody reads.
#[derive(Debug, Default)]
pub struct Pulse(CachePadded<PulseCells>);

#[derive(Debug, Default)]
struct PulseCells {
    bursts: Cell,
    idle: Cell,
    sleeps: Cell,
    asleep_micros: Cell,
}

/// A worker's rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounds {
    /// Bursts that had frames in them.
    pub bursts: u64,
    /// Rounds over all ports that found nothing.
    pub idle: u64,
    /// Of these, rounds that ended in sleep.
    pub sleeps: u64,
    /// How long it slept, in microseconds.
    pub asleep_micros: u64,
}

impl Pulse {
    /// What it has done so far. A worker whose rounds don't go on for longer than its longest sleep, a tenth of
    /// a second, is stuck.
    pub fn rounds(&self) -> Rounds {
        let Pulse(cells) = self;
        Rounds {
            bursts: cells.bursts.get(),
            idle: cells.idle.get(),
            sleeps: cells.sleeps.get(),
            asleep_micros: cells.asleep_micros.get(),
        }
    }
}

/// One worker before it runs.
pub struct Worker<D, C> {
    /// Its number.
    pub index: usize,
    /// The ports that it polls, in this order.
    pub ports: Vec<PortId>,
    /// Carries its bursts.
    pub corridor: Corridor<D>,
    /// What it does with nothing to do.
    pub poll: Poll,
    /// Where it takes its generations.
    pub generations: Reader<Generation>,
    /// Where it asks for routes, in route mode.
    pub routes: Option<RouteReader>,
    /// Tells the instant, once per burst.
    pub clock: C,
    /// Ends the loop after the burst in hand.
    pub stop: Arc<AtomicBool>,
    /// Where it shows that it goes on.
    pub pulse: Arc<Pulse>,
    /// Where the first worker says which ports work.
    pub common: Arc<Common>,
    /// Where it says that a port failed.
    pub failures: Sender<PortFailure>,
}

impl<D: Driver, C: FnMut() -> Instant> Worker<D, C> {
    /// Polls until told to stop, or until no port will receive again. Gives the driver back.
    pub fn run(self) -> (D, Rounds) {
        let Worker { index, mut ports, mut corridor, poll, mut generations, mut clock, .. } = self;
        let Worker { stop, pulse, common, failures, mut routes, .. } = self;
        let longest_sleep = if routes.is_some() { LONGEST_SLEEP_OF_ROUTER } else { LONGEST_SLEEP };
        let Pulse(cells) = &*pulse;
        let mut watched = ports.clone();
        let mut patience = Patience { poll, quiet: 0, since: 0 };
        let mut rounds = 0u64;
        let mut last_rounds = 0;
        let mut online = generations.online();
        let mut online_routes = routes.as_mut().map(RouteReader::online);
        let fail = |(port, error)| {
            common.fail(port);
            // The control thread may be gone; the worker goes on all the same.
            let _ = failures.send(PortFailure { worker: index, port, error });
        };
        let all_ports = ports.len();
        // One that stopped working while a burst was handed on, and those that did with it.
        let fail_all = |first, driver: &mut D| {
            fail(first);
            (1..all_ports).map_while(|_| driver.flush().err()).for_each(fail);
        };
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            if stopping {
                last_rounds += 1;
                if last_rounds > LAST_ROUNDS {
                    break;
                }
            }
            let mut bursts = 0;
            ports.retain(|&port| {
                let Served { frames, failure, flush_failure } = match &mut online_routes {
                    None => corridor.serve(port, &mut online, &mut clock),
                    Some(routes) => corridor.serve_routed(port, &mut online, routes, &mut clock),
                };
                bursts += u64::from(frames > 0);
                if let Some(first) = flush_failure {
                    fail_all(first, &mut corridor.driver);
                }
                match failure {
                    None => !corridor.driver.is_exhausted(port),
                    Some(error) => {
                        watched.retain(|other| *other != port);
                        fail((port, error));
                        false
                    }
                }
            });
            rounds += 1;
            if index == 0 && rounds % ROUNDS_PER_CHECK == 1 {
                check(&corridor.driver, &watched, &common);
                if let Some(checks) = common.checks()
                    && let Some(first) = corridor.send_checks(checks)
                {
                    fail_all(first, &mut corridor.driver);
                }
            }
            if let Some(routes) = &mut online_routes {
                let sends = index == 0 && common.punts().is_some_and(Punts::has_to_send);
                if (sends || corridor.pipeline.has_waiting())
                    && let Some(failure) = corridor.tend(sends, &mut online, routes, &mut clock)
                {
                    fail(failure);
                }
            }
            if bursts > 0 {
                cells.bursts.add(bursts);
                patience.quiet = 0;
                continue;
            }
            cells.idle.add(1);
            online.quiescent();
            if let Some(routes) = &mut online_routes {
                routes.quiescent();
            }
            if ports.is_empty() || stopping {
                break;
            }
            if !patience.ends(&mut clock) {
                std::hint::spin_loop();
                continue;
            }
            drop(online);
            drop(online_routes);
            let asleep = clock().monotonic_micros;
            corridor.driver.wait(longest_sleep);
            cells.sleeps.add(1);
            cells.asleep_micros.add(clock().monotonic_micros.saturating_sub(asleep));
            rounds = 0;
            online = generations.online();
            online_routes = routes.as_mut().map(RouteReader::online);
        }
        (corridor.driver, pulse.rounds())
    }
}

/// Says which ports work.
#[cold]
fn check(driver: &impl Driver, ports: &[PortId], common: &Common) {
    for &port in ports {
        let up = driver.is_up(port);
        if common.has_link(port) != up {
            common.set_up(port, up);
        }
    }
}

/// When a worker with nothing to do goes to sleep.
struct Patience {
    poll: Poll,
    /// Rounds since there was something.
    quiet: u64,
    /// The instant of the first of them.
    since: u64,
}

impl Patience {
    fn ends(&mut self, clock: &mut impl FnMut() -> Instant) -> bool {
        match self.poll {
            Poll::Busy => false,
            Poll::Interrupt => true,
            Poll::Adaptive => {
                let first = self.quiet == 0;
                let look = self.quiet.is_multiple_of(ROUNDS_PER_LOOK);
                self.quiet += 1;
                if !look {
                    return false;
                }
                let now = clock().monotonic_micros;
                if first {
                    self.since = now;
                }
                now.saturating_sub(self.since) >= SPIN.as_micros() as u64
            }
        }
    }
}

/// The way of a burst: from a port's receive queue through the pipeline to where its frames leave.
pub struct Corridor<D> {
    driver: D,
    pipeline: Pipeline,
    burst: Burst,
    decisions: Box<[Decision]>,
    /// A router's: what is changed in each frame.
    edits: Box<[Edit]>,
    replies: Replies,
    /// Frames of the burst that leave by one port, and those that leave by none.
    leaving: Box<ArrayVec<Held, MAX_BURST>>,
    staying: Box<ArrayVec<Held, MAX_BURST>>,
    turns: u32,
}

/// What one turn at a port came to.
#[derive(Debug, Default)]
pub struct Served {
    /// Frames received and carried.
    pub frames: usize,
    /// The port has stopped working.
    pub failure: Option<PortError>,
    /// A port that frames left by has stopped working.
    pub flush_failure: Option<(PortId, PortError)>,
}

impl<D: Driver> Corridor<D> {
    /// A corridor that takes up to `batch` frames at once.
    pub fn new(driver: D, pipeline: Pipeline, batch: usize) -> Corridor<D> {
        let burst = Burst::new(batch);
        let decisions = vec![Decision::UNDECIDED; burst.limit].into();
        let (edits, replies) = match pipeline.is_router() {
            false => (Box::default(), Replies::with_capacity(burst.limit)),
            true => (vec![Edit::NOTHING; burst.limit].into(), Replies::for_routing(burst.limit)),
        };
        Corridor {
            driver,
            pipeline,
            decisions,
            edits,
            replies,
            burst,
            leaving: Box::default(),
            staying: Box::default(),
            turns: 0,
        }
    }

    /// The driver.
    pub fn driver(&mut self) -> &mut D {
        &mut self.driver
    }

    /// Takes one burst off a port and carries it to its end, under one generation and one instant.
    #[inline]
    pub fn serve(
        &mut self,
        port: PortId,
        generations: &mut Online<'_, Generation>,
        clock: &mut impl FnMut() -> Instant,
    ) -> Served {
        self.carry(
            port,
            generations,
            clock,
            |corridor, generation, now| corridor.judge(generation, port, now),
            |_| {},
        )
    }

    /// The same in route mode.
    #[inline]
    pub fn serve_routed(
        &mut self,
        port: PortId,
        generations: &mut Online<'_, Generation>,
        routes: &mut OnlineRoutes<'_>,
        clock: &mut impl FnMut() -> Instant,
    ) -> Served {
        let judge = |corridor: &mut Corridor<D>, generation: &Generation, now| {
            corridor.judge_routed(generation, routes, port, now);
        };
        self.carry(port, generations, clock, judge, |corridor| corridor.rewrite(port))
    }

    /// The way of a burst, with what is done to judge it, and before its frames leave.
    #[inline(always)]
    fn carry(
        &mut self,
        port: PortId,
        generations: &mut Online<'_, Generation>,
        clock: &mut impl FnMut() -> Instant,
        judge: impl FnOnce(&mut Corridor<D>, &Generation, Instant),
        rewrite: impl FnOnce(&mut Corridor<D>),
    ) -> Served {
        self.turns = self.turns.wrapping_add(1);
        let measured = self.turns.is_multiple_of(EVERY);
        let began = if measured { cycles::ticks() } else { 0 };
        let mut served = Served::default();
        let mut lap = Lap::start(measured);
        served.failure = self.driver.receive(port, &mut self.burst).err();
        served.frames = self.burst.frames.len();
        if served.frames > 0 {
            lap.end(self.stages(), Stage::Receive);
            self.pipeline.measure(measured);
            let generation = generations.burst();
            let now = clock();
            judge(self, &generation, now);
            if self.pipeline.checks().is_some_and(|checks| checks.port() == port) {
                self.hear(port);
            }
            if self.pipeline.tap().is_open() {
                self.copy(&Origin { port, link: self.burst.link, now, generation: generation.number() });
            }
            let mut lap = Lap::start(measured);
            rewrite(self);
            self.act(port);
            served.flush_failure = self.driver.flush().err();
            lap.end(self.stages(), Stage::Act);
        }
        if measured {
            self.stages().turn(served.frames, cycles::ticks().wrapping_sub(began));
        }
        served
    }

    fn stages(&self) -> &StageCells {
        &self.pipeline.counters().stages
    }

    /// Judges the burst in hand and sends the answers that it calls for.
    fn judge(&mut self, generation: &Generation, port: PortId, now: Instant) {
        self.replies.clear();
        {
            let driver = &self.driver;
            // Extended and not collected: a collected one is moved, room and all.
            let mut frames = ArrayVec::<&[u8], MAX_BURST>::new();
            frames.extend(self.burst.frames.iter().map(|held| driver.bytes(held)));
            let arrival = Arrival { port, link: self.burst.link, now };
            let decisions = &mut self.decisions;
            self.pipeline.judge(generation, arrival, &frames, decisions, &mut self.replies);
        }
        if !self.replies.is_empty() {
            self.send_replies();
        }
    }

    /// The same in route mode.
    fn judge_routed(
        &mut self,
        generation: &Generation,
        routes: &mut OnlineRoutes<'_>,
        port: PortId,
        now: Instant,
    ) {
        self.replies.clear();
        {
            let driver = &self.driver;
            let mut frames = ArrayVec::<&[u8], MAX_BURST>::new();
            frames.extend(self.burst.frames.iter().map(|held| driver.bytes(held)));
            let arrival = Arrival { port, link: self.burst.link, now };
            let outcomes = Outcomes { decisions: &mut self.decisions, edits: &mut self.edits };
            self.pipeline.judge_routed(generation, routes, arrival, &frames, outcomes, &mut self.replies);
        }
        if !self.replies.is_empty() {
            self.send_replies();
        }
    }

    /// Makes the frames of the burst in hand fit for their next hops.
    fn rewrite(&mut self, from: PortId) {
        let Corridor { driver, burst, decisions, edits, .. } = self;
        let outcomes = decisions.iter_mut().zip(&**edits);
        for (held, (decision, edit)) in burst.frames.iter_mut().zip(outcomes) {
            if !edit.carry_out(driver, held) {
                decision.out = None;
                self.pipeline.counters().port(from).forwards_lost.add(1);
            }
        }
    }

    /// Sends what the kernel has for the ports, and looks after the frames that wait for their next hops.
    /// The port that can't send any more, if there is one.
    #[cold]
    pub fn tend(
        &mut self,
        sends: bool,
        generations: &mut Online<'_, Generation>,
        routes: &mut OnlineRoutes<'_>,
        clock: &mut impl FnMut() -> Instant,
    ) -> Option<(PortId, PortError)> {
        let Corridor { driver, pipeline, replies, .. } = self;
        if let (true, Some(punts)) = (sends, pipeline.punts()) {
            // The rest in the next turn: packets are not kept waiting by what the kernel sends.
            for frame in std::iter::from_fn(|| punts.next_to_send()).take(MAX_BURST) {
                let bytes = frame.bytes();
                let cells = pipeline.counters().port(frame.port);
                match driver.inject(frame.port, bytes) {
                    true => {
                        cells.kernel_sent.add(1);
                        cells.transmitted_packets.add(1);
                        cells.transmitted_bytes.add(bytes.len() as u64);
                    }
                    false => punts.count_unsent(),
                }
                punts.give_back_sent(frame);
            }
        }
        if pipeline.has_waiting() {
            let generation = generations.burst();
            let now = clock();
            replies.clear();
            pipeline
                .tend_waiting(&generation, routes, now, replies, |port, bytes| driver.inject(port, bytes));
            for (reply, bytes) in replies.iter() {
                let sent = driver.inject(reply.port, bytes);
                book_made(pipeline.counters(), &reply, bytes, sent);
            }
        }
        driver.flush().err()
    }

    /// Moves the frames of the burst in hand to where they leave: runs that leave by one port together.
    fn act(&mut self, from: PortId) {
        let Corridor { driver, burst, decisions, leaving, staying, .. } = self;
        let counters = self.pipeline.counters();
        let mut run: Option<(PortId, Taken)> = None;
        for (held, decision) in burst.frames.drain(..).zip(&*decisions) {
            match (decision.taken, decision.out) {
                (taken @ (Taken::Forward | Taken::Divert), Some(out)) => {
                    if run != Some((out, taken)) {
                        send(driver, counters, from, run, leaving);
                        run = Some((out, taken));
                    }
                    leaving.push(held);
                }
                _ => staying.push(held),
            }
        }
        send(driver, counters, from, run, leaving);
        driver.release_all(staying);
    }

    /// Hands over what is meant for the checks of the filter's health, and keeps it from going further.
    #[cold]
    fn hear(&mut self, port: PortId) {
        let Some(checks) = self.pipeline.checks() else { return };
        let cells = self.pipeline.counters().port(port);
        for (held, decision) in self.burst.frames.iter().zip(&mut self.decisions) {
            let bytes = self.driver.bytes(held);
            if decision.taken == Taken::Forward && checks.is_meant(bytes) {
                checks.hear(bytes);
                decision.out = None;
                cells.check_answers.add(1);
            }
        }
    }

    /// Hands copies of the burst in hand to a capture.
    #[cold]
    fn copy(&self, origin: &Origin) {
        let frames = self.burst.frames.iter().map(|held| self.driver.bytes(held));
        self.pipeline.tap().copy(origin, frames.zip(&*self.decisions));
    }

    /// Sends the frames of checks that wait for it.
    #[cold]
    fn send_checks(&mut self, checks: &Checks) -> Option<(PortId, PortError)> {
        let cells = self.pipeline.counters().port(checks.port());
        let mut any = false;
        while let Some(frame) = checks.next_to_send() {
            if self.driver.inject(checks.port(), &frame) {
                cells.checks_sent.add(1);
                cells.transmitted_packets.add(1);
                cells.transmitted_bytes.add(frame.len() as u64);
                any = true;
            }
        }
        if any { self.driver.flush().err() } else { None }
    }

    fn send_replies(&mut self) {
        for (reply, bytes) in self.replies.iter() {
            let sent = self.driver.answer(reply.port, bytes, &self.burst.frames[reply.answers as usize]);
            book_made(self.pipeline.counters(), &reply, bytes, sent);
        }
    }
}

/// Books a frame made here that left, or found no room.
fn book_made(counters: &WorkerCounters, reply: &Reply, bytes: &[u8], sent: bool) {
    let cells = counters.port(reply.port);
    match (sent, reply.made) {
        (false, Made::Answer) => return cells.replies_lost.add(1),
        (false, Made::Fragment) => return cells.fragments_lost.add(1),
        (false, Made::Redirect) => return cells.redirects_lost.add(1),
        (true, Made::Answer) => {}
        (true, Made::Fragment) => cells.fragments.add(1),
        (true, Made::Redirect) => cells.redirects.add(1),
    }
    cells.transmitted_packets.add(1);
    cells.transmitted_bytes.add(bytes.len() as u64);
}

/// Sends a run of frames and books what left and what was lost.
fn send<D: Driver>(
    driver: &mut D,
    counters: &WorkerCounters,
    from: PortId,
    run: Option<(PortId, Taken)>,
    frames: &mut ArrayVec<Held, MAX_BURST>,
) {
    let Some((out, taken)) = run else { return };
    let (packets, bytes) = (frames.len(), frames.iter().map(Held::len).sum::<usize>());
    let lost = driver.transmit_all(out, frames);
    let cells = counters.port(out);
    cells.transmitted_packets.add((packets - lost.frames) as u64);
    cells.transmitted_bytes.add((bytes - lost.bytes) as u64);
    if lost.frames > 0 {
        let cells = counters.port(from);
        match taken {
            Taken::Divert => cells.diverts_lost.add(lost.frames as u64),
            _ => cells.forwards_lost.add(lost.frames as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RejectLimits;
    use crate::generation::{Blueprint, PortPlan};
    use crate::policy::{FragmentLimits, Role};
    use crate::port::MemoryDriver;
    use crate::port::memory::Ring;
    use crate::publication::{Publisher, publish};

    const A: PortId = PortId(0);
    const B: PortId = PortId(1);

    fn generation(number: u64) -> Generation {
        let port = |role, peer| PortPlan { role, peer: Some(peer) };
        let ports = vec![port(Role::Servers, 1), port(Role::Internet, 0)];
        Generation::compile(&Blueprint { number, ports, ..Blueprint::default() }).unwrap()
    }

    /// Frames in memory. While its worker sleeps, generations are published and a frame arrives.
    struct Sleeper {
        memory: MemoryDriver,
        publisher: Publisher<Generation>,
        stop: Arc<AtomicBool>,
        waits: u64,
        rounds: u64,
    }

    impl Driver for Sleeper {
        fn receive(&mut self, port: PortId, burst: &mut Burst) -> Result<(), PortError> {
            self.rounds += 1;
            if self.rounds > 1_000_000 {
                self.stop.store(true, Ordering::Relaxed);
            }
            self.memory.receive(port, burst)
        }
        fn bytes(&self, frame: &Held) -> &[u8] {
            self.memory.bytes(frame)
        }
        fn bytes_mut(&mut self, frame: &Held) -> &mut [u8] {
            self.memory.bytes_mut(frame)
        }
        fn push_tag(&mut self, frame: &mut Held, tag: [u8; 4]) -> bool {
            self.memory.push_tag(frame, tag)
        }
        fn pop_tag(&mut self, frame: &mut Held) {
            self.memory.pop_tag(frame);
        }
        fn transmit(&mut self, port: PortId, frame: Held) -> bool {
            self.memory.transmit(port, frame)
        }
        fn answer(&mut self, port: PortId, bytes: &[u8], cause: &Held) -> bool {
            self.memory.answer(port, bytes, cause)
        }
        fn release(&mut self, frame: Held) {
            self.memory.release(frame);
        }
        fn flush(&mut self) -> Result<(), (PortId, PortError)> {
            self.memory.flush()
        }
        fn is_exhausted(&self, _port: PortId) -> bool {
            false
        }
        fn inject(&mut self, port: PortId, bytes: &[u8]) -> bool {
            self.memory.inject(port, bytes)
        }
        fn wait(&mut self, timeout: Duration) {
            assert_eq!(timeout, LONGEST_SLEEP);
            self.waits += 1;
            self.publisher.publish(generation(self.waits + 1));
            assert_eq!(self.publisher.held(), 0, "nobody waits for a worker that sleeps");
            self.publisher.reclaim();
            match self.waits {
                2 => assert!(self.memory.load(A, b"a frame that came meanwhile")),
                4 => self.stop.store(true, Ordering::Relaxed),
                _ => {}
            }
        }
    }

    fn run(poll: Poll) -> (Sleeper, Rounds) {
        let (publisher, mut readers) = publish(generation(1), 1);
        let stop = Arc::<AtomicBool>::default();
        let memory = MemoryDriver::new(2, 4, 64, Ring::Once);
        let driver = Sleeper { memory, publisher, stop: Arc::clone(&stop), waits: 0, rounds: 0 };
        let common = Arc::new(Common::new(2, RejectLimits { burst: 1, interval_micros: 1, per_second: 1 }));
        let fragments = FragmentLimits { datagrams: 16, per_source: 4, lifetime_micros: 1 };
        let pipeline = Pipeline::new(Arc::clone(&common), Arc::new(WorkerCounters::new(2, 1)), fragments);
        let mut micros = 0;
        let worker = Worker {
            index: 0,
            ports: vec![A, B],
            corridor: Corridor::new(driver, pipeline, 8),
            poll,
            generations: readers.remove(0),
            routes: None,
            clock: move || {
                micros += 10;
                Instant::from_utc_micros(micros)
            },
            stop,
            pulse: Arc::default(),
            common,
            failures: crossbeam::channel::unbounded().0,
        };
        worker.run()
    }

    #[test]
    fn a_worker_that_is_interrupted_sleeps_offline_and_takes_what_came_with_its_next_burst() {
        let (mut driver, rounds) = run(Poll::Interrupt);
        assert_eq!(driver.memory.take(B).as_deref(), Some(&b"a frame that came meanwhile"[..]));
        assert_eq!((rounds.bursts, rounds.sleeps, driver.waits), (1, 4, 4));
        assert!(rounds.asleep_micros >= 4 * 10);
        assert_eq!(driver.rounds, 2 * (rounds.idle + 1), "two ports a round, and one round had a frame");
    }

    #[test]
    fn an_adaptive_worker_asks_for_a_while_before_it_sleeps() {
        let (mut driver, rounds) = run(Poll::Adaptive);
        assert!(driver.memory.take(B).is_some());
        assert_eq!((rounds.bursts, rounds.sleeps), (1, 4));
        // The clock goes ten microseconds with each look: twenty looks make the while, once before the first frame
        // and once after it.
        let spins = SPIN.as_micros() as u64 / 10 * ROUNDS_PER_LOOK;
        assert!((2 * spins..3 * spins).contains(&rounds.idle), "{rounds:?}");
    }

    #[test]
    fn a_busy_worker_never_sleeps() {
        let (driver, rounds) = run(Poll::Busy);
        assert_eq!((driver.waits, rounds.sleeps, rounds.asleep_micros), (0, 0, 0));
        assert!(rounds.idle > 400_000);
    }

    #[test]
    fn an_answer_to_a_check_is_handed_over_and_goes_no_further_and_the_books_balance() {
        const F: PortId = PortId(2);
        const OWN: [u8; 6] = [2, 7, 7, 7, 7, 7];
        let port = |role, peer| PortPlan { role, peer };
        let ports =
            vec![port(Role::Subscriber, Some(1)), port(Role::Internet, Some(0)), port(Role::Filter, None)];
        let generation =
            Generation::compile(&Blueprint { number: 1, ports, ..Blueprint::default() }).unwrap();
        let (_publisher, mut readers) = publish(generation, 1);
        let limits = RejectLimits::default();
        let common = Arc::new(Common::new(3, limits).with_checks(Some(Checks::new(F, OWN))));
        let counters = Arc::new(WorkerCounters::new(3, 1));
        let fragments = FragmentLimits { datagrams: 16, per_source: 4, lifetime_micros: 1 };
        let pipeline = Pipeline::new(Arc::clone(&common), Arc::clone(&counters), fragments);
        let mut memory = MemoryDriver::new(3, 8, 200, Ring::Once);
        let answer = [&OWN[..], &[2, 1, 1, 1, 1, 1, 8, 6], &[0x55; 186]].concat();
        let other = [&[2, 9, 9, 9, 9, 9], &answer[6..]].concat();
        // Only at the filter's port is it an answer.
        assert!(memory.load(F, &answer) && memory.load(F, &other) && memory.load(A, &answer));
        let mut corridor = Corridor::new(memory, pipeline, 8);
        let mut online = readers[0].online();
        let mut clock = || Instant::from_utc_micros(1);
        for port in [A, F] {
            assert!(corridor.serve(port, &mut online, &mut clock).failure.is_none());
        }
        let checks = common.checks().unwrap();
        assert_eq!(checks.next_heard().as_deref(), Some(&answer[..crate::health::CHECK_FRAME]));
        assert_eq!(checks.next_heard(), None);
        assert!(checks.send([9; 60].as_slice().try_into().unwrap()));
        assert!(corridor.send_checks(checks).is_none());
        let driver = corridor.driver();
        assert_eq!(driver.take(B).as_deref(), Some(&answer[..]), "a customer's");
        assert_eq!(driver.take(B).as_deref(), Some(&other[..]));
        assert_eq!((driver.take(B), driver.take(A)), (None, None));
        assert_eq!(driver.take(F).as_deref(), Some(&[9; 60][..]));
        assert_eq!(driver.free(), 8, "nothing is kept");
        let totals = crate::counters::Totals::of([&*counters]);
        assert!(totals.balance() && totals.leaving_balances(), "{totals:?}");
        assert_eq!((totals.received, totals.forwarded(), totals.transmitted), (3, 3, 3));
        assert_eq!((totals.check_answers, totals.checks_sent), (1, 1));
    }
}
