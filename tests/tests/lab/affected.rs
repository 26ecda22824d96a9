//! Who is in the affected list when real programs have tried: phase 1 is enforced, and phase 2 is watched.

use sekisho_tests::lab::Lab;
use sekisho_tests::lab::address::{CARRIER, DYNAMIC, OWN, STATIC, WORLD};
use sekisho_tests::lab::configuration::{Configuration, PAST, Phase};
use sekisho_tests::lab::mail::{Handed, Letter};
use serde_json::Value;

#[test]
fn who_tried_is_listed_with_what_was_denied_and_what_will_be() {
    let lab = Lab::new();
    let (own, world) = (lab.own_mail_server(), lab.world_mail_server());
    let sekisho = lab.start(&Configuration::new([Phase::carriers(PAST), Phase::everyone(PAST).watched()]));
    let nobody = sekisho.ask("affected").expect("there is a list");
    assert_eq!(nobody["found"], 0, "{nobody}");
    for n in 0..2 {
        let hand_over = |from, server, domain, subject: &str| {
            lab.hand_over(&Letter { from, server, port: 25, with_password: false, domain, subject })
        };
        let subject = format!("watched {n}");
        assert_eq!(hand_over(DYNAMIC[n], CARRIER[n], world.domain, "never"), Handed::Refused);
        assert_eq!(hand_over(DYNAMIC[n], WORLD[n], world.domain, &subject), Handed::Over);
        world.await_mail(&subject);
        // These are nobody's concern.
        let subject = format!("to the own server {n}");
        assert_eq!(hand_over(DYNAMIC[n], OWN[n], own.domain, &subject), Handed::Over);
        let subject = format!("from a static address {n}");
        assert_eq!(hand_over(STATIC[n], WORLD[n], world.domain, &subject), Handed::Over);
    }

    let list = sekisho.ask("affected").expect("there is a list");
    let rows = list["customers"].as_array().expect("a list");
    assert_eq!(rows.len(), 2, "{list:#}");
    let number = |row: &Value, what: &str| row[what].as_u64().unwrap_or_else(|| panic!("no {what}: {row:#}"));
    for customer in DYNAMIC {
        let row = rows.iter().find(|row| row["customer"] == customer.to_string());
        let row = row.unwrap_or_else(|| panic!("{customer} is not listed: {list:#}"));
        assert_eq!((&row["pool"], &row["policy"]), (&"my-b-flets".into(), &"dynamic".into()));
        // One SYN was refused at once; the other began a conversation, and each side's part of it counts.
        assert_eq!((number(row, "denied"), number(row, "connections")), (1, 2), "{row:#}");
        assert!(number(row, "would_deny") > 10 && number(row, "answers") > 5, "{row:#}");
        assert_eq!(number(row, "attempts"), 1 + number(row, "would_deny"));
        assert_eq!((number(&row["destinations"], "own"), number(&row["destinations"], "listed")), (0, 1));
        assert_eq!((number(row, "distinct_destinations"), &row["hint"]), (2, &"mail client".into()));
    }
    let csv = sekisho.command(&["affected", "--format", "csv", "--pool", "my-b-flets"]).stdout;
    assert_eq!(csv.lines().count(), 3, "{csv}");

    let counters = sekisho.end();
    let watched: u64 = rows.iter().map(|row| number(row, "would_deny")).sum();
    let counted = counters.would_deny("port25-egress") + counters.would_deny("port25-mirror");
    // The last segments of a conversation may have come after the list.
    assert!(counted >= watched && counters.reason("port25-egress") == 2, "{counters}");
}
