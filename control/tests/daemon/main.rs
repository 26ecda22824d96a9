//! The daemon as a process, spoken to over its socket: captures stand for interfaces, so no privilege is needed.

mod affected;
mod capture;
mod clients;
mod confirm;
mod filter;
mod grants;
mod host;
mod lifecycle;
mod methods;
mod metrics;
mod pages;
mod phases;
mod readers;
mod reload;
mod top;
