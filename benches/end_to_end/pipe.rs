//! The ceiling of the pipe: the child driven directly, without a proxy.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::Duration;

use memchr::memchr;
use tokio::time::Instant;

use crate::load::{Load, Tally};
use crate::request::Request;

/// A child and its pipes; its end is that of its stdin.
pub(crate) struct Pipe {
    stdin: ChildStdin,
    stdout: ChildStdout,
    _child: Child,
}

/// Who writes to the child.
enum Pen<'a> {
    /// Whoever reads, where all that is in flight fits into the pipes.
    Reader(&'a mut ChildStdin),
    /// A thread of its own.
    Thread(SyncSender<Vec<u8>>),
}

/// As much as is certain to fit into the pipes.
const FITS: usize = 16 << 10;

impl Pipe {
    /// Starts a child.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let broken = io::ErrorKind::BrokenPipe;
        Ok(Self { stdin: stdin.ok_or(broken)?, stdout: stdout.ok_or(broken)?, _child: child })
    }

    /// Keeps so many requests in flight; returns what became of them, and in which time.
    pub(crate) fn run(&mut self, load: &Load) -> io::Result<(Tally, Duration)> {
        let lanes = load.sessions * load.in_flight;
        let (stdin, stdout) = (&mut self.stdin, &mut self.stdout);
        thread::scope(|scope| {
            if lanes * load.size <= FITS {
                return drive(Pen::Reader(stdin), stdout, load);
            }
            let (queue, queued) = mpsc::sync_channel::<Vec<u8>>(lanes);
            // It ends with the queue, or with the child.
            scope.spawn(move || queued.into_iter().try_for_each(|bytes| stdin.write_all(&bytes)));
            drive(Pen::Thread(queue), stdout, load)
        })
    }
}

impl Pen<'_> {
    fn write(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Reader(stdin) => stdin.write_all(bytes)?,
            Self::Thread(queue) => queue.send(bytes.clone()).map_err(io::Error::other)?,
        }
        bytes.clear();
        Ok(())
    }
}

fn drive(mut pen: Pen<'_>, stdout: &mut ChildStdout, load: &Load) -> io::Result<(Tally, Duration)> {
    let lanes = load.sessions * load.in_flight;
    let mut requests: Vec<_> = (0..lanes).map(|lane| (Request::line(lane, lanes, load.size), Instant::now())).collect();
    let mut tally = Tally::default();
    let (mut batch, mut received, mut buffer) = (Vec::new(), Vec::new(), vec![0; 1 << 20]);
    for (request, _) in &mut requests {
        request.next();
        batch.extend_from_slice(request.bytes());
    }
    pen.write(&mut batch)?;
    let (start, mut in_flight) = (Instant::now(), lanes);
    while in_flight > 0 {
        let count = stdout.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let searched = received.len();
        received.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let (mut line_start, mut from) = (0, searched);
        while let Some(end) = received.get(from..).and_then(|rest| memchr(b'\n', rest)).map(|at| from + at) {
            let answer = received.get(line_start..end).unwrap_or_default();
            (line_start, from) = (end + 1, end + 1);
            let lane = crate::request::id_of(answer).and_then(|id| usize::try_from(id).ok()).map(|id| id % lanes);
            let Some((request, sent)) = lane.and_then(|lane| requests.get_mut(lane)) else { continue };
            match request.judge(answer) {
                Ok(()) => tally.answered += 1,
                Err(complaint) => {
                    tally.wrong += 1;
                    tally.complaint.get_or_insert(complaint);
                }
            }
            tally.latencies.push(sent.elapsed());
            if start.elapsed() < load.time {
                request.next();
                *sent = Instant::now();
                batch.extend_from_slice(request.bytes());
            } else {
                in_flight -= 1;
            }
        }
        received.drain(..line_start);
        if !batch.is_empty() {
            pen.write(&mut batch)?;
        }
    }
    tally.latencies.sort_unstable();
    Ok((tally, start.elapsed()))
}
