//! The IPv6 table, changed one prefix at a time while readers look things up.
//!
//! A change finds the lowest links of tables that cover the prefix, builds anew what is below them, and leads
//! readers there with one store for each. What was there is reused once every reader has been quiescent; see
//! [`grace`](super::super::grace).
#![allow(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ipnetwork::Ipv6Network;

use super::super::cpu::Level;
use super::super::grace::{Grace, Presence};
use super::super::places::Rows;
use super::super::prefix::{Address, Prefix, Region, Run, Stack, flatten, flatten_into, sorted};
use super::super::{BuildError, MAX_ID};
use super::node::{Builder, DEEP, LINE_WORDS, Link, Store};
use super::trie::Nodes;

/// Memory set aside for a table, unless said otherwise: as much as links can tell apart. Only what is used is
/// ever touched.
const DEFAULT_BYTES: usize = 64 << 20;

/// Bits of an address that the index takes.
const INDEX_BITS: u32 = 16;

/// Tables a burst goes through without asking at least: the prefixes to come may need them.
const USUAL_TABLES: usize = 2;

/// Retired nodes that are let lie before it is worth looking whether they may be reused.
const RETIRED_AT_EASE: usize = 256;

/// An IPv6 longest-prefix-match table that changes while [`Reader6`]s look things up in it.
///
/// There is one writer, who has it, and as many readers as there are threads that need one. Each lookup sees,
/// for its address, the table before or after a change; of changes to different addresses it may see any.
///
/// Tables inside it are as wide as their prefixes were many when they were built, so one that has grown many
/// times over is worth building anew.
#[derive(Debug)]
pub struct Live6 {
    nodes: Arc<Nodes>,
    grace: Arc<Grace>,
    prefixes: BTreeMap<(u128, u8), u16>,
    rows: Rows,
    uniform: Vec<Option<usize>>,
    retired: VecDeque<Retired>,
    stack: Stack<u128>,
    runs: Vec<Run<u128>>,
}

#[derive(Debug)]
struct Retired {
    time: u64,
    line: usize,
    lines: usize,
}

/// Where readers are led to something else: the word of a link, and the region that is below it.
#[derive(Debug, Clone, Copy)]
struct Spot {
    word: usize,
    first: u128,
    depth: u32,
}

/// Lines of the arena that a change writes.
struct Change<'l> {
    nodes: &'l Nodes,
    rows: &'l mut Rows,
    uniform: &'l mut [Option<usize>],
    taken: Vec<(usize, usize)>,
}

impl Store for Change<'_> {
    fn take(&mut self, lines: usize) -> Option<usize> {
        let line = self.rows.take(lines)?;
        self.taken.push((line, lines));
        Some(line)
    }

    fn write(&mut self, line: usize, words: &[u32]) {
        // SAFETY: the builder writes only what it has taken, and nobody can reach that yet.
        unsafe { self.nodes.write(line * LINE_WORDS, words) };
    }

    fn uniform(&mut self, id: u16) -> &mut Option<usize> {
        &mut self.uniform[usize::from(id)]
    }
}

impl Change<'_> {
    /// Gives back all that was taken.
    fn undo(self) {
        for line in self.uniform.iter_mut() {
            if line.is_some_and(|line| self.taken.contains(&(line, 1))) {
                *line = None;
            }
        }
        for (line, lines) in self.taken {
            self.rows.give(line, lines);
        }
    }
}

impl Live6 {
    /// A table of `entries`, in any order, with room to grow.
    ///
    /// # Errors
    ///
    /// As [`Table6::build`](super::Table6::build).
    pub fn build(entries: &[(Ipv6Network, u32)]) -> Result<Live6, BuildError> {
        Live6::with_limit(entries, DEFAULT_BYTES)
    }

    /// The same, where lookups use at most `bytes` of memory.
    ///
    /// # Errors
    ///
    /// As [`Table6::build`](super::Table6::build).
    pub fn with_limit(entries: &[(Ipv6Network, u32)], bytes: usize) -> Result<Live6, BuildError> {
        let prefixes = sorted(entries)?;
        let limit = bytes / 4 / LINE_WORDS;
        let index_lines = (1 << INDEX_BITS) / LINE_WORDS;
        if limit < index_lines {
            return Err(BuildError::OutOfSpace);
        }
        // SAFETY: the index is written below, before there is anyone to look anything up.
        let nodes = unsafe { Nodes::reserve(limit * LINE_WORDS, INDEX_BITS, Level::best()) };
        let mut nodes = nodes.ok_or(BuildError::OutOfSpace)?;
        let mut rows = Rows::new(index_lines, limit);
        let mut uniform = vec![None; MAX_ID as usize + 1];
        let mut change = Change { nodes: &nodes, rows: &mut rows, uniform: &mut uniform, taken: Vec::new() };
        let mut builder = Builder::new(&mut change);
        let links = builder.links(&flatten(&prefixes), 0, INDEX_BITS)?;
        let usual_tables = builder.depths.usual().max(USUAL_TABLES);
        change.write(0, &links);
        nodes.expect(usual_tables);
        Ok(Live6 {
            nodes: Arc::new(nodes),
            grace: Arc::default(),
            prefixes: prefixes.into_iter().map(|prefix| ((prefix.address, prefix.len), prefix.id)).collect(),
            rows,
            uniform,
            retired: VecDeque::new(),
            stack: Vec::new(),
            runs: Vec::new(),
        })
    }

    /// A handle for one more reader.
    pub fn reader(&self) -> Reader6 {
        Reader6 { nodes: Arc::clone(&self.nodes), presence: self.grace.reader() }
    }

    /// Adds a prefix, or gives the one that is there another id. Says which id it had.
    ///
    /// # Errors
    ///
    /// If the prefix has host bits set, the id is 0 or above [`MAX_ID`], or memory does not suffice; then
    /// nothing has changed.
    pub fn insert(&mut self, network: Ipv6Network, id: u32) -> Result<Option<u32>, BuildError> {
        let prefix = Prefix::checked(network, id)?;
        Ok(self.set(prefix, Some(prefix.id))?.map(u32::from))
    }

    /// Takes a prefix out. Says which id it had, `None` if it was not there.
    ///
    /// # Errors
    ///
    /// If the prefix has host bits set, or memory does not suffice; then nothing has changed.
    pub fn remove(&mut self, network: Ipv6Network) -> Result<Option<u32>, BuildError> {
        let prefix = Prefix::checked(network, MAX_ID)?;
        Ok(self.set(prefix, None)?.map(u32::from))
    }

    /// The id of the longest prefix that contains `address`, as the writer sees it.
    pub fn lookup(&self, address: u128) -> u32 {
        self.nodes.lookup(address)
    }

    /// How many prefixes there are.
    pub fn prefixes(&self) -> usize {
        self.prefixes.len()
    }

    /// Bytes of memory that lookups may touch, without what is free or waits to be.
    pub fn memory_bytes(&self) -> usize {
        let waiting: usize = self.retired.iter().map(|retired| retired.lines).sum();
        (self.rows.used() - waiting) * LINE_WORDS * 4
    }

    /// Makes what readers can no longer reach usable again. Changes do this by themselves now and then.
    pub fn reclaim(&mut self) {
        let passed = self.grace.passed();
        while let Some(retired) = self.retired.front().filter(|retired| retired.time <= passed) {
            self.rows.give(retired.line, retired.lines);
            self.retired.pop_front();
        }
    }

    fn set(&mut self, prefix: Prefix<u128>, id: Option<u16>) -> Result<Option<u16>, BuildError> {
        if self.retired.len() > RETIRED_AT_EASE {
            self.reclaim();
        }
        let before = self.note(prefix, id);
        if before == id {
            return Ok(before);
        }
        let spots = self.spots(prefix);
        let built = match self.rebuild(&spots) {
            Err(BuildError::OutOfSpace) => {
                self.reclaim();
                self.rebuild(&spots)
            }
            built => built,
        };
        match built {
            Ok(links) => self.publish(&spots, &links),
            Err(error) => {
                self.note(prefix, before);
                return Err(error);
            }
        }
        Ok(before)
    }

    fn note(&mut self, prefix: Prefix<u128>, id: Option<u16>) -> Option<u16> {
        match id {
            Some(id) => self.prefixes.insert((prefix.address, prefix.len), id),
            None => self.prefixes.remove(&(prefix.address, prefix.len)),
        }
    }

    /// The links below which a change of `prefix` shows.
    fn spots(&self, prefix: Prefix<u128>) -> Vec<Spot> {
        let len = u32::from(prefix.len);
        let (mut start, mut depth, mut bits) = (0, 0, INDEX_BITS);
        loop {
            let below = depth + bits;
            let place = ((prefix.address << depth) >> (128 - bits)) as usize;
            if below >= len {
                // From here on the prefix holds whole links; those with a longer prefix around them do not
                // change.
                let count = 1usize << (below - len);
                return (0..count)
                    .map(|more| Spot {
                        word: start + place + more,
                        first: prefix.address | (more as u128) << (128 - below),
                        depth: below,
                    })
                    .filter(|spot| {
                        self.around(spot.first, spot.depth).is_none_or(|(_, longest)| longest <= prefix.len)
                    })
                    .collect();
            }
            let link = self.nodes.peek(start + place);
            if !link.is_table() {
                let first = prefix.address.and_not(u128::host_mask(below as u8));
                return vec![Spot { word: start + place, first, depth: below }];
            }
            (start, depth, bits) = (link.start(), below, link.table_bits());
        }
    }

    /// The longest of the prefixes of at most `len` bits that contain `address`: its id and its length.
    fn around(&self, address: u128, len: u32) -> Option<(u16, u8)> {
        let mut len = len as u8;
        loop {
            let from = address.and_not(u128::host_mask(len));
            let (&(start, longest), &id) = self.prefixes.range(..=(from, len)).next_back()?;
            let common = start.common(address);
            if common >= longest {
                return Some((id, longest));
            }
            // One that contains the address and has more in common with it would come between.
            len = common;
        }
    }

    /// Builds what belongs below each of the spots now, where no reader sees it yet.
    fn rebuild(&mut self, spots: &[Spot]) -> Result<Vec<Link>, BuildError> {
        let outers: Vec<u16> =
            spots.iter().map(|spot| self.around(spot.first, spot.depth).map_or(0, |(id, _)| id)).collect();
        let mut change = Change {
            nodes: &self.nodes,
            rows: &mut self.rows,
            uniform: &mut self.uniform,
            taken: Vec::new(),
        };
        let mut builder = Builder::new(&mut change);
        let mut links = Vec::with_capacity(spots.len());
        for (spot, outer) in spots.iter().zip(outers) {
            let last = spot.first.or(u128::host_mask(spot.depth as u8));
            let inside = self.prefixes.range((spot.first, spot.depth as u8 + 1)..=(last, u8::MAX));
            let inside = inside.map(|(&(address, len), &id)| Prefix { address, len, id });
            flatten_into(Region { first: spot.first, last, outer }, inside, &mut self.stack, &mut self.runs);
            match builder.below_table(&self.runs, spot.depth) {
                Ok(link) => links.push(link),
                Err(error) => {
                    change.undo();
                    return Err(error);
                }
            }
        }
        Ok(links)
    }

    /// Leads readers to new nodes, and retires the old.
    fn publish(&mut self, spots: &[Spot], links: &[Link]) {
        let from = self.retired.len();
        for (spot, &link) in spots.iter().zip(links) {
            // SAFETY: the word is a link of the index or of a table; the new link leads to nodes for the same
            // region, which are given back only after it has been replaced.
            let before = unsafe { self.nodes.replace(spot.word, link) };
            self.retire(before);
        }
        if self.retired.len() > from {
            let time = self.grace.retire();
            self.retired.range_mut(from..).for_each(|retired| retired.time = time);
        }
    }

    /// Retires a node and all below it, but not the leaves that are shared.
    fn retire(&mut self, link: Link) {
        let line = link.start() / LINE_WORDS;
        if link.is_table() {
            for place in 0..1 << link.table_bits() {
                self.retire(self.nodes.peek(link.start() + place));
            }
            self.retired.push_back(Retired {
                time: 0,
                line,
                lines: (1usize << link.table_bits()).div_ceil(LINE_WORDS),
            });
            return;
        }
        let (answers, deep_links) = self.nodes.answers(link);
        if self.uniform.get(usize::from(answers[0])) == Some(&Some(line)) {
            return;
        }
        let deep = answers.into_iter().filter(|answer| answer & DEEP != 0).max();
        if let Some(last) = deep {
            for number in 0..=usize::from(last & !DEEP) {
                self.retire(self.nodes.peek(deep_links + number));
            }
            self.retired.push_back(Retired { time: 0, line: deep_links / LINE_WORDS, lines: 1 });
        }
        self.retired.push_back(Retired { time: 0, line, lines: 1 });
    }
}

/// A reader of a [`Live6`].
///
/// It must be [quiescent](Self::quiescent) now and then, a busy-poll worker once a burst: memory that the
/// table no longer uses is kept until then. One that has nothing to do for long [rests](Self::rest).
#[derive(Debug)]
pub struct Reader6 {
    nodes: Arc<Nodes>,
    presence: Presence,
}

impl Reader6 {
    /// As [`Table6::lookup`](super::Table6::lookup).
    #[inline]
    pub fn lookup(&self, address: u128) -> u32 {
        self.nodes.lookup(address)
    }

    /// As [`Table6::lookup_burst`](super::Table6::lookup_burst).
    ///
    /// # Panics
    ///
    /// If the slices differ in length.
    #[inline]
    pub fn lookup_burst(&self, addresses: &[u128], ids: &mut [u32]) {
        assert_eq!(addresses.len(), ids.len(), "one id for each address");
        self.nodes.lookup_burst(addresses, ids);
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

    /// Makes no lookups until [`wake`](Resting6::wake), and holds nothing up meanwhile.
    pub fn rest(mut self) -> Resting6 {
        self.presence.offline();
        Resting6(self)
    }
}

/// A [`Reader6`] that makes no lookups.
#[derive(Debug)]
pub struct Resting6(Reader6);

impl Resting6 {
    /// The reader again.
    pub fn wake(self) -> Reader6 {
        let Resting6(mut reader) = self;
        reader.presence.online();
        reader
    }
}
