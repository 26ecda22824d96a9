//! The entries, shared between the thread that changes them and those that read.
//!
//! Nobody holds the lock for longer than it takes to copy a [page](Register::entries), or the [table](Register::table)
//! of addresses and instants that a generation needs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use ipnetwork::IpNetwork;
use sekisho_dataplane::policy::Grant;

use super::{Held, shown};
use crate::clock;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) grant: Grant,
    pub(super) reason: Arc<str>,
    pub(super) uid: u32,
    pub(super) pid: i32,
}

impl Entry {
    pub(super) fn held(&self) -> Held {
        let Entry { grant, reason, uid, pid } = self;
        Held {
            address: shown(grant.prefix),
            given: clock::show(grant.given),
            until: clock::show(grant.until),
            reason: reason.to_string(),
            uid: *uid,
            pid: *pid,
        }
    }
}

/// In the order of the tables: sorting them again then costs one pass.
type Key = (bool, u8, IpAddr);

fn key(prefix: IpNetwork) -> Key {
    (prefix.is_ipv6(), prefix.prefix(), prefix.network())
}

/// The grants that are not over, for all threads.
#[derive(Clone, Debug, Default)]
pub struct Register(Arc<Mutex<BTreeMap<Key, Entry>>>);

impl Register {
    fn with<T>(&self, look: impl FnOnce(&mut BTreeMap<Key, Entry>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.with(|entries| entries.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this very prefix has one.
    pub fn has(&self, prefix: IpNetwork) -> bool {
        self.with(|entries| entries.contains_key(&key(prefix)))
    }

    /// What the tables need.
    pub fn table(&self) -> Vec<Grant> {
        self.with(|entries| entries.values().map(|entry| entry.grant).collect())
    }

    /// So many of them behind this prefix, IPv4 first, by length and address.
    pub(super) fn entries(&self, after: Option<IpNetwork>, limit: usize) -> Vec<Entry> {
        let behind = after.map_or(Bound::Unbounded, |prefix| Bound::Excluded(key(prefix)));
        self.with(|entries| {
            entries.range((behind, Bound::Unbounded)).take(limit).map(|(_, entry)| entry.clone()).collect()
        })
    }

    /// The same, for people.
    pub fn page(&self, after: Option<IpNetwork>, limit: usize) -> Vec<Held> {
        self.entries(after, limit).iter().map(Entry::held).collect()
    }

    pub(super) fn get(&self, prefix: IpNetwork) -> Option<Entry> {
        self.with(|entries| entries.get(&key(prefix)).cloned())
    }

    pub(super) fn insert(&self, entry: Entry) {
        self.with(|entries| entries.insert(key(entry.grant.prefix), entry));
    }

    pub(super) fn remove(&self, prefix: IpNetwork) -> Option<Entry> {
        self.with(|entries| entries.remove(&key(prefix)))
    }

    /// Takes out those that are over.
    pub(super) fn expire(&self, now: i64) -> Vec<Entry> {
        self.with(|entries| {
            let over = |entry: &Entry| entry.grant.until <= now;
            let expired: Vec<Entry> = entries.values().filter(|entry| over(entry)).cloned().collect();
            if !expired.is_empty() {
                entries.retain(|_, entry| !over(entry));
            }
            expired
        })
    }
}

impl FromIterator<Entry> for Register {
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Register {
        let entries = entries.into_iter().map(|entry| (key(entry.grant.prefix), entry));
        Register(Arc::new(Mutex::new(entries.collect())))
    }
}
