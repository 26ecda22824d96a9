//! Asks the daemon at intervals, on a thread of its own, so that keys are heard while it is slow; connects again when it
//! went away.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, bounded};

use crate::rpc::methods::Nothing;
use crate::rpc::methods::counters::{Counters, Wanted};
use crate::rpc::methods::page;
use crate::rpc::methods::phases::Phases;
use crate::rpc::methods::pools::Pools;
use crate::rpc::methods::status::Status;
use crate::rpc::{CallError, Client};

/// How long the daemon has for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long until a daemon that went away is looked for again.
const RETRY: Duration = Duration::from_millis(500);

/// What the daemon said at one instant.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) status: Status,
    pub(super) counters: Counters,
    pub(super) pools: Pools,
    pub(super) phases: Phases,
}

/// What the feed says.
#[derive(Debug)]
pub(super) enum Heard {
    Sample(Box<Sample>),
    /// The daemon can't be asked, and why.
    Gone(String),
}

/// Samples as they come.
pub(super) struct Feed(Receiver<Heard>);

impl Feed {
    pub(super) fn start(socket: PathBuf, every: Duration) -> io::Result<Feed> {
        // Who does not look gets the newest later: the thread waits.
        let (samples, feed) = bounded(1);
        let run = move || {
            loop {
                let failed = Client::connect(&socket).and_then(|mut client| {
                    client.patience(Some(PATIENCE))?;
                    loop {
                        let sample = ask(&mut client)?;
                        if samples.send(Heard::Sample(Box::new(sample))).is_err() {
                            return Ok(());
                        }
                        std::thread::sleep(every);
                    }
                });
                let Err(error) = failed else { return };
                if samples.send(Heard::Gone(error.to_string())).is_err() {
                    return;
                }
                std::thread::sleep(RETRY);
            }
        };
        std::thread::Builder::new().name("sekisho-feed".to_owned()).spawn(run)?;
        Ok(Feed(feed))
    }

    pub(super) fn try_next(&self) -> Option<Heard> {
        self.0.try_recv().ok()
    }
}

/// Connects and asks once.
pub(super) fn sample(socket: &Path) -> Result<Sample, CallError> {
    let mut client = Client::connect(socket)?;
    client.patience(Some(PATIENCE))?;
    ask(&mut client)
}

fn ask(client: &mut Client) -> Result<Sample, CallError> {
    Ok(Sample {
        status: client.call("status", &Nothing {})?,
        counters: client.call("counters", &Wanted { workers: false })?,
        pools: page::all(client, "pools")?,
        phases: page::all(client, "phases")?,
        at: Instant::now(),
    })
}
