//! `sekisho explain`: one packet's verdict, with every table entry and rule on the way.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::Value;

use super::{Failure, remote};
use crate::clock;
use crate::compile::{Compiled, Compiler};
use crate::config::Mode;
use crate::explain::{self, Protocol, Question};
use crate::routing::{Device, StaticRoutes};
use crate::rpc::methods::explain::{Packet, Text};

/// What `explain` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration; without it the running daemon is asked
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The instant (RFC 3339 with offset); now if not given
    #[arg(long, value_name = "TIME", value_parser = written)]
    at: Option<Written>,
    /// The port that receives it; the first subscriber port if not given
    #[arg(long = "in", value_name = "PORT")]
    port: Option<String>,
    /// Source address
    #[arg(value_name = "SRC")]
    source: IpAddr,
    /// Destination address
    #[arg(value_name = "DST")]
    destination: IpAddr,
    /// Destination port
    #[arg(value_name = "PORT")]
    destination_port: u16,
    /// Source port
    #[arg(long = "sport", value_name = "N", default_value_t = explain::SOURCE_PORT)]
    source_port: u16,
    /// Protocol
    #[arg(long = "proto", value_enum, default_value_t = Protocol::Tcp)]
    protocol: Protocol,
    /// The daemon's socket [env: SEKISHO_SOCKET] [default: /run/sekisho/control.sock]
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An instant, and how it was written.
#[derive(Clone, Debug)]
struct Written {
    micros: i64,
    text: String,
}

fn written(text: &str) -> Result<Written, String> {
    Ok(Written { micros: super::instant(text)?, text: text.to_owned() })
}

impl Arguments {
    fn question(&self) -> Question {
        Question {
            port: self.port.clone(),
            source: self.source,
            destination: self.destination,
            destination_port: self.destination_port,
            source_port: self.source_port,
            protocol: self.protocol,
            at: self.at.as_ref().map(|at| at.text.clone()),
        }
    }
}

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let Some(path) = &arguments.config else {
        return ask(arguments, out);
    };
    let config = super::load(path)?;
    let Compiled { generation, names, .. } = Compiler::default().compile(&config, Vec::new())?;
    let at = arguments.at.as_ref().map_or_else(clock::now, |at| at.micros);
    let number = generation.number();
    let all_work = |_| false;
    let routing = match config.dataplane.mode {
        Mode::Bridge => None,
        Mode::Route => Some(
            StaticRoutes::new(&config, 0, |_| Device::default(), false)
                .map_err(|error| Failure::refused(error.to_string()))?,
        ),
    };
    let routing = routing.map(Mutex::new);
    let question = arguments.question();
    let explanation =
        explain::explain(&config, &names, (&generation, number), all_work, routing.as_ref(), &question, at)
            .map_err(|error| Failure::refused(error.to_string()))?;
    match arguments.json {
        true => {
            serde_json::to_writer(&mut *out, &explanation).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        false => explanation.print(out)?,
    }
    Ok(())
}

/// Asks the running daemon.
fn ask(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let packet = Packet {
        source: arguments.source,
        destination: arguments.destination,
        destination_port: arguments.destination_port,
        source_port: arguments.source_port,
        protocol: arguments.protocol,
        port: arguments.port.clone(),
        at: arguments.at.as_ref().map(|at| at.text.clone()),
        text: !arguments.json,
    };
    let mut client = remote::connect(arguments.socket.as_deref())?;
    match arguments.json {
        true => {
            let explanation: Value = remote::heard(client.call("explain", &packet), true, out)?;
            writeln!(out, "{explanation}")?;
        }
        false => {
            let Text { text } = remote::heard(client.call("explain", &packet), false, out)?;
            out.write_all(text.as_bytes())?;
        }
    }
    Ok(())
}
