//! Instants as RFC 3339 writes them, always with an offset from UTC.
//!
//! A configuration says when the law changes for a customer; a local time whose zone must be guessed has no place in
//! it. Dates and offsets are reckoned by jiff, the grammar is RFC 3339's §5.6 and no more (jiff's own is wider).

use jiff::civil::{Date, DateTime};
use jiff::tz::Offset;

/// Why a text is no instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstantError {
    /// Not RFC 3339's grammar.
    #[error("not a date and time with UTC offset")]
    Grammar,
    /// A date and time, but where?
    #[error("no UTC offset")]
    NoOffset,
    /// A date that is in no calendar.
    #[error("there is no {year:04}-{month:02}-{day:02}")]
    NoSuchDate {
        /// Year.
        year: i16,
        /// Month as written, 0 to 99.
        month: i8,
        /// Day as written, 0 to 99.
        day: i8,
    },
    /// An hour, minute or second that no clock shows; leap seconds are no instants of their own here.
    #[error("no clock shows that time")]
    NoSuchTime,
    /// An offset of 24 hours or more.
    #[error("no place has that UTC offset")]
    NoSuchOffset,
}

impl InstantError {
    /// What to write instead.
    pub fn help(&self) -> String {
        match self {
            Self::Grammar => {
                "write an RFC 3339 date and time with UTC offset, such as `2006-06-01T00:00:00+09:00`".into()
            }
            Self::NoOffset => {
                "add the offset from UTC: `+09:00` behind the time for Japan, `Z` for UTC itself".into()
            }
            Self::NoSuchDate { year, month, .. } => match Date::new(*year, *month, 1) {
                Ok(first) => format!("the last day of {year:04}-{month:02} is {:02}", first.days_in_month()),
                Err(_) => "months are 01 to 12, days 01 to 31".into(),
            },
            Self::NoSuchTime => "hours are 00 to 23, minutes and seconds 00 to 59".into(),
            Self::NoSuchOffset => "offsets are `Z`, or from `-23:59` to `+23:59`".into(),
        }
    }
}

/// The instant that an RFC 3339 text names: UTC, microseconds since 1970-01-01. Digits below a microsecond are cut off.
///
/// # Errors
/// The text is not RFC 3339, has no offset, or names a date, time or offset that does not exist.
pub fn parse_instant(text: &str) -> Result<i64, InstantError> {
    let mut rest = Cursor(text.as_bytes());
    let year = rest.digits(4).ok_or(InstantError::Grammar)?;
    rest.one_of(b"-")?;
    let month = rest.digits(2).ok_or(InstantError::Grammar)?;
    rest.one_of(b"-")?;
    let day = rest.digits(2).ok_or(InstantError::Grammar)?;
    if rest.0.is_empty() {
        return Err(InstantError::NoOffset);
    }
    rest.one_of(b"Tt ")?;
    let hour = rest.digits(2).ok_or(InstantError::Grammar)?;
    rest.one_of(b":")?;
    let minute = rest.digits(2).ok_or(InstantError::Grammar)?;
    rest.one_of(b":")?;
    let second = rest.digits(2).ok_or(InstantError::Grammar)?;
    let mut nanosecond = 0;
    if rest.one_of(b".").is_ok() {
        let digits = rest.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || digits > 9 {
            return Err(InstantError::Grammar);
        }
        nanosecond = rest.digits(digits).ok_or(InstantError::Grammar)? * 10_i32.pow(9 - digits as u32);
    }
    let offset_seconds = match rest.next() {
        None => return Err(InstantError::NoOffset),
        Some(b'Z' | b'z') => 0,
        Some(sign @ (b'+' | b'-')) => {
            let hours = rest.digits(2).ok_or(InstantError::Grammar)?;
            rest.one_of(b":")?;
            let minutes = rest.digits(2).ok_or(InstantError::Grammar)?;
            if hours > 23 || minutes > 59 {
                return Err(InstantError::NoSuchOffset);
            }
            let seconds = hours * 3600 + minutes * 60;
            if sign == b'-' { -seconds } else { seconds }
        }
        Some(_) => return Err(InstantError::Grammar),
    };
    if !rest.0.is_empty() {
        return Err(InstantError::Grammar);
    }
    micros([year, month, day], [hour, minute, second, nanosecond], offset_seconds)
}

/// The same for a date and time that TOML has parsed.
pub(super) fn native_instant(datetime: &toml::value::Datetime) -> Result<i64, InstantError> {
    use toml::value::Offset;
    let (Some(date), Some(offset)) = (datetime.date, datetime.offset) else {
        return Err(InstantError::NoOffset);
    };
    let time = datetime.time.ok_or(InstantError::Grammar)?;
    let offset_minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i32::from(minutes),
    };
    micros(
        [date.year.into(), date.month.into(), date.day.into()],
        [
            time.hour.into(),
            time.minute.into(),
            time.second.unwrap_or(0).into(),
            i32::try_from(time.nanosecond.unwrap_or(0)).map_err(|_| InstantError::NoSuchTime)?,
        ],
        offset_minutes * 60,
    )
}

fn micros(
    [year, month, day]: [i32; 3],
    [hour, minute, second, nanosecond]: [i32; 4],
    offset_seconds: i32,
) -> Result<i64, InstantError> {
    // Fields of two and four digits: they fit.
    let small = |field: i32| i8::try_from(field).unwrap_or(i8::MAX);
    let year = i16::try_from(year).unwrap_or(i16::MAX);
    let (month, day) = (small(month), small(day));
    Date::new(year, month, day).map_err(|_| InstantError::NoSuchDate { year, month, day })?;
    let civil = DateTime::new(year, month, day, small(hour), small(minute), small(second), nanosecond)
        .map_err(|_| InstantError::NoSuchTime)?;
    let offset = Offset::from_seconds(offset_seconds).map_err(|_| InstantError::NoSuchOffset)?;
    // Only the last or first hours of jiff's calendar fall out of its timeline.
    let nanos = offset
        .to_timestamp(civil)
        .map_err(|_| InstantError::NoSuchDate { year, month, day })?
        .as_nanosecond();
    Ok(i64::try_from(nanos.div_euclid(1_000)).unwrap_or(i64::MAX))
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn one_of(&mut self, bytes: &[u8]) -> Result<(), InstantError> {
        match self.0.first() {
            Some(first) if bytes.contains(first) => {
                self.0 = &self.0[1..];
                Ok(())
            }
            Some(_) | None => Err(InstantError::Grammar),
        }
    }

    /// Exactly `count` decimal digits, at most nine.
    fn digits(&mut self, count: usize) -> Option<i32> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let value = digits
            .iter()
            .try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i32::from(byte - b'0')))?;
        self.0 = rest;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_counted_in_microseconds_of_utc() {
        assert_eq!(parse_instant("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(parse_instant("2006-06-01T00:00:00+09:00"), Ok(1_149_087_600_000_000));
        assert_eq!(parse_instant("2006-05-31T15:00:00.000001Z"), Ok(1_149_087_600_000_001));
        assert_eq!(parse_instant("1969-12-31T23:59:59.9999999-00:00"), Ok(-1));
        assert_eq!(parse_instant("1970-01-01t05:30:00+05:30"), Ok(0));
        assert_eq!(parse_instant("1970-01-01 00:00:00z"), Ok(0));
    }

    #[test]
    fn an_instant_without_an_offset_is_refused() {
        for text in ["2006-06-01T00:00:00", "2006-06-01T00:00:00.5", "2006-06-01"] {
            assert_eq!(parse_instant(text), Err(InstantError::NoOffset), "{text}");
        }
    }

    #[test]
    fn a_date_that_does_not_exist_is_refused_with_the_month_s_last_day() {
        let error = parse_instant("2006-02-30T00:00:00+09:00").unwrap_err();
        assert_eq!(error.to_string(), "there is no 2006-02-30");
        assert_eq!(error.help(), "the last day of 2006-02 is 28");
        assert!(parse_instant("2008-02-29T00:00:00Z").is_ok());
        let error = parse_instant("2006-13-01T00:00:00Z").unwrap_err();
        assert_eq!(error.help(), "months are 01 to 12, days 01 to 31");
    }

    #[test]
    fn a_time_that_no_clock_shows_is_refused() {
        for text in ["2006-06-01T24:00:00Z", "2006-06-01T00:60:00Z", "2016-12-31T23:59:60Z"] {
            assert_eq!(parse_instant(text), Err(InstantError::NoSuchTime), "{text}");
        }
        assert_eq!(parse_instant("2006-06-01T00:00:00+24:00"), Err(InstantError::NoSuchOffset));
    }

    #[test]
    fn what_is_not_rfc_3339_is_refused() {
        for text in [
            "",
            "soon",
            "2006-06-01T00:00+09:00",
            "2006-6-1T00:00:00Z",
            "2006-06-01T00:00:00+0900",
            "20060601T000000Z",
            "2006-06-01T00:00:00+09:00[Asia/Tokyo]",
            " 2006-06-01T00:00:00Z",
            "2006-06-01T00:00:00.Z",
            "+2006-06-01T00:00:00Z",
            "2006-06-01T00:00:00.0000000001Z",
            "２００６-06-01T00:00:00Z",
        ] {
            assert_eq!(parse_instant(text), Err(InstantError::Grammar), "{text}");
        }
    }

    #[test]
    fn the_ends_of_the_calendar_are_no_panic() {
        assert!(parse_instant("0000-01-01T00:00:00+23:59").is_ok());
        let _ = parse_instant("9999-12-31T23:59:59.999999999-23:59");
    }
}
