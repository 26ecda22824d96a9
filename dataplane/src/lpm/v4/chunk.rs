//! A /18 of IPv4 addresses, compiled into one block of words.
//!
//! ```text
//! word 0        one bit for each /24 of the chunk: set where the answer differs from the /24 before (bit 0 always)
//! words 1..     the answers of the set bits, u16 each: an id, or TAIL | offset of a tail, in words from the block's start
//! tails         one for each /24 that holds longer prefixes:
//!                 words 0..4   one bit for each address, set where a run starts (bit 0 always)
//!                 bytes 32..36 how many bits are set in the words before each of the four
//!                 bytes 36..   the ids of the runs, u16 each
//! ```
//!
//! A lookup counts the bits up to its own and takes that answer. Everything below a chunk is in its block, so one store of
//! the block's place publishes a change, and offsets within a block always fit: the largest has 4,433 words.

use super::super::prefix::Run;

/// Bits of an address that choose the chunk.
pub(super) const CHUNK_BITS: u32 = 18;
/// How many chunks there are.
pub(super) const CHUNKS: usize = 1 << CHUNK_BITS;
/// Bits of an address below the chunk.
pub(super) const CHUNK_SHIFT: u32 = 32 - CHUNK_BITS;
/// Marks an answer that is the offset of a tail.
pub(super) const TAIL: u16 = 0x8000;
/// Where the ids of a tail start, in units of u16 from the tail.
pub(super) const TAIL_IDS: usize = 18;
/// Words of a cache line.
pub(super) const LINE_WORDS: usize = 8;

/// Compiles chunks; keeps its memory from one to the next.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    answers: Vec<u16>,
    tails: Vec<u64>,
    /// Where each tail ends in `tails`.
    ends: Vec<usize>,
    words: Vec<u64>,
}

impl Assembler {
    /// The block of one chunk. `runs` are those of the chunk: the first is in force at `base`, its lowest address, the
    /// others start inside.
    pub(super) fn block(&mut self, base: u32, runs: &[Run<u32>]) -> &[u64] {
        self.answers.clear();
        self.tails.clear();
        self.ends.clear();
        let mut starts = 0u64;
        let mut slot = 0;
        let mut now = 0;
        while slot < 64 {
            let next = runs.get(now + 1).map_or(1 << CHUNK_SHIFT, |run| run.start - base);
            if next >> 8 > slot {
                let id = runs[now].id;
                if self.answers.last() != Some(&id) {
                    starts |= 1 << slot;
                    self.answers.push(id);
                }
                slot = next >> 8;
            }
            if slot == 64 {
                break;
            }
            if next % 256 == 0 {
                now += 1;
                continue;
            }
            let inside = runs[now + 1..].partition_point(|run| (run.start - base) >> 8 == slot);
            self.tail(&runs[now..=now + inside]);
            starts |= 1 << slot;
            self.answers.push(TAIL | (self.ends.len() - 1) as u16);
            now += inside;
            slot += 1;
        }
        self.join(starts)
    }

    /// The tail of one /24: the first run is in force at its start, the others start inside.
    fn tail(&mut self, runs: &[Run<u32>]) {
        let at = self.tails.len();
        self.tails.resize(at + (2 * TAIL_IDS + 2 * runs.len()).div_ceil(8), 0);
        let tail = &mut self.tails[at..];
        tail[0] = 1;
        for run in &runs[1..] {
            let host = run.start % 256;
            tail[host as usize / 64] |= 1 << (host % 64);
        }
        let mut before = 0;
        for word in 0..4 {
            tail[4] |= u64::from(before) << (8 * word);
            before += tail[word].count_ones();
        }
        for (index, run) in runs.iter().enumerate() {
            put(tail, TAIL_IDS + index, run.id);
        }
        self.ends.push(self.tails.len());
    }

    /// Puts the parts one behind the other.
    fn join(&mut self, starts: u64) -> &[u64] {
        self.words.clear();
        self.words.push(starts);
        self.words.resize(1 + self.answers.len().div_ceil(4), 0);
        let mut from = 0;
        let mut tails = 0;
        for (index, &answer) in self.answers.iter().enumerate() {
            let mut answer = answer;
            if answer & TAIL != 0 {
                let tail = &self.tails[from..self.ends[tails]];
                // A tail that fits into one cache line does not lie in two.
                let room = LINE_WORDS - self.words.len() % LINE_WORDS;
                if tail.len() <= LINE_WORDS && tail.len() > room {
                    self.words.resize(self.words.len() + room, 0);
                }
                answer = TAIL | self.words.len() as u16;
                self.words.extend_from_slice(tail);
                from = self.ends[tails];
                tails += 1;
            }
            put(&mut self.words, 4 + index, answer);
        }
        &self.words
    }
}

/// Writes the u16 at `index`, counted as memory is on this machine, into words that are zero there.
fn put(words: &mut [u64], index: usize, value: u16) {
    let lane = if cfg!(target_endian = "big") { 3 - index % 4 } else { index % 4 };
    words[index / 4] |= u64::from(value) << (16 * lane);
}

/// Hands out places for blocks in an arena, by words: a block of up to one cache line lies in one line, a larger one starts
/// on a line.
#[derive(Debug)]
pub(super) struct Places {
    /// The next fresh line, in words.
    top: usize,
    /// Words that may be used at most.
    limit: usize,
    /// Words in use, or lost to rounding up to lines.
    used: usize,
    /// Parts of lines, by size in words.
    scraps: [Vec<u32>; LINE_WORDS],
    /// Whole lines in a row, by their number.
    rows: Vec<Vec<u32>>,
}

impl Places {
    /// Places from word `start`, the start of a line, up to `limit`.
    pub(super) fn new(start: usize, limit: usize) -> Places {
        debug_assert_eq!(start % LINE_WORDS, 0);
        Places { top: start, limit: limit.min(u32::MAX as usize), used: start, scraps: Default::default(), rows: Vec::new() }
    }

    /// A place for `words`, or `None` if the arena is full.
    pub(super) fn take(&mut self, words: usize) -> Option<u32> {
        let whole = words.div_ceil(LINE_WORDS);
        if words >= LINE_WORDS {
            let at = self.lines(whole)?;
            self.used += whole * LINE_WORDS;
            return Some(at);
        }
        let scrap = (words..LINE_WORDS).find_map(|size| self.scraps[size].pop().map(|at| (at, size)));
        let (at, size) = match scrap {
            Some(scrap) => scrap,
            None => (self.lines(1)?, LINE_WORDS),
        };
        if size > words {
            self.scraps[size - words].push(at + words as u32);
        }
        self.used += words;
        Some(at)
    }

    /// Takes back what [`take`](Self::take) gave for `words`.
    pub(super) fn give(&mut self, at: u32, words: usize) {
        if words < LINE_WORDS {
            self.scraps[words].push(at);
            self.used -= words;
        } else {
            let whole = words.div_ceil(LINE_WORDS);
            self.used -= whole * LINE_WORDS;
            self.row(at, whole);
        }
    }

    fn lines(&mut self, count: usize) -> Option<u32> {
        let row = (count..self.rows.len()).find_map(|size| self.rows[size].pop().map(|at| (at, size)));
        if let Some((at, size)) = row {
            if size > count {
                self.row(at + (count * LINE_WORDS) as u32, size - count);
            }
            return Some(at);
        }
        let at = self.top;
        let end = at.checked_add(count * LINE_WORDS).filter(|end| *end <= self.limit)?;
        self.top = end;
        Some(at as u32)
    }

    fn row(&mut self, at: u32, lines: usize) {
        if self.rows.len() <= lines {
            self.rows.resize_with(lines + 1, Vec::new);
        }
        self.rows[lines].push(at);
    }

    /// The first word that was never handed out.
    pub(super) fn top(&self) -> usize {
        self.top
    }

    /// Words in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }
}
