//! Bytes on their way out, in pieces that are written one after the other: short stretches put together in one buffer,
//! long ones shared as they are.

use bytes::{Bytes, BytesMut};
use smallvec::{SmallVec, smallvec};

/// From this length on, another piece costs less than a copy.
pub(super) const SHARED_BYTES_MIN: usize = 16 * 1024;

/// Bytes in pieces.
#[derive(Debug, Default)]
pub struct Pieces {
    ready: SmallVec<[Bytes; 1]>,
    /// How many of these are taken.
    taken: usize,
    /// Behind them.
    last: BytesMut,
    len: usize,
}

impl Pieces {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes room for so many copied bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.last.reserve(bytes);
    }

    /// Appends a copy.
    pub fn put(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends these bytes; a long stretch of them is not copied.
    pub fn put_shared(&mut self, bytes: Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.put(&bytes);
        }
        if !self.last.is_empty() {
            self.ready.push(self.last.split().freeze());
        }
        self.len += bytes.len();
        self.ready.push(bytes);
    }

    /// Takes the first piece; none if nothing is left.
    pub fn take(&mut self) -> Option<Bytes> {
        let piece = if let Some(piece) = self.ready.get_mut(self.taken) {
            self.taken += 1;
            std::mem::take(piece)
        } else {
            self.ready.clear();
            self.taken = 0;
            std::mem::take(&mut self.last).freeze()
        };
        self.len -= piece.len();
        (!piece.is_empty()).then_some(piece)
    }
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        let len = bytes.len();
        let ready = if bytes.is_empty() { SmallVec::new() } else { smallvec![bytes] };
        Self { ready, len, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_what_was_put_in_order_and_long_ones_are_shared(
            puts in prop::collection::vec((prop_oneof![0..20usize, SHARED_BYTES_MIN..SHARED_BYTES_MIN + 2], any::<bool>()), 0..8),
        ) {
            let (mut pieces, mut expected) = (Pieces::new(), Vec::new());
            let mut shared = Vec::new();
            for (number, (length, share)) in puts.into_iter().enumerate() {
                let bytes = Bytes::from(vec![u8::try_from(number).unwrap(); length]);
                expected.extend_from_slice(&bytes);
                match share {
                    true => pieces.put_shared(bytes.clone()),
                    false => pieces.put(&bytes),
                }
                if share && length >= SHARED_BYTES_MIN {
                    shared.push(bytes.as_ptr());
                }
                prop_assert_eq!(pieces.len(), expected.len());
            }
            let mut taken = Vec::new();
            while let Some(piece) = pieces.take() {
                prop_assert!(!piece.is_empty());
                shared.retain(|pointer| *pointer != piece.as_ptr());
                taken.extend_from_slice(&piece);
                prop_assert_eq!(pieces.len(), expected.len() - taken.len());
            }
            prop_assert_eq!(taken, expected);
            prop_assert!(shared.is_empty() && pieces.is_empty());
        }
    }

    #[test]
    fn no_bytes_are_no_piece() {
        let mut pieces = Pieces::from(Bytes::new());
        pieces.put(b"x");
        assert_eq!((pieces.take(), pieces.take()), (Some(Bytes::from_static(b"x")), None));
        assert_eq!(Pieces::new().take(), None);
    }
}
