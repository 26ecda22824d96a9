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
//! A lookup counts the bits up to its own and takes that answer. Everything below a chunk is in its block, so
//! one store of the block's place publishes a change, and offsets within a block always fit: the largest has
//! 4,433 words.

use super::super::places::LINE_WORDS;
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
    /// The block of one chunk. `runs` are those of the chunk: the first is in force at `base`, its lowest
    /// address, the others start inside.
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
            if next.is_multiple_of(256) {
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
