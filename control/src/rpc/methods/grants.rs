//! `grants`: the grants that are not over. Takes a [`Page`], gives [`Grants`]. `after` is an address or a prefix, whether
//! it has a grant or not: a grant that is there all the while is in exactly one page.

use serde::{Deserialize, Serialize};

use super::page::{Page, Pages};
use super::{Call, Params, give};
use crate::clock;
use crate::durable::Standing;
use crate::grants::{self, Held};
use crate::rpc::Error;

/// What `grants` gives.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Grants {
    /// The daemon's clock, in UTC.
    pub now: String,
    /// How many there may be.
    pub limit: usize,
    /// Whether they survive a restart: there is a state folder, and nothing in it that can't be read.
    pub survive_restart: bool,
    /// Whether all of them, and all that were revoked, are on the disk.
    pub saved: bool,
    /// How many there are.
    pub found: usize,
    /// The page: IPv4 first, by length and address.
    pub grants: Vec<Held>,
    /// What to ask for `after` to get the next page, if there is one.
    pub next: Option<String>,
}

impl Pages for Grants {
    fn next(&mut self) -> Option<String> {
        self.next.take()
    }

    fn append(&mut self, page: Grants) {
        self.grants.extend(page.grants);
        (self.next, self.found) = (page.next, self.grants.len());
    }
}

pub(super) fn call(params: &Params<'_>) -> Result<Call, Error> {
    let Page { limit, after } = Page::of(params)?;
    let after = after.as_deref().map(grants::prefix).transpose();
    let after = after.map_err(|error| Error::params(format!("after: {error}")))?;
    Ok(Call::read(move |readers| {
        let in_force = readers.in_force();
        let mut grants = readers.grants.page(after, limit + 1);
        let more = grants.len() > limit;
        grants.truncate(limit);
        give(&Grants {
            now: clock::show(clock::now()),
            limit: in_force.config.limits.grants,
            survive_restart: readers.saving.is_some(),
            saved: readers.saving.as_ref().is_some_and(Standing::is_saved),
            found: readers.grants.len(),
            next: grants.last().filter(|_| more).map(|last| last.address.clone()),
            grants,
        })
    }))
}
