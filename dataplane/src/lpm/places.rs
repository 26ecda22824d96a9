//! Who lies where in an arena.
//!
//! [`Rows`] hands out whole cache lines, in rows; [`Places`] also parts of lines, in words of 64 bits. What
//! is given back is handed out again, smallest fitting row first.

/// Words (u64) of a cache line.
pub(super) const LINE_WORDS: usize = 8;

/// Rows of cache lines.
#[derive(Debug)]
pub(super) struct Rows {
    /// The next line that was never handed out.
    end: usize,
    /// Lines there are at most.
    limit: usize,
    /// Lines in use.
    used: usize,
    /// Free rows by their length, each as its first line.
    free: Vec<Vec<u32>>,
}

impl Rows {
    /// The lines from `start` up to `limit`, of which those before `start` count as in use.
    pub(super) fn new(start: usize, limit: usize) -> Rows {
        Rows { end: start, limit: limit.min(u32::MAX as usize), used: start, free: Vec::new() }
    }

    /// A row of `count` lines, or `None` if the arena is full.
    pub(super) fn take(&mut self, count: usize) -> Option<usize> {
        let line = self.reuse(count).or_else(|| self.extend(count))?;
        self.used += count;
        Some(line)
    }

    fn reuse(&mut self, count: usize) -> Option<usize> {
        let (line, length) =
            (count..self.free.len()).find_map(|length| Some((self.free[length].pop()?, length)))?;
        if length > count {
            self.put(line as usize + count, length - count);
        }
        Some(line as usize)
    }

    fn extend(&mut self, count: usize) -> Option<usize> {
        let line = self.end;
        self.end = line.checked_add(count).filter(|end| *end <= self.limit)?;
        Some(line)
    }

    /// Takes a row back.
    pub(super) fn give(&mut self, line: usize, count: usize) {
        self.used -= count;
        self.put(line, count);
    }

    fn put(&mut self, line: usize, count: usize) {
        if self.free.len() <= count {
            self.free.resize_with(count + 1, Vec::new);
        }
        self.free[count].push(line as u32);
    }

    /// The first line that was never handed out.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Lines in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }
}

/// Places of any number of words: one of up to a cache line lies in one line, a longer one starts a line.
#[derive(Debug)]
pub(super) struct Places {
    rows: Rows,
    /// Free parts of lines by their length, each as its first word.
    scraps: [Vec<u32>; LINE_WORDS],
    /// Words of lines in use that are scraps.
    idle: usize,
}

impl Places {
    /// Places in the lines from `start` up to `limit`.
    pub(super) fn new(start: usize, limit: usize) -> Places {
        Places {
            rows: Rows::new(start, limit.min(u32::MAX as usize / LINE_WORDS)),
            scraps: Default::default(),
            idle: 0,
        }
    }

    /// A place of `words`, named by its first, or `None` if the arena is full.
    pub(super) fn take(&mut self, words: usize) -> Option<u32> {
        if words >= LINE_WORDS {
            return self.rows.take(words.div_ceil(LINE_WORDS)).map(|line| (line * LINE_WORDS) as u32);
        }
        let scrap = (words..LINE_WORDS).find_map(|length| Some((self.scraps[length].pop()?, length)));
        let (at, length) = match scrap {
            Some(scrap) => scrap,
            None => {
                self.idle += LINE_WORDS;
                ((self.rows.take(1)? * LINE_WORDS) as u32, LINE_WORDS)
            }
        };
        if length > words {
            self.scraps[length - words].push(at + words as u32);
        }
        self.idle -= words;
        Some(at)
    }

    /// Takes back what [`take`](Self::take) gave for so many words.
    pub(super) fn give(&mut self, at: u32, words: usize) {
        if words < LINE_WORDS {
            self.scraps[words].push(at);
            self.idle += words;
        } else {
            self.rows.give(at as usize / LINE_WORDS, words.div_ceil(LINE_WORDS));
        }
    }

    /// The first word that was never handed out.
    pub(super) fn end(&self) -> usize {
        self.rows.end() * LINE_WORDS
    }

    /// Words in use.
    pub(super) fn used(&self) -> usize {
        self.rows.used() * LINE_WORDS - self.idle
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_never_overlap_and_never_straddle_a_line_without_need(
            steps in prop::collection::vec((1usize..40, any::<prop::sample::Index>(), any::<bool>()), 1..200)
        ) {
            let mut places = Places::new(1, 4096);
            let mut taken: Vec<(u32, usize)> = Vec::new();
            for (words, which, give) in steps {
                if give && !taken.is_empty() {
                    let (at, words) = taken.swap_remove(which.index(taken.len()));
                    places.give(at, words);
                } else if let Some(at) = places.take(words) {
                    let room = LINE_WORDS - at as usize % LINE_WORDS;
                    prop_assert!(words <= room || room == LINE_WORDS);
                    prop_assert!(at as usize >= LINE_WORDS && at as usize + words <= places.end());
                    for &(other, length) in &taken {
                        prop_assert!(at as usize + words <= other as usize || other as usize + length <= at as usize);
                    }
                    taken.push((at, words));
                }
            }
            let whole: usize = taken.iter().map(|&(_, words)| {
                if words < LINE_WORDS { words } else { words.next_multiple_of(LINE_WORDS) }
            }).sum();
            prop_assert_eq!(places.used(), LINE_WORDS + whole);
        }
    }

    #[test]
    fn a_full_arena_says_so_until_something_is_given_back() {
        let mut rows = Rows::new(0, 4);
        let first = rows.take(3).unwrap();
        assert_eq!(rows.take(2), None);
        rows.give(first, 3);
        assert_eq!(rows.take(2), Some(first));
        assert_eq!(rows.take(1), Some(first + 2));
    }
}
