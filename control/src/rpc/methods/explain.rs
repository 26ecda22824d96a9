//! `explain`: one packet's verdict by the generation in force. Takes a [`Packet`], gives what `sekisho explain --json`
//! prints, or with `"text": true` `{"text": …}`, what it prints for people.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use super::{Answer, Call, Params, give};
use crate::clock;
use crate::compile::{Compiled, Compiler};
use crate::config::parse_instant;
use crate::daemon::Readers;
use crate::explain::{self, Protocol, Question, SOURCE_PORT};
use crate::rpc::Error;

/// What `explain` takes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port.
    pub destination_port: u16,
    /// Source port; 50000 if not given.
    #[serde(default = "source_port")]
    pub source_port: u16,
    /// `tcp`, `udp`, `sctp` or `icmp`.
    #[serde(default)]
    pub protocol: Protocol,
    /// The port that receives it; the first subscriber port if not given.
    #[serde(default)]
    pub port: Option<String>,
    /// The instant (RFC 3339 with offset); now if not given. At another instant than now, the phases are those that the
    /// instant makes, whatever has begun in the daemon; and no phase begins by being asked about.
    #[serde(default)]
    pub at: Option<String>,
    /// The text for people.
    #[serde(default)]
    pub text: bool,
}

fn source_port() -> u16 {
    SOURCE_PORT
}

/// What `explain` gives for people.
#[derive(Debug, Deserialize, Serialize)]
pub struct Text {
    /// Several lines.
    pub text: String,
}

pub(super) fn call(params: &Params<'_>) -> Result<Call, Error> {
    let packet: Packet = params.read()?;
    let at = packet.at.as_deref().map(parse_instant).transpose();
    let at = at.map_err(|error| Error::params(format!("at: {error}")))?;
    Ok(Call::read(move |readers| answer(readers, &packet, at)))
}

fn answer(readers: &Readers, packet: &Packet, at: Option<i64>) -> Answer {
    let in_force = readers.in_force();
    let (config, number) = (&in_force.config, in_force.generation);
    let question = Question {
        port: packet.port.clone(),
        source: packet.source,
        destination: packet.destination,
        destination_port: packet.destination_port,
        source_port: packet.source_port,
        protocol: packet.protocol,
        at: packet.at.clone(),
    };
    let down = |port| readers.books().outage(port).is_some();
    // Judging at an instant begins the phases up to it. So only now is asked of the generation in force, and for
    // another instant there is one of its own, with latches of its own.
    let scratch = match at {
        None => None,
        Some(_) => {
            let compiled = Compiler::numbering_from(number).compile(config, readers.grants.table());
            Some(compiled.map_err(|error| Error::internal(error.to_string()))?)
        }
    };
    let routes = readers.routes();
    let now = readers.generation(&in_force);
    let (generation, names) = match &scratch {
        None => (&now, &*in_force.names),
        Some(Compiled { generation, names, .. }) => (generation, names),
    };
    let at = at.unwrap_or_else(clock::now);
    let explanation =
        explain::explain(config, names, (generation, number), down, routes.as_deref(), &question, at)
            .map_err(|error| Error::params(error.to_string()))?;
    if !packet.text {
        return to_raw_value(&explanation).map_err(|error| Error::internal(error.to_string()));
    }
    let mut text = Vec::new();
    explanation.print(&mut text).map_err(|error| Error::internal(error.to_string()))?;
    give(&Text { text: String::from_utf8_lossy(&text).into_owned() })
}
