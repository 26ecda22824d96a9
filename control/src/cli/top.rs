//! `sekisho top`: the running daemon, live.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::Failure;
use crate::rpc::socket_of;
use crate::top;

/// What `top` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one frame as text, and end
    #[arg(long)]
    once: bool,
    /// Seconds between two looks: 0.2 to 60
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// The daemon's socket [env: SEKISHO_SOCKET] [default: /run/sekisho/control.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.2..=60.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "write a number from 0.2 to 60".to_owned())
}

/// A frame's size where no terminal has one.
const SIZE: (u16, u16) = (100, 30);

pub(super) fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let socket = socket_of(arguments.socket.as_deref());
    if arguments.once {
        out.write_all(top::once(socket, arguments.interval, SIZE.0, SIZE.1)?.as_bytes())?;
        return Ok(());
    }
    if !io::stdout().is_terminal() {
        return Err(Failure::refused(
            "standard output is no terminal; `sekisho top --once` prints one frame",
        ));
    }
    Ok(top::watch(socket, arguments.interval)?)
}
