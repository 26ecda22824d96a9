//! sekisho.toml(5): the configuration's keys as the reader knows them, in prose around them.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap_mangen::roff::{Roff, bold, roman};

use crate::config::{Config, EXAMPLE, sections};

/// The page's name and section, as other pages refer to it.
pub(super) const NAME: &str = "sekisho.toml(5)";

const ABOUT: &[&str] = &[
    "The configuration that sekisho run starts with and sekisho reload reads again. It is TOML (https://toml.io), at most \
     64 MiB of UTF-8. sekisho check tells whether a file is accepted, and what it means; it needs no privilege.",
    "Nothing is half accepted: a file with a fault changes nothing, and all of its faults are told at once. Keys that are \
     not listed here are refused.",
];

/// How what stands behind a key is written.
const WRITTEN: &[(&str, &str)] = &[
    ("name", "1 to 64 of the characters A-Z a-z 0-9 . _ -"),
    (
        "path",
        "In quotes. One that does not begin with / is relative to the folder that the configuration is in.",
    ),
    (
        "duration",
        "In quotes: whole numbers with the units d, h, m, s, ms and us, the longer unit first and without blanks, such as \
         \"120s\" or \"1m30s\".",
    ),
    (
        "prefix",
        "In quotes: an address of IPv4 or IPv6 with the length in bits, such as \"203.0.113.0/25\", without bits behind \
         the length. An address alone is one host.",
    ),
    (
        "list of prefixes",
        "Prefixes in brackets, or { file = \"list.txt\" }: at most 64 MiB, one prefix a line, # begins a comment. Up to \
         some million prefixes are meant to be used.",
    ),
    (
        "instant",
        "Date and time with the offset from UTC (RFC 3339), in quotes or as TOML's own: \"2030-04-01T00:00:00+09:00\".",
    ),
];

/// A fault in the example, and what becomes of it.
const FAULT: (&str, &str) = ("action = \"reject\"", "action = \"rejct\"");

/// Writes the page.
pub(super) fn write(folder: &Path, others: &[String]) -> io::Result<()> {
    fs::File::create(folder.join("sekisho.toml.5"))?.write_all(page(others).as_bytes())
}

fn page(others: &[String]) -> String {
    let mut roff = Roff::new();
    roff.control("TH", ["sekisho.toml", "5", "", concat!("sekisho ", env!("CARGO_PKG_VERSION")), "Sekisho"]);
    // Names of keys stay whole.
    roff.control("nh", []).control("ad", ["l"]);
    roff.control("SH", ["NAME"]).text([roman("sekisho.toml - configuration of Sekisho")]);
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in ABOUT {
        roff.control("PP", []).text([roman(*paragraph)]);
    }
    roff.control("SH", ["VALUES"]);
    for (what, how) in WRITTEN {
        roff.control("TP", []).text([bold(*what)]).text([roman(*how)]);
    }
    roff.control("SH", ["TABLES"]);
    for section in sections() {
        roff.control("SS", [&*section.heading]);
        // A table within a table has said this at its key.
        if section.heading.starts_with('[') {
            roff.text([roman(section.key.about)]);
        }
        if section.keys.is_empty() {
            let takes = capital(&section.key.takes.to_string());
            roff.control("TP", []).text([bold("NAME")]).text([roman(format!("{takes}."))]);
        }
        for key in section.keys {
            roff.control("TP", []).text([bold(key.name)]);
            roff.text([roman(format!("{}; {}.", capital(&key.takes.to_string()), key.without))]);
            roff.control("br", []).text([roman(key.about)]);
        }
    }
    roff.control("SH", ["EXAMPLE"]);
    verbatim(&mut roff, EXAMPLE);
    roff.control("SH", ["DIAGNOSTICS"]).text([roman(
        "A fault is told with the file, line and column, and what to do about it. sekisho check --json gives the same to \
         programs. The exit code is 1.",
    )]);
    verbatim(&mut roff, &complaint());
    roff.text([roman(
        "sekisho reload refuses also what takes a restart, names it with the old and the new value, and changes nothing.",
    )]);
    roff.control("SH", ["FILES"]);
    roff.control("TP", []).text([bold("/etc/sekisho/sekisho.toml")]);
    roff.text([roman("where the unit expects it")]);
    roff.control("TP", []).text([bold("/usr/share/doc/sekisho/examples")]);
    roff.text([roman("whole configurations, and how to come to one of your own")]);
    roff.control("SH", ["SEE ALSO"]).text([roman(others.join(", "))]);
    roff.render()
}

/// Lines as they stand.
fn verbatim(roff: &mut Roff, text: &str) {
    roff.control("PP", []).control("nf", []);
    for line in text.lines() {
        roff.text([roman(if line.is_empty() { " " } else { line })]);
    }
    roff.control("fi", []).control("PP", []);
}

fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or(String::new(), |first| format!("{}{}", first.to_uppercase(), rest.as_str()))
}

/// What the reader says about the example with a fault in it.
fn complaint() -> String {
    let faulty = EXAMPLE.replacen(FAULT.0, FAULT.1, 1);
    Config::from_toml(&faulty, Path::new("sekisho.toml"))
        .err()
        .map_or(String::new(), |error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_stands_in_the_page_below_its_table() {
        let page = page(&["sekisho(1)".into()]);
        for section in sections() {
            let heading = Roff::new().control("SS", [&*section.heading]).to_roff();
            let (_, below) = page.split_once(&heading).unwrap_or_else(|| panic!("{heading} in {page}"));
            let own = below.split("\n.S").next().unwrap();
            for key in section.keys {
                let bold = Roff::new().text([bold(key.name)]).to_roff();
                assert!(own.contains(&bold), "{bold} in {own}");
            }
        }
    }

    #[test]
    fn the_page_shows_how_a_fault_is_told() {
        assert!(complaint().contains("did you mean `reject`?"), "{}", complaint());
    }
}
