//! Collects what is wrong while a configuration is read, so that one run tells all of it.

use std::rc::Rc;

use super::error::{ConfigError, Problem, Related, shown};
use super::source::{Lines, Place, Source, SourceId};

/// The texts read so far and the problems found in them.
pub(super) struct Report {
    sources: Vec<Source>,
    findings: Vec<Finding>,
    found: usize,
    /// How many names may still be compared to find the one that was meant: a file full of unknown names must not
    /// cost (names × names).
    comparisons: usize,
}

struct Finding {
    /// `None`: the file as a whole.
    place: Option<Place>,
    file: SourceId,
    message: String,
    help: String,
    other: Option<(Place, String)>,
}

impl Report {
    /// A report on a configuration.
    pub(super) fn new(name: String, text: Rc<str>) -> Self {
        Self { sources: vec![Source { name, text }], findings: Vec::new(), found: 0, comparisons: 200_000 }
    }

    /// Takes up a further text.
    pub(super) fn add_source(&mut self, name: String, text: Rc<str>) -> SourceId {
        self.sources.push(Source { name, text });
        SourceId(self.sources.len() - 1)
    }

    /// Whether nothing has been found so far.
    pub(super) fn is_clean(&self) -> bool {
        self.found == 0
    }

    /// What stands at a place.
    pub(super) fn text_of(&self, place: &Place) -> &str {
        self.sources[place.source.0].text.get(place.span.clone()).unwrap_or("")
    }

    /// Where the line ends that a place begins in.
    pub(super) fn end_of_line(&self, place: &Place) -> usize {
        let text = self.sources[place.source.0].text.as_bytes();
        let rest = text.get(place.span.start..).unwrap_or(&[]);
        place.span.start + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()) + 1
    }

    /// Notes a problem and its remedy.
    pub(super) fn refuse(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.note(|| Finding {
            file: place.source,
            place: Some(place),
            message: message.into(),
            help: help.into(),
            other: None,
        });
    }

    /// Notes a problem that takes two places; `note` says what stands at the other.
    pub(super) fn refuse_beside(
        &mut self,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
        other: Place,
        note: impl Into<String>,
    ) {
        self.note(|| Finding {
            file: place.source,
            place: Some(place),
            message: message.into(),
            help: help.into(),
            other: Some((other, note.into())),
        });
    }

    /// Notes a problem of a whole file.
    pub(super) fn refuse_file(
        &mut self,
        file: SourceId,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.note(|| Finding { place: None, file, message: message.into(), help: help.into(), other: None });
    }

    fn note(&mut self, finding: impl FnOnce() -> Finding) {
        self.found += 1;
        if self.findings.len() < ConfigError::KEPT {
            self.findings.push(finding());
        }
    }

    /// The candidate that a wrong word was probably meant to be.
    pub(super) fn nearest<'c>(
        &mut self,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Option<&'c str> {
        const LONGEST: usize = 64;
        let length = word.chars().take(LONGEST + 1).count();
        if length == 0 || length > LONGEST {
            return None;
        }
        let word = word.to_lowercase();
        // Of a single letter, nothing is left to recognise.
        let tolerated = if length == 1 { 0 } else { (length / 3).max(1) };
        let mut nearest = None;
        let mut distance_of_nearest = usize::MAX;
        for candidate in candidates {
            if self.comparisons == 0 {
                break;
            }
            self.comparisons -= 1;
            let lowered = candidate.to_lowercase();
            let apart = lowered.len().abs_diff(word.len());
            let distance =
                if apart <= 4 * tolerated { strsim::osa_distance(&word, &lowered) } else { usize::MAX };
            // A word cut short, or with something appended, is meant too; but not as surely as a slip of a finger.
            let continued = word.len().min(lowered.len()) >= 3
                && (lowered.starts_with(&word) || word.starts_with(&lowered));
            let distance = match distance {
                near if near <= tolerated => near,
                _ if continued => LONGEST + apart,
                _ => continue,
            };
            if distance < distance_of_nearest {
                (nearest, distance_of_nearest) = (Some(candidate), distance);
            }
        }
        nearest
    }

    /// The end of a report that is not clean: places become lines, columns and excerpts.
    pub(super) fn into_error(self) -> ConfigError {
        let Self { sources, mut findings, found, .. } = self;
        findings.sort_by_key(|finding| {
            (finding.file, finding.place.as_ref().map_or(0, |place| place.span.start))
        });
        let mut lines: Vec<Option<Lines<'_>>> = sources.iter().map(|_| None).collect();
        let mut locate = |place: &Place| {
            let source = &sources[place.source.0];
            let lines = lines[place.source.0].get_or_insert_with(|| Lines::new(&source.text));
            let (line, column) = lines.locate(place.span.start);
            (printable_name(source), line, column, lines.excerpt(&place.span))
        };
        let mut problems = Vec::with_capacity(findings.len());
        for Finding { place, file, message, help, other } in findings {
            let related = other.map(|(place, message)| {
                let (file, line, column, excerpt) = locate(&place);
                Related { file, line, column, message, excerpt }
            });
            problems.push(match place.map(|place| locate(&place)) {
                Some((file, line, column, excerpt)) => {
                    Problem { file, line, column, message, help, related, excerpt: Some(excerpt) }
                }
                None => Problem {
                    file: printable_name(&sources[file.0]),
                    line: 1,
                    column: 1,
                    message,
                    help,
                    related,
                    excerpt: None,
                },
            });
        }
        ConfigError::new(problems, found)
    }
}

fn printable_name(source: &Source) -> String {
    shown(&source.name, 4096)
}

/// Words in backquotes, with commas; of a long list the first ones.
pub(super) fn listed<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    const MOST: usize = 12;
    let mut words = words.into_iter();
    let mut text = words.by_ref().take(MOST).map(super::error::quoted).collect::<Vec<_>>().join(", ");
    let more = words.count();
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::new("a.toml".into(), "one\ntwo\n".into())
    }

    #[test]
    fn a_slip_of_the_finger_finds_the_word_that_was_meant() {
        let mut report = report();
        assert_eq!(report.nearest("acton", ["name", "action"]), Some("action"));
        assert_eq!(report.nearest("own-mxx", ["own-msa", "own-mx"]), Some("own-mx"));
        assert_eq!(report.nearest("wholesail", ["dynamic", "wholesale"]), Some("wholesale"));
        assert_eq!(report.nearest("Reject", ["drop", "reject"]), Some("reject"));
        assert_eq!(report.nearest("mobile", ["own-mx", "mobile-carriers"]), Some("mobile-carriers"));
    }

    #[test]
    fn a_different_word_finds_none() {
        let mut report = report();
        assert_eq!(report.nearest("deny", ["drop", "reject", "divert"]), None);
        assert_eq!(report.nearest("", ["drop"]), None);
        assert_eq!(report.nearest("q", ["p"]), None);
        assert_eq!(report.nearest(&"x".repeat(1 << 20), ["x"]), None);
    }

    #[test]
    fn problems_come_in_the_order_of_the_file() {
        let mut report = report();
        report.refuse(Place::main(4..7), "second", "-");
        let other = report.add_source("b.txt".into(), "x".into());
        report.refuse(Place { source: other, span: 0..1 }, "third", "-");
        report.refuse(Place::main(0..3), "first", "-");
        let error = report.into_error();
        let messages: Vec<_> = error.problems().iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(messages, ["first", "second", "third"]);
        assert_eq!((error.problems()[1].line, error.problems()[1].column), (2, 1));
    }

    #[test]
    fn problems_beyond_the_bound_are_counted() {
        let mut report = report();
        for _ in 0..ConfigError::KEPT + 5 {
            report.refuse(Place::main(0..1), "x", "-");
        }
        let error = report.into_error();
        assert_eq!((error.problems().len(), error.found()), (ConfigError::KEPT, ConfigError::KEPT + 5));
    }

    #[test]
    fn a_report_without_a_problem_is_clean() {
        assert!(report().is_clean());
    }
}
