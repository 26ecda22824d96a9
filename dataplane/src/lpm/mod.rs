//! Longest-prefix match: which pool, set or next hop an address belongs to.
//!
//! A table is compiled, off the worker cores, from prefixes with ids. Nested prefixes are first flattened into
//! *runs* of addresses with one answer (module `prefix`); what is built from these finds the run of an address.
//!
//! | Table | Structure | Size | A lookup touches |
//! |---|---|---|---|
//! | [`Table4`], empty or one route for all | an id | 0 | nothing |
//! | [`Table4`], pools and sets | pages with an entry for each /24 | 16 KiB to 3 MiB | 2 lines, 3 for longer prefixes |
//! | [`Table4`], Internet routes | 18 bits direct, then blocks found by population count | about 3 MiB | 2 lines, 3 to 4 for longer prefixes |
//! | [`Table6`] | index, tables as wide as prefixes are many, leaves of one line searched by comparison | about 6 MiB for all routes | 2 to 5 lines |
//! | [`Live4`], [`Live6`] | the last two, changed one prefix at a time under their readers | the same | the same |
//!
//! Each has two forms of lookup. The scalar form, `lookup`, is the specification. The burst form, `lookup_burst`,
//! gives the same answers (property-tested) for many addresses at a time, and does so at several times the speed:
//!
//! - All addresses of a group of up to 64 go through the structure together, level by level, so that their cache
//!   misses overlap.
//! - No branch depends on a single address: a wrong guess would show only when a miss is through, and hold up all
//!   the others. What most addresses do not need is marked in a bit mask and served last.
//! - Which loop runs is settled when the table is built, by its size and by what the processor has (module `cpu`).
//!
//! Why not one of the well-known structures alone? DIR-24-8 is faster still on skewed traffic, but takes 32 MiB for
//! each table and a memory access for each lookup of a random address; Poptrie needs one more dependent level for
//! most routes. Vector gathers and AVX-512 were tried in these loops and are slower than scalar loads here: with
//! AVX-512 enabled the compiler turns the loads into gathers. AVX2 is used to search leaves.
//!
//! Ids are 15 bits, so that an answer takes two bytes and one bit is left to say that it is none yet. Tables name
//! what more there is to know by id.
//!
//! Unsafe code is confined to the modules that own an arena or read from one; each of them upholds that a reference
//! found in an arena leads to a part of it that is what the reference says, and complete before the reference is.

mod arena;
mod cpu;
mod error;
mod grace;
mod places;
mod prefix;
#[cfg(test)]
mod twin;
mod v4;
mod v6;

pub use error::BuildError;
pub use v4::{Live4, Reader4, Resting4, Table4};
pub use v6::{Live6, Reader6, Resting6, Table6};

/// What a lookup answers where no prefix matches.
pub const NO_MATCH: u32 = 0;

/// The highest id a prefix may carry: ids are 15 bits in the compact tables.
pub const MAX_ID: u32 = 32_767;
