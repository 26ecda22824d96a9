//! Publication: how a new generation reaches the workers, and when the old one may be freed.
//!
//! Quiescent-state-based reclamation. A worker reads the current pointer once per burst and, when it is done
//! with the burst, writes the epoch it sees into a cell of its own; that is all it ever does: one load, one
//! load and one store per burst, no fence, no retry, no shared line written. The publisher alone frees.
//!
//! ```text
//!   publisher                                  worker, per burst
//!   ─────────                                  ─────────────────
//!   P1  current ← new          (swap, AcqRel)  W1  p ← current          (Acquire)
//!   P2  epoch ← e + 1          (Release)           … judge the burst by *p …
//!   P3  old is retired at e + 1                W2  c ← epoch            (Acquire)
//!   P4  every cell ≥ e + 1 ?   (Acquire)       W3  cell ← c             (Release)
//!       then free old
//! ```
//!
//! Why it holds. Say P4 sees a worker's cell at e + 1 or above. The worker wrote it in W3 after W2 read that
//! epoch, which P2 wrote with Release: so P1 happened before W2, and every W1 after it reads the new pointer,
//! or a newer one. Every use of the old pointer by this worker came before its W3 in program order, and W3
//! (Release) happened before P4 (Acquire): so all of them happened before the free. The order of P1 before P2
//! and of W2 after the last use of *p is load-bearing.
//!
//! A worker that goes to sleep goes *offline* first: its cell says `OFFLINE`, which is above every epoch. It
//! comes back by writing the epoch into its cell and only then reading the pointer. Here alone a worker's
//! store must not be overtaken by its load, so both sides have a SeqCst fence between the two: either the
//! publisher sees the cell (and waits), or the worker sees the new pointer.

#![allow(unsafe_code)]

use std::ops::Deref;

use crossbeam::utils::CachePadded;

#[cfg(not(loom))]
use std::sync::{
    Arc,
    atomic::{AtomicPtr, AtomicU64, Ordering, fence},
};

#[cfg(loom)]
use loom::sync::{
    Arc,
    atomic::{AtomicPtr, AtomicU64, Ordering, fence},
};

/// The cell of a reader that holds nothing and will not until it comes online.
const OFFLINE: u64 = u64::MAX;

struct Shared<T> {
    current: CachePadded<AtomicPtr<T>>,
    epoch: CachePadded<AtomicU64>,
    cells: Box<[CachePadded<AtomicU64>]>,
}

// SAFETY: the pointer owns a `T` that readers on other threads borrow (`Sync`) and that the publisher, which
// may have moved to another thread, drops (`Send`).
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above; all fields are atomics.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: `current` came from `Box::into_raw` and was never freed: only replaced pointers are.
        // The publisher and all readers are gone, since each holds an `Arc` of this.
        drop(unsafe { Box::from_raw(current) });
    }
}

/// The writing side, held by the control thread. What is still retired when it is dropped is leaked, since a
/// reader may be inside a burst; a process that ends in order reclaims first.
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
    retired: Vec<Retired<T>>,
}

/// A value that is no longer in force. A raw pointer, not a box: readers may still borrow it, and a box claims
/// to be the only one who does.
struct Retired<T> {
    value: *mut T,
    epoch: u64,
}

// SAFETY: the value is owned, and only the publisher's thread will drop it.
unsafe impl<T: Send> Send for Retired<T> {}

/// The reading side, one per worker.
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    cell: usize,
}

/// Makes a publisher of `first` and `readers` readers, which start offline.
pub fn publish<T: Send + Sync>(first: T, readers: usize) -> (Publisher<T>, Vec<Reader<T>>) {
    let shared = Arc::new(Shared {
        current: CachePadded::new(AtomicPtr::new(Box::into_raw(Box::new(first)))),
        epoch: CachePadded::new(AtomicU64::new(0)),
        cells: (0..readers).map(|_| CachePadded::new(AtomicU64::new(OFFLINE))).collect(),
    });
    let readers = (0..readers).map(|cell| Reader { shared: Arc::clone(&shared), cell }).collect();
    (Publisher { shared, retired: Vec::new() }, readers)
}

impl<T: Send + Sync> Publisher<T> {
    /// Puts `next` in force. Readers take it from their next burst on; the value that was in force is
    /// retired, and freed by a later [`reclaim`](Publisher::reclaim).
    pub fn publish(&mut self, next: T) {
        let old = self.shared.current.swap(Box::into_raw(Box::new(next)), Ordering::AcqRel);
        let epoch = self.shared.epoch.load(Ordering::Relaxed) + 1;
        self.shared.epoch.store(epoch, Ordering::Release);
        self.retired.push(Retired { value: old, epoch });
    }

    /// The value in force.
    pub fn current(&self) -> &T {
        let current = self.shared.current.load(Ordering::Acquire);
        // SAFETY: only `publish` and `drop` take a value out of force, and both need `&mut self`.
        unsafe { &*current }
    }

    /// How many retired values a reader may still hold; the others can be freed.
    pub fn held(&self) -> usize {
        fence(Ordering::SeqCst);
        let oldest = self.oldest();
        self.retired.iter().filter(|retired| retired.epoch > oldest).count()
    }

    /// Marks this moment. What readers could find before it, and no longer can, may be used for something else once
    /// the mark [has been passed](Publisher::has_passed). The argument is that of [`publish`](Publisher::publish), with
    /// whatever led readers away in the place of P1.
    pub fn mark(&mut self) -> u64 {
        let epoch = self.shared.epoch.load(Ordering::Relaxed) + 1;
        self.shared.epoch.store(epoch, Ordering::Release);
        epoch
    }

    /// Whether every reader has passed a quiescent point since that mark.
    pub fn has_passed(&self, mark: u64) -> bool {
        fence(Ordering::SeqCst);
        mark <= self.oldest()
    }

    /// The epoch that every reader has reached.
    fn oldest(&self) -> u64 {
        let cells = self.shared.cells.iter().map(|cell| cell.load(Ordering::Acquire));
        cells.min().unwrap_or(OFFLINE)
    }

    /// Frees the retired values that no reader can still hold, and says how many are left.
    pub fn reclaim(&mut self) -> usize {
        fence(Ordering::SeqCst);
        let oldest = self.oldest();
        self.retired.retain(|retired| {
            if retired.epoch > oldest {
                return true;
            }
            // SAFETY: `value` came from `Box::into_raw` and left `current` in `publish`, so it is owned once.
            // Every reader is past its epoch, so nobody borrows it (see the module's documentation).
            drop(unsafe { Box::from_raw(retired.value) });
            false
        });
        self.retired.len()
    }
}

impl<T> Reader<T> {
    /// Comes online: from now on the publisher waits for this reader.
    pub fn online(&mut self) -> Online<'_, T> {
        let epoch = self.shared.epoch.load(Ordering::Acquire);
        self.cell().store(epoch, Ordering::Release);
        fence(Ordering::SeqCst);
        Online { reader: self }
    }

    fn cell(&self) -> &AtomicU64 {
        &self.shared.cells[self.cell]
    }
}

/// A reader that is online, until this is dropped.
pub struct Online<'a, T> {
    reader: &'a mut Reader<T>,
}

impl<T> Online<'_, T> {
    /// Takes the value in force, for one burst. Dropping the guard is the quiescent point.
    #[inline]
    pub fn burst(&mut self) -> Burst<'_, T> {
        let current = self.reader.shared.current.load(Ordering::Acquire);
        // SAFETY: the publisher frees a value only after this reader's cell reaches the epoch of its
        // retirement, which the guard writes when it is dropped, and it borrows `self` until then (see the
        // module's documentation).
        Burst { value: unsafe { &*current }, reader: self.reader }
    }

    /// Says that nothing is held, for a reader that found no burst to judge.
    #[inline]
    pub fn quiescent(&mut self) {
        quiescent(self.reader);
    }
}

impl<T> Drop for Online<'_, T> {
    fn drop(&mut self) {
        self.reader.cell().store(OFFLINE, Ordering::Release);
    }
}

/// The value in force for one burst.
pub struct Burst<'a, T> {
    value: &'a T,
    reader: &'a Reader<T>,
}

impl<T> Deref for Burst<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> Drop for Burst<'_, T> {
    #[inline]
    fn drop(&mut self) {
        quiescent(self.reader);
    }
}

/// W2 and W3.
#[inline]
fn quiescent<T>(reader: &Reader<T>) {
    let epoch = reader.shared.epoch.load(Ordering::Acquire);
    reader.cell().store(epoch, Ordering::Release);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Weak;

    use super::*;

    #[test]
    fn a_retired_value_lives_as_long_as_a_burst_holds_it() {
        let watch = |n: u32| {
            let value = Arc::new(n);
            (Arc::downgrade(&value), value)
        };
        let alive = |weak: &Weak<u32>| weak.strong_count() > 0;
        let (first, value) = watch(1);
        let (mut publisher, mut readers) = publish(value, 2);
        let (mut a, mut b) = (readers.pop().unwrap(), readers.pop().unwrap());
        let mut a = a.online();
        let held = a.burst();
        let (second, value) = watch(2);
        publisher.publish(value);
        assert_eq!(publisher.reclaim(), 1);
        assert!(alive(&first) && **held == 1);
        assert_eq!(**b.online().burst(), 2, "another reader sees the new one at once");
        drop(held);
        assert_eq!(publisher.reclaim(), 0);
        assert!(!alive(&first) && alive(&second));
        assert_eq!(**a.burst(), 2);
    }

    #[test]
    fn a_reader_that_is_offline_holds_nobody_up() {
        let (mut publisher, mut readers) = publish(1, 1);
        publisher.publish(2);
        assert_eq!(publisher.reclaim(), 0);
        let mut online = readers[0].online();
        online.quiescent();
        publisher.publish(3);
        assert_eq!(publisher.reclaim(), 1, "online, and has not passed a quiescent point");
        assert_eq!(publisher.held(), 1);
        drop(online);
        assert_eq!(publisher.held(), 0, "though it is not freed yet");
        assert_eq!(publisher.reclaim(), 0);
    }

    #[test]
    fn a_mark_is_passed_when_every_reader_that_is_online_has_been_quiescent() {
        let (mut publisher, mut readers) = publish(1, 2);
        let mark = publisher.mark();
        assert!(publisher.has_passed(mark), "both are offline");
        let (first, second) = readers.split_at_mut(1);
        let (mut first, mut second) = (first[0].online(), second[0].online());
        let mark = publisher.mark();
        first.quiescent();
        assert!(!publisher.has_passed(mark));
        let held = second.burst();
        assert!(!publisher.has_passed(mark));
        drop(held);
        assert!(publisher.has_passed(mark));
        publisher.publish(2);
        assert_eq!(publisher.held(), 1, "marks and values count on one clock");
    }

    #[test]
    fn readers_never_see_a_freed_value_while_another_thread_publishes() {
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        let (mut publisher, readers) = publish(Box::new([0u64; 8]), 2);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for mut reader in readers {
                let done = &done;
                scope.spawn(move || {
                    let mut online = reader.online();
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) {
                        let burst = online.burst();
                        assert!(burst.iter().all(|word| *word == burst[0]), "a mixture");
                        assert!(burst[0] >= last, "an older one after a newer");
                        last = burst[0];
                    }
                });
            }
            for n in 1..=rounds {
                publisher.publish(Box::new([n; 8]));
                publisher.reclaim();
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(publisher.reclaim(), 0);
    }
}

/// Every interleaving, checked by loom: `RUSTFLAGS="--cfg loom" cargo test -p sekisho-dataplane --lib loom`.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    /// A number whose destruction is an access that loom watches.
    struct Number(loom::cell::UnsafeCell<u32>);

    // SAFETY: loom reports every access that is not ordered against the others; that is the point.
    unsafe impl Sync for Number {}

    /// A value whose end is a write to its number, as freeing it is to its memory.
    struct Watched(Arc<Number>);

    impl Drop for Watched {
        fn drop(&mut self) {
            // SAFETY: loom reports a race if a reader's access is not ordered before this one.
            self.0.0.with_mut(|number| unsafe { *number = 0 });
        }
    }

    fn watched(number: u32) -> Watched {
        Watched(Arc::new(Number(loom::cell::UnsafeCell::new(number))))
    }

    fn read(value: &Watched) -> u32 {
        // SAFETY: loom reports a race if the value's end is not ordered after this access.
        value.0.0.with(|number| unsafe { *number })
    }

    fn one_reader() -> (Publisher<Watched>, Reader<Watched>) {
        let (publisher, mut readers) = publish(watched(1), 1);
        (publisher, readers.pop().unwrap())
    }

    #[test]
    fn loom_a_value_is_freed_only_after_its_readers() {
        loom::model(|| {
            let (mut publisher, mut reader) = one_reader();
            let worker = loom::thread::spawn(move || {
                let mut online = reader.online();
                for _ in 0..2 {
                    assert!(matches!(read(&online.burst()), 1 | 2));
                }
            });
            publisher.publish(watched(2));
            publisher.reclaim();
            publisher.reclaim();
            worker.join().unwrap();
            assert_eq!(publisher.reclaim(), 0);
        });
    }

    #[test]
    fn loom_a_reader_that_sleeps_and_wakes_is_waited_for() {
        loom::model(|| {
            let (mut publisher, mut reader) = one_reader();
            let worker = loom::thread::spawn(move || {
                for _ in 0..2 {
                    assert!(matches!(read(&reader.online().burst()), 1 | 2));
                }
            });
            publisher.publish(watched(2));
            publisher.reclaim();
            worker.join().unwrap();
            assert_eq!(publisher.reclaim(), 0);
        });
    }
}
