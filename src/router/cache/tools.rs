//! Which arguments of a child's tools are repeated in headers, as its lists of tools have it.
//!
//! What was learnt holds until the child says that its tools have changed, or is another one. Kept are only tools that have
//! such arguments: once a whole list was seen, a tool that is not here has none, and whatever names clients make up, the
//! child need not be asked again. Where it gives no list it is left alone for a while.
//!
//! Between a question and its answer the answer may go stale: as in the cache, whoever asks takes a [`ToolsTicket`] before.
//!
//! Spec: 2026-07-28, Streamable HTTP, Custom Headers from Tool Parameters; Tools, List Changed Notification.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::era::annotations::Annotation;

/// The tools of one child, or of several that are interchangeable. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tools(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    /// Who may ask the child.
    turn: Semaphore,
}

#[derive(Debug, Default)]
struct Table {
    annotated: HashMap<String, Arc<[Annotation]>>,
    bytes: usize,
    /// A whole list was seen: what is not here is not annotated.
    whole: bool,
    /// How often in a row the child gave no list, and when it may be asked again.
    failures: u32,
    not_before: Option<Instant>,
    /// How often they have changed.
    changes: u64,
}

/// The right to say what the tools are, for as long as nothing says that they have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolsTicket(u64);

/// How much of the child's list an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// One page of several.
    Part,
    /// All of it.
    Whole,
}

impl Default for Tools {
    fn default() -> Self {
        Self(Arc::new(Shared { table: Mutex::default(), turn: Semaphore::new(1) }))
    }
}

impl Tools {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which arguments of this tool are repeated; none if the child has to be asked. While it is left alone nothing is
    /// known of tools that no list had.
    pub fn of(&self, name: &str, now: Instant) -> Option<Arc<[Annotation]>> {
        let table = self.lock();
        let settled = table.whole || table.not_before.is_some_and(|until| now < until);
        table.annotated.get(name).cloned().or_else(|| settled.then(Arc::default))
    }

    /// Waits until nobody else asks the child; others wait until the returned value is dropped. Another may have asked
    /// meanwhile. (None would mean that nobody will ever be able to.)
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.0.turn.acquire().await.ok()
    }

    /// To be taken before the child is asked.
    pub fn ticket(&self) -> ToolsTicket {
        ToolsTicket(self.lock().changes)
    }

    /// The child answered with these tools.
    pub fn learn(&self, ticket: ToolsTicket, tools: Vec<(String, Vec<Annotation>)>, extent: Extent) {
        let mut table = self.lock();
        if table.changes != ticket.0 {
            return;
        }
        if extent == Extent::Whole {
            *table = Table { whole: true, changes: table.changes, ..Table::default() };
        }
        for (name, annotations) in tools {
            table.put(name, annotations);
        }
    }

    /// The child gave no list.
    pub fn failed(&self, ticket: ToolsTicket, now: Instant) {
        let mut table = self.lock();
        if table.changes == ticket.0 {
            table.not_before = Some(now + BACK_OFF.saturating_mul(1 << table.failures.min(8)).min(BACK_OFF_MAX));
            table.failures = table.failures.saturating_add(1);
        }
    }

    /// They have changed, or are another child's from now on.
    pub fn clear(&self) {
        let mut table = self.lock();
        *table = Table { changes: table.changes + 1, ..Table::default() };
    }
}

impl Table {
    fn put(&mut self, name: String, annotations: Vec<Annotation>) {
        if let Some(old) = self.annotated.remove(&name) {
            self.bytes = self.bytes.saturating_sub(bytes(&name, &old));
        }
        let more = bytes(&name, &annotations);
        if !annotations.is_empty() && self.bytes.saturating_add(more) <= BYTES_MAX {
            self.bytes += more;
            self.annotated.insert(name, annotations.into());
        }
    }
}

fn bytes(name: &str, annotations: &[Annotation]) -> usize {
    let of_one = |annotation: &Annotation| {
        let path: usize = annotation.path.iter().map(|name| name.len() + ENTRY_BYTES).sum();
        annotation.header.len() + path + ENTRY_BYTES
    };
    name.len() + ENTRY_BYTES + annotations.iter().map(of_one).sum::<usize>()
}

/// The most that is kept; tools beyond that are as if they were not annotated.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a text takes beside itself.
const ENTRY_BYTES: usize = 48;
/// How long a child that gave no list is left alone, at first and at most.
const BACK_OFF: Duration = Duration::from_secs(5);
const BACK_OFF_MAX: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation() -> Vec<Annotation> {
        vec![Annotation { header: "h".to_owned(), path: vec!["a".to_owned()] }]
    }

    fn known(tools: &Tools, name: &str) -> Option<usize> {
        tools.of(name, Instant::now()).map(|annotations| annotations.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_list_says_it_of_every_tool_until_they_change() {
        let tools = Tools::default();
        assert_eq!(known(&tools, "t"), None);
        tools.learn(tools.ticket(), vec![("t".to_owned(), annotation()), ("u".to_owned(), Vec::new())], Extent::Part);
        assert_eq!((known(&tools, "t"), known(&tools, "u"), known(&tools, "v")), (Some(1), None, None));
        tools.learn(tools.ticket(), vec![("w".to_owned(), annotation())], Extent::Whole);
        assert_eq!((known(&tools, "t"), known(&tools, "w"), known(&tools, "v")), (Some(0), Some(1), Some(0)));
        tools.learn(tools.ticket(), vec![("w".to_owned(), Vec::new()), ("v".to_owned(), annotation())], Extent::Part);
        assert_eq!((known(&tools, "w"), known(&tools, "v"), known(&tools, "u")), (Some(0), Some(1), Some(0)));
        let stale = tools.ticket();
        tools.clear();
        tools.learn(stale, vec![("t".to_owned(), annotation())], Extent::Whole);
        tools.failed(stale, Instant::now());
        assert_eq!((known(&tools, "t"), known(&tools, "v")), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_gives_no_list_is_left_alone_longer_and_longer() {
        let tools = Tools::default();
        for seconds in [5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300] {
            assert_eq!(known(&tools, "t"), None);
            tools.failed(tools.ticket(), Instant::now());
            tokio::time::advance(Duration::from_secs(seconds - 1)).await;
            assert_eq!(known(&tools, "t"), Some(0));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        tools.failed(tools.ticket(), Instant::now());
        tools.clear();
        assert_eq!(known(&tools, "t"), None, "what has changed may be had now");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let tools = Tools::default();
        let name = "n".repeat(1 << 20);
        let many = (0..8).map(|number| (format!("{name}{number}"), annotation())).collect();
        tools.learn(tools.ticket(), many, Extent::Part);
        let kept = || {
            let table = tools.lock();
            (table.annotated.len(), table.bytes <= BYTES_MAX, table.bytes == 0)
        };
        assert_eq!(kept(), (3, true, false));
        let many = (0..8).map(|number| (format!("{name}{number}"), Vec::new())).collect();
        tools.learn(tools.ticket(), many, Extent::Part);
        assert_eq!(kept(), (0, true, true));
    }
}
