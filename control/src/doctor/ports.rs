//! The interfaces of a configuration's ports.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use sekisho_dataplane::port::xdp::{AttachedProgram, MOST_MTU, XdpMode};
use sekisho_dataplane::port::{Offload, Offloads, Rings};
use sekisho_dataplane::worker::Poll;

use super::change::{Change, Setting};
use super::device::{Devices, Sizes};
use super::host::list;
use super::{Finding, Host, cores, far_end, interrupts};
use crate::config::{Dataplane, Driver, Mode, Port};

/// With fewer descriptors, a ring of the smallest frames at 10 Gbit/s is full within 70 µs.
const SMALL_RING: u32 = 1024;

/// Which of the kernel's ways in and out a port takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Packet,
    Xdp(XdpMode),
}

impl Way {
    fn is_xdp(self) -> bool {
        self != Way::Packet
    }
}

pub(super) fn examine(
    host: &Host,
    (dataplane, port): (&Dataplane, &Port),
    workers: &[usize],
    findings: &mut Vec<Finding>,
) {
    let subject = format!("port {}", port.name);
    let (way, device) = match &port.driver {
        Driver::Packet { device, .. } => (Way::Packet, device),
        Driver::Xdp { device, mode, .. } => (Way::Xdp(*mode), device),
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
    sizes(host, &subject, device, (&sys, way, dataplane.mode), findings);
    let native = xdp(&subject, device, way, findings);
    match AttachedProgram::of(device) {
        Ok(attached) => findings.extend(attached.map(|attached| program(&subject, device, way, &attached))),
        Err(error) => findings.push(Finding::warn(
            &*subject,
            error.to_string(),
            "whether somebody's XDP program sees its frames first can't be told",
            format!("ip -details link show dev {device}"),
        )),
    }
    offloads(&subject, device, way, native, findings);
    if let Way::Xdp(mode) = way {
        far_end::examine(host, &subject, device, mode, native, findings);
    }
    queues(host, &subject, device, &sys, (way, workers.len()), findings);
    interrupts::of_a_port(host, &subject, &sys, workers, findings);
    if way.is_xdp() && dataplane.poll == Poll::Busy {
        interrupts::deferred(host, &subject, &sys, findings);
    }
    node(host, &subject, &sys, workers, findings);
    bridge(host, &subject, device, &sys, findings);
    addresses(host, &subject, device, findings);
    forwarding(host, &subject, device, dataplane.mode, findings);
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
        findings.push(
            Finding::fail(
                subject,
                format!("{device} is switched off"),
                "nothing arrives and nothing leaves until it is on",
                format!("ip link set dev {device} up"),
            )
            .by([Change { setting: Setting::Link { device: device.to_owned() }, to: "up".into() }]),
        );
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

/// MTUs: through a bridge, a frame of 1,500 bytes with two tags needs four more than the one that the kernel grants. A
/// router's MTU is what its neighbours have, and it tells senders of it.
fn sizes(
    host: &Host,
    subject: &str,
    device: &str,
    (sys, way, mode): (&str, Way, Mode),
    findings: &mut Vec<Finding>,
) {
    let Some(mtu) = host.number(&format!("{sys}/mtu")) else { return };
    let frames = format!("MTU {mtu}: frames of up to {} bytes with one tag", mtu + 18);
    let bridges = mode == Mode::Bridge;
    if bridges && mtu < 1500 {
        findings.push(
            Finding::fail(
                subject,
                frames,
                "longer frames can't leave by it; they are counted `oversize` and lost",
                format!("ip link set dev {device} mtu 1504"),
            )
            .by([mtu_of(sys, 1504)]),
        );
    } else if way.is_xdp() && mtu > MOST_MTU as u64 {
        findings.push(
            Finding::fail(
                subject,
                frames,
                format!(
                    "driver \"xdp\" takes frames for an MTU of up to {MOST_MTU}: `sekisho run` refuses more"
                ),
                format!(
                    "ip link set dev {device} mtu {MOST_MTU}    # or `driver = \"packet\"` in its [[port]]"
                ),
            )
            .by([mtu_of(sys, MOST_MTU)]),
        );
    } else if bridges && mtu < 1504 {
        findings.push(Finding::warn(
            subject,
            frames,
            "a full frame with two tags (QinQ), or PPPoE behind a tag, is longer by four bytes and would be lost",
            format!("ip link set dev {device} mtu 1504    # on both ports of the pair; needed with two tags only"),
        ).by([mtu_of(sys, 1504)]));
    } else {
        findings.push(Finding::ok(subject, frames));
    }
}

fn mtu_of(sys: &str, to: usize) -> Change {
    Change::file(format!("{sys}/mtu"), to.to_string())
}

/// What the device's driver can do with XDP; whether it runs programs itself, if that can be told.
fn xdp(subject: &str, device: &str, way: Way, findings: &mut Vec<Finding>) -> Option<bool> {
    let told = Devices::new().and_then(|mut devices| devices.xdp(device));
    let xdp = match (told, way) {
        (Ok(Some(xdp)), _) => xdp,
        // Kernels before 6.3 don't say, and who does not use it need not know.
        (_, Way::Packet) => return None,
        (Ok(None) | Err(_), Way::Xdp(_)) => {
            findings.push(Finding::warn(
                subject,
                format!("the kernel does not tell what {device} can do with XDP"),
                "whether frames go to the worker by the device's driver or are copied by the stack is seen at the start",
                "apt install -t bookworm-backports linux-image-amd64    # 6.3 and later tell",
            ));
            return None;
        }
    };
    let native = xdp.is_native();
    findings.push(match way {
        Way::Xdp(_) if !native => Finding::warn(
            subject,
            format!("XDP features: {xdp}"),
            "without basic and redirect in its driver there is only generic mode: every frame is copied",
            "write `driver = \"packet\"` in its [[port]], or take a card whose driver has them",
        ),
        Way::Xdp(_) if !xdp.has_zero_copy() => {
            Finding::ok(subject, format!("XDP features: {xdp}; without zero-copy each frame is copied once"))
        }
        _ => Finding::ok(subject, format!("XDP features: {xdp}")),
    });
    Some(native)
}

/// What the program that an interface has means for a port there.
fn program(subject: &str, device: &str, way: Way, program: &AttachedProgram) -> Finding {
    let AttachedProgram { id, name, generic } = program;
    if way.is_xdp() && program.is_own() {
        let found = "the XDP program of a sekisho that runs is there";
        return Finding::ok(subject, format!("{found} (number {id}); another would be refused"));
    }
    let found = match name {
        Some(name) => format!("{device} has an XDP program already ({name}, number {id})"),
        None => format!("{device} has an XDP program already (number {id}; root is told its name)"),
    };
    // Who keeps one by a BPF link alone can take it off.
    let mode = if *generic { "xdpgeneric" } else { "xdpdrv" };
    let fix =
        format!("ip link set dev {device} {mode} off    # where that is refused, end whatever put it there");
    match (way, name) {
        (Way::Packet, _) => {
            Finding::warn(subject, found, "what it drops or redirects never comes to the worker", fix)
        }
        (Way::Xdp(_), Some(_)) => {
            Finding::fail(subject, found, "a device has one at a time; `sekisho run` refuses it", fix)
        }
        (Way::Xdp(_), None) => {
            let effect = "unless it is that of a sekisho that runs, `sekisho run` refuses the device";
            Finding::warn(subject, found, effect, fix)
        }
    }
}

/// Features that take a frame's tag out: `ethtool`'s word, the kernel's, and whether the frame comes in.
const TAGS: [(&str, &str, bool); 4] = [
    ("rxvlan", "rx-vlan-hw-parse", true),
    ("rx-vlan-stag-hw-parse", "rx-vlan-stag-hw-parse", true),
    ("txvlan", "tx-vlan-hw-insert", false),
    ("tx-vlan-stag-hw-insert", "tx-vlan-stag-hw-insert", false),
];
/// Those that merge what is received; their names for `ethtool -K` are in [`Offload`].
const MERGING: [(&str, &str); 3] = [("gro", "rx-gro"), ("lro", "rx-lro"), ("rx-gro-hw", "rx-gro-hw")];

fn offloads(subject: &str, device: &str, way: Way, native: Option<bool>, findings: &mut Vec<Finding>) {
    let on = Devices::new().and_then(|mut devices| devices.features(device));
    // A device without features has none of these either.
    if let Ok(on) = &on {
        tags(subject, device, way, on, findings);
    }
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
    let kept = |offload: &&Offload| !offload.merges();
    let names: Vec<&str> = offloads.on().iter().filter(kept).map(|offload| offload.name()).collect();
    let rest = match names.is_empty() {
        true => String::new(),
        false => format!("; {} on, which changes nothing for frames off a wire", names.join(", ")),
    };
    match merging.remedy() {
        // The driver gives frames to the worker before anything can be merged, or refuses the program itself.
        Some(_) if way.is_xdp() && native == Some(true) && !merging.on().contains(&Offload::Lro) => {
            findings.push(Finding::ok(subject, format!("{merging} on, behind what XDP takes{rest}")));
        }
        Some(remedy) => {
            let merges = |name: &str| merging.on().iter().any(|offload| offload.name() == name);
            let changes = MERGING.iter().filter(|(word, _)| merges(word));
            findings.push(
                Finding::fail(
                    subject,
                    format!("merges received frames: {merging}"),
                    "what arrives was never on the wire and can't be forwarded as it came: `sekisho run` refuses it",
                    remedy,
                )
                .by(changes.map(|(_, feature)| Change::feature_off(device, feature))),
            );
        }
        None => findings.push(Finding::ok(subject, format!("gro, lro and rx-gro-hw are off{rest}"))),
    }
}

/// VLAN tags that the device keeps beside the frame.
fn tags(subject: &str, device: &str, way: Way, on: &[(String, bool)], findings: &mut Vec<Finding>) {
    let found: Vec<_> = TAGS
        .iter()
        .filter_map(|(word, feature, comes_in)| {
            let (_, fixed) = on.iter().find(|(name, _)| name == feature)?;
            Some((*word, *feature, *comes_in, *fixed))
        })
        .collect();
    if found.is_empty() {
        findings.push(Finding::ok(subject, "VLAN tags stay in the frame"));
        return;
    }
    let words: Vec<&str> = found.iter().map(|(word, ..)| *word).collect();
    let taken: Vec<_> = found.iter().filter(|(_, _, comes_in, _)| *comes_in).collect();
    if way == Way::Packet || taken.is_empty() {
        let told = "a tag that comes beside its frame is put back";
        findings.push(Finding::ok(subject, format!("VLAN offload: {} on; {told}", words.join(", "))));
        return;
    }
    let names: Vec<&str> = taken.iter().map(|(word, ..)| *word).collect();
    let found = format!("takes VLAN tags out of received frames: {}", names.join(", "));
    let why = "the tag is beside the frame, where AF_XDP does not see it: customers behind tags lose theirs";
    if taken.iter().any(|(.., fixed)| *fixed) {
        let fix = "write `driver = \"packet\"` in its [[port]]: the device can't do otherwise";
        findings.push(Finding::fail(subject, found, why, fix));
        return;
    }
    let switched: Vec<String> = names.iter().map(|name| format!("{name} off")).collect();
    let fix =
        format!("ethtool -K {device} {}    # `run` does so too when it opens the port", switched.join(" "));
    let changes = taken.iter().map(|(_, feature, ..)| Change::feature_off(device, feature));
    findings.push(Finding::warn(subject, found, why, fix).by(changes));
}

fn queues(
    host: &Host,
    subject: &str,
    device: &str,
    sys: &str,
    (way, workers): (Way, usize),
    findings: &mut Vec<Finding>,
) {
    let names = host.names(&format!("{sys}/queues"));
    let receive = names.iter().filter(|name| name.starts_with("rx-")).count();
    let channels = Devices::new().and_then(|mut devices| devices.channels(device)).unwrap_or_default();
    let most =
        channels.0.iter().map(|(word, _, most)| format!("{word} {most}")).collect::<Vec<_>>().join(" ");
    let most = if most.is_empty() { String::new() } else { format!(" (most {most})") };
    let found = format!("{receive} receive queues{most}, {workers} workers");
    // A device of one queue has no more to give: only what could be otherwise is told.
    let fewer = receive > 1 && receive < workers;
    let more = way.is_xdp() && receive > workers;
    if fewer || more {
        let why = match more {
            true => {
                "what arrives at a queue that no worker has is seen by none: `run` makes them fewer, or refuses"
            }
            false => "fewer cores than workers take frames from the card",
        };
        let (fix, changes) = with_queues(device, &channels, workers);
        // `run` sets them itself, where that can be done.
        let told = if more && changes.is_none() { Finding::fail } else { Finding::warn };
        findings.push(told(subject.to_owned(), found, why.to_owned(), fix).by(changes));
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
            let to = format!("rx {} tx {}", wanted(most_receive), wanted(most_transmit));
            let fix = format!("ethtool -G {device} {to}");
            findings.push(
                Finding::warn(
                    subject,
                    found,
                    "a burst overruns a short ring, and the card drops what has no room",
                    fix,
                )
                .by([Change { setting: Setting::Rings { device: device.to_owned() }, to }]),
            );
        } else {
            findings.push(Finding::ok(subject, found));
        }
    }
}

/// How a device gets as many receive queues as there are workers: the command, and the setting where it has room.
fn with_queues(device: &str, channels: &Sizes, workers: usize) -> (String, Option<Change>) {
    let workers = workers as u64;
    let room = |word: &&str| channels.get(word).is_some_and(|(_, most)| most >= workers);
    let Some(word) = ["combined", "rx"].into_iter().find(room) else {
        return (format!("ethtool -L {device} combined {workers}"), None);
    };
    let mut wanted = channels.clone();
    for size in &mut wanted.0 {
        match size.0 {
            is if is == word => size.1 = workers,
            // Of queues that send alone no more are needed, and of those that receive alone none.
            "rx" => size.1 = 0,
            _ => {}
        }
    }
    let change = Change { setting: Setting::Channels { device: device.to_owned() }, to: wanted.now() };
    (format!("ethtool -L {device} {word} {workers}"), Some(change))
}

/// The memory that the card writes to, and the cores that read it.
fn node(host: &Host, subject: &str, sys: &str, workers: &[usize], findings: &mut Vec<Finding>) {
    let Some(node) = host.number(&format!("{sys}/device/numa_node")) else { return };
    let near = list(&host.text(&format!("/sys/devices/system/node/node{node}/cpulist")).unwrap_or_default());
    let far: Vec<usize> = workers.iter().copied().filter(|core| !near.contains(core)).collect();
    findings.push(match far.is_empty() || near.is_empty() {
        true => Finding::ok(subject, format!("on NUMA node {node}, as its workers are")),
        false => Finding::warn(
            subject,
            format!("on NUMA node {node}, and the workers on cores {} are not", cores::joined(&far)),
            "each frame then crosses from one processor to the other, and back",
            format!("choose `cores` under [dataplane] from {}", cores::joined(&near)),
        ),
    });
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

/// The addresses of this host at an interface.
pub(super) fn addresses_of(device: &str) -> Vec<IpAddr> {
    let all = getifaddrs().into_iter().flatten().filter(|entry| entry.interface_name == device);
    let address = |address: SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    all.filter_map(|entry| address(entry.address?)).collect()
}

/// Whether each interface has one of itself.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// What this host's kernel would forward of what a port's device receives, past the policy.
fn forwarding(host: &Host, subject: &str, device: &str, mode: Mode, findings: &mut Vec<Finding>) {
    let is_on = |path: &str| host.number(path).is_some_and(|value| value != 0);
    let v4 = format!("/proc/sys/net/ipv4/conf/{device}/forwarding");
    // The kernel asks for IPv6 no single interface, but for whether it hears it at all.
    let off = format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6");
    let versions = [
        ("IPv4", is_on(&v4)),
        ("IPv6", is_on("/proc/sys/net/ipv6/conf/all/forwarding") && host.exists(&off) && !is_on(&off)),
    ];
    let on: Vec<&str> = versions.iter().filter(|(_, on)| *on).map(|(version, _)| *version).collect();
    if on.is_empty() {
        findings.push(Finding::ok(subject, format!("the kernel forwards nothing that comes by {device}")));
        return;
    }
    let found = format!("the kernel forwards {} that comes by {device} for its MAC", on.join(" and "));
    if mode == Mode::Route {
        let kept = "while `run` runs it is kept from it (`ip rule`, priority 25)";
        findings.push(Finding::ok(subject, format!("{found}; {kept}")));
        return;
    }
    let mut changes = Vec::new();
    if versions[0].1 {
        changes.push((Change::file(v4, "0"), format!("net.ipv4.conf.{device}.forwarding=0")));
    }
    if versions[1].1 {
        changes.push((Change::file(off, "1"), format!("net.ipv6.conf.{device}.disable_ipv6=1")));
    }
    let fixes: Vec<&str> = changes.iter().map(|(_, fix)| fix.as_str()).collect();
    findings.push(
        Finding::warn(
            subject,
            found,
            "whoever sends to that MAC has the host as a router, and no policy judges what it forwards",
            format!("sysctl -w {}", fixes.join(" ")),
        )
        .by(changes.into_iter().map(|(change, _)| change)),
    );
}

fn addresses(host: &Host, subject: &str, device: &str, findings: &mut Vec<Finding>) {
    let (mut told, mut has_own) = (false, false);
    for ip in addresses_of(device) {
        told = true;
        if is_link_local(ip) {
            continue;
        }
        // Who switches IPv6 off loses them, and on again does not bring them back.
        has_own |= ip.is_ipv6();
        findings.push(Finding::fail(
            subject,
            format!("{device} has the address {ip}"),
            "this host answers for itself on a wire that is only to be watched, and can be reached from it",
            format!("ip address flush dev {device}"),
        ));
    }
    let ipv6 = format!("/proc/sys/net/ipv6/conf/{device}");
    if host.exists(&ipv6) && host.number(&format!("{ipv6}/disable_ipv6")) == Some(0) {
        findings.push(
            Finding::warn(
                subject,
                format!("IPv6 is on at {device}"),
                "the host's own router solicitations and neighbour messages appear on the customers' wire",
                format!("sysctl -w net.ipv6.conf.{device}.disable_ipv6=1"),
            )
            .by((!has_own).then(|| Change::file(format!("{ipv6}/disable_ipv6"), "1"))),
        );
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
        sizes(&host, "port a", "nodev9", ("/sys/class/net/nodev9", Way::Packet, Mode::Bridge), &mut findings);
        queues(&host, "port a", "nodev9", "/sys/class/net/nodev9", (Way::Packet, 4), &mut findings);
        node(&host, "port a", "/sys/class/net/nodev9", &[0, 5], &mut findings);
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

    #[test]
    fn an_mtu_that_driver_xdp_refuses_is_told_with_what_the_refusal_says() {
        let told = |way, mode, mtu: u32| {
            let folder = tempfile::tempdir().unwrap();
            let sys = folder.path().join("sys/class/net/eth1");
            fs::create_dir_all(&sys).unwrap();
            fs::write(sys.join("mtu"), mtu.to_string()).unwrap();
            let mut findings = Vec::new();
            sizes(
                &Host::at(folder.path()),
                "port a",
                "eth1",
                ("/sys/class/net/eth1", way, mode),
                &mut findings,
            );
            findings.remove(0)
        };
        let large = told(Way::Xdp(XdpMode::Auto), Mode::Bridge, 9000);
        assert_eq!((large.level, large.changes[0].to.as_str()), (Level::Fail, "3818"));
        assert!(large.fix.unwrap().starts_with("ip link set dev eth1 mtu 3818 "));
        assert_eq!(told(Way::Xdp(XdpMode::Auto), Mode::Bridge, 3818).level, Level::Ok);
        assert_eq!(told(Way::Packet, Mode::Bridge, 9000).level, Level::Ok);
        assert_eq!(told(Way::Packet, Mode::Bridge, 1500).level, Level::Warn);
        // A neighbour of OSPF with another MTU is none.
        assert_eq!(told(Way::Packet, Mode::Route, 1500).level, Level::Ok);
        assert_eq!(told(Way::Xdp(XdpMode::Auto), Mode::Route, 9000).level, Level::Fail);
    }

    #[test]
    fn a_program_that_is_there_is_told_by_what_it_does_to_the_driver() {
        let told = |way, name: Option<&str>| {
            let attached = AttachedProgram { id: 7, name: name.map(str::to_owned), generic: name.is_none() };
            program("port a", "eth1", way, &attached)
        };
        let xdp = Way::Xdp(XdpMode::Auto);
        assert_eq!(told(xdp, Some("sekisho")).level, Level::Ok);
        let other = told(xdp, Some("xdp_dispatcher"));
        assert!(
            other.level == Level::Fail && other.found.contains("(xdp_dispatcher, number 7)"),
            "{other:?}"
        );
        assert!(other.fix.is_some_and(|fix| fix.starts_with("ip link set dev eth1 xdpdrv off ")));
        let unknown = told(xdp, None);
        assert_eq!(unknown.level, Level::Warn, "it may be that of the daemon");
        assert!(unknown.fix.is_some_and(|fix| fix.starts_with("ip link set dev eth1 xdpgeneric off ")));
        assert_eq!(told(Way::Packet, Some("sekisho")).level, Level::Warn);
    }

    #[test]
    fn tags_that_are_taken_out_matter_to_xdp_and_not_to_packet_sockets() {
        let told = |way, on: &[(&str, bool)]| {
            let on: Vec<(String, bool)> =
                on.iter().map(|(name, fixed)| ((*name).to_owned(), *fixed)).collect();
            let mut findings = Vec::new();
            tags("port a", "eth1", way, &on, &mut findings);
            findings.remove(0)
        };
        let both = [("rx-vlan-hw-parse", false), ("tx-vlan-hw-insert", false)];
        let packet = told(Way::Packet, &both);
        assert!(packet.level == Level::Ok && packet.found.contains("rxvlan, txvlan on"), "{packet:?}");
        let xdp = told(Way::Xdp(XdpMode::Auto), &both);
        assert_eq!(
            (xdp.level, xdp.changes),
            (Level::Warn, vec![Change::feature_off("eth1", "rx-vlan-hw-parse")])
        );
        assert!(xdp.fix.unwrap().starts_with("ethtool -K eth1 rxvlan off"));
        let fixed = told(Way::Xdp(XdpMode::Auto), &[("rx-vlan-hw-parse", true)]);
        assert!(fixed.level == Level::Fail && fixed.changes.is_empty(), "{fixed:?}");
        assert_eq!(told(Way::Xdp(XdpMode::Auto), &[("tx-vlan-hw-insert", false)]).level, Level::Ok);
    }

    #[test]
    fn queues_are_set_by_the_word_that_has_room() {
        let sizes = Sizes(vec![("rx", 2, 8), ("tx", 2, 8), ("combined", 0, 4)]);
        let (fix, change) = with_queues("eth1", &sizes, 4);
        assert_eq!(
            (fix.as_str(), change.unwrap().to.as_str()),
            ("ethtool -L eth1 combined 4", "rx 0 tx 2 combined 4")
        );
        let (fix, change) = with_queues("eth1", &sizes, 6);
        assert_eq!(
            (fix.as_str(), change.unwrap().to.as_str()),
            ("ethtool -L eth1 rx 6", "rx 6 tx 2 combined 0")
        );
        assert_eq!(with_queues("eth1", &sizes, 9).1, None);
    }

    #[test]
    fn where_the_kernel_forwards_by_itself_a_bridge_is_warned_and_a_router_told_what_keeps_it_from_that() {
        let folder = tempfile::tempdir().unwrap();
        let net = folder.path().join("proc/sys/net");
        for (file, value) in [
            ("ipv4/conf/nodev9/forwarding", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv6/conf/nodev9/disable_ipv6", "0"),
        ] {
            fs::create_dir_all(net.join(file).parent().unwrap()).unwrap();
            fs::write(net.join(file), value).unwrap();
        }
        let told = |mode| {
            let mut findings = Vec::new();
            forwarding(&Host::at(folder.path()), "port a", "nodev9", mode, &mut findings);
            findings.remove(0)
        };
        let bridge = told(Mode::Bridge);
        assert_eq!((bridge.level, bridge.changes.len()), (Level::Warn, 2), "{bridge:?}");
        let fix = "sysctl -w net.ipv4.conf.nodev9.forwarding=0 net.ipv6.conf.nodev9.disable_ipv6=1";
        assert_eq!(bridge.fix.as_deref(), Some(fix));
        let router = told(Mode::Route);
        assert!(router.level == Level::Ok && router.found.contains("IPv4 and IPv6"), "{router:?}");
        fs::write(net.join("ipv6/conf/nodev9/disable_ipv6"), "1").unwrap();
        fs::write(net.join("ipv4/conf/nodev9/forwarding"), "0").unwrap();
        assert_eq!(told(Mode::Bridge).level, Level::Ok);
    }

    #[test]
    fn workers_far_from_the_cards_memory_are_told() {
        let far = found(|sys| {
            fs::create_dir(sys.join("device")).unwrap();
            fs::write(sys.join("device/numa_node"), "1\n").unwrap();
            let node = sys.join("../../../devices/system/node/node1");
            fs::create_dir_all(&node).unwrap();
            fs::write(node.join("cpulist"), "4-7\n").unwrap();
        });
        let told = far.iter().find(|finding| finding.found.contains("NUMA")).unwrap();
        assert!(told.found.contains("cores 0 are not"), "{told:?}");
        assert!(told.fix.as_deref().unwrap().ends_with("from 4,5,6,7"), "{told:?}");
    }
}
