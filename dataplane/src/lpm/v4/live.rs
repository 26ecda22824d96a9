//! The compact IPv4 table, changed one prefix at a time while readers look things up.
//!
//! A change compiles the blocks of the chunks concerned anew (one chunk, for prefixes of 18 bits and more),
//! and leads readers to each with one store. The old blocks are reused once every reader has been quiescent;
//! see [`grace`](super::super::grace).
#![allow(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use ipnetwork::Ipv4Network;

use super::super::cpu::Level;
use super::super::grace::{Grace, Presence};
use super::super::places::{LINE_WORDS, Places};
use super::super::prefix::{Address, Prefix, Region, Run, Stack, flatten_into, sorted};
use super::super::{BuildError, MAX_ID};
use super::chunk::{Assembler, CHUNK_BITS, CHUNK_SHIFT, CHUNKS};
use super::packed::{Blocks, FIRST_BLOCK};

/// Memory set aside for a table, unless said otherwise. Only what is used is ever touched.
const DEFAULT_BYTES: usize = 256 << 20;

/// Retired blocks that are let lie before it is worth looking whether they may be reused.
const RETIRED_AT_EASE: usize = 256;

/// An IPv4 longest-prefix-match table that changes while [`Reader4`]s look things up in it.
///
/// There is one writer, who has it, and as many readers as there are threads that need one. Each lookup sees,
/// for its address, the table before or after a change; of changes to different addresses it may see any.
/// Compared with a [`Table4`](super::Table4) the lookups are the same.
#[derive(Debug)]
pub struct Live4 {
    blocks: Arc<Blocks>,
    grace: Arc<Grace>,
    places: Places,
    /// The prefixes shorter than a chunk.
    short: BTreeMap<(u32, u8), u16>,
    chunks: Vec<Chunk>,
    /// The blocks of chunks with one answer, by their id. They are shared, and stay.
    uniform: Vec<Option<u32>>,
    retired: VecDeque<Retired>,
    prefixes: usize,
    work: Work,
}

/// What the writer knows of a chunk.
#[derive(Debug, Clone, Default)]
struct Chunk {
    /// The prefixes inside, in order of (address, length).
    prefixes: Vec<Prefix<u32>>,
    outer: Outer,
    /// Words of its block; 0 if that is a shared one.
    words: u16,
}

/// The longest prefix around a chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Outer {
    /// 0 if there is none.
    id: u16,
    len: Option<u8>,
}

#[derive(Debug)]
struct Retired {
    time: u64,
    at: u32,
    words: u16,
}

/// A block that waits to be published.
#[derive(Debug)]
struct Staged {
    chunk: usize,
    at: u32,
    words: u16,
}

#[derive(Debug, Default)]
struct Work {
    assembler: Assembler,
    stack: Stack<u32>,
    runs: Vec<Run<u32>>,
}

fn chunks_of(prefix: &Prefix<u32>) -> Range<usize> {
    (prefix.address >> CHUNK_SHIFT) as usize..(prefix.last() >> CHUNK_SHIFT) as usize + 1
}

impl Live4 {
    /// A table of `entries`, in any order, with room to grow.
    ///
    /// # Errors
    ///
    /// As [`Table4::build`](super::Table4::build).
    pub fn build(entries: &[(Ipv4Network, u32)]) -> Result<Live4, BuildError> {
        Live4::with_limit(entries, DEFAULT_BYTES)
    }

    /// The same, where lookups use at most `bytes` of memory.
    ///
    /// # Errors
    ///
    /// As [`Table4::build`](super::Table4::build).
    pub fn with_limit(entries: &[(Ipv4Network, u32)], bytes: usize) -> Result<Live4, BuildError> {
        let prefixes = sorted(entries)?;
        let words = bytes / 8;
        if words < FIRST_BLOCK {
            return Err(BuildError::OutOfSpace);
        }
        // SAFETY: all chunks are published below, before there is anyone to look anything up.
        let blocks = unsafe { Blocks::reserve(words, Level::best()) }.ok_or(BuildError::OutOfSpace)?;
        let mut live = Live4 {
            blocks: Arc::new(blocks),
            grace: Arc::default(),
            places: Places::new(FIRST_BLOCK / LINE_WORDS, words / LINE_WORDS),
            short: BTreeMap::new(),
            chunks: vec![Chunk::default(); CHUNKS],
            uniform: vec![None; MAX_ID as usize + 1],
            retired: VecDeque::new(),
            prefixes: prefixes.len(),
            work: Work::default(),
        };
        for prefix in prefixes {
            if u32::from(prefix.len) >= CHUNK_BITS {
                live.chunks[(prefix.address >> CHUNK_SHIFT) as usize].prefixes.push(prefix);
            } else {
                // Outer prefixes come before those inside, so the last word is the longest prefix's.
                for chunk in &mut live.chunks[chunks_of(&prefix)] {
                    chunk.outer = Outer { id: prefix.id, len: Some(prefix.len) };
                }
                live.short.insert((prefix.address, prefix.len), prefix.id);
            }
        }
        for chunk in 0..CHUNKS {
            let staged = live.stage(chunk)?;
            live.publish(&[staged]);
        }
        live.retired.clear();
        Ok(live)
    }

    /// A handle for one more reader.
    pub fn reader(&self) -> Reader4 {
        Reader4 { blocks: Arc::clone(&self.blocks), presence: self.grace.reader() }
    }

    /// Adds a prefix, or gives the one that is there another id. Says which id it had.
    ///
    /// # Errors
    ///
    /// If the prefix has host bits set, the id is 0 or above [`MAX_ID`], or memory does not suffice; then
    /// nothing has changed.
    pub fn insert(&mut self, network: Ipv4Network, id: u32) -> Result<Option<u32>, BuildError> {
        let prefix = Prefix::checked(network, id)?;
        let before = self.set(prefix.address, prefix.len, Some(prefix.id))?;
        self.prefixes += usize::from(before.is_none());
        Ok(before.map(u32::from))
    }

    /// Takes a prefix out. Says which id it had, `None` if it was not there.
    ///
    /// # Errors
    ///
    /// If the prefix has host bits set, or memory does not suffice; then nothing has changed.
    pub fn remove(&mut self, network: Ipv4Network) -> Result<Option<u32>, BuildError> {
        let prefix = Prefix::checked(network, MAX_ID)?;
        let before = self.set(prefix.address, prefix.len, None)?;
        self.prefixes -= usize::from(before.is_some());
        Ok(before.map(u32::from))
    }

    /// The id of the longest prefix that contains `address`, as the writer sees it.
    pub fn lookup(&self, address: u32) -> u32 {
        self.blocks.lookup(address)
    }

    /// How many prefixes there are.
    pub fn prefixes(&self) -> usize {
        self.prefixes
    }

    /// Bytes of memory that lookups may touch, without what is free or waits to be.
    pub fn memory_bytes(&self) -> usize {
        let waiting: usize = self.retired.iter().map(|retired| usize::from(retired.words)).sum();
        (self.places.used() - waiting) * 8
    }

    /// Makes what readers can no longer reach usable again. Changes do this by themselves now and then.
    pub fn reclaim(&mut self) {
        let passed = self.grace.passed();
        while let Some(retired) = self.retired.front().filter(|retired| retired.time <= passed) {
            self.places.give(retired.at, retired.words.into());
            self.retired.pop_front();
        }
    }

    fn set(&mut self, address: u32, len: u8, id: Option<u16>) -> Result<Option<u16>, BuildError> {
        if self.retired.len() > RETIRED_AT_EASE {
            self.reclaim();
        }
        if u32::from(len) >= CHUNK_BITS {
            self.set_long(address, len, id)
        } else {
            self.set_short(address, len, id)
        }
    }

    /// A prefix inside a chunk.
    fn set_long(&mut self, address: u32, len: u8, id: Option<u16>) -> Result<Option<u16>, BuildError> {
        let number = (address >> CHUNK_SHIFT) as usize;
        let before = self.chunks[number].set(address, len, id);
        if before == id {
            return Ok(before);
        }
        match self.stage(number) {
            Ok(staged) => self.publish(&[staged]),
            Err(error) => {
                self.chunks[number].set(address, len, before);
                return Err(error);
            }
        }
        Ok(before)
    }

    /// A prefix around chunks.
    fn set_short(&mut self, address: u32, len: u8, id: Option<u16>) -> Result<Option<u16>, BuildError> {
        let before = match id {
            Some(id) => self.short.insert((address, len), id),
            None => self.short.remove(&(address, len)),
        };
        if before == id {
            return Ok(before);
        }
        let outer = match id {
            Some(id) => Outer { id, len: Some(len) },
            None => self.around(address, len),
        };
        let mut staged = Vec::new();
        let mut changed = Vec::new();
        for number in chunks_of(&Prefix { address, len, id: 0 }) {
            let chunk = &mut self.chunks[number];
            if chunk.outer.len > Some(len) {
                continue;
            }
            changed.push((number, std::mem::replace(&mut chunk.outer, outer)));
            match self.stage(number) {
                Ok(block) => staged.push(block),
                Err(error) => {
                    staged.iter().filter(|block| block.words > 0).for_each(|block| {
                        self.places.give(block.at, block.words.into());
                    });
                    changed.into_iter().for_each(|(number, outer)| self.chunks[number].outer = outer);
                    match before {
                        Some(id) => self.short.insert((address, len), id),
                        None => self.short.remove(&(address, len)),
                    };
                    return Err(error);
                }
            }
        }
        self.publish(&staged);
        Ok(before)
    }

    /// The longest of the prefixes that are shorter than `len` and contain `address`.
    fn around(&self, address: u32, len: u8) -> Outer {
        let found = (0..len).rev().find_map(|len| {
            let id = self.short.get(&(address.and_not(u32::host_mask(len)), len))?;
            Some(Outer { id: *id, len: Some(len) })
        });
        found.unwrap_or_default()
    }

    /// Writes the block of a chunk as it should be now, where no reader sees it yet.
    fn stage(&mut self, number: usize) -> Result<Staged, BuildError> {
        let chunk = &self.chunks[number];
        let first = (number as u32) << CHUNK_SHIFT;
        let region =
            Region { first, last: first.or(u32::host_mask(CHUNK_BITS as u8)), outer: chunk.outer.id };
        let Work { assembler, stack, runs } = &mut self.work;
        flatten_into(region, chunk.prefixes.iter().copied(), stack, runs);
        let shared = match runs[..] {
            [run] => Some(usize::from(run.id)),
            _ => None,
        };
        if let Some(at) = shared.and_then(|id| self.uniform[id]) {
            return Ok(Staged { chunk: number, at, words: 0 });
        }
        let block = assembler.block(first, runs);
        let words = block.len();
        let at = match self.places.take(words) {
            Some(at) => at,
            None => {
                // Like `reclaim`, which cannot be called while the block is borrowed.
                let passed = self.grace.passed();
                while let Some(retired) = self.retired.front().filter(|retired| retired.time <= passed) {
                    self.places.give(retired.at, retired.words.into());
                    self.retired.pop_front();
                }
                self.places.take(words).ok_or(BuildError::OutOfSpace)?
            }
        };
        // SAFETY: the place is within the arena, and no one else's: no reader can reach what was free.
        unsafe { self.blocks.write(at, block) };
        match shared {
            Some(id) => {
                self.uniform[id] = Some(at);
                Ok(Staged { chunk: number, at, words: 0 })
            }
            None => Ok(Staged { chunk: number, at, words: words as u16 }),
        }
    }

    /// Leads readers to new blocks, and retires the old.
    fn publish(&mut self, staged: &[Staged]) {
        let from = self.retired.len();
        for block in staged {
            // SAFETY: the block was written by `stage`. It is given back only after it has been replaced, or,
            // if it is shared, never.
            let at = unsafe { self.blocks.publish(block.chunk, block.at) };
            let words = std::mem::replace(&mut self.chunks[block.chunk].words, block.words);
            if words > 0 {
                self.retired.push_back(Retired { time: 0, at, words });
            }
        }
        if self.retired.len() > from {
            let time = self.grace.retire();
            self.retired.range_mut(from..).for_each(|retired| retired.time = time);
        }
    }
}

impl Chunk {
    fn set(&mut self, address: u32, len: u8, id: Option<u16>) -> Option<u16> {
        let place =
            self.prefixes.binary_search_by_key(&(address, len), |prefix| (prefix.address, prefix.len));
        match (place, id) {
            (Ok(place), Some(id)) => Some(std::mem::replace(&mut self.prefixes[place].id, id)),
            (Ok(place), None) => Some(self.prefixes.remove(place).id),
            (Err(place), Some(id)) => {
                self.prefixes.insert(place, Prefix { address, len, id });
                None
            }
            (Err(_), None) => None,
        }
    }
}

/// A reader of a [`Live4`].
///
/// It must be [quiescent](Self::quiescent) now and then, a busy-poll worker once a burst: memory that the
/// table no longer uses is kept until then. One that has nothing to do for long [rests](Self::rest).
#[derive(Debug)]
pub struct Reader4 {
    blocks: Arc<Blocks>,
    presence: Presence,
}

impl Reader4 {
    /// As [`Table4::lookup`](super::Table4::lookup).
    #[inline]
    pub fn lookup(&self, address: u32) -> u32 {
        self.blocks.lookup(address)
    }

    /// As [`Table4::lookup_burst`](super::Table4::lookup_burst).
    ///
    /// # Panics
    ///
    /// If the slices differ in length.
    #[inline]
    pub fn lookup_burst(&self, addresses: &[u32], ids: &mut [u32]) {
        assert_eq!(addresses.len(), ids.len(), "one id for each address");
        self.blocks.lookup_burst(addresses, ids);
    }

    /// Tells the writer that no lookup is under way. It costs two moves.
    #[inline]
    pub fn quiescent(&mut self) {
        self.presence.quiescent();
    }

    /// Makes no lookups until [`resume`](Self::resume), and holds nothing up meanwhile: [`rest`](Self::rest) for who
    /// can't give the reader out of hand.
    pub(crate) fn pause(&mut self) {
        self.presence.offline();
    }

    /// Makes lookups again.
    pub(crate) fn resume(&mut self) {
        self.presence.online();
    }

    /// Makes no lookups until [`wake`](Resting4::wake), and holds nothing up meanwhile.
    pub fn rest(mut self) -> Resting4 {
        self.presence.offline();
        Resting4(self)
    }
}

/// A [`Reader4`] that makes no lookups.
#[derive(Debug)]
pub struct Resting4(Reader4);

impl Resting4 {
    /// The reader again.
    pub fn wake(self) -> Reader4 {
        let Resting4(mut reader) = self;
        reader.presence.online();
        reader
    }
}
