//! How the program gets onto an interface, and what stands in its way.

use std::net::SocketAddr;

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::address::{DYNAMIC, WORLD};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::tcp::{Outcome, outcome};

fn mail_is_refused_and_submission_passes(lab: &Lab) {
    for n in 0..2 {
        let to = |port| outcome(&lab.subscriber, DYNAMIC[n], SocketAddr::new(WORLD[n], port));
        assert_eq!([to(587), to(25)], [Outcome::Talks, Outcome::Refused]);
    }
}

#[test]
fn how_each_interface_is_used_is_told_at_the_start_and_in_the_status() {
    for (mode, told) in [("native", "native mode, copy (zero-copy: "), ("generic", "generic mode, copy (")] {
        let lab = Lab::new();
        let mut sekisho = lab.start(&Configuration::phase_2().xdp(mode));
        let _servers = lab.internet.echo(&[25, 587]);
        sekisho.await_printed(&format!("port access is attached: {told}"));
        let status = sekisho.ask("status").expect("it answers");
        let xdp = &status["ports"][1]["xdp"];
        assert_eq!((&xdp["mode"], &xdp["zero_copy"]), (&mode.into(), &false.into()), "{status}");
        assert_eq!(xdp["queues"], 1);
        assert!(xdp["why_copy"].as_str().is_some_and(|why| !why.is_empty()), "{xdp}");
        assert!(sekisho.command(&["status"]).stdout.contains(&format!("core: {told}")));
        mail_is_refused_and_submission_passes(&lab);
        assert_eq!(sekisho.end().lost(), 0);
    }
}

#[test]
fn an_interface_that_has_a_program_already_is_refused_with_its_name_and_left_alone() {
    let lab = Lab::new();
    let sekisho = lab.start(&Configuration::phase_2());
    let _servers = lab.internet.echo(&[25, 587]);
    let socket = lab.file("other.sock");
    let mut other = Configuration::phase_2().to_toml();
    other = other
        .replace("control.sock", socket.to_str().expect("a plain path"))
        .replace("state = ", "# state = ");
    std::fs::write(lab.file("other.toml"), other).expect("the lab's folder is writable");
    let config = lab.file("other.toml");
    let config = config.to_str().expect("a plain path");
    let refused = lab.sekisho(["run", "-c", config]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("access has an XDP program already (sekisho, number "), "{refused:?}");
    let doctor = lab.sekisho(["doctor", "-c", config, "--only", "port access"]);
    assert!(doctor.stdout.contains("the XDP program of a sekisho that runs is there"), "{doctor:?}");
    mail_is_refused_and_submission_passes(&lab);
    sekisho.end();
    let shown = lab.checkpoint.run("ip", ["link", "show", "dev", "access"]);
    assert!(!shown.contains("xdp"), "the program goes with the process: {shown}");
}

#[test]
fn in_generic_mode_an_interface_that_merges_frames_is_refused_and_the_command_that_it_names_helps() {
    let lab = Lab::new();
    lab.checkpoint.run("ethtool", ["-K", "core", "gro", "on"]);
    let generic = Configuration::phase_2().xdp("generic");
    let refused = lab.refused(&generic);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let remedy = refused.stderr.find("ethtool -K core").and_then(|at| refused.stderr[at..].lines().next());
    let remedy = remedy.unwrap_or_else(|| panic!("no command to switch that off: {}", refused.stderr));
    let mut words = remedy.split_whitespace();
    lab.checkpoint.run(words.next().expect("a program"), words);
    let _servers = lab.internet.echo(&[25, 587]);
    let sekisho = lab.start(&generic);
    mail_is_refused_and_submission_passes(&lab);
    sekisho.end();
}
