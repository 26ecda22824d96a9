//! The parts of the IPv6 table, and how runs of addresses are made into them.
//!
//! ```text
//! index  2^index_bits entries         by the first bits: an id, or a page
//! page   2^bits links                 by the bits behind: an id, or a tree
//! tree   nodes of one cache line      by comparison: every step finds the place of a 32-bit key among up to 15 bounds
//! ```
//!
//! A tree holds the runs of one small region of the address space. It is a B-tree packed full: its root knows where its
//! keys start and how many bits of the address they leave out, so 32 bits suffice even where the prefixes below are long,
//! and a comparison of one line with all its bounds at once replaces a binary search. Where prefixes lie closer together than
//! a key can tell, the run is *deep*: it leads to a tree of its own, perhaps on the lower half of the address.
//!
//! Words of a node (u32):
//!
//! ```text
//!             0..7     7        8        9..13     13       14       15
//! inner       bounds   bound    bound    bounds    bound    bound    line of the first child; children lie in a row
//! inner root  bounds   origin   origin   bounds    shift    bound    line of the first child
//! leaf        bounds   bound    bound    10 answers, u16 ..14        where its deep links are
//! leaf root   bounds   origin   origin   8 answers shift    deep links
//! ```

use super::super::BuildError;
use super::super::prefix::Run;

/// Words (u32) of a cache line; nodes are whole lines.
pub(super) const LINE_WORDS: usize = 16;
/// Where a root has its origin, in words: 64 bits, the first half-word first.
pub(super) const ORIGIN: usize = 7;
/// Where a root has its shift, in words.
pub(super) const SHIFT: usize = 13;
/// Where an inner node has the line of its first child, in words.
pub(super) const CHILDREN: usize = 15;
/// Where a leaf has the place of its deep links, in words.
pub(super) const DEEP_LINKS: usize = 14;
/// Where a leaf has its answers, in units of u16.
pub(super) const ANSWERS: usize = 18;
/// Marks an answer that is the number of a deep link of the leaf.
pub(super) const DEEP: u16 = 0x8000;
/// Added to bounds and keys, so that a signed comparison orders them.
pub(super) const BIAS: u32 = 0x8000_0000;
/// The largest key; places without a bound have one above it.
pub(super) const MAX_KEY: u32 = u32::MAX - 1;

/// Which words of each kind of node are bounds.
pub(super) const INNER: u16 = 0x7fff;
pub(super) const INNER_ROOT: u16 = 0b0101_1110_0111_1111;
pub(super) const LEAF: u16 = 0x01ff;
pub(super) const LEAF_ROOT: u16 = 0x007f;

/// The widths an index may have.
const INDEX_BITS: std::ops::RangeInclusive<u32> = 6..=16;
/// The most bits a page may take.
const MAX_PAGE_BITS: u32 = 12;

/// An entry of the index.
///
/// ```text
/// 31..5  id | first line of the page
/// 4..0   0  | 1 + bits the page takes
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(pub(super) u32);

impl Entry {
    fn value(id: u16) -> Entry {
        Entry(u32::from(id) << 5)
    }
    fn page(line: usize, bits: u32) -> Option<Entry> {
        (line < 1 << 27).then_some(Entry((line as u32) << 5 | (bits + 1)))
    }
    #[inline(always)]
    pub(super) fn is_value(self) -> bool {
        self.0 % 32 == 0
    }
    /// The id of a value; the first line of a page.
    #[inline(always)]
    pub(super) fn target(self) -> u32 {
        self.0 >> 5
    }
    /// Where a page is indexed by `rest`, the bits behind those of the index: the word of the link.
    #[inline(always)]
    pub(super) fn link_at(self, rest: u64) -> usize {
        // The page takes 0 to 12 bits, so the shift is 64 to 52 in all.
        (self.target() as usize * LINE_WORDS) + (rest >> 1 >> (64 - self.0 % 32)) as usize
    }
}

/// An element of a page, or a deep link.
///
/// ```text
/// 31..4  id | line of the tree's root
/// 3      0  | the tree is on the lower half of the address
/// 2..0   0  | height of the tree: the number of nodes from root to leaf
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link(pub(super) u32);

impl Link {
    const LOWER: u32 = 1 << 3;

    fn value(id: u16) -> Link {
        Link(u32::from(id) << 4)
    }
    fn tree(line: usize, height: u32, half: Half) -> Option<Link> {
        let lower = if half == Half::Lower { Link::LOWER } else { 0 };
        (line < 1 << 28 && height < 8).then_some(Link((line as u32) << 4 | lower | height))
    }
    /// 0 for a value.
    #[inline(always)]
    pub(super) fn height(self) -> u32 {
        self.0 % 8
    }
    #[inline(always)]
    pub(super) fn is_lower(self) -> bool {
        self.0 & Link::LOWER != 0
    }
    /// The id of a value; the line of a tree's root.
    #[inline(always)]
    pub(super) fn target(self) -> u32 {
        self.0 >> 4
    }
}

/// Which 64 bits of an address a tree looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Upper,
    Lower,
}

impl Half {
    fn of(self, address: u128) -> u64 {
        match self {
            Half::Upper => (address >> 64) as u64,
            Half::Lower => address as u64,
        }
    }
}

/// The key of an address in a tree: which part of it comes behind `origin`, without the last `shift` bits.
#[inline(always)]
pub(super) fn key(half: u64, origin: u64, shift: u32) -> u32 {
    (half.saturating_sub(origin) >> (shift % 64)).min(MAX_KEY.into()) as u32
}

/// Where the parts are put.
pub(super) trait Store {
    /// A place of so many lines in a row, named by the first; its words are zero, or will all be written.
    fn take(&mut self, lines: usize) -> Option<usize>;
    /// Writes words from the start of a line on.
    fn write(&mut self, line: usize, words: &[u32]);
}

/// The width of the index for a table of so many runs.
pub(super) fn index_bits(runs: usize) -> u32 {
    (runs.ilog2() + 3).clamp(*INDEX_BITS.start(), *INDEX_BITS.end())
}

/// Calls `each` for every range of the `2^bits` parts behind the first `depth` bits of an address: many parts in a row and the
/// one run that covers them, or one part and its runs, the first of them in force at its start.
fn for_each_part(
    runs: &[Run<u128>],
    depth: u32,
    bits: u32,
    mut each: impl FnMut(std::ops::Range<usize>, &[Run<u128>]) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let count = 1usize << bits;
    let part = |run: &Run<u128>| if bits == 0 { 0 } else { ((run.start << depth) >> (128 - bits)) as usize };
    let starts_part = |run: &Run<u128>| run.start << (depth + bits) == 0;
    let mut now = 0;
    let mut at = 0;
    while at < count {
        let next = runs.get(now + 1).map_or(count, part);
        if next > at {
            each(at..next, &runs[now..=now])?;
            at = next;
            continue;
        }
        if starts_part(&runs[now + 1]) {
            now += 1;
            continue;
        }
        let inside = runs[now + 1..].iter().take_while(|run| part(run) == at).count();
        each(at..at + 1, &runs[now..=now + inside])?;
        now += inside;
        at += 1;
    }
    Ok(())
}

/// Builds the index and all below it.
pub(super) fn index(runs: &[Run<u128>], index_bits: u32, store: &mut impl Store) -> Result<Vec<u32>, BuildError> {
    let mut entries = vec![0; 1 << index_bits];
    for_each_part(runs, 0, index_bits, |parts, runs| {
        let entry = match runs {
            [run] => Entry::value(run.id),
            _ => page(runs, index_bits, store)?,
        };
        entries[parts].fill(entry.0);
        Ok(())
    })?;
    Ok(entries)
}

/// The page of a region that shares its first `depth` bits.
fn page(runs: &[Run<u128>], depth: u32, store: &mut impl Store) -> Result<Entry, BuildError> {
    // A few runs for each link, unless they are so unevenly spread that most links would be idle.
    let mut bits = runs.len().ilog2().saturating_sub(2).min(MAX_PAGE_BITS);
    loop {
        let mut busy = 0usize;
        for_each_part(runs, depth, bits, |parts, _| {
            busy += usize::from(parts.len() == 1);
            Ok(())
        })?;
        if busy >= (1 << bits) / 8 {
            break;
        }
        bits -= 1;
    }
    let mut links = vec![0; 1 << bits];
    for_each_part(runs, depth, bits, |parts, runs| {
        links[parts].fill(tree(runs, Half::Upper, store)?.0);
        Ok(())
    })?;
    let line = store.take(links.len().div_ceil(LINE_WORDS)).ok_or(BuildError::OutOfSpace)?;
    store.write(line, &links);
    Entry::page(line, bits).ok_or(BuildError::OutOfSpace)
}

/// A run of keys with one answer, or one key that is a region of its own.
#[derive(Debug, Clone, Copy)]
struct Segment<'r> {
    start: u32,
    holds: Holds<'r>,
}

#[derive(Debug, Clone, Copy)]
enum Holds<'r> {
    Same(u16),
    Deeper(&'r [Run<u128>]),
}

/// The tree of a region: the first of the runs is in force at its start, the others start inside, and of the two halves
/// they differ in `half` (as well).
pub(super) fn tree(runs: &[Run<u128>], half: Half, store: &mut impl Store) -> Result<Link, BuildError> {
    let [first, inside @ ..] = runs else { return Ok(Link::value(0)) };
    let (Some(low), Some(high)) = (inside.first(), inside.last()) else { return Ok(Link::value(first.id)) };
    let (low, high) = (half.of(low.start), half.of(high.start));
    // Keys for all bounds, one for what comes before and one for what comes behind.
    let width = u64::BITS - (high - low).leading_zeros();
    let mut shift = width.saturating_sub(u32::BITS);
    if (high >> shift) - (low >> shift) > u64::from(MAX_KEY) - 4 {
        shift += 1;
    }
    let origin = (low >> shift).saturating_sub(1) << shift;
    let segments = segments(runs, half, origin, shift);

    let leaf_count = segments.len().div_ceil(LEAF.count_ones() as usize + 1);
    let mut deep = Vec::new();
    for segment in &segments {
        if let Holds::Deeper(runs) = segment.holds {
            let half = if shift == 0 { Half::Lower } else { half };
            deep.push(tree(runs, half, store)?.0);
        }
    }

    // The widths of the levels above the leaves, lowest first; the last is the root.
    let mut levels = Vec::new();
    if segments.len() > LEAF_ROOT.count_ones() as usize + 1 {
        levels.push(leaf_count);
        while levels[levels.len() - 1] > INNER_ROOT.count_ones() as usize + 1 {
            levels.push(levels[levels.len() - 1].div_ceil(INNER.count_ones() as usize + 1));
        }
    }
    let height = levels.len() as u32 + 1;
    let nodes = 1 + levels.iter().sum::<usize>();
    let line = store.take(nodes + deep.len().div_ceil(LINE_WORDS)).ok_or(BuildError::OutOfSpace)?;
    let mut words = vec![0u32; (nodes + deep.len().div_ceil(LINE_WORDS)) * LINE_WORDS];
    words[nodes * LINE_WORDS..][..deep.len()].copy_from_slice(&deep);
    let deep_links = (line + nodes) * LINE_WORDS;

    // From the leaves up. `starts` are the lowest keys of the nodes of the level below.
    let mut starts: Vec<u32> = Vec::new();
    let mut level_line = nodes;
    let mut writer = Writer { words: &mut words, origin, shift };
    if levels.is_empty() {
        writer.leaf(0, LEAF_ROOT, &segments, deep_links);
    } else {
        let per_leaf = LEAF.count_ones() as usize + 1;
        level_line -= leaf_count;
        let mut before = 0;
        for (number, segments) in segments.chunks(per_leaf).enumerate() {
            starts.push(segments[0].start);
            before += writer.leaf(level_line + number, LEAF, segments, deep_links + before);
        }
        for &width in &levels[1..] {
            let below = level_line;
            level_line -= width;
            let mut above = Vec::with_capacity(width);
            for (number, starts) in starts.chunks(INNER.count_ones() as usize + 1).enumerate() {
                above.push(starts[0]);
                let children = line + below + number * (INNER.count_ones() as usize + 1);
                writer.inner(level_line + number, INNER, starts, children);
            }
            starts = above;
        }
        writer.inner(0, INNER_ROOT, &starts, line + level_line);
    }
    store.write(line, &words);
    Link::tree(line, height, half).ok_or(BuildError::OutOfSpace)
}

fn segments<'r>(runs: &'r [Run<u128>], half: Half, origin: u64, shift: u32) -> Vec<Segment<'r>> {
    let below = shift + if half == Half::Upper { 64 } else { 0 };
    let key = |run: &Run<u128>| key(half.of(run.start), origin, shift);
    let aligned = |run: &Run<u128>| run.start.trailing_zeros() >= below;
    let mut segments = Vec::with_capacity(runs.len() + 1);
    segments.push(Segment { start: 0, holds: Holds::Same(runs[0].id) });
    let mut next = 1;
    while next < runs.len() {
        let start = key(&runs[next]);
        let inside = runs[next..].iter().take_while(|run| key(run) == start).count();
        let starts_here = aligned(&runs[next]);
        if start == 0 {
            segments.pop();
        }
        if starts_here && inside == 1 {
            segments.push(Segment { start, holds: Holds::Same(runs[next].id) });
            next += 1;
            continue;
        }
        let from = if starts_here { next } else { next - 1 };
        next += inside;
        segments.push(Segment { start, holds: Holds::Deeper(&runs[from..next]) });
        // The last run inside is in force behind the key as well, unless another starts right there.
        if runs.get(next).is_none_or(|run| key(run) != start + 1) {
            segments.push(Segment { start: start + 1, holds: Holds::Same(runs[next - 1].id) });
        }
    }
    segments
}

/// Writes the nodes of one tree.
struct Writer<'w> {
    words: &'w mut [u32],
    origin: u64,
    shift: u32,
}

impl Writer<'_> {
    fn node(&mut self, line: usize, bounds_at: u16, starts: impl Iterator<Item = u32>) -> &mut [u32] {
        let node = &mut self.words[line * LINE_WORDS..][..LINE_WORDS];
        if bounds_at == INNER_ROOT || bounds_at == LEAF_ROOT {
            node[ORIGIN] = self.origin as u32;
            node[ORIGIN + 1] = (self.origin >> 32) as u32;
            node[SHIFT] = self.shift;
        }
        let mut bounds = starts.skip(1);
        for word in (0..LINE_WORDS).filter(|word| bounds_at >> word & 1 != 0) {
            node[word] = bounds.next().unwrap_or(u32::MAX) ^ BIAS;
        }
        debug_assert!(bounds.next().is_none());
        node
    }

    fn inner(&mut self, line: usize, bounds_at: u16, starts: &[u32], children: usize) {
        self.node(line, bounds_at, starts.iter().copied())[CHILDREN] = children as u32;
    }

    /// Says how many deep links the leaf has.
    fn leaf(&mut self, line: usize, bounds_at: u16, segments: &[Segment<'_>], deep_links: usize) -> usize {
        let node = self.node(line, bounds_at, segments.iter().map(|segment| segment.start));
        node[DEEP_LINKS] = deep_links as u32;
        let mut deep = 0;
        for (place, segment) in segments.iter().enumerate() {
            let answer = match segment.holds {
                Holds::Same(id) => id,
                Holds::Deeper(_) => {
                    deep += 1;
                    DEEP | (deep - 1)
                }
            };
            let half_word = ANSWERS + place;
            let second = (half_word % 2 == 1) != cfg!(target_endian = "big");
            node[half_word / 2] |= u32::from(answer) << if second { 16 } else { 0 };
        }
        deep.into()
    }
}
