//! What waits for a child's stdin: the lines on their way to the pumps, and the room that senders wait for.
//!
//! Separate from the pump because it outlives the process: senders wait for room while a child is started again too, and
//! for a while two processes may have lines of their own. The actor appends and never waits; a pump takes everything at
//! once, so that many lines become one write. What a process never got a byte of is given back when it is gone.
//!
//! Invariant: of the `queue_bytes_max` bytes of room as much is taken as waits anywhere between a sender and a pipe (the
//! actor's inbox, the router's own queue, the buffers here, the pumps' writes), as far as there is that much. A message
//! larger than all the room is admitted when it is alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::metrics::{Counter, Gauge, Portion, ServerMetrics};
use crate::telemetry::watermark::Watermark;

/// Room taken for one message, until the actor has it.
#[derive(Debug)]
pub(super) struct Admission {
    /// None where it did not wait for any; the actor takes what there is.
    permit: Option<OwnedSemaphorePermit>,
    message_bytes: usize,
}

impl Admission {
    /// For a message that must not wait for room.
    pub(super) const fn at_once(message_bytes: usize) -> Self {
        Self { permit: None, message_bytes }
    }
}

/// One process's part in the backlog: what is left of an earlier process cannot touch what is for the next one.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    number: u64,
    /// Wakes its pump.
    wake: Arc<Notify>,
}

/// Whether the child takes its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    /// Well enough.
    Flows,
    /// It takes no more.
    Closed,
    /// So much waits that the child must have stopped reading: senders were held back long ago, and what mcp-mux itself
    /// writes has doubled it.
    Stuck,
}

/// What waits for one child's stdin.
#[derive(Debug)]
pub(super) struct Backlog {
    limit: usize,
    room: Arc<Semaphore>,
    inner: Mutex<Inner>,
    watermark: Watermark,
    metrics: ServerMetrics,
}

#[derive(Debug)]
struct Inner {
    last_lane: u64,
    /// Of the processes there are; one, or two while one replaces the other.
    lanes: Vec<Waiting>,
    /// Bytes that the actor has accepted and not done anything with yet.
    in_hand: usize,
    /// Bytes that the router keeps for later.
    queued: usize,
    /// Whether lines were appended since room was last taken for them.
    appended: bool,
    /// Room taken for all of that.
    held: usize,
    /// What admitted messages had more bytes than room was taken for; forgotten once the backlog is within the limit.
    excess: usize,
    /// What waits, for the metrics.
    counted: Portion,
}

/// What waits for one process.
#[derive(Debug)]
struct Waiting {
    lane: u64,
    /// Lines that the pump has not taken yet.
    pending: BytesMut,
    /// Of the lines that the pump has taken, those it has not written yet.
    writing: Bytes,
    /// How much of these the process has.
    progress: Progress,
    end: End,
}

/// How much a process has of what its pump is writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Nothing of any line that is left.
    Untouched,
    /// The beginning of the first line.
    Begun,
    /// A write is under way: nobody knows. A process can read a line and exit before the one who wrote it comes to say so.
    Unknown,
}

/// Whether more lines are taken for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// They are.
    Open,
    /// The pump writes what is there and closes stdin.
    Finishing,
    /// Nothing is written any more.
    Shut,
}

impl Waiting {
    /// What counts: lines that will not be written any more are only kept to be given back.
    fn bytes(&self) -> usize {
        if self.end == End::Shut { 0 } else { self.pending.len() + self.writing.len() }
    }

    /// The lines that the process got nothing of.
    fn untouched(mut self) -> Bytes {
        match self.progress {
            Progress::Untouched => {}
            Progress::Begun => {
                let rest = memchr::memchr(b'\n', &self.writing).map_or(self.writing.len(), |end| end + 1);
                self.writing.advance(rest);
            }
            Progress::Unknown => self.writing.clear(),
        }
        if self.pending.is_empty() {
            return self.writing;
        }
        let mut all = BytesMut::with_capacity(self.writing.len() + self.pending.len());
        all.extend_from_slice(&self.writing);
        all.extend_from_slice(&self.pending);
        all.freeze()
    }
}

impl Inner {
    fn stdin_bytes(&self) -> usize {
        self.lanes.iter().map(Waiting::bytes).sum()
    }

    /// All that waits between a sender and a pipe.
    fn waiting_bytes(&self) -> usize {
        self.stdin_bytes().saturating_add(self.in_hand).saturating_add(self.queued)
    }

    fn lane(&mut self, lane: &Lane) -> Option<&mut Waiting> {
        self.lanes.iter_mut().find(|waiting| waiting.lane == lane.number)
    }
}

impl Backlog {
    /// A backlog without a process, with room for `limit` bytes.
    pub(super) fn new(limit: usize, metrics: ServerMetrics) -> Self {
        // A message's share is taken in one piece, which is counted in `u32`.
        let limit = limit.clamp(1, usize::try_from(u32::MAX).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS));
        let watermark = Watermark::new("--queue-bytes-max", limit, "requests wait until the server has read more");
        let inner = Inner {
            last_lane: 0,
            lanes: Vec::new(),
            in_hand: 0,
            queued: 0,
            appended: false,
            held: 0,
            excess: 0,
            counted: metrics.none(Gauge::StdinWaiting),
        };
        Self { limit, room: Arc::new(Semaphore::new(limit)), inner: Mutex::new(inner), watermark, metrics }
    }

    /// Waits for room for a message, first come first served; none once the backlog is closed.
    ///
    /// # Cancel safety
    /// Cancelled, it gives back what it had; the place in the line is lost.
    pub(super) async fn admit(&self, message_bytes: usize) -> Option<Admission> {
        let permit = Arc::clone(&self.room).acquire_many_owned(self.share(message_bytes)).await.ok()?;
        Some(Admission { permit: Some(permit), message_bytes })
    }

    /// Room for a message, if there is some and nobody waits for it.
    pub(super) fn try_admit(&self, message_bytes: usize) -> Option<Admission> {
        let permit = Arc::clone(&self.room).try_acquire_many_owned(self.share(message_bytes)).ok()?;
        Some(Admission { permit: Some(permit), message_bytes })
    }

    fn share(&self, message_bytes: usize) -> u32 {
        u32::try_from(message_bytes.min(self.limit)).unwrap_or(u32::MAX)
    }

    /// The actor has an admitted message: its room is given back as the backlog shrinks.
    pub(super) fn accept(&self, admission: Admission) {
        let mut inner = self.lock();
        let room = admission.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        inner.held += room;
        inner.in_hand = inner.in_hand.saturating_add(admission.message_bytes);
        inner.excess = inner.excess.saturating_add(admission.message_bytes.saturating_sub(room));
        if let Some(permit) = admission.permit {
            permit.forget();
        }
    }

    /// A process was started, and there may be lines for it from now on.
    pub(super) fn open(&self) -> Lane {
        let mut inner = self.lock();
        inner.last_lane += 1;
        let (lane, wake) = (inner.last_lane, Arc::default());
        let (pending, writing) = (BytesMut::new(), Bytes::new());
        inner.lanes.push(Waiting { lane, pending, writing, progress: Progress::Untouched, end: End::Open });
        Lane { number: lane, wake }
    }

    /// Takes note of what the router keeps; everything accepted before is kept there, or is in one of the lines appended
    /// before this, or done with.
    pub(super) fn keep(&self, router_queued_bytes: usize) {
        let mut inner = self.lock();
        // Most turns only read: the pump has settled what it wrote.
        if inner.in_hand == 0 && inner.queued == router_queued_bytes && !inner.appended {
            return;
        }
        (inner.in_hand, inner.queued, inner.appended) = (0, router_queued_bytes, false);
        self.settle(&mut inner);
    }

    /// Moves whole lines to a process's pump. A process that takes no more leaves them where they are.
    pub(super) fn append(&self, lane: &Lane, lines: &mut BytesMut) -> Intake {
        if lines.is_empty() {
            // What has not grown has not got stuck.
            return Intake::Flows;
        }
        let mut inner = self.lock();
        let Some(waiting) = inner.lane(lane).filter(|waiting| waiting.end == End::Open) else { return Intake::Closed };
        if waiting.pending.is_empty() {
            std::mem::swap(&mut waiting.pending, lines);
        } else {
            waiting.pending.extend_from_slice(lines);
        }
        let bytes = waiting.bytes();
        inner.appended = true;
        empty(lines);
        lane.wake.notify_one();
        if bytes > self.limit.saturating_mul(2).saturating_add(inner.excess) { Intake::Stuck } else { Intake::Flows }
    }

    /// How much may wait.
    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// How many bytes wait, and how many may.
    pub(super) fn occupancy(&self) -> (usize, usize) {
        (self.lock().waiting_bytes(), self.limit)
    }

    /// No more lines for this process: its pump writes what is there and then closes stdin.
    pub(super) fn finish(&self, lane: &Lane) {
        if let Some(waiting) = self.lock().lane(lane).filter(|waiting| waiting.end == End::Open) {
            waiting.end = End::Finishing;
        }
        lane.wake.notify_one();
    }

    /// The process reads no more: its pump ends, and no more lines are taken.
    pub(super) fn shut(&self, lane: &Lane) {
        let mut inner = self.lock();
        if let Some(waiting) = inner.lane(lane) {
            waiting.end = End::Shut;
        }
        self.settle(&mut inner);
        lane.wake.notify_one();
    }

    /// The process is gone. Returns the lines that it got nothing of.
    pub(super) fn remove(&self, lane: &Lane) -> Bytes {
        let mut inner = self.lock();
        let at = inner.lanes.iter().position(|waiting| waiting.lane == lane.number);
        let untouched = at.map(|at| inner.lanes.swap_remove(at).untouched()).unwrap_or_default();
        self.settle(&mut inner);
        lane.wake.notify_one();
        untouched
    }

    /// Nobody takes messages any more: who waits for room is sent away.
    pub(super) fn close(&self) {
        self.room.close();
    }

    /// Bytes that wait for stdin.
    #[cfg(test)]
    pub(super) fn stdin_bytes(&self) -> usize {
        self.lock().stdin_bytes()
    }

    /// For the pump: waits for lines and takes all of them. None when there is nothing more to be written.
    pub(super) async fn take(&self, lane: &Lane) -> Option<Bytes> {
        loop {
            {
                let mut inner = self.lock();
                let waiting = inner.lane(lane).filter(|waiting| waiting.end != End::Shut)?;
                if !waiting.pending.is_empty() {
                    waiting.writing = waiting.pending.split().freeze();
                    waiting.progress = Progress::Untouched;
                    return Some(waiting.writing.clone());
                }
                if waiting.end == End::Finishing {
                    return None;
                }
            }
            lane.wake.notified().await;
        }
    }

    /// For the pump: it is about to write of what it took.
    pub(super) fn writes(&self, lane: &Lane) {
        if let Some(waiting) = self.lock().lane(lane) {
            waiting.progress = Progress::Unknown;
        }
    }

    /// For the pump: this many bytes were written. `last` is the last byte that the process has got of what was taken.
    pub(super) fn wrote(&self, lane: &Lane, bytes: usize, last: Option<u8>) {
        let mut inner = self.lock();
        let Some(waiting) = inner.lane(lane) else { return };
        waiting.progress = if last.is_none_or(|last| last == b'\n') { Progress::Untouched } else { Progress::Begun };
        if bytes > 0 {
            waiting.writing.advance(bytes.min(waiting.writing.len()));
            self.settle(&mut inner);
            self.metrics.add_bytes(Counter::ChildWritten, bytes);
        }
    }

    /// Restores the invariant.
    fn settle(&self, inner: &mut Inner) {
        let waiting = inner.waiting_bytes();
        self.watermark.observe(waiting);
        inner.counted.set(waiting);
        if inner.held > waiting {
            self.room.add_permits(inner.held - waiting);
            inner.held = waiting;
        } else {
            // What mcp-mux itself adds takes room too, where there is some.
            let wanted = (waiting - inner.held).min(self.room.available_permits());
            if let Ok(permit) = self.room.try_acquire_many(u32::try_from(wanted).unwrap_or(u32::MAX)) {
                inner.held += wanted;
                permit.forget();
            }
        }
        if waiting <= self.limit {
            inner.excess = 0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Empties a buffer and lets go of it if it is large.
fn empty(buffer: &mut BytesMut) {
    const KEPT_BYTES_MAX: usize = 64 * 1024;
    buffer.clear();
    if buffer.capacity() > KEPT_BYTES_MAX {
        *buffer = BytesMut::new();
    }
}

#[cfg(test)]
mod tests;
