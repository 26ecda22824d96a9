//! Frames on ports, as bytes for a fuzzer: no byte string is wrong, and a small change to one is a small change
//! to what it says.
//!
//! ```text
//! link and filter | { port and pause | length, 2 bytes | frame } …
//! ```

use sekisho_dataplane::frame::Link;

const LINKS: [Link; 7] =
    [Link::Ethernet, Link::Raw, Link::Ipv4, Link::Ipv6, Link::Cooked, Link::Cooked2, Link::Loopback];

/// The pauses in seconds: none, more than a token of a reject's budget needs, more than a fragment is remembered.
const PAUSES: [u64; 4] = [0, 0, 11, 121];

/// A frame, the port that it is received on (to be taken modulo the ports), and the seconds before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival<'a> {
    pub port: u8,
    pub pause: u64,
    pub frame: &'a [u8],
}

/// What the first byte says of all frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    pub link: Link,
    pub filter_is_up: bool,
}

/// The setting, and the bytes behind it.
pub fn setting(bytes: &[u8]) -> (Setting, &[u8]) {
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let link = LINKS[usize::from(first & 0x7f) % LINKS.len()];
    (Setting { link, filter_is_up: first & 0x80 == 0 }, rest)
}

/// The frames that the bytes behind the setting mean.
pub fn arrivals(mut rest: &[u8]) -> impl Iterator<Item = Arrival<'_>> {
    std::iter::from_fn(move || {
        let [head, low, high, data @ ..] = rest else { return None };
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(data.len());
        let (frame, behind) = data.split_at(length);
        rest = behind;
        Some(Arrival { port: head & 0x3f, pause: PAUSES[usize::from(head >> 6)], frame })
    })
}

/// The bytes that mean these frames, all without a pause and with the filter up.
///
/// # Panics
/// If a port is above 63.
pub fn written<'a>(link: Link, frames: impl IntoIterator<Item = (u8, &'a [u8])>) -> Vec<u8> {
    let link = LINKS.iter().position(|known| *known == link).unwrap_or(0);
    let mut bytes = vec![link as u8];
    for (port, frame) in frames {
        assert!(port < 64, "port {port}");
        let length = frame.len().min(usize::from(u16::MAX));
        bytes.push(port);
        bytes.extend((length as u16).to_le_bytes());
        bytes.extend(&frame[..length]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let frames: [(u8, &[u8]); 3] = [(0, b"one"), (4, b""), (63, &[7; 300])];
        let bytes = written(Link::Cooked2, frames);
        let (setting, rest) = setting(&bytes);
        assert_eq!(setting, Setting { link: Link::Cooked2, filter_is_up: true });
        let read: Vec<_> = arrivals(rest).map(|arrival| (arrival.port, arrival.frame)).collect();
        assert_eq!(read, frames);
    }

    #[test]
    fn a_length_past_the_end_means_all_there_is() {
        let last = arrivals(&[0x80, 0xff, 0xff, 1, 2]).last();
        assert_eq!(last, Some(Arrival { port: 0, pause: 11, frame: &[1, 2] }));
    }
}
