//! The daemon as a process, spoken to over its socket: captures stand for interfaces, so no privilege is needed.

mod affected;
mod clients;
mod filter;
mod host;
mod lifecycle;
mod methods;
mod phases;
mod reload;
