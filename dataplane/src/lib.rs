//! The dataplane of Sekisho: everything that a worker touches on a packet's way.
//!
//! ```text
//! port ──receive burst──▶ parse ──▶ look up ──▶ decide ──▶ act ──transmit bursts──▶ port
//! ```
//!
//! The core is deterministic: [`pipeline`] takes a burst of frames, a [`generation`] and an instant, and
//! returns decisions and frames. It reads no clock, does no input or output, allocates nothing per packet.

mod action;
pub mod affected;
pub mod clock;
pub mod counters;
pub mod cycles;
pub mod frame;
pub mod generation;
pub mod health;
mod keyed;
pub mod lpm;
pub mod pipeline;
pub mod policy;
pub mod port;
mod prefetch;
pub mod publication;
pub mod route;
pub mod stages;
pub mod tap;
pub mod worker;

pub use action::{Made, RejectLimits, Replies, Reply};
