//! Why a request was not done.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The error of a JSON-RPC response.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// One of the codes below.
    pub code: i64,
    /// One sentence for people.
    pub message: String,
    /// More, by code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl Error {
    /// The line is not JSON.
    pub const PARSE: i64 = -32700;
    /// The line is JSON, and no request.
    pub const INVALID_REQUEST: i64 = -32600;
    /// There is no such method, or not in this build.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The method does not take these parameters.
    pub const INVALID_PARAMS: i64 = -32602;
    /// The daemon failed; what is in force is as it was.
    pub const INTERNAL: i64 = -32603;
    /// A bound is reached: too many clients or requests at once. The connection may be closed.
    pub const BUSY: i64 = -32000;
    /// The peer may read, and not change.
    pub const NOT_PERMITTED: i64 = -32001;
    /// The configuration is refused. `data` has `rendered`, the text for people, and `problems`, each with `file`, `line`,
    /// `column`, `message` and `help`.
    pub const CONFIGURATION: i64 = -32002;
    /// The configuration differs in what can't change while the daemon runs. `data` has `changes`, a list of texts.
    pub const NEEDS_RESTART: i64 = -32003;
    /// The request is longer than 16 MiB, and the connection is closed; or the answer would be longer than 64 MiB.
    pub const TOO_LARGE: i64 = -32004;
    /// The request did not come to its end in time. The connection is closed.
    pub const TIMEOUT: i64 = -32005;

    /// A reload awaits its confirmation. `data` says which and for how long.
    pub const UNCONFIRMED: i64 = -32008;
    /// There are as many as a bound of the configuration allows.
    pub const LIMIT: i64 = -32006;
    /// There is no such thing in the daemon.
    pub const NOT_FOUND: i64 = -32007;

    /// An error with this code.
    pub fn new(code: i64, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), data: None }
    }

    pub(crate) fn internal(message: impl Into<String>) -> Error {
        Error::new(Error::INTERNAL, message)
    }

    pub(crate) fn params(message: impl Into<String>) -> Error {
        Error::new(Error::INVALID_PARAMS, message)
    }
}
