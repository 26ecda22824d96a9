//! Lists in pages: no answer is larger than its page, however much there is to list.
//!
//! A list takes `limit` and `after`, and gives a page and `next`: what to ask for `after` to get the page behind it,
//! until there is none. What `next` looks like is each list's own affair. Where the list has become another one in
//! between, going on is refused with [`Error::NOT_FOUND`], and whoever wants all begins again.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Params;
use crate::rpc::{CallError, Client, Error};

/// The most rows of a page.
pub const MOST: usize = 10_000;
/// As many where nothing else is said.
const USUAL: usize = 1_000;
/// Times that a list is begun again which becomes another one before its last page.
const TRIES: usize = 10;

/// What a list takes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// At most so many rows: 1 to [`MOST`].
    pub limit: usize,
    /// The rows behind this; from the first if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl Default for Page {
    fn default() -> Page {
        Page { limit: USUAL, after: None }
    }
}

impl Page {
    pub(super) fn of(params: &Params<'_>) -> Result<Page, Error> {
        let page: Page = params.read()?;
        match (1..=MOST).contains(&page.limit) {
            true => Ok(page),
            false => Err(Error::params(format!("`limit` must lie between 1 and {MOST}"))),
        }
    }

    /// The rows to take of a list that a generation numbers, and what the next page is asked for with.
    pub(super) fn of_generation(
        &self,
        generation: u64,
        rows: usize,
    ) -> Result<(std::ops::Range<usize>, Option<String>), Error> {
        let from = match &self.after {
            None => 0,
            Some(after) => {
                let parts =
                    after.split_once(':').map(|(number, at)| (number.parse::<u64>(), at.parse::<usize>()));
                let Some((Ok(number), Ok(at))) = parts else {
                    return Err(Error::params("`after` is what the page before gave as `next`"));
                };
                if number != generation || at > rows {
                    let message = format!("generation {generation} is in force meanwhile: begin again");
                    return Err(Error::new(Error::NOT_FOUND, message));
                }
                at
            }
        };
        let until = rows.min(from.saturating_add(self.limit));
        Ok((from..until, (until < rows).then(|| format!("{generation}:{until}"))))
    }
}

/// A list that comes in pages.
pub trait Pages: DeserializeOwned {
    /// What the next page is asked for with, if there is one.
    fn next(&mut self) -> Option<String>;
    /// Takes the rows of the page behind.
    fn append(&mut self, page: Self);
}

/// All of a list, page by page.
///
/// # Errors
/// As [`Client::call`].
pub fn all<R: Pages>(client: &mut Client, method: &str) -> Result<R, CallError> {
    let mut tries = 1..TRIES;
    'again: loop {
        let mut page = Page { limit: MOST, after: None };
        let mut list: R = client.call(method, &page)?;
        while let Some(next) = list.next() {
            page.after = Some(next);
            match client.call(method, &page) {
                Ok(page) => list.append(page),
                Err(CallError::Refused(error))
                    if error.code == Error::NOT_FOUND && tries.next().is_some() =>
                {
                    continue 'again;
                }
                Err(error) => return Err(error),
            }
        }
        return Ok(list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_a_generation_follow_each_other_to_the_end_and_not_into_another_generation() {
        let mut page = Page { limit: 4, after: None };
        let mut seen = Vec::new();
        loop {
            let (rows, next) = page.of_generation(7, 10).unwrap();
            seen.extend(rows);
            let Some(next) = next else { break };
            page.after = Some(next);
        }
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        assert_eq!(page.of_generation(8, 10).unwrap_err().code, Error::NOT_FOUND);
        assert_eq!(page.of_generation(7, 3).unwrap_err().code, Error::NOT_FOUND);
        for after in ["", "7", "7:x", ":", "7:-1"] {
            let page = Page { after: Some(after.into()), ..Page::default() };
            assert_eq!(page.of_generation(7, 10).unwrap_err().code, Error::INVALID_PARAMS, "{after}");
        }
        assert_eq!(Page::default().of_generation(7, 0).unwrap(), (0..0, None));
    }
}
