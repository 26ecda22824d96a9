//! How the IPv6 table is read: one address at a time, or a burst level by level.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::BuildError;
use super::super::arena::Arena;
use super::super::cpu::{Level, prefetch};
use super::super::prefix::Run;
use super::node::{
    ANSWERS, BIAS, CHILDREN, DEEP, DEEP_LINKS, Entry, INNER, INNER_ROOT, LEAF, LEAF_ROOT, LINE_WORDS, Link, ORIGIN, SHIFT,
    Store, index, index_bits, key,
};

/// How many lookups of a burst go through the levels together.
const LANES: usize = 64;

/// The index and all below it.
#[derive(Debug)]
pub(super) struct Nodes {
    arena: Arena,
    index_bits: u32,
    level: Level,
}

/// How a node is searched, by what the processor can do.
trait Search {
    /// How many of the bounds of the node at `node`, which are those words that `bounds_at` names, `key` has reached.
    ///
    /// # Safety
    ///
    /// `node` is a node, a line, and the processor has what the implementation uses.
    unsafe fn reached(node: *const u32, bounds_at: u16, key: u32) -> usize;
}

/// On any machine.
struct OneByOne;

impl Search for OneByOne {
    #[inline(always)]
    unsafe fn reached(node: *const u32, bounds_at: u16, key: u32) -> usize {
        let mut count = 0;
        for word in 0..LINE_WORDS {
            // SAFETY: a node has that many words.
            let bound = unsafe { *node.add(word) } ^ BIAS;
            count += usize::from(bounds_at >> word & 1 != 0 && bound <= key);
        }
        count
    }
}

/// Two halves of a line.
#[cfg(target_arch = "x86_64")]
struct Avx2;

#[cfg(target_arch = "x86_64")]
impl Search for Avx2 {
    #[inline(always)]
    unsafe fn reached(node: *const u32, bounds_at: u16, key: u32) -> usize {
        use std::arch::x86_64::*;
        // SAFETY: the processor has AVX2, says the caller; a node is a line, so both halves are there and aligned.
        unsafe {
            let key = _mm256_set1_epi32((key ^ BIAS) as i32);
            let above = |half: *const u32| {
                let above = _mm256_cmpgt_epi32(_mm256_load_si256(half.cast()), key);
                _mm256_movemask_ps(_mm256_castsi256_ps(above)) as u32
            };
            let above = above(node) | above(node.add(LINE_WORDS / 2)) << 8;
            (!above & u32::from(bounds_at)).count_ones() as usize
        }
    }
}

/// A whole line.
#[cfg(target_arch = "x86_64")]
struct Avx512;

#[cfg(target_arch = "x86_64")]
impl Search for Avx512 {
    #[inline(always)]
    unsafe fn reached(node: *const u32, bounds_at: u16, key: u32) -> usize {
        use std::arch::x86_64::*;
        // SAFETY: the processor has AVX-512, says the caller; a node is a line, aligned.
        unsafe {
            let bounds = _mm512_load_si512(node.cast());
            let key = _mm512_set1_epi32((key ^ BIAS) as i32);
            (_mm512_cmple_epi32_mask(bounds, key) & bounds_at).count_ones() as usize
        }
    }
}

impl Nodes {
    #[inline(always)]
    fn words(&self) -> *const u32 {
        self.arena.as_ptr()
    }

    #[inline(always)]
    fn line(&self, line: u32) -> *const u32 {
        self.words().wrapping_add(line as usize * LINE_WORDS)
    }

    /// The word at `at`, which others may replace.
    ///
    /// # Safety
    ///
    /// `at` is where the index or a page or a leaf's list has an element.
    #[inline(always)]
    unsafe fn shared(&self, at: usize) -> u32 {
        // SAFETY: inside the arena, says the caller; such words are accessed as atomics once they are shared.
        // Acquire: who sees a reference sees what it refers to.
        unsafe { &*self.arena.as_ptr::<AtomicU32>().add(at) }.load(Ordering::Acquire)
    }

    #[inline(always)]
    fn entry(&self, upper: u64) -> Entry {
        // SAFETY: the index has an entry for the first bits of any address.
        Entry(unsafe { self.shared((upper >> (64 - self.index_bits)) as usize) })
    }

    /// The key of an address in the tree below `root`.
    ///
    /// # Safety
    ///
    /// `root` is the root of a tree.
    #[inline(always)]
    unsafe fn key(root: *const u32, half: u64) -> u32 {
        // SAFETY: a root has these words.
        unsafe {
            let origin = u64::from(*root.add(ORIGIN)) | u64::from(*root.add(ORIGIN + 1)) << 32;
            key(half, origin, *root.add(SHIFT))
        }
    }

    /// # Safety
    ///
    /// `node` is a leaf with so many answers.
    #[inline(always)]
    unsafe fn answer(leaf: *const u32, place: usize) -> u16 {
        // SAFETY: says the caller.
        unsafe { *leaf.cast::<u16>().add(ANSWERS + place) }
    }

    /// The id of the longest prefix around `address`.
    #[inline]
    pub(super) fn lookup(&self, address: u128) -> u32 {
        let upper = (address >> 64) as u64;
        let entry = self.entry(upper);
        if entry.is_value() {
            return entry.target();
        }
        // SAFETY: the page has a link for all values of the bits it takes; the search is portable.
        unsafe { self.descend::<OneByOne>(Link(self.shared(entry.link_at(upper << self.index_bits))), address) }
    }

    /// Follows a link to the end.
    ///
    /// # Safety
    ///
    /// The link is one of this table, on the way of this address, and the processor has what `S` uses.
    #[inline(always)]
    unsafe fn descend<S: Search>(&self, mut link: Link, address: u128) -> u32 {
        loop {
            if link.height() == 0 {
                return link.target();
            }
            let half = if link.is_lower() { address as u64 } else { (address >> 64) as u64 };
            let mut node = self.line(link.target());
            // SAFETY: a link that is no value leads to the root of a tree of its height; inner nodes have a child, and leaves
            // an answer, for each number of bounds reached; a deep answer is the number of a link of that leaf.
            unsafe {
                let key = Nodes::key(node, half);
                let mut bounds_at = if link.height() == 1 { LEAF_ROOT } else { INNER_ROOT };
                for above in (1..link.height()).rev() {
                    node = self.line(*node.add(CHILDREN) + S::reached(node, bounds_at, key) as u32);
                    bounds_at = if above == 1 { LEAF } else { INNER };
                }
                let answer = Nodes::answer(node, S::reached(node, bounds_at, key));
                if answer & DEEP == 0 {
                    return answer.into();
                }
                link = Link(self.shared(*node.add(DEEP_LINKS) as usize + usize::from(answer & !DEEP)));
            }
        }
    }

    /// [`lookup`](Self::lookup) for each address; the slices are of one length.
    pub(super) fn lookup_burst(&self, addresses: &[u128], ids: &mut [u32]) {
        #[cfg(target_arch = "x86_64")]
        if self.level.has_v4() {
            // SAFETY: the processor has these instructions.
            unsafe { self.burst_v4(addresses, ids) };
            return;
        } else if self.level.has_v3() {
            // SAFETY: the processor has these instructions.
            unsafe { self.burst_v3(addresses, ids) };
            return;
        }
        // SAFETY: portable.
        unsafe { self.burst::<OneByOne>(addresses, ids) };
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl")]
    fn burst_v4(&self, addresses: &[u128], ids: &mut [u32]) {
        // SAFETY: the processor has AVX-512, or this function could not be called.
        unsafe { self.burst::<Avx512>(addresses, ids) };
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    fn burst_v3(&self, addresses: &[u128], ids: &mut [u32]) {
        // SAFETY: the processor has AVX2, or this function could not be called.
        unsafe { self.burst::<Avx2>(addresses, ids) };
    }

    /// # Safety
    ///
    /// The processor has what `S` uses.
    #[inline(always)]
    unsafe fn burst<S: Search>(&self, addresses: &[u128], ids: &mut [u32]) {
        for (addresses, ids) in addresses.chunks(LANES).zip(ids.chunks_mut(LANES)) {
            // SAFETY: says the caller.
            unsafe { self.group::<S>(addresses, ids) };
        }
    }

    /// All lanes level by level, so that their cache misses overlap. No branch depends on one lane: each level writes down,
    /// in a row, the lanes that go on.
    ///
    /// # Safety
    ///
    /// The processor has what `S` uses; the slices are of one length, at most `LANES`.
    #[inline(always)]
    unsafe fn group<S: Search>(&self, addresses: &[u128], ids: &mut [u32]) {
        debug_assert!(addresses.len() == ids.len() && ids.len() <= LANES);
        let upper = |lane: usize| {
            // SAFETY: a lane is an index of the slices.
            (unsafe { *addresses.get_unchecked(lane) } >> 64) as u64
        };
        let ids = ids.as_mut_ptr();

        let mut paged = List::new();
        for lane in 0..addresses.len() {
            let upper = upper(lane);
            let entry = self.entry(upper);
            let link_at = entry.link_at(upper << self.index_bits);
            prefetch(self.words().wrapping_add(link_at));
            // SAFETY: a lane is an index of the slices; each list takes a lane at most once.
            unsafe {
                ids.add(lane).write(entry.target());
                paged.push_if(!entry.is_value(), Waiting::new(lane, 0, link_at as u32));
            }
        }

        let mut leaf_roots = List::new();
        let mut inner_roots = List::new();
        for place in 0..paged.count {
            // SAFETY: as above; the page has a link for all values of the bits it takes.
            unsafe {
                let waiting = paged.get(place);
                let link = Link(self.shared(waiting.at() as usize));
                prefetch(self.line(link.target()));
                ids.add(waiting.lane()).write(link.target());
                let waiting = Waiting::new(waiting.lane(), link.height(), link.target());
                leaf_roots.push_if(link.height() == 1, waiting);
                inner_roots.push_if(link.height() > 1, waiting);
            }
        }

        let mut keys = [MaybeUninit::<u32>::uninit(); LANES];
        let mut inner = List::new();
        let mut leaves = List::new();
        for place in 0..inner_roots.count {
            // SAFETY: as above; the link led to an inner root, which has a child for each number of bounds reached.
            unsafe {
                let waiting = inner_roots.get(place);
                let root = self.line(waiting.at());
                let key = Nodes::key(root, upper(waiting.lane()));
                keys.as_mut_ptr().add(waiting.lane()).write(MaybeUninit::new(key));
                let child = *root.add(CHILDREN) + S::reached(root, INNER_ROOT, key) as u32;
                prefetch(self.line(child));
                let next = waiting.below(child);
                inner.push_if(next.height() > 1, next);
                leaves.push_if(next.height() == 1, next);
            }
        }
        while inner.count > 0 {
            let count = std::mem::take(&mut inner.count);
            for place in 0..count {
                // SAFETY: as above; the lane has a key since its root, and has come to an inner node.
                unsafe {
                    let waiting = inner.get(place);
                    let node = self.line(waiting.at());
                    let key = keys.as_ptr().add(waiting.lane()).read().assume_init();
                    let child = *node.add(CHILDREN) + S::reached(node, INNER, key) as u32;
                    prefetch(self.line(child));
                    let next = waiting.below(child);
                    inner.push_if(next.height() > 1, next);
                    leaves.push_if(next.height() == 1, next);
                }
            }
        }

        let mut deep = List::new();
        for place in 0..leaf_roots.count {
            // SAFETY: as above; the link led to a leaf, which has an answer for each number of bounds reached.
            unsafe {
                let waiting = leaf_roots.get(place);
                let leaf = self.line(waiting.at());
                let reached = S::reached(leaf, LEAF_ROOT, Nodes::key(leaf, upper(waiting.lane())));
                let answer = Nodes::answer(leaf, reached);
                ids.add(waiting.lane()).write(answer.into());
                deep.push_if(answer & DEEP != 0, waiting);
            }
        }
        for place in 0..leaves.count {
            // SAFETY: as above; the lane has a key since its root.
            unsafe {
                let waiting = leaves.get(place);
                let leaf = self.line(waiting.at());
                let key = keys.as_ptr().add(waiting.lane()).read().assume_init();
                let answer = Nodes::answer(leaf, S::reached(leaf, LEAF, key));
                ids.add(waiting.lane()).write(answer.into());
                deep.push_if(answer & DEEP != 0, waiting);
            }
        }
        for place in 0..deep.count {
            // SAFETY: as above; a deep answer is the number of a link of that leaf.
            unsafe {
                let waiting = deep.get(place);
                let leaf = self.line(waiting.at());
                let number = ids.add(waiting.lane()).read() as u16 & !DEEP;
                let link = Link(self.shared(*leaf.add(DEEP_LINKS) as usize + usize::from(number)));
                let id = self.descend::<S>(link, *addresses.get_unchecked(waiting.lane()));
                ids.add(waiting.lane()).write(id);
            }
        }
    }
}

/// A lane that waits for its next step.
///
/// ```text
/// 63..40  lane
/// 39..32  height of the node it has come to
/// 31..0   the node's line, or the word of its link
/// ```
#[derive(Debug, Clone, Copy)]
struct Waiting(u64);

impl Waiting {
    #[inline(always)]
    fn new(lane: usize, height: u32, at: u32) -> Waiting {
        Waiting((lane as u64) << 40 | u64::from(height) << 32 | u64::from(at))
    }
    #[inline(always)]
    fn lane(self) -> usize {
        (self.0 >> 40) as usize
    }
    #[inline(always)]
    fn height(self) -> u32 {
        (self.0 >> 32) as u32 % 256
    }
    #[inline(always)]
    fn at(self) -> u32 {
        self.0 as u32
    }
    /// The same lane one node further down.
    #[inline(always)]
    fn below(self, child: u32) -> Waiting {
        Waiting((self.0 & !u64::from(u32::MAX)) - (1 << 32) | u64::from(child))
    }
}

/// Lanes that wait for the same kind of step.
struct List {
    lanes: [MaybeUninit<Waiting>; LANES + 1],
    count: usize,
}

impl List {
    #[inline(always)]
    fn new() -> List {
        List { lanes: [const { MaybeUninit::uninit() }; LANES + 1], count: 0 }
    }

    /// Adds a lane, without a branch.
    ///
    /// # Safety
    ///
    /// The list has at most `LANES` elements.
    #[inline(always)]
    unsafe fn push_if(&mut self, add: bool, waiting: Waiting) {
        // SAFETY: there is room for one more than `LANES`.
        unsafe { self.lanes.as_mut_ptr().add(self.count).write(MaybeUninit::new(waiting)) };
        self.count += usize::from(add);
    }

    /// # Safety
    ///
    /// There are more than `place` elements, or were before `count` was taken.
    #[inline(always)]
    unsafe fn get(&self, place: usize) -> Waiting {
        // SAFETY: says the caller.
        unsafe { self.lanes.as_ptr().add(place).read().assume_init() }
    }
}

/// A trie that never changes.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Nodes,
    words: usize,
}

/// Lines that grow as they are taken.
struct Lines(Vec<u32>);

impl Store for Lines {
    fn take(&mut self, lines: usize) -> Option<usize> {
        let line = self.0.len() / LINE_WORDS;
        self.0.resize(self.0.len() + lines * LINE_WORDS, 0);
        Some(line)
    }
    fn write(&mut self, line: usize, words: &[u32]) {
        self.0[line * LINE_WORDS..][..words.len()].copy_from_slice(words);
    }
}

impl Trie {
    /// Compiles the runs of a table, in linear time.
    pub(super) fn build(runs: &[Run<u128>], level: Level) -> Result<Trie, BuildError> {
        let index_bits = index_bits(runs.len());
        let mut lines = Lines(vec![0; 1 << index_bits]);
        let entries = index(runs, index_bits, &mut lines)?;
        lines.write(0, &entries);
        let mut arena = Arena::zeroed(lines.0.len() * 4).ok_or(BuildError::OutOfSpace)?;
        arena.fill(0, &lines.0);
        Ok(Trie { nodes: Nodes { arena, index_bits, level }, words: lines.0.len() })
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
