//! Inputs shared by the benches: address streams, tables and frames.

mod load;
pub mod streams;
pub mod tables;

pub use load::{Load, line_rate_share};
