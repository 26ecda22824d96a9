//! The parts of the IPv6 table, and how runs of addresses are made into them.
//!
//! ```text
//! index   2^index_bits links         by the first bits of the address
//! table   2^bits links               by the bits behind: where prefixes crowd, another table; else
//! leaf    8 bounds, 9 answers        one cache line, all bounds compared at once with 32 bits of the address
//! ```
//!
//! Tables are as wide as their runs are many, so most addresses are through after one or two; then the few
//! runs that are left fit into a leaf, wherever in the next 32 bits they differ. Even a region with a single
//! answer leads to a leaf (one for each id), so that a lookup is always the same: tables, leaf, answer.
//!
//! Runs that 32 bits cannot tell apart are *deep*: the answer is then the number of a link that the leaf has
//! beside it, and the search goes on from there. Nodes read the address as two halves of 64 bits; a link into
//! the lower half says so.

use super::super::BuildError;
use super::super::prefix::Run;

/// Words (u32) of a cache line; nodes are whole lines.
pub(super) const LINE_WORDS: usize = 16;
/// Where the bounds of a leaf start, in words. The word before is the link to the leaf itself: so a lane of a
/// burst that is there already can go through one more table like the others, and still be there.
pub(super) const BOUNDS_AT: usize = 1;
/// The bounds of a leaf.
pub(super) const BOUNDS: usize = 8;
/// Where the answers of a leaf start, in units of u16: the last first, so that their place is the number of
/// bounds above the key. There is one more than there are bounds.
pub(super) const ANSWERS: usize = 18;
/// Where a leaf has the place of its deep links, in words.
pub(super) const DEEP_LINKS: usize = 14;
/// Marks an answer that is the number of a deep link.
pub(super) const DEEP: u16 = 0x8000;
/// Added to bounds and keys, so that a signed comparison orders them.
pub(super) const BIAS: u32 = 0x8000_0000;

/// Bits of an address before a leaf may leave some to deep links: with fewer, /48s would be deep.
const WIDE_ENOUGH: u32 = 16;
/// The most bits one table takes.
const MAX_TABLE_BITS: u32 = 14;
/// A table has at most this many links for each run.
const LINKS_PER_RUN: usize = 8;

/// A reference to a node, laid out so that a table's index takes one instruction (BEXTR) and a leaf's key
/// another (SHRX).
///
/// ```text
/// 31..12  line of the node
/// 11..8   bits the table takes; 0 for a leaf
/// 7       the node reads the lower half of the address
/// 6       always 0
/// 5..0    which bit of the half is the lowest that the table, or the key of the leaf, takes
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link(pub(super) u32);

impl Link {
    /// The bits that say how wide a table is.
    pub(super) const TABLE: u32 = 0xf00;
    pub(super) const LOWER: u32 = 0x80;
    const MAX_LINE: usize = (1 << 20) - 1;

    fn new(line: usize, lowest_bit: u32, bits: u32) -> Result<Link, BuildError> {
        debug_assert!(lowest_bit < 64 && bits < 16);
        if line > Link::MAX_LINE {
            return Err(BuildError::OutOfSpace);
        }
        Ok(Link((line as u32) << 12 | bits << 8 | lowest_bit))
    }

    #[inline(always)]
    pub(super) fn is_table(self) -> bool {
        self.0 & Link::TABLE != 0
    }
    /// Bits a table takes.
    #[inline(always)]
    pub(super) fn table_bits(self) -> u32 {
        self.0 >> 8 & 15
    }
    #[inline(always)]
    pub(super) fn is_lower(self) -> bool {
        self.0 & Link::LOWER != 0
    }
    /// Where the node starts, in words.
    #[inline(always)]
    pub(super) fn start(self) -> usize {
        (self.0 >> 12) as usize * LINE_WORDS
    }
    /// The link's place in the table, 0 for a leaf.
    #[inline(always)]
    pub(super) fn place(self, half: u64) -> usize {
        (half >> (self.0 % 64) & !(u64::MAX << self.table_bits())) as usize
    }
    /// What a leaf compares with its bounds.
    #[inline(always)]
    pub(super) fn key(self, half: u64) -> u32 {
        (half >> (self.0 % 64)) as u32
    }
}

/// Where nodes are put.
pub(super) trait Store {
    /// A place of so many lines in a row, named by the first.
    fn take(&mut self, lines: usize) -> Option<usize>;
    /// Writes words from the start of a line on, those before any link to them is followed.
    fn write(&mut self, line: usize, words: &[u32]);
    /// The line of the leaf that answers with this id for all keys, if there is one already.
    fn uniform(&mut self, id: u16) -> &mut Option<usize>;
}

/// The width of the index for a table of so many runs.
pub(super) fn index_bits(runs: usize) -> u32 {
    if runs < 256 { 8 } else { 16 }
}

/// How many leaves there are by the number of tables on the way to them.
#[derive(Debug, Default)]
pub(super) struct Depths([usize; 16]);

impl Depths {
    /// The number of tables that suffices for almost all leaves.
    pub(super) fn usual(&self) -> usize {
        let all: usize = self.0.iter().sum();
        let mut beyond = all;
        for (tables, leaves) in self.0.iter().enumerate() {
            beyond -= leaves;
            if beyond * 16 <= all {
                return tables;
            }
        }
        0
    }
}

/// Builds nodes.
pub(super) struct Builder<'s, S> {
    pub(super) store: &'s mut S,
    pub(super) depths: Depths,
    /// Tables above the present node.
    tables: usize,
}

/// The 64 bits of an address in which a node at `depth` looks.
fn half(address: u128, depth: u32) -> u64 {
    if depth < 64 { (address >> 64) as u64 } else { address as u64 }
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

/// The segments of a region that shares its first `depth` bits, if a leaf can hold them. The second value
/// says whether some are deep.
fn segments<'r>(runs: &'r [Run<u128>], depth: u32, lowest_bit: u32) -> Option<(Vec<Segment<'r>>, bool)> {
    let key = |run: &Run<u128>| (half(run.start, depth) >> lowest_bit) as u32;
    let below = lowest_bit + if depth < 64 { 64 } else { 0 };
    let aligned = |run: &Run<u128>| run.start.trailing_zeros() >= below;
    let last_key = (u64::MAX >> (depth % 64) >> lowest_bit) as u32;
    let mut segments: Vec<Segment<'r>> = vec![Segment { start: 0, holds: Holds::Same(runs[0].id) }];
    let mut any_deep = false;
    let mut next = 1;
    while next < runs.len() {
        let start = key(&runs[next]);
        let inside = runs[next..].iter().take_while(|run| key(run) == start).count();
        let starts_here = aligned(&runs[next]);
        if start & last_key == 0 {
            // The region starts with this key, so what was in force before is never asked for.
            segments.pop();
        }
        if starts_here && inside == 1 {
            segments.push(Segment { start, holds: Holds::Same(runs[next].id) });
            next += 1;
        } else {
            any_deep = true;
            let from = if starts_here { next } else { next - 1 };
            next += inside;
            segments.push(Segment { start, holds: Holds::Deeper(&runs[from..next]) });
            // The last run inside is in force behind the key as well, unless another starts right there.
            if start & last_key != last_key && runs.get(next).is_none_or(|run| key(run) != start + 1) {
                segments.push(Segment { start: start + 1, holds: Holds::Same(runs[next - 1].id) });
            }
        }
        if segments.len() > BOUNDS + 1 {
            return None;
        }
    }
    Some((segments, any_deep))
}

impl<'s, S: Store> Builder<'s, S> {
    pub(super) fn new(store: &'s mut S) -> Self {
        Builder { store, depths: Depths::default(), tables: 0 }
    }

    /// The node of a region that shares its first `depth` bits: the first of the runs is in force at its
    /// start, the others start inside.
    pub(super) fn node(&mut self, runs: &[Run<u128>], depth: u32) -> Result<Link, BuildError> {
        if let [run] = runs {
            return self.uniform(run.id);
        }
        let left = 64 - depth % 64;
        let lowest_bit = left.saturating_sub(32);
        if let Some((segments, any_deep)) = segments(runs, depth, lowest_bit)
            && (!any_deep || depth >= WIDE_ENOUGH)
        {
            return self.leaf(&segments, depth, lowest_bit);
        }
        let bits = (runs.len() * LINKS_PER_RUN).ilog2().clamp(4, MAX_TABLE_BITS).min(left);
        self.tables += 1;
        let links = self.links(runs, depth, bits)?;
        self.tables -= 1;
        let line = self.take(links.len().div_ceil(LINE_WORDS))?;
        self.store.write(line, &links);
        Link::new(line, left - bits, bits)
    }

    /// The links of a table that takes `bits` from `depth` on.
    pub(super) fn links(
        &mut self,
        runs: &[Run<u128>],
        depth: u32,
        bits: u32,
    ) -> Result<Vec<u32>, BuildError> {
        let count = 1usize << bits;
        let place = |run: &Run<u128>| ((run.start << depth) >> (128 - bits)) as usize;
        let starts_here = |run: &Run<u128>| run.start << depth << bits == 0;
        let mut links = vec![0; count];
        let mut now = 0;
        let mut at = 0;
        while at < count {
            let next = runs.get(now + 1).map_or(count, place);
            if next > at {
                let link = self.uniform(runs[now].id)?;
                links[at..next].fill(link.0);
                at = next;
                continue;
            }
            if starts_here(&runs[now + 1]) {
                now += 1;
                continue;
            }
            let inside = runs[now + 1..].iter().take_while(|run| place(run) == at).count();
            links[at] = self.below_table(&runs[now..=now + inside], depth + bits)?.0;
            now += inside;
            at += 1;
        }
        Ok(links)
    }

    /// What a table has for a region: a leaf on the upper half if the region is below it, so that only deep
    /// links cross over.
    pub(super) fn below_table(&mut self, runs: &[Run<u128>], depth: u32) -> Result<Link, BuildError> {
        if depth == 64 && runs.len() > 1 {
            return self.leaf(&[Segment { start: 0, holds: Holds::Deeper(runs) }], 63, 0);
        }
        self.node(runs, depth)
    }

    /// What a leaf has beside it for a region.
    fn below_leaf(&mut self, runs: &[Run<u128>], depth: u32) -> Result<Link, BuildError> {
        let link = self.node(runs, depth)?;
        Ok(if depth == 64 { Link(link.0 | Link::LOWER) } else { link })
    }

    fn take(&mut self, lines: usize) -> Result<usize, BuildError> {
        self.store.take(lines).ok_or(BuildError::OutOfSpace)
    }

    fn uniform(&mut self, id: u16) -> Result<Link, BuildError> {
        let line = match *self.store.uniform(id) {
            Some(line) => line,
            None => {
                let line = self.take(1)?;
                let mut words = [0; LINE_WORDS];
                words[0] = Link::new(line, 0, 0)?.0;
                words[BOUNDS_AT..][..BOUNDS].fill(u32::MAX ^ BIAS);
                (0..=BOUNDS).for_each(|place| answer(&mut words, place, id));
                self.store.write(line, &words);
                *self.store.uniform(id) = Some(line);
                line
            }
        };
        Link::new(line, 0, 0)
    }

    fn leaf(&mut self, segments: &[Segment<'_>], depth: u32, lowest_bit: u32) -> Result<Link, BuildError> {
        self.depths.0[self.tables.min(15)] += 1;
        let mut words = [0; LINE_WORDS];
        let mut deep = Vec::new();
        let mut last = 0;
        for place in 0..=BOUNDS {
            // Places left over repeat the last answer, so it does not matter that a key can reach their
            // bound.
            let mut bound = u32::MAX;
            if let Some(segment) = segments.get(place) {
                bound = segment.start;
                last = match segment.holds {
                    Holds::Same(id) => id,
                    Holds::Deeper(runs) => {
                        let below = depth / 64 * 64 + 64 - lowest_bit;
                        deep.push(self.below_leaf(runs, below)?.0);
                        DEEP | (deep.len() - 1) as u16
                    }
                };
            }
            if place > 0 {
                words[BOUNDS_AT + place - 1] = bound ^ BIAS;
            }
            answer(&mut words, place, last);
        }
        if !deep.is_empty() {
            let line = self.take(1)?;
            self.store.write(line, &deep);
            words[DEEP_LINKS] = (line * LINE_WORDS) as u32;
        }
        let line = self.take(1)?;
        let link = Link::new(line, lowest_bit, 0)?;
        words[0] = link.0;
        self.store.write(line, &words);
        Ok(link)
    }
}

/// Writes an answer into a leaf that has none there.
fn answer(words: &mut [u32; LINE_WORDS], place: usize, answer: u16) {
    let half_word = ANSWERS + BOUNDS - place;
    let upper = (half_word % 2 == 1) != cfg!(target_endian = "big");
    words[half_word / 2] |= u32::from(answer) << if upper { 16 } else { 0 };
}
