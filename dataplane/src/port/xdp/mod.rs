//! Network interfaces by AF_XDP sockets.

mod attached;
mod bpf;
mod driver;
mod lane;
mod line;
mod program;
mod queues;
mod region;
mod ring;
mod settings;
mod socket;
#[cfg(test)]
mod tests;
mod umem;

pub use driver::XdpDriver;
pub use settings::{XdpManner, XdpMode, XdpPort, ZeroCopy};
pub use umem::Census;
