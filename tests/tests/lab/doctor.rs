//! `sekisho doctor` at interfaces: what stands in the way is found, set, and set back.

use std::fs;
use std::path::Path;

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::configuration::Configuration;
use serde_json::Value;

/// Two ports of each driver; `mail` has more queues than there are workers.
fn configuration(lab: &Lab) -> String {
    let packet = "driver = \"packet\"".to_owned();
    let text = Configuration { driver: packet, ..Configuration::phase_2() }.to_toml();
    let (packet, xdp) = text.split_once("name = \"mail\"").expect("the lab has such a port");
    let (ports, rest) = xdp.split_once("[sets]").expect("sets stand behind ports");
    let ports =
        ports.replace("driver = \"packet\"", "driver = \"xdp\"").replace("receive-ring = \"slots\"", "");
    let file = lab.file("sekisho.toml");
    fs::write(&file, format!("{packet}name = \"mail\"{ports}[sets]{rest}"))
        .expect("the lab's folder is writable");
    file.to_str().expect("a plain path").to_owned()
}

/// All that doctor may set of the ports, as other programs tell it.
fn as_others_see_it(lab: &Lab) -> Vec<String> {
    let tell = |device: &str| {
        let features = lab.checkpoint.run("ethtool", ["-k", device]);
        let queues = lab.checkpoint.run("ethtool", ["-l", device]);
        let link = lab.checkpoint.run("ip", ["-oneline", "link", "show", device]);
        // Flags and MTU; what follows are states that come and go by themselves.
        let link = link.split(" qdisc").next().expect("a link").replace(",LOWER_UP", "");
        let ipv6 = lab.checkpoint.run("sysctl", [format!("net.ipv6.conf.{device}.disable_ipv6")]);
        format!("{features}{queues}{}{ipv6}", link.replace("NO-CARRIER,", ""))
    };
    ["access", "core", "mail", "mail-up"].map(tell).to_vec()
}

fn doctor(lab: &Lab, config: &str, more: &[&str]) -> (Option<i32>, Value) {
    let words = ["doctor", "-c", config, "--json"].into_iter().chain(more.iter().copied());
    let told = lab.sekisho(words);
    let report = serde_json::from_str(&told.stdout);
    (told.code, report.unwrap_or_else(|error| panic!("{error}: {told:?}")))
}

/// What is not as it should be, and can be set.
fn settable(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("findings").iter();
    let open = findings.filter(|finding| finding["level"] != "ok" && finding["changes"].is_array());
    open.map(|finding| finding["found"].as_str().expect("a text")).collect()
}

fn done<'r>(report: &'r Value, what: &str) -> Vec<&'r Value> {
    report["done"].as_array().expect("settings").iter().filter(|line| line["done"] == what).collect()
}

#[test]
fn what_doctor_sets_at_interfaces_helps_and_is_set_back() {
    let lab = Lab::new();
    let config = configuration(&lab);
    lab.checkpoint.run("ethtool", ["-K", "core", "gro", "on"]);
    lab.checkpoint.run("ethtool", ["-L", "mail", "rx", "2", "tx", "2"]);
    lab.checkpoint.ip("link set access mtu 1400\nlink set mail-up down");
    lab.checkpoint.set("ipv6/conf/access/disable_ipv6", "0");
    let before = as_others_see_it(&lab);

    let (code, report) = doctor(&lab, &config, &["--only", "port"]);
    let found = settable(&report).join("\n");
    assert_eq!(code, Some(1), "{report:#}");
    for told in [
        "merges received frames: gro",
        "MTU 1400",
        "mail-up is switched off",
        "IPv6 is on at access",
        "takes VLAN tags out of received frames: rxvlan",
        "2 receive queues (most rx 2 tx 2), 1 workers",
    ] {
        assert!(found.contains(told), "{told}: {found}");
    }
    assert!(report.to_string().contains("XDP features: basic, redirect"), "{report:#}");
    assert_eq!(as_others_see_it(&lab), before, "to look changes nothing");

    let (code, report) = doctor(&lab, &config, &["--only", "port", "--fix"]);
    assert_eq!((code, settable(&report)), (Some(0), vec![]), "{report:#}");
    assert!(done(&report, "set").len() >= 8 && done(&report, "refused").is_empty(), "{report:#}");
    let features = lab.checkpoint.run("ethtool", ["-k", "core"]);
    assert!(features.contains("generic-receive-offload: off"), "{features}");
    let (code, report) = doctor(&lab, &config, &["--only", "port", "--fix"]);
    assert_eq!((code, done(&report, "set").len()), (Some(0), 0), "nothing is left to be set: {report:#}");

    // Another process restores it; what somebody has set since is theirs.
    lab.checkpoint.ip("link set core mtu 1600");
    let (code, report) = doctor(&lab, &config, &["--undo"]);
    assert_eq!((code, done(&report, "refused").len()), (Some(0), 0), "{report:#}");
    let [foreign] = done(&report, "foreign")[..] else { panic!("{report:#}") };
    assert_eq!((foreign["now"].as_str(), foreign["set"].as_str()), (Some("1600"), Some("1504")));
    lab.checkpoint.ip("link set core mtu 1500");
    assert_eq!(as_others_see_it(&lab), before);
    let (code, report) = doctor(&lab, &config, &["--undo"]);
    assert_eq!((code, report["done"].as_array().map(Vec::len)), (Some(0), Some(0)), "{report:#}");
}

#[test]
fn who_may_not_set_anything_is_told_so_and_nothing_changes() {
    let lab = Lab::new();
    let config = configuration(&lab);
    lab.checkpoint.run("ethtool", ["-K", "core", "gro", "on"]);
    fs::create_dir(lab.file("state")).unwrap();
    std::os::unix::fs::chown(lab.file("state"), Some(65534), Some(65534)).unwrap();
    let before = as_others_see_it(&lab);
    let program = sekisho_tests::binary::sekisho();
    // Where everybody may run it.
    let copy = lab.file("sekisho");
    fs::copy(program, &copy).unwrap();
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"];
    let words = nobody.into_iter().chain([path(&copy), "doctor", "-c", &config, "--only", "port", "--fix"]);
    let told = lab.checkpoint.output("setpriv", words);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (printed, complaint) = (text(&told.stdout), text(&told.stderr));
    assert_eq!(told.status.code(), Some(1), "{printed}{complaint}");
    assert!(printed.contains("FAIL  core: rx-gro: Operation not permitted"), "{printed}");
    assert!(complaint.contains("setting needs root"), "{complaint}");
    assert_eq!(as_others_see_it(&lab), before);
    // What another user's doctor remembers is nothing that root would set.
    let told = lab.checkpoint.output(path(&copy), ["doctor", "-c", &config, "--undo"]);
    assert_eq!(told.status.code(), Some(1), "{}", text(&told.stdout));
    assert!(text(&told.stderr).contains("is not believed"), "{}", text(&told.stderr));
    assert_eq!(as_others_see_it(&lab), before);
}

#[test]
fn the_other_end_of_a_virtual_link_that_leaves_checksums_open_is_told_where_it_can_be_seen() {
    let lab = Lab::new();
    lab.checkpoint.ip("link add here type veth peer name there\nlink set here up\nlink set there up");
    let mut text =
        Configuration { driver: "driver = \"xdp\"".to_owned(), ..Configuration::phase_2() }.to_toml();
    text = text.replace("device = \"access\"", "device = \"here\"").replace("receive-ring = \"slots\"", "");
    let config = lab.file("sekisho.toml");
    fs::write(&config, text).expect("the lab's folder is writable");
    let config = path(&config);
    let far = || lab.checkpoint.run("ethtool", ["-k", "there"]);
    let before = far();
    assert!(before.contains("tx-checksumming: on"), "{before}");

    let (_, report) = doctor(&lab, config, &["--only", "port access"]);
    let open = "there, its other end, leaves checksums open or tags beside the frame";
    assert!(settable(&report).contains(&open), "{report:#}");
    let (_, others) = doctor(&lab, config, &["--only", "port core"]);
    assert!(others.to_string().contains("its other end is in another network namespace"), "{others:#}");

    let (_, report) = doctor(&lab, config, &["--only", "port access", "--fix"]);
    assert_eq!(settable(&report), [""; 0], "{report:#}");
    assert!(far().contains("tx-checksumming: off") && far().contains("tx-vlan-offload: off"), "{}", far());
    let (_, report) = doctor(&lab, config, &["--only", "port access"]);
    assert!(report.to_string().contains("there, its other end, completes its own checksums"), "{report:#}");
    doctor(&lab, config, &["--undo"]);
    assert_eq!(far(), before);
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}
