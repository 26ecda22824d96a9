//! Interfaces that do things to frames on their way: refused, undone, or counted, but nothing wrong is passed on.

use std::net::SocketAddr;

use sekisho_tests::lab::address::{DYNAMIC, WORLD};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::namespace::Namespace;
use sekisho_tests::lab::sniffer::{Way, wrong_checksums};
use sekisho_tests::lab::tcp::{Outcome, connected, outcome};
use sekisho_tests::lab::{Lab, await_that};

fn switch(namespace: &Namespace, device: &str, words: &str) {
    namespace.run("ethtool", ["-K", device].into_iter().chain(words.split_whitespace()));
}

#[test]
fn an_interface_that_merges_frames_is_refused_and_the_command_that_it_names_helps() {
    let lab = Lab::new();
    switch(&lab.checkpoint, "core", "gro on");
    let refused = lab.refused(&Configuration::phase_2());
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let remedy = refused.stderr.find("ethtool -K core").and_then(|at| refused.stderr[at..].lines().next());
    let remedy = remedy.unwrap_or_else(|| panic!("no command to switch that off: {}", refused.stderr));
    let mut words = remedy.split_whitespace();
    lab.checkpoint.run(words.next().expect("a program"), words);

    let _servers = lab.internet.echo(&[587]);
    let sekisho = lab.start(&Configuration::phase_2());
    assert_eq!(outcome(&lab.subscriber, DYNAMIC[0], SocketAddr::new(WORLD[0], 587)), Outcome::Talks);
    sekisho.end();
}

#[test]
fn checksums_that_a_virtual_sender_left_open_are_completed() {
    let lab = Lab::new();
    switch(&lab.subscriber, "sub0", "tx on tso off gso off");
    let sekisho = lab.start(&Configuration::phase_2());
    let _servers = lab.internet.echo(&[25, 587]);
    let arrived = lab.sniff(&lab.internet, "inet0", Way::In);
    for n in 0..2 {
        let to = |port| outcome(&lab.subscriber, DYNAMIC[n], SocketAddr::new(WORLD[n], port));
        assert_eq!([to(587), to(25)], [Outcome::Talks, Outcome::Refused]);
    }
    let counters = sekisho.end();
    assert!(counters.driver("access", "checksum_completed") > 6, "{counters}");
    assert_eq!(counters.lost(), 0, "{counters}");
    let wrong = wrong_checksums(&lab, arrived.file());
    assert!(wrong.is_empty() && arrived.end().len() > 6, "{wrong:?}");
}

#[test]
fn segments_that_a_virtual_sender_left_uncut_are_counted_and_never_passed_on() {
    let lab = Lab::new();
    switch(&lab.subscriber, "sub0", "tx on sg on gso on tso on");
    let sekisho = lab.start(&Configuration::phase_2());
    let _servers = lab.internet.echo(&[587]);
    let arrived = lab.sniff(&lab.internet, "inet0", Way::In);
    let stream =
        connected(&lab.subscriber, Some(DYNAMIC[0]), SocketAddr::new(WORLD[0], 587)).expect("it connects");
    std::thread::scope(|scope| {
        // More than goes into one frame; whether all of it arrives in the end is TCP's matter.
        scope.spawn(|| std::io::Write::write_all(&mut &stream, &[b'x'; 200_000]));
        await_that("uncut segments are counted", || sekisho.counters().driver("access", "merged") > 0);
        stream.shutdown(std::net::Shutdown::Both).expect("a connection can be closed");
    });
    sekisho.end();
    let wrong = wrong_checksums(&lab, arrived.file());
    let longest = arrived.end().iter().map(Vec::len).max();
    assert!(wrong.is_empty() && longest <= Some(1_514), "{longest:?} {wrong:?}");
}
