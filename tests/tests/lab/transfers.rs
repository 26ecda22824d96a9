//! Much at once.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::address::{DYNAMIC, WORLD};
use sekisho_tests::lab::bulk::{random_file, sha256};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::daemon::argument;

const SIZE: u64 = 24 << 20;

#[test]
fn files_arrive_whole_both_ways_while_other_transfers_go_on() {
    let lab = Lab::new();
    let sekisho = lab.start(&Configuration { poll: "busy", ..Configuration::phase_2() });
    let folders = ["served", "fetched"].map(|name| lab.file(name));
    folders.iter().for_each(|folder| fs::create_dir(folder).expect("the lab's folder is writable"));
    let [served, fetched] = &folders;
    random_file(&served.join("down"), SIZE);
    random_file(&fetched.join("up"), SIZE);

    for n in 0..2 {
        let server = SocketAddr::new(WORLD[n], 80);
        let _files = lab.internet.serve_files(server, served);
        let beside =
            lab.iperf(SocketAddr::new(WORLD[n], 5201), &["--time", "4", "--bitrate", "40M", "--bidir"]);
        let curl = |arguments: &[&str]| {
            let from = DYNAMIC[n].to_string();
            let always = [
                "--silent",
                "--show-error",
                "--fail",
                "--globoff",
                "--max-time",
                "120",
                "--interface",
                &from,
            ];
            lab.subscriber.run("curl", always.iter().chain(arguments));
        };
        let (down, up) = (format!("down{n}"), format!("up{n}"));
        curl(&["--output", argument(&fetched.join(&down)), &format!("http://{server}/down")]);
        curl(&["--upload-file", argument(&fetched.join("up")), &format!("http://{server}/{up}")]);
        let sum = |path: PathBuf| sha256(&lab.subscriber, &path);
        assert_eq!(sum(fetched.join(down)), sum(served.join("down")));
        assert_eq!(sum(served.join(up)), sum(fetched.join("up")));
        let transfer = beside.end();
        assert!(transfer.received > 1 << 20, "{transfer:?}");
    }
    let counters = sekisho.end();
    assert!(counters.total("forwarded_packets") > 4 * SIZE / 1_500, "{counters}");
    assert_eq!(counters.total("denied_packets"), 0, "{counters}");
}
