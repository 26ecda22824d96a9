//! Twins: for each port of a router, an interface of the kernel with the port's MAC, that carries its addresses.
//!
//! ```text
//!             routes, neighbours, addresses (rtnetlink)
//!   kernel ═══════════════════════════════════════════▶ Mapping ─▶ the dataplane's routes
//!     │ twin (TAP)
//!     ├──────── what it sends ───────▶ ferry ─▶ a worker ─▶ port
//!     ◀──────── what is for it ─────── ferry ◀─ workers ◀── port
//! ```
//!
//! ARP and neighbour discovery, ping, SSH, BGP and OSPF of the router are the kernel's and its daemons'. What workers receive for the
//! router itself is carried to the twin, and what the kernel sends there leaves by the port: both through bounded queues
//! ([`punt`](sekisho_dataplane::route::punt)). A twin's line is up while its port is. VLAN interfaces on a twin are the port's VLANs.
//!
//! The kernel must not hear the port's own device as well: [`Interfaces::silence`](crate::netlink::Interfaces::silence). Then it
//! forwards nothing itself, since it is only given what is for itself, whatever `ip_forward` says; that may be 1, as IPv6 hosts
//! want the router flag of neighbour advertisements.

mod ferry;
mod mapping;
mod name;
mod tap;

pub use ferry::{Ferry, FerryCounts, LinkMap, Told, Twin};
pub use mapping::Mapping;
pub use name::vlan_name;
pub use tap::{LONGEST_NAME, Tap};
