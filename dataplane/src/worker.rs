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
use crate::generation::Generation;
use crate::pipeline::{Arrival, Pipeline};
use crate::policy::{Decision, PortId, Taken};
use crate::port::{Burst, Driver, Held, MAX_BURST, PortError};
use crate::publication::Reader;

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
    /// Its ports.
    pub driver: D,
    /// The ports that it polls, in this order.
    pub ports: Vec<PortId>,
    /// The most frames it takes at once.
    pub batch: usize,
    /// Judges its frames.
    pub pipeline: Pipeline,
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
        let Worker { index, driver, mut ports, batch, pipeline, mut generations, mut clock, stop, failures } =
            self;
        let mut hands = Hands { driver, pipeline, replies: Replies::with_capacity(batch) };
        let mut burst = Burst::new(batch);
        let mut rounds = Rounds::default();
        let mut generations = generations.online();
        let fail = |port, error| {
            // The control thread may be gone; the worker goes on all the same.
            let _ = failures.send(PortFailure { worker: index, port, error });
        };
        while !stop.load(Ordering::Relaxed) {
            let mut worked = false;
            ports.retain(|&port| {
                let received = hands.driver.receive(port, &mut burst);
                if !burst.frames.is_empty() {
                    worked = true;
                    rounds.bursts += 1;
                    let generation = generations.burst();
                    hands.carry(&generation, port, clock(), &mut burst);
                    if let Err((port, error)) = hands.driver.flush() {
                        fail(port, error);
                    }
                }
                match received {
                    Ok(()) => !hands.driver.is_exhausted(port),
                    Err(error) => {
                        fail(port, error);
                        false
                    }
                }
            });
            if !worked {
                rounds.idle += 1;
                generations.quiescent();
                if ports.is_empty() {
                    break;
                }
                std::hint::spin_loop();
            }
        }
        (hands.driver, rounds)
    }
}

/// What a burst goes through.
struct Hands<D> {
    driver: D,
    pipeline: Pipeline,
    replies: Replies,
}

impl<D: Driver> Hands<D> {
    /// Judges a burst and moves its frames to where they leave.
    fn carry(&mut self, generation: &Generation, port: PortId, now: Instant, burst: &mut Burst) {
        let mut decisions = [Decision::UNDECIDED; MAX_BURST];
        let decisions = &mut decisions[..burst.frames.len()];
        self.replies.clear();
        {
            let frames: ArrayVec<&[u8], MAX_BURST> =
                burst.frames.iter().map(|held| self.driver.bytes(held)).collect();
            let arrival = Arrival { port, link: burst.link, now };
            self.pipeline.judge(generation, arrival, &frames, decisions, &mut self.replies);
        }
        if !self.replies.is_empty() {
            self.send_replies(&burst.frames);
        }
        for (held, decision) in burst.frames.drain(..).zip(decisions.iter()) {
            self.act(port, held, decision);
        }
    }

    fn act(&mut self, from: PortId, held: Held, decision: &Decision) {
        let (Taken::Forward | Taken::Divert, Some(out)) = (decision.taken, decision.out) else {
            self.driver.release(held);
            return;
        };
        let length = self.driver.bytes(&held).len() as u64;
        let counters = self.pipeline.counters();
        if self.driver.transmit(out, held) {
            let cells = counters.port(out);
            cells.transmitted_packets.add(1);
            cells.transmitted_bytes.add(length);
        } else {
            let cells = counters.port(from);
            match decision.taken {
                Taken::Divert => cells.diverts_lost.add(1),
                _ => cells.forwards_lost.add(1),
            }
        }
    }

    fn send_replies(&mut self, frames: &[Held]) {
        for (reply, bytes) in self.replies.iter() {
            let cells = self.pipeline.counters().port(reply.port);
            if self.driver.answer(reply.port, bytes, &frames[reply.answers as usize]) {
                cells.transmitted_packets.add(1);
                cells.transmitted_bytes.add(bytes.len() as u64);
            } else {
                cells.replies_lost.add(1);
            }
        }
    }
}
