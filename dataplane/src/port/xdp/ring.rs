//! One ring of an AF_XDP socket (the kernel's networking/af_xdp.rst): a power of two of entries in memory that is shared
//! with the kernel, and two counters that run on for ever, one written by who puts entries in, one by who
//! takes them out.
//!
//! A [`Producer`] fills entries and then moves its counter (release), which hands them over; a [`Consumer`] looks at
//! that counter (acquire), reads entries and then moves its own. Neither asks for the other's counter before what it
//! knew of it is used up, and both move theirs once for many entries. Entries are read and written as atomics,
//! so nothing here is unsafe; what the kernel writes is checked where it is used ([`umem`](super::umem)).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::umem::Descriptor;
use crate::port::mapping::Mapping;

/// Where in its memory a ring has what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) producer: usize,
    pub(super) consumer: usize,
    pub(super) flags: usize,
    pub(super) entries: usize,
}

/// A ring's memory: what both sides know.
pub(super) struct Slots {
    memory: Arc<Mapping>,
    layout: Layout,
    count: u32,
}

/// Bytes of an entry that is an address, and of one that is a descriptor (struct xdp_desc).
pub(super) const ADDRESS: usize = 8;
pub(super) const DESCRIPTOR: usize = 16;
const LENGTH: usize = 8;
const OPTIONS: usize = 12;

impl Slots {
    /// A ring of `count` entries, a power of two.
    pub(super) fn new(memory: Arc<Mapping>, layout: Layout, count: u32) -> Slots {
        assert!(count.is_power_of_two(), "{count} entries");
        Slots { memory, layout, count }
    }

    #[inline]
    fn produced(&self) -> u32 {
        self.memory.word(self.layout.producer).load(Ordering::Acquire)
    }

    #[inline]
    fn consumed(&self) -> u32 {
        self.memory.word(self.layout.consumer).load(Ordering::Acquire)
    }

    #[inline]
    fn at(&self, index: u32, size: usize) -> usize {
        self.layout.entries + (index & (self.count - 1)) as usize * size
    }

    #[inline]
    fn address(&self, index: u32) -> u64 {
        self.memory.long(self.at(index, ADDRESS)).load(Ordering::Relaxed)
    }

    #[inline]
    fn set_address(&self, index: u32, address: u64) {
        self.memory.long(self.at(index, ADDRESS)).store(address, Ordering::Relaxed);
    }

    #[inline]
    fn descriptor(&self, index: u32) -> Descriptor {
        let at = self.at(index, DESCRIPTOR);
        Descriptor {
            address: self.memory.long(at).load(Ordering::Relaxed),
            length: self.memory.word(at + LENGTH).load(Ordering::Relaxed),
        }
    }

    #[inline]
    fn set_descriptor(&self, index: u32, Descriptor { address, length }: Descriptor) {
        let at = self.at(index, DESCRIPTOR);
        self.memory.long(at).store(address, Ordering::Relaxed);
        self.memory.word(at + LENGTH).store(length, Ordering::Relaxed);
        self.memory.word(at + OPTIONS).store(0, Ordering::Relaxed);
    }
}

/// The side that puts entries in.
pub(super) struct Producer {
    slots: Slots,
    /// The entry that is written next.
    next: u32,
    /// Entries before this one can be written, as far as is known.
    limit: u32,
    /// What the other side knows of.
    published: u32,
}

impl Producer {
    pub(super) fn new(slots: Slots) -> Producer {
        let (next, limit) = (slots.produced(), slots.consumed().wrapping_add(slots.count));
        Producer { slots, next, limit, published: next }
    }

    /// How many entries can be written; asks the other side if fewer than `wanted` are known.
    #[inline]
    pub(super) fn room(&mut self, wanted: u32) -> u32 {
        let known = self.limit.wrapping_sub(self.next);
        if known >= wanted {
            return known;
        }
        self.limit = self.slots.consumed().wrapping_add(self.slots.count);
        // What the other side writes may be anything: never more than there are.
        self.limit.wrapping_sub(self.next).min(self.slots.count)
    }

    /// Writes an entry that is an address; there must be room.
    #[inline]
    pub(super) fn put_address(&mut self, address: u64) {
        self.slots.set_address(self.next, address);
        self.next = self.next.wrapping_add(1);
    }

    /// Writes an entry that is a descriptor; there must be room.
    #[inline]
    pub(super) fn put(&mut self, descriptor: Descriptor) {
        self.slots.set_descriptor(self.next, descriptor);
        self.next = self.next.wrapping_add(1);
    }

    /// Hands over what was written.
    #[inline]
    pub(super) fn publish(&mut self) {
        if self.published != self.next {
            self.published = self.next;
            // After the entries: the other side reads them once this says so.
            self.slots.memory.word(self.slots.layout.producer).store(self.next, Ordering::Release);
        }
    }

    /// Entries that the other side has not taken yet.
    #[inline]
    pub(super) fn pending(&self) -> u32 {
        self.next.wrapping_sub(self.slots.consumed()).min(self.slots.count)
    }

    /// Whether the kernel wants to be told that there is something (XDP_RING_NEED_WAKEUP).
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        let flags = self.slots.memory.word(self.slots.layout.flags).load(Ordering::Relaxed);
        flags & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// What was written last, the newest first, as far back as the ring goes. A ring that was never full has zeros there.
    pub(super) fn latest(&self) -> impl Iterator<Item = Descriptor> + '_ {
        (1..=self.slots.count).map(|back| self.slots.descriptor(self.next.wrapping_sub(back)))
    }

    /// Makes entries that have not been taken ones that the kernel passes over; gives what they were. The other side must
    /// not be reading: see [`lane`](super::lane).
    pub(super) fn void_pending(&mut self) -> impl Iterator<Item = Descriptor> + '_ {
        let first = self.next.wrapping_sub(self.pending());
        let slots = &self.slots;
        (0..self.pending()).map(move |n| {
            let index = first.wrapping_add(n);
            let was = slots.descriptor(index);
            slots.set_descriptor(index, Descriptor { address: u64::MAX >> 16, length: 1 });
            was
        })
    }
}

/// The side that takes entries out.
pub(super) struct Consumer {
    slots: Slots,
    /// The entry that is read next.
    next: u32,
    /// Entries before this one are there, as far as is known.
    limit: u32,
    /// What the other side knows of.
    released: u32,
}

impl Consumer {
    pub(super) fn new(slots: Slots) -> Consumer {
        let (next, limit) = (slots.consumed(), slots.produced());
        Consumer { slots, next, limit, released: next }
    }

    /// How many entries can be read; asks the other side if fewer than `wanted` are known.
    #[inline]
    pub(super) fn available(&mut self, wanted: u32) -> u32 {
        let known = self.limit.wrapping_sub(self.next);
        if known >= wanted {
            return known;
        }
        self.limit = self.slots.produced();
        self.limit.wrapping_sub(self.next).min(self.slots.count)
    }

    /// Reads an entry that is an address; there must be one.
    #[inline]
    pub(super) fn address(&mut self) -> u64 {
        let address = self.slots.address(self.next);
        self.next = self.next.wrapping_add(1);
        address
    }

    /// Reads an entry that is a descriptor; there must be one.
    #[inline]
    pub(super) fn descriptor(&mut self) -> Descriptor {
        let descriptor = self.slots.descriptor(self.next);
        self.next = self.next.wrapping_add(1);
        descriptor
    }

    /// Gives back what was read, to be written again.
    #[inline]
    pub(super) fn release(&mut self) {
        if self.released != self.next {
            self.released = self.next;
            // After the entries were read: the other side writes them once this says so.
            self.slots.memory.word(self.slots.layout.consumer).store(self.next, Ordering::Release);
        }
    }

    /// Whether there is something, as far as can be told without changing anything.
    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.slots.produced() != self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { producer: 0, consumer: 64, flags: 128, entries: 192 };

    fn ring(count: u32, start: u32) -> (Producer, Consumer) {
        let memory = Arc::new(Mapping::anonymous(4096).unwrap());
        memory.word(LAYOUT.producer).store(start, Ordering::Relaxed);
        memory.word(LAYOUT.consumer).store(start, Ordering::Relaxed);
        let slots = || Slots::new(Arc::clone(&memory), LAYOUT, count);
        (Producer::new(slots()), Consumer::new(slots()))
    }

    #[test]
    fn what_is_put_in_comes_out_in_order_also_where_the_counters_wrap() {
        let (mut producer, mut consumer) = ring(8, u32::MAX - 20);
        let (mut put, mut got) = (0u64, 0u64);
        for step in 0..1000 {
            let count = producer.room(8).min(step % 9);
            for _ in 0..count {
                producer.put(Descriptor { address: put, length: put as u32 });
                put += 1;
            }
            assert_eq!(consumer.available(8), (put - got) as u32 - count, "not before it is published");
            producer.publish();
            for _ in 0..consumer.available(8).min(step % 5) {
                assert_eq!(consumer.descriptor(), Descriptor { address: got, length: got as u32 });
                got += 1;
            }
            consumer.release();
            assert_eq!(u64::from(producer.pending()), put - got);
        }
        assert!(got > 1000);
    }

    #[test]
    fn a_counter_that_can_t_be_right_gives_no_more_than_the_ring_has() {
        let (mut producer, mut consumer) = ring(8, 0);
        producer.slots.memory.word(LAYOUT.consumer).store(1 << 30, Ordering::Relaxed);
        assert!(producer.room(8) <= 8 && producer.pending() <= 8);
        consumer.slots.memory.word(LAYOUT.producer).store(1 << 30, Ordering::Relaxed);
        assert!(consumer.available(8) <= 8);
    }

    #[test]
    fn entries_that_were_not_taken_can_be_made_void() {
        let (mut producer, mut consumer) = ring(8, 0);
        (0..5).for_each(|n| producer.put(Descriptor { address: n << 11, length: 60 }));
        producer.publish();
        consumer.available(2);
        consumer.descriptor();
        consumer.descriptor();
        consumer.release();
        let void: Vec<u64> = producer.void_pending().map(|descriptor| descriptor.address >> 11).collect();
        assert_eq!(void, [2, 3, 4]);
        assert!((0..3).all(|_| consumer.descriptor().address >> 40 != 0));
    }
}
