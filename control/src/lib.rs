//! The control side of Sekisho: configuration, its compilation into tables, and the commands.
//!
//! Nothing here touches a packet: [`compile`] turns a checked [`config`] into a generation of the dataplane,
//! [`cli`] starts workers and reports what they counted.

pub mod affected;
pub mod bench;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod compile;
pub mod config;
pub mod cores;
pub mod daemon;
pub mod doctor;
mod durable;
pub mod explain;
mod fresh;
pub mod grants;
pub mod metrics;
pub mod netlink;
pub mod outline;
mod progress;
pub mod report;
pub mod routing;
pub mod rpc;
pub mod state;
pub mod top;
pub mod twin;
mod words;
