//! The stretch of a capture file that is in memory.
//!
//! Parsers borrow from it; it grows only while bytes really arrive, so a false length in a file costs no memory.

use std::io::{self, ErrorKind, Read};

/// Bytes read at once, where the file has them.
const INITIAL: usize = 256 * 1024;

pub(super) struct Window {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
}

impl Window {
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source, buffer: vec![0; INITIAL], start: 0, end: 0, offset: 0 }
    }

    /// The bytes that have been read and not consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Where in the file [`Self::bytes`] begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads until at least `want` bytes are there. False: the file ends before; what it has is there.
    pub(super) fn fill(&mut self, want: usize) -> io::Result<bool> {
        while self.end - self.start < want {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.end == self.buffer.len() {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(count) => self.end += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Goes on behind the first `count` of [`Self::bytes`].
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start, "only what has been read can be consumed");
        self.start += count;
        self.offset += count as u64;
    }

    /// Bytes of memory held.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.buffer.capacity()
    }
}
