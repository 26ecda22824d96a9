//! IPv4: which structure a table gets, and the table itself.

mod chunk;
mod live;
mod packed;
mod paged;
#[cfg(test)]
mod tests;

use ipnetwork::Ipv4Network;

use super::BuildError;
use super::cpu::Level;
use super::prefix::{Run, flatten, sorted};
use packed::Packed;
use paged::Paged;

pub use live::{Live4, Reader4, Resting4};

/// An IPv4 longest-prefix-match table, immutable once built.
///
/// The structure depends on the prefixes: none or one for everything (no memory at all), pages for small
/// tables, packed blocks for large ones. All give the same answers; see the module documentation for why
/// there is more than one.
#[derive(Debug)]
pub struct Table4 {
    form: Form,
    prefixes: usize,
}

#[derive(Debug)]
enum Form {
    Uniform(u32),
    Paged(Paged),
    Packed(Packed),
}

/// Above this size a paged table loses to a packed one: its pages no longer stay in the second-level cache.
const PAGED_BYTES: usize = 3 << 20;

impl Form {
    fn build(runs: &[Run<u32>], level: Level) -> Result<Form, BuildError> {
        if let [run] = runs {
            return Ok(Form::Uniform(run.id.into()));
        }
        match Paged::build(runs, PAGED_BYTES, level) {
            Some(paged) => Ok(Form::Paged(paged)),
            None => Packed::build(runs, level).map(Form::Packed),
        }
    }

    #[inline]
    fn lookup(&self, address: u32) -> u32 {
        match self {
            Form::Uniform(id) => *id,
            Form::Paged(paged) => paged.lookup(address),
            Form::Packed(packed) => packed.lookup(address),
        }
    }

    #[inline]
    fn lookup_burst(&self, addresses: &[u32], ids: &mut [u32]) {
        match self {
            Form::Uniform(id) => ids.fill(*id),
            Form::Paged(paged) => paged.lookup_burst(addresses, ids),
            Form::Packed(packed) => packed.lookup_burst(addresses, ids),
        }
    }
}

impl Table4 {
    /// Compiles `entries`, which may come in any order; in that of (address, length) they compile in linear
    /// time.
    ///
    /// # Errors
    ///
    /// If a prefix has host bits set or appears twice, an id is 0 or above [`MAX_ID`](super::MAX_ID), or
    /// memory does not suffice.
    pub fn build(entries: &[(Ipv4Network, u32)]) -> Result<Table4, BuildError> {
        let prefixes = sorted(entries)?;
        let form = Form::build(&flatten(&prefixes), Level::best())?;
        Ok(Table4 { form, prefixes: prefixes.len() })
    }

    /// The id of the longest prefix that contains `address` (in host order), or
    /// [`NO_MATCH`](super::NO_MATCH).
    #[inline]
    pub fn lookup(&self, address: u32) -> u32 {
        self.form.lookup(address)
    }

    /// [`lookup`](Self::lookup) for many addresses at once, a good deal faster from about 16 on: `ids[i]`
    /// becomes the answer for `addresses[i]`.
    ///
    /// # Panics
    ///
    /// If the slices differ in length.
    #[inline]
    pub fn lookup_burst(&self, addresses: &[u32], ids: &mut [u32]) {
        assert_eq!(addresses.len(), ids.len(), "one id for each address");
        self.form.lookup_burst(addresses, ids);
    }

    /// How many prefixes the table was built from.
    pub fn prefixes(&self) -> usize {
        self.prefixes
    }

    /// Bytes of memory that lookups may touch.
    pub fn memory_bytes(&self) -> usize {
        match &self.form {
            Form::Uniform(_) => 0,
            Form::Paged(paged) => paged.memory_bytes(),
            Form::Packed(packed) => packed.memory_bytes(),
        }
    }
}

impl Default for Table4 {
    /// The empty table.
    fn default() -> Self {
        Table4 { form: Form::Uniform(super::NO_MATCH), prefixes: 0 }
    }
}
