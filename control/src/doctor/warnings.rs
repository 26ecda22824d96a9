//! What `check` says of a configuration that is right in itself and would not run, or not here. It may well be meant
//! for another host, so it is said and nothing is refused.

use super::Host;
use super::host::list;
use crate::config::{Config, Driver};

/// In words, one sentence each.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for port in &config.ports {
        match &port.driver {
            Driver::Dpdk { .. } => warnings.push(format!(
                "port {}: this build has no driver \"dpdk\" yet, `run` refuses it; use driver \"packet\"",
                port.name
            )),
            Driver::Pcap { read: Some(path), .. } if !path.exists() => {
                warnings.push(format!(
                    "port {}: there is no file {} on this host",
                    port.name,
                    path.display()
                ));
            }
            _ => {}
        }
    }
    if let Some(group) = &config.control.group
        && group.parse::<u32>().is_err()
        && !nix::unistd::Group::from_name(group).is_ok_and(|group| group.is_some())
    {
        warnings.push(format!("`group`: there is no group {group} on this host; addgroup --system {group}"));
    }
    // What is there, not what this thread may use: the daemon's keep off the workers' cores.
    let online = list(&Host::this().text("/sys/devices/system/cpu/online").unwrap_or_default());
    let missing = config.dataplane.cores.iter().flatten().filter(|core| !online.contains(core));
    if !online.is_empty() {
        warnings.extend(missing.map(|core| format!("`cores`: there is no core {core} on this host")));
    }
    warnings
}
