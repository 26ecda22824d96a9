//! How the IPv6 table is read: one address at a time, or a burst level by level.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::arena::Arena;
use super::super::cpu::Level;
use super::super::prefix::Run;
use super::super::{BuildError, MAX_ID};
use super::node::{
    ANSWERS, BIAS, BOUNDS, BOUNDS_AT, Builder, DEEP, DEEP_LINKS, LINE_WORDS, Link, Store, index_bits,
};

/// How many lookups of a burst go through the levels together.
const LANES: usize = 64;

/// The index and all below it.
#[derive(Debug)]
pub(super) struct Nodes {
    arena: Arena,
    index_bits: u32,
    /// The tables a burst goes through without asking.
    usual_tables: usize,
    level: Level,
}

/// What a loop may use of the processor.
trait Machine {
    /// [`Link::place`]
    ///
    /// # Safety
    ///
    /// The processor has what the implementation uses.
    unsafe fn place(link: Link, half: u64) -> usize;

    /// How many of the bounds of a leaf are above `key`.
    ///
    /// # Safety
    ///
    /// `leaf` is a leaf, and the processor has what the implementation uses.
    unsafe fn above(leaf: *const u32, key: u32) -> usize;
}

/// Any machine.
struct Portable;

impl Machine for Portable {
    #[inline(always)]
    unsafe fn place(link: Link, half: u64) -> usize {
        link.place(half)
    }

    #[inline(always)]
    unsafe fn above(leaf: *const u32, key: u32) -> usize {
        let mut count = 0;
        for word in 0..BOUNDS {
            // SAFETY: a leaf has that many bounds.
            count += usize::from(unsafe { *leaf.add(BOUNDS_AT + word) } ^ BIAS > key);
        }
        count
    }
}

/// AVX2, BMI1 and POPCNT: all bounds at once.
#[cfg(target_arch = "x86_64")]
struct V3;

#[cfg(target_arch = "x86_64")]
impl Machine for V3 {
    #[inline(always)]
    unsafe fn place(link: Link, half: u64) -> usize {
        // SAFETY: the processor has BMI1, says the caller.
        (unsafe { std::arch::x86_64::_bextr2_u64(half, (link.0 % (1 << 12)).into()) }) as usize
    }

    #[inline(always)]
    unsafe fn above(leaf: *const u32, key: u32) -> usize {
        use std::arch::x86_64::*;
        // SAFETY: the processor has AVX2, says the caller; a leaf has eight bounds.
        unsafe {
            let key = _mm256_set1_epi32((key ^ BIAS) as i32);
            let above = _mm256_cmpgt_epi32(_mm256_loadu_si256(leaf.add(BOUNDS_AT).cast()), key);
            _mm256_movemask_ps(_mm256_castsi256_ps(above)).count_ones() as usize
        }
    }
}

impl Nodes {
    /// An arena of `words`, of which the first are the index.
    ///
    /// # Safety
    ///
    /// Before the first lookup, the index must have been written.
    pub(super) unsafe fn reserve(words: usize, index_bits: u32, level: Level) -> Option<Nodes> {
        debug_assert!(words >= 1 << index_bits);
        Some(Nodes { arena: Arena::zeroed(words * 4)?, index_bits, usual_tables: 0, level })
    }

    /// Says how many tables there are on the way of almost all addresses.
    pub(super) fn expect(&mut self, usual_tables: usize) {
        self.usual_tables = usual_tables;
    }

    /// Writes words that are not in use.
    ///
    /// # Safety
    ///
    /// They are within the arena, and no reader can reach them.
    pub(super) unsafe fn write(&self, at: usize, words: &[u32]) {
        debug_assert!(at + words.len() <= self.arena.len::<u32>());
        // SAFETY: inside the arena and unshared, says the caller.
        unsafe { self.arena.as_ptr::<u32>().add(at).copy_from_nonoverlapping(words.as_ptr(), words.len()) };
    }

    /// Replaces the link at a word, and says which was before.
    ///
    /// # Safety
    ///
    /// The word is a link of the index or of a table, and what the new one leads to stays until no reader can
    /// reach it.
    pub(super) unsafe fn replace(&self, at: usize, link: Link) -> Link {
        debug_assert!(at < self.arena.len::<u32>());
        // SAFETY: inside the arena; links are accessed as atomics once they are shared.
        // Release: a reader that sees the link sees the node behind it.
        Link(unsafe { &*self.arena.as_ptr::<AtomicU32>().add(at) }.swap(link.0, Ordering::Release))
    }

    /// The link at a word, which the caller knows to be one.
    pub(super) fn peek(&self, at: usize) -> Link {
        assert!(at < self.arena.len::<u32>());
        // SAFETY: inside the arena.
        unsafe { self.link(at) }
    }

    /// What a leaf holds besides bounds: its answers, and the word where its deep links are.
    pub(super) fn answers(&self, leaf: Link) -> ([u16; BOUNDS + 1], usize) {
        assert!(!leaf.is_table() && leaf.start() + LINE_WORDS <= self.arena.len::<u32>());
        // SAFETY: inside the arena; a leaf has so many answers, and does not change while there is a link to
        // it.
        unsafe {
            let line = self.word(leaf.start());
            (
                line.cast::<u16>().add(ANSWERS).cast::<[u16; BOUNDS + 1]>().read(),
                *line.add(DEEP_LINKS) as usize,
            )
        }
    }

    #[inline(always)]
    fn word(&self, at: usize) -> *const u32 {
        self.arena.as_ptr::<u32>().wrapping_add(at)
    }

    /// The link at word `at`.
    ///
    /// # Safety
    ///
    /// `at` is within the arena; if it is not where a link is, the result is not followed.
    #[inline(always)]
    unsafe fn link(&self, at: usize) -> Link {
        // SAFETY: inside the arena, says the caller; links are accessed as atomics once they are shared.
        // Acquire: who sees a link sees the node behind it.
        Link(unsafe { &*self.word(at).cast::<AtomicU32>() }.load(Ordering::Acquire))
    }

    #[inline(always)]
    fn first(&self, upper: u64) -> Link {
        // SAFETY: the index has a link for the first bits of any address.
        unsafe { self.link((upper >> (64 - self.index_bits)) as usize) }
    }

    /// # Safety
    ///
    /// `leaf` is a leaf, and the processor has what `M` uses.
    #[inline(always)]
    unsafe fn answer<M: Machine>(leaf: *const u32, key: u32) -> u16 {
        // SAFETY: a leaf has an answer for each number of bounds.
        unsafe { *leaf.cast::<u16>().add(ANSWERS + M::above(leaf, key)) }
    }

    /// The id of the longest prefix around `address`.
    #[inline]
    pub(super) fn lookup(&self, address: u128) -> u32 {
        #[cfg(target_arch = "x86_64")]
        if self.level.has_v3() {
            // SAFETY: the processor has these instructions.
            return unsafe { self.lookup_v3(address) };
        }
        // SAFETY: the link is of this table and on the way of this address; the machine is any.
        unsafe { self.descend::<Portable>(self.first((address >> 64) as u64), false, address) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn lookup_v3(&self, address: u128) -> u32 {
        // SAFETY: as above, and the processor has AVX2, or this function could not be called.
        unsafe { self.descend::<V3>(self.first((address >> 64) as u64), false, address) }
    }

    /// Follows a link to the end.
    ///
    /// # Safety
    ///
    /// The link is one of this table, on the way of this address, and the processor has what `M` uses.
    #[inline(always)]
    unsafe fn descend<M: Machine>(&self, mut link: Link, mut lower: bool, address: u128) -> u32 {
        loop {
            lower |= link.is_lower();
            let half = if lower { address as u64 } else { (address >> 64) as u64 };
            link.0 &= !Link::LOWER;
            // SAFETY: a table has a link for all values of the bits it takes; a deep answer is the number of
            // a link of its leaf.
            unsafe {
                if link.is_table() {
                    link = self.link(link.start() + M::place(link, half));
                    continue;
                }
                let leaf = self.word(link.start());
                let answer = Nodes::answer::<M>(leaf, link.key(half));
                if answer & DEEP == 0 {
                    return answer.into();
                }
                link = self.link(*leaf.add(DEEP_LINKS) as usize + usize::from(answer & !DEEP));
            }
        }
    }

    /// [`lookup`](Self::lookup) for each address; the slices are of one length.
    pub(super) fn lookup_burst(&self, addresses: &[u128], ids: &mut [u32]) {
        #[cfg(target_arch = "x86_64")]
        if self.level.has_v3() {
            // SAFETY: the processor has these instructions.
            unsafe { self.burst_v3(addresses, ids) };
            return;
        }
        // SAFETY: portable.
        unsafe { self.burst::<Portable>(addresses, ids) };
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn burst_v3(&self, addresses: &[u128], ids: &mut [u32]) {
        // SAFETY: the processor has AVX2, or this function could not be called.
        unsafe { self.burst::<V3>(addresses, ids) };
    }

    /// # Safety
    ///
    /// The processor has what `M` uses.
    #[inline(always)]
    unsafe fn burst<M: Machine>(&self, addresses: &[u128], ids: &mut [u32]) {
        for (addresses, ids) in addresses.chunks(LANES).zip(ids.chunks_mut(LANES)) {
            // SAFETY: says the caller.
            unsafe {
                match addresses.len() {
                    // With the usual counts known, the loops have no exit to mispredict.
                    64 => self.group::<M>(64, addresses, ids),
                    32 => self.group::<M>(32, addresses, ids),
                    lanes => self.group::<M>(lanes, addresses, ids),
                }
            }
        }
    }

    /// All lanes level by level, so that their cache misses overlap; no branch depends on one lane. A lane
    /// that is at its leaf already waits there. Those that are not after the usual number of tables, and
    /// those whose answer is deep, are few: they are marked, and served one by one.
    ///
    /// # Safety
    ///
    /// The processor has what `M` uses.
    #[inline(always)]
    unsafe fn group<M: Machine>(&self, lanes: usize, addresses: &[u128], ids: &mut [u32]) {
        assert!(addresses.len() == lanes && ids.len() == lanes && lanes <= LANES);
        let upper = |lane: usize| {
            // SAFETY: `lane` is within the slices, here and below.
            (unsafe { *addresses.get_unchecked(lane) } >> 64) as u64
        };
        let mut links = [MaybeUninit::<Link>::uninit(); LANES];
        let mut any = 0;
        for (lane, slot) in links.iter_mut().enumerate().take(lanes) {
            let link = self.first(upper(lane));
            slot.write(link);
            any |= link.0;
        }
        if any & Link::TABLE != 0 {
            for _ in 0..self.usual_tables {
                for (lane, slot) in links.iter_mut().enumerate().take(lanes) {
                    // SAFETY: the link was written above. A table has a link for all values of its bits; a
                    // leaf starts with the link to itself.
                    unsafe {
                        let link = slot.assume_init();
                        slot.write(self.link(link.start() + M::place(link, upper(lane))));
                    }
                }
            }
            let mut late = 0u64;
            for (lane, slot) in links.iter().enumerate().take(lanes) {
                // SAFETY: as above.
                late |= u64::from(unsafe { slot.assume_init() }.is_table()) << lane;
            }
            while late != 0 {
                let lane = late.trailing_zeros() as usize % LANES;
                late &= late - 1;
                // SAFETY: as above.
                unsafe {
                    let mut link = links[lane].assume_init();
                    while link.is_table() {
                        link = self.link(link.start() + M::place(link, upper(lane)));
                    }
                    links[lane].write(link);
                }
            }
        }
        let mut deep = 0u64;
        for (lane, slot) in links.iter().enumerate().take(lanes) {
            // SAFETY: all links are to leaves now.
            unsafe {
                let link = slot.assume_init();
                let answer = Nodes::answer::<M>(self.word(link.start()), link.key(upper(lane)));
                *ids.get_unchecked_mut(lane) = answer.into();
                deep |= u64::from(answer >> 15) << lane;
            }
        }
        while deep != 0 {
            let lane = deep.trailing_zeros() as usize;
            deep &= deep - 1;
            // SAFETY: a deep answer is the number of a link of its leaf.
            unsafe {
                let leaf = self.word(links[lane % LANES].assume_init().start());
                let number = *ids.get_unchecked(lane) as u16 & !DEEP;
                let link = self.link(*leaf.add(DEEP_LINKS) as usize + usize::from(number));
                *ids.get_unchecked_mut(lane) = self.descend::<M>(link, false, *addresses.get_unchecked(lane));
            }
        }
    }
}

/// A trie that never changes.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Nodes,
    words: usize,
}

/// Lines that grow as they are taken.
struct Lines {
    words: Vec<u32>,
    uniform: Vec<Option<usize>>,
}

impl Store for Lines {
    fn take(&mut self, lines: usize) -> Option<usize> {
        let line = self.words.len() / LINE_WORDS;
        self.words.resize(self.words.len() + lines * LINE_WORDS, 0);
        Some(line)
    }
    fn write(&mut self, line: usize, words: &[u32]) {
        self.words[line * LINE_WORDS..][..words.len()].copy_from_slice(words);
    }
    fn uniform(&mut self, id: u16) -> &mut Option<usize> {
        &mut self.uniform[usize::from(id)]
    }
}

impl Trie {
    /// Compiles the runs of a table, in linear time.
    pub(super) fn build(runs: &[Run<u128>], level: Level) -> Result<Trie, BuildError> {
        Trie::with_index(runs, index_bits(runs.len()), level)
    }

    pub(super) fn with_index(runs: &[Run<u128>], index_bits: u32, level: Level) -> Result<Trie, BuildError> {
        let mut lines = Lines { words: vec![0; 1 << index_bits], uniform: vec![None; MAX_ID as usize + 1] };
        let mut builder = Builder::new(&mut lines);
        let links = builder.links(runs, 0, index_bits)?;
        let usual_tables = builder.depths.usual();
        lines.write(0, &links);
        // SAFETY: the index, and all else, is written right below.
        let nodes = unsafe { Nodes::reserve(lines.words.len(), index_bits, level) };
        let mut nodes = nodes.ok_or(BuildError::OutOfSpace)?;
        // SAFETY: the arena is as large as what is written, and new.
        unsafe { nodes.write(0, &lines.words) };
        nodes.expect(usual_tables);
        Ok(Trie { nodes, words: lines.words.len() })
    }

    pub(super) fn lookup(&self, address: u128) -> u32 {
        self.nodes.lookup(address)
    }

    pub(super) fn lookup_burst(&self, addresses: &[u128], ids: &mut [u32]) {
        self.nodes.lookup_burst(addresses, ids);
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.words * 4
    }
}
