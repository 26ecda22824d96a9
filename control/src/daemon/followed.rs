//! What the kernel's tables said, and what of that is in force.
//!
//! A pool that is emptied is a pool of strangers, and a set that is emptied opens what it blocked or blocks what it allowed. A
//! file like that is refused (policy.md, section 5); a table can't be, so what it lost is held:
//!
//! - what comes is in force at once, and so is a loss of no more than half;
//! - more than half that is lost stays in force until the table has been like that for `hold` (30 s), during which a
//!   routing daemon may come back;
//! - all that is lost stays until there are routes again, or somebody says that it is meant: `allow-empty` in the list, or
//!   `reload --allow-empty`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::event::Event;
use crate::config::{Config, Contents, Coverage, KernelTables, LoadOptions, ThisHost};

/// A table, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TableState {
    /// Its number.
    pub table: u32,
    /// Prefixes that it has now.
    pub prefixes: usize,
    /// Prefixes in force.
    pub in_force: usize,
    /// What it lost and is held: how many prefixes.
    pub held: usize,
    /// For how long yet, in seconds; none if until there are routes again.
    pub held_for_seconds: Option<f64>,
}

/// What is told of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Notice {
    /// It lost more than half, or all: so many of so many, and for how long that is held.
    Held { table: u32, lost: usize, had: usize, hold: Option<Duration> },
    /// It has had nothing yet: its customers are strangers.
    Empty { table: u32 },
    /// That is taken for meant now.
    Accepted { table: u32, lost: usize },
}

impl Notice {
    pub(super) fn event(self) -> Event {
        match self {
            Notice::Held { table, lost, had, hold } => {
                Event::KernelTableHeld { table, lost, had, seconds: hold.map(|hold| hold.as_secs_f64()) }
            }
            Notice::Empty { table } => Event::KernelTableEmpty { table },
            Notice::Accepted { table, lost } => Event::KernelTableShrunk { table, lost },
        }
    }
}

/// How a table's losses are taken.
#[derive(Clone, Copy, Debug)]
struct Rule {
    allow_empty: bool,
    hold: Duration,
}

#[derive(Clone, Debug)]
struct Table {
    in_force: Arc<[IpNetwork]>,
    latest: Arc<[IpNetwork]>,
    rule: Rule,
    held: Option<Held>,
    /// Something is to be decided.
    fresh: bool,
    /// It was told that it has had nothing.
    told_empty: bool,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    since: Instant,
    lost: usize,
    /// The least that was lost since.
    least: usize,
    empty: bool,
}

/// All tables that are followed.
#[derive(Clone, Debug, Default)]
pub(super) struct Followed(BTreeMap<u32, Table>);

/// The same for all threads: the tables' thread changes them, the readers' thread copies them. Contents are shared.
#[derive(Clone, Debug, Default)]
pub(super) struct FollowedTables(Arc<Mutex<Followed>>);

impl FollowedTables {
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Followed) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// As they are now, for what takes a while.
    pub(super) fn copy(&self) -> Followed {
        self.with(|followed| followed.clone())
    }
}

impl Table {
    fn lost(&self) -> usize {
        if self.in_force == self.latest {
            return 0;
        }
        let coverage = Coverage::of(&*self.latest);
        self.in_force.iter().filter(|prefix| !coverage.covers(**prefix)).count()
    }

    fn until(&self) -> Option<Instant> {
        let held = self.held?;
        (!held.empty || self.rule.allow_empty).then(|| held.since + self.rule.hold)
    }

    fn settle(&mut self, number: u32, now: Instant) -> Option<Notice> {
        let is_due = self.until().is_some_and(|until| until <= now);
        if !std::mem::take(&mut self.fresh) && !is_due {
            return None;
        }
        let (lost, had) = (self.lost(), self.in_force.len());
        let empty = self.latest.is_empty();
        if lost * 2 <= had {
            self.in_force = Arc::clone(&self.latest);
            self.held = None;
            let was_told = std::mem::replace(&mut self.told_empty, empty);
            return (empty && !was_told && !self.rule.allow_empty).then_some(Notice::Empty { table: number });
        }
        let news = self.held.is_none_or(|held| empty && !held.empty);
        let mut held = self.held.unwrap_or(Held { since: now, lost, least: lost, empty });
        // What comes back wants time to come back whole; what comes and goes does not.
        if lost < held.least || empty != held.empty {
            held.since = now;
        }
        held.least = held.least.min(lost);
        self.held = Some(Held { lost, empty, ..held });
        if self.until().is_some_and(|until| until <= now) {
            self.in_force = Arc::clone(&self.latest);
            self.held = None;
            return Some(Notice::Accepted { table: number, lost });
        }
        if self.latest.iter().any(|prefix| self.in_force.binary_search(prefix).is_err()) {
            let mut all: Vec<IpNetwork> = self.in_force.iter().chain(&*self.latest).copied().collect();
            all.sort_unstable();
            all.dedup();
            self.in_force = all.into();
        }
        let hold = self.until().map(|until| until.saturating_duration_since(now));
        news.then_some(Notice::Held { table: number, lost, had, hold })
    }
}

impl Followed {
    /// Follows the tables that a configuration names. What is known of them stays, and of new ones that is in force which
    /// the configuration has.
    pub(super) fn follow(&mut self, config: &Config, read: &Contents) {
        let mut rules: BTreeMap<u32, Rule> = BTreeMap::new();
        for from in config.from_kernel() {
            let rule = Rule { allow_empty: from.allow_empty, hold: Duration::from_micros(from.hold_micros) };
            let stricter = |known: &mut Rule| {
                known.allow_empty &= rule.allow_empty;
                known.hold = known.hold.max(rule.hold);
            };
            rules.entry(from.table).and_modify(stricter).or_insert(rule);
        }
        self.0.retain(|table, _| rules.contains_key(table));
        for (table, rule) in rules {
            let content = read.get(&table).cloned().unwrap_or_default();
            let new = Table {
                in_force: Arc::clone(&content),
                latest: content,
                rule,
                held: None,
                fresh: true,
                told_empty: false,
            };
            let known = self.0.entry(table).or_insert(new);
            (known.rule, known.fresh) = (rule, true);
        }
    }

    /// At the start: what was in force before and is not there now is held, as if it had been lost since.
    pub(super) fn remember(&mut self, remembered: &Contents) {
        for (number, table) in &mut self.0 {
            if let Some(content) = remembered.get(number) {
                table.in_force = Arc::clone(content);
                table.fresh = true;
            }
        }
    }

    /// A table's contents.
    pub(super) fn told(&mut self, number: u32, latest: Arc<[IpNetwork]>) {
        if let Some(table) = self.0.get_mut(&number) {
            table.latest = latest;
            table.fresh = true;
        }
    }

    /// Decides what is in force.
    pub(super) fn settle(&mut self, now: Instant) -> Vec<Notice> {
        self.0.iter_mut().filter_map(|(number, table)| table.settle(*number, now)).collect()
    }

    /// When a loss is accepted next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.values().filter_map(Table::until).min()
    }

    /// Takes what is lost for meant, as far as a reload's options say so.
    pub(super) fn accept(&mut self, options: LoadOptions) {
        for table in self.0.values_mut() {
            let accepted = if table.latest.is_empty() { options.allow_empty } else { options.allow_shrink };
            if accepted {
                table.in_force = Arc::clone(&table.latest);
                table.held = None;
                table.fresh = true;
            }
        }
    }

    /// What is in force.
    pub(super) fn contents(&self) -> Contents {
        self.0.iter().map(|(number, table)| (*number, Arc::clone(&table.in_force))).collect()
    }

    /// For `status`.
    pub(super) fn states(&self, now: Instant) -> Vec<TableState> {
        let state = |(number, table): (&u32, &Table)| TableState {
            table: *number,
            prefixes: table.latest.len(),
            in_force: table.in_force.len(),
            held: table.held.map_or(0, |held| held.lost),
            held_for_seconds: table.until().map(|until| until.saturating_duration_since(now).as_secs_f64()),
        };
        self.0.iter().map(state).collect()
    }
}

/// For a reload: what is in force of tables that are followed, what stands there now of others; and keeps what was read.
pub(super) struct Reading<'f> {
    followed: &'f Followed,
    options: LoadOptions,
    pub(super) read: std::cell::RefCell<Contents>,
}

impl Followed {
    pub(super) fn reading(&self, options: LoadOptions) -> Reading<'_> {
        Reading { followed: self, options, read: std::cell::RefCell::default() }
    }
}

impl KernelTables for Reading<'_> {
    fn prefixes(&self, number: u32) -> Result<Arc<[IpNetwork]>, String> {
        let content = match self.followed.0.get(&number) {
            Some(table) if table.held.is_none() => Arc::clone(&table.latest),
            Some(table) if table.latest.is_empty() && self.options.allow_empty => Arc::clone(&table.latest),
            Some(table) if !table.latest.is_empty() && self.options.allow_shrink => Arc::clone(&table.latest),
            Some(table) => Arc::clone(&table.in_force),
            None => ThisHost.prefixes(number)?,
        };
        self.read.borrow_mut().insert(number, Arc::clone(&content));
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const TEXT: &str = "[[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\ndriver = \"memory\"\n[[port]]\n\
        name = \"b\"\nrole = \"internet\"\npeer = \"a\"\ndriver = \"memory\"\n[[policy]]\nname = \"p\"\n[[pool]]\n\
        name = \"q\"\npolicy = \"p\"\nprefixes = { kernel-table = 2525 }\n";

    fn prefixes(list: &[&str]) -> Arc<[IpNetwork]> {
        let mut list: Vec<IpNetwork> = list.iter().map(|prefix| prefix.parse().unwrap()).collect();
        list.sort_unstable();
        list.into()
    }

    struct Given(Arc<[IpNetwork]>);

    impl KernelTables for Given {
        fn prefixes(&self, _: u32) -> Result<Arc<[IpNetwork]>, String> {
            Ok(Arc::clone(&self.0))
        }
    }

    fn followed(list: &str, begin: &[&str]) -> Followed {
        let text = TEXT.replace("kernel-table = 2525", list);
        let given = Given(prefixes(begin));
        let path = Path::new("/etc/s.toml");
        let config = Config::from_toml_from(&text, path, LoadOptions::default(), None, &given).unwrap();
        let mut followed = Followed::default();
        followed.follow(&config, &Contents::from([(2525, given.0)]));
        followed
    }

    fn in_force(followed: &Followed) -> usize {
        followed.contents()[&2525].len()
    }

    #[test]
    fn what_comes_is_in_force_at_once_and_so_is_a_loss_of_no_more_than_half() {
        let mut followed = followed("kernel-table = 2525", &["10.0.0.0/24", "10.0.1.0/24"]);
        let now = Instant::now();
        followed.told(2525, prefixes(&["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"]));
        assert_eq!((followed.settle(now), in_force(&followed)), (vec![], 3));
        followed.told(2525, prefixes(&["10.0.0.0/24", "10.0.1.0/24"]));
        assert_eq!((followed.settle(now), in_force(&followed)), (vec![], 2));
        followed.told(2525, prefixes(&["10.0.0.0/23"]));
        assert_eq!((followed.settle(now), in_force(&followed)), (vec![], 1), "joined, nothing is lost");
    }

    #[test]
    fn a_table_that_has_had_nothing_yet_is_told_of_once() {
        let mut empty = followed("kernel-table = 2525", &[]);
        let now = Instant::now();
        assert_eq!(empty.settle(now), [Notice::Empty { table: 2525 }]);
        empty.told(2525, prefixes(&[]));
        assert_eq!(empty.settle(now), []);
        empty.told(2525, prefixes(&["10.0.0.0/24"]));
        assert_eq!((empty.settle(now), in_force(&empty)), (vec![], 1));
        let mut meant = followed("kernel-table = 2525, allow-empty = true", &[]);
        assert_eq!(meant.settle(now), []);
    }

    #[test]
    fn more_than_half_is_held_for_a_time_and_comes_back_without_a_gap() {
        let all = ["10.0.0.0/24", "10.1.0.0/24", "10.2.0.0/24"];
        let mut followed = followed("kernel-table = 2525, hold = \"30s\"", &all);
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        followed.told(2525, prefixes(&["10.0.0.0/24", "10.9.0.0/24"]));
        let hold = Some(Duration::from_secs(30));
        assert_eq!(followed.settle(at(0)), [Notice::Held { table: 2525, lost: 2, had: 3, hold }]);
        assert_eq!(in_force(&followed), 4, "what came is in force, what went still is");
        assert_eq!(followed.due(), Some(at(30)));
        followed.told(2525, prefixes(&["10.9.0.0/24"]));
        assert_eq!(followed.settle(at(20)), []);
        assert_eq!(in_force(&followed), 4);
        followed.told(2525, prefixes(&all));
        assert_eq!(followed.settle(at(40)), []);
        assert_eq!((in_force(&followed), followed.due()), (3, None), "back, and what was new has gone");
        followed.told(2525, prefixes(&["10.0.0.0/24"]));
        followed.settle(at(50));
        assert_eq!(followed.settle(at(79)), []);
        assert_eq!(followed.settle(at(80)), [Notice::Accepted { table: 2525, lost: 2 }]);
        assert_eq!(in_force(&followed), 1);
    }

    #[test]
    fn what_comes_and_goes_after_a_large_loss_does_not_hold_what_was_lost_for_ever() {
        let all = ["10.0.0.0/24", "10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24", "10.4.0.0/24"];
        let mut followed = followed("kernel-table = 2525, hold = \"30s\"", &all);
        let begin = Instant::now();
        followed.told(2525, prefixes(&["10.0.0.0/24"]));
        followed.settle(begin);
        // One comes back and goes again, as do others that were never there.
        let accepted = (1..90).find(|second| {
            let other = format!("10.9.{second}.0/24");
            let some = ["10.0.0.0/24", "10.1.0.0/24", &other];
            followed.told(2525, prefixes(if second % 2 == 0 { &some } else { &some[..1] }));
            let told = followed.settle(begin + Duration::from_secs(*second));
            told.iter().any(|notice| matches!(notice, Notice::Accepted { .. }))
        });
        assert_eq!(accepted, Some(32), "its time begins anew when something comes back, once");
    }

    #[test]
    fn an_emptied_table_is_held_until_there_are_routes_again_and_these_have_their_time_too() {
        let all = ["10.0.0.0/24", "10.1.0.0/24", "10.2.0.0/24"];
        let mut followed = followed("kernel-table = 2525, hold = \"30s\"", &all);
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        followed.told(2525, prefixes(&[]));
        assert_eq!(followed.settle(at(0)), [Notice::Held { table: 2525, lost: 3, had: 3, hold: None }]);
        followed.settle(at(3600));
        assert_eq!((in_force(&followed), followed.due()), (3, None));
        followed.told(2525, prefixes(&["10.0.0.0/24"]));
        followed.settle(at(3601));
        assert_eq!((in_force(&followed), followed.due()), (3, Some(at(3631))));
        followed.told(2525, prefixes(&[]));
        followed.settle(at(3602));
        assert_eq!((in_force(&followed), followed.due()), (3, None));
        followed.accept(LoadOptions { allow_shrink: true, ..LoadOptions::default() });
        assert_eq!(in_force(&followed), 3, "that is the other option");
        followed.accept(LoadOptions { allow_empty: true, ..LoadOptions::default() });
        assert_eq!(in_force(&followed), 0);
    }

    #[test]
    fn what_is_remembered_from_before_the_start_is_in_force_until_the_table_is_filled() {
        let mut followed = followed("kernel-table = 2525", &[]);
        followed.remember(&Contents::from([(2525, prefixes(&["10.0.0.0/24", "10.1.0.0/24"]))]));
        let now = Instant::now();
        assert_eq!(followed.settle(now), [Notice::Held { table: 2525, lost: 2, had: 2, hold: None }]);
        assert_eq!(in_force(&followed), 2);
        followed.told(2525, prefixes(&["10.0.0.0/24", "10.2.0.0/24"]));
        assert_eq!((followed.settle(now), in_force(&followed)), (vec![], 2));
    }

    #[test]
    fn where_empty_is_allowed_it_is_accepted_when_its_time_is_over() {
        let mut followed =
            followed("kernel-table = 2525, allow-empty = true, hold = \"0s\"", &["10.0.0.0/24"]);
        followed.told(2525, prefixes(&[]));
        assert_eq!(followed.settle(Instant::now()), [Notice::Accepted { table: 2525, lost: 1 }]);
        assert_eq!(in_force(&followed), 0);
    }
}
