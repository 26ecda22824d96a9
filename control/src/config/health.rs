//! `health` of a filter's `[[port]]`: how it is found out whether the filter answers.

use std::net::IpAddr;

use sekisho_dataplane::policy::Role;

use super::error::quoted;
use super::keys::{Key, Shape, Takes, Without};
use super::model::{Health, HealthCheck};
use super::reader::{Entry, Table, Word};
use super::report::Report;

pub(super) static SHAPE: Shape = Shape {
    what: "`health`",
    keys: &[
        Key::new(
            "check",
            Takes::word::<HealthCheck>(),
            Without::Refused,
            "\"arp\" (IPv4) and \"nd\" (IPv6): whether the host answers. \"tcp\": whether its server does.",
        ),
        Key::new("address", Takes::Some("an address"), Without::Refused, "The filter's."),
        Key::new("tcp-port", Takes::Whole(1, 65_535), Without::Is("25"), "Of a check by TCP."),
        Key::new(
            "source",
            Takes::Some("an address of the same version of IP"),
            Without::RefusedFor("a check by TCP"),
            "One of the filter's network that nobody has: the checks' own.",
        ),
        Key::new(
            "vlan",
            Takes::Whole(1, 4_094),
            Without::Means("the checks carry no tag"),
            "The VLAN that the filter's address is in, where the port carries tags.",
        ),
        Key::new(
            "interval",
            Takes::Duration(SHORTEST, LONGEST),
            Without::Is("\"1s\""),
            "How long it is from one check to the next.",
        ),
        Key::new(
            "fail-after",
            Takes::Whole(1, 100),
            Without::Is("3"),
            "After so many checks in a row without an answer the filter is down.",
        ),
    ],
    remarks: &[],
};

const INTERVAL: u64 = 1_000_000;
const SHORTEST: u64 = 500_000;
const LONGEST: u64 = 60_000_000;
const FAIL_AFTER: u32 = 3;
const SMTP: u16 = 25;
/// The VLANs that IEEE 802.1Q leaves for use.
const VLANS: std::ops::RangeInclusive<u16> = 1..=4094;

impl Word for HealthCheck {
    const WORDS: &'static [(&'static str, Self)] =
        &[("arp", Self::Arp), ("nd", Self::Nd), ("tcp", Self::Tcp)];
}

/// Reads the key of a port, if it is there.
pub(super) fn read(report: &mut Report, port: &Table<'_>, role: Option<Role>) -> Option<Health> {
    let entry = port.get("health")?;
    if role.is_some_and(|role| role != Role::Filter) {
        let help = "remove it: only the filter is checked, what other ports do is seen at their link";
        report.refuse(entry.key_place.clone(), "`health` belongs to a `filter` port", help);
    }
    let table = Table::of(report, entry.value, "`health`".to_owned(), &SHAPE)?;
    let check: Option<HealthCheck> =
        table.require(report, "check", "\"arp\"").and_then(|entry| entry.word(report));
    let written = table.require(report, "address", "\"192.0.2.99\"");
    let address = written.as_ref().and_then(|entry| host(report, entry));
    if let (Some(check), Some(address), Some(written)) = (check, address, &written) {
        refuse_other_family(report, check, address, written);
    }
    let tcp_port = table.get("tcp-port");
    if let (Some(entry), Some(HealthCheck::Arp | HealthCheck::Nd)) = (&tcp_port, check) {
        let help = "write `check = \"tcp\"`, or remove it";
        report.refuse(entry.key_place.clone(), "`tcp-port` belongs to `check = \"tcp\"`", help);
    }
    let tcp_port = tcp_port.and_then(|entry| entry.whole(report, 1..=u16::MAX, SMTP)).unwrap_or(SMTP);
    let written = table.get("source");
    let source = written.as_ref().and_then(|entry| host(report, entry));
    if check == Some(HealthCheck::Tcp) && written.is_none() {
        let help = "add `source = \"…\"`, an unused address in the filter's network, which it answers to";
        report.refuse(table.place.clone(), "a check by TCP has no `source`", help);
    }
    if let (Some(source), Some(address), Some(entry)) = (source, address, &written) {
        if source == address {
            let help = "write another address of the filter's network, which nobody has";
            report.refuse(entry.place(), "the filter's own address can't be the source of its check", help);
        } else if source.is_ipv4() != address.is_ipv4() {
            let help = "write a source of the same version of IP as `address`";
            report.refuse(entry.place(), "the source is of another version of IP than `address`", help);
        }
    }
    let vlan = table.get("vlan").and_then(|entry| entry.whole(report, VLANS, 25));
    let interval =
        table.get("interval").and_then(|entry| entry.duration(report, SHORTEST..=LONGEST, INTERVAL));
    let fail_after = table.get("fail-after").and_then(|entry| entry.whole(report, 1..=100, FAIL_AFTER));
    Some(Health {
        check: check?,
        address: address?,
        tcp_port,
        source,
        vlan,
        interval_micros: interval.unwrap_or(INTERVAL),
        fail_after: fail_after.unwrap_or(FAIL_AFTER),
    })
}

/// An address that one host can have.
fn host(report: &mut Report, entry: &Entry<'_>) -> Option<IpAddr> {
    let text = entry.string(report)?;
    let address: Option<IpAddr> = text.parse().ok();
    let single = |address: &IpAddr| {
        let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        !(address.is_unspecified() || address.is_multicast() || address.is_loopback() || broadcast)
    };
    let found = address.filter(single);
    if found.is_none() {
        let help = "write one address without a length, such as `192.0.2.99` or `2001:db8::99`";
        report.refuse(entry.place(), format!("{} is no address of a host", quoted(text)), help);
    }
    found
}

fn refuse_other_family(report: &mut Report, check: HealthCheck, address: IpAddr, written: &Entry<'_>) {
    let (message, help) = match (check, address) {
        (HealthCheck::Arp, IpAddr::V6(_)) => ("ARP finds no IPv6 address", "write `check = \"nd\"`"),
        (HealthCheck::Nd, IpAddr::V4(_)) => ("ND finds no IPv4 address", "write `check = \"arp\"`"),
        _ => return,
    };
    report.refuse(written.place(), message, help);
}
