//! Makes the twins of a router's ports, and takes back what was changed on the host for them.

use std::io;

use sekisho_dataplane::policy::PortId;

use super::Error;
use crate::config::{Config, Driver, Port};
use crate::netlink::Interfaces;
use crate::routing;
use crate::twin::{Tap, Twin};

/// Devices that the kernel does not hear while this is there.
#[derive(Debug, Default)]
pub(super) struct Silenced(Vec<u32>);

impl Drop for Silenced {
    fn drop(&mut self) {
        let Ok(mut interfaces) = Interfaces::open() else { return };
        for index in &self.0 {
            // A device that is gone hears nothing anyway.
            let _ = interfaces.hear(*index);
        }
    }
}

/// Makes the twins that a configuration names, with their MACs, MTUs, addresses and VLANs, and has the kernel hear the
/// ports through them alone. What it can't be kept from hearing is told.
///
/// # Errors
/// When one can't be made, or does not take what the configuration gives it.
pub(super) fn open(config: &Config, warn: impl Fn(&str)) -> Result<(Vec<Twin>, Silenced), Error> {
    let mut twins = Vec::new();
    let mut silenced = Silenced::default();
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
        silence(&mut interfaces, port, &mut silenced, &warn);
        twins.push(Twin { port: PortId(at as u8), name: name.clone(), tap, index });
    }
    Ok((twins, silenced))
}

fn vlan_interface(interfaces: &mut Interfaces, below: u32, tag: u16, name: &str) -> io::Result<u32> {
    if let Ok(index) = index_of(name) {
        return Ok(index);
    }
    interfaces.add_vlan(below, tag, name)?;
    index_of(name)
}

fn silence(interfaces: &mut Interfaces, port: &Port, silenced: &mut Silenced, warn: &impl Fn(&str)) {
    let (Driver::Packet { device, .. } | Driver::Xdp { device, .. }) = &port.driver else { return };
    match index_of(device).and_then(|index| interfaces.silence(index).map(|()| index)) {
        Ok(index) => silenced.0.push(index),
        Err(error) => warn(&format!(
            "port {}: the kernel can't be kept from hearing {device} as well ({error}): it must have no addresses, and \
             net.ipv4.conf.{device}.forwarding must be 0; see `sekisho doctor`",
            port.name
        )),
    }
}

fn index_of(name: &str) -> io::Result<u32> {
    nix::net::if_::if_nametoindex(name).map_err(io::Error::from)
}
