//! The grammar of JSON (RFC 8259), exactly: a cursor that moves over bytes token by token and fails where they stop being
//! JSON. Separate from the envelope because it is the hot path and has a reference to be compared with.
//!
//! Invariants: it never recurses, whatever the nesting (one bit a level is kept); each byte is looked at once; after a
//! fault the cursor stands at the offending byte. It takes its input to be UTF-8.
//!
//! What the grammar allows is allowed, since the payload is somebody else's: numbers beyond any machine's range, and
//! `\ud800` without its other half (RFC 8259, section 8.2), which parsers of strings often refuse.

#[cfg(test)]
mod tests;

use wide::u8x16;

/// Why the cursor could not move on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nested deeper than the limit.
    Depth,
    /// The text ends in the middle.
    End,
    /// No value starts here.
    Value,
    /// A member's name should start here.
    Name,
    /// A colon should be here.
    Colon,
    /// `,` or `}` should be here.
    ObjectNext,
    /// `,` or `]` should be here.
    ArrayNext,
    /// A control character, unescaped, in a string.
    Control,
    /// Not an escape.
    Escape,
    /// A digit should be here.
    Digit,
    /// Something after the value.
    Trailing,
    /// A byte order mark at the start.
    ByteOrderMark,
}

impl Fault {
    /// For people.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Depth => "nested too deep",
            Self::End => "unexpected end",
            Self::Value => "expected a value",
            Self::Name => "expected a member name in double quotes",
            Self::Colon => "expected `:`",
            Self::ObjectNext => "expected `,` or `}`",
            Self::ArrayNext => "expected `,` or `]`",
            Self::Control => "control character in a string (it must be escaped)",
            Self::Escape => "invalid escape sequence in a string",
            Self::Digit => "expected a digit",
            Self::Trailing => "unexpected characters after the value",
            Self::ByteOrderMark => "byte order mark (it must be left out)",
        }
    }
}

/// A place in a JSON text, and how deep it is in it.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    len: usize,
    rest: &'a [u8],
    /// Objects opened by [`Cursor::open_object`] and not yet closed.
    depth: usize,
    depth_max: usize,
}

impl<'a> Cursor<'a> {
    /// At the start of `bytes`; a container in more than `depth_max - 1` others is a fault.
    pub(super) const fn new(bytes: &'a [u8], depth_max: usize) -> Self {
        Self { len: bytes.len(), rest: bytes, depth: 0, depth_max }
    }

    /// A second cursor at the same place, outside of every container, with another limit.
    pub(super) const fn restart(&self, depth_max: usize) -> Self {
        Self { len: self.len, rest: self.rest, depth: 0, depth_max }
    }

    /// Offset of the next byte.
    pub(super) const fn position(&self) -> usize {
        self.len - self.rest.len()
    }

    /// The next byte.
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes the next byte if it is this one.
    pub(super) fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, tail)) if *first == byte => {
                self.rest = tail;
                true
            }
            _ => false,
        }
    }

    /// Moves over white space.
    #[inline]
    pub(super) fn whitespace(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', tail @ ..] = self.rest {
            self.rest = tail;
        }
    }

    /// Moves over white space to the end of the text.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.whitespace();
        if self.rest.is_empty() { Ok(()) } else { Err(Fault::Trailing) }
    }

    /// Enters the object that starts here, and moves to its first member's value. Gives the member's name as it is
    /// spelled between its quotes; none if the object is empty (and left again).
    pub(super) fn open_object(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        if self.depth >= self.depth_max {
            return Err(Fault::Depth);
        }
        if !self.take(b'{') {
            return Err(self.unexpected(Fault::Value));
        }
        self.whitespace();
        if self.take(b'}') {
            return Ok(None);
        }
        self.depth += 1;
        self.name().map(Some)
    }

    /// From behind a member's value to the value of the next one; none if the object ends here (and is left).
    pub(super) fn next_member(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        self.whitespace();
        if self.take(b',') {
            self.whitespace();
            return self.name().map(Some);
        }
        if self.take(b'}') {
            self.depth = self.depth.saturating_sub(1);
            return Ok(None);
        }
        Err(self.unexpected(Fault::ObjectNext))
    }

    /// Enters the array that starts here. Gives whether it has elements; if not, it is left again. Is not counted as a
    /// level.
    pub(super) fn open_array(&mut self) -> Result<bool, Fault> {
        if !self.take(b'[') {
            return Err(self.unexpected(Fault::Value));
        }
        self.whitespace();
        Ok(!self.take(b']'))
    }

    /// From behind an element to the next one. Gives whether there is one; if not, the array is left.
    pub(super) fn next_element(&mut self) -> Result<bool, Fault> {
        self.whitespace();
        if self.take(b',') {
            return Ok(true);
        }
        if self.take(b']') { Ok(false) } else { Err(self.unexpected(Fault::ArrayNext)) }
    }

    /// Moves over one value, whatever it is, and the white space before it.
    pub(super) fn value(&mut self) -> Result<(), Fault> {
        let levels_max = self.depth_max.saturating_sub(self.depth);
        let mut open = Levels::default();
        loop {
            self.whitespace();
            match self.rest {
                [b'"', tail @ ..] => {
                    self.rest = tail;
                    self.string()?;
                }
                [b'{', tail @ ..] => {
                    if open.count >= levels_max {
                        return Err(Fault::Depth);
                    }
                    self.rest = tail;
                    self.whitespace();
                    if !self.take(b'}') {
                        open.push(Level::Object);
                        self.name()?;
                        continue;
                    }
                }
                [b'[', tail @ ..] => {
                    if open.count >= levels_max {
                        return Err(Fault::Depth);
                    }
                    self.rest = tail;
                    self.whitespace();
                    if !self.take(b']') {
                        open.push(Level::Array);
                        continue;
                    }
                }
                [b'-' | b'0'..=b'9', ..] => self.number()?,
                [b't', ..] => self.literal(b"true")?,
                [b'f', ..] => self.literal(b"false")?,
                [b'n', ..] => self.literal(b"null")?,
                _ => return Err(self.unexpected(Fault::Value)),
            }
            // Behind a value: out of every container that ends here, then on to the next value, or done.
            loop {
                let Some(level) = open.last() else { return Ok(()) };
                self.whitespace();
                match (self.rest, level) {
                    ([b',', tail @ ..], Level::Array) => {
                        self.rest = tail;
                        break;
                    }
                    ([b',', tail @ ..], Level::Object) => {
                        self.rest = tail;
                        self.whitespace();
                        self.name()?;
                        break;
                    }
                    ([b']', tail @ ..], Level::Array) | ([b'}', tail @ ..], Level::Object) => {
                        self.rest = tail;
                        open.pop();
                    }
                    (_, Level::Array) => return Err(self.unexpected(Fault::ArrayNext)),
                    (_, Level::Object) => return Err(self.unexpected(Fault::ObjectNext)),
                }
            }
        }
    }

    /// Moves over one value of a text that is known to be JSON, and the white space before it. Of anything else it moves
    /// over something, at most to the end.
    pub(super) fn skip(&mut self) -> Result<(), Fault> {
        self.whitespace();
        let mut open = 0_usize;
        loop {
            let special = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',');
            let at = self.rest.iter().position(special).unwrap_or(self.rest.len());
            let (scalar, rest) = self.rest.split_at(at);
            match rest {
                [b'"', tail @ ..] => {
                    self.rest = tail;
                    self.string()?;
                }
                [b'{' | b'[', tail @ ..] => {
                    self.rest = tail;
                    open += 1;
                }
                // Behind a value that is no string and in no container: what encloses it goes on, or ends.
                [b'}' | b']' | b',', ..] | [] if open == 0 => {
                    self.rest = self.rest.get(scalar.trim_ascii_end().len()..).unwrap_or_default();
                    return Ok(());
                }
                [b'}' | b']', tail @ ..] => {
                    self.rest = tail;
                    open -= 1;
                }
                [_, tail @ ..] => {
                    self.rest = tail;
                    continue;
                }
                [] => return Err(Fault::End),
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// A member's name and the colon behind it.
    #[inline]
    fn name(&mut self) -> Result<&'a [u8], Fault> {
        if !self.take(b'"') {
            return Err(self.unexpected(Fault::Name));
        }
        let start = self.rest;
        self.string()?;
        let name = start.get(..(start.len() - self.rest.len()).saturating_sub(1)).unwrap_or_default();
        self.whitespace();
        if self.take(b':') { Ok(name) } else { Err(self.unexpected(Fault::Colon)) }
    }

    /// The rest of a string, behind its opening quote.
    #[inline]
    fn string(&mut self) -> Result<(), Fault> {
        loop {
            self.rest = self.rest.get(plain_len(self.rest)..).unwrap_or_default();
            match self.rest {
                [b'"', tail @ ..] => {
                    self.rest = tail;
                    return Ok(());
                }
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', tail @ ..] => self.rest = tail,
                [b'\\', b'u', a, b, c, d, tail @ ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => {
                    self.rest = tail;
                }
                [] => return Err(Fault::End),
                [b'\\', ..] => return Err(Fault::Escape),
                _ => return Err(Fault::Control),
            }
        }
    }

    #[inline]
    fn number(&mut self) -> Result<(), Fault> {
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if let [b'e' | b'E', tail @ ..] = self.rest {
            self.rest = tail;
            if let [b'+' | b'-', tail @ ..] = self.rest {
                self.rest = tail;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    #[inline]
    fn digits(&mut self) -> Result<(), Fault> {
        let [b'0'..=b'9', tail @ ..] = self.rest else { return Err(self.unexpected(Fault::Digit)) };
        self.rest = tail;
        while let [b'0'..=b'9', tail @ ..] = self.rest {
            self.rest = tail;
        }
        Ok(())
    }

    #[inline]
    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        self.rest = self.rest.strip_prefix(word).ok_or(Fault::Value)?;
        Ok(())
    }

    /// The fault at this place: the text ends, or `otherwise`.
    #[cold]
    fn unexpected(&self, otherwise: Fault) -> Fault {
        if self.rest.is_empty() {
            Fault::End
        } else if self.position() == 0 && self.rest.starts_with("\u{feff}".as_bytes()) {
            Fault::ByteOrderMark
        } else {
            otherwise
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Array,
    Object,
}

/// A stack of container kinds, one bit each.
#[derive(Debug, Default)]
struct Levels {
    count: usize,
    /// The topmost, the last one lowest: `(count - 1) % 64 + 1` of them.
    top: u64,
    /// 64 each, the outermost first.
    full: Vec<u64>,
}

impl Levels {
    #[inline]
    fn push(&mut self, level: Level) {
        if self.count != 0 && self.count.is_multiple_of(64) {
            self.full.push(self.top);
        }
        self.top = self.top << 1 | u64::from(level == Level::Object);
        self.count += 1;
    }

    #[inline]
    fn pop(&mut self) {
        self.top >>= 1;
        self.count = self.count.saturating_sub(1);
        if self.count != 0 && self.count.is_multiple_of(64) {
            self.top = self.full.pop().unwrap_or_default();
        }
    }

    #[inline]
    const fn last(&self) -> Option<Level> {
        match (self.count, self.top & 1) {
            (0, _) => None,
            (_, 0) => Some(Level::Array),
            _ => Some(Level::Object),
        }
    }
}

/// How many bytes a string goes on before `"`, `\` or a control character. Sixteen at a time, since it is mostly strings
/// that make long messages long.
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    let (blocks, tail) = bytes.as_chunks::<16>();
    for (index, block) in blocks.iter().enumerate() {
        let special = special(u8x16::new(*block));
        if special != 0 {
            return index * 16 + special.trailing_zeros() as usize;
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    blocks.len() * 16 + tail.iter().position(special).unwrap_or(tail.len())
}

/// Which of sixteen bytes end a plain stretch of a string: one bit each, the first one lowest.
#[inline]
fn special(block: u8x16) -> u32 {
    let control = block.min(u8x16::splat(0x1f)).simd_eq(block);
    (block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\')) | control).to_bitmask()
}
