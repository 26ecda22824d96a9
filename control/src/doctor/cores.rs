//! The workers' cores: that they are there, and that nothing else is on them.

use super::change::Change;
use super::host::list;
use super::{Finding, Host, interrupts};
use crate::config::Config;
use crate::cores;
use crate::words::plural;

const SUBJECT: &str = "cores";

/// The cores that workers would have here; none without a configuration.
pub(super) fn workers(config: Option<&Config>) -> Vec<usize> {
    let Some(config) = config else { return Vec::new() };
    match &config.dataplane.cores {
        Some(cores) => cores.clone(),
        None => cores::choose(None).unwrap_or_default(),
    }
}

pub(super) fn joined(cores: &[usize]) -> String {
    let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
    cores.join(",")
}

pub(super) fn examine(host: &Host, config: Option<&Config>, workers: &[usize], findings: &mut Vec<Finding>) {
    if let Some(config) = config {
        match cores::choose(config.dataplane.cores.as_deref()) {
            Ok(_) => findings.push(Finding::ok(
                SUBJECT,
                format!("{} on cores {}", plural(workers.len(), "worker"), joined(workers)),
            )),
            Err(error) => findings.push(Finding::fail(
                SUBJECT,
                error,
                "`sekisho run` refuses to start",
                "lscpu -e    # write cores that it shows as `cores` under [dataplane]",
            )),
        }
        isolation(host, workers, findings);
        interrupts::of_others(host, config, workers, findings);
        siblings(host, workers, findings);
    }
    governor(host, workers, findings);
}

fn isolation(host: &Host, workers: &[usize], findings: &mut Vec<Finding>) {
    let all = list(&host.text("/sys/devices/system/cpu/online").unwrap_or_default());
    let rest: Vec<usize> = all.iter().copied().filter(|core| !workers.contains(core)).collect();
    if rest.is_empty() {
        findings.push(Finding::warn(
            SUBJECT,
            "every core has a worker",
            "the control thread, interrupts and everything else take turns with workers that never sleep",
            "leave a core out of `cores` under [dataplane]",
        ));
        return;
    }
    for (what, file, why) in [
        ("isolated", "/sys/devices/system/cpu/isolated", "the scheduler puts other tasks on workers' cores"),
        (
            "nohz_full",
            "/sys/devices/system/cpu/nohz_full",
            "the kernel's tick interrupts a worker up to 1000 times a second",
        ),
    ] {
        let named = list(&host.text(file).unwrap_or_default());
        match workers.iter().all(|core| named.contains(core)) {
            true => findings.push(Finding::ok(SUBJECT, format!("the workers' cores are {what}"))),
            false => {
                let cores = joined(workers);
                findings.push(Finding::warn(
                    SUBJECT,
                    format!("not all of the workers' cores ({cores}) are {what}"),
                    why,
                    format!("add `isolcpus={cores} nohz_full={cores} rcu_nocbs={cores}` to the kernel's command line, and reboot"),
                ));
            }
        }
    }
}

fn siblings(host: &Host, workers: &[usize], findings: &mut Vec<Finding>) {
    for core in workers {
        let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        let shared = list(&host.text(&path).unwrap_or_default());
        if let Some(other) = shared.iter().find(|other| *other > core && workers.contains(other)) {
            findings.push(Finding::warn(
                SUBJECT,
                format!("workers on {core} and {other} share one physical core"),
                "two busy-polling threads of one core get half of it each",
                format!("leave {other} out of `cores` under [dataplane]"),
            ));
        }
    }
}

fn governor(host: &Host, workers: &[usize], findings: &mut Vec<Finding>) {
    let path = |core: &usize| format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
    let slow = |core: &&usize| host.text(&path(core)).is_some_and(|governor| governor != "performance");
    let first = [0];
    let cores = if workers.is_empty() { &first } else { workers };
    let slow: Vec<&usize> = cores.iter().filter(slow).collect();
    match slow.first() {
        Some(core) => findings.push(
            Finding::warn(
                SUBJECT,
                format!(
                    "core {core} has the frequency governor {}",
                    host.text(&path(core)).unwrap_or_default()
                ),
                "a burst after a pause is served at a low clock",
                "cpupower frequency-set -g performance",
            )
            .by(slow.iter().map(|core| Change::file(path(core), "performance"))),
        ),
        None => findings.push(Finding::ok(SUBJECT, "no frequency governor slows them down")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Level;
    use super::*;

    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let host = Host::at(folder.path());
        (folder, host)
    }

    fn warned(findings: &[Finding]) -> String {
        let told = findings.iter().filter(|finding| finding.level > Level::Ok);
        told.map(|finding| format!("{} | {}\n", finding.found, finding.fix.as_deref().unwrap_or("")))
            .collect()
    }

    #[test]
    fn cores_that_others_use_too_are_told_with_what_keeps_them_free() {
        let (_folder, host) = host(&[
            ("sys/devices/system/cpu/online", "0-3"),
            ("sys/devices/system/cpu/isolated", "1"),
            ("sys/devices/system/cpu/nohz_full", "1,2"),
            ("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1-2"),
            ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "1-2"),
            ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n"),
            ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave\n"),
        ]);
        let mut findings = Vec::new();
        isolation(&host, &[1, 2], &mut findings);
        siblings(&host, &[1, 2], &mut findings);
        governor(&host, &[1, 2], &mut findings);
        let told = warned(&findings);
        assert!(told.contains("isolated | add `isolcpus=1,2 nohz_full=1,2"), "{told}");
        assert!(!told.contains("nohz_full |"), "{told}");
        assert!(told.contains("1 and 2 share one") && told.contains("governor powersave"), "{told}");
        let mut findings = Vec::new();
        isolation(&host, &[0, 1, 2, 3], &mut findings);
        assert!(warned(&findings).starts_with("every core has a worker"));
    }
}
