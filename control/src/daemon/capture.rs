//! The capture that runs, if one does, and whose it is: it ends with its client's connection, however that ends.

use std::sync::Arc;

use sekisho_dataplane::pipeline::Common;
use sekisho_dataplane::tap::Tap;

use super::event::Event;
use super::tables::InForce;
use crate::capture::{Capture, Captured, Plan, Standing};
use crate::rpc::Peer;

/// One capture at a time: workers copy for one at most.
pub(crate) struct Captures {
    common: Arc<Common>,
    running: Option<Running>,
    /// What the log is to be told.
    events: Vec<Event>,
}

struct Running {
    client: u64,
    capture: Capture,
}

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotCapturing {
    /// Another client's capture runs.
    Others,
    /// A capture of this client's runs.
    Already,
    /// None of this client's runs.
    None,
}

impl Captures {
    pub(super) fn new(common: Arc<Common>) -> Captures {
        Captures { common, running: None, events: Vec::new() }
    }

    fn tap(&self) -> &Tap {
        self.common.tap()
    }

    /// Begins a capture for a client; `what` says for the log what is captured.
    pub(crate) fn begin(
        &mut self,
        client: u64,
        peer: Peer,
        plan: Plan,
        what: String,
    ) -> Result<(), NotCapturing> {
        match &self.running {
            Some(running) if running.client == client => return Err(NotCapturing::Already),
            Some(_) => return Err(NotCapturing::Others),
            None => {}
        }
        let capture = Capture::begin(self.tap(), plan);
        self.running = Some(Running { client, capture });
        self.events.push(Event::CaptureBegun { what, uid: peer.uid, pid: peer.pid });
        Ok(())
    }

    /// Gives what waits for a client to `give`, and stops copying before if `stop` says so. A capture that is finished
    /// is gone.
    pub(crate) fn next(
        &mut self,
        client: u64,
        stop: bool,
        in_force: &InForce,
        give: impl FnMut(&Captured<'_>),
    ) -> Result<Standing, NotCapturing> {
        let running = self.running.as_mut().filter(|running| running.client == client);
        let Running { capture, .. } = running.ok_or(NotCapturing::None)?;
        if stop {
            capture.stop(self.common.tap());
        }
        let standing = capture.next(self.common.tap(), in_force, give);
        if standing.finished {
            self.end();
        }
        Ok(standing)
    }

    /// Ends a capture whose client is gone.
    pub(super) fn look(&mut self, is_connected: impl FnOnce(u64) -> bool) {
        if let Some(Running { client, .. }) = &self.running
            && !is_connected(*client)
        {
            self.end();
        }
    }

    fn end(&mut self) {
        if let Some(Running { capture, .. }) = self.running.take() {
            let Standing { captured, lost, .. } = capture.end(self.tap());
            self.events.push(Event::CaptureEnded { captured, lost });
        }
    }

    /// What the log has not been told.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}
