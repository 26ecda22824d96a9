//! The processor's own clock, for measuring stages of tens of nanoseconds.

#![allow(unsafe_code)]

use std::time::{Duration, Instant};

/// Ticks of a counter that goes on steadily: the time stamp counter on x86-64 (which is invariant on all
/// processors of the last decade), nanoseconds elsewhere.
#[inline(always)]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: RDTSC reads a counter and touches no memory; x86-64 processors all have it, and Linux leaves it
    // to user programs.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// Ticks in a second, measured against the system's clock; takes 20 milliseconds.
pub fn ticks_per_second() -> f64 {
    let (started, first) = (Instant::now(), ticks());
    std::thread::sleep(Duration::from_millis(20));
    (ticks() - first) as f64 / started.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_go_on_at_the_rate_that_was_measured() {
        let rate = ticks_per_second();
        let (started, first) = (Instant::now(), ticks());
        std::thread::sleep(Duration::from_millis(50));
        let seconds = (ticks() - first) as f64 / rate;
        let truth = started.elapsed().as_secs_f64();
        assert!((seconds / truth - 1.0).abs() < 0.2, "{seconds} {truth}");
    }
}
