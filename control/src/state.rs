//! What outlives the daemon: which phases have begun.
//!
//! A phase that has begun stays begun if the clock steps back, also over a restart (policy.md section 5). So the
//! daemon writes down each phase that begins, in `phases.json` of its state folder, and reads that file when it
//! starts. `replay`, `explain -c` and `check` never touch it.
//!
//! The file is replaced as a whole. One that says something else than it should costs what it remembered and nothing
//! else: the daemon says so, keeps it under another name for whoever wants to know, and goes on with what the clock says.
//! One that can't be read stays as it is, and nothing is written.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::compile::PhaseKey;
use crate::config::parse_instant;
use crate::durable;

/// The file's name in the state folder.
const FILE: &str = "phases.json";
/// Where a file that can't be read is kept.
const REFUSED: &str = "phases.json.refused";
/// The version of the format that is read and written.
const VERSION: u32 = 1;
/// A file is not larger: as many phases as a daemon sees in a thousand years.
const LARGEST: u64 = 16 << 20;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    version: u32,
    begun: Vec<Begun>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Begun {
    policy: String,
    phase: String,
    /// RFC 3339.
    from: String,
}

/// Why what was remembered can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file is there, and can't be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file says something else than it should.
    #[error("{}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// Why something can't be remembered.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct Unwritable {
    path: PathBuf,
    source: io::Error,
}

/// The state folder, and what is remembered there.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    begun: BTreeSet<PhaseKey>,
    /// Whether the file may be replaced: it was read, or it is kept under another name.
    may_replace: bool,
}

impl State {
    /// Reads what is remembered in `folder`. Where that can't be done, nothing is remembered, and the second value
    /// says why; a folder or file that does not exist yet is no trouble.
    pub fn open(folder: &Path) -> (State, Option<Unreadable>) {
        let path = folder.join(FILE);
        let mut may_replace = true;
        let (begun, trouble) = match read(&path) {
            Ok(begun) => (begun, None),
            Err(trouble) => {
                // Only what was read can be judged.
                may_replace = matches!(trouble, Unreadable::Content { .. })
                    && fs::rename(&path, folder.join(REFUSED)).is_ok();
                (BTreeSet::new(), Some(trouble))
            }
        };
        (State { folder: folder.to_owned(), begun, may_replace }, trouble)
    }

    /// The phases that are known to have begun.
    pub fn begun(&self) -> impl Iterator<Item = &PhaseKey> {
        self.begun.iter()
    }

    /// Remembers that phases have begun, on the disk if one of them is news.
    ///
    /// # Errors
    /// When the file can't be written. They are remembered in memory and written with the next that begin, or by the
    /// next call.
    pub fn remember(&mut self, begun: impl IntoIterator<Item = PhaseKey>) -> Result<(), Unwritable> {
        let mut begun: BTreeSet<PhaseKey> = begun.into_iter().collect();
        if begun.is_subset(&self.begun) {
            return Ok(());
        }
        begun.extend(self.begun.iter().cloned());
        if !self.may_replace {
            let source = io::Error::other("it can't be read, and stays as it is; mend that, and restart");
            return Err(Unwritable { path: self.folder.join(FILE), source });
        }
        write(&self.folder, &begun).map_err(|source| Unwritable { path: self.folder.join(FILE), source })?;
        self.begun = begun;
        Ok(())
    }
}

fn read(path: &Path) -> Result<BTreeSet<PhaseKey>, Unreadable> {
    let io = |source| Unreadable::Io { path: path.to_owned(), source };
    let content = |message: String| Unreadable::Content { path: path.to_owned(), message };
    let bytes = durable::read(path, LARGEST).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => content(error.to_string()),
        _ => io(error),
    })?;
    let Some(bytes) = bytes else { return Ok(BTreeSet::new()) };
    let Remembered { version, begun } =
        serde_json::from_slice(&bytes).map_err(|error| content(error.to_string()))?;
    if version != VERSION {
        return Err(content(format!("version {version} of the format; this build reads version {VERSION}")));
    }
    let keys = begun.into_iter().map(|Begun { policy, phase, from }| {
        let from_micros = parse_instant(&from).map_err(|error| content(format!("{from}: {error}")))?;
        Ok(PhaseKey { policy, phase, from_micros })
    });
    keys.collect()
}

fn write(folder: &Path, begun: &BTreeSet<PhaseKey>) -> io::Result<()> {
    let begun = begun.iter().map(|key| {
        let from = Timestamp::from_microsecond(key.from_micros).map_err(io::Error::other)?;
        Ok(Begun { policy: key.policy.clone(), phase: key.phase.clone(), from: from.to_string() })
    });
    let remembered = Remembered { version: VERSION, begun: begun.collect::<io::Result<_>>()? };
    durable::replace(folder, FILE, 0o666, |file| Ok(serde_json::to_writer_pretty(file, &remembered)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(phase: &str, from_micros: i64) -> PhaseKey {
        PhaseKey { policy: "dynamic".into(), phase: phase.into(), from_micros }
    }

    fn remembered(folder: &Path) -> Vec<PhaseKey> {
        let (state, trouble) = State::open(folder);
        assert!(trouble.is_none(), "{trouble:?}");
        state.begun().cloned().collect()
    }

    #[test]
    fn what_has_begun_is_remembered_and_adds_up() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("deeper/still");
        let (mut state, trouble) = State::open(&folder);
        assert!(trouble.is_none() && state.begun().next().is_none());
        state.remember([key("one", 1_129_561_200_000_000)]).unwrap();
        state.remember([key("two", -5), key("関所", 7)]).unwrap();
        assert_eq!(remembered(&folder), [key("one", 1_129_561_200_000_000), key("two", -5), key("関所", 7)]);
    }

    #[test]
    fn nothing_is_written_where_nothing_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let (mut state, _) = State::open(folder.path());
        state.remember([]).unwrap();
        assert!(!folder.path().join(FILE).exists());
        state.remember([key("one", 1)]).unwrap();
        fs::remove_file(folder.path().join(FILE)).unwrap();
        state.remember([key("one", 1)]).unwrap();
        assert!(!folder.path().join(FILE).exists());
    }

    #[test]
    fn a_file_that_is_damaged_or_of_another_version_costs_what_it_said_and_is_kept_aside() {
        let good = r#"{"version":1,"begun":[{"policy":"p","phase":"a","from":"2006-06-01T00:00:00+09:00"}]}"#;
        for (text, told) in [
            ("", "EOF"),
            (&good[..40], "EOF"),
            ("\0\0\0\0", "expected value"),
            (&good.replace(":1,", ":2,"), "version 2"),
            (&good.replace("2006", "soon"), "soon"),
            (&good.replace("phase", "stage"), "unknown field"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(FILE), text).unwrap();
            let (mut state, trouble) = State::open(folder.path());
            let trouble = trouble.expect(text).to_string();
            assert!(trouble.contains(FILE) && trouble.contains(told), "{trouble}");
            assert_eq!(state.begun().count(), 0);
            assert_eq!(fs::read_to_string(folder.path().join(REFUSED)).unwrap(), text);
            state.remember([key("one", 1)]).unwrap();
            assert_eq!(remembered(folder.path()), [key("one", 1)]);
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), good).unwrap();
        let begun = remembered(folder.path());
        assert_eq!((begun.len(), begun[0].from_micros), (1, 1_149_087_600_000_000));
    }

    #[test]
    fn a_file_that_can_not_be_read_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        // It is there, and reading it fails, for root as well.
        std::os::unix::fs::symlink("/proc/self/mem", &path).unwrap();
        let (mut state, trouble) = State::open(folder.path());
        assert!(matches!(trouble, Some(Unreadable::Io { .. })), "{trouble:?}");
        let error = state.remember([key("one", 1)]).unwrap_err().to_string();
        assert!(error.contains("stays as it is"), "{error}");
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("/proc/self/mem"));
    }

    #[test]
    fn a_half_written_new_file_beside_is_no_trouble() {
        let folder = tempfile::tempdir().unwrap();
        let (mut state, _) = State::open(folder.path());
        state.remember([key("one", 1)]).unwrap();
        fs::write(folder.path().join("phases.json.new"), "{\"vers").unwrap();
        assert_eq!(remembered(folder.path()), [key("one", 1)]);
        state.remember([key("two", 2)]).unwrap();
        assert_eq!(remembered(folder.path()).len(), 2);
    }

    #[test]
    fn what_can_not_be_written_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("file");
        fs::write(&blocked, "in the way").unwrap();
        let (mut state, _) = State::open(&blocked);
        let error = state.remember([key("one", 1)]).unwrap_err().to_string();
        assert!(error.contains("phases.json"), "{error}");
        fs::remove_file(&blocked).unwrap();
        state.remember([key("one", 1)]).unwrap();
        assert_eq!(remembered(&blocked), [key("one", 1)]);
    }
}
