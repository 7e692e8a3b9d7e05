//! What one session may have in flight, waiting, unread and kept.

/// The bounds of a session; what all of them may leave unread together is [`Total`](super::super::unread::Total)'s.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Bounds {
    /// The most events kept: sent ones for replay, and as many unsent ones that nobody is connected for.
    pub(in super::super) events: usize,
    /// The most bytes of them, likewise.
    pub(in super::super) bytes: usize,
    /// The most messages that a connected reader may leave unread on a stream.
    pub(in super::super) unread_messages: usize,
    /// The most bytes of them, but for one message.
    pub(in super::super) unread_bytes: usize,
    /// The most standing streams that are read at once. A client needs one; those beyond are connections that broke
    /// unnoticed, and its latest is the one it reads.
    pub(in super::super) standing: usize,
    /// The most requests that are not settled.
    pub(in super::super) in_flight: usize,
    /// The most notifications and responses that wait for room in the child's input.
    pub(in super::super) messages_waiting: usize,
    /// Whether events get ids, which makes streams resumable.
    pub(in super::super) resumable: bool,
}
