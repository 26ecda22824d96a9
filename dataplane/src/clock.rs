//! Instants, as the dataplane is given them. It never reads a clock of its own.

/// The instant at which a burst is judged.
///
/// Phases and grants compare [`utc_micros`](Instant::utc_micros); lifetimes and budgets count on
/// [`monotonic_micros`](Instant::monotonic_micros), which no administrator and no NTP server moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub utc_micros: i64,
    /// Microseconds since some fixed instant in the past.
    pub monotonic_micros: u64,
}

impl Instant {
    /// An instant at which both clocks show the same time, for captures and tests.
    /// A time before 1970 stands still at 0 on the monotonic side.
    pub const fn from_utc_micros(utc_micros: i64) -> Instant {
        let monotonic_micros = if utc_micros < 0 { 0 } else { utc_micros as u64 };
        Instant { utc_micros, monotonic_micros }
    }
}
