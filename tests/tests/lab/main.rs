//! The whole of it, with real programs: `sekisho run` between network namespaces, as [`sekisho_tests::lab`] draws them.
//!
//! Needs root, and the programs that `./test` installs.

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::address::*;
use sekisho_tests::lab::tcp::{Outcome, outcome};
use std::net::SocketAddr;

#[test]
fn smoke() {
    let lab = Lab::new();
    let daemon = lab.start(&Configuration::phase_2());
    let _echo = lab.internet.echo(&[25, 587]);
    for n in 0..2 {
        assert_eq!(outcome(&lab.subscriber, DYNAMIC[n], SocketAddr::new(WORLD[n], 25)), Outcome::Refused);
        assert_eq!(outcome(&lab.subscriber, DYNAMIC[n], SocketAddr::new(WORLD[n], 587)), Outcome::Talks);
        assert_eq!(outcome(&lab.subscriber, STATIC[n], SocketAddr::new(WORLD[n], 25)), Outcome::Talks);
    }
    daemon.end();
}
