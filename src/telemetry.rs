//! The log: set up once, written to stderr by a thread of its own.
//!
//! Invariant: logging never waits. Whoever reads stderr may stop reading it, or close it; requests go on, and what does
//! not fit into the queue is dropped and counted.

pub(crate) mod access;
pub(crate) mod flood;
#[cfg(feature = "otel")]
pub(crate) mod traces;
#[cfg(not(feature = "otel"))]
pub(crate) mod untraced;
pub(crate) mod watermark;

#[cfg(not(feature = "otel"))]
pub(crate) use untraced as traces;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, TelemetryConfig};

/// Ends the log when it is dropped: what is queued is written first, as long as stderr takes it.
#[derive(Debug)]
#[must_use = "the log ends when this is dropped"]
pub struct Log {
    writer: Writer,
}

/// Starts the log of the process, and the access log. One that was started before (by a test) stays.
///
/// # Errors
/// The system refused a thread, or the file of the access log.
pub fn init(config: &TelemetryConfig) -> io::Result<Log> {
    let (writer, queue) = Writer::new();
    let lost = Arc::clone(&writer.lost);
    std::thread::Builder::new().name("log".to_owned()).spawn(move || write_queued(&queue, &lost, &mut io::stderr()))?;

    let log = Log { writer: writer.clone() };
    let has_colours = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
    // These are on by default, but for NO_COLOR.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&config.log_level))
        .with_writer(move || writer.clone())
        .log_internal_errors(false);
    let started = match config.log_format {
        LogFormat::Text if has_colours => builder.with_target(false).finish().try_init(),
        LogFormat::Text => builder.with_target(false).with_ansi(false).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).finish().try_init(),
    };
    if started.is_err() {
        tracing::debug!("the log was started before");
    }
    access::begin(&config.access)?;
    Ok(log)
}

impl Drop for Log {
    fn drop(&mut self) {
        access::flush();
        let (done, is_done) = sync_channel(1);
        if self.writer.queue.try_send(Item::Flush(done)).is_ok() {
            // An error means that the thread is gone, or that stderr takes nothing: nothing is left to do in either.
            let _ = is_done.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The queue's end that the log's callers hold.
#[derive(Clone, Debug)]
struct Writer {
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

impl Writer {
    fn new() -> (Self, Receiver<Item>) {
        let (queue, receiver) = sync_channel(QUEUE_LINES_MAX);
        (Self { queue, lost: Arc::default() }, receiver)
    }
}

impl Write for Writer {
    /// Takes one whole line, as `tracing-subscriber` writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Item::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs until every [`Writer`] is gone. A line that cannot be written is lost; the next may fare better.
fn write_queued(queue: &Receiver<Item>, lost: &AtomicU64, out: &mut impl Write) {
    while let Ok(item) = queue.recv() {
        match item {
            Item::Line(line) => {
                let _ = out.write_all(&line);
            }
            Item::Flush(done) => {
                let _ = out.flush();
                let _ = done.try_send(());
            }
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "mcp-mux: {lost} log lines were dropped: stderr is not read fast enough");
        }
    }
}

const QUEUE_LINES_MAX: usize = 8192;
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// An error and what caused it, in one line.
pub(crate) fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_in_order_and_a_full_queue_drops_and_says_so() {
        let (mut writer, queue) = Writer::new();
        for number in 0..QUEUE_LINES_MAX + 3 {
            writer.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        let lost = Arc::clone(&writer.lost);
        drop(writer);
        let mut out = Vec::new();
        write_queued(&queue, &lost, &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "0");
        assert_eq!(lines[1], "mcp-mux: 3 log lines were dropped: stderr is not read fast enough");
        assert_eq!(lines[QUEUE_LINES_MAX], format!("{}", QUEUE_LINES_MAX - 1));
    }

    #[test]
    fn a_closed_stderr_is_survived() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let (mut writer, queue) = Writer::new();
        writer.write_all(b"line\n").unwrap();
        let (done, is_done) = sync_channel(1);
        writer.queue.send(Item::Flush(done)).unwrap();
        let lost = Arc::clone(&writer.lost);
        drop(writer);
        write_queued(&queue, &lost, &mut Closed);
        is_done.try_recv().unwrap();
    }
}
