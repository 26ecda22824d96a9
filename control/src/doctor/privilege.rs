//! What this process may do, and how `run` gets what it needs.

use rustix::thread::CapabilitySet;

use super::{Finding, Host};
use crate::config::Config;
use crate::daemon::privilege::of_ports;

const SUBJECT: &str = "privilege";
const NAMES: [(&str, CapabilitySet); 3] = [
    ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN),
    ("CAP_NET_RAW", CapabilitySet::NET_RAW),
    ("CAP_BPF", CapabilitySet::BPF),
];

pub(super) fn examine(host: &Host, config: Option<&Config>, findings: &mut Vec<Finding>) {
    if config.is_some_and(|config| !config.is_live()) {
        findings.push(Finding::ok(SUBJECT, "captures need none"));
        return;
    }
    let effective =
        host.field("/proc/self/status", "CapEff").and_then(|text| u64::from_str_radix(&text, 16).ok());
    let Some(effective) = effective else { return };
    // Without a configuration, those of the driver that takes any interface.
    let needed = config.map_or(CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW, of_ports);
    let lacks = needed.difference(CapabilitySet::from_bits_retain(effective));
    let named = |set: CapabilitySet| -> Vec<&str> {
        NAMES.iter().filter(|(_, one)| set.contains(*one)).map(|(name, _)| *name).collect()
    };
    let missing = named(lacks);
    findings.push(match missing.is_empty() {
        true => Finding::ok(SUBJECT, format!("{} are there", named(needed).join(" and "))),
        // Doctor itself needs none; whoever starts the daemon does.
        false => Finding::warn(
            SUBJECT,
            format!("started like this, `run` would lack {}", missing.join(" and ")),
            "opening ports takes them; what else there is, the daemon lets go",
            "systemctl start sekisho    # its unit has them; or: sudo sekisho run -c FILE",
        ),
    });
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Level;
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        for (bits, level, told) in [
            ("0000000000003000", Level::Ok, "are there"),
            ("0000000000002000", Level::Warn, "lack CAP_NET_ADMIN"),
            ("0000000000000000", Level::Warn, "CAP_NET_ADMIN and CAP_NET_RAW"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("proc/self")).unwrap();
            fs::write(folder.path().join("proc/self/status"), format!("Name:\tx\nCapEff:\t{bits}\n"))
                .unwrap();
            let mut findings = Vec::new();
            examine(&Host::at(folder.path()), None, &mut findings);
            assert!(findings[0].level == level && findings[0].found.contains(told), "{findings:?}");
        }
    }
}
