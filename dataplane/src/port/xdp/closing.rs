//! Sockets that are being closed, and when their frames may be used again.

use std::time::{Duration, Instant};

use super::socket::Closed;

/// How long the frames of a socket in zero-copy mode are let alone after it was closed: the kernel takes them from the
/// device in a thread of its own. In copy mode it lets go of them when the socket is closed.
const UNTIL_RECLAIMED: Duration = Duration::from_secs(2);

/// A socket that is being closed, elsewhere and in its time.
pub(super) struct Closing {
    lane: u16,
    closed: Closed,
    wait: Duration,
}

impl Closing {
    pub(super) fn new(lane: u16, closed: Closed, zero_copy: bool) -> Closing {
        Closing { lane, closed, wait: if zero_copy { UNTIL_RECLAIMED } else { Duration::ZERO } }
    }

    /// Whose frames these are.
    pub(super) fn lane(&self) -> u16 {
        self.lane
    }

    /// Whether the kernel has let go of them.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.closed.get().is_some_and(|at| now.saturating_duration_since(*at) >= self.wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_zero_copy_are_let_alone_from_when_their_socket_was_closed_and_not_from_when_that_began() {
        let (closed, begun) = (Closed::default(), Instant::now());
        let closing = Closing::new(0, Closed::clone(&closed), true);
        // Whoever closes it has other things to do first.
        let late = begun + 5 * UNTIL_RECLAIMED;
        assert!(!closing.is_over(late));
        closed.set(late).unwrap();
        assert!(!closing.is_over(late + UNTIL_RECLAIMED / 2));
        assert!(closing.is_over(late + UNTIL_RECLAIMED));
        assert!(Closing::new(0, closed, false).is_over(late), "in copy mode at once");
    }
}
