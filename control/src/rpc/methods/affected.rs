//! `affected`: who is denied on port 25, or would be. Takes [`Wish`], gives [`List`].
//!
//! A list is given in pages. Without `after`, the customers with the most attempts come, up to `limit`. With it, the
//! customers come in the order of their names: an empty `after` begins, and `next` of each page is the `after` of the
//! next, until there is none; a customer that is listed all the while is in exactly one page.
//!
//! With `reset` the list is begun anew, and the page is of the list as it was: no attempt is in neither, and none in both.
//! That list rests, and is given with `former` until the next reset. `resets` says whether pages are of the same list.

use sekisho_dataplane::policy::PoolId;
use serde::{Deserialize, Serialize};

use super::{Call, Params, give};
use crate::affected::{Accuracy, Row, Which};
use crate::clock;
use crate::config::Privacy;
use crate::daemon::{Books, InForce};
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
    /// Begin anew, and give the list as it was.
    pub reset: bool,
    /// Give the list that was before the last reset.
    pub former: bool,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish { pool: None, limit: 1_000, after: None, reset: false, former: false }
    }
}

/// What `affected` gives.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct List {
    /// When it was read, in UTC; or when it was begun anew, if it rests.
    pub at: String,
    /// Since when it is booked: the daemon's start, or the last reset.
    pub since: String,
    /// How often the list was begun anew.
    #[serde(default)]
    pub resets: u64,
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
    if !wish.reset {
        return Ok(Call::read(move |readers| give(&List::of(&readers.in_force(), readers.books(), wish)?)));
    }
    params.must_change("to have the list of affected customers begun anew")?;
    Ok(Call::change(move |tables| {
        // What is wrong with the wish is found before.
        pool_of(&tables.in_force(), wish.pool.as_deref())?;
        tables.turn_affected_over()?;
        give(&List::of(&tables.in_force(), tables.books(), Wish { former: true, ..wish })?)
    }))
}

fn pool_of(in_force: &InForce, name: Option<&str>) -> Result<Option<PoolId>, Error> {
    let pool = name.map(|name| {
        in_force.names.pool_named(name).ok_or_else(|| {
            let name: String = name.chars().take(64).collect();
            Error::params(format!("there is no pool `{name}`; `sekisho pools` lists them"))
        })
    });
    pool.transpose()
}

impl List {
    fn of(in_force: &InForce, books: &Books, wish: Wish) -> Result<List, Error> {
        let Some(affected) = &books.affected else { return Err(nobody_is_booked()) };
        let pool = pool_of(in_force, wish.pool.as_deref())?;
        let privacy: Privacy = in_force.config.affected.privacy;
        let which = if wish.former { Which::Former } else { Which::Current };
        // A list that is begun anew while it is read is read again.
        let (spans, (mut customers, accuracy)) = loop {
            let spans = affected.spans();
            let read = affected.rows(which, &in_force.names, privacy, pool);
            if affected.spans().resets == spans.resets {
                break (spans, read);
            }
        };
        let (since, at) = match (which, spans.former) {
            (Which::Current, _) => (spans.since, clock::now()),
            (Which::Former, Some(former)) => former,
            (Which::Former, None) => {
                return Err(Error::new(Error::NOT_FOUND, "the list has not been begun anew yet"));
            }
        };
        let found = customers.len();
        let mut next = None;
        if let Some(after) = &wish.after {
            customers.retain(|row| row.customer > *after);
            customers.sort_unstable_by(|a, b| a.customer.cmp(&b.customer));
            let last = customers.get(wish.limit - 1).filter(|_| customers.len() > wish.limit);
            next = last.map(|row| row.customer.clone());
        }
        customers.truncate(wish.limit);
        Ok(List {
            at: clock::show(at),
            since: clock::show(since),
            resets: spans.resets,
            generation: in_force.generation,
            privacy: words::privacy(privacy).to_owned(),
            accuracy,
            found,
            customers,
            next,
        })
    }
}

/// Why there is no list.
pub(crate) fn nobody_is_booked() -> Error {
    Error::params("nobody is booked: the configuration says `[affected] customers = 0`")
}
