//! A filter that is checked.

use serde_json::json;

use crate::host::{Host, TABLES};

const FILTER: &str = "[[port]]\nname = \"filter\"\nrole = \"filter\"\ndriver = \"pcap\"\n";
const HEALTH: &str =
    "health = { check = \"arp\", address = \"192.0.2.99\", interval = \"500ms\", fail-after = 2 }\n";

fn host(health: &str) -> Host {
    let host = Host::new();
    let tables = TABLES.replace("action = \"reject\"", "action = \"divert\"");
    host.configure(&format!("{FILTER}{health}{tables}"));
    host
}

#[test]
fn a_filter_that_does_not_answer_is_told_of_and_the_fallback_is_in_force() {
    let host = host(HEALTH);
    let _daemon = host.start();
    let mut events = host.client();
    events.call("subscribe", json!({ "counters": false })).unwrap();
    let mut client = host.client();
    let down = loop {
        let told = events.line().expect("an event")["params"].take();
        if told["port"] == "filter" {
            break told;
        }
    };
    assert_eq!((&down["event"], &down["why"]), (&json!("port-down"), &json!("the filter does not answer")));
    let status = client.ask("status");
    let filter = &status["ports"][2];
    assert_eq!((&filter["up"], &filter["outage"]), (&json!(false), &json!("the filter does not answer")));
    assert_eq!((&filter["health"]["check"], &filter["health"]["answers"]), (&json!("arp"), &json!(0)));
    assert!(filter["health"]["failed_in_a_row"].as_u64() >= Some(2), "{filter}");
    // A customer who was diverted before is refused now.
    let egress = |client: &mut crate::host::Client, action: &str| {
        client.ask("counters")["totals"]["reasons"]["port25-egress"][action].as_u64().unwrap_or(0)
    };
    client.wait_until("a refusal", |client| egress(client, "reject") + egress(client, "drop") > 0);
    let counters = client.ask("counters");
    assert!(counters["totals"]["checks_sent"].as_u64() >= Some(2), "{counters}");
    assert!(egress(&mut client, "divert") > 0, "it counted as up before");
    assert!(host.ok(&["status"]).contains("checked by arp at 192.0.2.99"));
}

#[test]
fn without_a_check_the_link_decides_and_a_check_needs_a_restart() {
    let host = host("");
    let _daemon = host.start();
    let mut client = host.client();
    client.wait_for_traffic();
    let status = client.ask("status");
    assert_eq!((&status["ports"][2]["up"], status["ports"][2].get("health")), (&json!(true), None));
    let tables = TABLES.replace("action = \"reject\"", "action = \"divert\"");
    host.configure(&format!("{FILTER}{HEALTH}{tables}"));
    assert!(host.refused(&["reload"]).contains("port filter: health: none"));
}
