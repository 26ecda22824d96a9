//! Memory: what the rings take, and what can be locked.

use rustix::process::{Resource, getrlimit};

use super::change::Change;
use super::{Finding, Host};
use crate::config::{Config, Driver};

const SUBJECT: &str = "memory";
/// What the rings of one worker at one `packet` port take: 16 MiB in, 4 MiB out. And the most that the frames of one at an
/// `xdp` port do.
const RINGS: u64 = 20 << 20;
const FRAMES: u64 = 24 << 20;

/// What the frames of driver `xdp` take.
fn frames(config: Option<&Config>, workers: usize) -> u64 {
    let xdp = |config: &Config| {
        config.ports.iter().filter(|port| matches!(port.driver, Driver::Xdp { .. })).count()
    };
    config.map_or(0, |config| FRAMES * (xdp(config) * workers) as u64)
}

pub(super) fn examine(host: &Host, config: Option<&Config>, workers: usize, findings: &mut Vec<Finding>) {
    let packet = |config: &Config| {
        config.ports.iter().filter(|port| matches!(port.driver, Driver::Packet { .. })).count()
    };
    let frames = frames(config, workers);
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
    huge_pages(host, config, workers, findings);
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

/// Frames of the driver `xdp` lie in huge pages, if there are some: 24 MiB for each worker and port at most.
fn huge_pages(host: &Host, config: Option<&Config>, workers: usize, findings: &mut Vec<Finding>) {
    const PATH: &str = "/proc/sys/vm/nr_hugepages";
    let Some(pages) = host.number(PATH) else { return };
    let bytes = frames(config, workers);
    if bytes == 0 {
        let found = format!("{pages} huge pages reserved; the driver \"packet\" uses none");
        findings.push(Finding::ok(SUBJECT, found));
        return;
    }
    let size = host.field("/proc/meminfo", "Hugepagesize");
    let kilobytes = size.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(2048);
    let free =
        host.field("/proc/meminfo", "HugePages_Free").and_then(|text| text.parse().ok()).unwrap_or(pages);
    let wanted = bytes.div_ceil(kilobytes << 10);
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
        let told = |driver: &str| {
            let text = format!(
                "[[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\ndriver = \"{driver}\"\n\
                 device = \"eth1\"\n[[port]]\nname = \"b\"\nrole = \"internet\"\npeer = \"a\"\n\
                 driver = \"memory\"\n"
            );
            let config = Config::from_toml(&text, Path::new("s.toml")).unwrap();
            let mut findings = Vec::new();
            huge_pages(&Host::at(folder.path()), Some(&config), 1, &mut findings);
            findings.remove(0)
        };
        assert_eq!(told("packet").level, Level::Ok);
        let xdp = told("xdp");
        assert_eq!(
            (xdp.level, xdp.changes),
            (Level::Warn, vec![Change::file("/proc/sys/vm/nr_hugepages", "18")])
        );
    }
}
