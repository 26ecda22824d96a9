//! The fragment table of section 3: a map from datagram to what is known of it.

use std::collections::HashMap;
use std::net::IpAddr;

use super::config::{Limits, Micros};

/// What makes a datagram (section 3): tags do not matter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Datagram {
    pub(super) port: String,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) identification: u32,
    pub(super) protocol: Option<u8>,
}

/// What later fragments follow, the stricter ones last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    Forward,
    Divert,
    Drop,
}

/// What is known of a datagram.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    born: Micros,
    /// The verdict of its first fragments: a deny denies the datagram and is never taken back (F9). `None`:
    /// no first fragment was seen.
    pub(super) fate: Option<Fate>,
    /// Where L4 ends, the longest reach of all first fragments (7.15).
    pub(super) l4_end: usize,
    /// The lowest offset of all later fragments.
    pub(super) lowest: usize,
    /// Whether F7 has spoken of this datagram.
    pub(super) overlapped: bool,
}

impl Entry {
    /// F7: some later fragment lies on an L4 header that ends at `l4_end` or, of several first fragments,
    /// where the longest one does; in either order of arrival.
    pub(super) fn overlaps(&self, l4_end: usize) -> bool {
        self.lowest < self.l4_end.max(l4_end)
    }

    /// F7: the datagram is denied from then on.
    pub(super) fn overlap(&mut self) -> &'static str {
        self.overlapped = true;
        self.fate = Some(Fate::Drop);
        "fragment-overlap"
    }

    /// A first fragment with that verdict was seen, whose L4 header ends at `l4_end`.
    pub(super) fn first(&mut self, fate: Fate, l4_end: usize) {
        self.fate = self.fate.max(Some(fate));
        self.l4_end = self.l4_end.max(l4_end);
    }
}

/// The table.
#[derive(Clone, Debug)]
pub(super) struct Fragments {
    entries: HashMap<Datagram, Entry>,
    room: usize,
    share: usize,
    lifetime: Micros,
}

impl Fragments {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            entries: HashMap::new(),
            room: limits.fragments,
            share: limits.fragments_per_source,
            lifetime: limits.fragment_lifetime,
        }
    }

    /// The datagram's entry, if it is known and its life is not over.
    pub(super) fn find(&mut self, datagram: &Datagram, now: Micros) -> Option<&mut Entry> {
        let lifetime = self.lifetime;
        self.entries.get_mut(datagram).filter(|entry| alive(entry, now, lifetime))
    }

    /// The datagram's entry, made if need be. F10: `None` if the table is full, or the source over its share.
    pub(super) fn find_or_make(&mut self, datagram: &Datagram, now: Micros) -> Option<&mut Entry> {
        if self.find(datagram, now).is_none() {
            let lifetime = self.lifetime;
            self.entries.retain(|_, entry| alive(entry, now, lifetime));
            let of_source = self.entries.keys().filter(|d| d.source == datagram.source).count();
            if self.entries.len() >= self.room || of_source >= self.share {
                return None;
            }
            let entry = Entry { born: now, fate: None, l4_end: 0, lowest: usize::MAX, overlapped: false };
            self.entries.insert(datagram.clone(), entry);
        }
        self.entries.get_mut(datagram)
    }
}

/// An entry lives for its lifetime from the first fragment seen, whatever comes later.
fn alive(entry: &Entry, now: Micros, lifetime: Micros) -> bool {
    now.saturating_sub(entry.born) < lifetime
}
