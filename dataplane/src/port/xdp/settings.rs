//! What can be chosen for a port, and what came of it.

use std::fmt;

use crate::port::Before;

/// Where in the kernel the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum XdpMode {
    /// Native if the device's driver has it, else generic.
    #[default]
    Auto,
    /// In the device's driver, before anything is made of a frame.
    Native,
    /// In the network stack, for any device.
    Generic,
}

/// Whether the device reads and writes frames where the worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ZeroCopy {
    /// If the device's driver can.
    #[default]
    Auto,
    /// It must.
    On,
    /// The kernel copies.
    Off,
}

/// A port: an interface, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpPort {
    /// The interface's name.
    pub interface: String,
    /// Where the program runs.
    pub mode: XdpMode,
    /// Whether the kernel copies.
    pub zero_copy: ZeroCopy,
    /// Whether the worker polls the device itself, in place of interrupts.
    pub busy_poll: bool,
    /// What is done before it is opened.
    pub before: Before,
}

impl XdpPort {
    /// A port with what the interface has.
    pub fn new(interface: impl Into<String>) -> XdpPort {
        XdpPort {
            interface: interface.into(),
            mode: XdpMode::default(),
            zero_copy: ZeroCopy::default(),
            busy_poll: false,
            before: Before::default(),
        }
    }
}

/// How an interface is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpManner {
    /// In native mode, not in generic mode.
    pub native: bool,
    /// Why not native, where that was tried.
    pub why_generic: Option<String>,
    /// The kernel does not copy.
    pub zero_copy: bool,
    /// Why it does.
    pub why_copy: Option<String>,
    /// Queues that frames are received by.
    pub queues: u32,
    /// Whether the frames are in huge pages.
    pub huge_pages: bool,
    /// Whether the device is polled by the worker.
    pub busy_poll: bool,
}

impl fmt::Display for XdpManner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because = |f: &mut fmt::Formatter<'_>, why: &Option<String>| match why {
            Some(why) => write!(f, " ({why})"),
            None => Ok(()),
        };
        f.write_str(if self.native { "native mode" } else { "generic mode" })?;
        because(f, &self.why_generic)?;
        f.write_str(if self.zero_copy { ", zero-copy" } else { ", copy" })?;
        because(f, &self.why_copy)?;
        write!(f, ", {} queue{}", self.queues, if self.queues == 1 { "" } else { "s" })?;
        f.write_str(if self.huge_pages { ", huge pages" } else { ", no huge pages" })?;
        f.write_str(if self.busy_poll { ", busy polling" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_an_interface_is_used_is_told_with_the_reasons() {
        let manner = XdpManner {
            native: false,
            why_generic: Some("native: not supported".to_owned()),
            zero_copy: false,
            why_copy: Some("generic mode copies".to_owned()),
            queues: 2,
            huge_pages: true,
            busy_poll: false,
        };
        let told = "generic mode (native: not supported), copy (generic mode copies), 2 queues, huge pages";
        assert_eq!(manner.to_string(), told);
    }
}
