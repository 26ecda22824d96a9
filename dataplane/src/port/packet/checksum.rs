//! Checksums that a sender left to its device.
//!
//! A host that sends over a virtual link (veth, virtio) may leave the checksum to the device, which leaves it
//! to the next, which never comes: the frame reaches us with nothing but the sum of the pseudo header in the
//! checksum field. What leaves here may go over a real wire, so the sum is completed.

/// The one's complement sum (RFC 1071) is to be taken from `start` on and stands at `start + offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incomplete {
    pub(super) start: usize,
    pub(super) offset: usize,
}

/// Where SCTP has its checksum, which is not such a sum but a CRC (RFC 9260 §6.8).
const SCTP_OFFSET: usize = 8;

impl Incomplete {
    /// Completes it; false, and nothing is changed, if that can't be.
    pub(super) fn complete(self, frame: &mut [u8]) -> bool {
        let Incomplete { start, offset } = self;
        let at = start + offset;
        if offset == SCTP_OFFSET || at + 2 > frame.len() {
            return false;
        }
        // The field holds the pseudo header's sum and is summed up with the rest (Linux: skb_checksum_help).
        let sum = match !sum(&frame[start..]) {
            // In UDP a zero would mean that there is no checksum; all ones are the same number (RFC 768).
            0 => 0xffff,
            sum => sum,
        };
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        true
    }
}

fn sum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<2>();
    let mut sum: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    if let [last] = rest {
        sum += u64::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 packet with a UDP datagram from RFC 1071's kind of example, odd in length.
    fn datagram(payload: &[u8]) -> Vec<u8> {
        let length = (8 + payload.len()) as u16;
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7];
        packet.extend([0x13, 0x88, 0x13, 0x89]);
        packet.extend(length.to_be_bytes());
        let mut pseudo = packet[12..20].to_vec();
        pseudo.extend([0, 17]);
        pseudo.extend(length.to_be_bytes());
        packet.extend(sum(&pseudo).to_be_bytes());
        packet.extend(payload);
        packet
    }

    fn verifies(packet: &[u8]) -> bool {
        let mut all = packet[12..20].to_vec();
        all.extend([0, 17]);
        all.extend(&packet[24..26]);
        all.extend(&packet[20..]);
        sum(&all) == 0xffff
    }

    #[test]
    fn a_completed_checksum_verifies() {
        for length in [0, 1, 2, 17, 1472] {
            let payload: Vec<u8> = (0..length).map(|n| (n * 7 + 3) as u8).collect();
            let mut packet = datagram(&payload);
            assert!(!verifies(&packet));
            assert!(Incomplete { start: 20, offset: 6 }.complete(&mut packet));
            assert!(verifies(&packet), "{length} bytes");
        }
    }

    #[test]
    fn a_zero_sum_is_written_as_all_ones() {
        let mut bytes = [0, 0, 0xff, 0xff, 0, 0];
        assert!(Incomplete { start: 0, offset: 0 }.complete(&mut bytes));
        assert_eq!(bytes[..2], [0xff, 0xff]);
    }

    #[test]
    fn what_can_t_be_completed_is_left_alone() {
        let mut bytes = [7; 40];
        assert!(!Incomplete { start: 20, offset: SCTP_OFFSET }.complete(&mut bytes), "SCTP");
        assert!(!Incomplete { start: 36, offset: 6 }.complete(&mut bytes), "outside");
        assert_eq!(bytes, [7; 40]);
    }
}
