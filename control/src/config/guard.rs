//! What a configuration takes from the one in force that may be an accident: a list cut short on its way, a file
//! emptied by a script (policy.md, section 5). It is refused unless somebody says that it is meant.

use std::collections::{HashMap, HashSet};

use ipnetwork::IpNetwork;

use super::coverage::Coverage;
use super::error::quoted;
use super::model::{Config, Policy, Pool, Set};
use super::report::Report;
use super::source::{Place, SourceId};
use super::{LoadOptions, pools, sets};

/// What is let pass.
pub(super) struct Guard<'c> {
    options: LoadOptions,
    in_force: Option<&'c Config>,
    /// Pools that have no prefixes in force.
    empty_pools: HashSet<&'c str>,
    /// Sets without prefixes that an `allow` names in force.
    empty_sets: HashSet<&'c str>,
}

impl<'c> Guard<'c> {
    /// Compares with what is in force, if anything is.
    pub(super) fn new(options: LoadOptions, in_force: Option<&'c Config>) -> Guard<'c> {
        let pools = in_force.into_iter().flat_map(|config| &config.pools);
        let allowed = in_force.into_iter().flat_map(|config| {
            config.policies.iter().flat_map(|policy| &policy.allow).map(|set| &config.sets[*set])
        });
        let empty_pools = pools.filter(|pool| pool.prefixes.is_empty()).map(|pool| pool.name.as_str());
        let empty_sets = allowed.filter(|set| set.prefixes.is_empty()).map(|set| set.name.as_str());
        Guard { options, in_force, empty_pools: empty_pools.collect(), empty_sets: empty_sets.collect() }
    }

    /// Whether a pool without prefixes is refused. One that has none in force already may stay so.
    pub(super) fn refuses_empty_pool(&self, name: Option<&str>) -> bool {
        !self.options.allow_empty && !name.is_some_and(|name| self.empty_pools.contains(name))
    }

    /// Whether a pool has prefixes in force. A kernel's table without routes would take them away; where there are none,
    /// the routing daemon may come later.
    pub(super) fn has_pool(&self, name: Option<&str>) -> bool {
        let pools = self.in_force.into_iter().flat_map(|config| &config.pools);
        let mut full = pools.filter(|pool| !pool.prefixes.is_empty());
        name.is_some_and(|name| full.any(|pool| pool.name == name))
    }

    /// The same for a set.
    pub(super) fn has_set(&self, name: &str) -> bool {
        let sets = self.in_force.into_iter().flat_map(|config| &config.sets);
        let mut full = sets.filter(|set| !set.prefixes.is_empty());
        full.any(|set| set.name == name)
    }

    /// Whether an `allow` may not name a set without prefixes. One that is named so in force already may stay so.
    pub(super) fn refuses_empty_set(&self, name: &str) -> bool {
        !self.options.allow_empty && !self.empty_sets.contains(name)
    }

    /// Refuses sets and pools that lose more than half of the prefixes that they have in force. A prefix is lost when the
    /// new ones together do not cover it, so that splitting, joining and, between pools, moving loses nothing.
    pub(super) fn refuse_shrinking(
        &self,
        report: &mut Report,
        sets: &sets::Sets<'_>,
        policies: &[Policy],
        pools: &pools::Pools,
    ) {
        let Some(in_force) = self.in_force.filter(|_| !self.options.allow_shrink) else { return };
        let allowed: HashSet<usize> = policies.iter().flat_map(|policy| &policy.allow).copied().collect();
        let before: HashMap<&str, &Set> = in_force.sets.iter().map(|set| (set.name.as_str(), set)).collect();
        for (at, (set, place)) in sets.sets.iter().zip(&sets.places).enumerate() {
            let Some(old) = before.get(set.name.as_str()) else { continue };
            // What is emptied and allowed is a matter of its own.
            if old.prefixes == set.prefixes || set.prefixes.is_empty() && allowed.contains(&at) {
                continue;
            }
            let title = format!("set {}", quoted(&set.name));
            refuse(report, place.as_ref(), &title, &old.prefixes, &Coverage::of(&set.prefixes));
        }
        self.refuse_shrinking_pools(report, in_force, pools);
    }

    fn refuse_shrinking_pools(&self, report: &mut Report, in_force: &Config, pools: &pools::Pools) {
        let new: HashMap<&str, (&Pool, &Place)> = pools
            .pools
            .iter()
            .zip(&pools.places)
            .map(|(pool, place)| (pool.name.as_str(), (pool, place)))
            .collect();
        let mut coverage = None;
        for old in &in_force.pools {
            let found = new.get(old.name.as_str()).copied();
            if found.is_some_and(|(pool, _)| pool.prefixes == old.prefixes || pool.prefixes.is_empty()) {
                continue;
            }
            let coverage = coverage
                .get_or_insert_with(|| Coverage::of(pools.pools.iter().flat_map(|pool| &pool.prefixes)));
            let title = format!("pool {}", quoted(&old.name));
            refuse(report, found.map(|(_, place)| place), &title, &old.prefixes, coverage);
        }
    }
}

/// Refuses if more than half is lost. What is gone as a whole has no place in the file.
fn refuse(report: &mut Report, place: Option<&Place>, title: &str, old: &[IpNetwork], new: &Coverage) {
    let mut lost = old.iter().filter(|prefix| !new.covers(**prefix));
    let Some(first) = lost.next() else { return };
    let count = lost.count() + 1;
    if count * 2 <= old.len() {
        return;
    }
    let had = old.len();
    let named = if count == 1 { format!("{first}") } else { format!("{first} and {} more", count - 1) };
    let plural = if had == 1 { "prefix" } else { "prefixes" };
    let help = "put them back, or accept the loss with `--allow-shrink`";
    match place {
        Some(place) => {
            let message = format!("{title} loses {count} of its {had} {plural} in force: {named}");
            report.refuse(place.clone(), message, help);
        }
        None => {
            let message = format!(
                "{title} is gone, and no other covers {count} of its {had} {plural} in force: {named}"
            );
            report.refuse_file(SourceId::MAIN, message, help);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const PORTS: &str = "[[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\ndriver = \"memory\"\n\
                         [[port]]\nname = \"b\"\nrole = \"internet\"\npeer = \"a\"\ndriver = \"memory\"\n";

    fn text(set: &str, pools: &[(&str, &str)]) -> String {
        let pools = pools.iter().map(|(name, prefixes)| {
            format!("[[pool]]\nname = \"{name}\"\npolicy = \"p\"\nprefixes = [{prefixes}]\n")
        });
        let pools: String = pools.collect();
        format!("{PORTS}[sets]\ns = [{set}]\n[[policy]]\nname = \"p\"\n{pools}")
    }

    const SET: &str = r#""192.0.2.0/26", "192.0.2.64/26", "2001:db8::/32""#;
    const POOLS: &[(&str, &str)] = &[
        ("one", r#""10.0.0.0/24", "10.0.1.0/24", "2001:db8:1::/48""#),
        ("two", r#""10.1.0.0/24", "10.1.1.0/24""#),
    ];

    fn against(new: &str, options: LoadOptions) -> Vec<String> {
        let path = Path::new("/etc/s.toml");
        let old = Config::from_toml(&text(SET, POOLS), path).unwrap();
        match Config::from_toml_against(new, path, options, Some(&old)) {
            Ok(_) => Vec::new(),
            Err(error) => {
                let told =
                    |p: &super::super::Problem| format!("{}:{}: {}; {}", p.line, p.column, p.message, p.help);
                error.problems().iter().map(told).collect()
            }
        }
    }

    fn refused(set: &str, pools: &[(&str, &str)]) -> Vec<String> {
        against(&text(set, pools), LoadOptions::default())
    }

    #[test]
    fn a_set_that_loses_more_than_half_is_refused_where_it_stands() {
        let told = refused(r#""2001:db8::/32""#, POOLS);
        assert_eq!(
            told,
            [
                "12:5: set `s` loses 2 of its 3 prefixes in force: 192.0.2.0/26 and 1 more; put them back, or accept the \
              loss with `--allow-shrink`"
            ]
        );
        assert_eq!(
            refused(r#""192.0.2.0/26", "2001:db8::/32""#, POOLS),
            Vec::<String>::new(),
            "one of three"
        );
        assert_eq!(refused("", POOLS).len(), 1, "nothing is left of it");
        let accepted = LoadOptions { allow_shrink: true, ..LoadOptions::default() };
        assert_eq!(against(&text("", POOLS), accepted), Vec::<String>::new());
    }

    #[test]
    fn splitting_and_joining_lose_nothing() {
        for set in [
            r#""192.0.2.0/25", "2001:db8::/32""#,
            r#""192.0.2.0/24", "2001:db8::/31""#,
            r#""192.0.2.0/27", "192.0.2.32/27", "192.0.2.64/26", "2001:db8::/33", "2001:db8:8000::/33""#,
        ] {
            assert_eq!(refused(set, POOLS), Vec::<String>::new(), "{set}");
        }
    }

    #[test]
    fn what_moves_to_another_pool_or_to_another_name_is_not_lost() {
        let moved =
            [("one", r#""10.9.0.0/24""#), ("three", r#""10.0.0.0/23", "2001:db8::/32", "10.1.0.0/16""#)];
        assert_eq!(refused(SET, &moved), Vec::<String>::new(), "`two` is gone, and all of it is in `three`");
    }

    #[test]
    fn a_pool_that_shrinks_or_goes_is_refused() {
        let told = refused(SET, &[("one", r#""10.0.1.0/24""#)]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("1:1: pool `two` is gone, and no other covers 2 of its 2 prefixes"),
            "{told:?}"
        );
        assert!(
            told[1].starts_with("18:12: pool `one` loses 2 of its 3 prefixes in force: 10.0.0.0/24 and 1"),
            "{told:?}"
        );
        let half = [("one", POOLS[0].1), ("two", r#""10.1.1.0/24", "10.1.0.0/25""#)];
        assert_eq!(refused(SET, &half), Vec::<String>::new(), "one of two is no more than half");
    }

    #[test]
    fn what_becomes_empty_is_for_the_other_option_alone() {
        let empty = [("one", ""), POOLS[1]];
        assert!(refused(SET, &empty)[0].contains("`--allow-empty`"));
        let accepted = LoadOptions { allow_empty: true, ..LoadOptions::default() };
        assert_eq!(against(&text(SET, &empty), accepted), Vec::<String>::new());
    }
}
