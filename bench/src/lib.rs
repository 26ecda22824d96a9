//! Inputs shared by the benches: address streams, tables and frames.
