//! IPv6: the table.

mod live;
mod node;
#[cfg(test)]
mod tests;
mod trie;

use ipnetwork::Ipv6Network;

use super::BuildError;
use super::cpu::Level;
use super::prefix::{flatten, sorted};
use trie::Trie;

pub use live::{Live6, Reader6, Resting6};

/// An IPv6 longest-prefix-match table, immutable once built.
#[derive(Debug)]
pub struct Table6 {
    form: Form,
    prefixes: usize,
}

#[derive(Debug)]
enum Form {
    Uniform(u32),
    Trie(Trie),
}

impl Table6 {
    /// Compiles `entries`, which may come in any order; in that of (address, length) they compile in linear
    /// time.
    ///
    /// # Errors
    ///
    /// If a prefix has host bits set or appears twice, an id is 0 or above [`MAX_ID`](super::MAX_ID), or
    /// memory does not suffice.
    pub fn build(entries: &[(Ipv6Network, u32)]) -> Result<Table6, BuildError> {
        let prefixes = sorted(entries)?;
        let runs = flatten(&prefixes);
        let form = match runs[..] {
            [run] => Form::Uniform(run.id.into()),
            _ => Form::Trie(Trie::build(&runs, Level::best())?),
        };
        Ok(Table6 { form, prefixes: prefixes.len() })
    }

    /// The id of the longest prefix that contains `address` (in host order, as `u128::from(Ipv6Addr)` gives
    /// it), or [`NO_MATCH`](super::NO_MATCH).
    #[inline]
    pub fn lookup(&self, address: u128) -> u32 {
        match &self.form {
            Form::Uniform(id) => *id,
            Form::Trie(trie) => trie.lookup(address),
        }
    }

    /// [`lookup`](Self::lookup) for many addresses at once, a good deal faster from about 16 on: `ids[i]`
    /// becomes the answer for `addresses[i]`.
    ///
    /// # Panics
    ///
    /// If the slices differ in length.
    #[inline]
    pub fn lookup_burst(&self, addresses: &[u128], ids: &mut [u32]) {
        assert_eq!(addresses.len(), ids.len(), "one id for each address");
        match &self.form {
            Form::Uniform(id) => ids.fill(*id),
            Form::Trie(trie) => trie.lookup_burst(addresses, ids),
        }
    }

    /// How many prefixes the table was built from.
    pub fn prefixes(&self) -> usize {
        self.prefixes
    }

    /// Bytes of memory that lookups may touch.
    pub fn memory_bytes(&self) -> usize {
        match &self.form {
            Form::Uniform(_) => 0,
            Form::Trie(trie) => trie.memory_bytes(),
        }
    }
}

impl Default for Table6 {
    /// The empty table.
    fn default() -> Self {
        Table6 { form: Form::Uniform(super::NO_MATCH), prefixes: 0 }
    }
}
