//! Typed access to the tables of a parsed TOML document, every refusal noted with its place.
//!
//! A reader that gives `None` has noted why. The caller goes on with a default or without the item: what it builds is
//! thrown away in the end, but the problems that stand further down are found in the same run.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use sekisho_dataplane::policy::{
    Action, DivertFallback, Kind, RejectWith, ReversePath, Role, SourceValidation,
};
use sekisho_dataplane::port::xdp::{XdpMode, ZeroCopy};
use sekisho_dataplane::worker::Poll;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::duration::{format_duration, parse_duration};
use super::error::quoted;
use super::keys::Shape;
use super::model::{Mode, Privacy, Rate, ReceiveRing};
use super::report::{Report, listed};
use super::source::Place;

/// A value and where it stands.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// A table whose keys are known ones.
pub(super) struct Table<'a> {
    entries: &'a DeTable<'a>,
    /// What it is in messages: "policy `dynamic`", "[limits]".
    pub(super) title: String,
    /// Its header, or its key, or the whole of an inline table.
    pub(super) place: Place,
}

impl<'a> Table<'a> {
    /// The document itself.
    pub(super) fn root(report: &mut Report, document: &'a Spanned<DeTable<'a>>, shape: &Shape) -> Self {
        let table = Self {
            entries: document.get_ref(),
            title: "the configuration".into(),
            place: Place::main(document.span()),
        };
        table.refuse_unknown_keys(report, shape);
        table
    }

    /// The table that a value is. `title` may show its name.
    pub(super) fn of(
        report: &mut Report,
        value: &'a Value<'a>,
        title: String,
        shape: &Shape,
    ) -> Option<Self> {
        let DeValue::Table(entries) = value.get_ref() else {
            let place = Place::main(value.span());
            let message = format!("{title} must be a table, not {}", described(value));
            report.refuse(place, message, shape.help());
            return None;
        };
        let table = Self { entries, title, place: Place::main(value.span()) };
        table.refuse_unknown_keys(report, shape);
        Some(table)
    }

    /// A table whose keys are free.
    pub(super) fn open(value: &'a Value<'a>, title: &str) -> Option<Self> {
        let entries = value.get_ref().as_table()?;
        Some(Self { entries, title: title.to_owned(), place: Place::main(value.span()) })
    }

    /// A table called by what it is and by its name, if it has a usable one.
    pub(super) fn named(
        report: &mut Report,
        value: &'a Value<'a>,
        kind: &str,
        of: &str,
        shape: &Shape,
    ) -> Option<Self> {
        let name = value
            .get_ref()
            .as_table()
            .and_then(|table| table.get("name"))
            .and_then(|name| name.get_ref().as_str());
        let title = match name {
            Some(name) => format!("{kind} {}{of}", quoted(name)),
            None => format!("a {kind}{of}"),
        };
        Self::of(report, value, title, shape)
    }

    fn refuse_unknown_keys(&self, report: &mut Report, shape: &Shape) {
        #[cfg(test)]
        super::keys::assert_told(shape);
        for (key, _) in self.entries {
            let word = key.get_ref().as_ref();
            if shape.names().any(|name| name == word) {
                continue;
            }
            let remark = shape.remarks.iter().find(|(keys, _)| keys.contains(&word));
            let help = match (remark, report.nearest(word, shape.names())) {
                (Some((_, remark)), _) => (*remark).to_owned(),
                (None, Some(near)) => format!("did you mean {}?", quoted(near)),
                (None, None) => shape.help(),
            };
            report.refuse(
                Place::main(key.span()),
                format!("unknown key {} in {}", quoted(word), self.title),
                help,
            );
        }
    }

    /// The value of a key, if the table has it.
    pub(super) fn get(&self, key: &'static str) -> Option<Entry<'a>> {
        self.entries.get_key_value(key).map(|(name, value)| Entry {
            key,
            key_place: Place::main(name.span()),
            value,
        })
    }

    /// The value of a key that the table must have. `example` is what could stand behind the `=`.
    pub(super) fn require(&self, report: &mut Report, key: &'static str, example: &str) -> Option<Entry<'a>> {
        let entry = self.get(key);
        if entry.is_none() {
            let message = format!("{} has no `{key}`", self.title);
            report.refuse(self.place.clone(), message, format!("add `{key} = {example}`"));
        }
        entry
    }

    /// Its name, which it must have.
    pub(super) fn name(&self, report: &mut Report) -> Option<Name<'a>> {
        let entry = self.require(report, "name", "\"…\"")?;
        let text = entry.string(report)?;
        check_name(report, text, entry.place()).then(|| Name { text, place: entry.place() })
    }

    /// Keys and values in the order of the file.
    pub(super) fn in_order(&self) -> Vec<(Name<'a>, &'a Value<'a>)> {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|(key, value)| {
                (Name { text: key.get_ref().as_ref(), place: Place::main(key.span()) }, value)
            })
            .collect();
        entries.sort_by_key(|(key, _)| key.place.span.start);
        entries
    }
}

/// A key of a table with its value.
pub(super) struct Entry<'a> {
    /// The key.
    pub(super) key: &'static str,
    /// Where the key stands.
    pub(super) key_place: Place,
    /// Its value.
    pub(super) value: &'a Value<'a>,
}

impl<'a> Entry<'a> {
    /// Where the value stands.
    pub(super) fn place(&self) -> Place {
        Place::main(self.value.span())
    }

    fn refuse_type(&self, report: &mut Report, must: &str, example: &str) {
        let message = format!("`{}` must be {must}, not {}", self.key, described(self.value));
        report.refuse(self.place(), message, format!("write `{} = {example}`", self.key));
    }

    /// A string.
    pub(super) fn string(&self, report: &mut Report) -> Option<&'a str> {
        let text = self.value.get_ref().as_str();
        if text.is_none() {
            self.refuse_type(report, "a string", "\"…\"");
        }
        text
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, report: &mut Report) -> Option<bool> {
        let value = self.value.get_ref().as_bool();
        if value.is_none() {
            self.refuse_type(report, "`true` or `false`", "true");
        }
        value
    }

    /// A whole number within a range.
    pub(super) fn whole<T>(&self, report: &mut Report, range: RangeInclusive<T>, default: T) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display + Copy,
    {
        let (low, high) = (*range.start(), *range.end());
        let DeValue::Integer(number) = self.value.get_ref() else {
            self.refuse_type(report, "a whole number", &default.to_string());
            return None;
        };
        let value = i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok());
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let message = format!("`{}` must lie between {low} and {high}", self.key);
            report.refuse(
                self.place(),
                message,
                format!("write a number from {low} to {high}; the default is {default}"),
            );
        }
        value
    }

    /// A duration within a range, in microseconds.
    pub(super) fn duration(
        &self,
        report: &mut Report,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> Option<u64> {
        let default = format_duration(default);
        let DeValue::String(text) = self.value.get_ref() else {
            self.refuse_type(report, "a duration in quotes", &format!("\"{default}\""));
            return None;
        };
        let (low, high) = (format_duration(*range.start()), format_duration(*range.end()));
        match parse_duration(text) {
            Ok(micros) if range.contains(&micros) => return Some(micros),
            Ok(_) => {
                let message =
                    format!("`{}` must lie between {low} and {high}, not {}", self.key, quoted(text));
                report.refuse(self.place(), message, format!("the default is `\"{default}\"`"));
            }
            Err(error) => {
                let help = "write whole numbers with units, such as `120s`, `1m30s`, `500ms` or `2h`";
                report.refuse(self.place(), format!("{} is {error}", quoted(text)), help);
            }
        }
        None
    }

    /// One of the words of `T`.
    pub(super) fn word<T: Word>(&self, report: &mut Report) -> Option<T> {
        let first = T::WORDS.first().map_or("…", |(word, _)| word);
        let DeValue::String(text) = self.value.get_ref() else {
            self.refuse_type(report, "a string", &format!("\"{first}\""));
            return None;
        };
        let known = T::WORDS.iter().find(|(word, _)| *word == text.as_ref());
        if known.is_none() {
            let words = || T::WORDS.iter().map(|(word, _)| *word);
            let mut help = format!("`{}` is one of {}", self.key, listed(words()));
            if let Some(near) = report.nearest(text, words()) {
                help = format!("did you mean {}? {help}", quoted(near));
            }
            report.refuse(self.place(), format!("{} is no value of `{}`", quoted(text), self.key), help);
        }
        known.map(|(_, value)| *value)
    }

    /// A list. `example` is what could stand in it.
    pub(super) fn list(&self, report: &mut Report, example: &str) -> Option<&'a [Value<'a>]> {
        match self.value.get_ref() {
            DeValue::Array(values) => Some(values),
            _ => {
                self.refuse_type(report, "a list", &format!("[{example}]"));
                None
            }
        }
    }

    /// The tables of `[[key]]`.
    pub(super) fn tables(&self, report: &mut Report) -> &'a [Value<'a>] {
        match self.value.get_ref() {
            DeValue::Array(values) => values,
            _ => {
                let message =
                    format!("`{}` must be a list of tables, not {}", self.key, described(self.value));
                report.refuse(
                    self.key_place.clone(),
                    message,
                    format!("write `[[{}]]` with two brackets", self.key),
                );
                &[]
            }
        }
    }

    /// A list of names of sets or the like, as texts with their places.
    pub(super) fn names(&self, report: &mut Report) -> Option<Vec<Name<'a>>> {
        let values = self.list(report, "\"…\", \"…\"")?;
        let mut names = Vec::with_capacity(values.len());
        for value in values {
            match value.get_ref().as_str() {
                Some(text) => names.push(Name { text, place: Place::main(value.span()) }),
                None => {
                    let message = format!("`{}` lists names, not {}", self.key, described(value));
                    report.refuse(Place::main(value.span()), message, "write names in quotes");
                }
            }
        }
        Some(names)
    }
}

/// The type of a value, with its article.
pub(super) fn described(value: &Value<'_>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A name and where it stands.
#[derive(Clone)]
pub(super) struct Name<'a> {
    pub(super) text: &'a str,
    pub(super) place: Place,
}

/// Whether a name is fit to be a label: 1 to 64 of the characters A–Z, a–z, 0–9, `.`, `_`, `-`.
pub(super) fn check_name(report: &mut Report, name: &str, place: Place) -> bool {
    const LONGEST: usize = 64;
    let length = name.chars().count();
    let odd = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')));
    let message = match odd {
        _ if length == 0 => "a name must not be empty".to_owned(),
        Some(c) => format!(
            "the name {} has the character {} in it",
            quoted(name),
            quoted(c.encode_utf8(&mut [0; 4]))
        ),
        None if length > LONGEST => {
            format!("the name {} is {length} characters long", quoted(name))
        }
        None => return true,
    };
    let help = format!("a name has 1 to {LONGEST} of the characters `A-Z a-z 0-9 . _ -`; it labels metrics");
    report.refuse(place, message, help);
    false
}

/// The names of one kind of thing, and which of them is meant by a name.
pub(super) struct Names<'a> {
    /// "port", "set", …
    one: &'static str,
    /// "ports", "sets", …
    many: &'static str,
    indices: HashMap<&'a str, usize>,
    /// The keys of `indices` in the order of the file.
    order: Vec<&'a str>,
    places: Vec<Place>,
}

impl<'a> Names<'a> {
    /// No names yet of a kind.
    pub(super) fn new(one: &'static str, many: &'static str) -> Self {
        Self { one, many, indices: HashMap::new(), order: Vec::new(), places: Vec::new() }
    }

    /// Gives the next index to a name. One that is taken is refused; `within` says where, as in " in this policy".
    pub(super) fn add(&mut self, report: &mut Report, name: Name<'a>, within: &str) {
        let index = self.places.len();
        match self.indices.get(name.text) {
            Some(first) => {
                let message = format!("there are two {} {}{within}", self.many, quoted(name.text));
                let note = format!("the first {} stands here", quoted(name.text));
                report.refuse_beside(
                    name.place.clone(),
                    message,
                    "give one of them another name",
                    self.places[*first].clone(),
                    note,
                );
            }
            None => {
                self.indices.insert(name.text, index);
                self.order.push(name.text);
            }
        }
        self.places.push(name.place);
    }

    /// Gives the next index to something without a usable name.
    pub(super) fn skip(&mut self, place: Place) {
        self.places.push(place);
    }

    /// The index of the thing with a name.
    pub(super) fn get(&self, name: &str) -> Option<usize> {
        self.indices.get(name).copied()
    }

    /// The same as [`Names::get`]; an unknown name is refused.
    pub(super) fn resolve(&self, report: &mut Report, name: &Name<'_>) -> Option<usize> {
        let index = self.get(name.text);
        if index.is_none() {
            let Self { one, many, .. } = self;
            let help = match report.nearest(name.text, self.order.iter().copied()) {
                Some(near) => format!("did you mean {}?", quoted(near)),
                None if self.indices.is_empty() => format!("there is no {one} at all; add it"),
                None => format!("the {many} are {}", listed(self.order.iter().copied())),
            };
            report.refuse(name.place.clone(), format!("there is no {one} {}", quoted(name.text)), help);
        }
        index
    }

    /// The indices of some names without repetition; unknown ones are refused.
    pub(super) fn resolve_all(&self, report: &mut Report, names: &[Name<'_>]) -> Vec<usize> {
        let mut seen = std::collections::HashSet::new();
        let known = names.iter().filter_map(|name| self.resolve(report, name)).collect::<Vec<_>>();
        known.into_iter().filter(|index| seen.insert(*index)).collect()
    }
}

/// An enum of which a configuration names the variants.
pub(super) trait Word: Copy + 'static {
    /// Every word with its variant.
    const WORDS: &'static [(&'static str, Self)];
}

impl Word for Mode {
    const WORDS: &'static [(&'static str, Self)] = &[("bridge", Self::Bridge), ("route", Self::Route)];
}

impl Word for Poll {
    const WORDS: &'static [(&'static str, Self)] =
        &[("busy", Self::Busy), ("adaptive", Self::Adaptive), ("interrupt", Self::Interrupt)];
}

impl Word for Role {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("subscriber", Self::Subscriber),
        ("internet", Self::Internet),
        ("servers", Self::Servers),
        ("filter", Self::Filter),
    ];
}

impl Word for Rate {
    const WORDS: &'static [(&'static str, Self)] =
        &[("as-fast-as-possible", Self::AsFastAsPossible), ("capture", Self::Capture)];
}

impl Word for ReceiveRing {
    const WORDS: &'static [(&'static str, Self)] = &[("blocks", Self::Blocks), ("slots", Self::Slots)];
}

impl Word for XdpMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("native", Self::Native), ("generic", Self::Generic)];
}

impl Word for ZeroCopy {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)];
}

impl Word for Kind {
    const WORDS: &'static [(&'static str, Self)] =
        &[("restrict", Self::Restrict), ("exempt", Self::Exempt), ("quarantine", Self::Quarantine)];
}

impl Word for Action {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("drop", Self::Drop),
        ("reject", Self::Reject),
        ("divert", Self::Divert),
        ("monitor", Self::Monitor),
    ];
}

impl Word for Privacy {
    const WORDS: &'static [(&'static str, Self)] = &[("off", Self::Off), ("hash", Self::Hash)];
}

impl Word for RejectWith {
    const WORDS: &'static [(&'static str, Self)] = &[("rst", Self::Rst), ("icmp", Self::Icmp)];
}

impl Word for DivertFallback {
    const WORDS: &'static [(&'static str, Self)] = &[("reject", Self::Reject), ("drop", Self::Drop)];
}

impl Word for SourceValidation {
    const WORDS: &'static [(&'static str, Self)] =
        &[("enforce", Self::Enforce), ("monitor", Self::Monitor), ("off", Self::Off)];
}

impl Word for ReversePath {
    const WORDS: &'static [(&'static str, Self)] =
        &[("strict", Self::Strict), ("loose", Self::Loose), ("off", Self::Off)];
}
