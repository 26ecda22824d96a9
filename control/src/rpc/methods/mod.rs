//! The methods of the control socket, one a file: what each takes (`Params`) and what it gives.
//!
//! | Method | Gives | Needs |
//! |---|---|---|
//! | [`status`] | the daemon at a glance | to read |
//! | [`pools`] | the pools, and what was counted for them | to read |
//! | [`phases`] | the phases, past, in force and to come | to read |
//! | [`affected`] | who is denied on port 25, or would be | to read; to change, to have it forgotten |
//! | [`counters`] | everything that is counted | to read |
//! | [`explain`] | one packet's verdict | to read |
//! | [`check`] | what a configuration says | to read; to change, of another configuration than the daemon's own |
//! | [`reload`] | a new generation, or what it would change | to change; to read, for a dry run of the daemon's own file |
//! | [`confirm`], `rollback` | what stays in force, or is again | to change |
//! | [`generations`] | the last generations, and what is to be confirmed | to read |
//! | [`grant`], `revoke` | a grant given, or taken back | to change |
//! | [`routes`] | what is mirrored of the kernel's routes, and whether that is all | to read |
//! | [`grants`] | the grants that are not over | to read |
//! | [`capture`] | copies of what workers judge | to change: it shows traffic |
//! | [`subscribe`] | counters and events from now on | to read |
//!
//! Lists that can be long come in [pages](page).

pub mod affected;
pub mod capture;
pub mod check;
pub mod confirm;
pub mod counters;
pub mod explain;
pub mod generations;
pub mod grant;
pub mod grants;
pub mod page;
pub mod phases;
pub mod pools;
pub mod reload;
pub mod routes;
pub mod status;
pub mod subscribe;

use crossbeam::channel::TrySendError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};

use super::{Error, Peer, Rights, Served, Ticket};
use crate::daemon::{Asked, Captures, Readers, Tables, Task, View, Ways};

type Answer = Result<Box<RawValue>, Error>;
type Change = Box<dyn FnOnce(&mut Tables) -> Answer + Send>;
type Question = Box<dyn FnOnce(&Readers) -> Answer + Send>;

/// What is left to do for another thread, once the parameters are found good.
enum Call {
    /// For the tables' thread.
    Change(Change),
    /// For the readers' thread.
    Read(Question),
}

impl Call {
    fn change(change: impl FnOnce(&mut Tables) -> Answer + Send + 'static) -> Call {
        Call::Change(Box::new(change))
    }

    fn read(question: impl FnOnce(&Readers) -> Answer + Send + 'static) -> Call {
        Call::Read(Box::new(question))
    }
}

/// Who does a method's work.
enum Work {
    /// The control thread, from what stands.
    Here(fn(&View<'_>, &Params<'_>) -> Answer),
    /// Another thread, once the parameters are found good.
    There(fn(&Params<'_>) -> Result<Call, Error>),
    /// The control thread, from what workers copy.
    Capture,
    /// The server itself.
    Subscribe,
}

const METHODS: &[(&str, Work)] = &[
    ("status", Work::Here(status::answer)),
    ("pools", Work::Here(pools::answer)),
    ("phases", Work::Here(phases::answer)),
    ("counters", Work::Here(counters::answer)),
    ("affected", Work::There(affected::call)),
    ("explain", Work::There(explain::call)),
    ("check", Work::There(check::call)),
    ("reload", Work::There(reload::call)),
    ("confirm", Work::There(confirm::call)),
    ("rollback", Work::There(confirm::rollback)),
    ("generations", Work::Here(generations::answer)),
    ("grant", Work::There(grant::call)),
    ("revoke", Work::There(grant::revoke)),
    ("grants", Work::There(grants::call)),
    ("routes", Work::There(routes::call)),
    ("capture", Work::Capture),
    ("subscribe", Work::Subscribe),
];

/// Carries a request out, or starts to.
pub(crate) fn serve(
    view: &View<'_>,
    ways: Ways<'_>,
    captures: &mut Captures,
    method: &str,
    params: Option<&RawValue>,
    peer: Peer,
    ticket: Ticket,
) -> Served {
    let params = Params { params, peer };
    let Some((_, work)) = METHODS.iter().find(|(name, _)| *name == method) else {
        // What comes back is no longer than it need be.
        let message = format!("there is no method `{}`", method.chars().take(40).collect::<String>());
        return Served::Answer(Err(Error::new(Error::METHOD_NOT_FOUND, message)));
    };
    match work {
        Work::Here(answer) => Served::Answer(answer(view, &params)),
        Work::Capture => Served::Answer(capture::answer(view, captures, &params, ticket.client())),
        Work::Subscribe => match subscribe::subscription(&params) {
            Ok((answer, subscription)) => Served::Subscribed(answer, subscription),
            Err(error) => Served::Answer(Err(error)),
        },
        Work::There(call) => match call(&params) {
            Err(error) => Served::Answer(Err(error)),
            Ok(Call::Change(change)) => match ways.tasks.send(Task::Call(ticket, change)) {
                Ok(()) => Served::Later,
                Err(_) => gone("tables'"),
            },
            Ok(Call::Read(question)) => match ways.questions.try_send(Asked(ticket, question)) {
                Ok(()) => Served::Later,
                Err(TrySendError::Full(_)) => {
                    let message = "too many wait for answers that take a while; try again later";
                    Served::Answer(Err(Error::new(Error::BUSY, message)))
                }
                Err(TrySendError::Disconnected(_)) => gone("readers'"),
            },
        },
    }
}

fn gone(whose: &str) -> Served {
    Served::Answer(Err(Error::internal(format!("the {whose} thread is gone; restart the daemon"))))
}

/// What a request brings.
struct Params<'a> {
    params: Option<&'a RawValue>,
    peer: Peer,
}

impl Params<'_> {
    /// The parameters by their names. None at all are the same as an empty object.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let text = self.params.map_or("{}", RawValue::get);
        let text = match text.as_bytes().first() {
            Some(b'[') if text[1..text.len() - 1].trim().is_empty() => "{}",
            Some(b'[') => return Err(Error::params("parameters go by name, in an object")),
            _ => text,
        };
        serde_json::from_str(text).map_err(|error| Error::params(error.to_string()))
    }

    fn must_change(&self, what: &str) -> Result<(), Error> {
        match self.peer.rights {
            Rights::Change => Ok(()),
            Rights::Read => {
                let message = format!("not permitted: {what} is for root, the daemon's user and its group");
                Err(Error::new(Error::NOT_PERMITTED, message))
            }
        }
    }
}

fn give(value: &impl Serialize) -> Answer {
    to_raw_value(value).map_err(|error| Error::internal(error.to_string()))
}

/// No parameters.
#[derive(Debug, Default, serde::Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}
