//! Durations as people write them: `500ms`, `10s`, `1m30s`, `2h`.

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not whole numbers with units.
    #[error("not a duration")]
    Grammar,
    /// More than 2^64 microseconds.
    #[error("longer than any clock runs")]
    TooLong,
}

/// Units from the longest, as a duration lists them, in microseconds.
const UNITS: [(&str, u64); 6] = [
    ("d", 86_400_000_000),
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

/// A duration in microseconds: whole numbers with the units `d`, `h`, `m`, `s`, `ms`, `us`, the longer unit first,
/// each at most once, nothing between them.
///
/// # Errors
/// The text is something else, or more than 2^64 microseconds.
pub fn parse_duration(text: &str) -> Result<u64, DurationError> {
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut micros = 0_u64;
    while !rest.is_empty() {
        let (number, behind) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, behind) = split_where(behind, |c| c.is_ascii_digit());
        if number.is_empty() {
            return Err(DurationError::Grammar);
        }
        let (_, worth) = units.find(|(name, _)| *name == unit).ok_or(DurationError::Grammar)?;
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*worth));
        micros = part.and_then(|part| micros.checked_add(part)).ok_or(DurationError::TooLong)?;
        rest = behind;
    }
    if text.is_empty() { Err(DurationError::Grammar) } else { Ok(micros) }
}

/// The text of a duration in microseconds, as [`parse_duration`] reads it.
pub fn format_duration(mut micros: u64) -> String {
    let mut text = String::new();
    for (unit, worth) in UNITS {
        if micros >= worth {
            text.push_str(&format!("{}{unit}", micros / worth));
            micros %= worth;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_numbers_with_units() {
        assert_eq!(parse_duration("120s"), Ok(120_000_000));
        assert_eq!(parse_duration("1m30s"), Ok(90_000_000));
        assert_eq!(parse_duration("500ms"), Ok(500_000));
        assert_eq!(parse_duration("2h"), Ok(7_200_000_000));
        assert_eq!(parse_duration("1d1us"), Ok(86_400_000_001));
        assert_eq!(parse_duration("0s"), Ok(0));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "soon", "120", "s", "1.5s", "-1s", "1s1m", "1s1s", "1 m", "1m ", "１s", "1sec", "1µs"]
        {
            assert_eq!(parse_duration(text), Err(DurationError::Grammar), "{text}");
        }
    }

    #[test]
    fn an_endless_duration_is_refused_and_does_not_wrap() {
        for text in ["99999999999999999999s", "300000000000d", "213503982d86400s", "18446744073709551615us1"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for micros in [0, 1, 999, 1_000, 90_000_000, 86_400_000_001, u64::MAX] {
            assert_eq!(parse_duration(&format_duration(micros)), Ok(micros));
        }
        assert_eq!(format_duration(90_500_000), "1m30s500ms");
    }
}
