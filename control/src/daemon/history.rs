//! The last generations: who made each, when, from what and what it changed; and their configurations, to go back to.
//!
//! What awaits its confirmation stands here and nowhere else. The tables' thread writes it, the control thread shows it. Memory
//! is bounded twice: so many generations, and so many bytes of configurations beside the one in force. What the second bound drops is still listed, and says that it can't
//! be restored.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::confirm::Pending;
use super::difference::Difference;
use crate::clock;
use crate::config::Config;

/// So many generations are remembered, the one in force included.
pub const KEPT: usize = 10;
/// So many bytes of configurations are kept beside the one in force: about seven million prefixes.
pub const MOST_BYTES: usize = 128 << 20;
/// Lines of a difference, at most.
const LINES: usize = 20;

/// Who made a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Author {
    /// The daemon's start.
    Start,
    /// SIGHUP; nobody knows whose.
    Signal,
    /// The daemon itself: a reload was not confirmed in time.
    Timer,
    /// A routing table of the kernel that a pool or a set follows.
    KernelTable {
        /// Its number.
        table: u32,
    },
    /// A client of the control socket.
    Peer {
        /// Its user.
        uid: u32,
        /// That user's process.
        pid: i32,
    },
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Author::Start => f.write_str("start"),
            Author::Signal => f.write_str("SIGHUP"),
            Author::Timer => f.write_str("not confirmed"),
            Author::KernelTable { table } => write!(f, "kernel table {table}"),
            Author::Peer { uid, pid } => write!(f, "uid {uid}, process {pid}"),
        }
    }
}

/// What became of a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is in force.
    InForce,
    /// It is in force, and comes to its end unless it is confirmed.
    AwaitsConfirmation,
    /// A reload took its place.
    Replaced,
    /// A rollback did.
    RolledBack,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            State::InForce => "in force",
            State::AwaitsConfirmation => "to be confirmed",
            State::Replaced => "replaced",
            State::RolledBack => "rolled back",
        })
    }
}

/// A generation, as the history lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Recorded {
    /// Its number.
    pub generation: u64,
    /// When it was put in force, in UTC.
    pub at: String,
    /// Who did that.
    #[serde(flatten)]
    pub author: Author,
    /// What it was read from.
    pub config: String,
    /// The generation whose configuration it put in force again.
    pub restores: Option<u64>,
    /// What it changed, a line each; of many the first.
    pub difference: Vec<String>,
    /// What became of it.
    pub state: State,
    /// Whether its configuration is kept, so that `rollback` can restore it.
    pub can_restore: bool,
}

/// A reload that is to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Awaited {
    /// The generation in force.
    pub generation: u64,
    /// The one that comes back.
    pub previous: u64,
    /// In so many seconds.
    pub seconds_left: f64,
}

struct Entry {
    record: Recorded,
    config: Option<Arc<Config>>,
    bytes: usize,
}

#[derive(Default)]
struct Entries {
    /// The oldest first; the last one is in force.
    entries: VecDeque<Entry>,
    /// What comes back unless the last one is confirmed.
    pending: Option<Pending>,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct History(Mutex<Entries>);

/// A generation to be recorded.
pub(super) struct New<'a> {
    pub(super) generation: u64,
    pub(super) at_micros: i64,
    pub(super) author: Author,
    pub(super) config: &'a Arc<Config>,
    pub(super) restores: Option<u64>,
    pub(super) difference: &'a Difference,
}

impl History {
    fn with<T>(&self, look: impl FnOnce(&mut Entries) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes what has been put in force. Nothing is to be confirmed then, unless that was and a kernel's table changed
    /// meanwhile. Of generations that tables made one after the other the last is listed: ten a second would leave nothing else
    /// to go back to.
    pub(super) fn record(&self, new: &New<'_>) {
        let New { generation, at_micros, author, config, restores, difference } = *new;
        let entry = Entry {
            record: Recorded {
                generation,
                at: clock::show(at_micros),
                author,
                config: config.path.display().to_string(),
                restores,
                difference: difference.lines(LINES),
                state: State::InForce,
                can_restore: true,
            },
            config: Some(Arc::clone(config)),
            bytes: bytes_of(config),
        };
        // What leaves is freed behind the lock.
        let mut gone = Vec::new();
        let by_table = matches!(author, Author::KernelTable { .. });
        let _pending = self.take_pending(|_| !by_table);
        self.with(|all| {
            let mut entry = entry;
            let follows_table = |last: &Entry| matches!(last.record.author, Author::KernelTable { .. });
            if by_table && all.entries.back().is_some_and(follows_table) {
                if let Some(last) = all.entries.pop_back() {
                    gone.extend(last.config);
                    // What they changed together; of many the first.
                    let mut lines = last.record.difference;
                    lines.append(&mut entry.record.difference);
                    lines.truncate(LINES);
                    entry.record.difference = lines;
                }
            } else if let Some(last) = all.entries.back_mut() {
                last.record.state = if restores.is_some() { State::RolledBack } else { State::Replaced };
            }
            all.entries.push_back(entry);
            while all.entries.len() > KEPT {
                gone.extend(all.entries.pop_front().and_then(|entry| entry.config));
            }
            gone.extend(all.forget_beyond(MOST_BYTES));
        });
    }

    /// The generation in force is to be confirmed.
    pub(super) fn hold(&self, pending: Pending) -> Awaited {
        let awaited = pending.awaited(Instant::now());
        self.with(|all| all.pending.replace(pending));
        awaited
    }

    /// Takes what is to be confirmed out, if there is something and it is as wanted: from now on nothing is.
    pub(super) fn take_pending(&self, wanted: impl FnOnce(&Pending) -> bool) -> Option<Pending> {
        self.with(|all| all.pending.take_if(|pending| wanted(pending)))
    }

    /// What is to be confirmed.
    pub(super) fn awaited(&self) -> Option<Awaited> {
        self.with(|all| all.pending.as_ref().map(|pending| pending.awaited(Instant::now())))
    }

    /// When what is to be confirmed comes to its end.
    pub(super) fn until(&self) -> Option<Instant> {
        self.with(|all| all.pending.as_ref().map(|pending| pending.until))
    }

    /// The generations, the latest first.
    pub(super) fn list(&self) -> Vec<Recorded> {
        self.with(|all| {
            let mut list: Vec<Recorded> =
                all.entries.iter().rev().map(|entry| entry.record.clone()).collect();
            if let (Some(last), Some(_)) = (list.first_mut(), &all.pending) {
                last.state = State::AwaitsConfirmation;
            }
            list
        })
    }

    /// The generation before the one in force. For a restored one, that is the one before it was in force first: going
    /// back again goes further back, and never to what was left.
    pub(super) fn before(&self) -> Option<u64> {
        self.with(|all| {
            let entries = &all.entries;
            let mut at = entries.len().checked_sub(1)?;
            while let Some(restores) = entries[at].record.restores {
                at = entries.iter().take(at).position(|entry| entry.record.generation == restores)?;
            }
            // What a kernel table said is no configuration to go back to, unless it is what the start was followed by.
            let is_table = |at: usize| matches!(entries[at].record.author, Author::KernelTable { .. });
            while is_table(at) {
                at = at.checked_sub(1)?;
            }
            let before = (0..at).rev().find(|at| !is_table(*at))?;
            Some(entries[before].record.generation)
        })
    }

    /// A generation's configuration: none if it is not listed, none inside if it is not kept any more.
    pub(super) fn config(&self, generation: u64) -> Option<Option<Arc<Config>>> {
        self.with(|all| {
            let entry = all.entries.iter().find(|entry| entry.record.generation == generation);
            entry.map(|entry| entry.config.clone())
        })
    }
}

impl Entries {
    /// Gives up configurations, the one that was last in force longest ago first, until those beside the one in force
    /// take no more than `most` bytes. One that several generations share counts once, and is as young as the last of
    /// them; what is in force is never given up.
    fn forget_beyond(&mut self, most: usize) -> Vec<Arc<Config>> {
        let mut gone: Vec<Arc<Config>> = Vec::new();
        // From the youngest on, so that each is met where it is youngest.
        let mut kept: Vec<(Arc<Config>, usize)> = Vec::new();
        for entry in self.entries.iter().rev() {
            let Some(config) = &entry.config else { continue };
            if !kept.iter().any(|(other, _)| Arc::ptr_eq(other, config)) {
                kept.push((Arc::clone(config), entry.bytes));
            }
        }
        let mut sum: usize = kept.iter().skip(1).map(|(_, bytes)| bytes).sum();
        while sum > most && kept.len() > 1 {
            let Some((config, bytes)) = kept.pop() else { break };
            sum -= bytes;
            for entry in &mut self.entries {
                if entry.config.as_ref().is_some_and(|other| Arc::ptr_eq(other, &config)) {
                    entry.record.can_restore = false;
                    gone.extend(entry.config.take());
                }
            }
            gone.push(config);
        }
        gone
    }
}

/// About how many bytes a configuration takes: prefixes, and what names them.
fn bytes_of(config: &Config) -> usize {
    const ITEM: usize = 256;
    let prefixes = config.pools.iter().map(|pool| pool.prefixes.capacity());
    let prefixes: usize = prefixes.chain(config.sets.iter().map(|set| set.prefixes.capacity())).sum();
    let phases: usize = config.policies.iter().map(|policy| policy.phases.len() + policy.allow.len()).sum();
    let items = config.pools.len() + config.sets.len() + config.policies.len() + phases;
    prefixes * size_of::<ipnetwork::IpNetwork>() + items * ITEM
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::compile::Compiler;
    use crate::daemon::InForce;

    fn config() -> Arc<Config> {
        let text = "[[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\ndriver = \"memory\"\n\
                    [[port]]\nname = \"b\"\nrole = \"internet\"\npeer = \"a\"\ndriver = \"memory\"\n\
                    [sets]\ns = [\"192.0.2.0/24\", \"198.51.100.0/24\"]\n";
        Arc::new(Config::from_toml(text, Path::new("/etc/s.toml")).unwrap())
    }

    fn record(history: &History, generation: u64, restores: Option<u64>) {
        history.record(&New {
            generation,
            at_micros: 0,
            author: Author::Peer { uid: 7, pid: 8 },
            config: &config(),
            restores,
            difference: &Difference::default(),
        });
    }

    #[test]
    fn generations_that_tables_make_in_a_row_are_one_entry_that_says_what_all_of_them_changed() {
        let history = History::default();
        record(&history, 1, None);
        let by_table = |generation, table, setting: &str| {
            let difference = Difference { settings: vec![setting.to_owned()], ..Difference::default() };
            let author = Author::KernelTable { table };
            let config = &config();
            let difference = &difference;
            history.record(&New { generation, at_micros: 0, author, config, restores: None, difference });
        };
        by_table(2, 2525, "a");
        by_table(3, 2525, "b");
        by_table(4, 2526, "c");
        let list = history.list();
        let told: Vec<(u64, usize)> = list.iter().map(|one| (one.generation, one.difference.len())).collect();
        assert_eq!(told, [(4, 3), (1, 0)]);
        assert_eq!(list[0].difference, ["~ a", "~ b", "~ c"]);
        (5..60).for_each(|generation| by_table(generation, 2525 + generation as u32 % 2, "d"));
        assert_eq!((history.list().len(), history.list()[0].difference.len()), (2, LINES));
    }

    #[test]
    fn ten_generations_are_kept_and_say_what_became_of_them() {
        let history = History::default();
        (1..=12).for_each(|generation| record(&history, generation, None));
        record(&history, 13, Some(11));
        let list = history.list();
        let numbers: Vec<u64> = list.iter().map(|entry| entry.generation).collect();
        assert_eq!(numbers, (4..=13).rev().collect::<Vec<_>>());
        let states: Vec<State> = list.iter().map(|entry| entry.state).collect();
        assert_eq!(states[..3], [State::InForce, State::RolledBack, State::Replaced]);
        assert_eq!((history.before(), list[0].restores), (Some(10), Some(11)));
        assert!(history.config(3).is_none() && history.config(4).flatten().is_some());
    }

    fn pending(generation: u64, seconds: u64) -> Pending {
        let compiled = Compiler::default().compile(&config(), Vec::new()).unwrap();
        let before = Arc::new(InForce::of(config(), compiled).1);
        Pending::new(before, generation, Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_to_be_confirmed_is_told_with_its_time_until_it_is_or_another_takes_its_place() {
        let history = History::default();
        record(&history, 1, None);
        record(&history, 2, None);
        history.hold(pending(2, 60));
        let awaited = history.awaited().unwrap();
        assert_eq!((awaited.generation, awaited.previous), (2, 1));
        assert!((50.0..=60.0).contains(&awaited.seconds_left), "{awaited:?}");
        assert_eq!(history.list()[0].state, State::AwaitsConfirmation);
        assert!(history.take_pending(|_| false).is_none() && history.take_pending(|_| true).is_some());
        assert_eq!((history.awaited(), history.list()[0].state), (None, State::InForce));
        history.hold(pending(2, 60));
        record(&history, 3, Some(1));
        assert_eq!((history.awaited(), history.list()[1].state), (None, State::RolledBack));
    }

    #[test]
    fn going_back_again_goes_further_back_and_never_to_what_was_left() {
        let history = History::default();
        (1..=3).for_each(|generation| record(&history, generation, None));
        assert_eq!(history.before(), Some(2));
        record(&history, 4, Some(2));
        assert_eq!(history.before(), Some(1));
        record(&history, 5, None);
        assert_eq!(history.before(), Some(4));
        record(&history, 6, Some(4));
        assert_eq!(history.before(), Some(1), "4 was 2");
        record(&history, 7, Some(1));
        assert_eq!(history.before(), None);
        (8..=16).for_each(|generation| record(&history, generation, None));
        record(&history, 17, Some(8));
        assert_eq!(history.before(), None, "what was before 8 is not listed any more");
    }

    #[test]
    fn beyond_the_bytes_the_oldest_configurations_go_and_the_list_says_so() {
        let history = History::default();
        (1..=4).for_each(|generation| record(&history, generation, None));
        let one = bytes_of(&config());
        drop(history.with(|all| all.forget_beyond(2 * one)));
        let kept: Vec<bool> = history.list().iter().map(|entry| entry.can_restore).collect();
        assert_eq!(kept, [true, true, true, false]);
        assert_eq!(history.config(1).map(|config| config.is_some()), Some(false));
        drop(history.with(|all| all.forget_beyond(0)));
        let kept: Vec<bool> = history.list().iter().map(|entry| entry.can_restore).collect();
        assert_eq!(kept, [true, false, false, false], "never the one in force");
    }

    #[test]
    fn a_configuration_that_generations_share_counts_once_and_is_as_young_as_the_last_of_them() {
        let history = History::default();
        let (one, other) = (config(), config());
        let bytes = bytes_of(&one);
        let record = |generation, config: &Arc<Config>, restores| {
            let (author, difference) = (Author::Start, &Difference::default());
            history.record(&New { generation, at_micros: 0, author, config, restores, difference });
        };
        record(1, &one, None);
        record(2, &other, None);
        record(3, &one, Some(1));
        record(4, &config(), None);
        let can_restore = || history.list().iter().map(|entry| entry.can_restore).collect::<Vec<_>>();
        drop(history.with(|all| all.forget_beyond(2 * bytes)));
        assert_eq!(can_restore(), [true; 4], "they are two, beside the one in force");
        drop(history.with(|all| all.forget_beyond(bytes)));
        assert_eq!(can_restore(), [true, true, false, true], "the other was in force before");
        assert!(Arc::ptr_eq(&history.config(3).flatten().unwrap(), &one));
        // What is in force again costs nothing beside itself.
        record(5, &one, Some(3));
        drop(history.with(|all| all.forget_beyond(bytes)));
        assert_eq!(can_restore(), [true, true, true, false, true]);
    }
}
