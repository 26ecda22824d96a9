//! The tables of which there is one: `[dataplane]`, `[checks]`, `[limits]`, `[control]`, `[metrics]`, `[affected]`.
//! All of them, and every key of theirs, may be left out.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnetwork::Ipv6Network;
use sekisho_dataplane::policy::{ReversePath, SourceValidation};
use sekisho_dataplane::worker::Poll;
use toml::de::DeValue;

use super::error::quoted;
use super::keys::{Key, Shape, Takes, Without};
use super::model::{Affected, Checks, Control, Dataplane, Limits, Metrics, Mode, Privacy};
use super::prefix::{PrefixError, nat64, parse_prefix};
use super::reader::{Entry, Table, described};
use super::report::Report;
use super::source::Place;

pub(super) static DATAPLANE: Shape = Shape {
    what: "[dataplane]",
    keys: &[
        Key::new(
            "mode",
            Takes::word::<Mode>(),
            Without::Is("\"bridge\""),
            "\"bridge\": a frame leaves by the peer of the port that it came in by, byte for byte as it came. \"route\": \
             packets go where routes lead them.",
        ),
        Key::new(
            "cores",
            Takes::Some("a list of numbers of cores"),
            Without::Means("every core that the process may use but one, which is left for control"),
            "One worker on each. Numbers are those of lscpu -e.",
        ),
        Key::new(
            "batch",
            Takes::Whole(1, 256),
            Without::Is("64"),
            "Frames that a worker takes at once, at most.",
        ),
        Key::new(
            "poll",
            Takes::word::<Poll>(),
            Without::Is("\"busy\""),
            "What a worker does while nothing comes. \"busy\": it asks again and again, and its core has no other work. \
             \"adaptive\": it sleeps after a while without frames. \"interrupt\": it sleeps whenever there is none.",
        ),
    ],
    remarks: &[],
};

pub(super) static CHECKS: Shape = Shape {
    what: "[checks]",
    keys: &[
        Key::new(
            "source-validation",
            Takes::word::<SourceValidation>(),
            Without::Is("\"enforce\""),
            "What becomes of a packet from a subscriber port whose source is in no pool. \"enforce\": it is dropped as \
             spoofed-source. \"monitor\": it passes and is counted as one that would be. \"off\": nobody looks.",
        ),
        Key::new(
            "nat64-prefixes",
            Takes::Some("a list of IPv6 prefixes of length 32, 40, 48, 56, 64 or 96"),
            Without::Is("[]"),
            "The operator's NAT64 prefixes (RFC 6052) besides 64:ff9b::/96. A destination in one of them is also looked \
             up as the IPv4 address in it.",
        ),
        Key::new(
            "urpf",
            Takes::word::<ReversePath>(),
            Without::Means("\"off\""),
            "Of mode \"route\": reverse path forwarding (RFC 3704). \"strict\": a packet's source must be reached by the \
             link that it came by. \"loose\": by any. \"off\": nobody looks.",
        ),
    ],
    remarks: &[],
};

const MOST_FRAGMENTS: usize = 1 << 24;
const MOST_GRANTS: usize = 1 << 20;
/// 256 MiB for each worker.
const MOST_CUSTOMERS: usize = 1 << 20;

pub(super) static LIMITS: Shape = Shape {
    what: "[limits]",
    keys: &[
        Key::new(
            "l2-headers",
            Takes::Whole(0, 16),
            Without::Is("4"),
            "VLAN tags and MPLS labels before the IP packet. Beyond, a subscriber's frame is dropped as encap-depth.",
        ),
        Key::new(
            "extension-headers",
            Takes::Whole(0, 64),
            Without::Is("8"),
            "IPv6 extension headers that are walked. Beyond, a subscriber's packet is dropped as header-chain.",
        ),
        Key::new(
            "fragments",
            Takes::Whole(1, MOST_FRAGMENTS as u64),
            Without::Is("65536"),
            "Fragmented datagrams that all workers together remember.",
        ),
        Key::new(
            "fragments-per-source",
            Takes::Whole(1, MOST_FRAGMENTS as u64),
            Without::Is("256"),
            "Of these, those of one source.",
        ),
        Key::new(
            "fragment-lifetime",
            Takes::Duration(SECOND, HOUR),
            Without::Is("\"120s\""),
            "How long one is remembered, from its first fragment on.",
        ),
        Key::new(
            "reject-burst",
            Takes::Whole(1, 1_000),
            Without::Is("5"),
            "Answers to denied packets that a customer's address may get at once. Beyond, it is dropped in silence.",
        ),
        Key::new(
            "reject-interval",
            Takes::Duration(SECOND / 1_000, HOUR),
            Without::Is("\"10s\""),
            "How long until it may get one more.",
        ),
        Key::new(
            "reject-per-second",
            Takes::Whole(0, 10_000_000),
            Without::Is("10000"),
            "Answers to all customers together, per second.",
        ),
        Key::new(
            "icmp-burst",
            Takes::Whole(1, 1_000),
            Without::Is("10"),
            "Of mode \"route\": ICMP errors that a source's address may get at once.",
        ),
        Key::new(
            "icmp-interval",
            Takes::Duration(SECOND / 1_000, HOUR),
            Without::Is("\"100ms\""),
            "Of mode \"route\": how long until it may get one more.",
        ),
        Key::new(
            "icmp-per-second",
            Takes::Whole(0, 10_000_000),
            Without::Is("10000"),
            "Of mode \"route\": ICMP errors to all together, per second.",
        ),
        Key::new(
            "grants",
            Takes::Whole(0, MOST_GRANTS as u64),
            Without::Is("65536"),
            "Grants at a time; see sekisho-grant(1).",
        ),
    ],
    remarks: &[],
};

pub(super) static CONTROL: Shape = Shape {
    what: "[control]",
    keys: &[
        Key::new(
            "socket",
            Takes::Some("a path of at most 107 bytes"),
            Without::Means("/run/sekisho/control.sock where a port is an interface, else none"),
            "The control socket. Root and its group may change what is in force.",
        ),
        Key::new(
            "group",
            Takes::Some("the name of a group"),
            Without::Means("the daemon's own group"),
            "The group that the socket belongs to. With sg or newgrp as the process's group, its members may connect, and \
             change what is in force.",
        ),
        Key::new(
            "state",
            Takes::Some("a path"),
            Without::Means("/var/lib/sekisho where a port is an interface, else none"),
            "The folder of what outlives the daemon: which phases have begun, and grants.",
        ),
    ],
    remarks: &[],
};

pub(super) static METRICS: Shape = Shape {
    what: "[metrics]",
    keys: &[Key::new(
        "listen",
        Takes::Some("an address and a port, such as \"127.0.0.1:9925\""),
        Without::Means("no metrics"),
        "Where /metrics is served. Nobody is asked for a password: choose an address that only the monitoring can reach.",
    )],
    remarks: &[],
};

pub(super) static AFFECTED: Shape = Shape {
    what: "[affected]",
    keys: &[
        Key::new(
            "customers",
            Takes::Whole(0, MOST_CUSTOMERS as u64),
            Without::Is("32768"),
            "Customers that each worker has room for, at 256 bytes each. With 0, nobody is booked.",
        ),
        Key::new(
            "privacy",
            Takes::word::<Privacy>(),
            Without::Is("\"off\""),
            "\"hash\": the list has a keyed hash in the place of each address. The key ends with the daemon.",
        ),
    ],
    remarks: &[],
};

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;

fn table<'a>(report: &mut Report, root: &Table<'a>, key: &'static str, shape: &Shape) -> Option<Table<'a>> {
    let entry = root.get(key)?;
    Table::of(report, entry.value, shape.what.to_owned(), shape)
}

/// `[dataplane]`.
pub(super) fn dataplane(report: &mut Report, root: &Table<'_>) -> Dataplane {
    let mut dataplane = Dataplane::default();
    let Some(table) = table(report, root, "dataplane", &DATAPLANE) else {
        return dataplane;
    };
    if let Some(entry) = table.get("mode") {
        dataplane.mode = entry.word(report).unwrap_or(dataplane.mode);
    }
    if let Some(entry) = table.get("cores") {
        dataplane.cores = cores(report, &entry);
    }
    if let Some(entry) = table.get("batch") {
        dataplane.batch = entry.whole(report, 1..=256, dataplane.batch).unwrap_or(dataplane.batch);
    }
    if let Some(entry) = table.get("poll") {
        dataplane.poll = entry.word(report).unwrap_or(dataplane.poll);
    }
    dataplane
}

fn cores(report: &mut Report, entry: &Entry<'_>) -> Option<Vec<usize>> {
    const HIGHEST: usize = 65_535;
    let values = entry.list(report, "1, 2")?;
    if values.is_empty() {
        report.refuse(
            entry.place(),
            "`cores` names no core",
            "name one core per worker, or leave `cores` out",
        );
    }
    let mut cores = Vec::with_capacity(values.len());
    let mut seen = HashSet::new();
    for value in values {
        let number = match value.get_ref() {
            DeValue::Integer(number) => usize::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let place = Place::main(value.span());
        match number.filter(|number| *number <= HIGHEST) {
            Some(core) if seen.insert(core) => cores.push(core),
            Some(core) => report.refuse(
                place,
                format!("core {core} is named twice"),
                "one core has one worker: name it once",
            ),
            None => report.refuse(
                place,
                "not the number of a core",
                "write the numbers that `lscpu -e` shows, such as `[1, 2]`",
            ),
        }
    }
    Some(cores)
}

/// `[checks]`.
pub(super) fn checks(report: &mut Report, root: &Table<'_>, mode: Mode) -> Checks {
    let mut checks = Checks::default();
    let Some(table) = table(report, root, "checks", &CHECKS) else {
        return checks;
    };
    if let Some(entry) = table.get("source-validation") {
        checks.source_validation = entry.word(report).unwrap_or(checks.source_validation);
    }
    if let Some(entry) = table.get("nat64-prefixes") {
        checks.nat64_prefixes = nat64_prefixes(report, &entry);
    }
    if let Some(entry) = table.get("urpf") {
        checks.urpf = entry.word(report).unwrap_or(checks.urpf);
        if mode == Mode::Bridge {
            let help = "a bridge has no routes: remove it, or write `mode = \"route\"` under [dataplane]";
            report.refuse(entry.key_place.clone(), "`urpf` belongs to route mode", help);
        }
    }
    checks
}

fn nat64_prefixes(report: &mut Report, entry: &Entry<'_>) -> Vec<Ipv6Network> {
    const HELP: &str = "a NAT64 prefix is IPv6, of length 32, 40, 48, 56, 64 or 96 (RFC 6052 section 2.2)";
    let mut prefixes = Vec::new();
    let mut seen = HashSet::new();
    for value in entry.list(report, "\"2001:db8:64::/96\"").unwrap_or(&[]) {
        let place = Place::main(value.span());
        let Some(text) = value.get_ref().as_str() else {
            report.refuse(place, format!("a prefix must be a string, not {}", described(value)), HELP);
            continue;
        };
        let (what, help) = match parse_prefix(text).map(nat64) {
            Ok(Ok(prefix)) => {
                if seen.insert(prefix) {
                    prefixes.push(prefix);
                }
                continue;
            }
            Ok(Err(error)) => (error.to_string(), HELP.to_owned()),
            // Nobody translates for one address: it can only be the whole prefix that is meant.
            Err(error @ PrefixError::HostBits(cleared, _)) => {
                (error.to_string(), format!("write `{cleared}`"))
            }
            Err(error) => (error.to_string(), HELP.to_owned()),
        };
        report.refuse(place, format!("{} is {what}", quoted(text)), help);
    }
    prefixes
}

/// `[limits]`.
pub(super) fn limits(report: &mut Report, root: &Table<'_>) -> Limits {
    let default = Limits::default();
    let Some(table) = table(report, root, "limits", &LIMITS) else {
        return default;
    };
    let mut size = |key, range, default| {
        table.get(key).and_then(|entry| entry.whole::<usize>(report, range, default)).unwrap_or(default)
    };
    let l2_headers = size("l2-headers", 0..=16, default.l2_headers);
    let extension_headers = size("extension-headers", 0..=64, default.extension_headers);
    let fragments = size("fragments", 1..=MOST_FRAGMENTS, default.fragments);
    let fragments_per_source = size("fragments-per-source", 1..=MOST_FRAGMENTS, default.fragments_per_source);
    let grants = size("grants", 0..=MOST_GRANTS, default.grants);
    let mut answers = |key, range, default| {
        table.get(key).and_then(|entry| entry.whole::<u32>(report, range, default)).unwrap_or(default)
    };
    let reject_burst = answers("reject-burst", 1..=1_000, default.reject_burst);
    let reject_per_second = answers("reject-per-second", 0..=10_000_000, default.reject_per_second);
    let icmp_burst = answers("icmp-burst", 1..=1_000, default.icmp_burst);
    let icmp_per_second = answers("icmp-per-second", 0..=10_000_000, default.icmp_per_second);
    let mut time = |key, range, default| {
        table.get(key).and_then(|entry| entry.duration(report, range, default)).unwrap_or(default)
    };
    Limits {
        l2_headers,
        extension_headers,
        fragments,
        fragments_per_source,
        fragment_lifetime_micros: time("fragment-lifetime", SECOND..=HOUR, default.fragment_lifetime_micros),
        reject_burst,
        reject_interval_micros: time(
            "reject-interval",
            SECOND / 1_000..=HOUR,
            default.reject_interval_micros,
        ),
        reject_per_second,
        icmp_burst,
        icmp_interval_micros: time("icmp-interval", SECOND / 1_000..=HOUR, default.icmp_interval_micros),
        icmp_per_second,
        grants,
    }
}

/// `[control]`.
pub(super) fn control(report: &mut Report, root: &Table<'_>, folder: &Path) -> Control {
    /// What `sun_path` holds, less the zero at its end (unix(7)).
    const LONGEST: usize = 107;
    let mut control = Control::default();
    let Some(table) = table(report, root, "control", &CONTROL) else {
        return control;
    };
    control.state = table.get("state").and_then(|entry| path(report, &entry)).map(|path| folder.join(path));
    control.group = table.get("group").and_then(|entry| group(report, &entry));
    let Some(entry) = table.get("socket") else {
        return control;
    };
    if let Some(path) = path(report, &entry) {
        if path.as_os_str().len() > LONGEST {
            let message = format!(
                "the path of a Unix socket has at most {LONGEST} bytes, this one {}",
                path.as_os_str().len()
            );
            report.refuse(
                entry.place(),
                message,
                "choose a shorter one, such as `/run/sekisho/control.sock`",
            );
        }
        control.socket = Some(folder.join(path));
    }
    control
}

/// The name of a group; whether there is such a group is seen where the daemon runs.
fn group(report: &mut Report, entry: &Entry<'_>) -> Option<String> {
    let text = entry.string(report)?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',');
    if text.is_empty() || text.len() > 32 || text.contains(odd) {
        let help = "write a group that `getent group` lists, such as `sekisho`";
        report.refuse(entry.place(), format!("{} is no name of a group", quoted(text)), help);
        return None;
    }
    Some(text.to_owned())
}

/// `[metrics]`.
pub(super) fn metrics(report: &mut Report, root: &Table<'_>) -> Metrics {
    let entry = table(report, root, "metrics", &METRICS).and_then(|table| table.get("listen"));
    let Some((entry, text)) = entry.and_then(|entry| entry.string(report).map(|text| (entry, text))) else {
        return Metrics::default();
    };
    let listen = text.parse::<SocketAddr>().ok();
    if listen.is_none() {
        let help = "write an address and a port, such as `127.0.0.1:9925` or `[::1]:9925`";
        report.refuse(entry.place(), format!("{} is no address to listen on", quoted(text)), help);
    }
    Metrics { listen }
}

/// `[affected]`.
pub(super) fn affected(report: &mut Report, root: &Table<'_>) -> Affected {
    let mut affected = Affected::default();
    let Some(table) = table(report, root, "affected", &AFFECTED) else {
        return affected;
    };
    if let Some(entry) = table.get("customers") {
        affected.customers =
            entry.whole(report, 0..=MOST_CUSTOMERS, affected.customers).unwrap_or(affected.customers);
    }
    if let Some(entry) = table.get("privacy") {
        affected.privacy = entry.word(report).unwrap_or(affected.privacy);
    }
    affected
}

/// A path as it is written.
pub(super) fn path(report: &mut Report, entry: &Entry<'_>) -> Option<PathBuf> {
    let text = entry.string(report)?;
    if text.is_empty() || text.contains('\0') {
        let message = format!("{} is no path", quoted(text));
        report.refuse(entry.place(), message, format!("name a file, or leave `{}` out", entry.key));
        return None;
    }
    Some(PathBuf::from(text))
}
