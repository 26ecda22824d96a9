//! The books of time: what a packet costs in each stage, and how the worker's time is spent.
//!
//! A time stamp costs about as much as a packet, so only one burst in [`EVERY`] is measured; the others pay a
//! branch per stage. Means and shares are those of the measured bursts.

use std::array;

use crate::counters::Cell;
use crate::cycles;

/// One burst in so many is measured. A worker polls its ports in turn, so the number is prime: an even one would
/// measure the same port of a pair each time.
pub const EVERY: u32 = 31;

/// A part of a burst's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Taking the burst off the receive queue.
    Receive,
    /// Reading the headers of frames of the common shape.
    Parse,
    /// Looking up the pools of their customers.
    Lookup,
    /// Deciding; and frames of other shapes, from parsing to the answer.
    Decide,
    /// Moving frames to where they leave.
    Act,
}

impl Stage {
    /// All stages, in the order of the way.
    pub const ALL: [Stage; 5] = [Stage::Receive, Stage::Parse, Stage::Lookup, Stage::Decide, Stage::Act];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Receive => "receive",
            Stage::Parse => "parse",
            Stage::Lookup => "lookup",
            Stage::Decide => "decide",
            Stage::Act => "act",
        }
    }
}

/// Powers of two of ticks that a burst may take.
const BUCKETS: usize = 40;

/// One worker's measurements.
#[derive(Debug)]
pub(crate) struct StageCells {
    ticks: [Cell; Stage::ALL.len()],
    packets: Cell,
    bursts: Cell,
    /// By the power of two of ticks that a burst took.
    service: [Cell; BUCKETS],
    busy: Cell,
    idle: Cell,
}

impl Default for StageCells {
    fn default() -> Self {
        StageCells {
            ticks: Default::default(),
            packets: Cell::default(),
            bursts: Cell::default(),
            service: array::from_fn(|_| Cell::default()),
            busy: Cell::default(),
            idle: Cell::default(),
        }
    }
}

impl StageCells {
    /// Books a measured turn at a port, which found so many packets.
    pub(crate) fn turn(&self, packets: usize, ticks: u64) {
        if packets == 0 {
            self.idle.add(ticks);
            return;
        }
        self.busy.add(ticks);
        self.packets.add(packets as u64);
        self.bursts.add(1);
        let bucket = (64 - ticks.leading_zeros() as usize).min(BUCKETS - 1);
        self.service[bucket].add(1);
    }
}

/// A stopwatch for one burst; one that measures nothing costs a branch per lap.
pub(crate) struct Lap(Option<u64>);

impl Lap {
    /// Starts measuring, or does not.
    #[inline(always)]
    pub(crate) fn start(measured: bool) -> Lap {
        Lap(measured.then(cycles::ticks))
    }

    /// Ends `stage`; the next begins.
    #[inline(always)]
    pub(crate) fn end(&mut self, cells: &StageCells, stage: Stage) {
        if let Some(began) = &mut self.0 {
            let now = cycles::ticks();
            cells.ticks[stage as usize].add(now.wrapping_sub(*began));
            *began = now;
        }
    }
}

/// What several workers measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageTotals {
    /// Ticks by stage, of the measured bursts.
    pub ticks: [u64; Stage::ALL.len()],
    /// Packets in the measured bursts.
    pub packets: u64,
    /// Measured bursts.
    pub bursts: u64,
    /// Measured bursts by the power of two of ticks that they took: `service[n]` took less than 2^n.
    pub service: [u64; BUCKETS],
    /// Ticks of measured rounds that had frames.
    pub busy: u64,
    /// Ticks of measured rounds that had none.
    pub idle: u64,
}

impl StageTotals {
    pub(crate) fn of<'a>(cells: impl Iterator<Item = &'a StageCells>) -> StageTotals {
        let mut totals = StageTotals {
            ticks: [0; Stage::ALL.len()],
            packets: 0,
            bursts: 0,
            service: [0; BUCKETS],
            busy: 0,
            idle: 0,
        };
        for cells in cells {
            for (sum, cell) in totals.ticks.iter_mut().zip(&cells.ticks) {
                *sum += cell.get();
            }
            for (sum, cell) in totals.service.iter_mut().zip(&cells.service) {
                *sum += cell.get();
            }
            totals.packets += cells.packets.get();
            totals.bursts += cells.bursts.get();
            totals.busy += cells.busy.get();
            totals.idle += cells.idle.get();
        }
        totals
    }

    /// Ticks that a packet takes in a stage.
    pub fn ticks_per_packet(&self, stage: Stage) -> f64 {
        self.ticks[stage as usize] as f64 / self.packets.max(1) as f64
    }

    /// The share of time in rounds that had frames, from 0 to 1.
    pub fn busy_share(&self) -> f64 {
        self.busy as f64 / (self.busy + self.idle).max(1) as f64
    }
}
