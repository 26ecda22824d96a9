//! BIRD, the routing daemon, in a namespace.

use std::fs;
use std::path::{Path, PathBuf};

use super::namespace::Namespace;
use super::{await_that, daemon::argument};

/// A BIRD that runs. It ends with its namespace.
pub struct Bird<'n> {
    namespace: &'n Namespace,
    config: PathBuf,
    socket: PathBuf,
}

/// A BIRD configuration of `configs/bird/` with some of its lines changed, as an operator changes them.
///
/// # Panics
/// When it has no such line.
pub fn configuration(file: &str, changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/bird").join(file);
    let mut text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for (old, new) in changes {
        assert!(text.contains(old), "{} has no {old:?}", path.display());
        text = text.replace(old, new);
    }
    text
}

impl<'n> Bird<'n> {
    /// Starts it in a namespace, with its files in `folder`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(namespace: &'n Namespace, folder: &Path, name: &str, configuration: &str) -> Bird<'n> {
        let file = |kind: &str| folder.join(format!("{name}.{kind}"));
        let bird = Bird { namespace, config: file("conf"), socket: file("ctl") };
        let log = format!("log \"{}\" all;", file("log").display());
        let configuration = configuration.replace("log syslog all;", &log);
        fs::write(&bird.config, configuration).expect("the lab's folder is writable");
        bird.run();
        bird
    }

    fn run(&self) {
        let (config, socket) = (argument(&self.config), argument(&self.socket));
        // It leaves for the background when its configuration is read and its socket made.
        self.namespace.run("bird", ["-c", config, "-s", socket]);
    }

    /// A command for `birdc`; gives what it answers.
    ///
    /// # Panics
    /// When it refuses.
    pub fn command(&self, words: &str) -> String {
        let socket = argument(&self.socket);
        let arguments = ["-s", socket].into_iter().chain(words.split_whitespace());
        self.namespace.run("birdc", arguments)
    }

    /// Waits until a protocol is up.
    pub fn await_up(&self, protocol: &str) {
        await_that(&format!("{protocol} is up"), || {
            let shown = self.command(&format!("show protocols {protocol}"));
            shown.lines().any(|line| line.starts_with(protocol) && line.contains("Established"))
        });
    }

    /// Ends it and starts it again; `meanwhile` happens in between.
    pub fn restart(&self, meanwhile: impl FnOnce()) {
        self.command("down");
        await_that("BIRD is down", || !self.socket.exists());
        meanwhile();
        self.run();
    }
}
