//! Inputs shared by the benches: address streams, tables and frames.

pub mod frames;
mod load;
pub mod streams;
pub mod tables;

pub use load::{Load, Longest, Route, generation, line_rate_share, median_ratio, print_line_rate_share};
