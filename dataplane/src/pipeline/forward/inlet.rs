//! By which link the frames of a burst come, and whether they are for the router.

use crate::policy::PortId;
use crate::route::Snapshot;

// An EtherType as it lies in a frame.
const VLAN_TYPE: u16 = u16::from_ne_bytes([0x81, 0x00]);
/// An Ethernet address in the lower bytes of a word.
const MAC: u64 = (1 << 48) - 1;

/// A port's links in one snapshot, and the one of the last frame: it is the next one's as a rule.
pub(in crate::pipeline) struct Inlet<'a> {
    port: PortId,
    snapshot: &'a Snapshot,
    vlan: u16,
    link: u16,
    /// The router's MAC there, as a word; no frame's if there is no such link.
    own: u64,
}

impl<'a> Inlet<'a> {
    /// At first it is the link of untagged frames.
    pub(in crate::pipeline) fn new(port: PortId, snapshot: &'a Snapshot) -> Inlet<'a> {
        let mut inlet = Inlet { port, snapshot, vlan: 0, link: 0, own: 0 };
        inlet.find(0);
        inlet
    }

    fn find(&mut self, vlan: u16) {
        let link = self.snapshot.link_at(self.port, vlan);
        let entry = link.and_then(|link| self.snapshot.links().get(usize::from(link)));
        self.own = entry.map_or(u64::MAX, |entry| {
            let [a, b, c, d, e, f] = entry.mac;
            u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
        });
        (self.vlan, self.link) = (vlan, link.unwrap_or(u16::MAX));
    }

    /// The place of the link that a frame came by.
    #[inline]
    pub(super) fn link_of(&mut self, frame: &[u8]) -> u16 {
        let vlan = match frame.first_chunk::<16>() {
            Some(head) if u16::from_ne_bytes([head[12], head[13]]) == VLAN_TYPE => {
                u16::from_be_bytes([head[14], head[15]]) & 0x0fff
            }
            _ => 0,
        };
        if vlan != self.vlan {
            self.find(vlan);
        }
        self.link
    }

    /// Whether a frame is for the router.
    #[inline]
    pub(in crate::pipeline) fn is_own(&mut self, frame: &[u8]) -> bool {
        self.link_of(frame);
        Inlet::to(frame) & MAC == self.own
    }

    /// The router's MAC on the link at hand, as [`to`](Inlet::to) gives those of frames.
    #[inline]
    pub(in crate::pipeline) fn own(&self) -> u64 {
        self.own
    }

    /// The MAC that a frame goes to, and what follows it.
    #[inline(always)]
    pub(in crate::pipeline) fn to(frame: &[u8]) -> u64 {
        frame.first_chunk().map_or(0, |to| u64::from_le_bytes(*to))
    }

    /// Bits in which every frame differs from a router that has no link for untagged ones: one to all stations would not.
    #[inline]
    pub(in crate::pipeline) fn missing(&self) -> u64 {
        if self.own > MAC { MAC } else { 0 }
    }

    /// Whether bits that differ between what [`to`](Inlet::to) and [`own`](Inlet::own) give are of a MAC.
    #[inline]
    pub(in crate::pipeline) fn is_strange(differing: u64) -> bool {
        differing & MAC != 0
    }
}
