//! From a text to tests and operators in postfix order.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::tokens::{Token, tokens};
use super::{DEEPEST, Direction, FilterError, LONGEST, Protocol, Step, Test, Value};

pub(super) fn parse(text: &str) -> Result<Vec<Step>, FilterError> {
    if text.len() > LONGEST {
        let message = format!("an expression has at most {LONGEST} bytes");
        return Err(FilterError::new("", 0..0, message));
    }
    let mut parser = Parser { text, tokens: tokens(text), at: 0, depth: 0, last: None, steps: Vec::new() };
    if parser.tokens.is_empty() {
        return Ok(Vec::new());
    }
    parser.expression()?;
    match parser.peek() {
        None => Ok(parser.steps),
        Some(")") => Err(parser.fault("there is no `(` for it")),
        Some(_) => Err(parser.fault("expected `and` or `or`")),
    }
}

const WORDS: &str = "it knows: host net src dst port portrange tcp udp icmp icmp6 ip ip6 arp and or not ( )";

/// What is compared, before its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    PortRange,
}

/// Everything before a value.
#[derive(Clone, Copy)]
struct Qualifiers {
    protocol: Option<Protocol>,
    direction: Direction,
    kind: Kind,
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    depth: usize,
    /// What a value alone takes.
    last: Option<Qualifiers>,
    steps: Vec<Step>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.at).map(|token| token.text)
    }

    fn take(&mut self, words: &[&str]) -> bool {
        let found = self.peek().is_some_and(|word| words.contains(&word));
        self.at += usize::from(found);
        found
    }

    /// A fault at the next word, or behind the last.
    fn fault(&self, message: impl Into<String>) -> FilterError {
        let end = self.text.trim_end().len();
        let place = self.tokens.get(self.at).map_or(end..end, |token| token.place.clone());
        FilterError::new(self.text, place, message)
    }

    fn expression(&mut self) -> Result<(), FilterError> {
        self.term()?;
        loop {
            let step = match () {
                () if self.take(&["and", "&&"]) => Step::And,
                () if self.take(&["or", "||"]) => Step::Or,
                () => return Ok(()),
            };
            self.term()?;
            self.steps.push(step);
        }
    }

    fn term(&mut self) -> Result<(), FilterError> {
        if self.depth == DEEPEST {
            return Err(self.fault(format!("parentheses and negations go at most {DEEPEST} deep")));
        }
        self.depth += 1;
        if self.take(&["not", "!"]) {
            self.term()?;
            self.steps.push(Step::Not);
        } else if self.take(&["("]) {
            self.expression()?;
            if !self.take(&[")"]) {
                return Err(self.fault("expected `)`"));
            }
        } else {
            let test = self.primitive()?;
            self.steps.push(Step::Test(test));
        }
        self.depth -= 1;
        Ok(())
    }

    fn primitive(&mut self) -> Result<Test, FilterError> {
        let first = self.at;
        let protocol = self.protocol();
        let direction = match () {
            () if self.take(&["src"]) => Direction::Source,
            () if self.take(&["dst"]) => Direction::Destination,
            () => Direction::Either,
        };
        let kind = match () {
            () if self.take(&["host"]) => Some(Kind::Host),
            () if self.take(&["net"]) => Some(Kind::Net),
            () if self.take(&["port"]) => Some(Kind::Port),
            () if self.take(&["portrange"]) => Some(Kind::PortRange),
            () => None,
        };
        let qualifiers = match (kind, direction, protocol) {
            (Some(kind), ..) => Qualifiers { protocol, direction, kind },
            (None, Direction::Either, Some(_)) => {
                self.last = None;
                return Ok(Test { protocol, value: None });
            }
            (None, Direction::Either, None) => return self.bare_value(),
            (None, ..) => match self.peek() {
                Some("and" | "or" | "&&" | "||") => {
                    return Err(self.fault("`src or dst` is what neither of them says: leave both out"));
                }
                _ => Qualifiers { protocol, direction, kind: Kind::Host },
            },
        };
        let value = self.value(qualifiers)?;
        self.agrees(first, qualifiers, &value)?;
        self.last = Some(qualifiers);
        Ok(Test { protocol, value: Some((direction, value)) })
    }

    /// A value alone: what came before it says what it is.
    fn bare_value(&mut self) -> Result<Test, FilterError> {
        let Some(word) = self.peek() else { return Err(self.fault("expected more")) };
        let starts_like_one = word.starts_with(|letter: char| letter.is_ascii_hexdigit() || letter == ':');
        let is_value =
            starts_like_one && word.contains(|letter: char| letter.is_ascii_digit() || letter == ':');
        match self.last {
            Some(qualifiers) if is_value => {
                let first = self.at;
                let value = self.value(qualifiers)?;
                self.agrees(first, qualifiers, &value)?;
                Ok(Test { protocol: qualifiers.protocol, value: Some((qualifiers.direction, value)) })
            }
            None if is_value => Err(self.fault("say what it is: `host`, `net`, `port` or `portrange`")),
            _ if matches!(word, "and" | "or" | "&&" | "||" | ")") => {
                Err(self.fault("expected a test before it"))
            }
            _ => Err(self.fault("not a word of this filter").with_hint(WORDS)),
        }
    }

    fn protocol(&mut self) -> Option<Protocol> {
        let protocol = match self.peek()? {
            "ip" => Protocol::Ip,
            "ip6" => Protocol::Ip6,
            "arp" => Protocol::Arp,
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "icmp" => Protocol::Icmp,
            "icmp6" => Protocol::Icmp6,
            _ => return None,
        };
        self.at += 1;
        Some(protocol)
    }

    fn value(&mut self, qualifiers: Qualifiers) -> Result<Value, FilterError> {
        let word = self.peek();
        let value = match qualifiers.kind {
            Kind::Host => {
                word.and_then(|word| word.parse::<IpAddr>().ok()).map(|host| Value::Net(host.into()))
            }
            Kind::Net => match word.and_then(|word| word.parse::<IpNetwork>().ok()) {
                Some(net) if net.network() != net.ip() => {
                    let message =
                        format!("bits behind the prefix are set; write {}/{}", net.network(), net.prefix());
                    return Err(self.fault(message));
                }
                net => net.map(Value::Net),
            },
            Kind::Port => word.and_then(number).map(|port| Value::Ports(port..=port)),
            Kind::PortRange => word.and_then(|word| {
                let (low, high) = word.split_once('-')?;
                let (low, high) = (number(low)?, number(high)?);
                (low <= high).then_some(Value::Ports(low..=high))
            }),
        };
        let wanted = match qualifiers.kind {
            Kind::Host => "an address, such as 192.0.2.25 or 2001:db8::25",
            Kind::Net => "a prefix, such as 192.0.2.0/24 or 2001:db8::/32",
            Kind::Port => "a port's number, such as 25",
            Kind::PortRange => "two ports' numbers, such as 1024-65535",
        };
        let value = value.ok_or_else(|| self.fault(format!("expected {wanted}")))?;
        self.at += 1;
        Ok(value)
    }

    /// Refuses what no packet can be.
    fn agrees(&self, first: usize, qualifiers: Qualifiers, value: &Value) -> Result<(), FilterError> {
        let message = match (qualifiers.protocol, value) {
            (Some(Protocol::Arp | Protocol::Icmp | Protocol::Icmp6), Value::Ports(_)) => "it has no ports",
            (Some(Protocol::Ip | Protocol::Arp), Value::Net(net)) if net.is_ipv6() => {
                "there are no IPv6 addresses in it"
            }
            (Some(Protocol::Ip6), Value::Net(net)) if net.is_ipv4() => "there are no IPv4 addresses in it",
            (Some(Protocol::Tcp | Protocol::Udp | Protocol::Icmp | Protocol::Icmp6), Value::Net(_)) => {
                "it has no addresses; write `tcp and host …`"
            }
            _ => return Ok(()),
        };
        let place = self.tokens[first].place.start..self.tokens[self.at - 1].place.end;
        Err(FilterError::new(self.text, place, message))
    }
}

fn number(word: &str) -> Option<u16> {
    // `parse` takes a sign as well.
    word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok())?
}
