//! Ports in memory, for tests and benches: rings of frames that lie in one arena.

use std::collections::VecDeque;

use arrayvec::ArrayVec;

use super::{Burst, Driver, Held, MAX_BURST, PortError};
use crate::frame::Link;
use crate::policy::PortId;

/// What becomes of frames that were transmitted or released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Transmitted frames wait to be [taken](MemoryDriver::take); the rest is free again.
    Once,
    /// Every frame goes back to the port that it was loaded on: traffic that goes round for ever.
    Endless,
}

#[derive(Default)]
struct MemoryPort {
    receive: VecDeque<Held>,
    transmit: VecDeque<Held>,
}

/// The driver `memory`.
pub struct MemoryDriver {
    arena: Box<[u8]>,
    /// By place: the port that its frame was loaded on.
    homes: Box<[PortId]>,
    slot_size: usize,
    free: Vec<Held>,
    ports: Vec<MemoryPort>,
    ring: Ring,
}

impl MemoryDriver {
    /// Room for `frames` frames of up to `slot_size` bytes.
    pub fn new(ports: usize, frames: usize, slot_size: usize, ring: Ring) -> MemoryDriver {
        let port = || MemoryPort {
            receive: VecDeque::with_capacity(frames),
            transmit: VecDeque::with_capacity(frames),
        };
        MemoryDriver {
            arena: vec![0; frames * slot_size].into(),
            homes: vec![PortId(0); frames].into(),
            slot_size,
            free: (0..frames as u32).rev().map(|place| Held { place, length: 0 }).collect(),
            ports: (0..ports).map(|_| port()).collect(),
            ring,
        }
    }

    /// Puts a frame on a port's receive ring; false if it is too long or there is no free place.
    pub fn load(&mut self, port: PortId, bytes: &[u8]) -> bool {
        match self.store(port, bytes) {
            Some(frame) => {
                self.port(port).receive.push_back(frame);
                true
            }
            None => false,
        }
    }

    /// Takes a frame that left by `port`.
    pub fn take(&mut self, port: PortId) -> Option<Vec<u8>> {
        let frame = self.port(port).transmit.pop_front()?;
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
        Some(Held { place, length: bytes.len() as u32 })
    }
}

impl Driver for MemoryDriver {
    #[inline]
    fn receive(&mut self, port: PortId, burst: &mut Burst) -> Result<(), PortError> {
        let ring = &mut self.ports[usize::from(port.0)].receive;
        let count = ring.len().min(burst.limit - burst.frames.len());
        burst.frames.extend(ring.drain(..count));
        burst.link = Link::Ethernet;
        Ok(())
    }

    #[inline]
    fn bytes(&self, frame: &Held) -> &[u8] {
        let start = frame.place as usize * self.slot_size;
        &self.arena[start..start + frame.len()]
    }

    #[inline]
    fn transmit(&mut self, port: PortId, frame: Held) -> bool {
        match self.ring {
            Ring::Once => self.ports[usize::from(port.0)].transmit.push_back(frame),
            Ring::Endless => self.release(frame),
        }
        true
    }

    #[inline]
    fn transmit_all(&mut self, port: PortId, frames: &mut ArrayVec<Held, MAX_BURST>) -> usize {
        match self.ring {
            Ring::Once => self.ports[usize::from(port.0)].transmit.extend(frames.drain(..)),
            Ring::Endless => self.release_all(frames),
        }
        0
    }

    fn answer(&mut self, port: PortId, bytes: &[u8], _cause: &Held) -> bool {
        match self.ring {
            Ring::Once => {
                let Some(frame) = self.store(port, bytes) else { return false };
                self.port(port).transmit.push_back(frame);
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
                self.ports[usize::from(home.0)].receive.push_back(frame);
            }
        }
    }

    #[inline]
    fn release_all(&mut self, frames: &mut ArrayVec<Held, MAX_BURST>) {
        let Some(home) = frames.first().map(|frame| self.homes[frame.place as usize]) else { return };
        let all_at_home = frames.iter().all(|frame| self.homes[frame.place as usize] == home);
        match self.ring {
            Ring::Once => self.free.extend(frames.drain(..)),
            Ring::Endless if all_at_home => self.port(home).receive.extend(frames.drain(..)),
            Ring::Endless => frames.drain(..).for_each(|frame| self.release(frame)),
        }
    }

    fn flush(&mut self) -> Result<(), (PortId, PortError)> {
        Ok(())
    }

    fn is_exhausted(&self, port: PortId) -> bool {
        self.ring == Ring::Once && self.ports[usize::from(port.0)].receive.is_empty()
    }
}
