//! The list as a file that spreadsheets open: UTF-8, a header, a record a line (RFC 4180).
//!
//! Nothing in it is longer than ASCII needs, so there is no byte order mark. A spreadsheet takes a field for a formula
//! that begins with `=`, `+`, `-`, `@`, a tab or a carriage return, quoted or not (OWASP, "CSV injection"); such a text,
//! as the name of a pool can be, gets an apostrophe in front, which spreadsheets take for "this is text".

use std::borrow::Cow;
use std::io;

use super::Row;

const HEADER: [&str; 16] = [
    "customer",
    "pool",
    "policy",
    "first_seen",
    "last_seen",
    "attempts",
    "attempts_at_most",
    "connections",
    "answers",
    "denied",
    "would_deny",
    "to_own_servers",
    "to_listed_servers",
    "to_other_servers",
    "distinct_destinations",
    "hint",
];

/// Writes the header and each row.
///
/// # Errors
/// When `out` can't be written.
pub fn write<'a>(rows: impl IntoIterator<Item = &'a Row>, out: &mut impl io::Write) -> io::Result<()> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
    writer.write_record(HEADER)?;
    for row in rows {
        let texts = [
            &*row.customer,
            row.pool.as_deref().unwrap_or_default(),
            row.policy.as_deref().unwrap_or_default(),
            &row.first_seen,
            &row.last_seen,
        ];
        let numbers = [
            row.attempts,
            row.attempts_at_most,
            row.connections,
            row.answers,
            row.denied,
            row.would_deny,
            row.destinations.own,
            row.destinations.listed,
            row.destinations.other,
            row.distinct_destinations,
        ];
        for text in texts {
            writer.write_field(&*no_formula(text))?;
        }
        for number in numbers {
            writer.write_field(number.to_string())?;
        }
        writer.write_field(row.hint.words())?;
        writer.write_record(None::<&[u8]>)?;
    }
    writer.flush()
}

/// A text that no spreadsheet takes for a formula.
fn no_formula(text: &str) -> Cow<'_, str> {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => Cow::Owned(format!("'{text}")),
        false => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Destinations, Hint};
    use super::*;

    fn row(customer: &str, pool: Option<&str>) -> Row {
        Row {
            customer: customer.into(),
            pool: pool.map(str::to_owned),
            policy: None,
            first_seen: "2006-06-01T00:00:00Z".into(),
            last_seen: "2006-06-02T00:00:00Z".into(),
            attempts: 6,
            attempts_at_most: 7,
            connections: 5,
            answers: 1,
            denied: 4,
            would_deny: 2,
            destinations: Destinations { own: 1, listed: 2, other: 3 },
            distinct_destinations: 3,
            hint: Hint::MailClient,
        }
    }

    fn written(rows: &[Row]) -> String {
        let mut out = Vec::new();
        write(rows, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_list_is_a_header_and_a_line_for_each_customer() {
        let text = written(&[row("203.0.113.7", Some("flets"))]);
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines[0], HEADER.join(","));
        let instants = "2006-06-01T00:00:00Z,2006-06-02T00:00:00Z";
        assert_eq!(lines[1], format!("203.0.113.7,flets,,{instants},6,7,5,1,4,2,1,2,3,3,mail client"));
        assert_eq!(lines[2..], [""]);
        assert_eq!(written(&[]), HEADER.join(",") + "\r\n");
    }

    #[test]
    fn no_field_is_a_formula_and_what_needs_quotes_has_them() {
        for (name, field) in [
            ("-2+3", "'-2+3"),
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+1", "'+1"),
            ("\tx", "'\tx"),
            ("a,b", "\"a,b\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("a-b", "a-b"),
        ] {
            let text = written(&[row("2001:db8::7", Some(name))]);
            assert!(text.contains(&format!("\r\n2001:db8::7,{field},,2006")), "{text}");
        }
    }
}
