//! Which worker a frame belongs to, where no NIC spreads them.

use crate::frame::{Addresses, Depth, Frame, Link, parse};

/// One of `workers` workers, by the pair of addresses alone: so both directions of a flow, all its packets in
/// their order, and all fragments of a datagram meet in one worker. What is not IP goes to the first.
pub fn worker_for(link: Link, frame: &[u8], depth: Depth, workers: usize) -> usize {
    if workers == 1 {
        return 0;
    }
    ((u64::from(spread_of(link, frame, depth)) * workers as u64) >> 32) as usize
}

/// The number that says which worker: each has a range of them, in the workers' order.
pub(crate) fn spread_of(link: Link, frame: &[u8], depth: Depth) -> u32 {
    let Frame::Ip(headers) = parse(link, frame, depth) else { return 0 };
    let (source, destination) = match headers.addresses {
        Addresses::V4 { source, destination } => (u64::from(source), u64::from(destination)),
        Addresses::V6 { source, destination } => (fold(source), fold(destination)),
    };
    // Symmetric: the sum does not know which is which. The multiplication spreads neighbours (Knuth, The Art
    // of Computer Programming, volume 3, section 6.4).
    let hash = source.wrapping_add(destination).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 32) as u32
}

fn fold(address: u128) -> u64 {
    (address >> 64) as u64 ^ address as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: u32, destination: u32) -> Vec<u8> {
        let mut packet = vec![0u8; 20];
        (packet[0], packet[3], packet[9]) = (0x45, 20, 1);
        packet[12..16].copy_from_slice(&source.to_be_bytes());
        packet[16..20].copy_from_slice(&destination.to_be_bytes());
        packet
    }

    #[test]
    fn both_directions_of_a_flow_meet_and_flows_spread_evenly() {
        let depth = Depth::default();
        let mut counts = [0; 4];
        for n in 0..4000u32 {
            let (a, b) = (0xcb00_7100 + n % 256, 0xc633_6400 + n);
            let there = worker_for(Link::Raw, &packet(a, b), depth, 4);
            assert_eq!(there, worker_for(Link::Raw, &packet(b, a), depth, 4));
            counts[there] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }

    #[test]
    fn what_is_not_ip_goes_to_the_first_worker() {
        assert_eq!(worker_for(Link::Ethernet, &[0; 60], Depth::default(), 8), 0);
    }
}
