//! What each of the daemon's threads may do, once its ports are open.
//!
//! Started as root or with capabilities (capabilities(7)), the daemon opens its socket, files and ports with what it was
//! given. Then it lets go:
//!
//! | thread | keeps | why |
//! |---|---|---|
//! | workers, and those that they have open a port again | what the configured drivers need ([`of_driver`]), and of root's, `IPC_LOCK` for driver `xdp` | an interface that was removed comes back |
//! | tables | of root's, `DAC_READ_SEARCH`; `DAC_OVERRIDE` where the state folder is another user's | a reload reads the files that were read at the start, and what has begun is written down |
//! | control (the socket's clients, signals, the clock) | nothing; `DAC_OVERRIDE` of root's if captures are written, until they are put together; `NET_ADMIN` in route mode; `NET_BIND_SERVICE` if metrics have a port below 1024 | what the kernel was kept from hearing is given back at the end; a metrics' address that was in use is tried again |
//! | readers | as tables | a dry run reads those files too |
//! | grants | `DAC_OVERRIDE` of root's where the state folder is another user's | they are written down |
//! | metrics | what control keeps | |
//! | twins | `NET_ADMIN` | the kernel is asked for the MACs that workers miss |
//! | the kernel's routes | nothing; `NET_ADMIN` if the kernel's routes are mirrored | neighbours are asked for by rtnetlink(7), and ports' devices that come back are kept from the kernel |
//!
//! Nobody keeps what a thread was not given, nothing can be gained again (`no_new_privs`, an empty bounding set where the
//! daemon may empty it), and nothing is inherited by a program that is started, of which there is none.
//! What stays with a thread is in the kernel's credentials of that thread: a client of the control socket, or who
//! scrapes metrics, talks to one that has none, but for what the table says.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::config::{Config, Driver};

/// What opening a port of a driver takes, at the start and when its interface has come back.
fn of_driver(driver: &Driver) -> CapabilitySet {
    match driver {
        Driver::Pcap { .. } | Driver::Memory => CapabilitySet::empty(),
        // RAW for packet sockets (packet(7)); ADMIN for SO_SNDBUFFORCE: with the system's send buffer
        // (net.core.wmem_max) a transmit ring is sent in pieces.
        Driver::Packet { .. } => CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN,
        // RAW for AF_XDP sockets; BPF to load the program, ADMIN to attach it and to set features and queues (bpf(2)).
        Driver::Xdp { .. } => CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN | CapabilitySet::BPF,
        // Not in this build.
        Driver::Dpdk { .. } => CapabilitySet::empty(),
    }
}

/// What all ports of a configuration need.
pub(crate) fn of_ports(config: &Config) -> CapabilitySet {
    let ports = config.ports.iter().map(|port| of_driver(&port.driver));
    ports.fold(CapabilitySet::empty(), CapabilitySet::union)
}

/// What workers keep of it, to open a port again. Frames of driver `xdp` are locked in memory once more where all interfaces
/// of a worker were gone, and that takes IPC_LOCK where the limit is small (RLIMIT_MEMLOCK); it was not missing at the start.
pub(crate) fn of_workers(config: &Config) -> CapabilitySet {
    let locks = config.ports.iter().any(|port| matches!(port.driver, Driver::Xdp { .. }));
    of_ports(config) | if locks { CapabilitySet::IPC_LOCK } else { CapabilitySet::empty() }
}

/// What writing into the state folder takes of root's power over files.
pub(super) fn of_state(config: &Config) -> CapabilitySet {
    let own = rustix::process::geteuid().as_raw();
    let foreign = config.state().is_some_and(|folder| fs::metadata(folder).is_ok_and(|at| at.uid() != own));
    if foreign { CapabilitySet::DAC_OVERRIDE } else { CapabilitySet::empty() }
}

/// What the tables' thread keeps of it: files are read again as well.
pub(super) fn of_tables(config: &Config) -> CapabilitySet {
    of_state(config) | CapabilitySet::DAC_READ_SEARCH
}

/// What the control thread keeps.
pub(super) fn of_control(config: &Config) -> CapabilitySet {
    let writes = config.ports.iter().any(|port| matches!(port.driver, Driver::Pcap { write: Some(_), .. }));
    let low_port = config.metrics.listen.is_some_and(|address| address.port() < 1024);
    let if_so = |so, capability| if so { capability } else { CapabilitySet::empty() };
    if_so(writes, CapabilitySet::DAC_OVERRIDE)
        | if_so(low_port, CapabilitySet::NET_BIND_SERVICE)
        | if_so(config.holds_ports(), CapabilitySet::NET_ADMIN)
}

/// What the thread keeps that follows the kernel's routes.
pub(super) fn of_kernel(mirrors: bool) -> CapabilitySet {
    if mirrors { CapabilitySet::NET_ADMIN } else { CapabilitySet::empty() }
}

/// Has this thread, and all that it starts from now on, gain nothing.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn gain_nothing() -> io::Result<()> {
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // Beyond the last one that the kernel has, it says so.
        let Ok(is_there) = capability_is_in_bounding_set(capability) else { break };
        match remove_capability_from_bounding_set(capability) {
            // Only who has CAP_SETPCAP may: else it is what the unit made it.
            Err(rustix::io::Errno::PERM) => break,
            done if is_there => done?,
            _ => {}
        }
    }
    Ok(())
}

/// Has the calling thread keep of its capabilities what is among `wanted`, and no other.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn keep(wanted: CapabilitySet) -> io::Result<()> {
    let left = capabilities(None)?.permitted.intersection(wanted);
    let sets = CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(driver: &str) -> Config {
        let text = format!(
            "[[port]]\nname = \"a\"\nrole = \"subscriber\"\npeer = \"b\"\n{driver}\n\
             [[port]]\nname = \"b\"\nrole = \"internet\"\npeer = \"a\"\ndriver = \"memory\"\n"
        );
        Config::from_toml(&text, Path::new("/nowhere/s.toml")).unwrap()
    }

    #[test]
    fn what_is_kept_follows_from_the_drivers() {
        assert!(of_ports(&config("driver = \"memory\"")).is_empty());
        let packet = of_ports(&config("driver = \"packet\"\ndevice = \"eth1\""));
        assert_eq!(packet, CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN);
        let xdp = of_ports(&config("driver = \"xdp\"\ndevice = \"eth1\""));
        assert_eq!(xdp, packet | CapabilitySet::BPF);
        let kept = of_workers(&config("driver = \"xdp\"\ndevice = \"eth1\""));
        assert_eq!(kept, xdp | CapabilitySet::IPC_LOCK);
        assert_eq!(of_workers(&config("driver = \"packet\"\ndevice = \"eth1\"")), packet);
        assert!(of_control(&config("driver = \"pcap\"\nread = \"a.pcap\"")).is_empty());
        let written = of_control(&config("driver = \"pcap\"\nwrite = \"a.pcap\""));
        assert_eq!(written, CapabilitySet::DAC_OVERRIDE);
    }

    #[test]
    fn a_thread_lets_go_for_itself_alone() {
        let before = capabilities(None).unwrap();
        let inside = std::thread::spawn(|| {
            gain_nothing().unwrap();
            keep(CapabilitySet::NET_RAW).unwrap();
            let kept = capabilities(None).unwrap();
            assert!(kept.permitted.difference(CapabilitySet::NET_RAW).is_empty());
            keep(CapabilitySet::all()).unwrap();
            capabilities(None).unwrap().permitted == kept.permitted && rustix::thread::no_new_privs().unwrap()
        });
        assert!(inside.join().unwrap(), "nothing comes back");
        assert_eq!(capabilities(None).unwrap(), before);
    }
}
