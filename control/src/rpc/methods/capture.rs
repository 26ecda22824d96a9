//! `capture`: copies of frames that workers judge, with what became of each. Takes a [`Request`], gives [`Begun`] or a
//! [`Batch`].
//!
//! ```text
//! {"begin":{"denied":true,"reasons":["port25-egress"],"count":10}}      from now on, for this connection
//! {"next":{}}                                                           what was captured meanwhile; ask again and again
//! {"stop":{}}                                                           no more; `next` until it is `finished`
//! ```
//!
//! One capture runs at a time. It ends when it is `finished`, and with its connection. What is not asked for in time is
//! lost, and counted.

use std::fmt::Write;
use std::str::FromStr;

use sekisho_dataplane::policy::{Reason, Reasons};
use sekisho_dataplane::tap::Wanted;
use serde::{Deserialize, Serialize};

use super::{Answer, Params, give};
use crate::capture::filter::{Filter, FilterError};
use crate::capture::{Captured, MAX_SNAPLEN, Plan, SNAPLEN, Standing};
use crate::daemon::{Captures, NotCapturing, View};
use crate::rpc::Error;

/// What `capture` takes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// Begins a capture.
    Begin(Wish),
    /// Asks for what was captured meanwhile.
    Next {},
    /// The same, and ends the capture.
    Stop {},
}

/// What is to be captured. All of it has to hold.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    /// Only what was denied: dropped, rejected, diverted.
    pub denied: bool,
    /// One of these reasons, or a monitored deny that would have had one; any if there is none.
    pub reasons: Vec<String>,
    /// The customer's pool.
    pub pool: Option<String>,
    /// The port that received it.
    pub port: Option<String>,
    /// A filter expression; see [`filter`](crate::capture::filter).
    pub filter: String,
    /// How many frames; then it is finished.
    pub count: Option<u64>,
    /// How much of each frame is kept, in bytes: 1 to 65535.
    pub snaplen: u32,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish {
            denied: false,
            reasons: Vec::new(),
            pool: None,
            port: None,
            filter: String::new(),
            count: None,
            snaplen: SNAPLEN,
        }
    }
}

/// A capture has begun.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Begun {
    /// It runs.
    pub capturing: bool,
}

/// What was captured meanwhile.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Batch {
    /// The frames, in the order in which workers copied them.
    pub packets: Vec<Packet>,
    /// There may be more at once.
    pub more: bool,
    /// The capture is over, and this was the rest.
    pub finished: bool,
    /// Frames since the beginning.
    pub captured: u64,
    /// Copies for which there was no room, before the filter expression has seen them.
    pub lost: u64,
}

/// A captured frame.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Packet {
    /// The port that received it.
    pub port: String,
    /// How it begins: a LINKTYPE_ number of pcap.
    pub link: u16,
    /// When it was judged, in UTC microseconds.
    pub utc_micros: i64,
    /// Its length; `bytes` may be less.
    pub length: usize,
    /// What became of it.
    pub comment: String,
    /// Its bytes, in hexadecimal digits.
    #[serde(with = "hexadecimal")]
    pub bytes: Vec<u8>,
}

impl From<&Captured<'_>> for Packet {
    fn from(captured: &Captured<'_>) -> Packet {
        Packet {
            port: captured.port.to_owned(),
            link: captured.link.dlt(),
            utc_micros: captured.utc_micros,
            length: captured.length,
            comment: captured.comment.to_owned(),
            bytes: captured.bytes.to_owned(),
        }
    }
}

mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    const DIGITS: &[u8; 16] = b"0123456789abcdef";

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
        let mut text = String::with_capacity(bytes.len() * 2);
        text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
        serializer.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
        let pair = |pair: &[u8]| match pair {
            [high, low] => Some(value(*high)? << 4 | value(*low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
        bytes.ok_or_else(|| D::Error::custom("not hexadecimal digits"))
    }
}

pub(super) fn answer(view: &View<'_>, captures: &mut Captures, params: &Params<'_>, client: u64) -> Answer {
    params.must_change("to see traffic")?;
    let stop = match params.read()? {
        Request::Begin(wish) => {
            let plan = plan(view, &wish)?;
            captures.begin(client, params.peer, plan, describe(&wish)).map_err(refusal)?;
            return give(&Begun { capturing: true });
        }
        Request::Next {} => false,
        Request::Stop {} => true,
    };
    let mut packets = Vec::new();
    let standing = captures.next(client, stop, &view.in_force, |captured| packets.push(captured.into()));
    let Standing { more, finished, captured, lost } = standing.map_err(refusal)?;
    give(&Batch { packets, more, finished, captured, lost })
}

fn refusal(why: NotCapturing) -> Error {
    match why {
        NotCapturing::Others => Error::new(Error::BUSY, "another capture runs; end it, or try again later"),
        NotCapturing::Already => Error::params("this connection captures already"),
        NotCapturing::None => Error::params("this connection captures nothing; `begin` first"),
    }
}

fn plan(view: &View<'_>, wish: &Wish) -> Result<Plan, Error> {
    let names = &view.in_force.names;
    let unknown = |what: &str, name: &str| {
        let name: String = name.chars().take(40).collect();
        Error::params(format!("there is no {what} `{name}`"))
    };
    let mut reasons = Vec::with_capacity(Reason::COUNT);
    for code in &wish.reasons {
        let reason = Reason::ALL.iter().find(|reason| reason.code() == code);
        reasons.push(*reason.ok_or_else(|| unknown("reason", code))?);
    }
    let pool = wish.pool.as_deref().map(|name| names.pool_named(name).ok_or_else(|| unknown("pool", name)));
    let port = wish.port.as_deref().map(|name| names.port_named(name).ok_or_else(|| unknown("port", name)));
    if !(1..=MAX_SNAPLEN).contains(&wish.snaplen) {
        return Err(Error::params(format!("`snaplen` must lie between 1 and {MAX_SNAPLEN}")));
    }
    if wish.count == Some(0) {
        return Err(Error::params("`count` must be at least 1"));
    }
    let filter = Filter::from_str(&wish.filter);
    Ok(Plan {
        wanted: Wanted {
            denied: wish.denied,
            reasons: if reasons.is_empty() { Reasons::ALL } else { Reasons::of(&reasons) },
            pool: pool.transpose()?,
            port: port.transpose()?,
        },
        filter: filter.map_err(|error: FilterError| Error::params(format!("filter: {error}")))?,
        count: wish.count,
        snaplen: wish.snaplen as usize,
    })
}

/// For the log. What is in it was found good.
fn describe(wish: &Wish) -> String {
    let mut what = (if wish.denied { "denied frames" } else { "all frames" }).to_owned();
    let mut add = |name: &str, value: &str| {
        let value: String =
            value.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        // Writing to a string does not fail.
        let _ = write!(what, ", {name} {value}");
    };
    if !wish.reasons.is_empty() {
        add("reason", &wish.reasons.join(" or "));
    }
    for (name, value) in [("pool", &wish.pool), ("port", &wish.port)] {
        if let Some(value) = value {
            add(name, value);
        }
    }
    if !wish.filter.trim().is_empty() {
        add("filter", &wish.filter);
    }
    what
}
