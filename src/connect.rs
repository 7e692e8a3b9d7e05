//! `mcp-mux connect URL`: a stdio server for one client, in front of a remote one.
//!
//! Two designs were to choose from. One makes the remote server a child of the [`router`](crate::router), and the client its
//! one session: then every message is multiplexed, its ids exchanged and exchanged back, though there is nobody to be kept
//! apart from; and a modern client needs more than the router, since its rounds (`input_required`), its subscriptions and
//! its refusals are in [`http`](crate::http). The other one, which this is, has no router where none is needed: between a
//! client and a server of the same era the pipe of `remote` passes messages on byte for byte, ids included,
//! and what it has to know is the transport alone. Where the eras differ, the whole of mcp-mux is put in the middle, within
//! this process and without a socket: the client's pipe leads to [`Http`](crate::http::Http), whose one child is a task with
//! a pipe to the remote server (`middle`). So the translation is the one that is served over the network too, in both
//! directions, with all of its rules.
//!
//! ```text
//!   same era    stdin/stdout ─ remote::run ─ network
//!   otherwise   stdin/stdout ─ remote::run ─ [ http ─ session ─ pool ─ child ] ─ remote::run ─ network
//! ```
//!
//! Which it is: a client is of the era of its first message. A server is asked `server/discover` for a modern client; for a
//! legacy one, its own `initialize` is sent, and what answers that with an error of 2026-07-28 is modern alone.
//!
//! Spec: 2026-07-28, Versioning, Backward Compatibility, and Streamable HTTP; 2025-11-25, Transports.

mod middle;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use crate::config::ConnectConfig;
use crate::era::envelope;
use crate::error::StartupError;
use crate::jsonrpc::{Kind, Message};
use crate::mcp::{Era, method};
use crate::outbound::system_roots;
use crate::remote::network::{Network, Token};
use crate::remote::{self, Bounds, Ending, Input, Link, probe};
use crate::shutdown::{Signals, Wish};

/// Runs until stdin ends or a signal asks for a stop, and what is in flight is settled. Must be called within a tokio runtime.
///
/// # Errors
/// The token cannot be read, or the system refused something.
pub async fn run(config: ConnectConfig) -> Result<(), StartupError> {
    let mut signals = Signals::install().map_err(|source| StartupError::System { what: "handle signals", source })?;
    let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
    let serve = serve(config, tokio::io::stdin(), tokio::io::stdout(), stop.clone());
    let until = async {
        loop {
            match signals.next().await {
                Wish::Reload => debug!("SIGHUP: there is nothing to be read again"),
                Wish::Stop(signal) if stop.is_cancelled() => {
                    info!(signal, "stopping at once");
                    kill.cancel();
                }
                Wish::Stop(signal) => {
                    info!(signal, "stopping");
                    stop.cancel();
                }
            }
        }
    };
    tokio::select! {
        ending = serve => ending,
        () = kill.cancelled() => Ok(()),
        () = until => Ok(()),
    }
}

/// [`run`] with pipes of the caller's, until `stop` is cancelled or `stdin` ends.
///
/// # Errors
/// As [`run`].
pub async fn serve(
    config: ConnectConfig,
    stdin: impl AsyncRead + Unpin,
    stdout: impl AsyncWrite + Send + Unpin + 'static,
    stop: CancellationToken,
) -> Result<(), StartupError> {
    let ConnectConfig { remote: remote_config, drain_timeout, telemetry: _ } = config;
    let tracker = TaskTracker::new();
    let token = remote_config.token_file.as_deref().map(Token::read).transpose().map_err(|source| {
        let file = remote_config.token_file.clone().unwrap_or_default();
        StartupError::File { flag: "--auth-token-file", file, source: Box::new(source) }
    })?;
    let roots = system_roots(&tracker).await;
    let network = Arc::new(Network::new(&remote_config, token, roots, &tracker));
    let bounds = Bounds {
        in_flight_max: remote_config.in_flight_max,
        message_bytes_max: remote_config.message_bytes_max,
        retry_timeout: remote_config.retry_timeout,
    };
    let url = remote_config.url;
    let mut input = Input::new(stdin, bounds.message_bytes_max);
    let (output, lines) = mpsc::channel(LINES_MAX);
    let writer = tracker.spawn(write(stdout, lines));

    let ending = match first(&mut input, &output, &stop).await {
        None => Ok(()),
        Some(message) => {
            let era = era_of(&message);
            input.put_back(vec![message]);
            let (service, of_link) = (network.clone(), tracker.clone());
            let link = Link { service, era, url, bounds, drain_timeout, tracker: of_link, stop };
            pass(link, &mut input, &output).await
        }
    };
    drop(output);
    // Whoever does not read is not waited for.
    let _ = timeout(FAREWELL, writer).await;
    tracker.close();
    drop(network);
    let _ = timeout(FAREWELL, tracker.wait()).await;
    ending
}

/// Passes messages on, with whatever is needed in between.
async fn pass<R: AsyncRead + Unpin>(
    link: Link,
    input: &mut Input<R>,
    output: &mpsc::Sender<Bytes>,
) -> Result<(), StartupError> {
    match link.era {
        Era::Modern => {
            let found = tokio::select! {
                found = probe::era(&*link.service, &link.url) => found,
                () = link.stop.cancelled() => None,
            };
            if found == Some(Era::Legacy) {
                info!("the client speaks 2026-07-28, the remote server does not: messages are translated");
                return middle::run(link, Era::Legacy, input, output).await;
            }
        }
        Era::Legacy => {}
    }
    match remote::run(link.clone(), input, output).await {
        Ending::Done => Ok(()),
        Ending::Modern(messages) => {
            input.put_back(messages);
            middle::run(link, Era::Modern, input, output).await
        }
    }
}

/// The first message of the client; none if there is none.
async fn first<R: AsyncRead + Unpin>(
    input: &mut Input<R>,
    output: &mpsc::Sender<Bytes>,
    stop: &CancellationToken,
) -> Option<Message> {
    loop {
        let read = tokio::select! {
            read = input.next() => read?,
            () = stop.cancelled() => return None,
            () = output.closed() => return None,
        };
        match read {
            remote::Read::Message(message) => return Some(message),
            remote::Read::Wrong(answer) => {
                let mut line = answer.to_vec();
                line.push(b'\n');
                output.send(line.into()).await.ok()?;
            }
        }
    }
}

/// The era of a client that begins with this.
fn era_of(first: &Message) -> Era {
    let discovers = first.kind() == Kind::Request && first.method() == method::DISCOVER;
    if discovers || envelope::is_modern(first) { Era::Modern } else { Era::Legacy }
}

/// Writes until nothing more comes, or nobody reads.
async fn write(mut stdout: impl AsyncWrite + Unpin, mut lines: mpsc::Receiver<Bytes>) {
    while let Some(line) = lines.recv().await {
        let written = async {
            stdout.write_all(&line).await?;
            while let Ok(line) = lines.try_recv() {
                stdout.write_all(&line).await?;
            }
            stdout.flush().await
        };
        if let Err(error) = written.await {
            return debug!(%error, "the client has closed its end");
        }
    }
}

/// How many chunks may wait for stdout.
const LINES_MAX: usize = 16;
/// For what should have ended already.
const FAREWELL: Duration = Duration::from_secs(2);
