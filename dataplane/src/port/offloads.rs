//! What an interface does to frames on their way to a socket, and what to say about it.
//!
//! Three features put frames together that came one by one: what a socket then sees was never on the wire, and
//! can't leave as it came. A port whose interface has one of these on is refused. The others change nothing for
//! a frame that comes off a wire; but an interface that is the other end of one of our ports (a veth pair, a
//! virtual machine) and has them on sends frames with checksums that nobody has computed yet, and segments that
//! nobody has cut. Of that end nothing can be asked from here; its frames are recognised one by one.

use std::fmt;

use super::error::InterfaceError;
use super::interface::{Interfaces, Name};

/// A group of features, as `ethtool -K` switches them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Offload {
    /// The kernel puts received segments of a flow together.
    Gro,
    /// The device does, and can't tell how they were.
    Lro,
    /// The device does, so that they can be cut again.
    HardwareGro,
    /// What is sent from this host is cut late.
    Gso,
    /// What is sent from this host over TCP is cut by the device.
    Tso,
    /// What is sent from this host over UDP is cut by the device.
    Uso,
    /// Checksums of what is sent from this host are left to the device.
    TransmitChecksum,
    /// Checksums of what is received are checked by the device.
    ReceiveChecksum,
}

impl Offload {
    /// All of them.
    pub const ALL: [Offload; 8] = [
        Offload::Gro,
        Offload::Lro,
        Offload::HardwareGro,
        Offload::Gso,
        Offload::Tso,
        Offload::Uso,
        Offload::TransmitChecksum,
        Offload::ReceiveChecksum,
    ];

    /// Its name for `ethtool -K`.
    pub fn name(self) -> &'static str {
        match self {
            Offload::Gro => "gro",
            Offload::Lro => "lro",
            Offload::HardwareGro => "rx-gro-hw",
            Offload::Gso => "gso",
            Offload::Tso => "tso",
            Offload::Uso => "tx-udp-segmentation",
            Offload::TransmitChecksum => "tx",
            Offload::ReceiveChecksum => "rx",
        }
    }

    /// Whether it puts received frames together.
    pub fn merges(self) -> bool {
        matches!(self, Offload::Gro | Offload::Lro | Offload::HardwareGro)
    }

    /// Whether a kernel's feature belongs to it.
    fn has(self, feature: &str) -> bool {
        match self {
            Offload::Gro => feature == "rx-gro",
            Offload::Lro => feature == "rx-lro",
            Offload::HardwareGro => feature == "rx-gro-hw",
            Offload::Gso => feature == "tx-generic-segmentation",
            Offload::Tso => feature.starts_with("tx-tcp") && feature.ends_with("segmentation"),
            Offload::Uso => feature == "tx-udp-segmentation",
            Offload::TransmitChecksum => feature.starts_with("tx-checksum-"),
            Offload::ReceiveChecksum => feature == "rx-checksum",
        }
    }
}

/// The offloads that an interface has on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offloads {
    interface: String,
    on: Vec<Offload>,
}

impl Offloads {
    /// Asks an interface of this network namespace; needs no privilege.
    ///
    /// # Errors
    /// There is no such interface, or it may not be asked.
    pub fn of(interface: &str) -> Result<Offloads, InterfaceError> {
        let (name, interfaces) = named(interface)?;
        Offloads::ask(&interfaces, &name)
    }

    pub(super) fn ask(interfaces: &Interfaces, name: &Name) -> Result<Offloads, InterfaceError> {
        let interface = name.as_str().to_owned();
        let features = match interfaces.features(name) {
            Ok(features) => features,
            // A device that knows no such question has no such features.
            Err(errno) if errno.0 == libc::EOPNOTSUPP => Vec::new(),
            Err(errno) => return Err(InterfaceError::system(&interface, "read its offload features", errno)),
        };
        let is_on = |offload: &Offload| features.iter().any(|feature| offload.has(feature));
        Ok(Offloads { interface, on: Offload::ALL.into_iter().filter(is_on).collect() })
    }

    /// Switches off what can be of all that [`Offload`] knows, so that this interface neither merges what it
    /// receives nor sends unfinished frames to another that is directly behind it.
    ///
    /// # Errors
    /// There is no such interface, or the privilege (CAP_NET_ADMIN) is missing.
    pub fn switch_off(interface: &str) -> Result<(), InterfaceError> {
        let (name, interfaces) = named(interface)?;
        let unwanted = |feature: &str| Offload::ALL.iter().any(|offload| offload.has(feature));
        interfaces
            .switch_off(&name, unwanted)
            .map_err(|errno| InterfaceError::system(interface, "switch its offloads off", errno))
    }

    /// Those that are on.
    pub fn on(&self) -> &[Offload] {
        &self.on
    }

    /// Those that are on and put received frames together.
    pub fn merging(&self) -> Offloads {
        let on = self.on.iter().copied().filter(|offload| offload.merges()).collect();
        Offloads { interface: self.interface.clone(), on }
    }

    /// The command that switches them off; nothing to do gives none.
    pub fn remedy(&self) -> Option<String> {
        if self.on.is_empty() {
            return None;
        }
        let words: Vec<String> = self.on.iter().map(|offload| format!("{} off", offload.name())).collect();
        Some(format!("ethtool -K {} {}", self.interface, words.join(" ")))
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.on.iter().map(|offload| offload.name()).collect();
        f.write_str(&names.join(", "))
    }
}

pub(super) fn named(interface: &str) -> Result<(Name, Interfaces), InterfaceError> {
    let name =
        Name::new(interface).ok_or_else(|| InterfaceError::Name { interface: interface.to_owned() })?;
    let interfaces =
        Interfaces::to_ask().map_err(|errno| InterfaceError::system(interface, "open a socket", errno))?;
    match interfaces.index(&name) {
        Ok(Some(_)) => Ok((name, interfaces)),
        Ok(None) => Err(InterfaceError::Absent { interface: interface.to_owned() }),
        Err(errno) => Err(InterfaceError::system(interface, "look for it", errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_is_a_command_that_names_what_is_on() {
        let on = vec![Offload::Gro, Offload::HardwareGro, Offload::Tso];
        let offloads = Offloads { interface: "eth1".to_owned(), on };
        assert_eq!(offloads.remedy().unwrap(), "ethtool -K eth1 gro off rx-gro-hw off tso off");
        assert_eq!(offloads.merging().remedy().unwrap(), "ethtool -K eth1 gro off rx-gro-hw off");
        let nothing = Offloads { interface: "eth1".to_owned(), on: vec![Offload::Gso] };
        assert_eq!(nothing.merging().remedy(), None);
    }

    #[test]
    fn the_kernels_features_fall_into_the_groups_of_ethtool() {
        let group = |feature: &str| Offload::ALL.into_iter().find(|offload| offload.has(feature));
        assert_eq!(group("rx-gro"), Some(Offload::Gro));
        assert_eq!(group("rx-gro-list"), None);
        assert_eq!(group("tx-tcp-mangleid-segmentation"), Some(Offload::Tso));
        assert_eq!(group("tx-tcp6-segmentation"), Some(Offload::Tso));
        assert_eq!(group("tx-checksum-ip-generic"), Some(Offload::TransmitChecksum));
        assert_eq!(group("rx-checksum"), Some(Offload::ReceiveChecksum));
        assert_eq!(group("tx-vlan-hw-insert"), None);
    }
}
