//! The kernel's routing tables, followed over rtnetlink.
//!
//! ```text
//!   kernel ──notifications──▶ Listener ──Event──▶ Model ──what is dirty──▶ who follows (pools and sets, the dataplane)
//!      └───────dumps──────────▶ (mark and sweep) ───┘
//! ```
//!
//! Notifications are lost when the socket's buffer is full (the kernel says so, ENOBUFS), and some are never sent: routes of
//! IPv4 vanish without a word when their link goes down, when an address of theirs is taken away and when a next hop
//! object is deleted. So the model is told by dumps what is there, at the start and after each of these, and sweeps out
//! what no dump has named. Notifications that come during a dump are kept until its end and applied then: the dump may be older
//! or newer than they are, and the last one about a route is right.
//!
//! [`Model`] is pure: events in, changes out. [`Listener`] has the sockets and decides when to ask anew. Who
//! drives it runs on a thread of its own, off the workers' cores; nothing here is ever waited for by a worker.

mod decode;
mod interface;
mod listener;
mod model;
mod request;
mod route;
mod socket;
mod table;
#[cfg(test)]
mod tests;

pub use interface::Interfaces;
pub use listener::{Counts, Listener, ROOM, Wanted};
pub use model::{Dirty, Model, Stale, Subject};
pub(crate) use request::is_listed;
pub use request::read_table;
pub use route::{Best, Event, Hop, How, Kind, LOCAL, Link, MAIN, Neighbour, Route};
