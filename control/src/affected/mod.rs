//! The affected list: who is denied on port 25, or would be, for people and for spreadsheets.
//!
//! The workers book (`sekisho_dataplane::affected`); here their tables are read, customers get their names, and each
//! gets a [hint](Hint). What is exact and what is an estimate is said there, and each [`Row`] says how far its count may
//! be off.
//!
//! Under `privacy = "hash"` a customer's address is replaced by a keyed hash before it leaves this module. The key is
//! made anew by each process and is never written down: within one run of the daemon a customer keeps its name, so that
//! lists can be compared, and afterwards nobody can tell who it was.

mod csv;
mod hint;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use sekisho_dataplane::affected::{self, Customer, Destination, Recorder, Report};
use sekisho_dataplane::policy::PoolId;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::compile::Names;
use crate::config::Privacy;

pub use csv::write as write_csv;
pub use hint::{Hint, MANY_DESTINATIONS};

/// A customer that is denied, or would be.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Row {
    /// Its address, or the hash of it.
    pub customer: String,
    /// Its pool; none for a source in no pool, or if the pool is gone.
    pub pool: Option<String>,
    /// The pool's policy.
    pub policy: Option<String>,
    /// Its first attempt, in UTC.
    pub first_seen: String,
    /// Its last.
    pub last_seen: String,
    /// Packets that were denied, or would have been.
    pub attempts: u64,
    /// It may have had so many, if it lost its place to another customer in between. The same, if it did not.
    pub attempts_at_most: u64,
    /// Of the attempts, those that open a connection: SYNs from the customer.
    pub connections: u64,
    /// Of the attempts, answers from outside to the customer (rule 20).
    pub answers: u64,
    /// Of the attempts, those that were denied.
    pub denied: u64,
    /// Of the attempts, those that were forwarded, and that a monitored rule would have denied.
    pub would_deny: u64,
    /// The attempts by what is at the other end.
    pub destinations: Destinations,
    /// Distinct destinations, an estimate.
    pub distinct_destinations: u64,
    /// What it looks like.
    pub hint: Hint,
}

/// Attempts by what is at the other end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Destinations {
    /// A server in a set that some policy always allows: the provider's own.
    pub own: u64,
    /// A server in another set.
    pub listed: u64,
    /// A server in no set.
    pub other: u64,
}

/// What stands beside the rows.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Accuracy {
    /// Everything that was booked for all customers: exact, whatever had to leave the list.
    pub attempts: u64,
    /// Customers that each worker has room for.
    pub room: usize,
    /// Times that a customer had to leave its place to another.
    pub displaced_customers: u64,
    /// Attempts that are in no row any more for that.
    pub displaced_attempts: u64,
    /// A customer that is not listed has had at most so many attempts.
    pub unlisted_at_most: u64,
    /// Customers that could not be read while their places changed hands.
    pub unread: u64,
    /// The standard error of the distinct destinations, as a share.
    pub distinct_error: f64,
}

/// What the daemon, or a replay, books affected customers with.
#[derive(Debug)]
pub struct Affected {
    tables: affected::Affected,
    names: RandomState,
    spans: Mutex<Spans>,
}

/// When lists were begun, in UTC microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Spans {
    /// Since when it is booked.
    pub since: i64,
    /// When the former list was begun, and when it ended; none before the first time.
    pub former: Option<(i64, i64)>,
    /// How often a list was begun anew.
    pub resets: u64,
}

/// Which list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that workers book in.
    Current,
    /// The one before it was begun anew.
    Former,
}

impl Affected {
    /// For so many workers, with room for so many customers each.
    pub fn new(workers: usize, customers: usize) -> Affected {
        Affected {
            tables: affected::Affected::new(workers, customers),
            names: RandomState::new(),
            spans: Mutex::new(Spans { since: clock::now(), former: None, resets: 0 }),
        }
    }

    /// What a worker books with; one thread alone may have it.
    ///
    /// # Panics
    /// If there is no such worker.
    pub fn recorder(&self, worker: usize) -> Recorder {
        self.tables.recorder(worker)
    }

    /// Begins a new list; see [`turn_over`](affected::Affected::turn_over) for when the former one rests.
    pub fn turn_over(&self) {
        self.tables.turn_over();
        let now = clock::now();
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        *spans = Spans { since: now, former: Some((spans.since, now)), resets: spans.resets + 1 };
    }

    /// When lists were begun.
    pub fn spans(&self) -> Spans {
        *self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything, read while the workers go on. Rows stand in the order of their attempts, the most first.
    pub fn rows(
        &self,
        which: Which,
        names: &Names,
        privacy: Privacy,
        pool: Option<PoolId>,
    ) -> (Vec<Row>, Accuracy) {
        let Report { customers, attempts, displaced_customers, displaced_attempts, unlisted_at_most, unread } =
            match which {
                Which::Current => self.tables.read(),
                Which::Former => self.tables.former(),
            };
        let wanted =
            customers.into_iter().filter(|customer| pool.is_none_or(|pool| customer.record.pool == pool));
        let rows = wanted.map(|customer| self.row(&customer, names, privacy)).collect();
        let accuracy = Accuracy {
            attempts,
            room: self.tables.capacity(),
            displaced_customers,
            displaced_attempts,
            unlisted_at_most,
            unread,
            distinct_error: affected::STANDARD_ERROR,
        };
        (rows, accuracy)
    }

    fn row(&self, Customer { record, at_most }: &Customer, names: &Names, privacy: Privacy) -> Row {
        let distinct = record.distinct.estimate();
        Row {
            customer: match privacy {
                Privacy::Off => record.customer.to_string(),
                Privacy::Hash => self.hashed(record.customer),
            },
            pool: names.pool(record.pool).map(str::to_owned),
            policy: names.policy_of(record.pool).map(str::to_owned),
            first_seen: clock::show(record.first_micros),
            last_seen: clock::show(record.last_micros),
            attempts: record.attempts(),
            attempts_at_most: *at_most,
            connections: record.connections,
            answers: record.answers,
            denied: record.denied(),
            would_deny: record.would_deny(),
            destinations: Destinations {
                own: record.to(Destination::Own),
                listed: record.to(Destination::Listed),
                other: record.to(Destination::Other),
            },
            distinct_destinations: distinct,
            hint: Hint::of(record.attempts(), record.answers, distinct),
        }
    }

    /// SipHash of the address under this process's key: 64 bits, which no two of some million customers share but by a
    /// chance of one in ten million.
    fn hashed(&self, customer: IpAddr) -> String {
        format!("h-{:016x}", self.names.hash_one(customer))
    }
}
