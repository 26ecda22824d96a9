//! Longest-prefix match.

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
