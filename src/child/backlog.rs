//! What waits for a child's stdin: the lines on their way to the pump, and the room that senders wait for.
//!
//! Separate from the pump because it outlives the process: senders wait for room while a child is started again too.
//! The actor appends and never waits; the pump takes everything at once, so that many lines become one write.
//!
//! Invariant: of the `queue_bytes_max` bytes of room as much is taken as waits anywhere between a sender and the pipe (the
//! actor's inbox, the router's own queue, the buffer here, the pump's write), as far as there is that much. A message
//! larger than all the room is admitted when it is alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch(u64);

/// Whether the child takes its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intake {
    /// Well enough.
    Flows,
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
    wake: Notify,
}

#[derive(Debug)]
struct Inner {
    epoch: Epoch,
    gate: Gate,
    /// Lines that the pump has not taken yet.
    pending: Vec<u8>,
    /// Bytes that the pump has taken and not written yet.
    writing: usize,
    /// Bytes that the actor has accepted and not done anything with yet.
    in_hand: usize,
    /// Bytes that the router keeps for later.
    queued: usize,
    /// Room taken for all of that.
    held: usize,
    /// What admitted messages had more bytes than room was taken for; forgotten once the backlog is within the limit.
    excess: usize,
}

/// Whether lines are taken for the present process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// The pump writes what is there and closes stdin.
    Finishing,
    /// There is no process that reads; lines are dropped.
    Shut,
}

impl Inner {
    fn stdin_bytes(&self) -> usize {
        self.pending.len() + self.writing
    }
}

impl Backlog {
    /// A backlog without a process, with room for `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        // A message's share is taken in one piece, which is counted in `u32`.
        let limit = limit.clamp(1, usize::try_from(u32::MAX).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS));
        let (pending, epoch, gate) = (Vec::new(), Epoch(0), Gate::Shut);
        let inner = Mutex::new(Inner { epoch, gate, pending, writing: 0, in_hand: 0, queued: 0, held: 0, excess: 0 });
        Self { limit, room: Arc::new(Semaphore::new(limit)), inner, wake: Notify::new() }
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

    /// A process was started: lines are for it from now on.
    pub(super) fn open(&self) -> Epoch {
        let mut inner = self.lock();
        inner.epoch.0 += 1;
        inner.gate = Gate::Open;
        inner.pending.clear();
        inner.writing = 0;
        inner.epoch
    }

    /// Moves whole lines to the pump and takes note of what the router keeps; everything accepted before is in one of them,
    /// or done with. Without a process lines are dropped.
    pub(super) fn append(&self, lines: &mut Vec<u8>, router_queued_bytes: usize) -> Intake {
        let mut inner = self.lock();
        // Most turns only read: the pump has settled what it wrote, and what has not grown has not got stuck.
        if lines.is_empty() && inner.in_hand == 0 && inner.queued == router_queued_bytes {
            return Intake::Flows;
        }
        inner.in_hand = 0;
        inner.queued = router_queued_bytes;
        if !lines.is_empty() && inner.gate == Gate::Open {
            if inner.pending.is_empty() {
                std::mem::swap(&mut inner.pending, lines);
            } else {
                inner.pending.extend_from_slice(lines);
            }
            self.wake.notify_one();
        }
        empty(lines);
        self.settle(&mut inner);
        if inner.stdin_bytes() > self.limit.saturating_mul(2).saturating_add(inner.excess) {
            return Intake::Stuck;
        }
        Intake::Flows
    }

    /// No more lines: the pump writes what is there and then closes stdin.
    pub(super) fn finish(&self) {
        let mut inner = self.lock();
        if inner.gate == Gate::Open {
            inner.gate = Gate::Finishing;
        }
        self.wake.notify_one();
    }

    /// The process reads no more: what waits for it is dropped.
    pub(super) fn shut(&self) {
        let mut inner = self.lock();
        inner.gate = Gate::Shut;
        inner.pending = Vec::new();
        inner.writing = 0;
        self.settle(&mut inner);
        self.wake.notify_one();
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

    /// For the pump: waits for lines and takes all of them in exchange for `lines`, which is empty. False when there is
    /// nothing more to be written.
    pub(super) async fn take(&self, epoch: Epoch, lines: &mut Vec<u8>) -> bool {
        loop {
            {
                let mut inner = self.lock();
                if inner.epoch != epoch || inner.gate == Gate::Shut {
                    // The wake-up may have been meant for the next process's pump.
                    self.wake.notify_one();
                    return false;
                }
                if !inner.pending.is_empty() {
                    empty(lines);
                    std::mem::swap(&mut inner.pending, lines);
                    inner.writing = lines.len();
                    return true;
                }
                if inner.gate == Gate::Finishing {
                    return false;
                }
            }
            self.wake.notified().await;
        }
    }

    /// For the pump: this many bytes were written.
    pub(super) fn wrote(&self, epoch: Epoch, bytes: usize) {
        let mut inner = self.lock();
        if inner.epoch == epoch {
            inner.writing = inner.writing.saturating_sub(bytes);
            self.settle(&mut inner);
        }
    }

    /// Restores the invariant.
    fn settle(&self, inner: &mut Inner) {
        let waiting = inner.stdin_bytes().saturating_add(inner.in_hand).saturating_add(inner.queued);
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
fn empty(buffer: &mut Vec<u8>) {
    const KEPT_BYTES_MAX: usize = 64 * 1024;
    buffer.clear();
    buffer.shrink_to(KEPT_BYTES_MAX);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// A sender's message reaches the actor, which writes it as it is.
    async fn pass(backlog: &Backlog, bytes: usize) -> Intake {
        let admission = backlog.admit(bytes).await.expect("open");
        backlog.accept(admission);
        backlog.append(&mut vec![b'x'; bytes], 0)
    }

    async fn waits(backlog: &Backlog, bytes: usize) -> bool {
        timeout(Duration::from_secs(1), backlog.admit(bytes)).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn senders_wait_above_the_limit_and_go_on_as_the_pump_writes() {
        let backlog = Backlog::new(100);
        let epoch = backlog.open();
        assert_eq!(pass(&backlog, 60).await, Intake::Flows);
        assert!(!waits(&backlog, 40).await);
        assert!(waits(&backlog, 41).await);
        let mut lines = Vec::new();
        assert!(backlog.take(epoch, &mut lines).await);
        assert_eq!((lines.len(), backlog.stdin_bytes()), (60, 60));
        assert!(waits(&backlog, 41).await, "taken is not written");
        backlog.wrote(epoch, 10);
        assert!(!waits(&backlog, 50).await);
        backlog.wrote(epoch, 50);
        assert!(!waits(&backlog, 100).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_router_keeps_takes_room_until_it_is_gone() {
        let backlog = Backlog::new(100);
        let admission = backlog.admit(80).await.expect("open");
        backlog.accept(admission);
        backlog.append(&mut Vec::new(), 80);
        assert!(waits(&backlog, 30).await);
        backlog.append(&mut Vec::new(), 0);
        assert!(!waits(&backlog, 100).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_larger_than_all_room_passes_alone_and_is_not_taken_for_stuck() {
        let backlog = Backlog::new(100);
        let epoch = backlog.open();
        assert_eq!(pass(&backlog, 1000).await, Intake::Flows);
        assert!(waits(&backlog, 1).await);
        assert_eq!(backlog.append(&mut vec![b'x'; 100], 0), Intake::Flows);
        assert_eq!(backlog.append(&mut vec![b'x'; 1], 0), Intake::Stuck);
        assert!(backlog.take(epoch, &mut Vec::new()).await);
        backlog.wrote(epoch, 1101);
        assert!(!waits(&backlog, 100).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_admitted_at_once_takes_the_room_there_is_and_does_not_make_the_child_look_stuck() {
        let backlog = Backlog::new(100);
        let epoch = backlog.open();
        assert_eq!(pass(&backlog, 60).await, Intake::Flows);
        backlog.accept(Admission::at_once(300));
        assert_eq!(backlog.append(&mut vec![b'x'; 300], 0), Intake::Flows);
        assert!(waits(&backlog, 1).await);
        assert!(backlog.try_admit(1).is_none());
        assert!(backlog.take(epoch, &mut Vec::new()).await);
        backlog.wrote(epoch, 360);
        assert!(backlog.try_admit(100).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pump_that_writes_while_a_message_is_in_hand_gives_nothing_of_it_back() {
        let backlog = Backlog::new(100);
        let large = backlog.admit(1000).await.expect("open");
        let epoch = backlog.open();
        backlog.append(&mut vec![b'x'; 10], 0);
        assert!(backlog.take(epoch, &mut Vec::new()).await);
        backlog.accept(large);
        backlog.wrote(epoch, 10);
        assert!(waits(&backlog, 1).await);
        assert_eq!(backlog.append(&mut vec![b'x'; 1000], 0), Intake::Flows);
        assert!(waits(&backlog, 1).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_mcp_mux_itself_writes_is_always_taken_and_shows_a_stuck_child() {
        let backlog = Backlog::new(100);
        backlog.open();
        assert_eq!(backlog.append(&mut vec![b'x'; 150], 0), Intake::Flows);
        assert!(waits(&backlog, 1).await);
        assert_eq!(backlog.append(&mut vec![b'x'; 51], 0), Intake::Stuck);
        backlog.shut();
        assert!(!waits(&backlog, 100).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pump_of_an_earlier_process_gets_and_changes_nothing() {
        let backlog = Backlog::new(100);
        let old = backlog.open();
        pass(&backlog, 10).await;
        backlog.shut();
        let new = backlog.open();
        pass(&backlog, 20).await;
        assert!(!backlog.take(old, &mut Vec::new()).await);
        backlog.wrote(old, 20);
        assert_eq!(backlog.stdin_bytes(), 20);
        let mut lines = Vec::new();
        assert!(backlog.take(new, &mut lines).await);
        assert_eq!(lines.len(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn lines_without_a_process_are_dropped_and_keep_no_room() {
        let backlog = Backlog::new(100);
        assert_eq!(pass(&backlog, 90).await, Intake::Flows);
        assert_eq!(backlog.stdin_bytes(), 0);
        assert!(!waits(&backlog, 100).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_is_taken_before_the_end_and_closing_sends_waiters_away() {
        let backlog = Backlog::new(100);
        let epoch = backlog.open();
        pass(&backlog, 90).await;
        backlog.finish();
        let mut lines = Vec::new();
        assert!(backlog.take(epoch, &mut lines).await);
        assert!(!backlog.take(epoch, &mut lines).await);
        let (waiter, ()) = tokio::join!(backlog.admit(50), async { backlog.close() });
        assert!(waiter.is_none());
    }
}
