//! The complete lines of a file, from its end to its beginning.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use memchr::memrchr;

const BLOCK: u64 = 64 << 10;

/// Reads a file's lines backwards, as it was when it was opened. An unfinished last line is left out.
pub(super) struct LinesBackwards {
    file: File,
    /// Where in the file `buffer` begins.
    start: u64,
    buffer: Vec<u8>,
    /// How much of `buffer` was not handed out yet; ends behind a line feed.
    left: usize,
}

impl LinesBackwards {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let start = file.metadata()?.len();
        let mut lines = Self { file, start, buffer: Vec::new(), left: 0 };
        loop {
            if let Some(end) = memrchr(b'\n', &lines.buffer) {
                lines.left = end + 1;
                return Ok(lines);
            }
            if lines.start == 0 {
                lines.left = 0;
                return Ok(lines);
            }
            lines.left = lines.buffer.len();
            lines.read_block()?;
        }
    }

    /// Where in the file the lines end that were not handed out yet.
    pub(super) fn position(&self) -> u64 {
        self.start + self.left as u64
    }

    /// The line before the one that was handed out last, with its line feed.
    pub(super) fn previous(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            let before_feed = self.left.saturating_sub(1);
            let begin = match memrchr(b'\n', &self.buffer[..before_feed]) {
                Some(feed) => feed + 1,
                None if self.start > 0 => {
                    self.read_block()?;
                    continue;
                }
                None if self.left == 0 => return Ok(None),
                None => 0,
            };
            let line = begin..std::mem::replace(&mut self.left, begin);
            return Ok(Some(&self.buffer[line]));
        }
    }

    /// Puts the block before `start` in front of what is left.
    fn read_block(&mut self) -> io::Result<()> {
        let length = BLOCK.min(self.start);
        let mut block = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.start -= length;
        self.file.read_exact_at(&mut block, self.start)?;
        let added = block.len();
        block.extend_from_slice(&self.buffer[..self.left]);
        self.buffer = block;
        self.left += added;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn lines_come_backwards_whole_and_without_the_unfinished_one(
            lengths in prop::collection::vec(0_usize..30_000, 0..12),
            torn in 0_usize..100_000,
        ) {
            let lines: Vec<Vec<u8>> = lengths
                .iter()
                .enumerate()
                .map(|(n, length)| [vec![b'a' + u8::try_from(n).unwrap(); *length], vec![b'\n']].concat())
                .collect();
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), [lines.concat(), vec![b'z'; torn]].concat()).unwrap();

            let mut backwards = LinesBackwards::open(file.path()).unwrap();
            prop_assert_eq!(backwards.position(), lines.concat().len() as u64);
            let mut read = Vec::new();
            while let Some(line) = backwards.previous().unwrap() {
                read.push(line.to_vec());
            }
            read.reverse();
            prop_assert_eq!(read, lines);
        }
    }
}
