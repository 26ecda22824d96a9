//! The table for pools and sets: an index of pages with one entry for each /24.
//!
//! ```text
//! index   2^index_bits page numbers                          by the first bits of the address
//! pages   2^(24 - index_bits) answers each                   by the bits up to the 24th
//! tails   256 ids each, for /24s that hold longer prefixes   by the last 8 bits
//! ```
//!
//! Two loads that always happen and no bit counting: a lookup is a handful of instructions, and as long as
//! all of it lies in the second-level cache nothing is faster. Regions with one answer share a page, so a
//! small table is small; how many bits the index has is chosen so that the whole is smallest.
#![allow(unsafe_code)]

use std::hint;

use super::super::MAX_ID;
use super::super::arena::Arena;
use super::super::cpu::Level;
use super::super::prefix::Run;
use super::chunk::TAIL;

/// The widths an index may have.
const INDEX_BITS: std::ops::RangeInclusive<u32> = 8..=18;

/// Tables of more runs than this are not even measured.
const MAX_RUNS: usize = 1 << 17;

/// A paged table.
#[derive(Debug)]
pub(super) struct Paged {
    arena: Arena,
    /// Bits of an address below those that choose a page.
    shift: u32,
    /// Where the pages start, in entries.
    pages: usize,
    /// Where the tails start, in entries; `None` if there are none.
    tails: Option<usize>,
    entries: usize,
    level: Level,
}

/// How large a table would be.
#[derive(Debug, Clone, Copy)]
struct Plan {
    index_bits: u32,
    bytes: usize,
}

impl Plan {
    /// The index that makes the smallest table of `runs`.
    fn smallest(runs: &[Run<u32>]) -> Option<Plan> {
        let mut seen = vec![false; MAX_ID as usize + 1];
        let mut ids = 0usize;
        for run in runs {
            ids += usize::from(!std::mem::replace(&mut seen[usize::from(run.id)], true));
        }
        let tails = mixed_regions(runs, 24);
        INDEX_BITS
            .filter_map(|index_bits| {
                // Each id has at most one page to itself, each region that mixes ids has one.
                let pages = mixed_regions(runs, index_bits) + ids;
                let bytes = 2 * ((1usize << index_bits) + (pages << (24 - index_bits)) + (tails << 8));
                (pages <= usize::from(u16::MAX) && tails < usize::from(TAIL))
                    .then_some(Plan { index_bits, bytes })
            })
            .min_by_key(|plan| plan.bytes)
    }
}

/// How many of the regions that share their first `bits` bits have more than one answer.
fn mixed_regions(runs: &[Run<u32>], bits: u32) -> usize {
    let mut last = None;
    let mut count = 0;
    for run in &runs[1..] {
        let region = Some(run.start >> (32 - bits));
        if run.start.trailing_zeros() < 32 - bits && last != region {
            last = region;
            count += 1;
        }
    }
    count
}

impl Paged {
    /// Compiles the runs of a table; `None` if that takes more than `max_bytes`.
    pub(super) fn build(runs: &[Run<u32>], max_bytes: usize, level: Level) -> Option<Paged> {
        if runs.len() > MAX_RUNS {
            return None;
        }
        let plan = Plan::smallest(runs).filter(|plan| plan.bytes <= max_bytes)?;
        let shift = 32 - plan.index_bits;
        let mut index = vec![0u16; 1 << plan.index_bits];
        let mut pages: Vec<u16> = Vec::new();
        let mut tails: Vec<u16> = Vec::new();
        let mut uniform: Vec<Option<u16>> = vec![None; MAX_ID as usize + 1];
        let page_entries = 1usize << (shift - 8);

        let mut now = 0;
        let mut region = 0;
        while region < index.len() {
            let next = runs.get(now + 1).map_or(index.len(), |run| (run.start >> shift) as usize);
            if next > region {
                let id = runs[now].id;
                let page = *uniform[usize::from(id)].get_or_insert_with(|| {
                    pages.resize(pages.len() + page_entries, id);
                    (pages.len() / page_entries - 1) as u16
                });
                index[region..next].fill(page);
                region = next;
                continue;
            }
            if runs[now + 1].start.trailing_zeros() >= shift {
                now += 1;
                continue;
            }
            index[region] = (pages.len() / page_entries) as u16;
            for slot in region << (shift - 8)..(region + 1) << (shift - 8) {
                let here = |run: &Run<u32>| (run.start >> 8) as usize == slot;
                if runs.get(now + 1).is_some_and(|run| here(run) && run.start % 256 == 0) {
                    now += 1;
                }
                let inside = runs[now + 1..].iter().take_while(|run| here(run)).count();
                if inside == 0 {
                    pages.push(runs[now].id);
                    continue;
                }
                pages.push(TAIL | (tails.len() / 256) as u16);
                for next in 1..=inside {
                    let until = tails.len() / 256 * 256 + (runs[now + next].start % 256) as usize;
                    tails.resize(until, runs[now + next - 1].id);
                }
                now += inside;
                tails.resize(tails.len().next_multiple_of(256), runs[now].id);
            }
            region += 1;
        }

        let entries = index.len() + pages.len() + tails.len();
        let mut arena = Arena::zeroed(2 * entries)?;
        arena.fill(0, &index);
        arena.fill(index.len(), &pages);
        arena.fill(index.len() + pages.len(), &tails);
        Some(Paged {
            arena,
            shift,
            pages: index.len(),
            tails: (!tails.is_empty()).then_some(index.len() + pages.len()),
            entries,
            level,
        })
    }

    #[inline(always)]
    fn answer(&self, address: u32) -> u16 {
        let entries = self.arena.as_ptr::<u16>();
        // SAFETY: the index has an entry for the first bits of any address, each entry names a page, and a
        // page has an entry for all values of the next bits.
        unsafe {
            let page = usize::from(*entries.add((address >> self.shift) as usize));
            let slot = (address & ((1 << self.shift) - 1)) >> 8;
            *entries.add(self.pages + (page << (self.shift - 8)) + slot as usize)
        }
    }

    /// # Safety
    ///
    /// `answer` is what [`answer`](Self::answer) gave, and marked as a tail; `tails` is where they start.
    #[inline(always)]
    unsafe fn tail(&self, tails: usize, answer: u32, address: u32) -> u16 {
        let tail = (answer & !u32::from(TAIL)) << 8;
        // SAFETY: an answer so marked is the number of a tail, and a tail has 256 entries.
        unsafe { *self.arena.as_ptr::<u16>().add(tails + (tail | (address % 256)) as usize) }
    }

    /// The id of the longest prefix around `address`.
    #[inline]
    pub(super) fn lookup(&self, address: u32) -> u32 {
        let answer = self.answer(address);
        match self.tails {
            // SAFETY: the answer is marked as a tail.
            Some(tails) if answer & TAIL != 0 => unsafe { self.tail(tails, answer.into(), address) }.into(),
            _ => answer.into(),
        }
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
        let Some(tails) = self.tails else {
            for (id, &address) in ids.iter_mut().zip(addresses) {
                *id = self.answer(address).into();
            }
            return;
        };
        for (id, &address) in ids.iter_mut().zip(addresses) {
            let answer = self.answer(address);
            let marked = answer & TAIL != 0;
            let tail = hint::select_unpredictable(marked, answer, 0);
            // SAFETY: without the mark, the first tail is read in vain; there is one.
            let found = unsafe { self.tail(tails, tail.into(), address) };
            *id = hint::select_unpredictable(marked, found, answer).into();
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        2 * self.entries
    }
}
