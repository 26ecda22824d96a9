//! Any text as a configuration: accepted and compiled, or refused with a place and a remedy for every problem.
#![no_main]

use std::path::Path;

use libfuzzer_sys::{Corpus, fuzz_target};
use sekisho_control::compile::Compiler;
use sekisho_control::config::Config;

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    // A folder that is not there: files that a text names relative to it are not found.
    match Config::from_toml(text, Path::new("no-such-folder/fuzz.toml")) {
        Ok(config) => {
            let compiled = Compiler::default().compile(&config, Vec::new());
            assert!(compiled.is_ok(), "accepted and not compiled: {}", compiled.err().unwrap());
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(!error.problems().is_empty());
            for problem in error.problems() {
                assert!(problem.line >= 1 && problem.column >= 1, "{problem:?}");
                assert!(!problem.message.is_empty() && !problem.help.is_empty(), "{problem:?}");
            }
        }
    }
    Corpus::Keep
});
