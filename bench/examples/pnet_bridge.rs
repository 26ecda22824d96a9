//! A bridge of one direction over pnet's datalink channel, which decides nothing: `pnet_bridge FROM TO`. A peer that
//! `bench/throughput` measures.

use std::error::Error;

use pnet_datalink::{Channel, Config, channel, interfaces};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = &arguments[..] else { return Err("usage: pnet_bridge FROM TO".into()) };
    let open = |name: &str| {
        let interface = interfaces().into_iter().find(|interface| interface.name == name);
        match channel(&interface.ok_or("no such interface")?, Config::default())? {
            Channel::Ethernet(sender, receiver) => Ok((sender, receiver)),
            _ => Err(Box::<dyn Error>::from("no channel of Ethernet frames")),
        }
    };
    let (_, mut receiver) = open(from)?;
    let (mut sender, _) = open(to)?;
    loop {
        let frame = receiver.next()?;
        // What could not be sent is lost, and seen by who counts at the far end.
        let _ = sender.send_to(frame, None);
    }
}
