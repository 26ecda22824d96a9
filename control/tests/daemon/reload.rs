//! New generations under traffic: what is put in force, what is refused, and that nothing is lost.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::host::{Host, TABLES};

fn reloaded(host: &Host, options: &[&str]) -> Value {
    let arguments = [&["reload", "--json"][..], options].concat();
    serde_json::from_str(&host.ok(&arguments)).unwrap()
}

#[test]
fn a_reload_puts_a_new_generation_in_force_and_counters_go_on() {
    let host = Host::new();
    let _daemon = host.start();
    let mut client = host.client();
    client.wait_until("each kind of packet came", |client| client.received() > 6);
    let before = client.ask("pools");
    // The customer moves to a pool that did not exist when the daemon started.
    host.configure(&TABLES.replace("203.0.113.0/25", "203.0.113.128/25").replace(
        "[[pool]]\nname = \"static\"",
        "[[pool]]\nname = \"new\"\npolicy = \"dynamic\"\nprefixes = [\"203.0.113.0/25\"]\n[[pool]]\nname = \"static\"",
    ));
    let text = host.ok(&["reload"]);
    for told in [
        "pools: 1 added, 0 removed, 1 changed\n  + new (1 prefix)\n  ~ flets: +1 prefix: 203.0.113.128/25; -1 prefix: 203.0.113.0/25\n",
        "generation 2 is in force, 6 prefixes from ",
        "validate ",
        "compile ",
        "publish ",
        "wait for workers ",
        "free ",
    ] {
        assert!(text.contains(told), "{told} in {text}");
    }
    client.wait_until("packets of the new pool are counted under its name", |client| {
        client.ask("pools")["pools"][1]["packets"].as_u64() > Some(2)
    });
    let after = client.ask("pools");
    assert_eq!(after["pools"][1]["name"], "new");
    let count = |pools: &Value, at: usize| pools["pools"][at]["packets"].as_u64().unwrap();
    assert!(count(&after, 0) >= count(&before, 0), "flets keeps what was counted");
    assert!(count(&after, 2) > count(&before, 1), "static goes on");
    assert_eq!(after["no_pool"]["packets"], 0);

    let again = reloaded(&host, &[]);
    assert_eq!(
        (&again["generation"], &again["previous"], &again["still_held"]),
        (&json!(3), &json!(2), &json!(0))
    );
    for step in ["validate", "compile", "publish", "quiesce", "free"] {
        assert!(again["seconds"][step].as_f64().is_some_and(|seconds| seconds < 5.0), "{again}");
    }
    assert_eq!(client.ask("status")["reloads"], 2);
    assert!(host.ok(&["reload"]).starts_with("nothing differs\n"));
}

#[test]
fn a_reload_that_fails_tells_every_problem_with_its_place_and_changes_nothing() {
    let host = Host::new();
    let _daemon = host.start();
    let mut client = host.client();
    host.configure(
        &TABLES.replace("\"carriers\"] }", "\"carrier\"] }").replace("198.51.100.0/24", "198.51.100.1/24"),
    );
    let told = host.refused(&["reload"]);
    for part in ["carrier", "did you mean `carriers`", "sekisho.toml:", "198.51.100.0/24", "2 problems"] {
        assert!(told.contains(part), "{part} in {told}");
    }
    let output = host.run(&["reload", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["error"]["code"], -32002);
    let problem = &error["error"]["data"]["problems"][0];
    assert!(problem["line"].as_u64() > Some(1) && problem["column"].as_u64() > Some(1), "{problem}");
    assert!(problem["help"].is_string());
    host.write("missing.toml", &host.whole("[sets]\ns = { file = \"nowhere.txt\" }\n"));
    assert!(host.refused(&["reload", "missing.toml"]).contains("nowhere.txt"));
    assert!(host.refused(&["reload", "no-such.toml"]).contains("no-such.toml"));

    let status = client.ask("status");
    assert_eq!((&status["generation"], &status["reloads_refused"]), (&json!(1), &json!(4)));
    client.wait_for_traffic();
    assert_eq!(client.ask("pools")["pools"][1]["prefixes_v4"], 1);
}

#[test]
fn a_dry_run_prints_the_difference_and_publishes_nothing() {
    let host = Host::new();
    let _daemon = host.start();
    let other = TABLES
        .replace("192.0.2.192/26\"", "192.0.2.192/26\", \"192.0.2.128/26\"")
        .replace("action = \"reject\"", "action = \"drop\"")
        .replace(
            "  { name",
            "  { name = \"all\", from = \"2026-06-01T00:00:00+09:00\", block = \"all\" },\n  { name",
        )
        .replace("name = \"static\"\npolicy", "name = \"business\"\npolicy");
    host.write("other.toml", &host.whole(&other));
    let text = host.ok(&["reload", "--dry-run", "other.toml"]);
    for told in [
        "pools: 1 added, 1 removed, 0 changed\n  + business (1 prefix)\n  - static (1 prefix)\n",
        "sets: 0 added, 0 removed, 1 changed\n  ~ carriers: +1 prefix: 192.0.2.128/26\n",
        "policies: 0 added, 0 removed, 1 changed\n  ~ dynamic: action: reject → drop\n",
        "phases: 1 added, 0 removed, 1 changed\n  + dynamic/all from 2026-06-01T00:00:00+09:00\n",
        "dry run: generation 1 stays in force",
        "its tables would take",
    ] {
        assert!(text.contains(told), "{told} in {text}");
    }
    let json = reloaded(&host, &["--dry-run", "other.toml"]);
    assert_eq!((&json["dry_run"], &json["seconds"]["publish"]), (&json!(true), &Value::Null));
    let mut client = host.client();
    assert_eq!(client.ask("status")["generation"], 1);
    assert_eq!(client.ask("pools")["pools"][1]["name"], "static");
    let phases = client.ask("phases");
    assert_eq!(phases["phases"].as_array().unwrap().len(), 1);
}

#[test]
fn what_workers_are_made_of_needs_a_restart_and_says_so() {
    let host = Host::new();
    let _daemon = host.start();
    let base = host.whole(TABLES);
    for (old, new, told) in [
        ("poll = \"interrupt\"", "poll = \"busy\"", "[dataplane] poll: interrupt → busy"),
        ("role = \"internet\"", "role = \"servers\"", "port core: role: internet → servers"),
        ("run/control.sock", "elsewhere.sock", "[control] socket: "),
        ("[control]", "[limits]\nfragments = 10\n[control]", "[limits] fragments: 65536 → 10"),
    ] {
        assert!(base.contains(old));
        host.write("other.toml", &base.replacen(old, new, 1));
        for dry_run in [&["reload", "other.toml"][..], &["reload", "--dry-run", "other.toml"]] {
            let refused = host.refused(dry_run);
            assert!(refused.contains("restart") && refused.contains(told), "{refused}");
        }
    }
    let mut client = host.client();
    let path = host.path("other.toml");
    assert_eq!(client.call("reload", json!({ "path": path })).unwrap_err()["code"], -32003);
    assert_eq!(client.ask("status")["generation"], 1);
}

#[test]
fn a_pool_or_an_allow_set_does_not_become_empty_by_accident() {
    let host = Host::new();
    let _daemon = host.start();
    host.configure(&TABLES.replace("\"198.51.100.0/24\"", ""));
    let told = host.refused(&["reload"]);
    assert!(told.contains("static") && told.contains("sekisho.toml:"), "{told}");
    assert!(host.ok(&["reload", "--allow-empty"]).contains("generation 2 is in force"));
    assert!(host.ok(&["reload"]).contains("generation 3 is in force"), "it was empty before");
    host.configure(&TABLES.replace("\"198.51.100.0/24\"", "").replace("\"192.0.2.25/32\"", ""));
    assert!(host.refused(&["reload"]).contains("own-msa"), "now the set is empty too");
    host.configure(TABLES);
    host.ok(&["reload"]);
    assert_eq!(host.client().ask("status")["generation"], 4);
}

#[test]
fn sighup_reloads_the_file_that_the_daemon_was_started_with() {
    let host = Host::new();
    let daemon = host.start();
    let mut client = host.client();
    host.write(
        "other.toml",
        &host.whole(&TABLES.replace("198.51.100.0/24", "198.51.100.0/24\", \"198.51.101.0/24")),
    );
    host.ok(&["reload", "other.toml"]);
    assert!(client.ask("status")["config"].as_str().unwrap().ends_with("/other.toml"));
    daemon.signal(Signal::HUP);
    client.wait_until("the file is read again", |client| client.ask("status")["generation"] == 3);
    assert!(client.ask("status")["config"].as_str().unwrap().ends_with("/sekisho.toml"));
    host.configure("nonsense");
    daemon.signal(Signal::HUP);
    client.wait_until("it is refused", |client| client.ask("status")["reloads_refused"] == 1);
    client.wait_for_traffic();
    let ended = daemon.stop();
    assert!(ended.stderr.contains("reload refused, nothing has changed"), "{}", ended.stderr);
    assert_eq!(ended.code, Some(0));
}

#[test]
fn a_hundred_reloads_take_no_memory_and_lose_no_packet() {
    let host = Host::new();
    let daemon = host.start();
    let mut client = host.client();
    let prefixes = |shift: u32| -> String {
        (0..20_000u32)
            .map(|n| format!("\"10.{}.{}.{}/32\",", n >> 14, n >> 6 & 255, (n << 2 & 255) + shift))
            .collect()
    };
    let paths: Vec<_> = (0..2)
        .map(|shift| {
            let tables =
                TABLES.replace("\"198.51.100.0/24\"", &format!("\"198.51.100.0/24\",{}", prefixes(shift)));
            host.write(&format!("{shift}.toml"), &host.whole(&tables))
        })
        .collect();
    let mut reload =
        |at: usize| client.call("reload", json!({ "path": paths[at % 2], "allow_shrink": true })).unwrap();
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    // The allocator finds its size.
    (0..10).for_each(|at| drop(reload(at)));
    let before = resident();
    for at in 0..100 {
        let reloaded = reload(at);
        assert_eq!(reloaded["still_held"], 0);
        assert_eq!(reloaded["difference"]["pools"]["changed"][0]["added"], 20_000);
    }
    let after = resident();
    // One generation and its configuration take about 3 MiB: a leak of them would be 300.
    assert!(after < before + 30_000, "{before} kB before, {after} kB after");
    let status = client.ask("status");
    assert_eq!((&status["generation"], &status["reloads"]), (&json!(111), &json!(110)));
    client.wait_for_traffic();
    let summary = daemon.stop().stdout;
    assert!(!summary.contains("lost to errors"), "{summary}");
}

#[test]
fn two_clients_that_reload_at_once_are_both_answered() {
    let host = Host::new();
    let _daemon = host.start();
    let run = || {
        let mut client = host.client();
        (0..20).map(|_| client.ask("reload")["generation"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let (mut one, two) = std::thread::scope(|scope| {
        let (one, two) = (scope.spawn(run), scope.spawn(run));
        (one.join().unwrap(), two.join().unwrap())
    });
    assert!(one.is_sorted() && two.is_sorted());
    one.extend(two);
    one.sort_unstable();
    assert_eq!(one, (2..42).collect::<Vec<u64>>(), "each has a generation of its own");
    std::thread::sleep(Duration::from_millis(1));
}
