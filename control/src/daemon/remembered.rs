//! What kernel tables last contained, for the next start.
//!
//! When a host starts, its routing daemon needs some seconds until it has filled the tables. Without this its customers would be
//! strangers meanwhile. What was remembered and is not there is held, as what is lost while the daemon runs.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::config::{Contents, PrefixError, parse_prefix};
use crate::durable;

const FILE: &str = "kernel-tables.json";
const VERSION: u32 = 1;
/// Some three million prefixes.
const LARGEST: u64 = 64 << 20;
/// Between two writes, and in times of what the last one took: who makes generations has other things to do.
const PACE: Duration = Duration::from_secs(5);
const PACE_SHARE: u32 = 20;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    tables: Vec<Table>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Table {
    table: u32,
    prefixes: Vec<String>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    folder: Option<PathBuf>,
    written: Contents,
    /// The next attempt.
    due: Option<Instant>,
    /// That it can't be written is known.
    told: bool,
    /// Bytes that are written at most.
    largest: u64,
}

impl Remembered {
    /// What is remembered in a state folder, and why it can't be read, if so.
    pub(super) fn open(folder: Option<&Path>) -> (Remembered, Option<String>) {
        let mut remembered =
            Remembered { folder: folder.map(Path::to_owned), largest: LARGEST, ..Remembered::default() };
        let Some(folder) = folder else { return (remembered, None) };
        let path = folder.join(FILE);
        match read(&path) {
            Ok(contents) => {
                remembered.written = contents;
                (remembered, None)
            }
            Err(error) => (remembered, Some(format!("{}: {error}", path.display()))),
        }
    }

    /// The contents.
    pub(super) fn contents(&self) -> &Contents {
        &self.written
    }

    /// Whether these are not written down yet.
    pub(super) fn is_behind(&self, contents: &Contents) -> bool {
        self.folder.is_some() && self.written != *contents
    }

    /// Writes contents down, if it is time or this is the end. Gives why not, the first time.
    pub(super) fn write(&mut self, contents: &Contents, last: bool) -> Option<String> {
        let begun = Instant::now();
        if !last && self.due.is_some_and(|due| begun < due) || !self.is_behind(contents) {
            return None;
        }
        let folder = self.folder.as_ref()?;
        let table = |(table, prefixes): (&u32, &Arc<[IpNetwork]>)| Table {
            table: *table,
            prefixes: prefixes.iter().map(ToString::to_string).collect(),
        };
        let file = Written { version: VERSION, tables: contents.iter().map(table).collect() };
        let written = durable::replace(folder, FILE, 0o640, |out| {
            serde_json::to_writer(Bounded { out, left: self.largest }, &file).map_err(io::Error::from)
        });
        self.due = Some(Instant::now() + PACE.max(begun.elapsed() * PACE_SHARE));
        match written {
            Ok(()) => {
                self.written.clone_from(contents);
                self.told = false;
                None
            }
            Err(error) => {
                let first = !std::mem::replace(&mut self.told, true);
                first.then(|| format!("{}: {error}", folder.join(FILE).display()))
            }
        }
    }
}

/// What can't be read again is not written.
struct Bounded<'a> {
    out: &'a mut dyn Write,
    left: u64,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left =
            left.ok_or_else(|| io::Error::other("the tables' prefixes are more than there is room for"))?;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn read(path: &Path) -> io::Result<Contents> {
    let Some(bytes) = durable::read(path, LARGEST)? else { return Ok(Contents::new()) };
    let bad = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
    let file: Written = serde_json::from_slice(&bytes)?;
    if file.version != VERSION {
        return Err(bad(format!("version {}, not {VERSION}", file.version)));
    }
    let table = |Table { table, prefixes }: Table| {
        let parsed: Result<Vec<IpNetwork>, PrefixError> = prefixes.iter().map(|text| prefix(text)).collect();
        let mut prefixes = parsed.map_err(|error| bad(error.to_string()))?;
        prefixes.sort_unstable();
        prefixes.dedup();
        Ok((table, prefixes.into()))
    };
    file.tables.into_iter().map(table).collect()
}

/// A kernel has routes of `::ffff:0:0/96` too, which nobody writes into a configuration.
fn prefix(text: &str) -> Result<IpNetwork, PrefixError> {
    parse_prefix(text).or_else(|error| match (error, text.parse::<IpNetwork>()) {
        (PrefixError::Mapped(_), Ok(written)) if written.ip() == written.network() => Ok(written),
        _ => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_at_the_next_start_and_what_is_not_right_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (mut remembered, trouble) = Remembered::open(Some(folder.path()));
        assert!(trouble.is_none() && remembered.contents().is_empty());
        let prefixes: Arc<[IpNetwork]> =
            ["192.0.2.0/24", "::ffff:0.0.0.0/96", "2001:db8::/32"].map(|text| text.parse().unwrap()).into();
        let contents = Contents::from([(2525, prefixes), (2526, Arc::default())]);
        assert_eq!(remembered.write(&contents, false), None);
        assert!(!remembered.is_behind(&contents));
        assert_eq!(*Remembered::open(Some(folder.path())).0.contents(), contents);
        for text in [
            "",
            "{\"version\":2,\"tables\":[]}",
            "{\"version\":1,\"tables\":[{\"table\":1,\"prefixes\":[\"x\"]}]}",
            "{\"version\":1,\"tables\":[{\"table\":1,\"prefixes\":[\"192.0.2.1/24\"]}]}",
            "{\"version\":1,\"tables\":[{\"table\":1,\"prefixes\":[\"::ffff:192.0.2.1/120\"]}]}",
        ] {
            std::fs::write(folder.path().join(FILE), text).unwrap();
            let (remembered, trouble) = Remembered::open(Some(folder.path()));
            assert!(trouble.is_some() && remembered.contents().is_empty(), "{text}");
        }
    }

    #[test]
    fn what_is_more_than_could_be_read_again_is_told_and_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let (mut remembered, _) = Remembered::open(Some(folder.path()));
        let few = Contents::from([(1, ["192.0.2.0/24".parse().unwrap()].into())]);
        assert_eq!(remembered.write(&few, true), None);
        remembered.largest = 60;
        let many: Vec<IpNetwork> = (0..9u8).map(|n| format!("10.{n}.0.0/16").parse().unwrap()).collect();
        let why = remembered.write(&Contents::from([(1, many.into())]), true).unwrap();
        assert!(why.ends_with("more than there is room for"), "{why}");
        assert_eq!(*Remembered::open(Some(folder.path())).0.contents(), few);
    }

    #[test]
    fn what_can_t_be_written_is_told_once() {
        let (mut remembered, _) = Remembered::open(Some(Path::new("/proc/nowhere")));
        let contents = Contents::from([(1, Arc::default())]);
        assert!(remembered.write(&contents, true).is_some());
        assert!(remembered.write(&contents, true).is_none() && remembered.is_behind(&contents));
    }
}
