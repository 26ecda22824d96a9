//! `subscribe`: counters and events from now on, as notifications. Takes [`Wish`], gives [`Granted`].
//!
//! ```text
//! {"jsonrpc":"2.0","method":"counters","params":{…,"missed":0}}    what `counters` gives
//! {"jsonrpc":"2.0","method":"event","params":{"at":"…","event":"phase-begun","policy":"…","phase":"…","from":"…"}}
//! ```
//!
//! A subscriber that does not keep up misses notifications, and `missed` says how many; one that takes nothing at all
//! for ten seconds is closed. Subscribing again replaces the wish; one that wants nothing ends it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::counters::{Counters, Wanted};
use super::{Params, give};
use crate::daemon::View;
use crate::rpc::{Error, Subscription, notification};

/// What `subscribe` takes.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    /// Whether counters are wanted.
    pub counters: bool,
    /// How often, in seconds: 0.1 to 3600.
    pub interval: f64,
    /// Whether events are wanted.
    pub events: bool,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish { counters: true, interval: 1.0, events: true }
    }
}

/// What `subscribe` gives.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Granted {
    /// Whether notifications follow.
    pub subscribed: bool,
    /// How often counters come, in seconds.
    pub interval: Option<f64>,
}

/// What a `counters` notification says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Tick {
    /// What is counted.
    #[serde(flatten)]
    pub counters: Counters,
    /// Notifications that there was no room for since the last.
    pub missed: u64,
}

pub(super) fn subscription(params: &Params<'_>) -> Result<(Box<RawValue>, Option<Subscription>), Error> {
    let Wish { counters, interval, events } = params.read()?;
    if !(0.1..=3600.0).contains(&interval) {
        return Err(Error::params("`interval` must lie between 0.1 and 3600 seconds"));
    }
    let subscribed = counters || events;
    let interval = counters.then_some(interval);
    let subscription = Subscription { counters: interval.map(Duration::from_secs_f64), events };
    Ok((give(&Granted { subscribed, interval })?, subscribed.then_some(subscription)))
}

/// The notification of counters.
pub(crate) fn counters(view: &View<'_>, missed: u64) -> Vec<u8> {
    notification("counters", &Tick { counters: Counters::of(view, Wanted::default()), missed })
}
