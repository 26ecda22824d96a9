//! `grants.json` of the state folder: replaced as a whole, read at the start.

use std::fs;
use std::io;
use std::path::Path;

use sekisho_dataplane::policy::Grant;
use serde::{Deserialize, Serialize, Serializer};

use super::register::{Entry, Register};
use super::{Held, prefix};
use crate::config::parse_instant;
use crate::durable;

pub(super) const FILE: &str = "grants.json";
pub(super) const REFUSED: &str = "grants.json.refused";
const VERSION: u32 = 1;
/// No file is larger: the most grants that a configuration allows, each with the longest reason.
const LARGEST: u64 = 2 << 30;
/// Entries that are copied while others wait for the register.
const PAGE: usize = 1_024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    version: u32,
    grants: Vec<Held>,
}

/// What a folder remembers, and what is wrong with it.
pub(super) struct Found {
    pub(super) entries: Vec<Entry>,
    pub(super) trouble: Option<String>,
    /// Whether the file may be replaced: it was read, or it is kept under another name.
    pub(super) may_replace: bool,
}

/// What says something else than it should is kept under another name. What can't be read for another reason, such as
/// its permissions, stays where it is.
pub(super) fn read(folder: &Path) -> Found {
    let path = folder.join(FILE);
    match entries(&path) {
        Ok(entries) => Found { entries, trouble: None, may_replace: true },
        Err(error) => {
            let is_kept =
                error.kind() == io::ErrorKind::InvalidData && fs::rename(&path, folder.join(REFUSED)).is_ok();
            let more = match is_kept {
                true => format!("; it is kept as {REFUSED}"),
                false => "; it stays as it is, and grants are not saved until it can be read: mend that, and restart"
                    .to_owned(),
            };
            Found {
                entries: Vec::new(),
                trouble: Some(format!("{}: {error}{more}", path.display())),
                may_replace: is_kept,
            }
        }
    }
}

fn entries(path: &Path) -> io::Result<Vec<Entry>> {
    let bad = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let Some(bytes) = durable::read(path, LARGEST)? else { return Ok(Vec::new()) };
    let Remembered { version, grants } = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
    if version != VERSION {
        return Err(bad(format!("version {version} of the format; this build reads version {VERSION}")));
    }
    let entries = grants.into_iter().map(|held| {
        let instant = |text: &str| parse_instant(text).map_err(|error| bad(format!("{text}: {error}")));
        let prefix = prefix(&held.address).map_err(|error| bad(error.to_string()))?;
        let grant = Grant { prefix, given: instant(&held.given)?, until: instant(&held.until)? };
        Ok(Entry { grant, reason: held.reason.into(), uid: held.uid, pid: held.pid })
    });
    entries.collect()
}

/// Writes down what the register holds. What changes meanwhile may be in it or not.
pub(super) fn write(folder: &Path, register: &Register) -> io::Result<()> {
    #[derive(Serialize)]
    struct Remember<'a> {
        version: u32,
        #[serde(serialize_with = "pages")]
        grants: &'a Register,
    }
    // Addresses of customers and names of users: for the daemon alone.
    durable::replace(folder, FILE, 0o600, |file| {
        Ok(serde_json::to_writer(file, &Remember { version: VERSION, grants: register })?)
    })
}

fn pages<S: Serializer>(register: &Register, serializer: S) -> Result<S::Ok, S::Error> {
    let mut after = None;
    serializer.collect_seq(
        std::iter::from_fn(|| {
            let page = register.entries(after, PAGE);
            after = Some(page.last()?.grant.prefix);
            Some(page)
        })
        .flatten()
        .map(|entry| entry.held()),
    )
}
