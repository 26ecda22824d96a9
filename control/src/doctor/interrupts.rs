//! Interrupts: those of a port's own card, and all others, against the workers' cores.

use super::change::Change;
use super::host::list;
use super::{Finding, Host, cores};
use crate::config::{Config, Driver};

/// What `/proc/irq/N` has beside the devices that the interrupt serves.
const FILES: [&str; 7] = [
    "affinity_hint",
    "effective_affinity",
    "effective_affinity_list",
    "node",
    "smp_affinity",
    "smp_affinity_list",
    "spurious",
];

/// The numbers of a device's interrupts: its own vectors, or those of what it is a part of (virtio).
fn vectors(host: &Host, sys: &str) -> Vec<String> {
    let places = [format!("{sys}/device/msi_irqs"), format!("{sys}/device/../msi_irqs")];
    places.iter().map(|place| host.names(place)).find(|names| !names.is_empty()).unwrap_or_default()
}

/// Whether an interrupt serves a device, and is served on a worker's core.
fn disturbs(host: &Host, number: &str, workers: &[usize]) -> bool {
    let folder = format!("/proc/irq/{number}");
    let serves = host.names(&folder).iter().any(|name| !FILES.contains(&name.as_str()));
    let affinity = host.text(&format!("{folder}/effective_affinity_list")).unwrap_or_default();
    serves && list(&affinity).iter().any(|core| workers.contains(core))
}

/// The command that moves interrupts to a core that no worker has, and the settings; none if there is no such core.
fn moved(host: &Host, numbers: &[String], workers: &[usize]) -> Option<(String, Vec<Change>)> {
    let online = list(&host.text("/sys/devices/system/cpu/online").unwrap_or_default());
    let free = online.iter().find(|core| !workers.contains(core))?.to_string();
    let path = |number: &str| format!("/proc/irq/{number}/smp_affinity_list");
    let fix = match numbers {
        [one] => format!("echo {free} > {}", path(one)),
        many => format!("for i in {}; do echo {free} > {}; done", many.join(" "), path("$i")),
    };
    let changes = numbers.iter().map(|number| Change::file(path(number), &*free)).collect();
    Some((format!("{fix}    # and stop irqbalance"), changes))
}

/// Of a port's card.
pub(super) fn of_a_port(
    host: &Host,
    subject: &str,
    sys: &str,
    workers: &[usize],
    findings: &mut Vec<Finding>,
) {
    let vectors = vectors(host, sys);
    if vectors.is_empty() {
        return;
    }
    let here: Vec<String> =
        vectors.iter().filter(|number| disturbs(host, number, workers)).cloned().collect();
    findings.push(match (here.is_empty(), moved(host, &here, workers)) {
        (false, Some((fix, changes))) => Finding::warn(
            subject,
            format!("its interrupts {} are served on the workers' cores {}", shown(&here), cores::joined(workers)),
            "each stops a worker for some microseconds; elsewhere the kernel's part of the work is another core's",
            fix,
        )
        .by(changes),
        (false, None) => Finding::ok(subject, "its interrupts share the workers' cores, which are all there are"),
        (true, _) => Finding::ok(subject, format!("its {} interrupts are served on other cores", vectors.len())),
    });
}

/// What has a card wait with its interrupts for who polls it: files of its folder in `/sys`.
const DEFERRED: [(&str, &str); 2] = [("napi_defer_hard_irqs", "2"), ("gro_flush_timeout", "200000")];

/// Of a card with a port of driver `xdp`, whose worker never sleeps and so can poll the card itself.
pub(super) fn deferred(host: &Host, subject: &str, sys: &str, findings: &mut Vec<Finding>) {
    // A device without one has nothing to interrupt with.
    if !host.exists(&format!("{sys}/device")) {
        return;
    }
    let path = |file: &str| format!("{sys}/{file}");
    let missing: Vec<_> =
        DEFERRED.into_iter().filter(|(file, _)| host.number(&path(file)) == Some(0)).collect();
    if missing.is_empty() {
        findings.push(Finding::ok(subject, "it waits with its interrupts for the worker that polls it"));
        return;
    }
    let names: Vec<&str> = missing.iter().map(|(file, _)| *file).collect();
    let commands: Vec<String> =
        missing.iter().map(|(file, to)| format!("echo {to} > {}", path(file))).collect();
    findings.push(
        Finding::warn(
            subject,
            format!("it interrupts while a worker polls it: 0 in {}", names.join(" and ")),
            "a worker with `poll = \"busy\"` polls the card itself only where that waits with its interrupts",
            commands.join("; "),
        )
        .by(missing.iter().map(|(file, to)| Change::file(path(file), *to))),
    );
}

fn shown(numbers: &[String]) -> String {
    let more = if numbers.len() > 8 { " …" } else { "" };
    format!("{}{more}", numbers.iter().take(8).cloned().collect::<Vec<_>>().join(" "))
}

/// Of all else. Those that the kernel manages itself can't be moved, and a few are of no account: what counts is whether
/// there are some that could be elsewhere.
pub(super) fn of_others(host: &Host, config: &Config, workers: &[usize], findings: &mut Vec<Finding>) {
    const SUBJECT: &str = "cores";
    let ports = config.ports.iter().filter_map(|port| match &port.driver {
        Driver::Packet { device, .. } | Driver::Xdp { device, .. } => Some(device),
        _ => None,
    });
    let told: Vec<String> =
        ports.flat_map(|device| vectors(host, &format!("/sys/class/net/{device}"))).collect();
    let mut numbers = host.names("/proc/irq");
    numbers.retain(|number| !told.contains(number) && disturbs(host, number, workers));
    let fix = moved(host, &numbers, workers).filter(|_| !numbers.is_empty());
    let Some((fix, changes)) = fix else {
        findings.push(Finding::ok(SUBJECT, "no other device's interrupt is served on a worker's core"));
        return;
    };
    findings.push(
        Finding::warn(
            SUBJECT,
            format!("interrupts {} are served on workers' cores", shown(&numbers)),
            "each stops a worker for some microseconds",
            fix,
        )
        .by(changes),
    );
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::Level;
    use super::*;

    #[test]
    fn a_card_that_interrupts_a_worker_that_polls_it_is_told_and_a_virtual_device_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let sys = folder.path().join("sys/class/net/eth1");
        fs::create_dir_all(&sys).unwrap();
        fs::write(sys.join("napi_defer_hard_irqs"), "0\n").unwrap();
        fs::write(sys.join("gro_flush_timeout"), "1000\n").unwrap();
        let told = || {
            let mut findings = Vec::new();
            deferred(&Host::at(folder.path()), "port a", "/sys/class/net/eth1", &mut findings);
            findings.pop()
        };
        assert_eq!(told(), None);
        fs::create_dir(sys.join("device")).unwrap();
        let open = told().unwrap();
        let file = "/sys/class/net/eth1/napi_defer_hard_irqs";
        assert_eq!((open.level, open.changes), (Level::Warn, vec![Change::file(file, "2")]));
        assert_eq!(open.fix, Some(format!("echo 2 > {file}")));
        fs::write(sys.join("napi_defer_hard_irqs"), "2\n").unwrap();
        assert_eq!(told().unwrap().level, Level::Ok);
    }

    #[test]
    fn a_cards_interrupts_are_told_at_its_port_and_the_others_beside_the_cores() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("sys/devices/system/cpu/online", "0-3"),
            ("sys/class/net/eth1/device/msi_irqs/24", "msix"),
            ("sys/class/net/eth1/device/msi_irqs/27", "msix"),
            ("proc/irq/24/effective_affinity_list", "2"),
            ("proc/irq/24/eth1-rx-0/none", ""),
            ("proc/irq/25/effective_affinity_list", "2"),
            ("proc/irq/26/effective_affinity_list", "1"),
            ("proc/irq/26/ahci/none", ""),
            ("proc/irq/27/effective_affinity_list", "0"),
            ("proc/irq/27/eth1-tx-0/none", ""),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let host = Host::at(folder.path());
        let mut findings = Vec::new();
        of_a_port(&host, "port a", "/sys/class/net/eth1", &[1, 2], &mut findings);
        let text = "[[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\ndriver = \"packet\"\n\
                    device = \"eth1\"\n[[port]]\nname = \"b\"\nrole = \"internet\"\npeer = \"a\"\n\
                    driver = \"memory\"\n";
        let config = Config::from_toml(text, Path::new("s.toml")).unwrap();
        of_others(&host, &config, &[1, 2], &mut findings);
        let told: Vec<(Level, &str, &str)> = findings
            .iter()
            .map(|finding| (finding.level, &*finding.subject, finding.fix.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(
            told,
            [
                (Level::Warn, "port a", "echo 0 > /proc/irq/24/smp_affinity_list    # and stop irqbalance"),
                (Level::Warn, "cores", "echo 0 > /proc/irq/26/smp_affinity_list    # and stop irqbalance"),
            ]
        );
        assert_eq!(findings[0].changes, [Change::file("/proc/irq/24/smp_affinity_list", "0")]);
        let mut findings = Vec::new();
        of_a_port(&host, "port a", "/sys/class/net/eth1", &[0, 1, 2, 3], &mut findings);
        assert_eq!(findings[0].level, Level::Ok, "there is no other core: {findings:?}");
    }
}
