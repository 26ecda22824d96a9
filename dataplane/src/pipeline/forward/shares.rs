//! Fair shares of a bounded room: a link may have more of it as long as it has less than is free (the dynamic thresholds of
//! Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
//!
//! One link alone gets half of the room, two a third each; something is always left for one that comes later, however
//! much the others ask for.

use crate::route::LinkId;

/// Links that fall on one of so many cells share what each would have.
const CELLS: usize = 1024;

/// Who has how much.
pub(super) struct Shares {
    room: u16,
    taken: u16,
    cells: Box<[u16; CELLS]>,
}

/// A link's cell: links are numbered in runs and with large steps, which the multiplication spreads (Knuth, The Art of
/// Computer Programming 3, §6.4).
fn cell(link: LinkId) -> usize {
    const GOLDEN: u32 = 0x9e37_79b1;
    (link.0.wrapping_mul(GOLDEN) >> (u32::BITS - CELLS.ilog2())) as usize
}

impl Shares {
    /// Of a room of this size.
    pub(super) fn new(room: u16) -> Shares {
        Shares { room, taken: 0, cells: Box::new([0; CELLS]) }
    }

    /// Whether a link may take one more.
    pub(super) fn may_take(&self, link: LinkId) -> bool {
        self.cells[cell(link)] < self.room - self.taken
    }

    /// Takes one for a link that [may](Shares::may_take).
    pub(super) fn take(&mut self, link: LinkId) {
        self.taken += 1;
        self.cells[cell(link)] += 1;
    }

    /// Gives one of a link's back.
    pub(super) fn give_back(&mut self, link: LinkId) {
        self.taken -= 1;
        self.cells[cell(link)] -= 1;
    }

    /// Gives all back.
    pub(super) fn clear(&mut self) {
        self.taken = 0;
        self.cells.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(shares: &mut Shares, link: LinkId) -> usize {
        let mut taken = 0;
        while shares.may_take(link) {
            shares.take(link);
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_link_alone_gets_half_and_each_that_comes_later_half_of_what_is_left() {
        let mut shares = Shares::new(64);
        let taken = [1, 2, 3, 4].map(|link| fill(&mut shares, LinkId(link)));
        assert_eq!(taken, [32, 16, 8, 4]);
        (0..32).for_each(|_| shares.give_back(LinkId(1)));
        assert_eq!(fill(&mut shares, LinkId(4)), 16, "20 of its own, and 20 are free");
        shares.clear();
        assert_eq!(fill(&mut shares, LinkId(9)), 32);
    }

    #[test]
    fn links_of_the_kernel_and_of_a_configuration_have_cells_of_their_own() {
        let cells = |links: &[u32]| {
            links.iter().map(|link| cell(LinkId(*link))).collect::<std::collections::HashSet<_>>().len()
        };
        assert_eq!(cells(&(1..64).collect::<Vec<_>>()), 63);
        assert!(cells(&(0..64).map(|port| port * 4096 + 100).collect::<Vec<_>>()) > 56);
    }
}
