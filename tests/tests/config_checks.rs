//! `sekisho check`: the configurations it has to accept, and those it has to refuse, naming what is wrong.

use sekisho_tests::binary;
use sekisho_tests::vectors::{self, ConfigCheck};

#[test]
fn check_accepts_and_refuses_as_it_should() {
    let checks = vectors::config_checks();
    assert!(checks.len() >= 33, "{} configurations", checks.len());
    let folder = binary::scratch("config-checks");
    let failures = binary::failures_of_all(&checks, |check| {
        let failures = failures_of(check, &folder.join(&check.id));
        failures.into_iter().map(|failure| format!("{} ({}): {failure}", check.id, check.title)).collect()
    });
    assert!(
        failures.is_empty(),
        "{} differences, files in {}:\n{}",
        failures.len(),
        folder.display(),
        failures.join("\n")
    );
    std::fs::remove_dir_all(&folder).expect("a scratch folder can be removed");
}

fn failures_of(check: &ConfigCheck, folder: &std::path::Path) -> Vec<String> {
    std::fs::create_dir_all(folder).expect("a scratch folder is writable");
    let config = toml::to_string(&vectors::overridden(&check.overrides)).expect("a table is TOML");
    std::fs::write(folder.join("config.toml"), config).expect("a scratch folder is writable");
    let finished = binary::run(folder, ["check", "-c", "config.toml"]);

    let mut failures = finished.broke();
    let wanted = match check.expect.check.as_str() {
        "accept" => 0,
        "refuse" => 1,
        other => panic!("check has to {other}?"),
    };
    let printed = format!("{}\n{}", finished.stdout, finished.stderr);
    if finished.code != Some(wanted) {
        failures.push(format!("exit code {:?}, not {wanted}: {printed}", finished.code));
    }
    // Case does not matter.
    let printed = printed.to_lowercase();
    let missing = check.expect.names.iter().filter(|name| !printed.contains(&name.to_lowercase()));
    failures.extend(missing.map(|name| format!("does not name {name}: {printed}")));
    failures
}
