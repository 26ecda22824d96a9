//! What is done with a denied packet besides dropping it: the answer of a reject and its budget, and the way
//! back of what was diverted.

pub(crate) mod budget;
pub(crate) mod reject;
pub(crate) mod returns;

pub use budget::RejectLimits;
pub use reject::{Replies, Reply};
