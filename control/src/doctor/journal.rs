//! What `doctor --fix` has set, and what was there before: a file in the state folder, written before anything is set.
//!
//! All that it sets is the kernel's and gone when the host is started anew. So the file says which start it belongs
//! to, and of an earlier one there is nothing to be undone.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Host;
use super::change::{Change, Setting};
use crate::durable;

const FILE: &str = "doctor.json";
/// Bytes of the file.
const LARGEST: u64 = 1 << 20;
/// Settings that are remembered. A host has fewer interrupts than that, and what has no room is not set.
const MOST: usize = 2048;

/// The file.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Content {
    /// The start of the host, as the kernel calls it.
    boot: String,
    entries: Vec<Entry>,
}

/// A setting that was set.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Entry {
    #[serde(flatten)]
    setting: Setting,
    before: String,
    set: String,
}

/// What became of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "done", rename_all = "kebab-case")]
pub enum Done {
    /// It was set.
    Set {
        /// What it was.
        before: String,
        /// What it is.
        now: String,
    },
    /// It is as it should be already.
    Already {
        /// What it is.
        now: String,
    },
    /// Somebody has set it since; it stays so.
    Foreign {
        /// What it is.
        now: String,
        /// What doctor had set.
        set: String,
    },
    /// It can't be set.
    Refused {
        /// Why.
        why: String,
    },
}

fn refused(error: &io::Error) -> Done {
    Done::Refused { why: error.to_string() }
}

/// What another user wrote is not what doctor remembered: undoing it would set what that user likes.
fn must_be_ones_own(path: &Path) -> io::Result<()> {
    let own = rustix::process::geteuid().as_raw();
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() || found.uid() != own || found.mode() & 0o022 != 0 => {
            let message = "it is another user's, or may be written by others, and is not believed; remove it";
            Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
        }
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    host: Host,
    content: Content,
}

impl Journal {
    /// Opens the one of a state folder.
    ///
    /// # Errors
    /// When it can't be read: then nothing may be set, or what was before would be forgotten.
    pub fn open(folder: &Path, host: &Host) -> io::Result<Journal> {
        let path = folder.join(FILE);
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        must_be_ones_own(&path).map_err(told)?;
        let content = durable::read(&path, LARGEST).map_err(told)?;
        let content = content.map(|bytes| serde_json::from_slice::<Content>(&bytes)).transpose();
        let mut content = content.map_err(|error| told(error.into()))?.unwrap_or_default();
        let boot = host.text("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        if content.boot != boot {
            content = Content { boot, entries: Vec::new() };
        }
        Ok(Journal { folder: folder.to_owned(), host: host.clone(), content })
    }

    fn save(&self) -> io::Result<()> {
        durable::replace(&self.folder, FILE, 0o600, |file| {
            Ok(serde_json::to_writer_pretty(file, &self.content)?)
        })
    }

    /// Applies a change, and remembers what was there before doctor first changed it.
    pub fn apply(&mut self, change: &Change) -> Done {
        let Change { setting, to } = change;
        let before = match setting.read(&self.host) {
            Ok(before) if before == *to => return Done::Already { now: before },
            Ok(before) => before,
            Err(error) => return refused(&error),
        };
        let known = self.content.entries.iter().position(|entry| entry.setting == *setting);
        if known.is_none() && self.content.entries.len() >= MOST {
            let why = format!("{MOST} settings are remembered already: `sekisho doctor --undo`");
            return Done::Refused { why };
        }
        let old = known.map(|at| self.content.entries[at].clone());
        match known {
            Some(at) => self.content.entries[at].set.clone_from(to),
            None => {
                let (setting, before, set) = (setting.clone(), before.clone(), to.clone());
                self.content.entries.push(Entry { setting, before, set });
            }
        }
        if let Err(error) = self.save() {
            self.forget(setting, old);
            return Done::Refused { why: format!("what was before can't be remembered: {error}") };
        }
        if let Err(error) = setting.write(&self.host, to) {
            self.forget(setting, old);
            // What stays in the file then is undone by setting what is there already.
            let _ = self.save();
            return refused(&error);
        }
        Done::Set { before, now: to.clone() }
    }

    /// As if it had not been set.
    fn forget(&mut self, setting: &Setting, old: Option<Entry>) {
        let at = self.content.entries.iter().position(|entry| entry.setting == *setting);
        match (at, old) {
            (Some(at), Some(old)) => self.content.entries[at] = old,
            (Some(at), None) => drop(self.content.entries.remove(at)),
            (None, _) => {}
        }
    }

    /// Restores what was before, the last first. What can't be restored now stays remembered.
    ///
    /// # Errors
    /// When the file can't be written in the end.
    pub fn undo(&mut self) -> io::Result<Vec<(Setting, Done)>> {
        let mut done = Vec::new();
        let mut left = Vec::new();
        for entry in std::mem::take(&mut self.content.entries).into_iter().rev() {
            let Entry { setting, before, set } = &entry;
            let outcome = match setting.read(&self.host) {
                Ok(now) if now == *before => Done::Already { now },
                Ok(now) if now != *set => Done::Foreign { now, set: set.clone() },
                Ok(is) => match setting.write(&self.host, before) {
                    Ok(()) => Done::Set { before: is, now: before.clone() },
                    Err(error) => refused(&error),
                },
                Err(error) => refused(&error),
            };
            done.push((setting.clone(), outcome.clone()));
            if matches!(outcome, Done::Refused { .. }) {
                left.insert(0, entry);
            }
        }
        self.content.entries = left;
        self.save()?;
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Made(tempfile::TempDir);

    impl Made {
        fn new() -> Made {
            let made = Made(tempfile::tempdir().unwrap());
            made.put("proc/sys/kernel/random/boot_id", "first\n");
            made.put("proc/sys/net/budget", "300\n");
            made
        }
        fn put(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fn budget(&self) -> String {
            fs::read_to_string(self.0.path().join("proc/sys/net/budget")).unwrap().trim().to_owned()
        }
        fn journal(&self) -> Journal {
            Journal::open(&self.0.path().join("state"), &Host::at(self.0.path())).unwrap()
        }
    }

    fn budget(to: &str) -> Change {
        Change::file("/proc/sys/net/budget", to)
    }

    fn set(before: &str, now: &str) -> Done {
        Done::Set { before: before.into(), now: now.into() }
    }

    fn outcome(journal: &mut Journal) -> Vec<Done> {
        journal.undo().unwrap().into_iter().map(|(_, done)| done).collect()
    }

    #[test]
    fn what_was_there_before_the_first_change_comes_back_also_for_another_process() {
        let made = Made::new();
        assert_eq!(made.journal().apply(&budget("600")), set("300", "600"));
        assert_eq!(made.journal().apply(&budget("600")), Done::Already { now: "600".into() });
        assert_eq!(made.journal().apply(&budget("900")), set("600", "900"));
        assert_eq!(outcome(&mut made.journal()), [set("900", "300")]);
        assert_eq!(made.budget(), "300");
        assert_eq!(outcome(&mut made.journal()), []);
    }

    #[test]
    fn what_others_may_write_is_not_believed() {
        use std::os::unix::fs::PermissionsExt;
        let made = Made::new();
        made.journal().apply(&budget("600"));
        let folder = made.journal().folder;
        let file = folder.join(FILE);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        let host = Host::at(made.0.path());
        assert!(Journal::open(&folder, &host).unwrap_err().to_string().contains("is not believed"));
        fs::rename(&file, folder.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &file).unwrap();
        assert!(Journal::open(&folder, &host).is_err());
    }

    #[test]
    fn what_somebody_else_has_set_since_stays_so() {
        let made = Made::new();
        made.journal().apply(&budget("600"));
        made.put("proc/sys/net/budget", "777\n");
        let foreign = Done::Foreign { now: "777".into(), set: "600".into() };
        assert_eq!(outcome(&mut made.journal()), [foreign]);
        assert_eq!(made.budget(), "777");
    }

    #[test]
    fn after_another_start_of_the_host_there_is_nothing_to_undo() {
        let made = Made::new();
        made.journal().apply(&budget("600"));
        made.put("proc/sys/kernel/random/boot_id", "second\n");
        assert_eq!(outcome(&mut made.journal()), []);
        assert_eq!(made.budget(), "600");
    }

    #[test]
    fn what_cannot_be_set_or_remembered_is_refused_and_not_remembered() {
        let made = Made::new();
        assert!(matches!(made.journal().apply(&Change::file("/proc/missing", "1")), Done::Refused { .. }));
        assert_eq!(outcome(&mut made.journal()), []);
        // A file in the state folder's place.
        made.put("file", "");
        let path = made.0.path().join("file");
        let journal = Journal::open(&path, &Host::at(made.0.path()));
        let mut journal = match journal {
            Ok(journal) => journal,
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::NotADirectory),
        };
        assert!(matches!(journal.apply(&budget("600")), Done::Refused { .. }));
        assert_eq!(made.budget(), "300");
    }

    #[test]
    fn a_setting_that_has_gone_stays_remembered_until_it_is_there_again() {
        let made = Made::new();
        made.journal().apply(&budget("600"));
        fs::remove_file(made.0.path().join("proc/sys/net/budget")).unwrap();
        assert!(matches!(outcome(&mut made.journal())[..], [Done::Refused { .. }]));
        made.put("proc/sys/net/budget", "600\n");
        assert_eq!(outcome(&mut made.journal()), [set("600", "300")]);
    }
}
