//! The control socket: JSON-RPC 2.0 over a Unix stream socket, one object a line.
//!
//! ```text
//!  client ──line──▶ Server ──▶ message ──▶ methods ──▶ here: counters, names, phases as they stand
//!         ◀─line──  (poll(2), one thread)     ├──────▶ the readers' thread: check, explain, lists
//!                                             └──────▶ the tables' thread: reload, confirm, grant
//! ```
//!
//! One thread serves all clients and never waits for one of them. What a client can make it do is bounded: how many
//! clients there are, how long a request is and how long it takes to come, how many requests a second are answered,
//! how much of an answer waits to be read. A client beyond a bound gets an error where it can be told one, and is
//! closed; the others notice nothing, and the workers have no part in any of it.
//!
//! # The protocol
//!
//! A request is one line: `{"jsonrpc":"2.0","id":1,"method":"status"}`. Parameters go by name. The answer is one line
//! with the same `id`, and either `result` or `error`. A request without `id` is a notification: it is carried out and
//! not answered. Requests of one client are answered one after the other in their order; batches are refused, since a
//! line is as good. [`Error`] lists the codes; [`methods`] lists the methods, with what they take and give.
//!
//! Whoever may open the socket may read. [`Rights`] says who may change anything.

mod client;
mod error;
mod message;
pub mod methods;
mod peer;
mod server;
mod socket;

pub use client::{CallError, Client, socket_of};
pub use error::Error;
pub(crate) use message::{Id, notification};
pub use peer::{Peer, Rights};
pub(crate) use server::{Serve, Served, Server, Subscription, Ticket};
pub(crate) use socket::Socket;
pub use socket::SocketError;
