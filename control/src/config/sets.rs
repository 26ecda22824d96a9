//! `[sets]`: named lists of destinations.

use std::collections::HashSet;

use ipnetwork::IpNetwork;

use super::error::quoted;
use super::guard::Guard;
use super::model::Set;
use super::prefix_list::PrefixLists;
use super::reader::described;
use super::reader::{Name, Names, Table, Value, check_name};
use super::report::Report;
use super::source::Place;

const MOST: usize = 16_384;

/// The sets of a configuration, and what policies need to know of them.
pub(super) struct Sets<'a> {
    pub(super) sets: Vec<Set>,
    pub(super) names: Names<'a>,
    /// Sets without prefixes that no `allow` may name, with the places of their lists. A set leaves when it has been
    /// refused: once is enough.
    empty: Vec<Option<Place>>,
    /// The places of all lists that could be read.
    pub(super) places: Vec<Option<Place>>,
}

/// Reads `[sets]`.
pub(super) fn read<'a>(
    report: &mut Report,
    root: &Table<'a>,
    lists: &mut PrefixLists<'_>,
    guard: &Guard<'_>,
) -> Sets<'a> {
    let mut sets =
        Sets { sets: Vec::new(), names: Names::new("set", "sets"), empty: Vec::new(), places: Vec::new() };
    let Some(entry) = root.get("sets") else {
        return sets;
    };
    let Some(table) = Table::open(entry.value, "[sets]") else {
        let message = format!("`sets` must be a table, not {}", described(entry.value));
        report.refuse(
            entry.place(),
            message,
            "write `[sets]`, and below it a line `name = [\"192.0.2.0/24\", …]` for each set",
        );
        return sets;
    };
    let entries = table.in_order();
    if let Some((name, _)) = entries.get(MOST) {
        let message = format!("there are {} sets, more than {MOST}", entries.len());
        report.refuse(name.place.clone(), message, "join sets that are always named together");
    }
    for (name, value) in entries.into_iter().take(MOST) {
        sets.add(report, name, value, lists, guard);
    }
    sets
}

impl<'a> Sets<'a> {
    fn add(
        &mut self,
        report: &mut Report,
        name: Name<'a>,
        value: &'a Value<'a>,
        lists: &mut PrefixLists<'_>,
        guard: &Guard<'_>,
    ) {
        check_name(report, name.text, name.place.clone());
        let list = lists.read(report, value, &format!("set {}", quoted(name.text)));
        let refused = list
            .as_ref()
            .filter(|list| list.empty && guard.refuses_empty_set(name.text))
            .filter(|list| list.from_kernel.is_none() || guard.has_set(name.text))
            .map(|list| list.place.clone());
        let mut seen = HashSet::new();
        // A prefix twice in a set says nothing wrong.
        let prefixes: Vec<IpNetwork> = list
            .iter()
            .flat_map(|list| list.prefixes.iter())
            .map(|listed| listed.prefix)
            .filter(|prefix| seen.insert(*prefix))
            .collect();
        let from_kernel = list.as_ref().and_then(|list| list.from_kernel);
        self.sets.push(Set { name: name.text.to_owned(), prefixes, from_kernel });
        self.empty.push(refused);
        self.places.push(list.map(|list| list.place));
        self.names.add(report, name, "");
    }

    /// Refuses a name in `allow` whose set has no prefixes: own servers that were open yesterday would be denied.
    pub(super) fn refuse_empty(&mut self, report: &mut Report, name: &Name<'_>, title: &str) {
        let empty = self.names.get(name.text).and_then(|index| self.empty[index].take());
        if let Some(list) = empty {
            let message = format!("{title} allows the set {}, which has no prefixes", quoted(name.text));
            let help = "give the set a prefix, or take it out of `allow`; `--allow-empty` accepts it";
            report.refuse_beside(name.place.clone(), message, help, list, "the set stands here");
        }
    }
}
