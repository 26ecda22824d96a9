//! The way back of diverted packets: which port would have sent them on.
//!
//! A bridge forwards by ports, not by addresses, so what an SMTP filter gives back does not say where it
//! belongs. Whoever diverts a packet notes for its pair of addresses, in both directions, the port that it
//! would have left by. The table is bounded and shared by all workers; a pair that was displaced is found
//! again by its pool, as is one that the filter opens by itself.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::frame::Addresses;
use crate::policy::PortId;

const SLOTS: usize = 1 << 16;
const PORT_BITS: u32 = 8;

pub(crate) struct Returns {
    hasher: RandomState,
    /// The upper bits are the pair's hash, the lowest eight its port; 0 is empty.
    slots: Box<[AtomicU64]>,
}

impl Returns {
    pub(crate) fn new() -> Returns {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Returns { hasher: RandomState::new(), slots }
    }

    /// Notes that a packet with these addresses, received on `from`, would have left by `to`.
    pub(crate) fn note(&self, addresses: &Addresses, from: PortId, to: PortId) {
        self.put(addresses, to);
        self.put(&addresses.swapped(), from);
    }

    /// The port for a packet with these addresses, if it is known.
    pub(crate) fn port(&self, addresses: &Addresses) -> Option<PortId> {
        let (slot, tag) = self.slot(addresses);
        let entry = slot.load(Ordering::Relaxed);
        (entry >> PORT_BITS == tag).then_some(PortId(entry as u8))
    }

    fn put(&self, addresses: &Addresses, port: PortId) {
        let (slot, tag) = self.slot(addresses);
        slot.store(tag << PORT_BITS | u64::from(port.0), Ordering::Relaxed);
    }

    fn slot(&self, addresses: &Addresses) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one(addresses);
        (&self.slots[hash as usize % SLOTS], (hash >> PORT_BITS).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_are_found_again() {
        let returns = Returns::new();
        let out = Addresses::V4 { source: 1, destination: 2 };
        assert_eq!(returns.port(&out), None);
        returns.note(&out, PortId(3), PortId(4));
        assert_eq!(returns.port(&out), Some(PortId(4)));
        assert_eq!(returns.port(&out.swapped()), Some(PortId(3)));
    }
}
