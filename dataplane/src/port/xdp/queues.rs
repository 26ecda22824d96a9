//! The queues of an interface, and what lands in which.
//!
//! A socket belongs to one queue of one interface, and queue n of every port to worker n. So each worker needs a queue
//! of each port to send by, and no frame may be received by a queue that no worker has. What decides is who chooses
//! the queue that a frame is received by: the device, by a hash. All fragments of a datagram must meet in one
//! worker, since its table of fragments has no lock, and a later fragment has no ports; so the hash may look
//! at addresses alone (`ethtool -N … rx-flow-hash udp4 sd`), which also keeps a flow's frames in their order. That
//! is asked and, where it is otherwise, set; a device that does not say is refused with more than one receive queue.
//!
//! Handing frames over between workers in software would do without all this, and would cost a queue and a copy of a
//! cache line for each frame, which is what several queues are there to save. The two directions of a flow may come to two
//! workers: nothing is remembered of a flow that the other direction needs, but for the table of diverted pairs, which
//! is shared. What the device can't read (PPPoE, MPLS) it leaves in one queue, fragments included.

use crate::port::error::InterfaceError;
use crate::port::interface::{Channels, Interfaces, Name};

/// `RXH_IP_SRC | RXH_IP_DST` of linux/ethtool.h.
const ADDRESSES: u64 = 1 << 4 | 1 << 5;

/// Flows that have fragments and ports: how ethtool calls them, and their numbers.
const FLOWS: [(&str, u32); 4] = [("udp4", 0x02), ("udp6", 0x06), ("tcp4", 0x01), ("tcp6", 0x05)];

/// What is to be done about a device's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// They are right as they are.
    Keep,
    /// They can be made right.
    Set(Channels),
    /// There can't be so few receive queues.
    Many,
    /// There can't be so many queues to send by.
    Few(u32),
}

/// Receive queues must not be more than `workers`, queues to send by not fewer.
fn plan(channels: &Channels, workers: u32) -> Plan {
    let mut wanted = *channels;
    wanted.both = channels.both.min(workers);
    wanted.receive = channels.receive.min(workers - wanted.both);
    // Queues that only send cost nothing; those that do both have to be spread over.
    let most = wanted.both + channels.most_transmit.max(wanted.transmit);
    if wanted.both + wanted.transmit < workers && most >= workers {
        wanted.transmit = workers - wanted.both;
    } else if wanted.both + wanted.transmit < workers {
        wanted.both = workers.min(channels.most_both.max(wanted.both));
    }
    if wanted.receive + wanted.both == 0 {
        return Plan::Many;
    }
    if wanted.both + wanted.transmit < workers {
        return Plan::Few(wanted.both + wanted.transmit);
    }
    if wanted == *channels { Plan::Keep } else { Plan::Set(wanted) }
}

/// Has a device's queues be right for so many workers; gives how many receive queues there are. `known` is how many the
/// kernel has for a device that can't be asked.
pub(super) fn settle(
    interfaces: &Interfaces,
    name: &Name,
    workers: usize,
    known: u32,
) -> Result<u32, InterfaceError> {
    let interface = || name.as_str().to_owned();
    let failed = |action| move |errno| InterfaceError::of_xdp(name.as_str(), action, errno);
    let workers = workers as u32;
    let many = |queues, kind| InterfaceError::ManyQueues { interface: interface(), queues, workers, kind };
    let few = |queues| InterfaceError::FewQueues { interface: interface(), queues, workers };
    let channels = interfaces.channels(name).map_err(failed("ask for its queues"))?;
    let Some(channels) = channels else {
        return match known.cmp(&workers) {
            std::cmp::Ordering::Greater => Err(many(known, "combined")),
            std::cmp::Ordering::Less => Err(few(known)),
            std::cmp::Ordering::Equal => spread(interfaces, name, known),
        };
    };
    let kind = if channels.both > 0 { "combined" } else { "rx" };
    let queues = channels.receive + channels.both;
    let receive = match plan(&channels, workers) {
        Plan::Keep => queues,
        Plan::Few(queues) => return Err(few(queues)),
        Plan::Many => return Err(many(queues, kind)),
        Plan::Set(wanted) => match interfaces.set_channels(name, wanted) {
            Ok(()) => wanted.receive + wanted.both,
            Err(_) if queues > workers => return Err(many(queues, kind)),
            Err(_) => return Err(few(channels.transmit + channels.both)),
        },
    };
    spread(interfaces, name, receive)
}

/// Has frames spread by their addresses.
fn spread(interfaces: &Interfaces, name: &Name, queues: u32) -> Result<u32, InterfaceError> {
    if queues == 1 {
        return Ok(queues);
    }
    for (flow, number) in FLOWS {
        let is_right = || matches!(interfaces.flow_hash(name, number), Ok(Some(ADDRESSES)));
        if !is_right() {
            // Whether that was done is asked again.
            let _ = interfaces.set_flow_hash(name, number, ADDRESSES);
            if !is_right() {
                return Err(InterfaceError::SpreadsByPorts { interface: name.as_str().to_owned(), flow });
            }
        }
    }
    Ok(queues)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combined(both: u32, most_both: u32) -> Channels {
        Channels { both, most_both, ..Channels::default() }
    }

    #[test]
    fn queues_that_do_both_are_made_as_many_as_there_are_workers() {
        assert_eq!(plan(&combined(4, 8), 4), Plan::Keep);
        assert_eq!(plan(&combined(8, 8), 3), Plan::Set(combined(3, 8)));
        assert_eq!(plan(&combined(2, 8), 4), Plan::Set(combined(4, 8)));
        assert_eq!(plan(&combined(2, 2), 4), Plan::Few(2));
    }

    #[test]
    fn of_separate_queues_only_those_to_send_by_are_made_more() {
        let separate = |receive, transmit| Channels {
            receive,
            transmit,
            most_receive: 4,
            most_transmit: 4,
            ..Channels::default()
        };
        assert_eq!(plan(&separate(1, 1), 1), Plan::Keep);
        assert_eq!(plan(&separate(3, 3), 1), Plan::Set(separate(1, 3)));
        assert_eq!(plan(&separate(1, 1), 2), Plan::Set(separate(1, 2)));
        assert_eq!(plan(&separate(1, 1), 5), Plan::Few(1));
    }
}
