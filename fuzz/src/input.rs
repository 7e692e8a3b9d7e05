//! Operations from bytes: a line each, whose first characters choose and whose rest is free.

/// One line of the input.
#[derive(Clone, Copy, Default)]
pub struct Line<'a>(&'a [u8]);

/// The lines of an input, no more than `max` of them.
pub fn lines(data: &[u8], max: usize) -> impl Iterator<Item = Line<'_>> {
    data.split(|byte| *byte == b'\n').take(max).map(Line)
}

impl<'a> Line<'a> {
    /// The next character; a space behind the end.
    pub fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((b' ', self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    /// A number below `count`, from the next character: `0` is 0, `9` is 9, `A` is 17.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.next().wrapping_sub(b'0')) % count
    }

    /// One of several, from the next character.
    pub fn pick<T: Copy>(&mut self, several: &[T]) -> T {
        several[self.below(several.len())]
    }

    /// Whether the next character's number is odd.
    pub fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Up to the next space, which goes with it.
    pub fn word(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == b' ').unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        word
    }

    /// All that is left.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// All that is left, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.0).into_owned()
    }
}
