//! When memory that readers have been led away from may be used again.
//!
//! A table that changes under its readers never changes what they can reach: it writes the new part
//! elsewhere, and leads them there with one store. The old part is *retired*: a reader may still be on its
//! way through it. It is reused after every reader has been *quiescent* since, that is, has said that it is
//! between two lookups.
//!
//! ```text
//! writer   lead away ──▶ bump the clock to t ──▶ … ──▶ every reader's note ≥ t?  ──yes──▶ reuse
//! reader        lookups ──▶ read the clock ──▶ note it ──▶ lookups …
//! ```
//!
//! Why that suffices: the clock is bumped (release) after the store that leads away, so a reader that read
//! `t` or later from it (acquire) sees that store, and its lookups from then on do not come to the old part.
//! Its lookups before come before its note (release), and the writer reads the note (acquire) before it
//! writes. A note costs the reader two plain moves and no fence.
//!
//! A reader that sleeps would hold up all reuse, so it goes *offline* first: its note then is later than any
//! time. When it comes back there is no note in between that the writer could have waited for, so here, and
//! only here, both sides need a full fence: either the writer, looking at the notes after its store, sees
//! that the reader is back, or the reader, looking at the table after its note, sees the store.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::utils::CachePadded;

/// Later than any time of the clock.
const OFFLINE: u64 = u64::MAX;

type Note = Arc<CachePadded<AtomicU64>>;

/// The clock, and the notes of all readers.
#[derive(Debug, Default)]
pub(super) struct Grace {
    clock: CachePadded<AtomicU64>,
    notes: Mutex<Vec<Note>>,
}

impl Grace {
    /// A reader, online, which has seen all that happened before.
    pub(super) fn reader(self: &Arc<Self>) -> Presence {
        let note = Arc::new(CachePadded::new(AtomicU64::new(self.clock.load(Ordering::Acquire))));
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&note));
        // As if the reader had been offline until now.
        fence(Ordering::SeqCst);
        Presence { grace: Arc::clone(self), note }
    }

    /// The time of what has been retired up to now. Only the writer calls this, after it has led readers
    /// away.
    pub(super) fn retire(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// What was retired at this time or before may be reused. Only the writer calls this.
    pub(super) fn passed(&self) -> u64 {
        fence(Ordering::SeqCst);
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        // Readers that are gone leave their note in no hands but ours.
        notes.retain(|note| Arc::strong_count(note) > 1);
        notes.iter().map(|note| note.load(Ordering::Acquire)).min().unwrap_or(OFFLINE)
    }
}

/// A reader's side of the agreement.
#[derive(Debug)]
pub(super) struct Presence {
    grace: Arc<Grace>,
    note: Note,
}

impl Presence {
    /// Between two lookups.
    #[inline]
    pub(super) fn quiescent(&mut self) {
        self.note.store(self.grace.clock.load(Ordering::Acquire), Ordering::Release);
    }

    /// No lookups until [`online`](Self::online).
    pub(super) fn offline(&mut self) {
        self.note.store(OFFLINE, Ordering::Release);
    }

    /// Lookups from here on.
    pub(super) fn online(&mut self) {
        self.note.store(self.grace.clock.load(Ordering::Acquire), Ordering::Release);
        fence(Ordering::SeqCst);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.offline();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_reused_before_every_reader_has_been_quiescent() {
        let grace = Arc::new(Grace::default());
        let (mut first, mut second) = (grace.reader(), grace.reader());
        let time = grace.retire();
        assert!(grace.passed() < time);
        first.quiescent();
        assert!(grace.passed() < time);
        second.quiescent();
        assert!(grace.passed() >= time);
    }

    #[test]
    fn a_reader_that_is_offline_or_gone_holds_nothing_up() {
        let grace = Arc::new(Grace::default());
        let mut sleeper = grace.reader();
        let gone = grace.reader();
        let time = grace.retire();
        sleeper.offline();
        drop(gone);
        assert!(grace.passed() >= time);
        sleeper.online();
        let time = grace.retire();
        assert!(grace.passed() < time);
    }

    #[test]
    fn without_readers_everything_may_be_reused_at_once() {
        let grace = Grace::default();
        let time = grace.retire();
        assert!(grace.passed() >= time);
    }
}
