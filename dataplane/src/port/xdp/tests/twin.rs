//! A million mixed operations against a kernel of our own, that does with its rings whatever a kernel may do: frames in =
//! frames out, whatever ring is full.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::super::lane::{FRAMES, IN, Lane, OUT, Rings};
use super::super::ring::{ADDRESS, Consumer, DESCRIPTOR, Layout, Producer, Slots};
use super::super::umem::{Census, Descriptor, Umem};
use crate::port::mapping::Mapping;
use crate::port::watch::{PortState, PortWatch};
use crate::port::{Burst, Held};

const SHIFT: u32 = 11;
const LAYOUT: Layout = Layout { producer: 0, consumer: 64, flags: 128, entries: 192 };

/// Marsaglia's xorshift: the same run every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(bound)) >> 32) as u32
    }
}

/// The kernel's ends of a lane's rings, and what it keeps to itself.
struct Kernel {
    fill: Consumer,
    receive: Producer,
    transmit: Consumer,
    completion: Producer,
    /// Taken from the fill ring and not filled yet.
    device: Vec<u64>,
    /// Taken from the transmit ring and not sent yet.
    wire: VecDeque<u64>,
}

fn ends(entry: usize, count: u32) -> (Producer, Consumer) {
    let memory = Arc::new(Mapping::anonymous(LAYOUT.entries + count as usize * entry).unwrap());
    let slots = || Slots::new(Arc::clone(&memory), LAYOUT, count);
    (Producer::new(slots()), Consumer::new(slots()))
}

fn lane(number: u16) -> (Lane, Kernel) {
    let (ours, fill) = ends(ADDRESS, IN);
    let (completion, theirs) = ends(ADDRESS, OUT);
    let (receive, receive_end) = ends(DESCRIPTOR, IN);
    let (transmit_end, transmit) = ends(DESCRIPTOR, OUT);
    let rings =
        Rings { fill: ours, receive: receive_end, transmit: transmit_end, completion: theirs, _socket: None };
    let kernel = Kernel { fill, receive, transmit, completion, device: Vec::new(), wire: VecDeque::new() };
    (Lane::new(number, rings), kernel)
}

impl Kernel {
    /// Takes frames to fill.
    fn take(&mut self, most: u32) {
        for _ in 0..self.fill.available(most).min(most) {
            self.device.push(self.fill.address());
        }
        self.fill.release();
    }

    /// Fills some of them; what finds the receive ring full is dropped, and its frame kept for the next.
    fn fill(&mut self, most: u32, number: &mut u32, memory: &Mapping) -> u32 {
        let mut came = 0;
        for _ in 0..most {
            if self.receive.room(1) == 0 {
                break;
            }
            let Some(address) = self.device.pop() else { break };
            let address = address + 256;
            memory.word(address as usize).store(*number, std::sync::atomic::Ordering::Relaxed);
            self.receive.put(Descriptor { address, length: 60 });
            *number += 1;
            came += 1;
        }
        self.receive.publish();
        came
    }

    /// Takes frames to send: what they say.
    fn send(&mut self, most: u32, memory: &Mapping, seen: &mut Vec<u32>) {
        for _ in 0..self.transmit.available(most).min(most) {
            let Descriptor { address, .. } = self.transmit.descriptor();
            seen.push(memory.word(address as usize).load(std::sync::atomic::Ordering::Relaxed));
            self.wire.push_back(address);
        }
        self.transmit.release();
    }

    /// Says that some are sent, in any order.
    fn complete(&mut self, most: u32, dice: &mut Dice) {
        for _ in 0..most {
            if self.wire.is_empty() || self.completion.room(1) == 0 {
                break;
            }
            let at = dice.below(self.wire.len() as u32) as usize;
            let address = self.wire.swap_remove_back(at).unwrap();
            self.completion.put_address(address);
        }
        self.completion.publish();
    }
}

#[test]
fn after_a_million_mixed_operations_no_frame_is_lost_and_none_is_there_twice() {
    const LANES: u16 = 3;
    let memory = Arc::new(Mapping::anonymous(((3 * FRAMES + 512) as usize) << SHIFT).unwrap());
    let mut umem = Umem::new(Arc::clone(&memory), SHIFT);
    let all = umem.free() as u64;
    let (mut lanes, mut kernels): (Vec<Lane>, Vec<Kernel>) = (0..LANES).map(lane).unzip();
    let watch = PortWatch::new(PortState::Up);
    let mut dice = Dice(0x5eed_1234_5678_9abc);
    let mut held: Vec<(Held, u32)> = Vec::new();
    let (mut number, mut received, mut sent, mut seen) = (0, 0u64, HashMap::new(), Vec::new());
    let (mut full, mut starved) = (0u64, 0u64);
    for step in 0..1_000_000u32 {
        let which = dice.below(u32::from(LANES)) as usize;
        let (lane, kernel) = (&mut lanes[which], &mut kernels[which]);
        // For some time one of them takes nothing any more, or gives nothing back.
        let stalled = step / 20_000 % 4 == which as u32;
        match dice.below(12) {
            0 => lane.refill(&mut umem),
            1 => kernel.take(dice.below(300)),
            2 | 3 => received += u64::from(kernel.fill(dice.below(200), &mut number, &memory)),
            4 | 5 => {
                let mut burst = Burst::new(1 + dice.below(64) as usize);
                if held.len() < 300 {
                    lane.receive(&mut umem, &mut burst, watch.cells());
                }
                starved += u64::from(burst.frames.is_empty());
                for frame in burst.frames.drain(..) {
                    let said = u32::from_ne_bytes(*umem.bytes(&frame).first_chunk().unwrap());
                    held.push((frame, said));
                }
            }
            6 | 7 => {
                // Forwarded, by whichever lane.
                for _ in 0..dice.below(64) {
                    let Some((frame, said)) = held.pop() else { break };
                    assert_eq!(umem.bytes(&frame)[..4], said.to_ne_bytes(), "held frames are nobody else's");
                    if lane.has_room(&mut umem) {
                        lane.send(&mut umem, frame);
                        *sent.entry(said).or_insert(0) += 1;
                    } else {
                        full += 1;
                        umem.release(frame);
                    }
                }
                lane.rings.transmit.publish();
            }
            8 => {
                // An answer of our own.
                if lane.has_room(&mut umem)
                    && let Some(frame) = umem.take(&u32::MAX.to_ne_bytes().repeat(15))
                {
                    lane.send(&mut umem, frame);
                    lane.rings.transmit.publish();
                    *sent.entry(u32::MAX).or_insert(0) += 1;
                }
            }
            9 if !stalled => kernel.send(dice.below(100), &memory, &mut seen),
            10 if !stalled => kernel.complete(dice.below(100), &mut dice),
            11 => {
                if let Some((frame, _)) = held.pop() {
                    umem.release(frame);
                }
                lane.reap(&mut umem);
            }
            _ => {}
        }
        if step % 50_000 == 0 {
            let Census { free, held: in_hand, .. } = umem.census();
            assert_eq!((free, in_hand), (umem.free() as u64, held.len() as u64));
        }
    }
    assert!(received > 100_000 && full > 10_000 && starved > 1000, "{received} {full} {starved}");
    assert_eq!(watch.statistics().unreadable, 0);

    // All come home.
    held.drain(..).for_each(|(frame, _)| umem.release(frame));
    for (lane, kernel) in lanes.iter_mut().zip(&mut kernels) {
        kernel.send(OUT, &memory, &mut seen);
        kernel.complete(OUT, &mut dice);
        lane.reap(&mut umem);
    }
    for said in seen {
        let count = sent.get_mut(&said).expect("what was sent was received, or made here");
        *count -= 1;
    }
    assert!(sent.values().all(|count| *count == 0), "each as often as it was sent");
    let Census { free, held, filled, sent, .. } = umem.census();
    assert_eq!((held, sent, free + filled), (0, 0, all));
    assert!(filled <= u64::from(2 * IN * u32::from(LANES)));
    for number in 0..LANES {
        umem.reclaim(number);
    }
    assert_eq!(umem.free() as u64, all);
}

#[test]
fn a_kernel_that_names_what_it_can_t_have_gets_nothing_and_is_counted() {
    let memory = Arc::new(Mapping::anonymous((FRAMES as usize) << SHIFT).unwrap());
    let mut umem = Umem::new(Arc::clone(&memory), SHIFT);
    let (mut lane, mut kernel) = lane(0);
    let watch = PortWatch::new(PortState::Up);
    lane.refill(&mut umem);
    kernel.take(10);
    let good = kernel.device[0];
    for (address, length) in [(good + 256, 60), (good + 256, 60), (u64::MAX, 60), (7 << 40, 60), (good, 5000)]
    {
        kernel.receive.put(Descriptor { address, length });
    }
    kernel.receive.put(Descriptor { address: kernel.device[1], length: 13 });
    kernel.receive.publish();
    [good, u64::MAX, 1 << 20].into_iter().for_each(|address| kernel.completion.put_address(address));
    kernel.completion.publish();
    let (mut burst, before) = (Burst::new(64), umem.free());
    lane.receive(&mut umem, &mut burst, watch.cells());
    lane.reap(&mut umem);
    assert_eq!(burst.frames.len(), 1, "the same frame comes once");
    assert_eq!(watch.statistics().unreadable, 5);
    assert_eq!(umem.free(), before + 1, "the one that is too short for a frame");
    burst.frames.drain(..).for_each(|frame| umem.release(frame));
}
