//! Makes the twins of a router's ports.

use std::io;

use sekisho_dataplane::policy::PortId;

use super::Error;
use super::silence::index_of;
use crate::config::Config;
use crate::netlink::Interfaces;
use crate::routing;
use crate::twin::{Tap, Twin};

/// Makes the twins that a configuration names, with their MACs, MTUs, addresses and VLANs.
///
/// # Errors
/// When one can't be made, or does not take what the configuration gives it.
pub(super) fn open(config: &Config) -> Result<Vec<Twin>, Error> {
    let mut twins = Vec::new();
    for (at, port) in config.ports.iter().enumerate() {
        let Some(name) = &port.router.twin else { continue };
        let failed = |what: &str, error: io::Error| Error::Twin {
            port: port.name.clone(),
            why: format!("{what} {name}: {error}"),
        };
        let mut interfaces = Interfaces::open().map_err(|error| failed("no netlink socket for", error))?;
        let tap = Tap::open(name).map_err(|error| failed("can't make", error))?;
        let index = index_of(name).map_err(|error| failed("can't find", error))?;
        let device = routing::device(port);
        let (mac, mtu) = routing::mac_and_mtu(at, port, device);
        interfaces.set_up(index, mac, u32::from(mtu)).map_err(|error| failed("can't set up", error))?;
        for network in &port.router.addresses {
            interfaces
                .add_address(index, *network)
                .map_err(|error| failed(&format!("can't give {network} to"), error))?;
        }
        for vlan in &port.router.vlans {
            let on_it = format!("{}.{}", &name[..name.len().min(10)], vlan.id);
            let index = vlan_interface(&mut interfaces, index, vlan.id, &on_it)
                .map_err(|error| failed(&format!("can't make {on_it} on"), error))?;
            for network in &vlan.addresses {
                interfaces.add_address(index, *network).map_err(|error| {
                    failed(&format!("can't give {network} to VLAN {} of", vlan.id), error)
                })?;
            }
        }
        twins.push(Twin { port: PortId(at as u8), name: name.clone(), tap, index });
    }
    Ok(twins)
}

fn vlan_interface(interfaces: &mut Interfaces, below: u32, tag: u16, name: &str) -> io::Result<u32> {
    if let Ok(index) = index_of(name) {
        return Ok(index);
    }
    interfaces.add_vlan(below, tag, name)?;
    index_of(name)
}
