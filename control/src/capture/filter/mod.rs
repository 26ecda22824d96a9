//! Filter expressions: a subset of pcap-filter(7), for the copies of a capture.
//!
//! ```text
//! expression = term { ("and" | "&&" | "or" | "||") term }       equal precedence, from the left, as there
//! term       = ("not" | "!") term | "(" expression ")" | primitive
//! primitive  = [protocol] [direction] kind value | protocol | value
//! protocol   = "ip" | "ip6" | "arp" | "tcp" | "udp" | "icmp" | "icmp6"
//! direction  = "src" | "dst"
//! kind       = "host" ADDRESS | "net" PREFIX | "port" NUMBER | "portrange" NUMBER "-" NUMBER
//! ```
//!
//! A value alone takes the qualifiers before it: `port 25 or 587`, `src host 192.0.2.1 or 192.0.2.2`. `src ADDRESS` is
//! `src host ADDRESS`. What differs from there: tags, MPLS labels and PPPoE are looked behind without being asked to, so
//! are IPv6 extension headers; ports and hosts have no names.
//!
//! An expression becomes a list of tests and operators in postfix order, which is evaluated without recursion.

mod error;
mod fields;
mod parser;
#[cfg(test)]
mod tests;
mod tokens;

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use sekisho_dataplane::frame::Link;

pub use error::FilterError;
use fields::Fields;

/// The longest expression, in bytes.
const LONGEST: usize = 4096;
/// How deep parentheses and negations go.
const DEEPEST: usize = 60;

/// What a frame's protocol is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Ip,
    Ip6,
    Arp,
    Tcp,
    Udp,
    Icmp,
    Icmp6,
}

/// Which side of a packet is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Either,
    Source,
    Destination,
}

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    /// A host is a net of one address.
    Net(IpNetwork),
    Ports(RangeInclusive<u16>),
}

/// One primitive.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Test {
    protocol: Option<Protocol>,
    value: Option<(Direction, Value)>,
}

impl Test {
    fn matches(&self, fields: &Fields) -> bool {
        let protocol = self.protocol.is_none_or(|protocol| fields.is(protocol));
        protocol && self.value.as_ref().is_none_or(|(direction, value)| value.matches(*direction, fields))
    }
}

impl Value {
    fn matches(&self, direction: Direction, fields: &Fields) -> bool {
        match self {
            Value::Net(net) => either(direction, fields.addresses, |address: IpAddr| net.contains(address)),
            Value::Ports(ports) => either(direction, fields.ports, |port| ports.contains(&port)),
        }
    }
}

fn either<T: Copy>(direction: Direction, pair: Option<[T; 2]>, is_it: impl Fn(T) -> bool) -> bool {
    let Some([source, destination]) = pair else { return false };
    match direction {
        Direction::Source => is_it(source),
        Direction::Destination => is_it(destination),
        Direction::Either => is_it(source) || is_it(destination),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Test(Test),
    Not,
    And,
    Or,
}

/// A filter expression, checked. One that is empty takes every frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    text: String,
    steps: Vec<Step>,
}

impl Filter {
    /// Whether it takes every frame, unseen.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether it takes a frame.
    pub fn matches(&self, link: Link, frame: &[u8]) -> bool {
        if self.is_empty() {
            return true;
        }
        let fields = Fields::of(link, frame);
        // Deeper than `DEEPEST` nothing waits for its operator but one term at each level.
        let mut stack: u128 = 0;
        for step in &self.steps {
            stack = match step {
                Step::Test(test) => stack << 1 | u128::from(test.matches(&fields)),
                Step::Not => stack ^ 1,
                Step::And => stack >> 1 & (stack | !1),
                Step::Or => stack >> 1 | stack & 1,
            };
        }
        stack & 1 == 1
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Filter, FilterError> {
        Ok(Filter { text: text.to_owned(), steps: parser::parse(text)? })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
