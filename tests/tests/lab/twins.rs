//! What the kernel has in another form than a router expects: twins that somebody takes away, next hops by objects.

use std::fs;
use std::time::{Duration, Instant};

use sekisho_tests::lab::await_that;
use sekisho_tests::lab::router::{Forwarder, RouterLab};

const ROUTER: [&str; 2] = ["203.0.113.1", "2001:db8:d000::1"];
const WORLD: &str = "198.51.100.80";

/// What the thread that carries frames to and from the twins has taken of a core, in ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the daemon runs");
    let stats = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    let of_twins = stats.filter(|stat| stat.contains("(sekisho-twins)"));
    let spent = of_twins.map(|stat| {
        let behind = stat.rsplit(')').next().unwrap_or_default();
        let fields: Vec<i64> = behind.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // utime and stime; the state, which is no number, is left out before them.
        u64::try_from(fields[10] + fields[11]).expect("time is not negative")
    });
    spent.sum()
}

#[test]
fn a_twin_that_is_deleted_is_made_again_with_its_addresses_and_what_can_not_be_is_told_and_rested_from() {
    let lab = RouterLab::new("deleted", Forwarder::Sekisho);
    lab.world.ip("route add default via 192.0.2.1");
    lab.router.ip("route add 198.51.100.0/24 via 192.0.2.2");
    lab.await_reached(WORLD);
    for _ in 0..2 {
        lab.router.ip("link del sk-access");
        await_that("its addresses are back", || {
            let addresses = lab.router.output("ip", ["address", "show", "dev", "sk-access"]).stdout;
            let addresses = String::from_utf8_lossy(&addresses).into_owned();
            ROUTER.iter().all(|address| addresses.contains(address))
        });
        ROUTER.iter().for_each(|address| lab.await_reached(address));
        lab.await_reached(WORLD);
        lab.await_mirrored();
    }
    assert!(lab.said().contains("its twin sk-access was deleted and is there again"), "{}", lab.said());

    // Its name is another's now.
    lab.router.ip("link del sk-access\nlink add sk-access type veth peer name other");
    await_that("that is told", || lab.said().contains("was deleted and can't be made again"));
    let (before, begun) = (ticks(lab.pid()), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let (spent, seconds) = (ticks(lab.pid()) - before, begun.elapsed().as_secs_f64());
    assert!((spent as f64) < 50.0 * seconds, "{spent} ticks in {seconds:.1} s");
    assert!(lab.port_is_up("core"), "the others go on");
    lab.router.ip("link del sk-access");
    ROUTER.iter().for_each(|address| lab.await_reached(address));
    lab.await_reached(WORLD);
}

#[test]
fn routes_by_next_hop_objects_are_followed_and_where_the_kernel_tells_the_objects_alone_that_is_said() {
    let lab = RouterLab::new("objects", Forwarder::Sekisho);
    lab.world.ip("route add default via 192.0.2.1");
    lab.router.ip("nexthop add id 7 via 192.0.2.2 dev sk-core\nroute add 198.51.100.0/24 nhid 7");
    lab.await_reached(WORLD);
    lab.router.ip("nexthop replace id 7 via 192.0.2.6 dev sk-transit");
    lab.await_mirrored();
    lab.await_reached(WORLD);

    let untold = "of some routes a next hop object alone";
    assert!(!lab.said().contains(untold));
    lab.router.set("ipv4/nexthop_compat_mode", "0");
    lab.router.ip("route add 198.51.100.80/32 nhid 7");
    await_that("it is said", || lab.said().contains(untold));
    await_that("the customer is told", || {
        let output = lab.customer.output("ping", ["-n", "-c", "1", "-W", "1", WORLD]);
        String::from_utf8_lossy(&output.stdout).contains("Destination Host Unreachable")
    });
    // Nobody says that it is otherwise now.
    lab.router.set("ipv4/nexthop_compat_mode", "1");
    lab.await_reached(WORLD);
    lab.await_mirrored();
    assert_eq!(lab.said().matches(untold).count(), 1, "{}", lab.said());
}
