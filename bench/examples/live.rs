//! Frames without a stack: what `bench/throughput` puts at the far ends of its cables. Needs root.
//!
//! ```text
//! live offer INTERFACE MAC SECONDS   sends by INTERFACE as fast as one core can, to MAC; prints frames, and seconds
//! live sink INTERFACE                drops what comes by INTERFACE, in its driver, until it is killed
//! live pass INTERFACE                has INTERFACE poll for frames, and lets them pass
//! live distance                      prints nanoseconds that a cache line takes from core 0 to core 1 and back
//! ```
//!
//! The kernel runs an XDP program on frames of its own and sends them where the program says (BPF_PROG_TEST_RUN with
//! BPF_F_TEST_XDP_LIVE_FRAMES), which is the least that a frame can cost a sender in software. The program writes into
//! each a source of 10,000 in 1,000 networks, and a port: 25 in one of a hundred.

#![allow(clippy::print_stdout, unsafe_code)]

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// 60 bytes: a SYN of 10.0.0.1 to 198.51.100.7, padded.
const FRAME: usize = 60;
/// Link, IPv4, and the ports and number of TCP.
const HEADERS: usize = 44;
/// Frames of the first run.
const FIRST: u32 = 1 << 17;

/// One instruction: operation, registers, offset, operand (bpf/standardization/instruction-set.rst).
const fn instruction(operation: u64, to: u64, from: u64, offset: i16, operand: i32) -> u64 {
    operation | to << 8 | from << 12 | (offset as u16 as u64) << 16 | (operand as u32 as u64) << 32
}

/// Sends each frame by an interface, after writing its source, checksum and port. All headers are written anew: the kernel
/// uses its frames again, as whoever had them has left them. `base` is the sum of the other words of the IPv4 header.
fn sender(interface: i32, frame: &[u8; FRAME], base: i32) -> Vec<u64> {
    let i = instruction;
    let words = frame[..HEADERS].as_chunks::<4>().0;
    let stores =
        words.iter().zip((0..).step_by(4)).map(|(word, at)| i(0x62, 2, 0, at, i32::from_ne_bytes(*word)));
    let stores: Vec<u64> = stores.collect();
    let before = vec![
        i(0xbf, 6, 1, 0, 0),
        // A number for this frame: bpf_get_prandom_u32.
        i(0x85, 0, 0, 0, 7),
        i(0x61, 2, 6, 0, 0),
        i(0x61, 3, 6, 4, 0),
        i(0xbf, 4, 2, 0, 0),
        i(0x07, 4, 0, 0, FRAME as i32),
        // Too short for what follows: to the end.
        i(0x2d, 4, 3, 33 + stores.len() as i16, 0),
    ];
    let behind = vec![
        // The source: 10.0.0.1 and one of 1,000 networks and ten hosts.
        i(0xbf, 5, 0, 0, 0),
        i(0x97, 5, 0, 0, 1000),
        i(0x67, 5, 0, 0, 8),
        i(0xbf, 1, 0, 0, 0),
        i(0x77, 1, 0, 0, 16),
        i(0x97, 1, 0, 0, 10),
        i(0x0f, 5, 1, 0, 0),
        i(0x07, 5, 0, 0, 0x0a00_0001),
        // The checksum: the base and both halves of the source, carries added, complemented.
        i(0xbf, 1, 5, 0, 0),
        i(0x77, 1, 0, 0, 16),
        i(0xbf, 4, 5, 0, 0),
        i(0x57, 4, 0, 0, 0xffff),
        i(0x0f, 1, 4, 0, 0),
        i(0x07, 1, 0, 0, base),
        i(0xbf, 4, 1, 0, 0),
        i(0x77, 4, 0, 0, 16),
        i(0x57, 1, 0, 0, 0xffff),
        i(0x0f, 1, 4, 0, 0),
        i(0xa7, 1, 0, 0, 0xffff),
        i(0xdc, 1, 0, 0, 16),
        i(0x6b, 2, 1, 24, 0),
        i(0xdc, 5, 0, 0, 32),
        i(0x63, 2, 5, 26, 0),
        // The port.
        i(0x97, 0, 0, 0, 100),
        i(0xb7, 5, 0, 0, 443),
        i(0x55, 0, 0, 1, 0),
        i(0xb7, 5, 0, 0, 25),
        i(0xdc, 5, 0, 0, 16),
        i(0x6b, 2, 5, 36, 0),
        // bpf_redirect to the interface.
        i(0xb7, 1, 0, 0, interface),
        i(0xb7, 2, 0, 0, 0),
        i(0x85, 0, 0, 0, 23),
        i(0x95, 0, 0, 0, 0),
        // XDP_DROP.
        i(0xb7, 0, 0, 0, 1),
        i(0x95, 0, 0, 0, 0),
    ];
    [before, stores, behind].concat()
}

/// Says the same of every frame: 1 is XDP_DROP, 2 is XDP_PASS.
fn verdict(code: i32) -> Vec<u64> {
    vec![instruction(0xb7, 0, 0, 0, code), instruction(0x95, 0, 0, 0, 0)]
}

/// `union bpf_attr` as 32-bit words, for the commands that are used here.
fn bpf(command: u32, attributes: &mut [u32; 32]) -> io::Result<i32> {
    // SAFETY: the words are as many as the kernel is told; what they point to, the callers keep until this returns.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn pointer<T>(to: &[T]) -> [u32; 2] {
    let address = to.as_ptr() as u64;
    [address as u32, (address >> 32) as u32]
}

fn load(program: &[u64]) -> io::Result<i32> {
    let mut attributes = [0u32; 32];
    // BPF_PROG_TYPE_XDP, count, instructions, license.
    (attributes[0], attributes[1]) = (6, program.len() as u32);
    attributes[2..4].copy_from_slice(&pointer(program));
    attributes[4..6].copy_from_slice(&pointer(c"Apache-2.0".to_bytes_with_nul()));
    bpf(5, &mut attributes)
}

/// Puts a program onto an interface's driver, for as long as this process lives.
fn attach(program: i32, interface: u32) -> io::Result<()> {
    let mut attributes = [0u32; 32];
    // Program, interface, BPF_XDP, XDP_FLAGS_DRV_MODE.
    attributes[..4].copy_from_slice(&[program as u32, interface, 37, 4]);
    bpf(28, &mut attributes).map(drop)
}

/// Runs the program on so many live frames.
fn run(program: i32, frame: &[u8], count: u32) -> io::Result<()> {
    let mut attributes = [0u32; 32];
    (attributes[0], attributes[2], attributes[8]) = (program as u32, frame.len() as u32, count);
    attributes[4..6].copy_from_slice(&pointer(frame));
    // BPF_F_TEST_XDP_LIVE_FRAMES, and how many at once.
    (attributes[16], attributes[18]) = (1 << 1, 64);
    bpf(10, &mut attributes).map(drop)
}

fn template(mac: &str) -> Result<[u8; FRAME], Box<dyn Error>> {
    let mut frame = [0u8; FRAME];
    for (byte, text) in frame.iter_mut().zip(mac.split(':')) {
        *byte = u8::from_str_radix(text, 16)?;
    }
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 0x08, 0x00]);
    frame[14..34]
        .copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 198, 51, 100, 7]);
    frame[34..38].copy_from_slice(&[0xc3, 0x50, 1, 187]);
    (frame[46], frame[47]) = (0x50, 2);
    Ok(frame)
}

fn index(interface: &str) -> Result<u32, Box<dyn Error>> {
    Ok(std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex"))?.trim().parse()?)
}

/// Has the thread that calls it run on one core.
fn stay_on(core: usize) {
    // SAFETY: a set of cores of this thread's own, of the size that is told; zeroes are an empty one.
    let failed = unsafe {
        let mut cores: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut cores);
        libc::sched_setaffinity(0, size_of_val(&cores), &cores)
    };
    assert_eq!(failed, 0, "core {core}: {}", io::Error::last_os_error());
}

/// The two cores of a virtual machine may be two of one die at one time, and of two at another. The best of some tries.
fn distance() -> f64 {
    const TURNS: u32 = 10_000;
    let ball = AtomicU32::new(0);
    let time = || {
        thread::scope(|scope| {
            scope.spawn(|| {
                stay_on(1);
                for turn in 0..TURNS {
                    while ball.load(Ordering::Acquire) != 2 * turn + 1 {}
                    ball.store(2 * turn + 2, Ordering::Release);
                }
                ball.store(0, Ordering::Release);
            });
            stay_on(0);
            let began = Instant::now();
            for turn in 0..TURNS {
                ball.store(2 * turn + 1, Ordering::Release);
                while ball.load(Ordering::Acquire) == 2 * turn + 1 {}
            }
            began.elapsed().as_nanos() as f64 / f64::from(TURNS)
        })
    };
    (0..5).map(|_| time()).fold(f64::INFINITY, f64::min)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &words[..] {
        ["offer", interface, mac, seconds] => {
            let frame = template(mac)?;
            let words = frame[14..34].as_chunks::<2>().0;
            let sum = |words: &[[u8; 2]]| {
                words.iter().map(|word| i32::from(u16::from_be_bytes(*word))).sum::<i32>()
            };
            // All but the checksum, which is zero, and the source.
            let base = sum(words) - sum(&words[6..8]);
            let program = load(&sender(index(interface)? as i32, &frame, base))?;
            let time = Duration::from_secs_f64(seconds.parse()?);
            // The kernel lets a grace period pass at each run, and nothing comes meanwhile: so there are few, of which the
            // first tell how many frames fill the time.
            let (began, mut offered) = (Instant::now(), 0u32);
            let mut next = FIRST;
            while next > 0 {
                run(program, &frame, next)?;
                offered += next;
                let (past, left) = (began.elapsed(), time.saturating_sub(began.elapsed()));
                let fill = f64::from(offered) * left.as_secs_f64() / past.as_secs_f64();
                next = if left < time / 20 { 0 } else { (fill as u32).min(offered * 8) };
            }
            println!("{offered} {:.6}", began.elapsed().as_secs_f64());
        }
        ["distance"] => println!("{:.0}", distance()),
        ["sink", interface] | ["pass", interface] => {
            attach(load(&verdict(if words[0] == "sink" { 1 } else { 2 }))?, index(interface)?)?;
            println!("attached");
            loop {
                thread::park();
            }
        }
        _ => {
            return Err(
                "usage: live offer INTERFACE MAC SECONDS | sink INTERFACE | pass INTERFACE | distance".into(),
            );
        }
    }
    Ok(())
}
