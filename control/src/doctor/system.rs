//! The kernel, its clock, and the limits of its network stack.

use super::change::Change;
use super::{Finding, Host};

pub(super) fn examine(host: &Host, findings: &mut Vec<Finding>) {
    kernel(host, findings);
    clock(host, findings);
    limits(host, findings);
}

/// Major and minor number of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn kernel(host: &Host, findings: &mut Vec<Finding>) {
    let Some(release) = host.text("/proc/sys/kernel/osrelease") else { return };
    let found = format!("Linux {release}");
    findings.push(match version(&release) {
        Some(version) if version < (4, 20) => Finding::fail(
            "kernel",
            found,
            "what this host sends itself can't be kept out of a packet socket (PACKET_IGNORE_OUTGOING, 4.20)",
            "install a kernel of 6.2 or later",
        ),
        Some(version) if version < (6, 2) => Finding::warn(
            "kernel",
            found,
            "with several workers, frames that this host sends are sorted out one by one; 6.2 does it in the kernel",
            "apt install -t bookworm-backports linux-image-amd64    # where there are several workers",
        ),
        _ => Finding::ok("kernel", found),
    });
}

fn clock(host: &Host, findings: &mut Vec<Finding>) {
    let folder = "/sys/devices/system/clocksource/clocksource0";
    if let Some(source) = host.text(&format!("{folder}/current_clocksource")) {
        let found = format!("clock source {source}");
        let quick = ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"];
        let all = host.text(&format!("{folder}/available_clocksource")).unwrap_or_default();
        let has_tsc = all.split_whitespace().any(|source| source == "tsc");
        findings.push(match quick.contains(&source.as_str()) {
            true => Finding::ok("clock", found),
            false => Finding::warn(
                "clock",
                found,
                "workers read the clock for each burst, and this source takes a system call or a slow bus",
                format!(
                    "echo tsc > {folder}/current_clocksource    # if available_clocksource there lists it"
                ),
            )
            .by(has_tsc.then(|| Change::file(format!("{folder}/current_clocksource"), "tsc"))),
        });
    }
    let is_synchronised = synchronised();
    findings.push(match is_synchronised {
        true => Finding::ok("clock", "the kernel's clock is synchronised"),
        false => Finding::warn(
            "clock",
            "the kernel's clock is not synchronised",
            "phases begin, and grants end, by this clock",
            "apt install chrony && systemctl enable --now chrony",
        ),
    });
}

/// What a time daemon tells the kernel (adjtimex(2)): systemd-timesyncd leaves a file as well.
fn synchronised() -> bool {
    std::path::Path::new("/run/systemd/timesync/synchronized").exists()
        || std::path::Path::new("/run/chrony/chronyd.pid").exists()
        || std::path::Path::new("/run/ntpd.pid").exists()
        || std::path::Path::new("/run/ntpsec/ntpd.pid").exists()
}

/// Interrupt-driven receiving hands frames to packet sockets: these bound how many at once.
fn limits(host: &Host, findings: &mut Vec<Finding>) {
    for (key, least, why) in [
        (
            "netdev_budget",
            600,
            "frames that one softirq takes off the cards; what is left waits for the next",
        ),
        (
            "netdev_max_backlog",
            2000,
            "frames of virtual interfaces that wait for a core; more are dropped by the kernel",
        ),
    ] {
        let Some(value) = host.number(&format!("/proc/sys/net/core/{key}")) else { continue };
        let found = format!("net.core.{key} is {value}");
        findings.push(match value >= least {
            true => Finding::ok("network", found),
            false => Finding::warn("network", found, why, format!("sysctl -w net.core.{key}={least}"))
                .by([Change::file(format!("/proc/sys/net/core/{key}"), least.to_string())]),
        });
    }
}

/// Where the kernel's routes are mirrored: whether it tells their next hops, or objects in place of them.
pub(super) fn next_hops(host: &Host, findings: &mut Vec<Finding>) {
    let file = "/proc/sys/net/ipv4/nexthop_compat_mode";
    // A kernel without it has no such objects.
    let Some(mode) = host.number(file) else { return };
    let found = format!("net.ipv4.nexthop_compat_mode is {mode}");
    findings.push(match mode {
        0 => Finding::fail(
            "routes",
            found,
            "the kernel tells next hop objects (FRR, `ip nexthop`) in place of next hops: routes by them are unreachable here",
            "sysctl -w net.ipv4.nexthop_compat_mode=1",
        )
        .by([Change::file(file, "1")]),
        _ => Finding::ok("routes", found),
    });
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Level;
    use super::*;

    #[test]
    fn a_release_is_read_as_distributions_write_it() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("4.19"), Some((4, 19)));
        assert_eq!(version("next"), None);
    }

    #[test]
    fn a_kernel_that_does_not_tell_next_hops_is_set_to_do_so() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::at(folder.path());
        let mut findings = Vec::new();
        next_hops(&host, &mut findings);
        assert!(findings.is_empty());
        let file = folder.path().join("proc/sys/net/ipv4/nexthop_compat_mode");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        for (value, level) in [("1", Level::Ok), ("0", Level::Fail)] {
            fs::write(&file, value).unwrap();
            next_hops(&host, &mut findings);
            assert_eq!(findings.pop().unwrap().level, level);
        }
    }

    #[test]
    fn old_kernels_slow_clocks_and_short_queues_are_told() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/sys/kernel/osrelease", "4.19.0-amd64\n"),
            ("proc/sys/net/core/netdev_budget", "300\n"),
            ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut findings = Vec::new();
        examine(&Host::at(folder.path()), &mut findings);
        let level = |text: &str| findings.iter().find(|finding| finding.found.contains(text)).unwrap().level;
        assert_eq!((level("4.19"), level("hpet"), level("budget")), (Level::Fail, Level::Warn, Level::Warn));
        let budget = findings.iter().find(|finding| finding.found.contains("budget")).unwrap();
        assert_eq!(budget.fix.as_deref(), Some("sysctl -w net.core.netdev_budget=600"));
    }
}
