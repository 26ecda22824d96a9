//! What `check` says of a configuration that is right in itself and would not run, or not here. It may well be meant
//! for another host, so it is said and nothing is refused.

use super::Host;
use super::host::list;
use super::ports::{addresses_of, is_link_local};
use crate::config::{Config, Driver, Mode};

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
            Driver::Packet { device, .. } | Driver::Xdp { device, .. }
                if !Host::this().exists(&format!("/sys/class/net/{device}")) =>
            {
                warnings.push(format!("port {}: there is no interface {device} on this host", port.name));
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
    warnings.extend(addresses(config));
    warnings
}

/// Ports' devices that have addresses of this host, which would answer there itself; `run` says so as well.
pub fn addresses(config: &Config) -> Vec<String> {
    let devices = config.ports.iter().filter_map(|port| Some((&port.name, port.driver.device()?)));
    let told = devices.filter_map(|(port, device)| {
        let own = addresses_of(device).into_iter().filter(|address| !is_link_local(*address));
        let own: Vec<String> = own.map(|address| address.to_string()).collect();
        let beside = match config.dataplane.mode {
            Mode::Bridge => "this host answers for itself there",
            Mode::Route => "routes by it lead nowhere: a router's addresses are its twin's (`addresses`)",
        };
        (!own.is_empty()).then(|| {
            format!(
                "port {port}: {device} has {} of its own, {beside}; ip address flush dev {device}",
                own.join(", ")
            )
        })
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_ports_device_with_addresses_of_this_host_is_warned_of() {
        // Every host has this one, with an address.
        let told = |mode: &str| {
            let text = format!(
                "[dataplane]\nmode = \"{mode}\"\n[[port]]\nname = \"a\"\nrole = \"subscriber\"\n\
                 driver = \"packet\"\ndevice = \"lo\"\n[[port]]\nname = \"b\"\nrole = \"internet\"\n\
                 driver = \"packet\"\ndevice = \"nodev9\"\n"
            );
            let text =
                match mode {
                    "bridge" => text
                        .replacen("device = \"lo\"", "device = \"lo\"\npeer = \"b\"", 1)
                        .replacen("device = \"nodev9\"", "device = \"nodev9\"\npeer = \"a\"", 1),
                    _ => text,
                };
            addresses(&Config::from_toml(&text, Path::new("s.toml")).unwrap())
        };
        let [route] = &told("route")[..] else { panic!("one of the two") };
        assert!(route.starts_with("port a: lo has 127.0.0.1"), "{route}");
        assert!(route.contains("its twin's") && route.ends_with("ip address flush dev lo"), "{route}");
        assert!(told("bridge")[0].contains("answers for itself"));
    }
}
