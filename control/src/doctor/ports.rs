//! The interfaces of a configuration's ports.

use nix::ifaddrs::getifaddrs;
use sekisho_dataplane::port::{Offload, Offloads, Rings};

use super::{Finding, Host};
use crate::config::{Driver, Port};

/// With fewer descriptors, a ring of the smallest frames at 10 Gbit/s is full within 70 µs.
const SMALL_RING: u32 = 1024;

pub(super) fn examine(host: &Host, port: &Port, workers: usize, findings: &mut Vec<Finding>) {
    let subject = format!("port {}", port.name);
    let device = match &port.driver {
        Driver::Packet { device, .. } | Driver::Xdp { device, .. } => device,
        Driver::Dpdk { .. } => {
            findings.push(Finding::fail(
                subject,
                "its driver is not in this build",
                "`sekisho run` refuses it",
                "write `driver = \"packet\"` in its [[port]]",
            ));
            return;
        }
        // Captures have no interface.
        Driver::Pcap { .. } | Driver::Memory => return,
    };
    let sys = format!("/sys/class/net/{device}");
    if !host.exists(&sys) {
        findings.push(Finding::fail(
            subject,
            format!("there is no interface {device}"),
            "`sekisho run` refuses to start without it",
            "ip -brief link    # lists those that there are; write one as `device`",
        ));
        return;
    }
    let driver = host.link(&format!("{sys}/device/driver")).unwrap_or_else(|| "a virtual device".into());
    let speed = host.text(&format!("{sys}/speed")).filter(|speed| !speed.starts_with('-'));
    let speed = speed.map_or(String::new(), |speed| format!(", {speed} Mbit/s"));
    findings.push(Finding::ok(&*subject, format!("{device}: driver {driver}{speed}")));
    link(host, &subject, device, &sys, findings);
    sizes(host, &subject, device, &sys, findings);
    offloads(&subject, device, findings);
    queues(host, &subject, device, &sys, workers, findings);
    bridge(host, &subject, device, &sys, findings);
    addresses(host, &subject, device, findings);
}

/// `IFF_UP` and `IFF_PROMISC` of netdevice(7).
const UP: u64 = 0x1;
const PROMISCUOUS: u64 = 0x100;

fn flags(host: &Host, sys: &str) -> u64 {
    let text = host.text(&format!("{sys}/flags")).unwrap_or_default();
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(0)
}

fn link(host: &Host, subject: &str, device: &str, sys: &str, findings: &mut Vec<Finding>) {
    if host.number(&format!("{sys}/type")).is_some_and(|kind| kind != 1) {
        findings.push(Finding::fail(
            subject,
            format!("{device} does not carry Ethernet"),
            "`sekisho run` refuses it",
            "ip -brief link    # name an Ethernet interface as `device`",
        ));
    }
    let flags = flags(host, sys);
    if flags & UP == 0 {
        findings.push(Finding::fail(
            subject,
            format!("{device} is switched off"),
            "nothing arrives and nothing leaves until it is on",
            format!("ip link set dev {device} up"),
        ));
    } else if host.number(&format!("{sys}/carrier")) == Some(0) {
        findings.push(Finding::warn(
            subject,
            format!("{device} is on and has no carrier"),
            "the port waits until the other end is there",
            format!("ethtool {device}    # and look at the cable, the optics and the other end"),
        ));
    } else {
        let mode = if flags & PROMISCUOUS != 0 { "promiscuous already" } else { "made promiscuous by `run`" };
        findings.push(Finding::ok(subject, format!("link is up; {mode}")));
    }
}

/// MTUs: a frame of 1,500 bytes with two tags needs four more than the one that the kernel grants.
fn sizes(host: &Host, subject: &str, device: &str, sys: &str, findings: &mut Vec<Finding>) {
    let Some(mtu) = host.number(&format!("{sys}/mtu")) else { return };
    let frames = format!("MTU {mtu}: frames of up to {} bytes with one tag", mtu + 18);
    if mtu < 1500 {
        findings.push(Finding::fail(
            subject,
            frames,
            "longer frames can't leave by it; they are counted `oversize` and lost",
            format!("ip link set dev {device} mtu 1504"),
        ));
    } else if mtu < 1504 {
        findings.push(Finding::warn(
            subject,
            frames,
            "a full frame with two tags (QinQ), or PPPoE behind a tag, is longer by four bytes and would be lost",
            format!("ip link set dev {device} mtu 1504    # on both ports of the pair; needed with two tags only"),
        ));
    } else {
        findings.push(Finding::ok(subject, frames));
    }
}

fn offloads(subject: &str, device: &str, findings: &mut Vec<Finding>) {
    let offloads = match Offloads::of(device) {
        Ok(offloads) => offloads,
        Err(error) => {
            findings.push(Finding::warn(
                subject,
                error.to_string(),
                "whether it merges frames can't be told",
                format!("ethtool -k {device}"),
            ));
            return;
        }
    };
    let merging = offloads.merging();
    match merging.remedy() {
        Some(remedy) => findings.push(Finding::fail(
            subject,
            format!("merges received frames: {merging}"),
            "what arrives was never on the wire and can't be forwarded as it came: `sekisho run` refuses it",
            remedy,
        )),
        None => {
            let kept = |offload: &&Offload| !offload.merges();
            let names: Vec<&str> = offloads.on().iter().filter(kept).map(|offload| offload.name()).collect();
            let rest = match names.is_empty() {
                true => String::new(),
                false => format!("; {} on, which changes nothing for frames off a wire", names.join(", ")),
            };
            findings.push(Finding::ok(subject, format!("gro, lro and rx-gro-hw are off{rest}")));
        }
    }
}

fn queues(host: &Host, subject: &str, device: &str, sys: &str, workers: usize, findings: &mut Vec<Finding>) {
    let names = host.names(&format!("{sys}/queues"));
    let receive = names.iter().filter(|name| name.starts_with("rx-")).count();
    let found = format!("{receive} receive queues, {workers} workers");
    // A device of one queue has no more to give: only what could be otherwise is told.
    if receive > 1 && receive < workers {
        findings.push(Finding::warn(
            subject,
            found,
            "fewer cores than workers take frames from the card",
            format!("ethtool -L {device} combined {workers}"),
        ));
    } else {
        findings.push(Finding::ok(subject, found));
    }
    if let Ok(Some(rings)) = Rings::of(device)
        && rings.most_receive > 0
    {
        let Rings { receive, most_receive, transmit, most_transmit } = rings;
        let found =
            format!("rings of {receive} (most {most_receive}) in, {transmit} (most {most_transmit}) out");
        let wanted = |most: u32| most.min(4096);
        if (receive < SMALL_RING && receive < most_receive)
            || (transmit < SMALL_RING && transmit < most_transmit)
        {
            findings.push(Finding::warn(
                subject,
                found,
                "a burst overruns a short ring, and the card drops what has no room",
                format!("ethtool -G {device} rx {} tx {}", wanted(most_receive), wanted(most_transmit)),
            ));
        } else {
            findings.push(Finding::ok(subject, found));
        }
    }
}

fn bridge(host: &Host, subject: &str, device: &str, sys: &str, findings: &mut Vec<Finding>) {
    if let Some(master) = host.link(&format!("{sys}/master")) {
        findings.push(Finding::fail(
            subject,
            format!("{device} belongs to {master}"),
            "the kernel forwards its frames too: past the policy, and twice",
            format!("ip link set dev {device} nomaster"),
        ));
    }
}

fn addresses(host: &Host, subject: &str, device: &str, findings: &mut Vec<Finding>) {
    let all = getifaddrs().into_iter().flatten().filter(|entry| entry.interface_name == device);
    let mut told = false;
    for address in all.filter_map(|entry| entry.address) {
        let v4 = address.as_sockaddr_in().map(|address| address.ip().to_string());
        let v6 = address.as_sockaddr_in6().map(|address| address.ip());
        let link_local = v6.is_some_and(|ip| ip.is_unicast_link_local());
        let Some(ip) = v4.or(v6.map(|ip| ip.to_string())) else { continue };
        told = true;
        if link_local {
            continue;
        }
        findings.push(Finding::fail(
            subject,
            format!("{device} has the address {ip}"),
            "this host answers for itself on a wire that is only to be watched, and can be reached from it",
            format!("ip address flush dev {device}"),
        ));
    }
    let ipv6 = format!("/proc/sys/net/ipv6/conf/{device}");
    if host.exists(&ipv6) && host.number(&format!("{ipv6}/disable_ipv6")) == Some(0) {
        findings.push(Finding::warn(
            subject,
            format!("IPv6 is on at {device}"),
            "the host's own router solicitations and neighbour messages appear on the customers' wire",
            format!("sysctl -w net.ipv6.conf.{device}.disable_ipv6=1"),
        ));
    } else if !told {
        findings.push(Finding::ok(subject, "no address of this host on it, and IPv6 is off"));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::Level;
    use super::*;

    /// What is found at a device of a made-up host, and the worst level of it.
    fn found(prepare: impl Fn(&std::path::Path)) -> Vec<Finding> {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path().join("sys/class/net/nodev9");
        fs::create_dir_all(sys.join("queues/rx-0")).unwrap();
        fs::create_dir_all(sys.join("queues/rx-1")).unwrap();
        for (file, text) in [("flags", "0x1103"), ("carrier", "1"), ("mtu", "1504"), ("type", "1")] {
            fs::write(sys.join(file), text).unwrap();
        }
        prepare(&sys);
        let host = Host::at(folder.path());
        let mut findings = Vec::new();
        link(&host, "port a", "nodev9", "/sys/class/net/nodev9", &mut findings);
        sizes(&host, "port a", "nodev9", "/sys/class/net/nodev9", &mut findings);
        queues(&host, "port a", "nodev9", "/sys/class/net/nodev9", 4, &mut findings);
        bridge(&host, "port a", "nodev9", "/sys/class/net/nodev9", &mut findings);
        findings.retain(|finding| finding.level > Level::Ok);
        findings
    }

    fn fixes(findings: &[Finding]) -> Vec<&str> {
        findings.iter().filter_map(|finding| finding.fix.as_deref()).collect()
    }

    #[test]
    fn each_thing_that_stands_in_the_way_has_a_command_against_it() {
        assert_eq!(fixes(&found(|_| {})), ["ethtool -L nodev9 combined 4"]);
        let down = found(|sys| fs::write(sys.join("flags"), "0x1002").unwrap());
        assert_eq!(fixes(&down)[0], "ip link set dev nodev9 up");
        assert_eq!(down[0].level, Level::Fail);
        let small = found(|sys| fs::write(sys.join("mtu"), "1400").unwrap());
        assert_eq!(fixes(&small)[0], "ip link set dev nodev9 mtu 1504");
        let bridged = found(|sys| symlink("../br0", sys.join("master")).unwrap());
        assert_eq!(fixes(&bridged)[1], "ip link set dev nodev9 nomaster");
        let alone = found(|sys| fs::write(sys.join("carrier"), "0").unwrap());
        assert_eq!((alone[0].level, alone[0].found.contains("no carrier")), (Level::Warn, true));
    }
}
