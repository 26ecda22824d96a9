//! The twin against the vectors. What passes here may serve as the measure of the product.

use sekisho_tests::twin::{Twin, TwinConfig, instant};
use sekisho_tests::vectors::{self, Vector};

#[test]
fn the_twin_passes_every_vector() {
    let vectors = vectors::vectors();
    assert!(vectors.len() >= 427, "{} vectors", vectors.len());
    let failures: Vec<String> = vectors.iter().flat_map(failures_of).collect();
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// Section 5. No vector says it: `replay` takes frames in the order of their instants.
#[test]
fn a_phase_that_has_begun_stays_begun_if_the_clock_steps_back() {
    let syn = vectors::vectors().swap_remove(0).steps.swap_remove(0);
    let mut twin = Twin::new(TwinConfig::from_toml(&vectors::fixture()).expect("the fixture"));
    let [before, after] =
        ["2005-06-15T12:00:00+09:00", "2006-06-15T12:00:00+09:00"].map(|at| instant(at).unwrap());
    let reasons = [before, after, before].map(|now| twin.judge(&syn.port, now, &syn.frame).reason);
    assert_eq!(reasons, ["not-in-scope", "port25-egress", "port25-egress"]);
}

fn failures_of(vector: &Vector) -> Vec<String> {
    let mut config =
        TwinConfig::from_table(vector.config()).expect("the twin reads every vector's configuration");
    for (addr, given, lasts) in vector.grants() {
        config.grant(addr, given, lasts).expect("a vector's grant");
    }
    config.down.clone_from(&vector.down);
    let mut twin = Twin::new(config);
    let mut failures = Vec::new();
    for (index, (step, now)) in vector.steps.iter().zip(vector.instants()).enumerate() {
        let outcome = twin.judge(&step.port, now, &step.frame);
        let line = vectors::line(index + 1, &step.port, &outcome);
        let mut differences = vectors::differences(&step.expect, &line);
        match (vectors::expected_reply(&step.expect), &outcome.reply) {
            (None, _) | (Some(None), None) => {}
            (Some(Some(expected)), Some(got)) => {
                differences.extend(vectors::compare_reply(&expected, got).err())
            }
            (Some(expected), got) => {
                differences.push(format!("reply: expected {expected:02x?}, got {got:02x?}"))
            }
        }
        let place = format!("{} ({}) step {}", vector.id, vector.title, index + 1);
        failures.extend(differences.into_iter().map(|difference| format!("{place}: {difference}")));
    }
    failures
}
