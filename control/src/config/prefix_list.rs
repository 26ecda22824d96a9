//! Lists of prefixes, in the configuration or in a file of their own.
//!
//! A file has one prefix a line, `#` begins a comment, blank lines count for nothing. It is named relative to the
//! configuration's folder, and read once however many sets and pools name it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ipnetwork::IpNetwork;
use toml::de::DeValue;

use super::error::{quoted, shown};
use super::kernel_table::{self, FromKernel, KernelTables};
use super::prefix::parse_prefix;
use super::reader::{Shape, Table, Value, described};
use super::report::Report;
use super::source::{Place, SourceId};

/// The largest file that is read, configuration and prefixes alike.
pub(super) const LARGEST_FILE: u64 = 64 << 20;

const SHAPE: Shape = Shape {
    what: "a list of prefixes from elsewhere",
    keys: &["file", "kernel-table", "allow-empty", "hold"],
    remarks: &[],
};

/// A prefix and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) prefix: IpNetwork,
    pub(super) place: Place,
}

/// A list of prefixes as it was given.
pub(super) struct PrefixList {
    /// The good ones.
    pub(super) prefixes: Rc<[Listed]>,
    /// Nothing was given at all, not even something bad.
    pub(super) empty: bool,
    /// Where the list stands in the configuration.
    pub(super) place: Place,
    /// The kernel's table that it comes from.
    pub(super) from_kernel: Option<FromKernel>,
}

/// What stands in a file of prefixes.
#[derive(Clone)]
struct Content {
    /// The good prefixes.
    prefixes: Rc<[Listed]>,
    /// Nothing but comments and blank lines.
    empty: bool,
}

/// Reads lists of prefixes.
pub(super) struct PrefixLists<'p> {
    folder: &'p Path,
    kernel: &'p dyn KernelTables,
    /// Files read so far; `None` for one that could not be read.
    files: HashMap<PathBuf, Option<Content>>,
}

impl<'p> PrefixLists<'p> {
    /// Files are named relative to `folder`; tables are `kernel`'s.
    pub(super) fn new(folder: &'p Path, kernel: &'p dyn KernelTables) -> Self {
        Self { folder, kernel, files: HashMap::new() }
    }

    /// The list that a value is: `["192.0.2.0/24", …]` or `{ file = "…" }`. `title` is whose list it is.
    pub(super) fn read<'a>(
        &mut self,
        report: &mut Report,
        value: &'a Value<'a>,
        title: &str,
    ) -> Option<PrefixList> {
        let place = Place::main(value.span());
        match value.get_ref() {
            DeValue::Array(values) => {
                let prefixes = values.iter().filter_map(|value| inline_prefix(report, value)).collect();
                Some(PrefixList { prefixes, empty: values.is_empty(), place, from_kernel: None })
            }
            DeValue::Table(_) => {
                let table = Table::of(report, value, format!("the list of prefixes of {title}"), &SHAPE)?;
                if table.get("kernel-table").is_some() {
                    let from = kernel_table::read(report, &table)?;
                    return self.of_kernel(report, from, place);
                }
                for key in ["allow-empty", "hold"] {
                    if let Some(entry) = table.get(key) {
                        let message = format!("`{key}` is for a list from a kernel table");
                        report.refuse(entry.key_place, message, "remove it");
                    }
                }
                let file = table.require(report, "file", "\"…\"")?;
                let name = file.string(report)?;
                let path = self.folder.join(name);
                let cached = match self.files.get(&path) {
                    Some(cached) => cached.clone(),
                    None => {
                        let read = read_file(report, &path, file.place());
                        self.files.insert(path, read.clone());
                        read
                    }
                };
                cached.map(|Content { prefixes, empty }| PrefixList {
                    prefixes,
                    empty,
                    place,
                    from_kernel: None,
                })
            }
            _ => {
                let message = format!("the prefixes of {title} must be a list, not {}", described(value));
                report.refuse(place, message, "write `[\"192.0.2.0/24\", …]` or `{ file = \"…\" }`");
                None
            }
        }
    }

    fn of_kernel(&self, report: &mut Report, from: FromKernel, place: Place) -> Option<PrefixList> {
        match self.kernel.prefixes(from.table) {
            Ok(prefixes) => {
                let listed = |prefix: &IpNetwork| Listed { prefix: *prefix, place: place.clone() };
                Some(PrefixList {
                    empty: prefixes.is_empty(),
                    prefixes: prefixes.iter().map(listed).collect(),
                    place,
                    from_kernel: Some(from),
                })
            }
            Err(why) => {
                let message = format!("kernel table {} can't be read: {why}", from.table);
                report.refuse(place, message, "run this where the kernel's routes may be read (rtnetlink)");
                None
            }
        }
    }
}

/// A prefix in a list of the configuration.
fn inline_prefix(report: &mut Report, value: &Value<'_>) -> Option<Listed> {
    let place = Place::main(value.span());
    match value.get_ref().as_str() {
        Some(text) => checked(report, text, place),
        None => {
            let message = format!("a prefix must be a string, not {}", described(value));
            report.refuse(place, message, "write it in quotes, such as `\"192.0.2.0/24\"`");
            None
        }
    }
}

fn checked(report: &mut Report, text: &str, place: Place) -> Option<Listed> {
    match parse_prefix(text) {
        Ok(prefix) => Some(Listed { prefix, place }),
        Err(error) => {
            report.refuse(place, format!("{} is {error}", quoted(text)), error.help());
            None
        }
    }
}

fn read_file(report: &mut Report, path: &Path, named: Place) -> Option<Content> {
    let name = path.display().to_string();
    let bytes = match regular_file(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("cannot read {}: {error}", shown(&name, 200));
            report.refuse(named, message, "the file is looked for relative to this configuration's folder");
            return None;
        }
    };
    if bytes.len() as u64 > LARGEST_FILE {
        report.refuse(
            named,
            format!("{} is larger than 64 MiB", shown(&name, 200)),
            "split it over several sets or pools",
        );
        return None;
    }
    let (text, whole) = decoded(bytes);
    let source = report.add_source(name, Rc::clone(&text));
    if let Err(at) = whole {
        refuse_encoding(report, source, at);
        return None;
    }
    let mut prefixes = Vec::new();
    let mut empty = true;
    let mut start = 0;
    for line in text.split('\n') {
        let entry = line.split('#').next().unwrap_or("");
        let prefix = entry.trim();
        if !prefix.is_empty() {
            empty = false;
            let at = start + (entry.len() - entry.trim_start().len());
            prefixes.extend(checked(report, prefix, Place { source, span: at..at + prefix.len() }));
        }
        start += line.len() + 1;
    }
    Some(Content { prefixes: prefixes.into(), empty })
}

/// A pipe or a device named by mistake would be waited for without end.
fn regular_file(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    bounded(File::open(path)?)
}

/// The bytes of a file, cut off one byte behind [`LARGEST_FILE`].
pub(super) fn bounded(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file's text without a byte order mark. If it is not UTF-8, a readable text all the same, and the first bad byte as
/// (offset in the text, offset in the file).
pub(super) fn decoded(bytes: Vec<u8>) -> (Rc<str>, Result<(), (usize, usize)>) {
    let (text, whole) = match String::from_utf8(bytes) {
        Ok(text) => (text, Ok(())),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            (String::from_utf8_lossy(error.as_bytes()).into_owned(), Err((at, at)))
        }
    };
    match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(rest) => (rest.into(), whole.map_err(|(at, offset)| (at - BYTE_ORDER_MARK.len_utf8(), offset))),
        None => (text.into(), whole),
    }
}

/// What some editors begin a UTF-8 file with.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// Refuses a source that is not UTF-8.
pub(super) fn refuse_encoding(report: &mut Report, source: SourceId, (at, offset): (usize, usize)) {
    let span = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
    let message = format!("not UTF-8: the byte at offset {offset} begins no character");
    report.refuse(Place { source, span }, message, "save the file as UTF-8");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_utf_8_is_decoded_up_to_the_bad_byte() {
        let (text, whole) = decoded(b"\xef\xbb\xbfab\xff\xfec".to_vec());
        assert_eq!((&*text, whole), ("ab\u{fffd}\u{fffd}c", Err((2, 5))));
        assert_eq!(decoded(b"\xef\xbb\xbfab".to_vec()), ("ab".into(), Ok(())));
        assert_eq!(decoded(b"\xef\xbb".to_vec()).1, Err((0, 0)));
    }
}
