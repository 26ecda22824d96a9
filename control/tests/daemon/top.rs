//! `sekisho top` in a terminal of its own: it starts, shows what a real daemon counts, holds, and quits.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::host::{Host, PATIENCE};

/// The command in a pseudo terminal, and what that shows.
struct Terminal {
    child: Child,
    keys: File,
    /// Kept open, so that the terminal is there after the command has gone.
    tty: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    fn start(host: &Host) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let tty = rustix::fs::open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        tcsetwinsize(&tty, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let end = || Stdio::from(tty.try_clone().unwrap());
        let mut command = host.command(&["top", "--interval", "0.2"]);
        let child = command
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let screen =
            Arc::new(Mutex::new(vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 0)));
        let keys = File::from(master);
        let (mut output, shown) = (keys.try_clone().unwrap(), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..count]);
            }
        });
        Terminal { child, keys, tty, screen }
    }

    fn shown(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn press(&mut self, key: &str) {
        self.keys.write_all(key.as_bytes()).unwrap();
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        while !is_so(&self.shown()) {
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}:\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the end, which leaves the terminal as it was.
    fn ended(mut self) -> Option<i32> {
        let begun = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(begun.elapsed() < PATIENCE, "it does not end"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        self.wait_until("the other screen is left, and the cursor is shown again", |_| {
            let screen = self.screen.lock().unwrap();
            !screen.screen().alternate_screen() && !screen.screen().hide_cursor()
        });
        let modes = tcgetattr(&self.tty).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON), "keys are echoed again");
        status.code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_shows_what_a_daemon_counts_pauses_and_quits() {
    let host = Host::new();
    let _daemon = host.start();
    let mut terminal = Terminal::start(&host);
    terminal.wait_until("numbers move", |shown| {
        let access = shown.lines().find(|line| line.starts_with("access")).unwrap_or_default();
        let rate = access.split_whitespace().nth(2).and_then(|rate| rate.parse::<f64>().ok());
        rate.is_some_and(|rate| rate > 50.0) && shown.contains("port25-egress") && shown.contains("flets")
    });
    assert!(terminal.shown().contains("My-Bフレッツ"), "{}", terminal.shown());
    terminal.press("s");
    terminal.wait_until("pools are sorted by packets", |shown| shown.contains("pool, by packets"));
    terminal.press("h");
    terminal.wait_until("help is shown", |shown| shown.contains("hold the picture"));
    terminal.press("h");
    terminal.press("g");
    terminal.wait_until("the history is shown", |shown| {
        shown.contains("g traffic") && shown.contains("  start  ") && shown.contains("in force")
    });
    terminal.press("g");
    terminal.press("p");
    terminal
        .wait_until("it is held", |shown| shown.contains("PAUSED") && !shown.contains("hold the picture"));
    host.client().ask("reload");
    std::thread::sleep(Duration::from_millis(600));
    assert!(terminal.shown().contains("generation 1 "), "what is held stays\n{}", terminal.shown());
    terminal.press("p");
    terminal.wait_until("it goes on", |shown| shown.contains("generation 2 "));
    terminal.press("q");
    assert_eq!(terminal.ended(), Some(0));
}

#[test]
fn it_says_that_the_daemon_went_away_and_finds_the_next_one() {
    let host = Host::new();
    let daemon = host.start();
    let mut terminal = Terminal::start(&host);
    terminal.wait_until("it shows a daemon", |shown| shown.contains("generation 1 "));
    daemon.stop();
    terminal.wait_until("it says so", |shown| shown.contains("does not answer, looking for it"));
    let _daemon = host.start();
    terminal.wait_until("it is back", |shown| !shown.contains("looking for it"));
    terminal.press("\u{3}");
    assert_eq!(terminal.ended(), Some(0));
}

#[test]
fn a_signal_restores_the_terminal() {
    let host = Host::new();
    let _daemon = host.start();
    let terminal = Terminal::start(&host);
    terminal.wait_until("it runs", |shown| shown.contains("generation 1 "));
    kill_process(Pid::from_raw(terminal.child.id() as i32).unwrap(), Signal::TERM).unwrap();
    assert_eq!(terminal.ended(), Some(0));
}

#[test]
fn without_a_terminal_or_a_daemon_it_refuses_and_one_frame_can_be_printed() {
    let host = Host::new();
    assert!(host.refused(&["top", "--once"]).contains("no daemon answers there"));
    let _daemon = host.start();
    host.client().wait_for_traffic();
    assert!(host.refused(&["top"]).contains("no terminal; `sekisho top --once`"));
    let frame = host.ok(&["top", "--once"]);
    for told in ["generation 1 since", "access", "port25-egress", "carriers", "pool, by denied", "flets"] {
        assert!(frame.contains(told), "{told} in\n{frame}");
    }
    assert!(!frame.contains('\u{1b}') && !frame.contains("q quit"), "{frame}");
    assert_eq!(host.run(&["top", "--interval", "0"]).status.code(), Some(2));
}
