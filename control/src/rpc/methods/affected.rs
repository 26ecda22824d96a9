//! `affected`: who is denied on port 25, or would be. Takes [`Wish`], gives [`List`].
//!
//! A list is given in pages. Without `after`, the customers with the most attempts come, up to `limit`. With it, the
//! customers come in the order of their names: an empty `after` begins, and `next` of each page is the `after` of the
//! next, until there is none; a customer that is listed all the while is in exactly one page.

use serde::{Deserialize, Serialize};

use super::{Call, Params, give};
use crate::affected::{Accuracy, Row};
use crate::clock;
use crate::config::Privacy;
use crate::daemon::Readers;
use crate::rpc::Error;
use crate::words;

/// The most rows of a page.
pub const MOST: usize = 10_000;

/// What `affected` takes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    /// Of this pool only.
    pub pool: Option<String>,
    /// At most so many customers: 1 to [`MOST`].
    pub limit: usize,
    /// By name, those behind this one.
    pub after: Option<String>,
    /// Forget everything, once this was read.
    pub reset: bool,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish { pool: None, limit: 1_000, after: None, reset: false }
    }
}

/// What `affected` gives.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct List {
    /// When it was read, in UTC.
    pub at: String,
    /// Since when it is booked: the daemon's start, or the last reset.
    pub since: String,
    /// The generation in force.
    pub generation: u64,
    /// `off`: customers are named by their addresses; `hash`: by a hash that lasts as long as the daemon.
    pub privacy: String,
    /// How far the numbers are to be trusted. Of all customers, whatever was asked for.
    pub accuracy: Accuracy,
    /// How many customers there are, of the pool that was asked for.
    pub found: usize,
    /// The page.
    pub customers: Vec<Row>,
    /// What to ask for `after` to get the next page, if there is one.
    pub next: Option<String>,
}

pub(super) fn call(params: &Params<'_>) -> Result<Call, Error> {
    let wish: Wish = params.read()?;
    if !(1..=MOST).contains(&wish.limit) {
        return Err(Error::params(format!("`limit` must lie between 1 and {MOST}")));
    }
    if wish.reset {
        params.must_change("to have the list of affected customers forgotten")?;
    }
    Ok(Call::read(move |readers| give(&List::of(readers, wish)?)))
}

impl List {
    fn of(readers: &Readers, wish: Wish) -> Result<List, Error> {
        let in_force = readers.in_force();
        let Some(affected) = &readers.books().affected else {
            return Err(Error::params("nobody is booked: the configuration says `[affected] customers = 0`"));
        };
        let pool = wish.pool.map(|name| {
            in_force.names.pool_named(&name).ok_or_else(|| {
                let name: String = name.chars().take(64).collect();
                Error::params(format!("there is no pool `{name}`; `sekisho pools` lists them"))
            })
        });
        let pool = pool.transpose()?;
        let privacy: Privacy = in_force.config.affected.privacy;
        let since = affected.since_micros();
        let (mut customers, accuracy) = affected.rows(&in_force.names, privacy, pool);
        let found = customers.len();
        let mut next = None;
        if let Some(after) = &wish.after {
            customers.retain(|row| row.customer > *after);
            customers.sort_unstable_by(|a, b| a.customer.cmp(&b.customer));
            let last = customers.get(wish.limit - 1).filter(|_| customers.len() > wish.limit);
            next = last.map(|row| row.customer.clone());
        }
        customers.truncate(wish.limit);
        if wish.reset {
            affected.reset();
        }
        Ok(List {
            at: clock::show(clock::now()),
            since: clock::show(since),
            generation: in_force.generation,
            privacy: words::privacy(privacy).to_owned(),
            accuracy,
            found,
            customers,
            next,
        })
    }
}
