//! This host's clocks. The dataplane is given what they say.

use jiff::Timestamp;
use sekisho_dataplane::clock::Instant;

/// Now, in UTC microseconds.
pub fn now() -> i64 {
    Timestamp::now().as_microsecond()
}

/// An instant for people and for JSON, in UTC.
pub fn show(utc_micros: i64) -> String {
    match Timestamp::from_microsecond(utc_micros) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => format!("{utc_micros} µs"),
    }
}

/// An instant as [`show`] writes it, without its fraction of a second.
pub(crate) fn whole_second(instant: &str) -> String {
    instant.split_once('.').map_or_else(|| instant.to_owned(), |(whole, _)| format!("{whole}Z"))
}

/// Both clocks, as a worker reads them once per burst.
pub fn this_hosts() -> impl FnMut() -> Instant + Send + 'static {
    let started = std::time::Instant::now();
    move || Instant { utc_micros: now(), monotonic_micros: started.elapsed().as_micros() as u64 }
}
