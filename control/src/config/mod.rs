//! Configuration: TOML in, checked [`Config`] out, or everything that is wrong with it at once.
//!
//! ```text
//! bytes ─▶ text ─▶ TOML with places ─▶ sections, each with its checks ─▶ Config
//!                                          │
//!                                          └─▶ Report: every problem with its place ─▶ ConfigError
//! ```
//!
//! The tables are read by hand from [`toml::de::DeTable`] and not derived: a derived reader stops at the first problem
//! and knows no place of a second one, and an operator who mistyped two names wants to hear of both. Each section
//! goes on after a problem; what was read is thrown away at the end if there was one.
//!
//! Work and memory grow with the size of the file and no faster, whatever stands in it. Nothing here looks at the
//! clock, the network or the machine, except that files and kernel tables are read which the configuration names, and that
//! paths of captures are compared as the file system resolves them.

mod coverage;
mod duration;
mod error;
mod guard;
mod health;
mod instant;
mod kernel_table;
mod keys;
mod model;
mod policies;
mod pools;
mod ports;
mod prefix;
mod prefix_list;
mod reader;
mod report;
mod router;
mod sets;
mod settings;
mod source;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;
use std::rc::Rc;

use toml::Spanned;
use toml::de::DeTable;

pub(crate) use coverage::Coverage;
pub use duration::{DurationError, format_duration, parse_duration};
pub(crate) use error::wrapped;
pub use error::{Colour, ConfigError, Problem, Related};
pub use instant::{InstantError, parse_instant};
pub use kernel_table::{Contents, FromKernel, KernelTables, ThisHost};
pub(crate) use keys::{EXAMPLE, sections};
pub use model::{
    Affected, Block, Checks, Config, Control, Dataplane, Driver, Health, HealthCheck, Limits, Metrics, Mode,
    Phase, Policy, Pool, Port, Privacy, Rate, ReceiveRing, RouterPort, Routing, Set, StaticHop, StaticKind,
    StaticNeighbour, StaticRoute, Vlan,
};
pub use prefix::{PrefixError, parse_prefix};

use guard::Guard;
use keys::{Key, Shape, Takes, Without};
use prefix_list::{BYTE_ORDER_MARK, LARGEST_FILE, PrefixLists, bounded, decoded, refuse_encoding};
use reader::Table;
use report::Report;
use source::{Place, SourceId};

/// What a loader lets pass that it would refuse otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Pools without prefixes, and sets without prefixes in an `allow`.
    pub allow_empty: bool,
    /// Pools and sets that lose more than half of the prefixes that they have in force.
    pub allow_shrink: bool,
}

static ROOT: Shape = Shape {
    what: "the configuration",
    keys: &[
        Key::new(
            "dataplane",
            Takes::Table(&settings::DATAPLANE),
            Without::Means("its defaults"),
            "Workers, and how frames find their way. A change takes a restart.",
        ),
        Key::new(
            "port",
            Takes::Tables(&ports::SHAPE),
            Without::Refused,
            "An interface, or a capture in its place, and the side of the network that it faces. Up to 256. A change \
             takes a restart.",
        ),
        Key::new(
            "sets",
            Takes::Named("a list of prefixes, or { file = \"…\" }"),
            Without::Means("no sets"),
            "Destinations by name, for allow and block of policies: each key is a name, up to 16384. Prefixes of IPv4 \
             and IPv6 stand beside each other. With { file = \"list.txt\" } they come from a file, one prefix a line, \
             # begins a comment.",
        ),
        Key::new(
            "policy",
            Takes::Tables(&policies::POLICY),
            Without::Means("no policies"),
            "What holds for the pools that name it, on TCP port 25. Up to 4096. Ports 587 and 465 are never denied.",
        ),
        Key::new(
            "pool",
            Takes::Tables(&pools::SHAPE),
            Without::Means("no pools"),
            "Customers' prefixes that have one policy, such as a course of the provider's. Up to 32766. Of pools within \
             each other the longest prefix wins; the same prefix in two pools is refused.",
        ),
        Key::new(
            "route",
            Takes::Tables(&router::ROUTE),
            Without::Means("no static routes"),
            "Of mode \"route\": where packets to a prefix go, whatever the kernel says.",
        ),
        Key::new(
            "neighbour",
            Takes::Tables(&router::NEIGHBOUR),
            Without::Means("no static neighbours"),
            "Of mode \"route\": the MAC of an address on a link.",
        ),
        Key::new(
            "routing",
            Takes::Table(&router::ROUTING),
            Without::Means("its defaults"),
            "Of mode \"route\": what is taken from the kernel. A change takes a restart.",
        ),
        Key::new(
            "checks",
            Takes::Table(&settings::CHECKS),
            Without::Means("its defaults"),
            "What is checked whatever the policy says.",
        ),
        Key::new(
            "control",
            Takes::Table(&settings::CONTROL),
            Without::Means("its defaults"),
            "Where the daemon is spoken to, and where it remembers. A change takes a restart.",
        ),
        Key::new(
            "metrics",
            Takes::Table(&settings::METRICS),
            Without::Means("no metrics"),
            "OpenMetrics for Prometheus, over HTTP. A change takes a restart.",
        ),
        Key::new(
            "affected",
            Takes::Table(&settings::AFFECTED),
            Without::Means("its defaults"),
            "The list of customers whose port 25 is denied, or would be; see sekisho-affected(1). A change of \
             customers takes a restart.",
        ),
        Key::new(
            "limits",
            Takes::Table(&settings::LIMITS),
            Without::Means("its defaults"),
            "Bounds of what is walked, remembered and answered; what a bound drops is counted. l2-headers, \
             extension-headers and grants can be reloaded, the others take a restart.",
        ),
    ],
    remarks: &[],
};

/// How the message of a configuration begins that can't be read at all.
pub const UNREADABLE: &str = "cannot read the configuration";

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file, or one that it names, cannot be read, or something in it is wrong: the error tells all of it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with(path, LoadOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(path: &Path, options: LoadOptions) -> Result<Self, ConfigError> {
        Self::load_against(path, options, None)
    }

    /// The same for a daemon that has a configuration in force: what would be lost of it by accident is refused.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_against(
        path: &Path,
        options: LoadOptions,
        in_force: Option<&Config>,
    ) -> Result<Self, ConfigError> {
        Self::load_from(path, options, in_force, &ThisHost)
    }

    /// The same with other kernel tables than those that stand there now.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_from(
        path: &Path,
        options: LoadOptions,
        in_force: Option<&Config>,
        kernel: &dyn KernelTables,
    ) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let bytes = match File::open(path).and_then(bounded) {
            Ok(bytes) => bytes,
            Err(error) => {
                return Err(unreadable(
                    name,
                    format!("{UNREADABLE}: {error}"),
                    "name a file that exists and may be read",
                ));
            }
        };
        if bytes.len() as u64 > LARGEST_FILE {
            let help = "keep long lists of prefixes in files of their own: `prefixes = { file = \"…\" }`";
            return Err(unreadable(name, "the configuration is larger than 64 MiB".into(), help));
        }
        let (text, whole) = decoded(bytes);
        let mut report = Report::new(name, Rc::clone(&text));
        if let Err(at) = whole {
            refuse_encoding(&mut report, SourceId::MAIN, at);
            return Err(report.into_error());
        }
        read(report, &text, path, &Guard::new(options, in_force), kernel)
    }

    /// Checks a text. `path` stands in messages, and files that the text names are relative to its folder.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::from_toml_with(text, path, LoadOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml_with(text: &str, path: &Path, options: LoadOptions) -> Result<Self, ConfigError> {
        Self::from_toml_against(text, path, options, None)
    }

    /// The same for a daemon that has a configuration in force, as [`Config::load_against`].
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml_against(
        text: &str,
        path: &Path,
        options: LoadOptions,
        in_force: Option<&Config>,
    ) -> Result<Self, ConfigError> {
        Self::from_toml_from(text, path, options, in_force, &ThisHost)
    }

    /// The same with other kernel tables than those that stand there now.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_toml_from(
        text: &str,
        path: &Path,
        options: LoadOptions,
        in_force: Option<&Config>,
        kernel: &dyn KernelTables,
    ) -> Result<Self, ConfigError> {
        let text: Rc<str> = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).into();
        let report = Report::new(path.display().to_string(), Rc::clone(&text));
        read(report, &text, path, &Guard::new(options, in_force), kernel)
    }
}

fn unreadable(name: String, message: String, help: &str) -> ConfigError {
    let problem = Problem {
        file: error::shown(&name, 4096),
        line: 1,
        column: 1,
        message,
        help: help.into(),
        related: None,
        excerpt: None,
    };
    ConfigError::new(vec![problem], 1)
}

fn read(
    mut report: Report,
    text: &str,
    path: &Path,
    guard: &Guard<'_>,
    kernel: &dyn KernelTables,
) -> Result<Config, ConfigError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let Some(document) = parse(&mut report, text) else {
        return Err(report.into_error());
    };

    let root = Table::root(&mut report, &document, &ROOT);
    let dataplane = settings::dataplane(&mut report, &root);
    let mode = dataplane.mode;
    let ports = ports::read(&mut report, &root, dataplane.mode, folder);
    let mut lists = PrefixLists::new(folder, kernel);
    let mut sets = sets::read(&mut report, &root, &mut lists, guard);
    let (policies, policy_names) = policies::read(&mut report, &root, &mut sets, ports.filter);
    let pools = pools::read(&mut report, &root, &policy_names, &mut lists, guard);
    let (routes, neighbours) = router::read(&mut report, &root, dataplane.mode, &ports.ports);
    let config = Config {
        path: path.to_owned(),
        dataplane,
        ports: ports.ports,
        sets: Vec::new(),
        policies,
        pools: Vec::new(),
        routes,
        neighbours,
        routing: router::routing(&mut report, &root, mode),
        checks: settings::checks(&mut report, &root, mode),
        limits: settings::limits(&mut report, &root),
        control: settings::control(&mut report, &root, folder),
        metrics: settings::metrics(&mut report, &root),
        affected: settings::affected(&mut report, &root),
    };
    // Of lists with faults in them nothing can be said.
    if report.is_clean() {
        guard.refuse_shrinking(&mut report, &sets, &config.policies, &pools);
    }
    let config = Config { sets: sets.sets, pools: pools.pools, ..config };
    if report.is_clean() { Ok(config) } else { Err(report.into_error()) }
}

/// The document, if it is worth reading. A key given twice leaves one that can be read; any other error of syntax leaves
/// pieces, and complaints about pieces help nobody.
fn parse<'t>(report: &mut Report, text: &'t str) -> Option<Spanned<DeTable<'t>>> {
    /// Every byte can be an error of some hundred bytes: of a larger text, only the first is told.
    const ALL_ERRORS: usize = 1 << 20;
    if text.len() > ALL_ERRORS {
        return DeTable::parse(text).map_err(|error| refuse_syntax(report, &[error])).ok();
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    refuse_syntax(report, &errors);
    errors.iter().all(is_duplicate).then_some(document)
}

/// Tells the errors of syntax, one a line: the first of a line is often the cause of the others.
fn refuse_syntax(report: &mut Report, errors: &[toml::de::Error]) {
    let mut errors: Vec<_> = errors.iter().map(|error| (error.span().unwrap_or(0..0), error)).collect();
    errors.sort_by_key(|(span, _)| span.start);
    let mut told_up_to = 0;
    for (span, error) in errors {
        if span.start < told_up_to {
            continue;
        }
        let place = Place::main(span);
        told_up_to = report.end_of_line(&place);
        if is_duplicate(error) {
            let message = format!("{} is given twice", error::quoted(report.text_of(&place)));
            report.refuse(place, message, "keep one of the two");
        } else {
            let message = error.message();
            report.refuse(place, format!("not TOML: {message}"), remedy(message));
        }
    }
}

fn is_duplicate(error: &toml::de::Error) -> bool {
    error.message() == "duplicate key"
}

/// What to do about an error of syntax.
fn remedy(message: &str) -> &'static str {
    const REMEDIES: &[(&str, &str)] = &[
        ("string values must be quoted", "put the value in double quotes"),
        ("unclosed array", "close the list with `]`"),
        ("unclosed inline table", "close the table with `}`"),
        ("unclosed table", "close the header with `]`"),
        ("missing comma", "put a comma between the two"),
        ("extra comma", "remove one of the commas"),
        ("key with no value", "write `key = value`"),
        ("missing value", "write a value behind the `=`; text stands in double quotes"),
        ("invalid unquoted key", "keys are letters, digits, `-` and `_`; put others in double quotes"),
        ("cannot recurse", "nothing in a configuration is nested that deeply"),
        ("recursion limit", "no key in a configuration has that many dots"),
    ];
    let known = REMEDIES.iter().find(|(begin, _)| message.starts_with(begin));
    known.map_or("correct it; the grammar is at https://toml.io", |(_, remedy)| remedy)
}
