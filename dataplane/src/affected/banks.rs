//! Two tables for each worker: one that it books in, and the former one, which rests and can be read as often as one
//! likes. A list that is begun anew so loses no attempt: what was booked stands in the one or in the other.
//!
//! A worker looks which is its turn when it notes the first attempt of a burst, and books the burst there. So the former
//! table rests as soon as every worker has come to the end of the burst that it was in; whoever publishes generations
//! knows when that is (see [`turn_over`](super::Affected::turn_over)).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use super::table::Table;

#[derive(Debug)]
pub(super) struct Banks {
    /// Times that the tables have changed places.
    turn: AtomicU32,
    /// The second is made when it is needed first.
    tables: [OnceLock<Arc<Table>>; 2],
    customers: usize,
}

impl Banks {
    pub(super) fn new(customers: usize) -> Banks {
        let banks = Banks { turn: AtomicU32::new(0), tables: Default::default(), customers };
        banks.table(0);
        banks
    }

    /// Times that the tables have changed places. Whoever sees one sees the table that was made for it.
    #[inline]
    pub(super) fn turn(&self) -> u32 {
        self.turn.load(Ordering::Acquire)
    }

    /// The table of a turn.
    pub(super) fn table(&self, turn: u32) -> &Arc<Table> {
        self.tables[turn as usize % 2].get_or_init(|| Arc::new(Table::new(self.customers)))
    }

    /// Lets the tables change places; what the former one held before is forgotten.
    pub(super) fn turn_over(&self) {
        let next = self.turn().wrapping_add(1);
        self.table(next).reset();
        self.turn.store(next, Ordering::Release);
    }
}
