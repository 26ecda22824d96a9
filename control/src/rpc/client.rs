//! The other end: how the commands speak to the daemon.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Error, message};
use crate::config::Control;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens, or the caller may not speak to whoever does.
    #[error("{}: {}", path.display(), unreachable(source))]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the daemon went away: {0}")]
    Io(#[from] io::Error),
    /// What came back is no answer.
    #[error("the daemon's answer can't be read: {0}")]
    Answer(#[from] serde_json::Error),
    /// The daemon refuses.
    #[error("{0}")]
    Refused(Error),
}

fn unreachable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            "no daemon answers there; start it with `sekisho run`, or name its socket with --socket".into()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; the socket is for root and the daemon's group".into()
        }
        _ => error.to_string(),
    }
}

/// The socket to speak to: the one that is given, or the environment names, or the default.
pub fn socket_of(given: Option<&Path>) -> PathBuf {
    let named = || std::env::var_os("SEKISHO_SOCKET").filter(|name| !name.is_empty()).map(PathBuf::from);
    given.map(Path::to_owned).or_else(named).unwrap_or_else(|| Control::SOCKET.into())
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    calls: u64,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    id: Value,
    result: Option<Value>,
    error: Option<Error>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens at `path`, or the caller may not connect.
    pub fn connect(path: &Path) -> Result<Client, CallError> {
        let stream = UnixStream::connect(path)
            .map_err(|source| CallError::Connect { path: path.to_owned(), source })?;
        Ok(Client { stream: BufReader::new(stream), calls: 0 })
    }

    /// How long to wait for an answer; for ever if not given.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn patience(&self, timeout: Option<Duration>) -> Result<(), CallError> {
        Ok(self.stream.get_ref().set_read_timeout(timeout)?)
    }

    /// Calls a method, and waits for what it gives.
    ///
    /// # Errors
    /// When the daemon refuses or goes away, or answers what is no `R`.
    pub fn call<R: DeserializeOwned>(
        &mut self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<R, CallError> {
        #[derive(Serialize)]
        struct Call<'a, P> {
            jsonrpc: &'static str,
            id: u64,
            method: &'a str,
            params: &'a P,
        }
        self.calls += 1;
        let call = Call { jsonrpc: "2.0", id: self.calls, method, params };
        let sent = self.stream.get_mut().write_all(&message::line(&call));
        // Who was refused before it had said all finds out why by reading.
        let line = match (self.next_line(), sent) {
            (Ok(line), _) => line,
            (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(error.into()),
        };
        let Response { id, result, error } = serde_json::from_str(&line)?;
        match (result, error) {
            (_, Some(error)) => Err(CallError::Refused(error)),
            (result, None) if id == self.calls => Ok(serde_json::from_value(result.unwrap_or_default())?),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it answered something else").into()),
        }
    }

    /// The next notification of a subscription, on a line.
    ///
    /// # Errors
    /// When the daemon goes away, or the [patience](Client::patience) ends.
    pub fn next_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
            _ => Ok(line),
        }
    }
}
