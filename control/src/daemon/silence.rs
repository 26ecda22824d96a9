//! What a router's ports receive is the workers', and not the kernel's own stack's.
//!
//! A port's device is an interface of this host, which may forward (`net.ipv4.ip_forward`). The kernel would answer what is for the
//! router a second time, and forward what the policy has not judged. So it is kept from a port's device twice:
//!
//! - by a **filter** at the device's entry that drops everything, behind what packet sockets see: the kernel hears nothing of a port that has a
//!   twin. It belongs to one interface by its number, and goes with it.
//! - by a **rule** for each version of IP that throws away what comes by the device and is not for this host: it is tied to the name, so that an
//!   interface that is made or renamed later is under it before it has its first frame. What it can still do until it has the filter too
//!   is to answer for addresses of this host.
//!
//! The filter is set before anything else is opened, again as soon as the kernel tells of another interface of the name, each time
//! that a port is opened ([`Before`], and without it the port stays closed), and now and then, in case that somebody
//! has taken it off. Both outlive a daemon that is killed, and go with one that ends in order.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sekisho_dataplane::port::Before;

use super::Error;
use crate::config::{Config, Mode};
use crate::netlink::{Dirty, Interfaces, Model};

/// How often what stands is set again.
const AGAIN: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    devices: Vec<Device>,
    filtered: Mutex<Filtered>,
}

#[derive(Debug)]
struct Device {
    port: String,
    name: String,
    /// It has a twin, so that the kernel need not hear it.
    filtered: bool,
}

#[derive(Debug, Default)]
struct Filtered {
    interfaces: BTreeSet<u32>,
    ended: bool,
}

/// Ends a silence when this is dropped. Where a start comes to nothing, what was there before stays: another daemon's, which has the
/// ports, or that of one that was killed.
pub(super) struct Kept {
    silence: Arc<Silence>,
    found: bool,
    runs: bool,
}

impl Kept {
    /// The ports are this daemon's.
    pub(super) fn runs(&mut self) {
        self.runs = true;
    }
}

impl Silence {
    /// Begins it, for a router's ports; a bridge's are left as they are. What a kernel without rules can't do is told.
    ///
    /// # Errors
    /// When the kernel can't be kept from hearing a port that has a twin.
    pub(super) fn begin(config: &Config, warn: impl Fn(&str)) -> Result<(Arc<Silence>, Kept), Error> {
        let mirrors = config.mirrors_kernel();
        let ports = config.ports.iter().filter(|_| config.dataplane.mode == Mode::Route);
        let devices = ports.filter_map(|port| {
            let name = port.driver.device()?.to_owned();
            Some(Device { port: port.name.clone(), name, filtered: mirrors && port.router.twin.is_some() })
        });
        let silence = Arc::new(Silence { devices: devices.collect(), filtered: Mutex::default() });
        let mut kept = Kept { silence: Arc::clone(&silence), found: false, runs: false };
        if silence.devices.is_empty() {
            return Ok((silence, kept));
        }
        match silence.hold() {
            Ok(found) => kept.found = found,
            Err(error) => {
                // Whose the filters are that are there can't be told then.
                kept.found = true;
                warn(&format!(
                    "the kernel has no rules that keep it from forwarding what ports receive ({error}): what comes by a device between \
                     its appearance and the filter at it is forwarded where net.ipv4.ip_forward or \
                     net.ipv6.conf.all.forwarding is 1"
                ));
            }
        }
        for Device { port, name, .. } in silence.devices.iter().filter(|device| device.filtered) {
            // A device that is not there is the driver's matter.
            let Ok(index) = index_of(name) else { continue };
            silence.filter(index).map_err(|error| Error::Heard {
                port: port.clone(),
                device: name.clone(),
                why: error.to_string(),
            })?;
        }
        Ok((silence, kept))
    }

    /// What is done before the port of a device is opened.
    pub(super) fn before(self: &Arc<Self>, device: &str) -> Before {
        match self.devices.iter().any(|one| one.filtered && one.name == device) {
            true => {
                let silence = Arc::clone(self);
                Before::new(move |index| silence.filter(index))
            }
            false => Before::default(),
        }
    }

    /// Sees to interfaces that have come or are called otherwise now.
    pub(super) fn follow(&self, model: &Model, dirty: &Dirty) {
        for index in &dirty.links {
            let Some(link) = model.link(*index) else {
                // A later one with this number is another.
                self.filtered().interfaces.remove(index);
                continue;
            };
            let is_port = self.devices.iter().any(|device| device.filtered && device.name == link.name);
            if is_port && !self.filtered().interfaces.contains(index) {
                // Where this fails, opening the port does as well, which is told.
                let _ = self.filter(*index);
            }
        }
    }

    /// Sets again what stands, when it is time.
    pub(super) fn renew(&self, due: &mut Instant, now: Instant) {
        if now < *due || self.devices.is_empty() {
            return;
        }
        *due = now + AGAIN;
        // What can't be done was told at the start, and is told when a port is opened.
        let _ = self.hold();
        let known: Vec<u32> = self.filtered().interfaces.iter().copied().collect();
        for index in known {
            if self.filter(index).is_err() {
                self.filtered().interfaces.remove(&index);
            }
        }
    }

    fn filtered(&self) -> MutexGuard<'_, Filtered> {
        self.filtered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn filter(&self, index: u32) -> io::Result<()> {
        let mut interfaces = Interfaces::open()?;
        // Held meanwhile, so that nothing is silenced behind the end.
        let mut filtered = self.filtered();
        if filtered.ended {
            return Ok(());
        }
        interfaces.silence(index)?;
        filtered.interfaces.insert(index);
        Ok(())
    }

    /// Sets the rules; gives whether one was there already.
    fn hold(&self) -> io::Result<bool> {
        let mut interfaces = Interfaces::open()?;
        let filtered = self.filtered();
        if filtered.ended {
            return Ok(false);
        }
        let each = self.devices.iter().flat_map(|device| [(device, false), (device, true)]);
        let (mut found, mut result) = (false, Ok(()));
        for (device, v6) in each {
            match interfaces.hold(&device.name, v6) {
                Ok(there) => found |= there,
                Err(error) => result = Err(error),
            }
        }
        result.map(|()| found)
    }

    fn end(&self) {
        let mut filtered = self.filtered();
        filtered.ended = true;
        let Ok(mut interfaces) = Interfaces::open() else { return };
        for index in std::mem::take(&mut filtered.interfaces) {
            // A device that is gone hears nothing anyway.
            let _ = interfaces.hear(index);
        }
        for device in &self.devices {
            for v6 in [false, true] {
                let _ = interfaces.let_go(&device.name, v6);
            }
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.runs || !self.found {
            self.silence.end();
        }
    }
}

/// The number of an interface.
pub(super) fn index_of(name: &str) -> io::Result<u32> {
    nix::net::if_::if_nametoindex(name).map_err(io::Error::from)
}
