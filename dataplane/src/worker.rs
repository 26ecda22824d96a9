//! The poll loop: one worker, one core, run to completion.
//!
//! A worker asks its ports for frames in turn and carries each burst through the pipeline to the ports it
//! leaves by before it takes the next. It never waits: with nothing to do it spins, and says that it holds no
//! generation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrayvec::ArrayVec;
use crossbeam::channel::Sender;

use crate::action::Replies;
use crate::clock::Instant;
use crate::counters::WorkerCounters;
use crate::generation::Generation;
use crate::pipeline::{Arrival, Pipeline};
use crate::policy::{Decision, PortId, Taken};
use crate::port::{Burst, Driver, Held, MAX_BURST, PortError};
use crate::prefetch;
use crate::publication::{Online, Reader};

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

/// How a worker ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rounds {
    /// Bursts that had frames in them.
    pub bursts: u64,
    /// Rounds over all ports that found nothing.
    pub idle: u64,
}

/// One worker before it runs.
pub struct Worker<D, C> {
    /// Its number.
    pub index: usize,
    /// The ports that it polls, in this order.
    pub ports: Vec<PortId>,
    /// Carries its bursts.
    pub corridor: Corridor<D>,
    /// Where it takes its generations.
    pub generations: Reader<Generation>,
    /// Tells the instant, once per burst.
    pub clock: C,
    /// Ends the loop after the burst in hand.
    pub stop: Arc<AtomicBool>,
    /// Where it says that a port failed.
    pub failures: Sender<PortFailure>,
}

impl<D: Driver, C: FnMut() -> Instant> Worker<D, C> {
    /// Polls until told to stop, or until no port will receive again. Gives the driver back.
    pub fn run(self) -> (D, Rounds) {
        let Worker { index, mut ports, mut corridor, mut generations, mut clock, stop, failures } = self;
        let mut rounds = Rounds::default();
        let mut generations = generations.online();
        let fail = |(port, error)| {
            // The control thread may be gone; the worker goes on all the same.
            let _ = failures.send(PortFailure { worker: index, port, error });
        };
        while !stop.load(Ordering::Relaxed) {
            let before = rounds.bursts;
            ports.retain(|&port| {
                let Served { frames, failure, flush_failure } =
                    corridor.serve(port, &mut generations, &mut clock);
                rounds.bursts += u64::from(frames > 0);
                flush_failure.map(fail);
                match failure {
                    None => !corridor.driver.is_exhausted(port),
                    Some(error) => {
                        fail((port, error));
                        false
                    }
                }
            });
            if rounds.bursts == before {
                rounds.idle += 1;
                generations.quiescent();
                if ports.is_empty() {
                    break;
                }
                std::hint::spin_loop();
            }
        }
        (corridor.driver, rounds)
    }
}

/// The way of a burst: from a port's receive queue through the pipeline to where its frames leave.
pub struct Corridor<D> {
    driver: D,
    pipeline: Pipeline,
    burst: Burst,
    decisions: Box<[Decision]>,
    replies: Replies,
    /// Frames of the burst that leave by one port, and those that leave by none.
    leaving: Box<ArrayVec<Held, MAX_BURST>>,
    staying: Box<ArrayVec<Held, MAX_BURST>>,
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
        Corridor {
            driver,
            pipeline,
            decisions,
            replies: Replies::with_capacity(burst.limit),
            burst,
            leaving: Box::default(),
            staying: Box::default(),
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
        let mut served = Served {
            failure: self.driver.receive(port, &mut self.burst).err(),
            frames: self.burst.frames.len(),
            flush_failure: None,
        };
        served.frames = self.burst.frames.len();
        if served.frames > 0 {
            let generation = generations.burst();
            self.carry(&generation, port, clock());
            served.flush_failure = self.driver.flush().err();
        }
        served
    }

    /// Judges the burst in hand and moves its frames to where they leave.
    fn carry(&mut self, generation: &Generation, port: PortId, now: Instant) {
        self.replies.clear();
        {
            let driver = &self.driver;
            let frames: ArrayVec<&[u8], MAX_BURST> =
                self.burst.frames.iter().map(|held| driver.bytes(held)).collect();
            frames.iter().for_each(|frame| prefetch::line(frame));
            let arrival = Arrival { port, link: self.burst.link, now };
            let decisions = &mut self.decisions;
            self.pipeline.judge(generation, arrival, &frames, decisions, &mut self.replies);
        }
        if !self.replies.is_empty() {
            self.send_replies();
        }
        self.act(port);
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

    fn send_replies(&mut self) {
        for (reply, bytes) in self.replies.iter() {
            let cells = self.pipeline.counters().port(reply.port);
            if self.driver.answer(reply.port, bytes, &self.burst.frames[reply.answers as usize]) {
                cells.transmitted_packets.add(1);
                cells.transmitted_bytes.add(bytes.len() as u64);
            } else {
                cells.replies_lost.add(1);
            }
        }
    }
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
    cells.transmitted_packets.add((packets - lost) as u64);
    cells.transmitted_bytes.add(bytes as u64);
    if lost > 0 {
        let cells = counters.port(from);
        match taken {
            Taken::Divert => cells.diverts_lost.add(lost as u64),
            _ => cells.forwards_lost.add(lost as u64),
        }
    }
}
