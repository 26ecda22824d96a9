//! Phases: instants from which on port 25 is denied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::Action;
use super::sets::Mask;

/// Remembers that a phase has begun, so that it stays begun if the clock steps back. Shared between the
/// generations that hold the same phase.
#[derive(Debug, Default)]
pub struct Latch(AtomicBool);

impl Latch {
    /// Whether the phase has begun.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Says that it has.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a phase denies.
#[derive(Debug)]
pub(crate) enum Scope {
    All,
    Sets(Mask),
}

/// One phase of one policy, compiled.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) from: i64,
    pub(crate) latch: Arc<Latch>,
    pub(crate) scope: Scope,
    pub(crate) action: Action,
}

/// All phases of a generation and the next instant at which one of them begins.
///
/// A phase is in force once its latch is set. [`Phases::advance`] sets latches as instants pass, once per
/// burst: one relaxed load and a compare unless an instant has been reached. Latches only go from unset to
/// set, so two workers that advance at the same time agree.
#[derive(Debug)]
pub(crate) struct Phases {
    all: Box<[Phase]>,
    next: AtomicI64,
}

impl Phases {
    pub(crate) fn new(all: Vec<Phase>) -> Phases {
        let phases = Phases { all: all.into(), next: AtomicI64::new(i64::MAX) };
        phases.next.store(phases.next_unbegun(), Ordering::Relaxed);
        phases
    }

    fn next_unbegun(&self) -> i64 {
        let unbegun = self.all.iter().filter(|phase| !phase.latch.has_begun());
        unbegun.map(|phase| phase.from).min().unwrap_or(i64::MAX)
    }

    /// Begins every phase whose instant is not after `now`.
    #[inline]
    pub(crate) fn advance(&self, now: i64) {
        if now >= self.next.load(Ordering::Relaxed) {
            self.begin_until(now);
        }
    }

    #[cold]
    fn begin_until(&self, now: i64) {
        for phase in &self.all {
            if phase.from <= now {
                phase.latch.begin();
            }
        }
        self.next.store(self.next_unbegun(), Ordering::Relaxed);
    }

    /// Whether any phase of any policy is in force.
    pub(crate) fn any_in_force(&self) -> bool {
        self.all.iter().any(|phase| phase.latch.has_begun())
    }

    pub(crate) fn get(&self, at: usize) -> &Phase {
        &self.all[at]
    }
}
