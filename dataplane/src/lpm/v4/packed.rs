//! The compact table: a direct level of 2^18 chunks, each one block found by population counts.
//!
//! A lookup touches the chunk's reference (4 bytes of 1 MiB), the line of its block, and for the few /24s
//! that hold longer prefixes one line more. A full Internet table takes 3 to 4 MiB, so most of it stays in
//! the second-level cache and all of it in the third.
//!
//! [`Blocks`] is how readers see it, whether the table is built once or changed as they read: a reference is
//! loaded once per lookup and everything it leads to is immutable.
#![allow(unsafe_code)]

use std::hint;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::arena::Arena;
use super::super::cpu::{Level, prefetch};
use super::super::places::{LINE_WORDS, Places};
use super::super::prefix::Run;
use super::super::{BuildError, MAX_ID};
use super::chunk::{Assembler, CHUNK_SHIFT, CHUNKS, TAIL, TAIL_IDS};

/// Words of the direct level, at the start of the arena.
const ROOT_WORDS: usize = CHUNKS / 2;

/// How many lookups of a burst go through the levels together.
const LANES: usize = 64;

/// How many lanes look at their tails together.
const TAILS_AT_ONCE: usize = 4;

/// Where there is a tail that nobody needs, for lanes without one; a line, behind the direct level.
const NO_TAIL: usize = ROOT_WORDS;

/// Where blocks start.
pub(super) const FIRST_BLOCK: usize = NO_TAIL + LINE_WORDS;

/// The direct level and the blocks below it.
#[derive(Debug)]
pub(super) struct Blocks {
    arena: Arena,
    level: Level,
}

/// How many bits are set up to and at `position`, of which the last six bits count.
#[inline(always)]
fn through(bits: u64, position: u32) -> u32 {
    (bits << (!position % 64)).count_ones()
}

impl Blocks {
    /// An arena of `words`, for [`publish`](Self::publish) to fill; `None` if the system has not so much.
    ///
    /// # Safety
    ///
    /// Before the first lookup, every chunk must have been published.
    pub(super) unsafe fn reserve(words: usize, level: Level) -> Option<Blocks> {
        debug_assert!(words >= FIRST_BLOCK);
        let mut arena = Arena::zeroed(words * 8)?;
        arena.fill(NO_TAIL, &[1u64]);
        Some(Blocks { arena, level })
    }

    /// Copies a block to its place.
    ///
    /// # Safety
    ///
    /// `at..at + block.len()` is within the arena, behind the direct level, and no reader can reach it.
    pub(super) unsafe fn write(&self, at: u32, block: &[u64]) {
        debug_assert!(at as usize >= FIRST_BLOCK && at as usize + block.len() <= self.arena.len::<u64>());
        // SAFETY: inside the arena and unshared, says the caller.
        unsafe {
            self.arena.as_ptr::<u64>().add(at as usize).copy_from_nonoverlapping(block.as_ptr(), block.len())
        };
    }

    /// Makes `at` the block of `chunk`, and says which was before.
    ///
    /// # Safety
    ///
    /// `at` holds a block as [`Assembler`] makes them, which stays as it is until no reader can reach it.
    pub(super) unsafe fn publish(&self, chunk: usize, at: u32) -> u32 {
        // Release: a reader that sees the reference sees the block behind it.
        self.root(chunk).swap(at, Ordering::Release)
    }

    #[inline(always)]
    fn root(&self, chunk: usize) -> &AtomicU32 {
        debug_assert!(chunk < CHUNKS);
        // SAFETY: the direct level is at the start of the arena and is accessed as atomics only.
        unsafe { &*self.arena.as_ptr::<AtomicU32>().add(chunk) }
    }

    /// The block of the chunk that holds `address`, in words.
    #[inline(always)]
    fn block_at(&self, address: u32) -> u32 {
        self.root((address >> CHUNK_SHIFT) as usize).load(Ordering::Acquire)
    }

    #[inline(always)]
    fn block(&self, at: u32) -> *const u64 {
        self.arena.as_ptr::<u64>().wrapping_add(at as usize)
    }

    /// What a block answers: an id, or `TAIL` and an offset.
    ///
    /// # Safety
    ///
    /// `block` is a block.
    #[inline(always)]
    unsafe fn answer(block: *const u64, address: u32) -> u16 {
        // SAFETY: bit 0 of the first word is set, so the count is at least 1 and there is an answer for each
        // set bit, from the fourth u16 on.
        unsafe {
            let count = through(*block, address >> 8);
            *block.cast::<u16>().add(3 + count as usize)
        }
    }

    /// What a tail answers.
    ///
    /// # Safety
    ///
    /// `tail` is a tail.
    #[inline(always)]
    unsafe fn tail(tail: *const u64, address: u32) -> u16 {
        // SAFETY: a tail has four words, four counts, and an id for each set bit. Bit 0 of the first word is
        // set, so at least one bit is.
        unsafe {
            let word = (address % 256 / 64) as usize;
            let before = *tail.cast::<u8>().add(32 + word);
            let count = through(*tail.add(word), address);
            *tail.cast::<u16>().add(TAIL_IDS - 1 + before as usize + count as usize)
        }
    }

    /// The id of the longest prefix around `address`.
    #[inline]
    pub(super) fn lookup(&self, address: u32) -> u32 {
        #[cfg(target_arch = "x86_64")]
        if self.level.has_v3() {
            // SAFETY: the processor has these instructions.
            return unsafe { self.lookup_v3(address) };
        }
        self.descend(address)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn lookup_v3(&self, address: u32) -> u32 {
        self.descend(address)
    }

    #[inline(always)]
    fn descend(&self, address: u32) -> u32 {
        let block = self.block(self.block_at(address));
        // SAFETY: a reference leads to a block, and an answer marked so to one of its tails.
        let id = unsafe {
            let answer = Blocks::answer(block, address);
            if answer & TAIL == 0 {
                answer
            } else {
                Blocks::tail(block.add(usize::from(answer & !TAIL)), address)
            }
        };
        id.into()
    }

    /// [`lookup`](Self::lookup) for each address; the slices are of one length.
    pub(super) fn lookup_burst(&self, addresses: &[u32], ids: &mut [u32]) {
        #[cfg(target_arch = "x86_64")]
        if self.level.has_v3() {
            // SAFETY: the processor has these instructions.
            unsafe { self.burst_v3(addresses, ids) };
            return;
        }
        self.burst(addresses, ids);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn burst_v3(&self, addresses: &[u32], ids: &mut [u32]) {
        self.burst(addresses, ids);
    }

    #[inline(always)]
    fn burst(&self, addresses: &[u32], ids: &mut [u32]) {
        for (addresses, ids) in addresses.chunks(LANES).zip(ids.chunks_mut(LANES)) {
            match addresses.len() {
                // With the usual counts known, the loops have no exit to mispredict.
                64 => self.group(64, addresses, ids),
                32 => self.group(32, addresses, ids),
                lanes => self.group(lanes, addresses, ids),
            }
        }
    }

    /// All lanes level by level, so that their cache misses overlap; no branch depends on one lane. The lanes
    /// that need a tail are few: they are marked, and served last.
    #[inline(always)]
    fn group(&self, lanes: usize, addresses: &[u32], ids: &mut [u32]) {
        assert!(addresses.len() == lanes && ids.len() == lanes && lanes <= LANES);
        let (addresses, ids) = (addresses.as_ptr(), ids.as_mut_ptr());
        let mut blocks = [MaybeUninit::<u32>::uninit(); LANES];
        for (lane, block) in blocks.iter_mut().enumerate().take(lanes) {
            // SAFETY: `lane` is within the slices, here and below.
            let at = self.block_at(unsafe { *addresses.add(lane) });
            prefetch(self.block(at));
            block.write(at);
        }
        let mut tails = 0u64;
        for (lane, block) in blocks.iter().enumerate().take(lanes) {
            // SAFETY: the block of each lane was written above; a reference leads to a block.
            unsafe {
                let block = self.block(block.assume_init());
                let answer = Blocks::answer(block, *addresses.add(lane));
                *ids.add(lane) = answer.into();
                tails |= u64::from(answer >> 15) << lane;
            }
        }
        // A few at once, whether there are so many or not: how often this goes round is easier to predict so,
        // and a wrong guess shows only when all misses are through.
        while tails != 0 {
            for _ in 0..TAILS_AT_ONCE {
                let lane = hint::select_unpredictable(tails == 0, 0, tails.trailing_zeros() as usize % LANES);
                tails &= tails.wrapping_sub(1);
                // SAFETY: the answer of this lane came from this block, and lane 0 is always there.
                unsafe {
                    let block = self.block(blocks[lane].assume_init());
                    *ids.add(lane) = self.finish(block, *ids.add(lane) as u16, *addresses.add(lane)).into();
                }
            }
        }
    }

    /// The id that an answer leads to, without a branch.
    ///
    /// # Safety
    ///
    /// `answer` is one of `block`, or the id that one has led to.
    #[inline(always)]
    unsafe fn finish(&self, block: *const u64, answer: u16, address: u32) -> u16 {
        let marked = answer & TAIL != 0;
        let tail = block.wrapping_add(usize::from(answer & !TAIL));
        let tail = hint::select_unpredictable(marked, tail, self.block(NO_TAIL as u32));
        // SAFETY: either of them is a tail.
        hint::select_unpredictable(marked, unsafe { Blocks::tail(tail, address) }, answer)
    }
}

/// A compact table that never changes.
#[derive(Debug)]
pub(super) struct Packed {
    blocks: Blocks,
    words: usize,
}

impl Packed {
    /// Compiles the runs of a table, in linear time.
    pub(super) fn build(runs: &[Run<u32>], level: Level) -> Result<Packed, BuildError> {
        let mut places = Places::new(FIRST_BLOCK / LINE_WORDS, usize::MAX);
        let mut assembler = Assembler::default();
        let mut words = vec![0u64; FIRST_BLOCK];
        let mut roots = vec![0u32; CHUNKS];
        let mut uniform: Vec<Option<u32>> = vec![None; MAX_ID as usize + 1];
        for_each_block(runs, |chunks, runs| {
            let known = match runs {
                [run] => uniform[usize::from(run.id)],
                _ => None,
            };
            let at = match known {
                Some(at) => at,
                None => {
                    let block = assembler.block((chunks.start as u32) << CHUNK_SHIFT, runs);
                    let at = places.take(block.len()).ok_or(BuildError::OutOfSpace)?;
                    words.resize(places.end(), 0);
                    words[at as usize..][..block.len()].copy_from_slice(block);
                    if let [run] = runs {
                        uniform[usize::from(run.id)] = Some(at);
                    }
                    at
                }
            };
            roots[chunks].fill(at);
            Ok(())
        })?;
        // SAFETY: every chunk is filled in before anyone looks anything up.
        let blocks = unsafe { Blocks::reserve(words.len(), level) };
        let mut blocks = blocks.ok_or(BuildError::OutOfSpace)?;
        blocks.arena.fill(FIRST_BLOCK, &words[FIRST_BLOCK..]);
        blocks.arena.fill(0, &roots);
        Ok(Packed { blocks, words: words.len() })
    }

    pub(super) fn lookup(&self, address: u32) -> u32 {
        self.blocks.lookup(address)
    }

    pub(super) fn lookup_burst(&self, addresses: &[u32], ids: &mut [u32]) {
        self.blocks.lookup_burst(addresses, ids);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.words * 8
    }
}

/// Cuts the runs of a table at the chunks: `take` gets either one chunk and its runs, the first in force at
/// its start, or many chunks in a row and the one run that covers them.
fn for_each_block(
    runs: &[Run<u32>],
    mut take: impl FnMut(Range<usize>, &[Run<u32>]) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let chunk_of = |run: &Run<u32>| (run.start >> CHUNK_SHIFT) as usize;
    let mut chunk = 0;
    let mut now = 0;
    while chunk < CHUNKS {
        let next = runs.get(now + 1).map_or(CHUNKS, chunk_of);
        if next > chunk {
            take(chunk..next, &runs[now..=now])?;
            chunk = next;
            continue;
        }
        if runs[now + 1].start.trailing_zeros() >= CHUNK_SHIFT {
            now += 1;
            continue;
        }
        let inside = runs[now + 1..].iter().take_while(|run| chunk_of(run) == chunk).count();
        take(chunk..chunk + 1, &runs[now..=now + inside])?;
        now += inside;
        chunk += 1;
    }
    Ok(())
}
