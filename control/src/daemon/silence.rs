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
use std::path::Path;
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

/// Ends a silence when this is dropped. Where a start comes to nothing, what was there before stays at the devices that had it:
/// another daemon's, which has the ports, or that of one that was killed.
pub(super) struct Kept {
    silence: Arc<Silence>,
    found: BTreeSet<String>,
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
        let mut kept = Kept { silence: Arc::clone(&silence), found: BTreeSet::new(), runs: false };
        if silence.devices.is_empty() {
            return Ok((silence, kept));
        }
        let held = silence.hold().unwrap_or_else(Held::not_at_all);
        kept.found = silence.names().filter(|name| !held.new.contains(*name)).map(str::to_owned).collect();
        if let Some(error) = held.error {
            warn(&format!(
                "the kernel has no rules that keep it from forwarding what ports receive ({error}): what comes by a device between \
                 its appearance and the filter at it is forwarded where net.ipv4.ip_forward or \
                 net.ipv6.conf.all.forwarding is 1"
            ));
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

    /// The devices.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().map(|device| device.name.as_str())
    }

    /// Sets the rules.
    fn hold(&self) -> io::Result<Held> {
        let mut interfaces = Interfaces::open()?;
        let filtered = self.filtered();
        let mut held = Held::default();
        if filtered.ended {
            return Ok(held);
        }
        for name in self.names() {
            let each = [false, true].map(|v6| interfaces.hold(name, v6));
            held.note(name, each, has_ipv6());
        }
        Ok(held)
    }

    /// Ends it, but at these devices.
    fn end(&self, but: &BTreeSet<String>) {
        let mut filtered = self.filtered();
        filtered.ended = true;
        let Ok(mut interfaces) = Interfaces::open() else { return };
        let kept: Vec<u32> = but.iter().filter_map(|name| index_of(name).ok()).collect();
        for index in std::mem::take(&mut filtered.interfaces) {
            if !kept.contains(&index) {
                // A device that is gone hears nothing anyway.
                let _ = interfaces.hear(index);
            }
        }
        for name in self.names().filter(|name| !but.contains(*name)) {
            for v6 in [false, true] {
                let _ = interfaces.let_go(name, v6);
            }
        }
    }
}

/// What came of setting rules.
#[derive(Debug, Default)]
struct Held {
    /// Devices that had none.
    new: BTreeSet<String>,
    error: Option<io::Error>,
}

impl Held {
    /// Whose the filters are that are there can't be told then.
    fn not_at_all(error: io::Error) -> Held {
        Held { error: Some(error), ..Held::default() }
    }

    /// Of one device, for each version of IP: whether a rule was there already. One of the two tells whose the filter is.
    fn note(&mut self, name: &str, [v4, v6]: [io::Result<bool>; 2], has_ipv6: bool) {
        let was_there = |result: &io::Result<bool>| result.as_ref().ok().copied();
        let told = [was_there(&v4), was_there(&v6)];
        if told.contains(&Some(false)) && !told.contains(&Some(true)) {
            self.new.insert(name.to_owned());
        }
        // Who has no IPv6 at all has no rules for it, and forwards none.
        let error = v4.err().or(v6.err().filter(|_| has_ipv6));
        self.error = self.error.take().or(error);
    }
}

/// Whether the kernel does IPv6 (`ipv6.disable=1` on its command line, for instance).
fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

impl Drop for Kept {
    fn drop(&mut self) {
        match self.runs {
            true => self.silence.end(&BTreeSet::new()),
            false => self.silence.end(&self.found),
        }
    }
}

/// The number of an interface.
pub(super) fn index_of(name: &str) -> io::Result<u32> {
    nix::net::if_::if_nametoindex(name).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_taken_for_ones_own_where_a_rule_is_new_and_no_other_was_there() {
        let absent = || Err(io::Error::from_raw_os_error(97));
        for (each, is_new, told) in [
            ([Ok(false), Ok(false)], true, [false, false]),
            ([Ok(true), Ok(true)], false, [false, false]),
            ([Ok(false), Ok(true)], false, [false, false]),
            ([Ok(false), absent()], true, [false, true]),
            ([Ok(true), absent()], false, [false, true]),
            ([absent(), Ok(false)], true, [true, true]),
            ([absent(), absent()], false, [true, true]),
        ] {
            for (has_ipv6, told) in [false, true].into_iter().zip(told) {
                let again = |one: &io::Result<bool>| {
                    one.as_ref().copied().map_err(|_| io::Error::from_raw_os_error(97))
                };
                let mut held = Held::default();
                held.note("eth1", [again(&each[0]), again(&each[1])], has_ipv6);
                assert_eq!((held.new.contains("eth1"), held.error.is_some()), (is_new, told), "{each:?}");
            }
        }
    }
}
