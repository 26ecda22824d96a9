//! Offers frames to an interface as fast as one core can: `offer INTERFACE SECONDS`. What `bench/throughput` measures with.
//!
//! 60-byte frames (64 on a wire) of 10,000 flows from 1,000 pools, one in a hundred to port 25. Prints how many a
//! second the kernel took.

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::time::{Duration, Instant};

use ipnetwork::{IpNetwork, Ipv4Network};
use sekisho_control::bench::traffic::{Shape, Size, outbound};
use sekisho_dataplane::policy::PortId;
use sekisho_dataplane::port::Driver;
use sekisho_dataplane::port::packet::{PacketDriver, PacketPort};

const POOLS: u32 = 1_000;
const BURST: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [interface, seconds] = &arguments[..] else { return Err("usage: offer INTERFACE SECONDS".into()) };
    let time = Duration::from_secs_f64(seconds.parse()?);
    let prefixes: Vec<IpNetwork> = (0..POOLS)
        .map(|n| Ipv4Network::new((0x0a00_0000 + (n << 8)).into(), 24).map(IpNetwork::from))
        .collect::<Result<_, _>>()?;
    let shape = Shape { size: Size::Fixed(64), flows: 10_000, smtp_permille: 10, frames: 32_768 };
    let frames = outbound(&prefixes, shape);

    let mut driver = PacketDriver::open(&[PacketPort::new(interface)], 1)?.remove(0);
    let (began, mut offered) = (Instant::now(), 0u64);
    for burst in frames.chunks(BURST).cycle() {
        if began.elapsed() >= time {
            break;
        }
        let taken = burst.iter().filter(|frame| driver.inject(PortId(0), frame)).count();
        driver.flush().map_err(|(_, error)| error)?;
        offered += taken as u64;
    }
    println!("{:.0}", offered as f64 / began.elapsed().as_secs_f64());
    Ok(())
}
