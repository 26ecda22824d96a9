//! Threads beside the workers that a fault of ours may end: that is told, and stands in `status`. Workers go on as they are.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam::channel::Sender;

use super::event::Event;
use super::tables::Report;
use super::wake::Bell;
use super::workers::panic_message;

/// Where a thread's end is told.
#[derive(Clone)]
pub(super) struct Witness {
    pub(super) reports: Sender<Report>,
    pub(super) control: Bell,
    /// The thread's name.
    pub(super) thread: &'static str,
    /// What is not done without it.
    pub(super) what: &'static str,
}

impl Witness {
    /// Does what a thread does. What a panic leaves behind is not used again.
    pub(super) fn of(&self, body: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
            self.failed(panic_message(&*panic));
        }
    }

    /// Tells that it has panicked.
    pub(super) fn failed(&self, why: &str) {
        let (thread, what, why) = (self.thread.to_owned(), self.what.to_owned(), why.to_owned());
        // Without a control thread the process is at its end.
        let _ = self.reports.send(Report::Happened(Event::ThreadFailed { thread, what, why }));
        self.control.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::super::wake::bell;
    use super::*;

    #[test]
    fn a_thread_that_panics_is_told_of_with_what_is_not_done_any_more_and_one_that_ends_is_not() {
        let (reports, reported) = crossbeam::channel::unbounded();
        let (control, _ear) = bell().unwrap();
        let witness = Witness { reports, control, thread: "sekisho-test", what: "nothing is tested" };
        witness.of(|| {});
        assert!(reported.is_empty());
        let of = witness.clone();
        let thread = std::thread::spawn(move || of.of(|| panic!("a fault that nobody thought of")));
        thread.join().expect("it does not go further");
        let Ok(Report::Happened(event)) = reported.recv() else { panic!("nothing was told") };
        let told = "the thread sekisho-test has panicked (a fault that nobody thought of); until a restart nothing is tested";
        assert_eq!(event.to_string(), told);
    }
}
