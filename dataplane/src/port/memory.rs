//! Ports in memory, for tests and benches: rings of frames that lie in one arena.

use std::ops::Range;

use arrayvec::ArrayVec;

use super::{Burst, Driver, Held, Lost, MACS_LENGTH, MAX_BURST, PortError, TAG_LENGTH};
use crate::frame::Link;
use crate::policy::PortId;
use crate::prefetch;

/// What becomes of frames that were transmitted or released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Transmitted frames wait to be [taken](MemoryDriver::take); the rest is free again.
    Once,
    /// Every frame goes back to the port that it was loaded on: traffic that goes round for ever.
    Endless,
}

/// As much of a frame as a router changes, with a tag and an IPv4 header.
const HEAD: usize = 32;

/// What a frame is loaded as.
#[derive(Clone)]
struct Fresh {
    head: [u8; HEAD],
    length: u32,
}

/// A ring of frames. It has room for all the frames of the driver, so it is never full.
struct Queue {
    /// Places and lengths; those in the ring are owned by it.
    frames: Box<[(u32, u32)]>,
    head: usize,
    count: usize,
}

impl Queue {
    fn new(room: usize) -> Queue {
        Queue { frames: vec![(0, 0); room.next_power_of_two()].into(), head: 0, count: 0 }
    }

    fn mask(&self) -> usize {
        self.frames.len() - 1
    }

    #[inline]
    fn push(&mut self, frame: Held) {
        let at = (self.head + self.count) & self.mask();
        self.frames[at] = (frame.place, frame.length);
        self.count += 1;
    }

    #[inline]
    fn pop(&mut self) -> Option<Held> {
        if self.count == 0 {
            return None;
        }
        let (place, length) = self.frames[self.head];
        self.head = (self.head + 1) & self.mask();
        self.count -= 1;
        Some(Held { place, length })
    }

    /// Moves up to `limit` frames out, in order.
    #[inline]
    fn pop_into(&mut self, frames: &mut ArrayVec<Held, MAX_BURST>, limit: usize) {
        let count = self.count.min(limit);
        for part in self.parts(self.head, count) {
            frames.extend(self.frames[part].iter().map(|&(place, length)| Held { place, length }));
        }
        self.head = (self.head + count) & self.mask();
        self.count -= count;
    }

    #[inline]
    fn push_all(&mut self, frames: &mut ArrayVec<Held, MAX_BURST>) {
        let count = frames.len();
        let mut taken = frames.drain(..);
        for part in self.parts((self.head + self.count) & self.mask(), count) {
            for (slot, frame) in self.frames[part].iter_mut().zip(&mut taken) {
                *slot = (frame.place, frame.length);
            }
        }
        self.count += count;
    }

    /// The places of `count` frames from `at` on: one run, or two where the ring ends in between.
    #[inline]
    fn parts(&self, at: usize, count: usize) -> [Range<usize>; 2] {
        let first = count.min(self.frames.len() - at);
        [at..at + first, 0..count - first]
    }

    /// The places and lengths of the frames that come next.
    fn ahead(&self, limit: usize) -> impl Iterator<Item = &(u32, u32)> {
        self.parts(self.head, self.count.min(limit)).into_iter().flat_map(|part| &self.frames[part])
    }
}

struct MemoryPort {
    receive: Queue,
    transmit: Queue,
}

/// The driver `memory`.
pub struct MemoryDriver {
    arena: Box<[u8]>,
    /// By place: the port that its frame was loaded on.
    homes: Box<[PortId]>,
    /// The one port that frames were loaded on, if there is only one.
    only_home: Option<PortId>,
    loaded: bool,
    slot_size: usize,
    /// By place: the first bytes of its frame and its length, as it was loaded. For frames that are changed on their way
    /// and go round for ever.
    fresh: Option<Box<[Fresh]>>,
    free: Vec<Held>,
    ports: Vec<MemoryPort>,
    ring: Ring,
}

impl MemoryDriver {
    /// Room for `frames` frames of up to `slot_size` bytes.
    pub fn new(ports: usize, frames: usize, slot_size: usize, ring: Ring) -> MemoryDriver {
        let port = || MemoryPort { receive: Queue::new(frames), transmit: Queue::new(frames) };
        MemoryDriver {
            arena: vec![0; frames * slot_size].into(),
            homes: vec![PortId(0); frames].into(),
            only_home: None,
            loaded: false,
            slot_size,
            fresh: None,
            free: (0..frames as u32).rev().map(|place| Held { place, length: 0 }).collect(),
            ports: (0..ports).map(|_| port()).collect(),
            ring,
        }
    }

    /// Has every frame come as it was loaded, whatever was changed in its headers since: MACs, tag, time to live. A frame
    /// is one that the wire brings anew.
    #[must_use]
    pub fn with_fresh_headers(self) -> MemoryDriver {
        let places = self.homes.len();
        MemoryDriver { fresh: Some(vec![Fresh { head: [0; HEAD], length: 0 }; places].into()), ..self }
    }

    /// Writes the headers of the frames from `from` on as they were loaded.
    fn refresh(&mut self, frames: &mut [Held]) {
        let Some(fresh) = &self.fresh else { return };
        for frame in frames {
            let Fresh { head, length } = &fresh[frame.place as usize];
            let start = frame.place as usize * self.slot_size;
            if let Some(bytes) = self.arena.get_mut(start..start + HEAD) {
                bytes.copy_from_slice(head);
            }
            frame.length = *length;
        }
    }

    /// Puts a frame on a port's receive ring; false if it is too long or there is no free place.
    pub fn load(&mut self, port: PortId, bytes: &[u8]) -> bool {
        match self.store(port, bytes) {
            Some(frame) => {
                self.port(port).receive.push(frame);
                true
            }
            None => false,
        }
    }

    /// Takes a frame that left by `port`.
    pub fn take(&mut self, port: PortId) -> Option<Vec<u8>> {
        let frame = self.port(port).transmit.pop()?;
        let bytes = self.bytes(&frame).to_vec();
        self.free.push(frame);
        Some(bytes)
    }

    /// Frames that nobody uses.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    fn port(&mut self, port: PortId) -> &mut MemoryPort {
        &mut self.ports[usize::from(port.0)]
    }

    fn store(&mut self, home: PortId, bytes: &[u8]) -> Option<Held> {
        if bytes.len() > self.slot_size {
            return None;
        }
        let Held { place, .. } = self.free.pop()?;
        let start = place as usize * self.slot_size;
        self.arena[start..start + bytes.len()].copy_from_slice(bytes);
        self.homes[place as usize] = home;
        if let Some(fresh) = &mut self.fresh {
            let count = bytes.len().min(HEAD);
            fresh[place as usize].head[..count].copy_from_slice(&bytes[..count]);
            fresh[place as usize].length = bytes.len() as u32;
        }
        self.only_home = match self.loaded {
            false => Some(home),
            true => self.only_home.filter(|only| *only == home),
        };
        self.loaded = true;
        Some(Held { place, length: bytes.len() as u32 })
    }
}

impl Driver for MemoryDriver {
    #[inline]
    fn receive(&mut self, port: PortId, burst: &mut Burst) -> Result<(), PortError> {
        let queue = &mut self.ports[usize::from(port.0)].receive;
        queue.pop_into(&mut burst.frames, burst.limit);
        if self.fresh.is_some() {
            self.refresh(&mut burst.frames);
        }
        burst.link = Link::Ethernet;
        // As a driver does with the descriptors behind those that it hands over.
        for &(place, _) in self.ports[usize::from(port.0)].receive.ahead(burst.limit) {
            prefetch::line(&self.arena[place as usize * self.slot_size..]);
        }
        Ok(())
    }

    #[inline]
    fn bytes(&self, frame: &Held) -> &[u8] {
        let start = frame.place as usize * self.slot_size;
        &self.arena[start..start + frame.len()]
    }

    #[inline]
    fn bytes_mut(&mut self, frame: &Held) -> &mut [u8] {
        let start = frame.place as usize * self.slot_size;
        &mut self.arena[start..start + frame.len()]
    }

    fn push_tag(&mut self, frame: &mut Held, tag: [u8; TAG_LENGTH]) -> bool {
        let length = frame.len();
        if length < MACS_LENGTH || length + TAG_LENGTH > self.slot_size {
            return false;
        }
        frame.length += TAG_LENGTH as u32;
        let bytes = self.bytes_mut(frame);
        bytes.copy_within(MACS_LENGTH..length, MACS_LENGTH + TAG_LENGTH);
        bytes[MACS_LENGTH..MACS_LENGTH + TAG_LENGTH].copy_from_slice(&tag);
        true
    }

    fn pop_tag(&mut self, frame: &mut Held) {
        self.bytes_mut(frame).copy_within(MACS_LENGTH + TAG_LENGTH.., MACS_LENGTH);
        frame.length -= TAG_LENGTH as u32;
    }

    #[inline]
    fn transmit(&mut self, port: PortId, frame: Held) -> bool {
        match self.ring {
            Ring::Once => self.ports[usize::from(port.0)].transmit.push(frame),
            Ring::Endless => self.release(frame),
        }
        true
    }

    #[inline]
    fn transmit_all(&mut self, port: PortId, frames: &mut ArrayVec<Held, MAX_BURST>) -> Lost {
        match self.ring {
            Ring::Once => self.ports[usize::from(port.0)].transmit.push_all(frames),
            Ring::Endless => self.release_all(frames),
        }
        Lost::default()
    }

    fn answer(&mut self, port: PortId, bytes: &[u8], _cause: &Held) -> bool {
        match self.ring {
            Ring::Once => {
                let Some(frame) = self.store(port, bytes) else { return false };
                self.port(port).transmit.push(frame);
                true
            }
            Ring::Endless => true,
        }
    }

    #[inline]
    fn release(&mut self, frame: Held) {
        match self.ring {
            Ring::Once => self.free.push(frame),
            Ring::Endless => {
                let home = self.homes[frame.place as usize];
                self.ports[usize::from(home.0)].receive.push(frame);
            }
        }
    }

    #[inline]
    fn release_all(&mut self, frames: &mut ArrayVec<Held, MAX_BURST>) {
        match (self.ring, self.only_home) {
            (Ring::Once, _) => self.free.extend(frames.drain(..)),
            (Ring::Endless, Some(home)) => self.port(home).receive.push_all(frames),
            (Ring::Endless, None) => frames.drain(..).for_each(|frame| self.release(frame)),
        }
    }

    fn flush(&mut self) -> Result<(), (PortId, PortError)> {
        Ok(())
    }

    fn inject(&mut self, port: PortId, bytes: &[u8]) -> bool {
        if self.ring == Ring::Endless {
            return true;
        }
        let Some(frame) = self.store(port, bytes) else { return false };
        self.port(port).transmit.push(frame);
        true
    }

    fn is_exhausted(&self, port: PortId) -> bool {
        self.ring == Ring::Once && self.ports[usize::from(port.0)].receive.count == 0
    }
}
