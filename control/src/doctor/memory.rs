//! Memory: what the rings take, and what can be locked.

use rustix::process::{Resource, getrlimit};

use super::{Finding, Host};
use crate::config::{Config, Driver};

const SUBJECT: &str = "memory";
/// What the rings of one worker at one `packet` port take: 16 MiB in, 4 MiB out.
const RINGS: u64 = 20 << 20;

pub(super) fn examine(host: &Host, config: Option<&Config>, workers: usize, findings: &mut Vec<Finding>) {
    let packet = |config: &Config| {
        config.ports.iter().filter(|port| matches!(port.driver, Driver::Packet { .. })).count()
    };
    let wanted = config.map_or(0, |config| RINGS * (packet(config) * workers) as u64);
    let available = host.field("/proc/meminfo", "MemAvailable").and_then(|text| {
        let kilobytes: u64 = text.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes << 10)
    });
    if let Some(available) = available {
        let found = format!("{} MiB available, rings take {} MiB", available >> 20, wanted >> 20);
        findings.push(match available > 2 * wanted + (64 << 20) {
            true => Finding::ok(SUBJECT, found),
            false => Finding::fail(
                SUBJECT,
                found,
                "rings, tables and a second generation of them during a reload have to fit",
                "name fewer `cores` under [dataplane], or give this host more memory",
            ),
        });
    }
    let limit = getrlimit(Resource::Memlock).current;
    let text = limit.map_or("unlimited".to_owned(), |bytes| format!("{} KiB", bytes >> 10));
    findings.push(match limit.is_none_or(|limit| limit >= 64 << 20) {
        true => Finding::ok(SUBJECT, format!("memory that may be locked: {text}")),
        // The rings of `packet` are the kernel's memory and not counted.
        false => Finding::warn(
            SUBJECT,
            format!("memory that may be locked: {text}"),
            "the driver \"packet\" needs none; AF_XDP on old kernels, and locked tables, do",
            "ulimit -l unlimited    # the unit sekisho.service has LimitMEMLOCK=infinity",
        ),
    });
    if let Some(text) = host.text("/sys/kernel/mm/transparent_hugepage/enabled") {
        let chosen = text.split('[').nth(1).and_then(|rest| rest.split(']').next()).unwrap_or("?").to_owned();
        findings.push(match chosen == "never" {
            false => Finding::ok(SUBJECT, format!("transparent huge pages: {chosen}")),
            true => Finding::warn(
                SUBJECT,
                "transparent huge pages: never",
                "large tables then take many small pages, and look-ups miss the TLB",
                "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
            ),
        });
    }
    if let Some(pages) = host.number("/proc/sys/vm/nr_hugepages") {
        let found = format!("{pages} huge pages reserved; the driver \"packet\" uses none");
        findings.push(Finding::ok(SUBJECT, found));
    }
}
