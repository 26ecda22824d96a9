//! Captures: copies of judged frames out of the workers' [tap](sekisho_dataplane::tap), filtered, with what became of
//! each, for a client that asks for them.
//!
//! Workers compare verdict, reason, pool and port, and copy; the [`filter`] expression is applied here, to the copies.
//! The client comes for them as fast as it can: whoever is slow finds that some were lost, which is counted where they
//! are lost, and nobody waits for it.

pub mod filter;

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;

use sekisho_dataplane::port::MAX_BURST;
use sekisho_dataplane::port::pcap::LinkType;
use sekisho_dataplane::tap::{CopiedFrame, MAX_COPIES, Tap, Wanted};

use crate::compile::Names;
use crate::daemon::InForce;
use crate::report;
use filter::Filter;

/// Bytes of a frame that are kept where nobody says otherwise: more than any Ethernet frame has, jumbo frames and tags
/// included.
pub const SNAPLEN: u32 = 10_240;
/// The most that can be kept.
pub const MAX_SNAPLEN: u32 = 65_535;
/// What the places of a capture take at most, altogether.
const MEMORY: usize = 40 << 20;
/// An expression sees at least as much of a frame: all its headers.
const HEADERS: usize = 1024;
/// Copies that are looked at for one answer, and bytes of frames that it takes.
const LOOKED_AT: usize = MAX_COPIES;
const ANSWERED: usize = 256 << 10;

/// What a capture is asked for.
pub(crate) struct Plan {
    pub(crate) wanted: Wanted,
    pub(crate) filter: Filter,
    pub(crate) count: Option<u64>,
    pub(crate) snaplen: usize,
}

/// A frame for the client.
pub(crate) struct Captured<'a> {
    pub(crate) port: &'a str,
    pub(crate) link: LinkType,
    pub(crate) utc_micros: i64,
    pub(crate) length: usize,
    pub(crate) comment: &'a str,
    pub(crate) bytes: &'a [u8],
}

/// How far a capture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// There may be more at once.
    pub(crate) more: bool,
    /// It is over, and everything of it was given.
    pub(crate) finished: bool,
    /// Frames that were given since it began.
    pub(crate) captured: u64,
    /// Copies for which there was no room, before the filter has seen them.
    pub(crate) lost: u64,
}

/// A capture that runs.
pub(crate) struct Capture {
    number: u64,
    plan: Plan,
    captured: u64,
    stopped: bool,
    /// What was lost when the last wanted frame was copied.
    lost: Option<u64>,
    /// The generations that have been in force meanwhile, and the names of what they number.
    known: VecDeque<(u64, Arc<Names>)>,
}

/// As many generations are told by their names.
const KNOWN: usize = 8;

impl Capture {
    pub(crate) fn begin(tap: &Tap, plan: Plan) -> Capture {
        let room = if plan.filter.is_empty() { plan.snaplen } else { plan.snaplen.max(HEADERS) };
        // At least a burst.
        let copies = (MEMORY / room.max(1)).clamp(MAX_BURST, MAX_COPIES);
        let number = tap.begin(plan.wanted, copies, room);
        Capture { number, plan, captured: 0, stopped: false, lost: None, known: VecDeque::new() }
    }

    /// Has no more frames copied; what waits can still be taken.
    pub(crate) fn stop(&mut self, tap: &Tap) {
        tap.stop();
        self.stopped = true;
    }

    /// Gives what waits to `give`, as much as one answer takes.
    pub(crate) fn next(
        &mut self,
        tap: &Tap,
        in_force: &InForce,
        mut give: impl FnMut(&Captured<'_>),
    ) -> Standing {
        self.learn(in_force);
        let mut comment = String::new();
        let (mut looked_at, mut bytes) = (0, 0);
        let mut more = true;
        while looked_at < LOOKED_AT && bytes < ANSWERED && self.lost.is_none() {
            let Some(copy) = tap.next(self.number) else {
                more = false;
                break;
            };
            looked_at += 1;
            if self.plan.filter.matches(copy.link, copy.bytes()) {
                comment.clear();
                self.explain(&copy, &mut comment);
                let kept = copy.bytes().len().min(self.plan.snaplen);
                give(&Captured {
                    port: in_force.names.port(copy.port),
                    link: copy.link.into(),
                    utc_micros: copy.utc_micros,
                    length: copy.length,
                    comment: &comment,
                    bytes: &copy.bytes()[..kept],
                });
                bytes += kept + comment.len();
                self.captured += 1;
                if self.plan.count == Some(self.captured) {
                    self.stop(tap);
                    self.lost = Some(copy.lost_before);
                }
            }
            tap.give_back(copy);
        }
        more &= self.lost.is_none();
        let lost = self.lost.unwrap_or_else(|| tap.lost(self.number));
        Standing { more, finished: self.stopped && !more, captured: self.captured, lost }
    }

    /// Frees everything.
    pub(crate) fn end(&self, tap: &Tap) -> Standing {
        tap.clear();
        let lost = self.lost.unwrap_or_else(|| tap.lost(self.number));
        Standing { more: false, finished: true, captured: self.captured, lost }
    }

    fn learn(&mut self, in_force: &InForce) {
        if self.known.back().is_none_or(|(generation, _)| *generation != in_force.generation) {
            if self.known.len() == KNOWN {
                self.known.pop_front();
            }
            self.known.push_back((in_force.generation, Arc::clone(&in_force.names)));
        }
    }

    /// What became of a frame, in words that a display filter finds: `frame.comment contains "reason=port25-egress"`.
    fn explain(&self, copy: &CopiedFrame, comment: &mut String) {
        // Writing to a string does not fail.
        let _ = self.write_explanation(copy, comment);
    }

    fn write_explanation(&self, copy: &CopiedFrame, out: &mut String) -> std::fmt::Result {
        let decision = &copy.decision;
        write!(out, "verdict={} reason={}", report::verdict(decision.taken), decision.reason)?;
        if let Some(action) = report::action(decision.taken) {
            write!(out, " action={action}")?;
        }
        if decision.suppressed {
            out.push_str(" suppressed");
        }
        if let Some(would) = decision.would {
            write!(out, " would={would}")?;
        }
        // A pool keeps its number; a phase has one of its generation's own.
        let of = self.known.iter().find(|(generation, _)| *generation == copy.generation);
        if let Some((_, names)) = of.or(self.known.back()) {
            if let Some(pool) = names.pool(decision.pool) {
                write!(out, " pool={pool}")?;
            }
            if let Some(policy) = names.policy_of(decision.pool) {
                write!(out, " policy={policy}")?;
            }
            if let Some(port) = decision.out {
                write!(out, " out={}", names.port(port))?;
            }
        }
        if let Some(phase) = of.zip(decision.phase).and_then(|((_, names), phase)| names.phase(phase)) {
            write!(out, " phase={phase}")?;
        }
        write!(out, " generation={}", copy.generation)
    }
}
