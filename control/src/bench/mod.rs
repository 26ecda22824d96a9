//! Throughput of the operator's own tables and policy on this host, in memory.

pub mod traffic;
