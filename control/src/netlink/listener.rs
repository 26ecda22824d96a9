//! Hears the kernel, and asks anew where something may have been missed.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::decode::Message;
use super::model::{Model, Subject};
use super::request::{self, PATIENCE};
use super::route::Event;
use super::socket::{Received, Socket, wait};

/// What is to be followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Routing tables.
    pub tables: BTreeSet<u32>,
    /// Interfaces' addresses and neighbours, too.
    pub neighbours: bool,
}

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Notifications and parts of dumps.
    pub events: u64,
    /// Times that everything or all routes were asked for, the start included.
    pub resyncs: u64,
    /// Times that the kernel's notifications did not fit into the socket.
    pub overruns: u64,
    /// Messages that could not be read.
    pub unreadable: u64,
}

const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_NEIGH: u32 = 3;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV4_ROUTE: u32 = 7;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_IPV6_ROUTE: u32 = 11;
const RTNLGRP_NEXTHOP: u32 = 32;

/// Room for notifications: more than a minute of a thousand changes a second, should this thread not run at all.
pub const ROOM: usize = 64 << 20;
/// Notifications that are kept during a dump. With more, the dump begins anew.
const KEPT: usize = 1 << 18;
/// Datagrams that are taken in one turn, so that whoever drives this gets a say in between.
const TURN: usize = 1024;
/// Routes are not asked for more often than this: a link that flaps must not keep everybody busy.
const PAUSE: Duration = Duration::from_secs(1);
/// The same for everything, when notifications were lost.
const LOST_PAUSE: Duration = Duration::from_millis(200);
/// Attempts at a dump that no change disturbs. After these the notifications put right what it got wrong.
const ATTEMPTS: usize = 3;

/// See the module's documentation.
pub struct Listener {
    notifications: Socket,
    requests: Socket,
    wanted: Wanted,
    model: Model,
    counts: Counts,
    room: usize,
    /// Everything has to be asked for.
    lost: bool,
    routes_due: bool,
    asked: Option<Instant>,
}

impl Listener {
    /// Hears from now on what is wanted; nothing is known before the first [`Listener::turn`].
    ///
    /// # Errors
    /// When the kernel gives no sockets.
    pub fn open(wanted: Wanted, room: usize) -> io::Result<Listener> {
        let mut groups = vec![RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE];
        if wanted.neighbours {
            groups.extend([RTNLGRP_NEIGH, RTNLGRP_IPV6_IFADDR]);
        }
        let notifications = Socket::open(&groups)?;
        // A kernel before 5.3 has no next hop objects.
        if let Ok(with_objects) = Socket::open(&[groups.as_slice(), &[RTNLGRP_NEXTHOP]].concat()) {
            return Listener::hearing(with_objects, wanted, room);
        }
        Listener::hearing(notifications, wanted, room)
    }

    /// With what another listener knew. The first dump says what of it still holds.
    pub fn recall(&mut self, mut model: Model) {
        model.follow(&self.wanted.tables);
        self.model = model;
    }

    /// What it knows.
    pub fn into_model(self) -> Model {
        self.model
    }

    fn hearing(notifications: Socket, wanted: Wanted, room: usize) -> io::Result<Listener> {
        let room = notifications.make_room(room)?;
        Ok(Listener {
            room,
            notifications,
            requests: Socket::open(&[])?,
            model: Model::new(wanted.tables.iter().copied()),
            wanted,
            counts: Counts::default(),
            lost: true,
            routes_due: false,
            asked: None,
        })
    }

    /// What is known.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The same, to take what is dirty.
    pub fn model_mut(&mut self) -> &mut Model {
        &mut self.model
    }

    /// What has happened.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes of notifications that fit.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Follows these tables from now on.
    pub fn follow(&mut self, tables: BTreeSet<u32>) {
        if tables != self.wanted.tables {
            self.lost |= !tables.is_subset(&self.wanted.tables);
            self.model.follow(&tables);
            self.wanted.tables = tables;
        }
    }

    /// Asks for everything again in the next turn.
    pub fn refresh(&mut self) {
        self.lost = true;
    }

    /// When there is something to do although no notification has come.
    pub fn due(&self) -> Option<Instant> {
        let after = |pause| self.asked.map_or_else(Instant::now, |asked| asked + pause);
        match (self.lost, self.routes_due) {
            (true, _) => Some(after(LOST_PAUSE)),
            (false, true) => Some(after(PAUSE)),
            (false, false) => None,
        }
    }

    /// Takes what the kernel has told, and asks where something may have been missed. `between` is called with what is known
    /// between the parts of a long dump.
    ///
    /// # Errors
    /// When the kernel can't be heard or asked. What was known stays, and the next turn tries again.
    pub fn turn(&mut self, between: &mut dyn FnMut(&mut Model)) -> io::Result<()> {
        self.hear(None)?;
        let due = self.due().is_some_and(|due| due <= Instant::now());
        if self.lost && due {
            self.lost = false;
            let result = self.ask_for_all(between);
            self.lost |= result.is_err();
            result?;
        } else if due {
            self.ask_for_routes(between)?;
        }
        Ok(())
    }

    fn ask_for_all(&mut self, between: &mut dyn FnMut(&mut Model)) -> io::Result<()> {
        self.dump(Subject::Links, between)?;
        if self.wanted.neighbours {
            self.dump(Subject::Addresses, between)?;
            self.dump(Subject::Neighbours, between)?;
        }
        self.ask_for_routes(between)
    }

    fn ask_for_routes(&mut self, between: &mut dyn FnMut(&mut Model)) -> io::Result<()> {
        self.counts.resyncs += 1;
        self.routes_due = false;
        self.asked = Some(Instant::now());
        for table in self.wanted.tables.clone() {
            for v6 in [false, true] {
                let result = self.dump(Subject::Routes { table, v6 }, between);
                self.routes_due |= result.is_err();
                result?;
            }
        }
        Ok(())
    }

    /// Takes notifications. `kept`: those about routes are kept there, for a dump of routes runs.
    fn hear(&mut self, mut kept: Option<&mut Vec<Event>>) -> io::Result<()> {
        for _ in 0..TURN {
            match self.notifications.receive()? {
                Received::Nothing => break,
                Received::Lost => self.note_loss(),
                Received::Messages(messages, _) => {
                    for message in messages {
                        match message {
                            Message::Event(event) => {
                                self.counts.events += 1;
                                let about_routes = matches!(*event, Event::Route(..) | Event::RouteGone(..));
                                match &mut kept {
                                    Some(kept) if about_routes => kept.push(*event),
                                    _ => self.model.apply(*event),
                                }
                            }
                            Message::Overrun => self.note_loss(),
                            Message::Other { readable } => self.counts.unreadable += u64::from(!readable),
                            Message::End { .. } => {}
                        }
                    }
                }
            }
        }
        self.routes_due |= self.model.take_stale().routes;
        Ok(())
    }

    fn note_loss(&mut self) {
        self.counts.overruns += 1;
        self.lost = true;
    }

    fn dump(&mut self, subject: Subject, between: &mut dyn FnMut(&mut Model)) -> io::Result<()> {
        for attempt in 1..=ATTEMPTS {
            let mut kept = Vec::new();
            self.model.begin();
            request::dump(&mut self.requests, subject)?;
            let disturbed = self.receive_dump(&mut kept, between)?;
            // What was lost meanwhile may be newer than the dump. It is swept all the same: `lost` asks again.
            self.model.end(subject);
            kept.into_iter().for_each(|event| self.model.apply_again(event));
            // What these leave in doubt is asked for in time, and not only once more is heard.
            self.routes_due |= self.model.take_stale().routes;
            between(&mut self.model);
            if !disturbed || attempt == ATTEMPTS {
                break;
            }
        }
        Ok(())
    }

    fn receive_dump(
        &mut self,
        kept: &mut Vec<Event>,
        between: &mut dyn FnMut(&mut Model),
    ) -> io::Result<bool> {
        let mut disturbed = false;
        let mut heard = Instant::now();
        loop {
            self.hear(Some(kept))?;
            if kept.len() > KEPT {
                // They can't be kept: this dump is not enough.
                kept.clear();
                self.lost = true;
            }
            match self.requests.receive()? {
                Received::Nothing if heard.elapsed() > PATIENCE => return Err(io::ErrorKind::TimedOut.into()),
                Received::Nothing => wait(&[&self.requests, &self.notifications], 100),
                Received::Lost => disturbed = true,
                Received::Messages(messages, changed) => {
                    heard = Instant::now();
                    disturbed |= changed;
                    for message in messages {
                        match message {
                            Message::Event(event) => {
                                self.counts.events += 1;
                                self.model.dumped(*event);
                            }
                            Message::End { errno } => {
                                request::ended(errno)?;
                                return Ok(disturbed);
                            }
                            Message::Other { readable } => self.counts.unreadable += u64::from(!readable),
                            Message::Overrun => disturbed = true,
                        }
                    }
                    between(&mut self.model);
                }
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notifications.as_fd()
    }
}
