//! The lab with driver `xdp`: the same scenarios, but for those about offloads, of which AF_XDP knows nothing, and about the
//! package; and some of its own. The lab's configuration takes the driver from this program's name.

// Figures of a run are read in the output of `cargo test -- --nocapture`.
#![allow(clippy::print_stdout)]

mod affected;
mod attachment;
mod bytes;
mod capture;
mod confirm;
mod divert;
mod encapsulation;
mod failures;
mod fragments;
mod mail;
mod mirror;
mod neighbours;
mod phases;
mod privilege;
mod reject;
mod soak;
mod swap;
mod transfers;
