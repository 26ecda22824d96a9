//! Memory: what the rings take, and what can be locked.

use rustix::process::{Resource, getrlimit};
use sekisho_dataplane::port::xdp::memory_for;

use super::change::Change;
use super::{Finding, Host};
use crate::config::{Config, Driver};

const SUBJECT: &str = "memory";
/// What the rings of one worker at one `packet` port take: 16 MiB in, 4 MiB out.
const RINGS: u64 = 20 << 20;

/// What the frames of driver `xdp` take for each worker: they are longer where an interface's MTU wants it.
fn frames(host: &Host, config: Option<&Config>) -> u64 {
    let devices = config.iter().flat_map(|config| &config.ports).filter_map(|port| match &port.driver {
        Driver::Xdp { device, .. } => Some(device),
        _ => None,
    });
    let mtu = |device: &String| host.number(&format!("/sys/class/net/{device}/mtu")).unwrap_or(0) as usize;
    memory_for(devices.clone().count(), devices.map(mtu).max().unwrap_or(0))
}

pub(super) fn examine(host: &Host, config: Option<&Config>, workers: usize, findings: &mut Vec<Finding>) {
    let packet = |config: &Config| {
        config.ports.iter().filter(|port| matches!(port.driver, Driver::Packet { .. })).count()
    };
    let of_one = frames(host, config);
    let frames = of_one * workers as u64;
    let wanted = config.map_or(0, |config| RINGS * (packet(config) * workers) as u64) + frames;
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
    findings.push(locked(getrlimit(Resource::Memlock).current, frames));
    if let Some(text) = host.text("/sys/kernel/mm/transparent_hugepage/enabled") {
        let chosen = text.split('[').nth(1).and_then(|rest| rest.split(']').next()).unwrap_or("?").to_owned();
        findings.push(match chosen == "never" {
            false => Finding::ok(SUBJECT, format!("transparent huge pages: {chosen}")),
            true => Finding::warn(
                SUBJECT,
                "transparent huge pages: never",
                "large tables then take many small pages, and look-ups miss the TLB",
                "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
            )
            .by([Change::file("/sys/kernel/mm/transparent_hugepage/enabled", "madvise")]),
        });
    }
    huge_pages(host, of_one, workers, findings);
}

/// Memory that may be locked, against what driver `xdp` locks. That of whoever asks, as the daemon's would be.
fn locked(limit: Option<u64>, frames: u64) -> Finding {
    let text = limit.map_or("unlimited".to_owned(), |bytes| format!("{} KiB", bytes >> 10));
    let found = match frames {
        // The rings of `packet` are the kernel's memory and not counted.
        0 => format!("memory that may be locked: {text}; the driver \"packet\" needs none"),
        _ => format!("memory that may be locked: {text}, frames of \"xdp\" take {} MiB", frames >> 20),
    };
    match limit.is_none_or(|limit| limit >= frames) {
        true => Finding::ok(SUBJECT, found),
        false => Finding::warn(
            SUBJECT,
            found,
            "without CAP_IPC_LOCK, which root has, `sekisho run` refuses to start",
            "ulimit -l unlimited    # the unit sekisho.service has LimitMEMLOCK=infinity",
        ),
    }
}

/// Frames of the driver `xdp` lie in huge pages, if there are some: each worker's in pages of their own.
fn huge_pages(host: &Host, of_one: u64, workers: usize, findings: &mut Vec<Finding>) {
    const PATH: &str = "/proc/sys/vm/nr_hugepages";
    let Some(pages) = host.number(PATH) else { return };
    if of_one == 0 {
        let found = format!("{pages} huge pages reserved; the driver \"packet\" uses none");
        findings.push(Finding::ok(SUBJECT, found));
        return;
    }
    let size = host.field("/proc/meminfo", "Hugepagesize");
    let kilobytes = size.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(2048);
    let free =
        host.field("/proc/meminfo", "HugePages_Free").and_then(|text| text.parse().ok()).unwrap_or(pages);
    let wanted = of_one.div_ceil(kilobytes << 10) * workers as u64;
    let found = format!("{free} of {pages} huge pages free, frames of \"xdp\" take {wanted}");
    if free >= wanted {
        findings.push(Finding::ok(SUBJECT, found));
        return;
    }
    let all = pages + wanted - free;
    findings.push(
        Finding::warn(
            SUBJECT,
            found,
            "in small pages the frames cost a worker misses of the TLB",
            format!("sysctl -w vm.nr_hugepages={all}    # before `run`; for good in /etc/sysctl.d"),
        )
        .by([Change::file(PATH, all.to_string())]),
    );
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::Level;
    use super::*;

    #[test]
    fn memory_that_may_be_locked_is_held_against_what_the_frames_take() {
        assert_eq!(locked(Some(8 << 20), 0).level, Level::Ok);
        assert_eq!(locked(None, 48 << 20).level, Level::Ok);
        let little = locked(Some(8 << 20), 48 << 20);
        assert!(little.level == Level::Warn && little.found.ends_with("take 48 MiB"), "{little:?}");
    }

    #[test]
    fn huge_pages_are_asked_for_where_a_port_has_frames_in_them() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/sys/vm/nr_hugepages", "10\n"),
            (
                "proc/meminfo",
                "MemAvailable: 9000000 kB\nHugePages_Free:        4\nHugepagesize:       2048 kB\n",
            ),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let told = |driver: &str, mtu: &str| {
            let sys = folder.path().join("sys/class/net/eth1");
            fs::create_dir_all(&sys).unwrap();
            fs::write(sys.join("mtu"), mtu).unwrap();
            let text = format!(
                "[[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\ndriver = \"{driver}\"\n\
                 device = \"eth1\"\n[[port]]\nname = \"b\"\nrole = \"internet\"\npeer = \"a\"\n\
                 driver = \"memory\"\n"
            );
            let config = Config::from_toml(&text, Path::new("s.toml")).unwrap();
            let mut findings = Vec::new();
            let host = Host::at(folder.path());
            huge_pages(&host, frames(&host, Some(&config)), 2, &mut findings);
            findings.remove(0)
        };
        assert_eq!(told("packet", "1500").level, Level::Ok);
        // Each of the two workers has 10,240 frames for the port, and some in its hands.
        for (mtu, pages) in [("1500", "28"), ("3000", "48")] {
            let xdp = told("xdp", mtu);
            let change = Change::file("/proc/sys/vm/nr_hugepages", pages);
            assert_eq!((xdp.level, xdp.changes), (Level::Warn, vec![change]), "MTU {mtu}");
        }
    }
}
