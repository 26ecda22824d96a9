//! What `check` says of a configuration that is right in itself and would not run, or not here. It may well be meant
//! for another host, so it is said and nothing is refused.

use crate::config::{Config, Driver};
use crate::cores;

/// In words, one sentence each.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    for port in &config.ports {
        match &port.driver {
            Driver::Xdp { .. } => warnings.push(format!(
                "port {}: this build has no driver \"xdp\" yet, `run` refuses it; use driver \"packet\"",
                port.name
            )),
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
    if let Err(error) = cores::choose(config.dataplane.cores.as_deref()) {
        warnings.push(format!("on this host, {error}"));
    }
    warnings
}
