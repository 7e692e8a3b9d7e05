//! The access log: one line for each request of a client, when it came to an end.
//!
//! It is the process's, like its log, and off by default: under load it is the most that mcp-mux writes, and the metrics
//! already say how many requests there are and how they fare. What it says is who asked for what, when and with what outcome;
//! never what was in it: no payload, no token, no session id but its hash.
//!
//! Invariant: writing it never waits. What does not fit into its queue is lost and counted (`mcp_mux_access_log_lost_lines`).

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::config::{AccessLogConfig, AccessLogNames, AccessLogTo};
use crate::metrics;

/// What is known of a request when it has come to an end. What is none is left out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry<'a> {
    /// The name of the server it was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<&'a str>,
    /// Who sent it; none where that was not found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) principal: Option<&'a str>,
    /// A hash of its session's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<&'a str>,
    /// The client's address.
    pub(crate) client: &'a str,
    /// How it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transport: Option<&'static str>,
    /// The protocol's revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<&'a str>,
    /// The method of HTTP and what its path is of, where it is no message of JSON-RPC.
    #[serde(flatten)]
    pub(crate) asked: Option<Asked>,
    /// The method of JSON-RPC; none of one that was refused before it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<&'a str>,
    /// The tool, prompt or resource, where that may be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<&'a str>,
    /// The size of the message.
    pub(crate) bytes_in: usize,
    /// The size of what was sent for it: its answer, and the events before that.
    pub(crate) bytes_out: usize,
    /// From when it was read to when its answer was handed out.
    pub(crate) duration_seconds: f64,
    /// As in the metrics.
    pub(crate) outcome: &'static str,
    /// What kind of error it was answered with, where that is of mcp-mux's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<&'static str>,
    /// The HTTP status; none where the client had left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// The code of the JSON-RPC error that was the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<i32>,
}

/// What was asked for by HTTP, in words that no client has chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Asked {
    /// `other` for one that the transports do not have.
    pub(crate) http_method: &'static str,
    /// `mcp`, `sse`, `messages`, what else mcp-mux has, or `other`.
    pub(crate) endpoint: &'static str,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    entry: &'a Entry<'a>,
}

/// Where it goes.
#[derive(Debug)]
enum Target {
    /// To the log.
    Log,
    /// To a file of its own.
    File { queue: SyncSender<Item>, path: PathBuf },
}

#[derive(Debug)]
struct AccessLog {
    target: Target,
    names: AccessLogNames,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    Reopen(File),
    Flush(SyncSender<()>),
}

static ACCESS_LOG: OnceLock<AccessLog> = OnceLock::new();

/// Begins it, if it is wanted. One that was begun before stays.
///
/// # Errors
/// Its file cannot be opened, or the system refused a thread.
pub(super) fn begin(config: &AccessLogConfig) -> io::Result<()> {
    let target = match &config.to {
        AccessLogTo::Nowhere => return Ok(()),
        AccessLogTo::Log => Target::Log,
        AccessLogTo::File(path) => {
            let (queue, lines) = sync_channel(QUEUE_LINES_MAX);
            let file = open(path).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot write {} (--access-log): {error}", path.display()))
            })?;
            std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write_queued(&lines, file))?;
            Target::File { queue, path: path.clone() }
        }
    };
    if ACCESS_LOG.set(AccessLog { target, names: config.names }).is_err() {
        tracing::debug!("the access log was begun before");
    }
    Ok(())
}

/// Writes out what is queued, as far as that goes at once.
pub(super) fn flush() {
    if let Some(AccessLog { target: Target::File { queue, .. }, .. }) = ACCESS_LOG.get() {
        let (done, is_done) = sync_channel(1);
        if queue.try_send(Item::Flush(done)).is_ok() {
            let _ = is_done.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Whether it is written.
pub(crate) fn is_on() -> bool {
    ACCESS_LOG.get().is_some()
}

/// Whether it may name tools, prompts and resources.
pub(crate) fn shows_names() -> bool {
    ACCESS_LOG.get().is_some_and(|log| log.names == AccessLogNames::Shown)
}

/// The file it is written to, if it is.
pub(crate) fn file() -> Option<&'static Path> {
    match ACCESS_LOG.get()? {
        AccessLog { target: Target::File { path, .. }, .. } => Some(path),
        AccessLog { target: Target::Log, .. } => None,
    }
}

/// Opens the file again, which may have been moved away.
///
/// # Errors
/// It cannot be opened; the old one is written to still.
pub(crate) fn reopen() -> io::Result<()> {
    if let Some(AccessLog { target: Target::File { queue, path }, .. }) = ACCESS_LOG.get() {
        // It waits for its turn behind the lines that are queued; this is not where requests are answered.
        queue.send(Item::Reopen(open(path)?)).map_err(|_| io::ErrorKind::BrokenPipe)?;
    }
    Ok(())
}

/// Writes a line.
pub(crate) fn write(entry: &Entry<'_>) {
    let Some(AccessLog { target, .. }) = ACCESS_LOG.get() else { return };
    match target {
        Target::Log => {
            let &Entry { server, principal, session, client, transport, revision, method, name, .. } = entry;
            let &Entry { bytes_in, bytes_out, duration_seconds, outcome, status, code, kind, .. } = entry;
            let (http_method, endpoint) =
                entry.asked.map(|Asked { http_method, endpoint }| (http_method, endpoint)).unzip();
            tracing::info!(
                target: "mcp_mux::access",
                server, principal, session, client, transport, revision, http_method, endpoint, method, name, bytes_in,
                bytes_out, duration_seconds, outcome, kind, status, code, "request"
            );
        }
        Target::File { queue, .. } => match queue.try_send(Item::Line(line(entry, SystemTime::now()))) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => metrics::access_line_lost(),
        },
    }
}

fn line(entry: &Entry<'_>, now: SystemTime) -> Vec<u8> {
    let time = humantime::format_rfc3339_millis(now).to_string();
    let mut line = serde_json::to_vec(&Line { time, entry }).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Others of the group may read it, and nobody else: it says who does what.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// Runs as long as the process. What is queued goes out in as few writes as there can be.
fn write_queued(queue: &Receiver<Item>, file: File) {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    let mut failing = false;
    while let Ok(first) = queue.recv() {
        let mut next = Some(first);
        while let Some(item) = next {
            let written = match item {
                Item::Line(line) => out.write_all(&line),
                Item::Reopen(file) => {
                    let flushed = out.flush();
                    out = BufWriter::with_capacity(BUFFER_BYTES, file);
                    flushed
                }
                Item::Flush(done) => {
                    let flushed = out.flush();
                    let _ = done.try_send(());
                    flushed
                }
            };
            note(written, &mut failing);
            next = queue.try_recv().ok();
        }
        note(out.flush(), &mut failing);
    }
}

/// Says once that it cannot be written.
fn note(written: io::Result<()>, failing: &mut bool) {
    if let Err(error) = written {
        metrics::access_line_lost();
        if !std::mem::replace(failing, true) {
            tracing::warn!(%error, "the access log cannot be written; lines are lost");
        }
    } else {
        *failing = false;
    }
}

const QUEUE_LINES_MAX: usize = 8192;
const BUFFER_BYTES: usize = 64 * 1024;
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry<'static> {
        Entry {
            server: Some("default"),
            principal: None,
            session: Some("00c0ffee"),
            client: "127.0.0.1",
            transport: Some("streamable-http"),
            revision: Some("2025-11-25"),
            asked: None,
            method: Some("tools/call"),
            name: None,
            bytes_in: 70,
            bytes_out: 90,
            duration_seconds: 0.25,
            outcome: "ok",
            kind: None,
            status: Some(200),
            code: None,
        }
    }

    #[test]
    fn a_line_is_one_json_object_without_what_is_not_known() {
        let text = String::from_utf8(line(&entry(), SystemTime::UNIX_EPOCH)).unwrap();
        assert!(text.ends_with("}\n") && text.matches('\n').count() == 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(text.starts_with("{\"time\":"), "{text}");
        assert_eq!(
            value,
            serde_json::json!({
                "time": "1970-01-01T00:00:00.000Z", "server": "default", "session": "00c0ffee", "client": "127.0.0.1",
                "transport": "streamable-http", "revision": "2025-11-25", "method": "tools/call", "bytes_in": 70,
                "bytes_out": 90, "duration_seconds": 0.25, "outcome": "ok", "status": 200
            })
        );
    }

    #[test]
    fn what_a_client_calls_its_method_makes_no_second_line() {
        let text = line(&Entry { method: Some("a\nb\u{1b}[31m"), ..entry() }, SystemTime::UNIX_EPOCH);
        assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(!text.contains(&0x1b));
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let (queue, items) = sync_channel(10);
        queue.send(Item::Line(b"1\n".to_vec())).unwrap();
        let file = open(&path).unwrap();
        std::fs::rename(&path, &old).unwrap();
        queue.send(Item::Line(b"2\n".to_vec())).unwrap();
        queue.send(Item::Reopen(open(&path).unwrap())).unwrap();
        queue.send(Item::Line(b"3\n".to_vec())).unwrap();
        drop(queue);
        write_queued(&items, file);
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "1\n2\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "3\n");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o007, 0);
    }
}
