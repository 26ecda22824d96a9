//! Tables swapped under load: ten times a second, between the notice's two phases.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::address::{CARRIER, DYNAMIC, STATIC, WORLD};
use sekisho_tests::lab::configuration::Configuration;
use sekisho_tests::lab::daemon::{Counters, Daemon, argument};
use sekisho_tests::lab::frame::Side;
use sekisho_tests::lab::traffic::{Arrivals, Flow};

/// `LAB_SWAP_SECONDS` makes it longer.
const SECONDS: u64 = 20;
const RELOADS_PER_SECOND: u64 = 10;

/// What passes whichever of the two is in force.
fn always() -> [Flow; 6] {
    [
        Flow::udp(Side::Customer, (DYNAMIC[0], 5_000), (WORLD[0], 53)),
        Flow::tcp(Side::Customer, (DYNAMIC[0], 40_000), (WORLD[0], 587)),
        Flow::tcp(Side::Customer, (STATIC[1], 40_000), (WORLD[1], 25)),
        Flow::udp(Side::World, (WORLD[1], 53), (DYNAMIC[1], 5_000)),
        Flow::tcp(Side::World, (WORLD[0], 587), (DYNAMIC[0], 40_000)),
        Flow::tcp(Side::World, (WORLD[1], 25), (STATIC[1], 40_000)),
    ]
}

/// What passes in phase 1 and not in phase 2: mail, and answers to it.
fn sometimes() -> [Flow; 3] {
    [
        Flow::tcp(Side::Customer, (DYNAMIC[0], 40_000), (WORLD[0], 25)),
        Flow::tcp(Side::Customer, (DYNAMIC[1], 40_000), (WORLD[1], 25)),
        Flow::tcp(Side::World, (WORLD[0], 25), (DYNAMIC[0], 40_000)),
    ]
}

/// What passes in neither.
fn never() -> [Flow; 2] {
    [
        Flow::tcp(Side::Customer, (DYNAMIC[0], 40_000), (CARRIER[0], 25)),
        Flow::tcp(Side::World, (CARRIER[1], 25), (DYNAMIC[1], 40_000)),
    ]
}

/// Two workers, where there are two cores, and nobody is answered.
fn with_workers(configuration: Configuration) -> Configuration {
    let cores = thread::available_parallelism().map_or(1, usize::from).min(2);
    Configuration { cores: (0..cores).collect(), ..configuration }.action("drop")
}

/// What came of a run.
struct Run {
    always: Vec<Arrivals>,
    sometimes: Vec<Arrivals>,
    never: Vec<Arrivals>,
    counters: Counters,
    seconds: u64,
}

impl Run {
    /// Lets traffic flow while something is done.
    fn with(lab: &Lab, meanwhile: impl FnOnce(&Daemon<'_>)) -> Run {
        let sekisho = lab.start(&with_workers(Configuration::phase_1()));
        let flows = [&always()[..], &sometimes(), &never()].concat();
        let traffic = lab.traffic(&flows);
        let beside =
            lab.iperf(SocketAddr::new(WORLD[0], 5201), &["--time", "600", "--bitrate", "20M", "--bidir"]);
        let begun = Instant::now();
        meanwhile(&sekisho);
        let seconds = begun.elapsed().as_secs();
        drop(beside);
        let mut arrivals = traffic.end();
        let counters = sekisho.end();
        let never = arrivals.split_off(always().len() + sometimes().len());
        let sometimes = arrivals.split_off(always().len());
        Run { always: arrivals, sometimes, never, counters, seconds }
    }

    fn lost(&self) -> u64 {
        self.always.iter().map(Arrivals::lost).sum()
    }

    /// What passes in neither generation did not pass, and what does in one of them passed as often as was counted.
    fn assert_explained(&self) {
        let Run { always, sometimes, never, counters, .. } = self;
        assert!(always.iter().chain(sometimes).chain(never).all(|flow| flow.sent() > 100));
        assert_eq!(never.iter().map(Arrivals::count).sum::<u64>(), 0);
        let [egress, egress_6, mirror] = &sometimes[..] else { unreachable!() };
        assert_eq!(counters.done("not-in-scope", "forward"), egress.count() + egress_6.count(), "{counters}");
        let denied = egress.lost() + egress_6.lost() + never[0].sent();
        assert_eq!(counters.done("port25-egress", "drop"), denied, "{counters}");
        assert_eq!(counters.done("port25-mirror", "drop"), mirror.lost() + never[1].sent(), "{counters}");
        // Of the answers, those to the static customer are allowed as well.
        assert_eq!(
            counters.done("return-allowed", "forward"),
            mirror.count() + always[5].count(),
            "{counters}"
        );
        assert_eq!(counters.done("exempt-pool", "forward"), always[2].count(), "{counters}");
    }
}

#[test]
fn ten_reloads_a_second_lose_nothing_and_every_verdict_is_one_of_the_two() {
    let wanted =
        env::var("LAB_SWAP_SECONDS").ok().map(|text| text.parse().expect("LAB_SWAP_SECONDS is a number"));
    let reloads = wanted.unwrap_or(SECONDS) * RELOADS_PER_SECOND;
    let lab = Lab::new();
    let files = ["phase-1.toml", "phase-2.toml"].map(|name| lab.file(name));

    let with = Run::with(&lab, |sekisho| {
        for (file, configuration) in files.iter().zip([Configuration::phase_1(), Configuration::phase_2()]) {
            fs::write(file, with_workers(configuration).to_toml()).expect("the lab's folder is writable");
        }
        let begun = Instant::now();
        for n in 0..reloads {
            let due = begun + n as u32 * Duration::from_secs(1) / RELOADS_PER_SECOND as u32;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let file = argument(&files[(n as usize + 1) % 2]);
            let reloaded =
                sekisho.ask(&format!("reload {file}")).unwrap_or_else(|e| panic!("reload {n}: {e}"));
            assert_eq!(reloaded["generation"], n + 2, "{reloaded}");
            assert_eq!(reloaded["still_held"], 0, "the old tables are freed: {reloaded}");
        }
        let status = sekisho.ask("status").expect("it answers");
        assert_eq!(
            (&status["reloads"], &status["reloads_refused"]),
            (&reloads.into(), &0.into()),
            "{status}"
        );
    });
    let without = Run::with(&lab, |_| thread::sleep(Duration::from_secs(with.seconds)));

    for (what, run) in [("with", &with), ("without", &without)] {
        println!(
            "{what} reloads: {} s, {} frames received, {} denied, {} of {} lost, drivers lost {}",
            run.seconds,
            run.counters.total("received_packets"),
            run.counters.total("denied_packets"),
            run.lost(),
            run.always.iter().map(Arrivals::sent).sum::<u64>(),
            run.counters.lost(),
        );
        run.assert_explained();
    }
    assert!(with.lost() <= without.lost(), "{} lost with reloads, {} without", with.lost(), without.lost());
    for flow in &with.sometimes {
        // One burst has one generation: it changes with a reload and never else.
        assert!(flow.changes() as u64 <= reloads, "{} changes in {reloads} reloads", flow.changes());
        assert!(flow.changes() as u64 > reloads / 4, "{} changes in {reloads} reloads", flow.changes());
    }
    assert!(without.sometimes.iter().all(|flow| flow.lost() == 0), "phase 1 was in force all the time");
}
