//! Opens the ports of a configuration, for each worker, and closes them.

use std::sync::Arc;

use sekisho_dataplane::policy::PortId;
use sekisho_dataplane::port::packet::Receive;
use sekisho_dataplane::port::pcap::{self, Share, merge, remove_parts};
use sekisho_dataplane::port::{
    AnyDriver, MixedDriver, PacketDriver, PacketPort, PcapDriver, PcapPort, PortWatch, Route, XdpDriver,
    XdpPort,
};

use sekisho_dataplane::worker::Poll;

use super::Error;
use super::silence::Silence;
use crate::config::{Config, Driver, Port, Rate, ReceiveRing};

/// The drivers that can stand in one configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Pcap,
    Packet,
    Xdp,
}

/// Which driver serves a port.
fn kind(port: &Port) -> Result<Kind, Error> {
    let refused = |why| Err(Error::Driver { port: port.name.clone(), why });
    match port.driver {
        Driver::Pcap { .. } => Ok(Kind::Pcap),
        Driver::Packet { .. } => Ok(Kind::Packet),
        Driver::Xdp { .. } => Ok(Kind::Xdp),
        Driver::Memory => refused(
            "driver \"memory\" is for tests and benches, nothing would ever arrive; use \"pcap\" or \"packet\", or \
             give captures to `sekisho replay`",
        ),
        Driver::Dpdk { .. } => refused("this build has no driver \"dpdk\" yet; use driver \"packet\""),
    }
}

/// Refuses what this build can't run, before anything is touched.
pub(super) fn check(config: &Config) -> Result<(), Error> {
    config.ports.iter().try_for_each(|port| kind(port).map(|_| ()))
}

/// A driver for each worker. With one kind of driver it stands alone; where kinds are mixed, each worker has one of each.
pub(super) fn open(config: &Config, workers: usize, silence: &Arc<Silence>) -> Result<Vec<AnyDriver>, Error> {
    let kinds = config.ports.iter().map(kind).collect::<Result<Vec<Kind>, Error>>()?;
    let mut present: Vec<Kind> = Vec::new();
    for kind in &kinds {
        if !present.contains(kind) {
            present.push(*kind);
        }
    }
    let mut columns = Vec::with_capacity(present.len());
    for kind in &present {
        columns.push(match kind {
            Kind::Pcap => open_pcap(config, workers)?,
            Kind::Packet => open_packet(config, workers, silence)?,
            Kind::Xdp => open_xdp(config, workers, silence)?,
        });
    }
    if columns.len() == 1 {
        return Ok(columns.remove(0));
    }
    let routes = routes(&kinds, &present);
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    let row = |_| {
        let drivers = columns.iter_mut().filter_map(Iterator::next).collect();
        AnyDriver::Mixed(MixedDriver::new(drivers, routes.clone()))
    };
    Ok((0..workers).map(row).collect())
}

/// Each driver numbers its own ports, in the order of the configuration.
fn routes(kinds: &[Kind], present: &[Kind]) -> Vec<Route> {
    let route = |(at, kind): (usize, &Kind)| {
        let port = kinds[..at].iter().filter(|other| *other == kind).count();
        let driver = present.iter().position(|other| other == kind).unwrap_or(0);
        Route { driver, port: PortId(port as u8) }
    };
    kinds.iter().enumerate().map(route).collect()
}

fn open_pcap(config: &Config, workers: usize) -> Result<Vec<AnyDriver>, Error> {
    let ports = captures(config);
    let open = |worker| Ok(AnyDriver::Pcap(PcapDriver::open(&ports, Share { worker, workers })?));
    (0..workers).map(open).collect()
}

fn open_packet(config: &Config, workers: usize, silence: &Arc<Silence>) -> Result<Vec<AnyDriver>, Error> {
    let ports = config.ports.iter().filter_map(|port| match &port.driver {
        Driver::Packet { device, receive } => Some(PacketPort {
            receive: match receive {
                ReceiveRing::Blocks => Receive::Blocks,
                ReceiveRing::Slots => Receive::Slots,
            },
            before: silence.before(device),
            ..PacketPort::new(device)
        }),
        _ => None,
    });
    let ports: Vec<PacketPort> = ports.collect();
    Ok(PacketDriver::open(&ports, workers)?.into_iter().map(AnyDriver::Packet).collect())
}

fn open_xdp(config: &Config, workers: usize, silence: &Arc<Silence>) -> Result<Vec<AnyDriver>, Error> {
    let ports = config.ports.iter().filter_map(|port| match &port.driver {
        Driver::Xdp { device, mode, zero_copy } => Some(XdpPort {
            mode: *mode,
            zero_copy: *zero_copy,
            // A worker that sleeps has to be woken by an interrupt.
            busy_poll: config.dataplane.poll == Poll::Busy,
            before: silence.before(device),
            ..XdpPort::new(device)
        }),
        _ => None,
    });
    let ports: Vec<XdpPort> = ports.collect();
    Ok(XdpDriver::open(&ports, workers)?.into_iter().map(AnyDriver::Xdp).collect())
}

fn captures(config: &Config) -> Vec<PcapPort> {
    let ports = config.ports.iter().filter_map(|port| match &port.driver {
        Driver::Pcap { read, write, rate } => Some(PcapPort {
            read: read.clone(),
            write: write.clone(),
            rate: match rate {
                Rate::AsFastAsPossible => pcap::Rate::AsFastAsPossible,
                Rate::Capture => pcap::Rate::Capture,
            },
        }),
        _ => None,
    });
    ports.collect()
}

/// By port: what a worker's driver shows of it.
pub(super) fn watches(driver: &AnyDriver, ports: usize) -> Vec<Option<PortWatch>> {
    let all = (0..ports).map(|port| PortId(port as u8));
    match driver {
        AnyDriver::Packet(driver) => all.map(|port| Some(driver.watch(port))).collect(),
        AnyDriver::Xdp(driver) => all.map(|port| Some(driver.watch(port))).collect(),
        AnyDriver::Mixed(mixed) => all
            .map(|port| match mixed.driver_of(port) {
                (AnyDriver::Packet(driver), port) => Some(driver.watch(port)),
                (AnyDriver::Xdp(driver), port) => Some(driver.watch(port)),
                _ => None,
            })
            .collect(),
        AnyDriver::Pcap(_) | AnyDriver::Memory(_) => vec![None; ports],
    }
}

/// Closes what the workers wrote; says which captures ended inside a packet. Each worker reads each capture, and says
/// the same.
pub(super) fn close(drivers: Vec<AnyDriver>) -> Result<Vec<String>, Error> {
    let mut said = Vec::new();
    let mut fault = None;
    for driver in drivers {
        match close_one(driver) {
            Ok(said_by_one) if said.is_empty() => said = said_by_one,
            Ok(_) => {}
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    fault.map_or(Ok(said), Err)
}

fn close_one(driver: AnyDriver) -> Result<Vec<String>, Error> {
    match driver {
        AnyDriver::Pcap(driver) => Ok(driver.finish()?.iter().map(ToString::to_string).collect()),
        AnyDriver::Mixed(mixed) => {
            let mut said = Vec::new();
            for driver in mixed.into_drivers() {
                said.extend(close_one(driver)?);
            }
            Ok(said)
        }
        AnyDriver::Packet(_) | AnyDriver::Xdp(_) | AnyDriver::Memory(_) => Ok(Vec::new()),
    }
}

/// Puts together what the workers wrote: all that can be, and then tells of the first that could not.
pub(super) fn put_together(config: &Config, workers: usize) -> Result<(), Error> {
    let mut fault = None;
    for port in captures(config) {
        if let Some(path) = &port.write
            && let Err(error) = merge(path, workers)
        {
            fault = fault.or(Some(error));
        }
    }
    fault.map_or(Ok(()), |error| Err(error.into()))
}

/// Removes what workers wrote and nobody will put together.
pub(super) fn clean_up(config: &Config, workers: usize) {
    captures(config)
        .iter()
        .filter_map(|port| port.write.as_deref())
        .for_each(|path| remove_parts(path, workers));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_driver_numbers_its_own_ports() {
        let kinds = [Kind::Packet, Kind::Pcap, Kind::Packet, Kind::Pcap];
        let route = |driver, port| Route { driver, port: PortId(port) };
        assert_eq!(
            routes(&kinds, &[Kind::Packet, Kind::Pcap]),
            [route(0, 0), route(1, 0), route(0, 1), route(1, 1)]
        );
    }
}
