//! Lists in pages: no answer is as large as what there is to list.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::host::{Client, Host, TABLES};

/// All pages of a list, and how many there were.
fn pages(client: &mut Client, method: &str, limit: usize) -> (Vec<Value>, usize) {
    let (mut rows, mut count, mut after) = (Vec::new(), 0, Value::Null);
    loop {
        let mut params = json!({ "limit": limit });
        if !after.is_null() {
            params["after"] = after;
        }
        let mut page = client.call(method, params).unwrap();
        let here = page[method].as_array().unwrap().clone();
        assert!(here.len() <= limit, "{} rows", here.len());
        rows.extend(here);
        count += 1;
        after = page["next"].take();
        if after.is_null() {
            return (rows, count);
        }
    }
}

#[test]
fn grants_come_in_pages_and_the_command_lists_all() {
    const GRANTS: usize = 25_000;
    let host = Host::new();
    let grants: Vec<Value> = (0..GRANTS)
        .map(|n| {
            let address = format!("10.0.{}.{}", n >> 8, n & 255);
            json!({ "address": address, "given": "2026-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z",
                    "reason": format!("customer {n}"), "uid": 0, "pid": 1 })
        })
        .collect();
    std::fs::create_dir(host.path("state")).unwrap();
    host.write("state/grants.json", &json!({ "version": 1, "grants": grants }).to_string());
    let _daemon = host.start();
    let mut client = host.client();
    let first = client.ask("grants");
    assert_eq!((first["grants"].as_array().unwrap().len(), &first["found"]), (1_000, &json!(GRANTS)));
    let (rows, count) = pages(&mut client, "grants", 10_000);
    assert_eq!((count, &rows), (3, &grants), "in the order of their addresses, each once");
    for limit in [0, 10_001] {
        assert_eq!(client.call("grants", json!({ "limit": limit })).unwrap_err()["code"], -32602);
    }
    // One that goes meanwhile takes no other with it.
    let page = client.call("grants", json!({ "limit": 2 })).unwrap();
    client.call("revoke", json!({ "address": page["next"] })).unwrap();
    let next = client.call("grants", json!({ "limit": 1, "after": page["next"] })).unwrap();
    assert_eq!(next["grants"][0]["address"], "10.0.0.2");
    assert_eq!(client.call("grants", json!({ "after": "nobody" })).unwrap_err()["code"], -32602);
    let table = host.ok(&["grants"]);
    assert!(table.ends_with("\n24999 of 65536\n"), "{}", &table[table.len() - 100..]);
    assert_eq!(table.lines().count(), GRANTS + 1);
    let json: Value = serde_json::from_str(&host.ok(&["grants", "--json"])).unwrap();
    assert_eq!((json["grants"].as_array().unwrap().len(), &json["next"]), (GRANTS - 1, &Value::Null));
}

#[test]
fn pools_and_phases_come_in_pages_of_one_generation_and_the_commands_list_all() {
    const POOLS: usize = 2_500;
    let host = Host::new();
    let (mut tables, mut phases) = (String::new(), String::new());
    for n in 0..POOLS {
        let (high, low) = (n >> 8, n & 255);
        write!(
            tables,
            "[[pool]]\nname = \"p{n}\"\npolicy = \"dynamic\"\nprefixes = [\"10.{high}.{low}.0/24\"]\n"
        )
        .unwrap();
        write!(phases, "{{ name = \"f{n}\", from = \"2005-10-18T00:00:00Z\", block = [\"carriers\"] }},")
            .unwrap();
    }
    host.configure(&(TABLES.replace("phases = [", &format!("phases = [{phases}")) + &tables));
    let _daemon = host.start();
    let mut client = host.client();
    for (method, found) in [("pools", POOLS + 2), ("phases", POOLS + 1)] {
        let first = client.ask(method);
        assert_eq!((first[method].as_array().unwrap().len(), &first["found"]), (1_000, &json!(found)));
        let (rows, count) = pages(&mut client, method, 1_001);
        let name = |row: &Value| row["name"].as_str().unwrap().to_owned();
        let names: std::collections::HashSet<String> = rows.iter().map(name).collect();
        assert_eq!((count, rows.len(), names.len()), (3, found, found), "{method}");
        let table = host.ok(&[method]);
        assert!(rows.iter().all(|row| table.contains(&format!("{} ", name(row)))), "{method}");
        // A page of what is no more is none of the next.
        client.ask("reload");
        let stale = client.call(method, json!({ "after": first["next"] })).unwrap_err();
        assert_eq!(stale["code"], -32007, "{stale}");
    }
}
