//! Which of several next hops a flow takes: by a hash that is the same for both directions, so that a middlebox behind
//! the router sees all of a flow, and the same for all packets of it, so that their order is kept (RFC 2992 §2.1).
//!
//! Ports count only in whole packets: the fragments of a flow have them only in the first, and all take the way of the
//! addresses.

/// Mixes so that every bit of the outcome depends on every bit of what went in (the finaliser of MurmurHash3).
#[inline]
fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

/// Two numbers in either order. Sum and difference together tell the pair.
#[inline]
fn pair(a: u64, b: u64) -> u64 {
    a.wrapping_add(b) ^ (a ^ b).rotate_left(32)
}

/// The hash of an IPv4 flow; `ports` is both ports as they lie in the header, 0 without.
#[inline]
pub(crate) fn v4(source: u32, destination: u32, protocol: u8, ports: u32) -> u32 {
    let ports = pair((ports >> 16).into(), (ports & 0xffff).into());
    mix(pair(source.into(), destination.into()) ^ ports.rotate_left(16) ^ u64::from(protocol) << 56) as u32
}

/// The same for IPv6.
#[inline]
pub(crate) fn v6(source: u128, destination: u128, protocol: u8, ports: u32) -> u32 {
    let folded = |address: u128| mix((address >> 64) as u64) ^ address as u64;
    let ports = pair((ports >> 16).into(), (ports & 0xffff).into());
    mix(pair(folded(source), folded(destination)) ^ ports.rotate_left(16) ^ u64::from(protocol) << 56) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_of_a_flow_take_the_same_way() {
        for n in 0..1000u32 {
            let (a, b) = (0x0a00_0000 + n * 77, 0xc633_6400 + n * 13);
            let (p, q) = (n * 31 % 65536, 443);
            assert_eq!(v4(a, b, 6, p << 16 | q), v4(b, a, 6, q << 16 | p));
            let (a, b) = (u128::from(a) << 64 | 5, u128::from(b) << 40);
            assert_eq!(v6(a, b, 17, p << 16 | q), v6(b, a, 17, q << 16 | p));
        }
    }

    #[test]
    fn flows_spread_evenly_whether_addresses_or_ports_differ() {
        let mut counts = [[0u32; 4]; 3];
        for n in 0..4096u32 {
            counts[0][(v4(0x0a00_0000 + n, 0xc633_6401, 6, 443) & 3) as usize] += 1;
            counts[1][(v4(0x0a00_0001, 0xc633_6401, 6, (1024 + n) << 16 | 443) & 3) as usize] += 1;
            counts[2][(v6(0x2001_0db8 << 96 | u128::from(n) << 64, 7, 6, 443) & 3) as usize] += 1;
        }
        for count in counts.iter().flatten() {
            assert!((900..1150).contains(count), "{counts:?}");
        }
    }
}
