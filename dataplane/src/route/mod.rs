//! Route mode's tables: where a packet goes, by which link, and to which neighbour.
//!
//! Routes live beside the generation, not in it: a generation is compiled as a whole and stands for a configuration,
//! while routes change a thousand times a second. What workers read is in two parts.
//!
//! ```text
//!   address ──▶ trie (lpm::Live4, Live6) ──▶ id ──▶ snapshot: entry ──▶ adjacency: port, MACs, tag, MTU
//!               changed prefix by prefix            an immutable whole, published anew when next hops,
//!               under its readers                   links or neighbours change
//! ```
//!
//! Many prefixes share few ways on, so most changes of routes touch the trie alone: a prefix gets another id. A change
//! of a neighbour touches the snapshot alone, or a host's prefix. The writer, [`Routes`], is the control thread's; each
//! worker has a [`RouteReader`].
//!
//! **The order between the two.** A worker looks up first, all of a burst, and takes the snapshot after: so
//!
//! - *a new id is in the snapshot before it is in a trie.* The writer publishes the snapshot that has it, and then
//!   changes the trie (release). Who finds the id there (acquire) takes a snapshot at least as new.
//! - *an id that is no longer wanted stays in all snapshots until no worker can have it in hand.* The writer takes it out
//!   of the tries, then [marks](crate::publication::Publisher::mark) the moment; a worker that passed a quiescent point
//!   after the mark makes its later look-ups in tries without the id, and is done with what it looked up before, since
//!   its quiescent point comes when it gives the snapshot back. Only then is the id's place given to another.
//!
//! In between, an id means the same way on in every snapshot: the same next hops, though what is known of them (a MAC,
//! a link) may be newer. Tries reuse their own memory by quiescent points of their own (see [`lpm`](crate::lpm)).
//!
//! **Hosts.** A connected network has no next hop: its hosts are their own. So that the way of a packet needs no second
//! kind of look-up, a neighbour whose longest prefix is connected on its link gets a prefix of its own, one address
//! long; what is left of the network leads to a *glean*: the address is not resolved. The source check asks the same
//! tries. This is how adjacencies appear in the FIB of other forwarders too; a real route for the same address is
//! stronger than such a host.
//!
//! What no route says is there as well, below all routes: martians (RFC 1812 §5.3.7), groups, and what each link's own
//! addresses imply.

mod change;
pub(crate) mod checksum;
mod edit;
mod family;
pub(crate) mod flow;
mod groups;
pub mod punt;
mod reader;
mod snapshot;
#[cfg(test)]
mod tests;
mod writer;

pub use change::{Applied, Change, Hop, Link, LinkId, Neighbour, Refusal, RouteEntry, RouteError, RouteKind};
pub use edit::Edit;
pub use reader::{OnlineRoutes, RouteReader};
pub use snapshot::{Adjacency, Entry, EntryKind, LinkEntry, NextHop, Snapshot, State};
pub use writer::Routes;

/// The address of a station on a link.
pub type Mac = [u8; 6];
