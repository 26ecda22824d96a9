//! `[[pool]]`: customers' prefixes, each in one pool.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;

use ipnetwork::IpNetwork;

use super::error::quoted;
use super::guard::Guard;
use super::kernel_table::{Contents, distribute};
use super::model::Pool;
use super::prefix_list::{PrefixList, PrefixLists};
use super::reader::{Entry, Name, Names, Shape, Table};
use super::report::Report;
use super::source::Place;

const MOST: usize = 32_766;

const SHAPE: Shape = Shape { what: "a pool", keys: &["name", "title", "policy", "prefixes"], remarks: &[] };

/// The pools of a configuration, and the places of their lists.
#[derive(Default)]
pub(super) struct Pools {
    pub(super) pools: Vec<Pool>,
    pub(super) places: Vec<Place>,
}

/// Reads every `[[pool]]`.
pub(super) fn read(
    report: &mut Report,
    root: &Table<'_>,
    policies: &Names<'_>,
    lists: &mut PrefixLists<'_>,
    guard: &Guard<'_>,
) -> Pools {
    let values = root.get("pool").map_or(&[][..], |entry| entry.tables(report));
    if let Some(first) = values.get(MOST) {
        let message = format!("there are {} pools, more than {MOST}", values.len());
        report.refuse(Place::main(first.span()), message, "join pools that have one policy");
    }
    let mut names = Names::new("pool", "pools");
    let mut owners = Owners::default();
    let mut pools = Pools::default();
    let mut tables = HashMap::new();
    let mut contents = Contents::new();
    for value in values.iter().take(MOST) {
        let Some(table) = Table::named(report, value, "pool", "", &SHAPE) else {
            continue;
        };
        let name = table.name(report);
        if let Some(name) = &name {
            names.add(report, name.clone(), "");
        }
        let title = table.get("title").and_then(|entry| title(report, &entry));
        let policy = table.require(report, "policy", "\"…\"").and_then(|entry| {
            let name = Name { text: entry.string(report)?, place: entry.place() };
            policies.resolve(report, &name)
        });
        let list = table.require(report, "prefixes", "[\"192.0.2.0/24\"]");
        let list = list.and_then(|entry| lists.read(report, entry.value, &table.title));
        let Some(list) = list else {
            continue;
        };
        let known = name.as_ref().map(|name| name.text);
        if list.empty && guard.refuses_empty_pool(known) {
            match list.from_kernel {
                None => {
                    let help = "give it at least one prefix; `--allow-empty` accepts it as it is";
                    report.refuse(list.place.clone(), format!("{} has no prefixes", table.title), help);
                }
                Some(from) if guard.has_pool(known) => {
                    let message =
                        format!("{} has no prefixes: kernel table {} has no routes", table.title, from.table);
                    let help = "see that the routing daemon fills it; `--allow-empty` accepts it as it is";
                    report.refuse(list.place.clone(), message, help);
                }
                Some(_) => {}
            }
        }
        let prefixes = match list.from_kernel {
            None => owners.take(report, &list, &table.title),
            Some(from) => {
                if let Some((title, place)) =
                    tables.insert(from.table, (table.title.clone(), list.place.clone()))
                {
                    let message =
                        format!("{title} and {} both take kernel table {}", table.title, from.table);
                    let help = "give each pool a table of its own";
                    report.refuse_beside(
                        list.place.clone(),
                        message,
                        help,
                        place,
                        "the other one stands here",
                    );
                }
                contents.insert(from.table, list.prefixes.iter().map(|listed| listed.prefix).collect());
                Vec::new()
            }
        };
        if let (Some(name), Some(policy)) = (name, policy) {
            pools.places.push(list.place.clone());
            let from_kernel = list.from_kernel;
            pools.pools.push(Pool { name: name.text.to_owned(), title, policy, prefixes, from_kernel });
        }
    }
    distribute(&mut pools.pools, &contents);
    pools
}

fn title(report: &mut Report, entry: &Entry<'_>) -> Option<String> {
    const LONGEST: usize = 200;
    let text = entry.string(report)?;
    let length = text.chars().count();
    if length > LONGEST || text.chars().any(char::is_control) {
        let message = format!("the title {} is too long or has control characters", quoted(text));
        let help = format!("a title is one line of at most {LONGEST} characters; this one has {length}");
        report.refuse(entry.place(), message, help);
        return None;
    }
    Some(text.to_owned())
}

/// Which pool has a prefix, and where that stands.
#[derive(Default)]
struct Owners {
    titles: Vec<String>,
    of: HashMap<IpNetwork, (usize, Place)>,
}

impl Owners {
    /// Gives the prefixes of a list to a pool. Those that are taken are refused.
    fn take(&mut self, report: &mut Report, list: &PrefixList, title: &str) -> Vec<IpNetwork> {
        let pool = self.titles.len();
        self.titles.push(title.to_owned());
        let mut prefixes = Vec::with_capacity(list.prefixes.len());
        for listed in list.prefixes.iter() {
            let (owner, place) = match self.of.entry(listed.prefix) {
                MapEntry::Vacant(free) => {
                    free.insert((pool, listed.place.clone()));
                    prefixes.push(listed.prefix);
                    continue;
                }
                MapEntry::Occupied(taken) => taken.get().clone(),
            };
            let prefix = listed.prefix;
            let owner_title = &self.titles[owner];
            if owner == pool {
                let message = format!("`{prefix}` stands twice in {title}");
                report.refuse_beside(
                    listed.place.clone(),
                    message,
                    "remove one of the two",
                    place,
                    "the first one stands here",
                );
            } else if place == listed.place {
                let message = format!("`{prefix}` is in {owner_title} and in {title}: both take this file");
                report.refuse(listed.place.clone(), message, "give each pool a file of its own");
            } else {
                let message = format!("`{prefix}` is in {owner_title} and in {title}");
                let help =
                    "a prefix is in one pool: remove it from the other, or give one of them a longer prefix";
                let note = format!("{owner_title} has it here");
                report.refuse_beside(listed.place.clone(), message, help, place, note);
            }
        }
        prefixes
    }
}
