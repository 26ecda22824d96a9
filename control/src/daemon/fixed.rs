//! What can't change while the daemon runs: it was built into the workers when they started.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::config::{Config, Driver, Health, HealthCheck, ReceiveRing, RouterPort};
use crate::words;

/// What of `new` would need a restart, in words; none if it can be reloaded.
pub(super) fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut changes = Changes(Vec::new());
    let (was, is) = (&old.dataplane, &new.dataplane);
    changes.note("[dataplane] mode", words::mode(was.mode), words::mode(is.mode));
    changes.note("[dataplane] cores", cores(was.cores.as_deref()), cores(is.cores.as_deref()));
    changes.note("[dataplane] batch", was.batch, is.batch);
    changes.note("[dataplane] poll", words::poll(was.poll), words::poll(is.poll));
    ports(&mut changes, old, new);
    if old.mirrors_kernel() || new.mirrors_kernel() {
        twins(&mut changes, old, new);
    }
    let (was, is) = (&old.limits, &new.limits);
    changes.note("[limits] fragments", was.fragments, is.fragments);
    changes.note("[limits] fragments-per-source", was.fragments_per_source, is.fragments_per_source);
    changes.note(
        "[limits] fragment-lifetime",
        micros(was.fragment_lifetime_micros),
        micros(is.fragment_lifetime_micros),
    );
    changes.note("[limits] reject-burst", was.reject_burst, is.reject_burst);
    changes.note(
        "[limits] reject-interval",
        micros(was.reject_interval_micros),
        micros(is.reject_interval_micros),
    );
    changes.note("[limits] reject-per-second", was.reject_per_second, is.reject_per_second);
    changes.note("[limits] icmp-burst", was.icmp_burst, is.icmp_burst);
    changes.note("[limits] icmp-interval", micros(was.icmp_interval_micros), micros(is.icmp_interval_micros));
    changes.note("[limits] icmp-per-second", was.icmp_per_second, is.icmp_per_second);
    changes.note("[control] socket", path(old.socket()), path(new.socket()));
    let group = |config: &Config| config.control.group.clone().unwrap_or_else(|| "the daemon's".into());
    changes.note("[control] group", group(old), group(new));
    changes.note("[control] state", path(old.state()), path(new.state()));
    let listen = |config: &Config| config.metrics.listen.map_or("none".into(), |listen| listen.to_string());
    changes.note("[affected] customers", old.affected.customers, new.affected.customers);
    changes.note("[metrics] listen", listen(old), listen(new));
    changes.0
}

struct Changes(Vec<String>);

impl Changes {
    fn note<T: Display + PartialEq>(&mut self, what: impl Display, was: T, is: T) {
        if was != is {
            self.0.push(format!("{what}: {was} → {is}"));
        }
    }
}

fn ports(changes: &mut Changes, old: &Config, new: &Config) {
    let names = |config: &Config| {
        let names: Vec<&str> = config.ports.iter().map(|port| port.name.as_str()).collect();
        names.join(", ")
    };
    if names(old) != names(new) {
        changes.note("[[port]]", names(old), names(new));
        return;
    }
    for (was, is) in old.ports.iter().zip(&new.ports) {
        let peer = |config: &Config, peer: Option<usize>| {
            peer.map_or("none".into(), |peer| config.ports[peer].name.clone())
        };
        let name = &was.name;
        changes.note(format!("port {name}: role"), words::role(was.role), words::role(is.role));
        changes.note(format!("port {name}: peer"), peer(old, was.peer), peer(new, is.peer));
        drivers(changes, name, &was.driver, &is.driver);
        changes.note(format!("port {name}: health"), health(was.health.as_ref()), health(is.health.as_ref()));
    }
}

/// Twins are made at the start. What a port without one is said to be takes effect, as its links are said again.
fn twins(changes: &mut Changes, old: &Config, new: &Config) {
    changes.note("[routing] kernel", old.routing.kernel, new.routing.kernel);
    for (was, is) in old.ports.iter().zip(&new.ports).filter(|(was, is)| was.name == is.name) {
        let name = &was.name;
        let (was, is) = (&was.router, &is.router);
        let twin = |router: &RouterPort| router.twin.clone().unwrap_or_else(|| "none".into());
        changes.note(format!("port {name}: twin"), twin(was), twin(is));
        if was.twin.is_none() || is.twin.is_none() {
            continue;
        }
        let mac = |router: &RouterPort| {
            let bytes = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
            router.mac.map_or("the device's".into(), bytes)
        };
        let mtu = |router: &RouterPort| router.mtu.map_or("the device's".into(), |mtu| mtu.to_string());
        changes.note(format!("port {name}: mac"), mac(was), mac(is));
        changes.note(format!("port {name}: mtu"), mtu(was), mtu(is));
        changes.note(format!("port {name}: addresses"), listed(&was.addresses), listed(&is.addresses));
        let vlans = |router: &RouterPort| {
            let vlans = router.vlans.iter().map(|vlan| format!("{} {}", vlan.id, listed(&vlan.addresses)));
            listed(&vlans.collect::<Vec<_>>())
        };
        changes.note(format!("port {name}: vlans"), vlans(was), vlans(is));
    }
}

fn listed(all: &[impl Display]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    format!("[{}]", all.join(", "))
}

fn drivers(changes: &mut Changes, name: &str, was: &Driver, is: &Driver) {
    changes.note(format!("port {name}: driver"), driver(was), driver(is));
    let (
        Driver::Pcap { read: old_read, write: old_write, rate: old_rate },
        Driver::Pcap { read, write, rate },
    ) = (was, is)
    else {
        return;
    };
    changes.note(format!("port {name}: read"), path(old_read.as_deref()), path(read.as_deref()));
    changes.note(format!("port {name}: write"), path(old_write.as_deref()), path(write.as_deref()));
    changes.note(format!("port {name}: rate"), words::rate(*old_rate), words::rate(*rate));
}

fn driver(driver: &Driver) -> String {
    match driver {
        Driver::Pcap { .. } => "pcap".into(),
        Driver::Memory => "memory".into(),
        Driver::Packet { device, receive: ReceiveRing::Blocks } => format!("packet {device}"),
        Driver::Packet { device, receive: ReceiveRing::Slots } => format!("packet {device} in slots"),
        Driver::Xdp { device, mode, zero_copy } => {
            let (mode, zero_copy) = (words::xdp_mode(*mode), words::zero_copy(*zero_copy));
            format!("xdp {device}, mode {mode}, zero-copy {zero_copy}")
        }
        Driver::Dpdk { device } => format!("dpdk {device}"),
    }
}

fn health(health: Option<&Health>) -> String {
    let Some(Health { check, address, tcp_port, source, vlan, interval_micros, fail_after }) = health else {
        return "none".into();
    };
    let port = if *check == HealthCheck::Tcp { format!(" port {tcp_port}") } else { String::new() };
    let source = source.map_or(String::new(), |source| format!(" from {source}"));
    let vlan = vlan.map_or(String::new(), |vlan| format!(" in VLAN {vlan}"));
    let interval = micros(*interval_micros);
    let check = words::health_check(*check);
    format!("{check} {address}{port}{source}{vlan}, every {interval}, down after {fail_after}")
}

fn cores(cores: Option<&[usize]>) -> String {
    cores.map_or("default".into(), listed)
}

fn micros(micros: u64) -> String {
    crate::config::format_duration(micros)
}

/// The same file has the same name here, whether the configuration was named by a relative path or not.
fn path(path: Option<&Path>) -> String {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    path.map_or("none".into(), |path| absolute(path).display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = r#"
        [dataplane]
        cores = [0]
        [[port]]
        name = "a"
        role = "subscriber"
        peer = "b"
        driver = "pcap"
        read = "in.pcap"
        [[port]]
        name = "b"
        role = "internet"
        peer = "a"
        driver = "packet"
        device = "eth1"
    "#;

    fn config(text: &str, path: &str) -> Config {
        Config::from_toml(text, Path::new(path)).unwrap_or_else(|error| panic!("{error}"))
    }

    fn told(old: &str, new: &str) -> Vec<String> {
        let base = config(BASE, "/etc/s.toml");
        assert!(BASE.contains(old));
        changes(&base, &config(&BASE.replacen(old, new, 1), "/etc/s.toml"))
    }

    #[test]
    fn what_workers_are_made_of_needs_a_restart_and_is_told_with_both_values() {
        assert_eq!(told("cores = [0]", "cores = [0, 1]"), ["[dataplane] cores: [0] → [0, 1]"]);
        assert_eq!(told("cores = [0]", "cores = [0]\nbatch = 8"), ["[dataplane] batch: 64 → 8"]);
        assert_eq!(told("eth1", "eth2"), ["port b: driver: packet eth1 → packet eth2"]);
        assert_eq!(told("\"internet\"", "\"servers\""), ["port b: role: internet → servers"]);
        assert_eq!(
            told("[[port]]", "[limits]\nfragments = 9\nfragment-lifetime = \"90s\"\n[[port]]"),
            ["[limits] fragments: 65536 → 9", "[limits] fragment-lifetime: 2m → 1m30s"]
        );
        assert_eq!(told("in.pcap", "other.pcap"), ["port a: read: /etc/in.pcap → /etc/other.pcap"]);
        assert_eq!(
            told("read = \"in.pcap\"", "read = \"in.pcap\"\nrate = \"capture\""),
            ["port a: rate: as-fast-as-possible → capture"]
        );
        let more = "[[port]]\nname = \"f\"\nrole = \"filter\"\ndriver = \"memory\"\n[[port]]";
        assert_eq!(told("[[port]]", more), ["[[port]]: a, b → f, a, b"]);
    }

    #[test]
    fn the_check_of_a_filter_is_told_in_the_configurations_words() {
        let filter = |health: &str| {
            let port = "[[port]]\nname = \"f\"\nrole = \"filter\"\ndriver = \"memory\"\n";
            config(&format!("{BASE}{port}health = {{ {health} }}\n"), "/etc/s.toml")
        };
        let arp = filter("check = \"arp\", address = \"192.0.2.9\"");
        let tcp = filter("check = \"tcp\", address = \"192.0.2.9\", source = \"192.0.2.8\", vlan = 7");
        let [told] = &changes(&arp, &tcp)[..] else { panic!("one change") };
        assert!(told.starts_with("port f: health: arp 192.0.2.9, every "), "{told}");
        assert!(told.contains(" → tcp 192.0.2.9 port 25 from 192.0.2.8 in VLAN 7, every "), "{told}");
    }

    #[test]
    fn tables_policies_and_depths_do_not() {
        let more = "[sets]\ns = [\"192.0.2.1/32\"]\n[[policy]]\nname = \"p\"\n[[pool]]\nname = \"q\"\npolicy = \"p\"\n\
                    prefixes = [\"198.51.100.0/24\"]\n[limits]\nl2-headers = 2\n[checks]\nsource-validation = \"off\"\n\
                    [[port]]";
        assert_eq!(told("[[port]]", more), Vec::<String>::new());
    }

    const ROUTER: &str = r#"
        [dataplane]
        mode = "route"
        cores = [0]
        [[port]]
        name = "a"
        role = "subscriber"
        driver = "memory"
        mac = "02:00:00:00:00:01"
        addresses = ["192.0.2.1/24"]
        vlans = [{ id = 7 }]
        twin = "sk-a"
        [[port]]
        name = "b"
        role = "internet"
        driver = "memory"
        mac = "02:00:00:00:00:02"
        addresses = ["198.51.100.1/24"]
    "#;

    #[test]
    fn what_a_twin_was_made_with_needs_a_restart_and_what_a_port_without_one_has_does_not() {
        let told = |old: &str, new: &str| {
            assert!(ROUTER.contains(old));
            let new = config(&ROUTER.replacen(old, new, 1), "/etc/s.toml");
            changes(&config(ROUTER, "/etc/s.toml"), &new)
        };
        for (old, new, change) in [
            ("02:00:00:00:00:01", "02:00:00:00:00:11", "mac: 02:00:00:00:00:01 → 02:00:00:00:00:11"),
            ("twin = \"sk-a\"", "twin = \"sk-a\"\nmtu = 1400", "mtu: the device's → 1400"),
            ("\"192.0.2.1/24\"", "\"192.0.2.2/24\"", "addresses: [192.0.2.1/24] → [192.0.2.2/24]"),
            ("{ id = 7 }", "{ id = 8 }", "vlans: [7 []] → [8 []]"),
            (
                "{ id = 7 }",
                "{ id = 7, addresses = [\"203.0.113.1/24\"] }",
                "vlans: [7 []] → [7 [203.0.113.1/24]]",
            ),
            ("twin = \"sk-a\"", "twin = \"sk-b\"", "twin: sk-a → sk-b"),
        ] {
            assert_eq!(told(old, new), [format!("port a: {change}")]);
        }
        assert_eq!(
            told("        [[port]]", "[routing]\nkernel = false\n[[port]]"),
            ["[routing] kernel: true → false"]
        );
        assert_eq!(told("02:00:00:00:00:02", "02:00:00:00:00:12"), Vec::<String>::new());
        assert_eq!(told("198.51.100.1/24", "198.51.100.2/24"), Vec::<String>::new());
        let more = "[[route]]\nto = \"10.0.0.0/8\"\nkind = \"blackhole\"\n        [[port]]";
        assert_eq!(told("        [[port]]", more), Vec::<String>::new());
    }

    #[test]
    fn a_file_named_by_another_path_is_the_same_file() {
        let here = std::env::current_dir().unwrap().join("s.toml");
        let (relative, absolute) = (config(BASE, "s.toml"), config(BASE, &here.display().to_string()));
        assert_eq!(changes(&relative, &absolute), Vec::<String>::new());
    }
}
