//! Lists of prefixes that a routing table of the kernel keeps: `prefixes = { kernel-table = 2525 }`.
//!
//! A routing daemon fills the table, from BGP by a community for instance. The configuration says which table; what stands in it
//! is read when the configuration is, and a daemon follows it from then on. A prefix is in one pool: what a configuration lists
//! goes before what a table says, and of two tables the first pool in the file has it. A table can't be corrected like a file, so
//! that is no fault.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::model::{Config, Pool};
use super::reader::Table;
use super::report::Report;

/// How long a table has to stay as it is before the loss of more than half of it is taken for meant.
pub(super) const DEFAULT_HOLD_MICROS: u64 = 30_000_000;
pub(super) const HOLDS: std::ops::RangeInclusive<u64> = 0..=86_400_000_000;
/// The kernel's own tables are `default`, `main` and `local`.
const KERNELS_OWN: std::ops::RangeInclusive<u32> = 253..=255;

/// Where a list of prefixes comes from, if it is not written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromKernel {
    /// The routing table's number.
    pub table: u32,
    /// Whether an empty table is taken for meant, once `hold_micros` are over.
    pub allow_empty: bool,
    /// How long what a table lost stays, if that is more than half of it.
    pub hold_micros: u64,
}

/// The kernel's routing tables.
pub trait KernelTables {
    /// The prefixes of a table, in their order, each once.
    ///
    /// # Errors
    /// In words, why it can't be read.
    fn prefixes(&self, table: u32) -> Result<Arc<[IpNetwork]>, String>;
}

/// The tables of this host, or of this network namespace, as they are now.
#[derive(Clone, Copy, Debug)]
pub struct ThisHost;

impl KernelTables for ThisHost {
    fn prefixes(&self, table: u32) -> Result<Arc<[IpNetwork]>, String> {
        crate::netlink::read_table(table).map(Into::into).map_err(|error| error.to_string())
    }
}

/// What tables contain, by their numbers.
pub type Contents = BTreeMap<u32, Arc<[IpNetwork]>>;

/// Reads the keys of a list from a table; none if it is none, or none that is right.
pub(super) fn read(report: &mut Report, table: &Table<'_>) -> Option<FromKernel> {
    let entry = table.get("kernel-table")?;
    if let Some(file) = table.get("file") {
        let message = format!("{} comes from a file and from a kernel table", table.title);
        report.refuse(file.key_place, message, "keep one of the two");
        return None;
    }
    let number = entry.whole(report, 1..=u32::MAX, 2525)?;
    if KERNELS_OWN.contains(&number) {
        let message = format!("kernel table {number} is one of the kernel's own");
        report.refuse(entry.place(), message, "give the routing daemon a table of its own, such as 2525");
        return None;
    }
    let allow_empty = match table.get("allow-empty") {
        None => false,
        Some(entry) => entry.boolean(report)?,
    };
    let hold_micros = match table.get("hold") {
        None => DEFAULT_HOLD_MICROS,
        Some(entry) => entry.duration(report, HOLDS, DEFAULT_HOLD_MICROS)?,
    };
    Some(FromKernel { table: number, allow_empty, hold_micros })
}

/// Gives pools what their tables contain; gives how many prefixes another pool had already.
pub(super) fn distribute(pools: &mut [Pool], contents: &Contents) -> usize {
    if pools.iter().all(|pool| pool.from_kernel.is_none()) {
        return 0;
    }
    let content_of = |pool: &Pool| pool.from_kernel.and_then(|from| contents.get(&from.table));
    // A table of which nothing is known yet leaves its pool as it is.
    let listed = pools.iter().filter(|pool| content_of(pool).is_none());
    let mut taken: HashSet<IpNetwork> = listed.flat_map(|pool| &pool.prefixes).copied().collect();
    let mut conflicts = 0;
    for pool in pools.iter_mut() {
        let Some(content) = content_of(pool) else { continue };
        pool.prefixes = content.iter().filter(|prefix| taken.insert(**prefix)).copied().collect();
        conflicts += content.len() - pool.prefixes.len();
    }
    conflicts
}

impl Config {
    /// The lists that kernel tables keep, of pools and sets.
    pub fn from_kernel(&self) -> impl Iterator<Item = FromKernel> + '_ {
        let pools = self.pools.iter().filter_map(|pool| pool.from_kernel);
        pools.chain(self.sets.iter().filter_map(|set| set.from_kernel))
    }

    /// The kernel tables that are named.
    pub fn kernel_tables(&self) -> BTreeSet<u32> {
        self.from_kernel().map(|from| from.table).collect()
    }

    /// The same with other contents of its tables, if that is not the same; and how many prefixes of tables another pool
    /// has already.
    pub fn with_tables(&self, contents: &Contents) -> (Option<Config>, usize) {
        let mut config = self.clone();
        for set in &mut config.sets {
            if let Some(content) = set.from_kernel.and_then(|from| contents.get(&from.table)) {
                set.prefixes = content.to_vec();
            }
        }
        let conflicts = distribute(&mut config.pools, contents);
        let same = config.sets == self.sets && config.pools == self.pools;
        ((!same).then_some(config), conflicts)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::LoadOptions;
    use super::*;

    struct Fixed(Contents);

    impl KernelTables for Fixed {
        fn prefixes(&self, table: u32) -> Result<Arc<[IpNetwork]>, String> {
            self.0.get(&table).cloned().ok_or_else(|| format!("no table {table} in this test"))
        }
    }

    fn contents(tables: &[(u32, &[&str])]) -> Contents {
        let parsed = |prefixes: &&[&str]| prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect();
        tables.iter().map(|(table, prefixes)| (*table, parsed(prefixes))).collect()
    }

    fn text(pools: &str, sets: &str) -> String {
        format!(
            "[[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\ndriver = \"memory\"\n[[port]]\nname = \"b\"\n\
             role = \"internet\"\npeer = \"a\"\ndriver = \"memory\"\n[sets]\n{sets}\n[[policy]]\nname = \"p\"\n{pools}"
        )
    }

    fn pool(name: &str, prefixes: &str) -> String {
        format!("[[pool]]\nname = \"{name}\"\npolicy = \"p\"\nprefixes = {prefixes}\n")
    }

    fn load(text: &str, in_force: Option<&Config>, tables: Contents) -> Result<Config, Vec<String>> {
        let path = Path::new("/etc/s.toml");
        Config::from_toml_from(text, path, LoadOptions::default(), in_force, &Fixed(tables))
            .map_err(|error| error.problems().iter().map(|p| format!("{}; {}", p.message, p.help)).collect())
    }

    fn prefixes(config: &Config, pool: usize) -> Vec<String> {
        config.pools[pool].prefixes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pools_and_sets_have_what_their_tables_contain() {
        let pools = pool("q", "{ kernel-table = 2525, allow-empty = true, hold = \"2s\" }");
        let text = text(&pools, "s = { kernel-table = 2526 }");
        let tables = [(2525, &["192.0.2.0/24", "2001:db8::/32"][..]), (2526, &["198.51.100.0/24"])];
        let config = load(&text, None, contents(&tables)).unwrap();
        assert_eq!(prefixes(&config, 0), ["192.0.2.0/24", "2001:db8::/32"]);
        assert_eq!(config.sets[0].prefixes.len(), 1);
        let from = FromKernel { table: 2525, allow_empty: true, hold_micros: 2_000_000 };
        assert_eq!(config.pools[0].from_kernel, Some(from));
        assert_eq!(config.kernel_tables().into_iter().collect::<Vec<_>>(), [2525, 2526]);
        let tables = contents(&[(2525, &["192.0.2.0/24"]), (2526, &["198.51.100.0/24"])]);
        let (changed, conflicts) = config.with_tables(&tables);
        assert_eq!((prefixes(&changed.unwrap(), 0), conflicts), (vec!["192.0.2.0/24".to_owned()], 0));
    }

    #[test]
    fn what_a_configuration_lists_goes_before_what_a_table_says_and_the_first_pool_before_others() {
        let pools = [
            pool("first", "{ kernel-table = 1 }"),
            pool("second", "{ kernel-table = 2 }"),
            pool("listed", "[\"192.0.2.0/24\"]"),
        ];
        let tables = contents(&[(1, &["192.0.2.0/24", "10.0.0.0/8"]), (2, &["10.0.0.0/8", "10.1.0.0/16"])]);
        let config = load(&text(&pools.concat(), ""), None, tables.clone()).unwrap();
        assert_eq!(prefixes(&config, 0), ["10.0.0.0/8"]);
        assert_eq!(prefixes(&config, 1), ["10.1.0.0/16"]);
        assert_eq!(prefixes(&config, 2), ["192.0.2.0/24"]);
        assert_eq!(config.with_tables(&tables), (None, 2));
    }

    #[test]
    fn a_table_of_which_nothing_is_known_leaves_its_pool_as_it_is() {
        let tables = contents(&[(1, &["192.0.2.0/24"])]);
        let config = load(&text(&pool("p", "{ kernel-table = 1 }"), ""), None, tables).unwrap();
        assert_eq!(config.with_tables(&Contents::new()), (None, 0));
    }

    #[test]
    fn an_empty_table_is_no_fault_at_the_start_and_one_at_a_reload_that_would_lose_a_pool() {
        let from_table = text(&pool("q", "{ kernel-table = 2525 }"), "");
        let empty = || contents(&[(2525, &[])]);
        let config = load(&from_table, None, empty()).unwrap();
        assert!(load(&from_table, Some(&config), empty()).is_ok(), "it was empty before");
        let listed = load(&text(&pool("q", "[\"192.0.2.0/24\"]"), ""), None, empty()).unwrap();
        let told = load(&from_table, Some(&listed), empty()).unwrap_err();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("pool `q` has no prefixes: kernel table 2525 has no routes"), "{told:?}");
    }

    #[test]
    fn a_list_that_is_not_right_is_refused_with_the_remedy() {
        for (list, expected) in [
            ("{ kernel-table = 254 }", "kernel table 254 is one of the kernel's own"),
            ("{ kernel-table = 0 }", "`kernel-table` must lie between 1 and 4294967295"),
            ("{ kernel-table = 5, file = \"x\" }", "comes from a file and from a kernel table"),
            ("{ kernel-table = 5, hold = \"3\" }", "write whole numbers with units"),
            ("{ file = \"x\", hold = \"3s\" }", "`hold` is for a list from a kernel table"),
            ("{ kernel-table = 6 }", "kernel table 6 can't be read: no table 6 in this test"),
        ] {
            let told = load(&text(&pool("q", list), ""), None, contents(&[(5, &[])])).unwrap_err();
            assert!(told.iter().any(|told| told.contains(expected)), "{list}: {told:?}");
        }
        let twice = pool("q", "{ kernel-table = 5 }") + &pool("r", "{ kernel-table = 5 }");
        let told = load(&text(&twice, ""), None, contents(&[(5, &[])])).unwrap_err();
        assert!(told[0].contains("both take kernel table 5"), "{told:?}");
    }
}
