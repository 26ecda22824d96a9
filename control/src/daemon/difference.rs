//! What one configuration says that another does not: by name, with counts.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::config::{Block, Checks, Config, FromKernel, Phase, Policy, Pool, Set, format_duration};
use crate::words;

/// Of each pool or set, so many prefixes that came are named, and so many that went.
pub const NAMED: usize = 8;
/// In a line of [`Difference::lines`], so many are.
const IN_A_LINE: usize = 3;
/// The longest line of [`Difference::lines`], in characters.
const WIDEST: usize = 200;

/// The difference between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Difference {
    /// Pools, with their prefixes.
    pub pools: Part<Counted, Moved>,
    /// Sets, with their prefixes.
    pub sets: Part<Counted, Moved>,
    /// Policies. Their phases stand by themselves.
    pub policies: Part<String, Changed>,
    /// Phases.
    pub phases: Part<PhaseName, Changed>,
    /// Other keys that changed, such as `[checks] source-validation`, with both values.
    pub settings: Vec<String>,
}

/// What came, what went, and what is there with other contents.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Part<N, C> {
    /// Came.
    pub added: Vec<N>,
    /// Went.
    pub removed: Vec<N>,
    /// Changed.
    pub changed: Vec<C>,
}

impl<N, C> Default for Part<N, C> {
    fn default() -> Part<N, C> {
        Part { added: Vec::new(), removed: Vec::new(), changed: Vec::new() }
    }
}

/// A pool or a set that came or went.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Counted {
    /// Its name.
    pub name: String,
    /// How many prefixes it has, or had.
    pub prefixes: usize,
}

/// A pool or a set with other prefixes, or bound to another policy.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Moved {
    /// Its name.
    pub name: String,
    /// Prefixes that came.
    pub added: usize,
    /// Prefixes that went.
    pub removed: usize,
    /// Some of those that came: the first [`NAMED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added_prefixes: Vec<String>,
    /// Some of those that went: the first [`NAMED`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed_prefixes: Vec<String>,
    /// What else changed, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub what: Vec<String>,
}

/// A policy or a phase with other contents.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Changed {
    /// Its name; a phase's has its policy's in front, as in `dynamic/all-operators`.
    pub name: String,
    /// What changed, in words.
    pub what: Vec<String>,
}

/// A phase that came or went.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct PhaseName {
    /// Its policy.
    pub policy: String,
    /// Its name.
    pub phase: String,
    /// Its instant, as the configuration writes it.
    pub from: String,
}

impl Difference {
    /// What `new` says that `old` does not, and the other way round.
    pub fn between(old: &Config, new: &Config) -> Difference {
        Difference {
            pools: pools(old, new),
            sets: sets(old, new),
            policies: policies(old, new),
            phases: phases(old, new),
            settings: settings(old, new),
        }
    }

    /// The same in lines such as `~ set carriers: +1 prefix: 192.0.2.128/26`, at most `most`, and in the place of more
    /// one that says how many.
    pub fn lines(&self, most: usize) -> Vec<String> {
        let came_and_went = |what: &'static str, part: &Part<Counted, Moved>| {
            let counted = |sign: char, item: &Counted| {
                format!("{sign} {what} {} ({})", item.name, words::plural(item.prefixes, "prefix"))
            };
            let added = part.added.iter().map(|item| counted('+', item));
            let removed = part.removed.iter().map(|item| counted('-', item));
            let changed =
                part.changed.iter().map(|item| format!("~ {what} {}: {}", item.name, item.told(IN_A_LINE)));
            added.chain(removed).chain(changed).collect::<Vec<_>>()
        };
        let changed = |what: &'static str, items: &[Changed]| {
            let line = |item: &Changed| format!("~ {what} {}: {}", item.name, item.what.join("; "));
            items.iter().map(line).collect::<Vec<_>>()
        };
        let policy = |sign: char, names: &[String]| {
            names.iter().map(|name| format!("{sign} policy {name}")).collect::<Vec<_>>()
        };
        let phase = |sign: char, phases: &[PhaseName]| {
            let line =
                |item: &PhaseName| format!("{sign} phase {}/{} from {}", item.policy, item.phase, item.from);
            phases.iter().map(line).collect::<Vec<_>>()
        };
        let mut lines = [
            came_and_went("pool", &self.pools),
            came_and_went("set", &self.sets),
            policy('+', &self.policies.added),
            policy('-', &self.policies.removed),
            changed("policy", &self.policies.changed),
            phase('+', &self.phases.added),
            phase('-', &self.phases.removed),
            changed("phase", &self.phases.changed),
            self.settings.iter().map(|setting| format!("~ {setting}")).collect(),
        ]
        .concat();
        if lines.len() > most {
            let more = lines.len() - most.saturating_sub(1);
            lines.truncate(most.saturating_sub(1));
            lines.push(format!("and {more} more"));
        }
        for line in &mut lines {
            if let Some((at, _)) = line.char_indices().nth(WIDEST) {
                line.truncate(at);
                line.push('…');
            }
        }
        lines
    }

    /// Whether both say the same.
    pub fn is_empty(&self) -> bool {
        *self == Difference::default()
    }
}

/// Splits two lists into what came, what went, and pairs of what is in both.
fn split<'a, T, K: Eq + Hash>(
    old: impl IntoIterator<Item = &'a T>,
    new: impl IntoIterator<Item = &'a T>,
    key: impl Fn(&'a T) -> K,
) -> (Vec<&'a T>, Vec<&'a T>, Vec<(&'a T, &'a T)>) {
    let mut before: HashMap<K, &T> = HashMap::new();
    let mut order = Vec::new();
    for item in old {
        before.insert(key(item), item);
        order.push(item);
    }
    let (mut added, mut both) = (Vec::new(), Vec::new());
    for item in new {
        match before.remove(&key(item)) {
            Some(was) => both.push((was, item)),
            None => added.push(item),
        }
    }
    let removed = order.into_iter().filter(|item| before.contains_key(&key(item))).collect();
    (added, removed, both)
}

/// A pool or a set whose prefixes are no longer the same.
fn moved(name: &str, old: &[IpNetwork], new: &[IpNetwork]) -> Moved {
    let mut moved = Moved {
        name: name.to_owned(),
        added: 0,
        removed: 0,
        added_prefixes: Vec::new(),
        removed_prefixes: Vec::new(),
        what: Vec::new(),
    };
    if old != new {
        (moved.added, moved.added_prefixes) = only_in(new, old);
        (moved.removed, moved.removed_prefixes) = only_in(old, new);
    }
    moved
}

/// What `these` have and `those` have not: how many, and the first of them.
fn only_in(these: &[IpNetwork], those: &[IpNetwork]) -> (usize, Vec<String>) {
    let those: HashSet<&IpNetwork> = those.iter().collect();
    let mut only = these.iter().filter(|prefix| !those.contains(prefix));
    let named: Vec<String> = only.by_ref().take(NAMED).map(ToString::to_string).collect();
    (named.len() + only.count(), named)
}

impl Moved {
    fn is_empty(&self) -> bool {
        self.added + self.removed == 0 && self.what.is_empty()
    }

    /// What has changed, in a line with at most so many prefixes that came, and as many that went.
    pub fn told(&self, most: usize) -> String {
        let prefixes = |sign: char, count: usize, named: &[String]| {
            let told = format!("{sign}{}", words::plural(count, "prefix"));
            let named = &named[..most.min(named.len())];
            let told = match (count.saturating_sub(named.len()), named.is_empty()) {
                (_, true) => told,
                (0, false) => format!("{told}: {}", named.join(", ")),
                (more, false) => format!("{told}: {} and {more} more", named.join(", ")),
            };
            (count > 0).then_some(told)
        };
        let added = prefixes('+', self.added, &self.added_prefixes);
        let removed = prefixes('-', self.removed, &self.removed_prefixes);
        let all = added.into_iter().chain(removed).chain(self.what.iter().cloned());
        all.collect::<Vec<_>>().join("; ")
    }
}

fn note(what: &mut Vec<String>, key: &str, was: &str, is: &str) {
    if was != is {
        what.push(format!("{key}: {was} → {is}"));
    }
}

fn pools(old: &Config, new: &Config) -> Part<Counted, Moved> {
    let (added, removed, both) = split(&old.pools, &new.pools, |pool| &pool.name);
    let counted = |pools: Vec<&Pool>| {
        let counted = |pool: &Pool| Counted { name: pool.name.clone(), prefixes: pool.prefixes.len() };
        pools.into_iter().map(counted).collect()
    };
    let changed = both.into_iter().filter_map(|(was, is)| {
        let mut moved = moved(&is.name, &was.prefixes, &is.prefixes);
        let what = &mut moved.what;
        note(what, "policy", &old.policies[was.policy].name, &new.policies[is.policy].name);
        let title = |pool: &Pool| pool.title.clone().unwrap_or_else(|| "none".to_owned());
        note(what, "title", &title(was), &title(is));
        note(what, "prefixes", &source(was.from_kernel), &source(is.from_kernel));
        (!moved.is_empty()).then_some(moved)
    });
    Part { changed: changed.collect(), added: counted(added), removed: counted(removed) }
}

fn sets(old: &Config, new: &Config) -> Part<Counted, Moved> {
    let (added, removed, both) = split(&old.sets, &new.sets, |set| &set.name);
    let counted = |sets: Vec<&Set>| {
        let counted = |set: &Set| Counted { name: set.name.clone(), prefixes: set.prefixes.len() };
        sets.into_iter().map(counted).collect()
    };
    let changed = both.into_iter().filter_map(|(was, is)| {
        let mut moved = moved(&is.name, &was.prefixes, &is.prefixes);
        note(&mut moved.what, "prefixes", &source(was.from_kernel), &source(is.from_kernel));
        (!moved.is_empty()).then_some(moved)
    });
    Part { changed: changed.collect(), added: counted(added), removed: counted(removed) }
}

/// Where a list of prefixes comes from, in words.
fn source(from: Option<FromKernel>) -> String {
    let Some(FromKernel { table, allow_empty, hold_micros }) = from else { return "listed".to_owned() };
    let hold = format_duration(hold_micros);
    let empty = if allow_empty { ", may be empty" } else { "" };
    format!("kernel table {table} (losses held for {hold}{empty})")
}

fn policies(old: &Config, new: &Config) -> Part<String, Changed> {
    let (added, removed, both) = split(&old.policies, &new.policies, |policy| &policy.name);
    let names = |policies: Vec<&Policy>| policies.into_iter().map(|policy| policy.name.clone()).collect();
    let changed = both.into_iter().filter_map(|(was, is)| {
        let mut what = Vec::new();
        let allow = |config: &Config, policy: &Policy| set_names(config, &policy.allow);
        note(&mut what, "kind", words::kind(was.kind), words::kind(is.kind));
        note(&mut what, "allow", &allow(old, was), &allow(new, is));
        note(&mut what, "action", words::action(was.action), words::action(is.action));
        note(
            &mut what,
            "reject-with",
            words::reject_with(was.reject_with),
            words::reject_with(is.reject_with),
        );
        note(
            &mut what,
            "divert-fallback",
            words::divert_fallback(was.divert_fallback),
            words::divert_fallback(is.divert_fallback),
        );
        note(&mut what, "mirror", &was.mirror.to_string(), &is.mirror.to_string());
        (!what.is_empty()).then(|| Changed { name: is.name.clone(), what })
    });
    Part { changed: changed.collect(), added: names(added), removed: names(removed) }
}

/// A phase and where it stands. It is known by its policy's name and its own.
struct Place<'a> {
    config: &'a Config,
    policy: &'a Policy,
    phase: &'a Phase,
}

fn places(config: &Config) -> Vec<Place<'_>> {
    let policies = config.policies.iter();
    policies
        .flat_map(|policy| policy.phases.iter().map(move |phase| Place { config, policy, phase }))
        .collect()
}

fn phases(old: &Config, new: &Config) -> Part<PhaseName, Changed> {
    let (before, after) = (places(old), places(new));
    let (added, removed, both) = split(&before, &after, |place| (&*place.policy.name, &*place.phase.name));
    let names = |places: Vec<&Place<'_>>| {
        let name = |place: &Place<'_>| PhaseName {
            policy: place.policy.name.clone(),
            phase: place.phase.name.clone(),
            from: place.phase.from_text.clone(),
        };
        places.into_iter().map(name).collect()
    };
    let changed = both.into_iter().filter_map(|(was, is)| {
        let mut what = Vec::new();
        let done = |place: &Place<'_>| words::action(place.phase.action.unwrap_or(place.policy.action));
        let block = |place: &Place<'_>| match &place.phase.block {
            Block::All => "all".to_owned(),
            Block::Sets(sets) => set_names(place.config, sets),
        };
        // The same instant may be written with another offset.
        if was.phase.from_micros != is.phase.from_micros {
            note(&mut what, "from", &was.phase.from_text, &is.phase.from_text);
        }
        note(&mut what, "block", &block(was), &block(is));
        note(&mut what, "action", done(was), done(is));
        (!what.is_empty()).then(|| Changed { name: format!("{}/{}", is.policy.name, is.phase.name), what })
    });
    Part { changed: changed.collect(), added: names(added), removed: names(removed) }
}

fn set_names(config: &Config, sets: &[usize]) -> String {
    let mut names: Vec<&str> = sets.iter().map(|set| config.sets[*set].name.as_str()).collect();
    // In which order they are named means nothing.
    names.sort_unstable();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn settings(old: &Config, new: &Config) -> Vec<String> {
    let mut what = Vec::new();
    let (was, is) = (&old.checks, &new.checks);
    let validation = words::source_validation;
    note(
        &mut what,
        "[checks] source-validation",
        validation(was.source_validation),
        validation(is.source_validation),
    );
    let prefixes = |checks: &Checks| {
        let prefixes: Vec<String> = checks.nat64_prefixes.iter().map(ToString::to_string).collect();
        if prefixes.is_empty() { "none".to_owned() } else { prefixes.join(", ") }
    };
    note(&mut what, "[checks] nat64-prefixes", &prefixes(was), &prefixes(is));
    let (was, is) = (&old.limits, &new.limits);
    note(&mut what, "[limits] l2-headers", &was.l2_headers.to_string(), &is.l2_headers.to_string());
    let (was, is) = (was.extension_headers.to_string(), is.extension_headers.to_string());
    note(&mut what, "[limits] extension-headers", &was, &is);
    note(&mut what, "[limits] grants", &old.limits.grants.to_string(), &new.limits.grants.to_string());
    what
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BASE: &str = r#"
        [[port]]
        name = "a"
        role = "subscriber"
        peer = "b"
        driver = "memory"
        [[port]]
        name = "b"
        role = "internet"
        peer = "a"
        driver = "memory"
        [sets]
        msa = ["192.0.2.25/32"]
        carriers = ["198.51.100.0/24", "198.51.101.0/24"]
        [[policy]]
        name = "dynamic"
        allow = ["msa"]
        phases = [
          { name = "one", from = "2005-10-18T00:00:00+09:00", block = ["carriers"] },
          { name = "two", from = "2006-06-01T00:00:00+09:00", block = "all" },
        ]
        [[policy]]
        name = "static"
        kind = "exempt"
        [[pool]]
        name = "flets"
        policy = "dynamic"
        prefixes = ["203.0.113.0/25", "203.0.113.128/26"]
    "#;

    fn difference(changes: &[(&str, &str)]) -> Difference {
        let config = |text: &str| {
            Config::from_toml(text, Path::new("s.toml")).unwrap_or_else(|error| panic!("{error}"))
        };
        let changed = changes.iter().fold(BASE.to_owned(), |text, (old, new)| {
            assert!(text.contains(old), "{old}");
            text.replacen(old, new, 1)
        });
        Difference::between(&config(BASE), &config(&changed))
    }

    #[test]
    fn the_same_configuration_differs_in_nothing_however_it_is_written() {
        assert!(difference(&[]).is_empty());
        assert!(difference(&[("2006-06-01T00:00:00+09:00", "2006-05-31T15:00:00Z")]).is_empty());
        assert!(
            difference(&[(
                "\"203.0.113.0/25\", \"203.0.113.128/26\"",
                "\"203.0.113.128/26\", \"203.0.113.0/25\""
            )])
            .is_empty()
        );
    }

    #[test]
    fn prefixes_are_counted_and_pools_named() {
        let found = difference(&[
            ("\"203.0.113.0/25\", ", "\"192.0.2.128/25\", \"192.0.2.64/26\", "),
            ("policy = \"dynamic\"", "policy = \"static\"\n title = \"Flets\""),
            (
                "[[pool]]",
                "[[pool]]\nname = \"new\"\npolicy = \"static\"\nprefixes = [\"10.0.0.0/8\"]\n[[pool]]",
            ),
        ]);
        assert_eq!(found.pools.added, [Counted { name: "new".into(), prefixes: 1 }]);
        let [moved] = &found.pools.changed[..] else { panic!("{found:?}") };
        assert_eq!((&*moved.name, moved.added, moved.removed), ("flets", 2, 1));
        assert_eq!(moved.added_prefixes, ["192.0.2.128/25", "192.0.2.64/26"]);
        assert_eq!(moved.removed_prefixes, ["203.0.113.0/25"]);
        assert_eq!(moved.what, ["policy: dynamic → static", "title: none → Flets"]);
        assert_eq!(found.sets, Part::default());
    }

    #[test]
    fn sets_policies_phases_and_settings_are_told_with_both_values() {
        let found = difference(&[
            (", \"198.51.101.0/24\"", ""),
            ("allow = [\"msa\"]", "allow = [\"msa\", \"carriers\"]\naction = \"reject\""),
            ("{ name = \"one\"", "{ name = \"zero\""),
            ("from = \"2006-06-01T00:00:00+09:00\"", "from = \"2006-07-01T00:00:00+09:00\""),
            ("[sets]", "[checks]\nsource-validation = \"off\"\n[limits]\nl2-headers = 2\n[sets]"),
        ]);
        let [moved] = &found.sets.changed[..] else { panic!("{found:?}") };
        assert_eq!(moved.told(NAMED), "-1 prefix: 198.51.101.0/24");
        let lines = found.lines(20);
        assert_eq!(lines[0], "~ set carriers: -1 prefix: 198.51.101.0/24");
        assert_eq!(lines[1], "~ policy dynamic: allow: msa → carriers, msa; action: drop → reject");
        assert_eq!(lines[2], "+ phase dynamic/zero from 2005-10-18T00:00:00+09:00");
        assert_eq!(found.lines(3)[2], format!("and {} more", lines.len() - 2));
        assert_eq!(found.policies.changed[0].what, ["allow: msa → carriers, msa", "action: drop → reject"]);
        assert_eq!(found.phases.added[0].phase, "zero");
        assert_eq!(found.phases.removed[0].phase, "one");
        assert_eq!(found.phases.changed[0].name, "dynamic/two");
        assert_eq!(
            found.phases.changed[0].what,
            ["from: 2006-06-01T00:00:00+09:00 → 2006-07-01T00:00:00+09:00", "action: drop → reject"]
        );
        assert_eq!(
            found.settings,
            ["[checks] source-validation: enforce → off", "[limits] l2-headers: 4 → 2"]
        );
    }

    #[test]
    fn of_many_prefixes_the_first_are_named_and_the_others_counted() {
        let prefixes = |from: u8| -> Vec<IpNetwork> {
            (from..from + 100).map(|n| format!("10.0.{n}.0/24").parse().unwrap()).collect()
        };
        let moved = moved("many", &prefixes(0), &prefixes(90));
        assert_eq!((moved.added, moved.removed), (90, 90));
        assert_eq!((moved.added_prefixes.len(), &*moved.removed_prefixes[0]), (NAMED, "10.0.0.0/24"));
        let told = moved.told(NAMED);
        assert_eq!(moved.told(0), "+90 prefixes; -90 prefixes");
        assert!(
            told.starts_with("+90 prefixes: 10.0.100.0/24, ") && told.contains(" and 82 more; -90"),
            "{told}"
        );
    }
}
