//! Generations that a kernel table makes.
//!
//! They are made like those of a reload: compiled beside what is in force, published, recorded in the history, told. The
//! configuration is the one in force, with other prefixes in the pools and sets that tables keep. A fault leaves what is in force.

use std::sync::Arc;
use std::time::Instant;

use super::difference::Difference;
use super::event::Event;
use super::history::Author;
use super::kernel::Mailbox;
use super::tables::{InForce, Tables};
use crate::clock;
use crate::config::{Config, Contents};

/// Which contents of tables a configuration was last brought to.
#[derive(Default)]
pub(super) struct TablesInForce(Option<(Arc<Config>, Contents)>);

impl TablesInForce {
    fn new(config: &Arc<Config>, contents: &Contents) -> TablesInForce {
        TablesInForce(Some((Arc::clone(config), contents.clone())))
    }

    /// Whether these are the very same.
    fn is(&self, config: &Arc<Config>, contents: &Contents) -> bool {
        let Some((known, of)) = &self.0 else { return false };
        let same = |((table, one), (other, content)): ((&u32, &Arc<_>), (&u32, &Arc<_>))| {
            table == other && Arc::ptr_eq(one, content)
        };
        Arc::ptr_eq(known, config) && of.len() == contents.len() && of.iter().zip(contents).all(same)
    }
}

impl Tables {
    /// Takes what tables contain now.
    pub(super) fn take_tables(&mut self, mailbox: &Mailbox) {
        self.followed.with(|followed| {
            mailbox.take().into_iter().for_each(|(table, content)| followed.told(table, content));
        });
    }

    /// Puts in force what the tables of the configuration in force contain, as far as it is not held, if it is not in force
    /// already: after a change of theirs, after a rollback, and when a loss has been held long enough.
    pub(super) fn follow_tables(&mut self) {
        let before = self.in_force();
        if before.config.from_kernel().next().is_none() {
            return;
        }
        let begun = Instant::now();
        for notice in self.followed.with(|followed| followed.settle(begun)) {
            self.happened(notice.event());
        }
        self.books.kernel.show_tables(self.followed.with(|followed| followed.states(begun)));
        let contents = self.followed.with(|followed| followed.contents());
        // Walked through when there is something else in it, and not for each grant.
        if !self.in_force_of_tables.is(&before.config, &contents) {
            let (changed, conflicts) = before.config.with_tables(&contents);
            self.books.kernel.show_conflicts(conflicts);
            if let Some(config) = changed {
                self.put_tables_in_force(&before, config, begun);
            }
            self.in_force_of_tables = TablesInForce::new(&self.in_force().config, &contents);
        }
        self.remember_tables(&contents, false);
    }

    /// Writes down what is in force of tables, if it is time or this is the end.
    pub(super) fn remember_tables(&mut self, contents: &Contents, last: bool) {
        if let Some(why) = self.remembered.write(contents, last) {
            self.happened(Event::KernelTablesUnwritable { why });
        }
    }

    fn put_tables_in_force(&mut self, before: &InForce, config: Config, begun: Instant) {
        let table = first_changed(&before.config, &config);
        let config = Arc::new(config);
        let compiled = match self.compiler.compile(&config, self.grants.table()) {
            Ok(compiled) => compiled,
            Err(error) => {
                let why = error.to_string();
                if self.table_refused.as_ref() != Some(&why) {
                    self.happened(Event::KernelTableRefused { table, why: why.clone() });
                    self.table_refused = Some(why);
                }
                return;
            }
        };
        self.table_refused = None;
        let difference = Difference::between(&before.config, &config);
        let (generation, in_force) = InForce::of(Arc::clone(&config), compiled);
        let number = in_force.generation;
        in_force.advance(clock::now());
        self.put_in_force(generation, in_force);
        self.record(Author::KernelTable { table }, &config, None, &difference);
        let changes = difference.lines(1).pop().unwrap_or_default();
        let seconds = begun.elapsed().as_secs_f64();
        self.happened(Event::KernelTable { table, generation: number, changes, seconds });
    }

    /// The configuration that a reload has put in force names other tables, perhaps.
    pub(super) fn follow_configuration(&mut self, config: &Config, read: &Contents) {
        self.followed.with(|followed| followed.follow(config, read));
        self.kernel.follow(config.kernel_tables());
    }
}

/// The table of the first list that is not the same.
fn first_changed(old: &Config, new: &Config) -> u32 {
    let pools = old.pools.iter().zip(&new.pools).filter(|(was, is)| was.prefixes != is.prefixes);
    let sets = old.sets.iter().zip(&new.sets).filter(|(was, is)| was.prefixes != is.prefixes);
    let mut tables =
        pools.filter_map(|(_, is)| is.from_kernel).chain(sets.filter_map(|(_, is)| is.from_kernel));
    tables.next().map_or(0, |from| from.table)
}
