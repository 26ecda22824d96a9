//! The lab with its mail servers, left standing until it is ended: real mail to try by hand. As root.

#![allow(clippy::print_stdout)]

use std::error::Error;

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::configuration::Configuration;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let lab = Lab::new();
    let _servers = [lab.own_mail_server(), lab.world_mail_server()];
    let sekisho = lab.start(&Configuration::phase_2());
    println!("export LAB={}", lab.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default());
    println!("The checkpoint is open. Ctrl-C takes everything down.");
    signals.forever().next();
    drop(sekisho);
    Ok(())
}
