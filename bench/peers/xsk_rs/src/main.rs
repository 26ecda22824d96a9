//! A bridge over AF_XDP sockets of the crate `xsk-rs`, which decides nothing: `sekisho-bench-xsk-rs ONE OTHER`. A peer that
//! `bench/throughput` measures.
//!
//! It has what Sekisho's driver has, as far as the crate lets it: one memory for both devices, rings of the same sizes, bursts
//! of 64, copy mode with need_wakeup, a loop that never sleeps, and the socket options by which more than 32 frames leave in
//! one system call.

use std::error::Error;
use std::ffi::{c_int, c_void};
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;

use xsk_rs::config::{BindFlags, Interface, QueueSize, SocketConfig, UmemConfig, XdpFlags};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

/// Entries of the fill and receive rings, and of the transmit and completion rings; as in the driver.
const IN: u32 = 4096;
const OUT: u32 = 2048;
const FRAMES: u32 = 2 * (2 * IN + OUT) + 512;
const FRAME: u32 = 2048;
const BATCH: usize = 64;

/// Of linux/if_xdp.h, since 6.17; what an older kernel does not know it does without.
const XDP_MAX_TX_SKB_BUDGET: c_int = 9;
const SEND_AT_ONCE: c_int = 256;
const SEND_BUFFER: c_int = 16 << 20;

/// System calls that sent nothing until the rest is left for later.
const VAIN_CALLS: u32 = 2;

struct Side {
    receive: RxQueue,
    fill: FillQueue,
    transmit: TxQueue,
    completion: CompQueue,
    /// Frames in the fill and receive rings, and between them.
    inward: u32,
}

impl Side {
    fn open(umem: &Umem, name: &str) -> Result<Side, Box<dyn Error>> {
        let config = SocketConfig::builder()
            .rx_queue_size(QueueSize::new(IN)?)
            .tx_queue_size(QueueSize::new(OUT)?)
            .xdp_flags(XdpFlags::XDP_FLAGS_DRV_MODE)
            .bind_flags(BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        let interface: Interface = name.parse()?;
        // SAFETY: each interface is bound to once.
        let (transmit, receive, rings) = unsafe { Socket::new(config, umem, &interface, 0) }
            .map_err(|error| format!("{name}: {error}: {:?}", error.source()))?;
        let (fill, completion) = rings.ok_or("no rings for this interface")?;
        let socket = transmit.fd().as_raw_fd();
        set(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER);
        set(socket, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, SEND_AT_ONCE);
        Ok(Side { receive, fill, transmit, completion, inward: 0 })
    }

    fn refill(&mut self, free: &mut Vec<FrameDesc>) {
        while self.inward + BATCH as u32 <= 2 * IN && self.fill.nb_free(BATCH as u32) >= BATCH as u32 {
            let Some(at) = free.len().checked_sub(BATCH) else { return };
            // SAFETY: free frames of the one memory.
            let count = unsafe { self.fill.produce(&free[at..]) };
            free.truncate(free.len() - count);
            self.inward += count as u32;
        }
    }

    /// Takes back frames that were sent.
    fn reap(&mut self, free: &mut Vec<FrameDesc>) {
        let mut sent = [FrameDesc::default(); BATCH];
        loop {
            // SAFETY: the descriptors are filled with what comes.
            let count = unsafe { self.completion.consume(&mut sent) };
            free.extend_from_slice(&sent[..count]);
            if count < BATCH {
                return;
            }
        }
    }

    /// Sends frames; those that find no room are lost.
    fn send(&mut self, frames: &[FrameDesc], free: &mut Vec<FrameDesc>) -> Result<(), Box<dyn Error>> {
        // SAFETY: frames that were received, of the one memory.
        if unsafe { self.transmit.produce(frames) } == 0 {
            free.extend_from_slice(frames);
        }
        let (mut left, mut vain) = (OUT - self.transmit.nb_free_exact(), 0);
        while left > 0 && vain < VAIN_CALLS && self.transmit.needs_wakeup() {
            self.transmit.wakeup()?;
            self.reap(free);
            let now = OUT - self.transmit.nb_free_exact();
            vain = if now < left { 0 } else { vain + 1 };
            left = now;
        }
        Ok(())
    }
}

fn set(socket: c_int, level: c_int, option: c_int, value: c_int) {
    let pointer = (&raw const value).cast::<c_void>();
    // SAFETY: a pointer to a number and its size.
    unsafe { libc::setsockopt(socket, level, option, pointer, size_of::<c_int>() as libc::socklen_t) };
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [one, other] = &arguments[..] else { return Err("usage: sekisho-bench-xsk-rs ONE OTHER".into()) };
    let config = UmemConfig::builder()
        .frame_size(FRAME.try_into()?)
        .fill_queue_size(QueueSize::new(IN)?)
        .comp_queue_size(QueueSize::new(OUT)?)
        .build()?;
    let frames = NonZeroU32::try_from(FRAMES)?;
    let (umem, mut free) = Umem::new(config, frames, true).or_else(|_| Umem::new(config, frames, false))?;
    let mut sides = [Side::open(&umem, one)?, Side::open(&umem, other)?];
    let mut burst = [FrameDesc::default(); BATCH];
    loop {
        for from in 0..2 {
            // SAFETY: the descriptors are filled with what comes.
            let count = unsafe { sides[from].receive.consume(&mut burst) };
            sides[from].inward -= count as u32;
            if count > 0 {
                sides[1 - from].send(&burst[..count], &mut free)?;
            }
            sides[from].refill(&mut free);
        }
    }
}
