//! What a configuration can say, key by key. The reader takes these keys and no others, and sekisho.toml(5) is made of
//! them: neither can lag behind the other. Tests hold what is told here of bounds, words and defaults to what the
//! reader does.

use std::fmt;

use super::duration::format_duration;
use super::reader::Word;
use super::report::listed;

/// The keys that a kind of table has.
pub(crate) struct Shape {
    /// What such a table is called, as in "the keys of … are".
    pub(crate) what: &'static str,
    /// Every key.
    pub(crate) keys: &'static [Key],
    /// What to say about keys that people expect and that there are reasons not to have.
    pub(super) remarks: &'static [(&'static [&'static str], &'static str)],
}

/// A key.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    pub(crate) without: Without,
    /// What it means, in sentences; of a table, what the table is for.
    pub(crate) about: &'static str,
}

/// What stands behind a key.
pub(crate) enum Takes {
    /// What a phrase describes, such as "a path".
    Some(&'static str),
    /// `true` or `false`.
    Truth,
    /// A whole number within bounds.
    Whole(u64, u64),
    /// A duration within bounds, in microseconds.
    Duration(u64, u64),
    /// One of some words.
    Word(fn() -> Vec<&'static str>),
    /// Prefixes, or the file that they stand in.
    Prefixes(&'static Shape),
    /// `[name]`.
    Table(&'static Shape),
    /// `[name]` with names of the operator's own for keys; what stands behind those.
    Named(&'static str),
    /// `[[name]]`.
    Tables(&'static Shape),
    /// `name = { … }`.
    Inline(&'static Shape),
    /// `name = [{ … }, …]`.
    Inlines(&'static Shape),
}

/// What holds where a key is left out.
pub(crate) enum Without {
    /// It may not be.
    Refused,
    /// Some may not leave it out, and the others have none.
    RefusedFor(&'static str),
    /// As if this stood there, in TOML.
    Is(&'static str),
    /// What a phrase describes.
    Means(&'static str),
}

impl Key {
    pub(super) const fn new(name: &'static str, takes: Takes, without: Without, about: &'static str) -> Self {
        Self { name, takes, without, about }
    }

    /// The keys of its table, if it is one.
    fn shape(&self) -> Option<&'static Shape> {
        match self.takes {
            Takes::Table(shape)
            | Takes::Tables(shape)
            | Takes::Inline(shape)
            | Takes::Inlines(shape)
            | Takes::Prefixes(shape) => Some(shape),
            _ => None,
        }
    }
}

impl Takes {
    /// One of the words of `T`.
    pub(super) const fn word<T: Word>() -> Self {
        Self::Word(|| T::WORDS.iter().map(|(word, _)| *word).collect())
    }
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Some(phrase) | Self::Named(phrase) => f.write_str(phrase),
            Self::Truth => f.write_str("true or false"),
            Self::Whole(low, high) => write!(f, "a whole number from {low} to {high}"),
            Self::Duration(low, high) => {
                write!(f, "a duration from \"{}\" to \"{}\"", format_duration(*low), format_duration(*high))
            }
            Self::Word(words) => {
                let words: Vec<String> = words().iter().map(|word| format!("\"{word}\"")).collect();
                f.write_str(&words.join(", "))
            }
            Self::Prefixes(_) => {
                f.write_str("a list of prefixes, { file = \"…\" }, or { kernel-table = NUMBER }")
            }
            Self::Table(_) | Self::Inline(_) => f.write_str("a table"),
            Self::Tables(_) | Self::Inlines(_) => f.write_str("a list of tables"),
        }
    }
}

impl fmt::Display for Without {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("required"),
            Self::RefusedFor(whom) => write!(f, "required of {whom}"),
            Self::Is(value) => write!(f, "default {value}"),
            Self::Means(phrase) => write!(f, "default: {phrase}"),
        }
    }
}

impl Shape {
    /// The names of its keys.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.keys.iter().map(|key| key.name)
    }

    /// What to say to somebody who wrote none of its keys.
    pub(super) fn help(&self) -> String {
        format!("the keys of {} are {}", self.what, listed(self.names()))
    }
}

/// A kind of table as the page tells of it.
pub(crate) struct Section {
    /// As it is written, such as `[[port]]`.
    pub(crate) heading: String,
    /// The key that it stands behind.
    pub(crate) key: &'static Key,
    /// Its own keys; none where they are free.
    pub(crate) keys: &'static [Key],
}

/// Every kind of table there is, in the order of the page, each behind the one that holds it.
pub(crate) fn sections() -> Vec<Section> {
    let mut sections = Vec::new();
    visit(&super::ROOT, "", &mut sections);
    sections
}

fn visit(shape: &'static Shape, holder: &str, sections: &mut Vec<Section>) {
    for key in shape.keys {
        let name = key.name;
        let heading = match key.takes {
            Takes::Table(_) | Takes::Named(_) => format!("[{name}]"),
            Takes::Tables(_) => format!("[[{name}]]"),
            Takes::Inline(_) => format!("{name} = {{ … }} of {holder}"),
            Takes::Inlines(_) => format!("{name} = [{{ … }}, …] of {holder}"),
            // Lists of prefixes are described where the syntax is.
            _ => continue,
        };
        let inner = key.shape();
        sections.push(Section { heading: heading.clone(), key, keys: inner.map_or(&[], |shape| shape.keys) });
        if let Some(inner) = inner {
            visit(inner, &heading, sections);
        }
    }
}

/// Refuses a kind of table that is read, but hangs on no key of the page.
#[cfg(test)]
pub(super) fn assert_told(shape: &Shape) {
    fn holds(within: &'static Shape, what: &str) -> bool {
        within.what == what || within.keys.iter().filter_map(Key::shape).any(|inner| holds(inner, what))
    }
    assert!(holds(&super::ROOT, shape.what), "{} has no key that leads to it: see keys.rs", shape.what);
}

/// A whole configuration, which the page shows.
pub(crate) const EXAMPLE: &str = r#"[dataplane]
cores = [2, 3]

[[port]]
name = "access"
role = "subscriber"
peer = "core"
driver = "packet"
device = "eth1"

[[port]]
name = "core"
role = "internet"
peer = "access"
driver = "packet"
device = "eth2"

[sets]
own-msa = ["192.0.2.25/32", "2001:db8:a::25/128"]
own-mx = ["192.0.2.26/32", "2001:db8:a::26/128"]
carriers = ["198.51.100.128/25"]

[[policy]]
name = "dynamic"
allow = ["own-msa", "own-mx"]
action = "reject"
phases = [
  { name = "carriers", from = "2030-04-01T00:00:00+09:00", block = ["carriers"] },
  { name = "all", from = "2030-06-01T00:00:00+09:00", block = "all", action = "monitor" },
]

[[policy]]
name = "static"
kind = "exempt"

[[pool]]
name = "my-b-flets"
title = "My-B FLET'S"
policy = "dynamic"
prefixes = ["203.0.113.0/25", "2001:db8:d000::/36"]

[[pool]]
name = "static"
policy = "static"
prefixes = ["198.51.100.0/25"]

[checks]
source-validation = "monitor"

[metrics]
listen = "127.0.0.1:9925"
"#;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use toml::{Table, Value};

    use super::*;
    use crate::config::{Config, ConfigError};

    /// The page's example with every kind of table in it.
    fn whole() -> Table {
        let mut text: Table = EXAMPLE.parse().unwrap();
        let filter: Table = "name = \"filter\"\nrole = \"filter\"\ndriver = \"memory\"\n\
                             health = { check = \"tcp\", address = \"192.0.2.99\", source = \"192.0.2.98\" }"
            .parse()
            .unwrap();
        text["port"].as_array_mut().unwrap().insert(0, Value::Table(filter));
        text
    }

    fn read(text: &Table) -> Result<Config, ConfigError> {
        Config::from_toml(&text.to_string(), Path::new("conf/sekisho.toml"))
    }

    /// What the reader says, message and remedy, in lines.
    fn said(text: &Table) -> String {
        let problems = read(text).err().map(|error| error.problems().to_vec()).unwrap_or_default();
        problems.iter().map(|problem| format!("{}; {}\n", problem.message, problem.help)).collect()
    }

    /// The first table of a section, made if it is not there.
    fn table<'t>(root: &'t mut Table, way: &[&str]) -> &'t mut Table {
        let Some((name, rest)) = way.split_first() else { return root };
        let inner = root.entry(*name).or_insert_with(|| Value::Table(Table::new()));
        let inner = match inner {
            Value::Array(tables) => tables.first_mut().unwrap(),
            inner => inner,
        };
        table(inner.as_table_mut().unwrap(), rest)
    }

    /// Every key with the names of the tables around it.
    fn every_key() -> Vec<(Vec<&'static str>, &'static Key)> {
        fn gather(
            shape: &'static Shape,
            way: &[&'static str],
            keys: &mut Vec<(Vec<&'static str>, &'static Key)>,
        ) {
            for key in shape.keys {
                keys.push((way.to_vec(), key));
                if let (Some(shape), false) = (key.shape(), matches!(key.takes, Takes::Prefixes(_))) {
                    gather(shape, &[way, &[key.name]].concat(), keys);
                }
            }
        }
        let mut keys = Vec::new();
        gather(&crate::config::ROOT, &[], &mut keys);
        keys
    }

    /// The configuration that a key is tried in.
    fn place_for(way: &[&str], key: &str) -> Table {
        let mut text = whole();
        // A key of one driver alone is asked of a port that has it.
        let own: &[(&str, &str)] = match key {
            "rate" => &[("driver", "pcap")],
            "receive-ring" => &[("driver", "packet"), ("device", "eth7")],
            "mode" | "zero-copy" => &[("driver", "xdp"), ("device", "eth7")],
            _ => &[],
        };
        let of_router = ["mac", "mtu", "addresses", "vlans", "twin", "urpf"].contains(&key);
        if of_router || way.iter().any(|name| ["vlans", "route", "neighbour", "routing"].contains(name)) {
            table(&mut text, &["dataplane"]).insert("mode".to_owned(), Value::String("route".into()));
        }
        // Of these there are several, or none.
        if let [outer @ .., name @ ("vlans" | "route" | "neighbour")] = way {
            let one = match *name {
                "vlans" => "id = 5",
                "route" => "to = \"0.0.0.0/0\"\nport = \"core\"",
                _ => "address = \"192.0.2.9\"\nmac = \"02:00:00:00:00:09\"\nport = \"core\"",
            };
            let one = Value::Array(vec![Value::Table(one.parse().unwrap())]);
            table(&mut text, outer).insert((*name).to_owned(), one);
        }
        for (key, word) in own.iter().filter(|_| way == ["port"]) {
            table(&mut text, way).insert((*key).to_owned(), Value::String((*word).to_owned()));
        }
        text
    }

    /// What the reader says when a value stands behind a key.
    fn with(way: &[&str], key: &str, value: Value) -> String {
        let mut text = place_for(way, key);
        table(&mut text, way).insert(key.to_owned(), value);
        said(&text)
    }

    fn value(text: &str) -> Value {
        format!("x = {text}").parse::<Table>().unwrap().remove("x").unwrap()
    }

    #[test]
    fn the_example_is_accepted_and_so_is_what_these_tests_begin_with() {
        Config::from_toml(EXAMPLE, Path::new("sekisho.toml")).unwrap();
        read(&whole()).unwrap();
    }

    #[test]
    fn each_key_of_the_page_is_read() {
        for (way, key) in every_key() {
            // No key takes a fraction.
            let said = with(&way, key.name, Value::Float(1.5));
            assert!(said.contains(key.name), "{way:?} {}: {said}", key.name);
        }
    }

    #[test]
    fn each_key_of_the_page_is_explained() {
        for (way, key) in every_key() {
            let about = key.about;
            assert!(about.len() > 10 && about.ends_with('.'), "{way:?} {}: {about}", key.name);
        }
    }

    #[test]
    fn numbers_and_durations_have_the_bounds_that_are_told() {
        for (way, key) in every_key() {
            let (inside, outside): (Vec<Value>, Vec<Value>) = match key.takes {
                Takes::Whole(low, high) => {
                    let number = |number: u64| Value::Integer(number as i64);
                    let below = low.checked_sub(1).map_or(Value::Integer(-1), number);
                    (vec![number(low), number(high)], vec![below, number(high + 1)])
                }
                Takes::Duration(low, high) => {
                    let time = |micros| Value::String(format_duration(micros));
                    (vec![time(low), time(high)], vec![time(low - 1), time(high + 1)])
                }
                _ => continue,
            };
            let refusal = format!("`{}` must lie between", key.name);
            let refused = |value: &Value| with(&way, key.name, value.clone()).contains(&refusal);
            assert!(!inside.iter().any(refused), "{way:?} {} takes {}", key.name, key.takes);
            assert!(outside.iter().all(refused), "{way:?} {} takes no more than {}", key.name, key.takes);
        }
    }

    #[test]
    fn words_are_those_that_are_told() {
        for (way, key) in every_key() {
            let Takes::Word(words) = key.takes else { continue };
            let said = with(&way, key.name, Value::String("\u{3013}".into()));
            let told = format!("`{}` is one of {}", key.name, listed(words()));
            assert!(said.contains(&told), "{told}: {said}");
        }
    }

    #[test]
    fn a_default_is_what_holds_without_the_key() {
        for (way, key) in every_key() {
            let Without::Is(default) = key.without else { continue };
            let mut without = place_for(&way, key.name);
            let mut with = without.clone();
            table(&mut without, &way).remove(key.name);
            table(&mut with, &way).insert(key.name.to_owned(), value(default));
            let name = format!("{way:?} {} = {default}", key.name);
            let without = read(&without).unwrap_or_else(|error| panic!("without {name}: {error}"));
            assert_eq!(read(&with).unwrap_or_else(|error| panic!("{name}: {error}")), without, "{name}");
        }
    }

    #[test]
    fn what_is_told_to_be_required_is() {
        for (way, key) in every_key() {
            if matches!(key.without, Without::RefusedFor(_)) {
                continue;
            }
            let mut text = whole();
            table(&mut text, &way).remove(key.name);
            let said = said(&text);
            let refused =
                said.contains(&format!(" has no `{}`", key.name)) || said.contains("there is no port;");
            assert_eq!(refused, matches!(key.without, Without::Refused), "{way:?} {}: {said}", key.name);
        }
    }
}
