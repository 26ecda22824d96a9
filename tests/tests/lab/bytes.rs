//! A bridge changes nothing: what leaves is what came.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::address::{DYNAMIC, STATIC, WORLD};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::frame::{Side, udp};
use sekisho_tests::lab::sniffer::{Way, wrong_checksums};
use sekisho_tests::lab::tcp::{Outcome, outcome};

/// What is between the first and the last mark.
fn between(frames: Vec<Vec<u8>>, marks: &[Vec<u8>; 2]) -> Vec<Vec<u8>> {
    let at = |mark: &Vec<u8>| frames.iter().position(|frame| frame == mark).expect("a mark is there");
    frames[at(&marks[0]) + 1..at(&marks[1])].to_vec()
}

#[test]
fn what_one_side_sends_arrives_at_the_other_byte_for_byte_and_with_right_checksums() {
    let lab = Lab::new();
    let sekisho = lab.start(&Configuration::phase_2());
    let _servers = lab.internet.echo(&[25, 80, 465, 587]);
    let ends = [(Side::Customer, "access", "core"), (Side::World, "core", "access")];
    let mut sides = ends.map(|(side, port, other)| {
        let ((from, device), (to, far_device)) = (lab.far_end(port), lab.far_end(other));
        let (sent, arrived) = (lab.sniff(from, device, Way::Out), lab.sniff(to, far_device, Way::In));
        let marks = ["begin", "end"].map(|word| {
            let at = |host| SocketAddr::new(host, 9);
            let (source, destination) = match side {
                Side::Customer => (at(DYNAMIC[0]), at(WORLD[0])),
                Side::World => (at(WORLD[0]), at(DYNAMIC[0])),
            };
            udp(side, source, destination, word.as_bytes())
        });
        (from.sender(device), sent, arrived, marks)
    });

    sides.iter_mut().for_each(|(sender, _, _, [begin, _])| sender.send(begin));
    for n in 0..2 {
        for port in [80, 465, 587] {
            let to = SocketAddr::new(WORLD[n], port);
            assert_eq!(outcome(&lab.subscriber, DYNAMIC[n], to), Outcome::Talks);
        }
        assert_eq!(outcome(&lab.subscriber, STATIC[n], SocketAddr::new(WORLD[n], 25)), Outcome::Talks);
        for size in ["0", "1000", "3000"] {
            let to = WORLD[n].to_string();
            let said = lab.subscriber.run("ping", ["-c", "5", "-i", "0.05", "-W", "20", "-s", size, &to]);
            assert!(said.contains("5 received"), "{said}");
        }
        let transfer = lab.iperf(SocketAddr::new(WORLD[n], 5201), &["--bytes", "3M"]).end();
        assert!(transfer.sent >= 3 << 20, "{transfer:?}");
    }
    // The last acknowledgments of the transfers go in front of the mark.
    thread::sleep(Duration::from_secs(1));
    sides.iter_mut().for_each(|(sender, _, _, [_, end])| sender.send(end));

    for (_, sent, arrived, marks) in sides {
        arrived.await_frame("the last mark came", 0, |frame| frame == marks[1]);
        for sniffer in [&sent, &arrived] {
            let wrong = wrong_checksums(&lab, sniffer.file());
            assert!(wrong.is_empty(), "{}: {wrong:?}", sniffer.file().display());
        }
        let (sent, arrived) = (between(sent.end(), &marks), between(arrived.end(), &marks));
        assert!(sent.len() > 500, "{} frames", sent.len());
        // Two cores send, and tcpdump sees a frame a moment before it goes: their order may differ there.
        let [mut sent, mut arrived] = [sent, arrived];
        sent.sort();
        arrived.sort();
        let changed = sent.iter().zip(&arrived).find(|(sent, arrived)| sent != arrived);
        if let Some((sent, arrived)) = changed {
            panic!("{sent:02x?} was sent, and {arrived:02x?} arrived");
        }
        assert_eq!(sent.len(), arrived.len());
    }
    let counters = sekisho.end();
    assert_eq!((counters.lost(), counters.total("denied_packets")), (0, 0), "{counters}");
}
