//! Makes the twins of a router's ports, at the start and when one was deleted.

use std::io;

use ipnetwork::IpNetwork;
use sekisho_dataplane::policy::PortId;
use sekisho_dataplane::route::Mac;

use super::Error;
use super::silence::index_of;
use crate::config::Config;
use crate::netlink::Interfaces;
use crate::routing;
use crate::twin::{Tap, Twin, vlan_name};

/// What a configuration says of a port's twin.
#[derive(Clone, Debug)]
pub(super) struct Design {
    port: PortId,
    port_name: String,
    name: String,
    mac: Mac,
    mtu: u16,
    addresses: Vec<IpNetwork>,
    /// Their tags and addresses.
    vlans: Vec<(u16, Vec<IpNetwork>)>,
}

/// What a configuration says of all twins; where the kernel's routes are not mirrored there are none.
pub(super) fn designs(config: &Config) -> Vec<Design> {
    let ports = config.ports.iter().enumerate().filter(|_| config.mirrors_kernel());
    let design = |(at, port): (usize, &crate::config::Port)| {
        let (mac, mtu) = routing::mac_and_mtu(at, port, routing::device(port));
        let vlans = port.router.vlans.iter().map(|vlan| (vlan.id, vlan.addresses.clone()));
        Some(Design {
            port: PortId(at as u8),
            port_name: port.name.clone(),
            name: port.router.twin.clone()?,
            mac,
            mtu,
            addresses: port.router.addresses.clone(),
            vlans: vlans.collect(),
        })
    };
    ports.filter_map(design).collect()
}

impl Design {
    /// Its port.
    pub(super) fn port(&self) -> PortId {
        self.port
    }

    /// Makes the twin, with its MAC, MTU, addresses and VLANs. What is there already is taken.
    ///
    /// # Errors
    /// When it can't be made, or does not take what the configuration gives it.
    pub(super) fn make(&self) -> Result<Twin, Error> {
        let name = &self.name;
        let failed = |what: &str, error: io::Error| Error::Twin {
            port: self.port_name.clone(),
            why: format!("{what} {name}: {error}"),
        };
        let mut interfaces = Interfaces::open().map_err(|error| failed("no netlink socket for", error))?;
        let tap = Tap::open(name).map_err(|error| failed("can't make", error))?;
        let index = index_of(name).map_err(|error| failed("can't find", error))?;
        interfaces
            .set_up(index, self.mac, u32::from(self.mtu))
            .map_err(|error| failed("can't set up", error))?;
        for network in &self.addresses {
            interfaces
                .add_address(index, *network)
                .map_err(|error| failed(&format!("can't give {network} to"), error))?;
        }
        for (tag, addresses) in &self.vlans {
            let on_it = vlan_interface(&mut interfaces, index, *tag, &vlan_name(name, *tag))
                .map_err(|error| failed(&format!("can't make {} on", vlan_name(name, *tag)), error))?;
            for network in addresses {
                interfaces
                    .add_address(on_it, *network)
                    .map_err(|error| failed(&format!("can't give {network} to VLAN {tag} of"), error))?;
            }
        }
        Ok(Twin { port: self.port, name: name.clone(), tap })
    }
}

/// Whoever made the VLAN before may have named it otherwise; and what has its name may be another's.
fn vlan_interface(interfaces: &mut Interfaces, below: u32, tag: u16, name: &str) -> io::Result<u32> {
    if let Some(index) = interfaces.vlan_on(below, tag)? {
        return Ok(index);
    }
    interfaces.add_vlan(below, tag, name)?;
    index_of(name)
}
