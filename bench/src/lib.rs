//! Inputs shared by the benches: address streams, tables and frames.

mod load;

pub use load::{Load, line_rate_share};
