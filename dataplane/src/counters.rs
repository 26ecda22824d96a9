//! The books: what was received, and what became of it. One registry; status, metrics and summaries read it.
//!
//! Each worker writes cells of its own on cache lines of their own, with a plain load and store, since nobody
//! else writes them; readers sum the workers' cells and never disturb them. A reader may see a burst half
//! booked; the books balance whenever the workers stand still.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::policy::{Decision, PoolId, PortId, Reason, Taken};
use crate::stages::{StageCells, StageTotals};

/// A counter that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }
}

/// What one worker counted on one port.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct PortCells {
    pub(crate) received_packets: Cell,
    pub(crate) received_bytes: Cell,
    decided: [[Cell; Taken::ALL.len()]; Reason::COUNT],
    would: [Cell; Reason::COUNT],
    pub(crate) suppressed: Cell,
    pub(crate) mail_over_udp: Cell,
    pub(crate) mail_over_sctp: Cell,
    pub(crate) unremembered: Cell,
    /// Frames that the filter's checks sent, and frames for them; these are counted with what was forwarded.
    pub(crate) checks_sent: Cell,
    pub(crate) check_answers: Cell,
    /// Frames that began to wait for their next hop's MAC, and those that need not any more, one way or the other.
    pub(crate) waits: Cell,
    pub(crate) waited: Cell,
    /// Packets that left as fragments, and the fragments; counted at the ports of either side.
    pub(crate) fragmented: Cell,
    pub(crate) fragments: Cell,
    pub(crate) fragments_lost: Cell,
    /// Redirects that left, and those that found no room.
    pub(crate) redirects: Cell,
    pub(crate) redirects_lost: Cell,
    /// Frames that the kernel sent by the port.
    pub(crate) kernel_sent: Cell,
    /// Forwarded by the policy, but the way out had no room; counted at the port it came by.
    pub(crate) forwards_lost: Cell,
    /// Diverted by the policy, but the way to the filter had no room; counted at the port it came by.
    pub(crate) diverts_lost: Cell,
    /// Answers of rejects that the way out had no room for; not packets received.
    pub(crate) replies_lost: Cell,
    pub(crate) transmitted_packets: Cell,
    pub(crate) transmitted_bytes: Cell,
}

impl Default for PortCells {
    fn default() -> Self {
        PortCells {
            received_packets: Cell::default(),
            received_bytes: Cell::default(),
            decided: std::array::from_fn(|_| Default::default()),
            would: std::array::from_fn(|_| Cell::default()),
            suppressed: Cell::default(),
            mail_over_udp: Cell::default(),
            mail_over_sctp: Cell::default(),
            unremembered: Cell::default(),
            checks_sent: Cell::default(),
            check_answers: Cell::default(),
            waits: Cell::default(),
            waited: Cell::default(),
            fragmented: Cell::default(),
            fragments: Cell::default(),
            fragments_lost: Cell::default(),
            redirects: Cell::default(),
            redirects_lost: Cell::default(),
            kernel_sent: Cell::default(),
            forwards_lost: Cell::default(),
            diverts_lost: Cell::default(),
            replies_lost: Cell::default(),
            transmitted_packets: Cell::default(),
            transmitted_bytes: Cell::default(),
        }
    }
}

impl PortCells {
    #[inline]
    pub(crate) fn count(&self, decision: &Decision) {
        self.count_many(decision, 1);
    }

    /// Books the same decision `count` times.
    #[inline]
    pub(crate) fn count_many(&self, decision: &Decision, count: u64) {
        self.decided[decision.reason as usize][decision.taken as usize].add(count);
        if let Some(would) = decision.would {
            self.would[would as usize].add(count);
        }
        if decision.suppressed {
            self.suppressed.add(count);
        }
    }
}

/// What one worker counted of one pool's verdicts.
#[derive(Debug, Default)]
struct VerdictCells {
    denied: Cell,
    would: Cell,
}

/// The cells of pools' packets.
#[derive(Clone, Copy)]
pub(crate) struct PoolPackets<'a>(&'a [Cell]);

impl PoolPackets<'_> {
    /// Books a packet. A pool that came after the cells were made is counted with those in no pool.
    #[inline(always)]
    pub(crate) fn count(self, pool: PoolId) {
        let PoolPackets(cells) = self;
        if let Some(cell) = cells.get(usize::from(pool.0)).or(cells.first()) {
            cell.add(1);
        }
    }
}

/// One worker's cells.
#[derive(Debug)]
pub struct WorkerCounters {
    ports: Box<[PortCells]>,
    /// By pool number. Packets, which every packet counts, lie apart from verdicts, which few do, so that the
    /// cells of ten thousand pools stay in the cache.
    pool_packets: Box<[Cell]>,
    pool_verdicts: Box<[VerdictCells]>,
    pub(crate) stages: StageCells,
}

impl WorkerCounters {
    /// Cells for so many ports, and for pools with numbers below `pools`.
    pub fn new(ports: usize, pools: usize) -> WorkerCounters {
        WorkerCounters {
            ports: (0..ports).map(|_| PortCells::default()).collect(),
            pool_packets: (0..pools.max(1)).map(|_| Cell::default()).collect(),
            pool_verdicts: (0..pools.max(1)).map(|_| VerdictCells::default()).collect(),
            stages: StageCells::default(),
        }
    }

    pub(crate) fn port(&self, port: PortId) -> &PortCells {
        &self.ports[usize::from(port.0)]
    }

    /// A pool's place. A pool that came after the cells were made is counted with those in no pool.
    #[inline]
    fn pool_place(&self, pool: PoolId) -> usize {
        let place = usize::from(pool.0);
        if place < self.pool_verdicts.len() { place } else { 0 }
    }

    /// The cells of pools' packets: taken in hand once for many packets.
    #[inline]
    pub(crate) fn pool_packets(&self) -> PoolPackets<'_> {
        PoolPackets(&self.pool_packets)
    }

    /// Books a packet from or to a pool's customer.
    #[inline]
    pub(crate) fn pool_packet(&self, pool: PoolId) {
        self.pool_packets().count(pool);
    }

    /// Books the same verdict `count` times.
    #[inline]
    pub(crate) fn pool_verdicts(&self, pool: PoolId, decision: &Decision, count: u64) {
        let cells = &self.pool_verdicts[self.pool_place(pool)];
        if decision.taken != Taken::Forward {
            cells.denied.add(count);
        }
        if decision.would.is_some() {
            cells.would.add(count);
        }
    }
}

/// The sum of several workers' books for one port, or for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Packets received.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// By reason and by what was done.
    pub decided: [[u64; Taken::ALL.len()]; Reason::COUNT],
    /// By the reason that a monitored deny would have had.
    pub would: [u64; Reason::COUNT],
    /// Rejects whose answer the budget suppressed.
    pub suppressed: u64,
    /// UDP to port 25, never denied.
    pub mail_over_udp: u64,
    /// SCTP to port 25, never denied.
    pub mail_over_sctp: u64,
    /// Fragments whose datagram could not be remembered (F10).
    pub unremembered: u64,
    /// Frames for the checks of the filter's health: forwarded, to the checkpoint itself.
    pub check_answers: u64,
    /// Frames that these checks sent; not packets received.
    pub checks_sent: u64,
    /// Frames that wait for their next hop's MAC now; not booked yet.
    pub waiting: u64,
    /// Packets that left as fragments.
    pub fragmented: u64,
    /// Their fragments that left.
    pub fragments: u64,
    /// Their fragments that found no room.
    pub fragments_lost: u64,
    /// Redirects that left.
    pub redirects: u64,
    /// Redirects that found no room.
    pub redirects_lost: u64,
    /// Frames that the kernel sent; not packets received.
    pub kernel_sent: u64,
    /// Frames that a driver had and could not hand over. It counts them itself: see
    /// [`add_driver`](Totals::add_driver).
    pub receive_errors: u64,
    /// Frames that a driver took to be sent, and that did not leave; it counts them itself.
    pub transmit_lost: u64,
    /// Forwarded packets that found no room on their way out.
    pub forwards_lost: u64,
    /// Diverted packets that found no room on their way to the filter.
    pub diverts_lost: u64,
    /// Answers that found no room.
    pub replies_lost: u64,
    /// Frames that left, answers included.
    pub transmitted: u64,
    /// Their bytes.
    pub transmitted_bytes: u64,
}

impl Default for Totals {
    fn default() -> Self {
        Totals {
            received: 0,
            received_bytes: 0,
            decided: [[0; Taken::ALL.len()]; Reason::COUNT],
            would: [0; Reason::COUNT],
            suppressed: 0,
            mail_over_udp: 0,
            mail_over_sctp: 0,
            unremembered: 0,
            check_answers: 0,
            checks_sent: 0,
            waiting: 0,
            fragmented: 0,
            fragments: 0,
            fragments_lost: 0,
            redirects: 0,
            redirects_lost: 0,
            kernel_sent: 0,
            receive_errors: 0,
            transmit_lost: 0,
            forwards_lost: 0,
            diverts_lost: 0,
            replies_lost: 0,
            transmitted: 0,
            transmitted_bytes: 0,
        }
    }
}

impl StageTotals {
    /// The sum over `workers`.
    pub fn of_workers<'a>(workers: impl IntoIterator<Item = &'a WorkerCounters>) -> StageTotals {
        StageTotals::of(workers.into_iter().map(|worker| &worker.stages))
    }
}

impl Totals {
    /// The sum over `workers` for one port.
    pub fn of_port<'a>(workers: impl IntoIterator<Item = &'a WorkerCounters>, port: PortId) -> Totals {
        let mut totals = Totals::default();
        for worker in workers {
            totals.add_cells(worker.port(port));
        }
        totals
    }

    /// The sum over `workers` for all ports.
    pub fn of<'a>(workers: impl IntoIterator<Item = &'a WorkerCounters>) -> Totals {
        let mut totals = Totals::default();
        for worker in workers {
            for port in &worker.ports {
                totals.add_cells(port);
            }
        }
        totals
    }

    fn add_cells(&mut self, cells: &PortCells) {
        self.received += cells.received_packets.get();
        self.received_bytes += cells.received_bytes.get();
        for (sums, cells) in self.decided.iter_mut().zip(&cells.decided) {
            for (sum, cell) in sums.iter_mut().zip(cells) {
                *sum += cell.get();
            }
        }
        for (sum, cell) in self.would.iter_mut().zip(&cells.would) {
            *sum += cell.get();
        }
        self.suppressed += cells.suppressed.get();
        self.mail_over_udp += cells.mail_over_udp.get();
        self.mail_over_sctp += cells.mail_over_sctp.get();
        self.unremembered += cells.unremembered.get();
        self.check_answers += cells.check_answers.get();
        self.checks_sent += cells.checks_sent.get();
        // The second first: who reads meanwhile sees no less wait than do.
        let waited = cells.waited.get();
        self.waiting += cells.waits.get().saturating_sub(waited);
        self.fragmented += cells.fragmented.get();
        self.fragments += cells.fragments.get();
        self.fragments_lost += cells.fragments_lost.get();
        self.redirects += cells.redirects.get();
        self.redirects_lost += cells.redirects_lost.get();
        self.kernel_sent += cells.kernel_sent.get();
        self.forwards_lost += cells.forwards_lost.get();
        self.diverts_lost += cells.diverts_lost.get();
        self.replies_lost += cells.replies_lost.get();
        self.transmitted += cells.transmitted_packets.get();
        self.transmitted_bytes += cells.transmitted_bytes.get();
    }

    /// Adds what a driver counted by itself: frames that it received and could not hand over, and frames that it
    /// took to be sent and that did not leave, with their bytes.
    pub fn add_driver(&mut self, receive_errors: u64, transmit_lost: u64, bytes_lost: u64) {
        self.received += receive_errors;
        self.receive_errors += receive_errors;
        self.transmit_lost += transmit_lost;
        self.transmitted = self.transmitted.saturating_sub(transmit_lost);
        self.transmitted_bytes = self.transmitted_bytes.saturating_sub(bytes_lost);
    }

    /// Packets for one reason, whatever was done.
    pub fn reason(&self, reason: Reason) -> u64 {
        self.decided[reason as usize].iter().sum()
    }

    /// Packets with which `taken` was done.
    pub fn taken(&self, taken: Taken) -> u64 {
        self.decided.iter().map(|by_taken| by_taken[taken as usize]).sum()
    }

    /// Packets that were forwarded and left.
    pub fn forwarded(&self) -> u64 {
        self.taken(Taken::Forward).saturating_sub(self.forwards_lost)
    }

    /// Packets that were dropped, rejected or diverted.
    pub fn denied(&self) -> u64 {
        let diverted = self.taken(Taken::Divert).saturating_sub(self.diverts_lost);
        self.taken(Taken::Drop) + self.taken(Taken::Reject) + diverted
    }

    /// Packets that errors took.
    pub fn errors(&self) -> u64 {
        self.receive_errors + self.forwards_lost + self.diverts_lost
    }

    /// Whether received = forwarded + denied + errors, with what waits for a next hop.
    pub fn balance(&self) -> bool {
        self.received == self.forwarded() + self.denied() + self.errors() + self.waiting
    }

    /// Whether what was to leave by some port has left, or was lost by a driver. For all ports together.
    pub fn leaving_balances(&self) -> bool {
        let diverted = self.taken(Taken::Divert) - self.diverts_lost;
        let replies = self.taken(Taken::Reject) - self.replies_lost;
        let punted = self.decided[Reason::Punted as usize][Taken::Forward as usize];
        let forwarded = self.forwarded() - self.check_answers - punted - self.fragmented;
        let made = self.checks_sent + self.kernel_sent + self.fragments + self.redirects;
        forwarded + diverted + replies + made == self.transmitted + self.transmit_lost
    }
}

/// What all workers counted for one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolTotals {
    /// Packets from the pool's customers, and to them.
    pub packets: u64,
    /// Of them, denied.
    pub denied: u64,
    /// Of them, forwarded though a monitored rule would have denied them.
    pub would: u64,
}

impl PoolTotals {
    /// The sum over `workers`.
    pub fn of<'a>(workers: impl IntoIterator<Item = &'a WorkerCounters>, pool: PoolId) -> PoolTotals {
        workers.into_iter().fold(PoolTotals::default(), |sum, worker| {
            let place = worker.pool_place(pool);
            let verdicts = &worker.pool_verdicts[place];
            PoolTotals {
                packets: sum.packets + worker.pool_packets[place].get(),
                denied: sum.denied + verdicts.denied.get(),
                would: sum.would + verdicts.would.get(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_driver_lost_stands_in_the_books_and_they_balance() {
        let cells = WorkerCounters::new(2, 1);
        cells.port(PortId(0)).received_packets.add(5);
        cells.port(PortId(1)).transmitted_packets.add(5);
        cells.port(PortId(1)).transmitted_bytes.add(500);
        cells.port(PortId(0)).decided[Reason::OtherPort as usize][Taken::Forward as usize].add(5);
        let mut all = Totals::of([&cells]);
        assert!(all.balance() && all.leaving_balances());
        all.add_driver(3, 2, 120);
        assert_eq!((all.received, all.receive_errors, all.errors(), all.forwarded()), (8, 3, 3, 5));
        assert_eq!((all.transmitted, all.transmitted_bytes, all.transmit_lost), (3, 380, 2));
        assert!(all.balance() && all.leaving_balances());
        all.received += 1;
        all.transmitted -= 1;
        assert!(!all.balance() && !all.leaving_balances());
    }
}
