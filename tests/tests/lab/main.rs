//! The whole of it, with real programs: `sekisho run` between network namespaces, as [`sekisho_tests::lab`] draws them.
//!
//! Needs root, and the programs that `./test` installs. Each scenario has a network of its own and removes it.

// Figures of a run are read in the output of `cargo test -- --nocapture`.
#![allow(clippy::print_stdout)]

mod affected;
mod bytes;
mod capture;
mod confirm;
mod divert;
mod doctor;
mod encapsulation;
mod failures;
mod fragments;
mod kernel_routes;
mod kernel_tables;
mod mail;
mod mirror;
mod neighbours;
mod offloads;
mod package;
mod phases;
mod privilege;
mod reject;
mod router;
mod silence;
mod soak;
mod swap;
mod transfers;
mod twins;
