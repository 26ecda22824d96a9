//! The far end of a virtual link. Whoever sends by one may leave checksums to the device, and tags beside the frame, and the
//! device hands both on as they are: a packet socket is told of that, an AF_XDP socket is not.

use sekisho_dataplane::port::xdp::XdpMode;
use sekisho_dataplane::port::{Offload, Offloads};

use super::change::Change;
use super::device::Devices;
use super::{Finding, Host};

/// What is left to a device that sends: `tx` and `txvlan`, as `ethtool -K` calls them.
fn is_left(feature: &str) -> bool {
    feature.starts_with("tx-checksum-") || matches!(feature, "tx-vlan-hw-insert" | "tx-vlan-stag-hw-insert")
}

const WHY: &str =
    "AF_XDP does not tell which checksums are open: such frames are forwarded with wrong ones, and lost";

/// What is at the other end.
#[derive(Debug, PartialEq, Eq)]
enum Far {
    /// A wire, or the like.
    Wire,
    /// Another interface of this network namespace.
    Interface(String),
    /// One of another namespace.
    Elsewhere,
    /// A program, which most often is a virtual machine.
    Program,
    /// What is behind the card of a virtual machine.
    Hypervisor,
}

fn far_end(host: &Host, device: &str, native: Option<bool>) -> Far {
    let sys = |device: &str, file: &str| format!("/sys/class/net/{device}/{file}");
    if let Some(driver) = host.link(&sys(device, "device/driver")) {
        return if driver == "virtio_net" { Far::Hypervisor } else { Far::Wire };
    }
    if host.exists(&sys(device, "tun_flags")) {
        return Far::Program;
    }
    let (own, other) = (host.number(&sys(device, "ifindex")), host.number(&sys(device, "iflink")));
    // What lies on others has them as its `lower_…`.
    let lies_on = host.names(&sys(device, "")).iter().any(|name| name.starts_with("lower_"));
    // Interfaces of two namespaces may have one number. Of those without a card, veth devices run programs.
    if own == other && native == Some(true) && !lies_on {
        return Far::Elsewhere;
    }
    if other.is_none() || own == other || lies_on {
        return Far::Wire;
    }
    let is_far = |name: &String| {
        host.number(&sys(name, "ifindex")) == other && host.number(&sys(name, "iflink")) == own
    };
    host.names("/sys/class/net").into_iter().find(is_far).map_or(Far::Elsewhere, Far::Interface)
}

/// For a port of driver `xdp`; `native` says whether its driver runs programs itself, if that can be told.
pub(super) fn examine(
    host: &Host,
    subject: &str,
    device: &str,
    mode: XdpMode,
    native: Option<bool>,
    findings: &mut Vec<Finding>,
) {
    let unseen = |found: &str, fix: &str| Finding::warn(subject, found, WHY, fix);
    findings.push(match far_end(host, device, native) {
        Far::Wire => return,
        Far::Interface(far) => seen(subject, &far),
        Far::Elsewhere => unseen(
            "its other end is in another network namespace: whether it leaves checksums open can't be seen here",
            "ethtool -K NAME tx off txvlan off    # NAME of that end, in its namespace",
        ),
        Far::Program => unseen(
            "a tap device: whether the virtual machine behind it leaves checksums open can't be seen here",
            "ethtool -K NAME tx off txvlan off    # NAME of its interface, in that machine",
        ),
        Far::Hypervisor if mode != XdpMode::Generic && native == Some(true) => {
            Finding::ok(subject, "in native mode the card of a virtual machine has its host complete checksums")
        }
        Far::Hypervisor => unseen(
            "the card of a virtual machine: in generic mode other machines of its host leave checksums open",
            "write `mode = \"native\"` in its [[port]], or `driver = \"packet\"`",
        ),
    });
}

/// Of an interface that can be asked.
fn seen(subject: &str, far: &str) -> Finding {
    let features = Devices::new().and_then(|mut devices| devices.features(far)).unwrap_or_default();
    let left: Vec<&String> =
        features.iter().filter(|(name, fixed)| is_left(name) && !fixed).map(|(name, _)| name).collect();
    // Kernels without the newer question answer the older one.
    let is_open = Offloads::of(far).is_ok_and(|offloads| offloads.on().contains(&Offload::TransmitChecksum));
    if left.is_empty() && !is_open {
        return Finding::ok(subject, format!("{far}, its other end, completes its own checksums"));
    }
    Finding::warn(
        subject,
        format!("{far}, its other end, leaves checksums open or tags beside the frame"),
        WHY,
        format!("ethtool -K {far} tx off txvlan off tx-vlan-stag-hw-insert off"),
    )
    .by(left.into_iter().map(|feature| Change::feature_off(far, feature)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::Level;
    use super::*;

    #[test]
    fn the_kind_of_a_far_end_is_told_by_what_the_kernel_shows_of_the_near_one() {
        let folder = tempfile::tempdir().unwrap();
        let net = folder.path().join("sys/class/net");
        let device = |name: &str, ifindex: u32, iflink: u32| {
            let sys = net.join(name);
            fs::create_dir_all(sys.join("device")).unwrap();
            fs::write(sys.join("ifindex"), ifindex.to_string()).unwrap();
            fs::write(sys.join("iflink"), iflink.to_string()).unwrap();
            sys
        };
        device("near", 7, 8);
        device("far", 8, 7);
        device("alone", 9, 3);
        device("bridge", 10, 10);
        symlink("../far", device("far.100", 11, 8).join("lower_far")).unwrap();
        fs::write(device("tap", 12, 12).join("tun_flags"), "0x1002").unwrap();
        symlink("../virtio_net", device("guest", 13, 13).join("device/driver")).unwrap();
        symlink("../ice", device("card", 14, 14).join("device/driver")).unwrap();
        let host = Host::at(folder.path());
        for (name, expected) in [
            ("near", Far::Interface("far".to_owned())),
            ("alone", Far::Elsewhere),
            ("bridge", Far::Wire),
            ("far.100", Far::Wire),
            ("tap", Far::Program),
            ("guest", Far::Hypervisor),
            ("card", Far::Wire),
        ] {
            assert_eq!(far_end(&host, name, Some(false)), expected, "{name}");
        }
        device("twin", 10, 10);
        assert_eq!(far_end(&host, "twin", Some(true)), Far::Elsewhere);
        assert_eq!(far_end(&host, "card", Some(true)), Far::Wire);
        let levels = |name: &str, mode, native| {
            let mut findings = Vec::new();
            examine(&host, "port a", name, mode, native, &mut findings);
            findings.iter().map(|finding| finding.level).collect::<Vec<_>>()
        };
        assert_eq!(levels("alone", XdpMode::Auto, Some(true)), [Level::Warn]);
        assert_eq!(levels("guest", XdpMode::Auto, Some(true)), [Level::Ok]);
        assert_eq!(levels("guest", XdpMode::Generic, Some(true)), [Level::Warn]);
        assert_eq!(levels("card", XdpMode::Auto, Some(true)), []);
    }
}
