//! How the commands that ask a running daemon find it, and how they say that it refused.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failure;
use crate::rpc::methods::page::{self, Pages};
use crate::rpc::{CallError, Client, Error, socket_of};

/// Options of every command that asks the daemon.
#[derive(Debug, clap::Args)]
pub(super) struct Remote {
    /// The daemon's socket [env: SEKISHO_SOCKET] [default: /run/sekisho/control.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How long the daemon has for what it knows.
const PATIENCE: Duration = Duration::from_secs(30);

impl Remote {
    /// Asks for what the daemon knows, and prints it.
    pub(super) fn show<R: DeserializeOwned + Serialize>(
        &self,
        method: &str,
        params: &impl Serialize,
        out: &mut impl Write,
        print: impl FnOnce(&R, &mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let mut client = connect(self.socket.as_deref())?;
        client.patience(Some(PATIENCE))?;
        let result: R = heard(client.call(method, params), self.json, out)?;
        self.print(&result, out, print)
    }

    /// The same for a list that comes in pages.
    pub(super) fn show_list<R: Pages + Serialize>(
        &self,
        method: &str,
        out: &mut impl Write,
        print: impl FnOnce(&R, &mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let mut client = connect(self.socket.as_deref())?;
        client.patience(Some(PATIENCE))?;
        let result: R = heard(page::all(&mut client, method), self.json, out)?;
        self.print(&result, out, print)
    }

    /// The same for what takes the daemon a while. A terminal is told that it lasts.
    pub(super) fn show_slow<R: DeserializeOwned + Serialize>(
        &self,
        what: &str,
        method: &str,
        params: &impl Serialize,
        out: &mut impl Write,
        print: impl FnOnce(&R, &mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let mut client = connect(self.socket.as_deref())?;
        let waiting = Waiting::begin(what);
        let result = client.call(method, params);
        drop(waiting);
        let result: R = heard(result, self.json, out)?;
        self.print(&result, out, print)
    }

    fn print<R: Serialize>(
        &self,
        result: &R,
        out: &mut impl Write,
        print: impl FnOnce(&R, &mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        match self.json {
            true => {
                serde_json::to_writer(&mut *out, result).map_err(std::io::Error::from)?;
                writeln!(out)?;
            }
            false => print(result, out)?,
        }
        Ok(())
    }
}

/// Connects to the daemon.
pub(super) fn connect(socket: Option<&Path>) -> Result<Client, Failure> {
    Ok(Client::connect(&socket_of(socket))?)
}

/// What came back. What the daemon refuses is printed for machines as well.
pub(super) fn heard<R>(result: Result<R, CallError>, json: bool, out: &mut impl Write) -> Result<R, Failure> {
    #[derive(Serialize)]
    struct Refusal<'a> {
        error: &'a Error,
    }
    if let (true, Err(CallError::Refused(error))) = (json, &result) {
        serde_json::to_writer(&mut *out, &Refusal { error }).map_err(std::io::Error::from)?;
        writeln!(out)?;
    }
    Ok(result?)
}

/// Says on a terminal that something lasts, once a second, on a thread of its own.
pub(super) struct Waiting {
    done: Option<crossbeam::channel::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Waiting {
    pub(super) fn begin(what: &str) -> Waiting {
        let mut stderr = std::io::stderr();
        if !stderr.is_terminal() {
            return Waiting { done: None, thread: None };
        }
        let (done, heard) = crossbeam::channel::bounded::<()>(0);
        let what = what.to_owned();
        let begun = Instant::now();
        let thread = std::thread::spawn(move || {
            let mut shown = false;
            while let Err(crossbeam::channel::RecvTimeoutError::Timeout) =
                heard.recv_timeout(Duration::from_secs(1))
            {
                let _ = write!(stderr, "\r{what}, {} s", begun.elapsed().as_secs());
                shown = true;
            }
            if shown {
                let _ = write!(stderr, "\r\x1b[K");
            }
        });
        Waiting { done: Some(done), thread: Some(thread) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
