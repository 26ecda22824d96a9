//! The conformance vectors through the real binary: every vector is one `sekisho replay`.

use std::collections::BTreeSet;

use sekisho_dataplane::policy::{Reason, Reasons};
use sekisho_tests::binary;
use sekisho_tests::replay::{Arrival, Replay};
use sekisho_tests::vectors::{self, Vector};

#[test]
fn replay_passes_every_vector() {
    let vectors = vectors::vectors();
    assert!(vectors.len() >= 427, "{} vectors", vectors.len());
    let folder = binary::scratch("vectors");
    let failures = binary::failures_of_all(&vectors, |vector| {
        failures_of(vector, &folder.join(&vector.id))
            .into_iter()
            .map(|failure| format!("{} ({}): {failure}", vector.id, vector.title))
            .collect()
    });
    assert!(
        failures.is_empty(),
        "{} differences, runs in {}:\n{}",
        failures.len(),
        folder.display(),
        failures.join("\n")
    );
    std::fs::remove_dir_all(&folder).expect("a scratch folder can be removed");
}

#[test]
fn the_reasons_that_vectors_deny_with_are_those_that_may_deny() {
    let vectors = vectors::vectors();
    let steps = vectors.iter().flat_map(|vector| &vector.steps);
    let denied: BTreeSet<&str> = steps
        .filter(|step| step.expect.get("verdict").is_some_and(|verdict| verdict == "deny"))
        .filter_map(|step| step.expect.get("reason")?.as_str())
        .collect();
    let may: BTreeSet<&str> = Reason::ALL
        .iter()
        // What a router denies stands in captures of its own.
        .filter(|reason| Reasons::DENIES.has(**reason) && reason.rule() != "route")
        .map(|reason| reason.code())
        .collect();
    assert_eq!(denied, may);
}

fn failures_of(vector: &Vector, folder: &std::path::Path) -> Vec<String> {
    let arrivals: Vec<Arrival> = vector
        .steps
        .iter()
        .zip(vector.instants())
        .map(|(step, at)| Arrival { port: step.port.clone(), at, frame: step.frame.clone() })
        .collect();
    let replay = Replay {
        config: &vector.config(),
        arrivals: &arrivals,
        grants: vector.grants().map(|(addr, given, lasts)| format!("{addr}={given}/{lasts}")).collect(),
        down: &vector.down,
    };
    let replayed = match replay.run(folder) {
        Ok(replayed) => replayed,
        Err(faults) => return faults,
    };
    let mut failures = replayed.faults.clone();
    for (index, (step, line)) in vector.steps.iter().zip(&replayed.lines).enumerate() {
        let differences = vectors::differences(&step.expect, line);
        failures
            .extend(differences.into_iter().map(|difference| format!("step {}: {difference}", index + 1)));
    }
    let strays = replayed.strays(&arrivals, |index| vectors::expected_reply(&vector.steps[index].expect));
    failures.extend(strays.into_iter().map(|(index, stray)| format!("step {}: {stray}", index + 1)));
    failures
}
