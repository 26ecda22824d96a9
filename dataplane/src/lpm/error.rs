//! Why a table could not be built or changed.

use ipnetwork::IpNetwork;
use thiserror::Error;

/// Why a set of prefixes is not a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BuildError {
    /// The prefix has bits set beyond its length, so it is not clear which prefix was meant.
    #[error("{0} has host bits set")]
    HostBits(IpNetwork),
    /// The prefix is given more than once.
    #[error("{0} is given twice")]
    Duplicate(IpNetwork),
    /// The id is 0, which means "no match", or above [`MAX_ID`](super::MAX_ID).
    #[error("the id {id} of {prefix} is not within 1..={max}", max = super::MAX_ID)]
    IdOutOfRange {
        /// The prefix that carries the id.
        prefix: IpNetwork,
        /// The id as given.
        id: u32,
    },
    /// The structure would outgrow what its references can address, or the memory set aside for it.
    #[error("the table has no room for so many prefixes")]
    OutOfSpace,
}
