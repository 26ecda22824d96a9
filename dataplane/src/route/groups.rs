//! Ids and what they stand for: the groups of next hops of one family, as the writer knows them.

use std::collections::{HashMap, VecDeque};

use super::change::Hop;
use super::snapshot::{Entry, EntryKind};
use crate::lpm::MAX_ID;

/// As many buckets share a group's flows, at most.
pub(super) const BUCKETS: usize = 64;

/// Ids of ways on that are always there, in their order.
const FIXED: [EntryKind; 9] = [
    EntryKind::None,
    EntryKind::Local,
    EntryKind::Broadcast,
    EntryKind::Blackhole,
    EntryKind::Unreachable,
    EntryKind::Prohibit,
    EntryKind::Martian,
    EntryKind::LinkGroup,
    EntryKind::Group,
];

/// The id of a way on that is no group of hops.
pub(super) fn fixed(kind: EntryKind) -> u16 {
    FIXED.iter().position(|fixed| *fixed == kind).unwrap_or(0) as u16
}

/// Whether an id is that of a group of hops.
pub(super) fn leads_on(id: u16) -> bool {
    usize::from(id) >= FIXED.len()
}

/// One group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) hops: Box<[Hop]>,
    /// The adjacency of each.
    pub(super) adjacencies: Box<[u32]>,
    /// Prefixes that lead to it.
    users: usize,
    fate: Fate,
    /// The adjacency of each bucket, where there are several.
    pub(super) buckets: Vec<u32>,
}

/// Where an id stands on its way to being given to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    InUse,
    /// Nobody used it when this was noted; a mark is still to come.
    Unmarked,
    /// Workers may have it in hand until this mark is passed.
    Dying(u64),
}

/// The groups by id.
#[derive(Debug)]
pub(super) struct Groups {
    by_hops: HashMap<Box<[Hop]>, u16>,
    groups: Vec<Option<Group>>,
    pub(super) entries: Vec<Entry>,
    /// Ids that have buckets.
    pub(super) shared: Vec<u16>,
    free: Vec<u16>,
    /// Ids that nobody uses, since they left the trie, waiting for a mark.
    unmarked: Vec<u16>,
    /// Ids that workers may still have in hand, with the mark that they have to pass.
    dying: VecDeque<(u64, u16)>,
}

impl Default for Groups {
    fn default() -> Groups {
        let entry = |kind| Entry { kind, mask: 0, first: u32::MAX };
        Groups {
            by_hops: HashMap::new(),
            groups: FIXED.iter().map(|_| None).collect(),
            entries: FIXED.into_iter().map(entry).collect(),
            shared: Vec::new(),
            free: Vec::new(),
            unmarked: Vec::new(),
            dying: VecDeque::new(),
        }
    }
}

impl Groups {
    /// The id of these hops, if they have one; also one that was about to be given away.
    pub(super) fn find(&self, hops: &[Hop]) -> Option<u16> {
        self.by_hops.get(hops).copied()
    }

    /// Gives hops an id.
    pub(super) fn add(&mut self, hops: Box<[Hop]>, adjacencies: Box<[u32]>) -> Option<u16> {
        let id = match self.free.pop() {
            Some(id) => id,
            None if self.groups.len() <= MAX_ID as usize => {
                self.groups.push(None);
                self.entries.push(Entry::default());
                (self.groups.len() - 1) as u16
            }
            None => return None,
        };
        self.by_hops.insert(hops.clone(), id);
        // Nobody uses it yet; who does counts itself, or leaves it to be given away.
        let group = Group { hops, adjacencies, users: 0, fate: Fate::Unmarked, buckets: Vec::new() };
        self.groups[usize::from(id)] = Some(group);
        self.unmarked.push(id);
        Some(id)
    }

    pub(super) fn group(&self, id: u16) -> Option<&Group> {
        self.groups.get(usize::from(id))?.as_ref()
    }

    /// Counts one more prefix, if the id is a group's.
    pub(super) fn take(&mut self, id: u16) {
        if let Some(group) = self.groups.get_mut(usize::from(id)).and_then(Option::as_mut) {
            group.users += 1;
        }
    }

    /// Counts one prefix less.
    pub(super) fn give(&mut self, id: u16) {
        if let Some(group) = self.groups.get_mut(usize::from(id)).and_then(Option::as_mut) {
            group.users -= 1;
            if group.users == 0 && group.fate != Fate::Unmarked {
                group.fate = Fate::Unmarked;
                self.unmarked.push(id);
            }
        }
    }

    /// The ids of all groups.
    pub(super) fn ids(&self) -> Vec<u16> {
        let ids = self.groups.iter().enumerate();
        ids.filter(|(_, group)| group.is_some()).map(|(id, _)| id as u16).collect()
    }

    pub(super) fn has_unmarked(&self) -> bool {
        !self.unmarked.is_empty()
    }

    /// The ids that nobody used before this mark wait for it to be passed.
    pub(super) fn mark(&mut self, mark: u64) {
        for id in self.unmarked.drain(..) {
            let Some(group) = &mut self.groups[usize::from(id)] else { continue };
            group.fate = if group.users == 0 { Fate::Dying(mark) } else { Fate::InUse };
            if group.users == 0 {
                self.dying.push_back((mark, id));
            }
        }
    }

    /// Gives the next id away whose mark is passed and that is still in nobody's use; gives its adjacencies back.
    pub(super) fn bury(&mut self, passed: impl Fn(u64) -> bool) -> Option<Box<[u32]>> {
        while let Some(&(mark, id)) = self.dying.front() {
            if !passed(mark) {
                return None;
            }
            self.dying.pop_front();
            let slot = &mut self.groups[usize::from(id)];
            let Some(group) = slot else { continue };
            match (group.fate == Fate::Dying(mark), group.users) {
                (true, 0) => {}
                (true, _) => {
                    group.fate = Fate::InUse;
                    continue;
                }
                // It was used since, and stands further back for that.
                (false, _) => continue,
            }
            if let Some(group) = slot.take() {
                self.by_hops.remove(&group.hops);
                self.entries[usize::from(id)] = Entry::default();
                self.shared.retain(|shared| *shared != id);
                self.free.push(id);
                return Some(group.adjacencies);
            }
        }
        None
    }

    /// How many ids have a meaning, and how many wait to be given away.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.by_hops.len(), self.dying.len() + self.unmarked.len())
    }

    /// Shares a group's flows among the hops that work; among all if none does.
    pub(super) fn share(&mut self, id: u16, works: impl Fn(u32) -> bool) {
        let Some(group) = self.groups.get_mut(usize::from(id)).and_then(Option::as_mut) else { return };
        let ways = group.hops.iter().zip(&group.adjacencies);
        let weighed = |hop: &Hop| u32::from(hop.weight.max(1));
        let mut ways: Vec<(u32, u32)> = ways.map(|(hop, place)| (*place, weighed(hop))).collect();
        if ways.iter().any(|(place, _)| works(*place)) {
            ways.retain(|(place, _)| works(*place));
        }
        group.buckets = buckets(&ways);
        let entry = match group.buckets[..] {
            [one] => Entry { kind: EntryKind::Forward, mask: 0, first: one },
            ref several => Entry { kind: EntryKind::Forward, mask: (several.len() - 1) as u8, first: 0 },
        };
        self.entries[usize::from(id)] = entry;
        self.shared.retain(|shared| *shared != id);
        if entry.mask > 0 {
            self.shared.push(id);
        }
    }
}

/// Gives each way its share of a power of two of buckets, none nothing: by the largest remainders.
fn buckets(ways: &[(u32, u32)]) -> Vec<u32> {
    let [_, _, ..] = ways else { return ways.iter().map(|(place, _)| *place).collect() };
    let equal = ways.iter().all(|(_, weight)| *weight == ways[0].1);
    let count = match ways.len() {
        few if equal && few.is_power_of_two() => few,
        _ => BUCKETS,
    };
    let sum: u64 = ways.iter().map(|(_, weight)| u64::from(*weight)).sum();
    // One for each, and the rest by weight.
    let rest = (count - ways.len()) as u64;
    let mut shares: Vec<(usize, u64)> = Vec::with_capacity(ways.len());
    let mut left = rest;
    for (_, weight) in ways {
        let scaled = u64::from(*weight) * rest;
        shares.push(((scaled / sum) as usize + 1, scaled % sum));
        left -= scaled / sum;
    }
    let mut order: Vec<usize> = (0..ways.len()).collect();
    order.sort_by_key(|&way| std::cmp::Reverse(shares[way].1));
    for &way in order.iter().take(left as usize) {
        shares[way].0 += 1;
    }
    let filled = ways.iter().zip(&shares);
    filled.flat_map(|((place, _), (share, _))| std::iter::repeat_n(*place, *share)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(weights: &[u32]) -> Vec<usize> {
        let ways: Vec<(u32, u32)> = weights.iter().enumerate().map(|(n, w)| (n as u32, *w)).collect();
        let buckets = buckets(&ways);
        assert!(buckets.len().is_power_of_two() && buckets.len() <= BUCKETS);
        (0..ways.len()).map(|way| buckets.iter().filter(|b| **b as usize == way).count()).collect()
    }

    #[test]
    fn flows_are_shared_by_weight_and_no_hop_is_left_out() {
        assert_eq!(shares(&[1]), [1]);
        assert_eq!(shares(&[7, 7]), [1, 1]);
        assert_eq!(shares(&[1, 1, 1]), [22, 21, 21]);
        assert_eq!(shares(&[1, 3]), [17, 47]);
        assert_eq!(shares(&[1, 65_535]), [1, 63]);
        let all = shares(&[5; 64]);
        assert_eq!(all, [1; 64]);
    }
}
