//! mcp-mux between a client and a remote server of different eras, all within this process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::auth::{Authenticator, Methods};
use crate::child::in_memory::{Pipes, Server};
use crate::cli::Cli;
use crate::config::{Config, ServerConfig};
use crate::error::StartupError;
use crate::http::Http;
use crate::http::guard::Guard;
use crate::http::peer::{Ends, Peer};
use crate::mcp::Era;
use crate::metrics::ServerMetrics;
use crate::pool::Pool;
use crate::remote::service::{Answering, Service};
use crate::remote::{self, Bounds, Input, Link};
use crate::servers::Servers;
use crate::session::{Registry, UnreadTotal};

/// Passes messages on, translated. `era` is the server's.
///
/// # Errors
/// The server did not take the handshake.
pub(super) async fn run<R: AsyncRead + Unpin>(
    link: Link,
    era: Era,
    input: &mut Input<R>,
    output: &mpsc::Sender<Bytes>,
) -> Result<(), StartupError> {
    let config = config(era, &link)?;
    let tasks = TaskTracker::new();
    let Config { http, guard, servers, principals, .. } = config;
    let server = servers.servers.into_iter().next();
    let server = server.ok_or(StartupError::Bug("the configuration in the middle has no server"))?;
    let ServerConfig { endpoint, session, pool, child, router, .. } = server;
    let far = Link { era, stop: CancellationToken::new(), tracker: tasks.clone(), ..link.clone() };
    let server = Server::new(move |pipes| serve(far.clone(), pipes));
    let pool =
        Pool::start_in_memory(pool, endpoint.sessions, child, router, server, (ServerMetrics::unnamed(), &tasks));
    let unread = UnreadTotal::new(session.unread_total_bytes_max);
    let registry = Registry::new(session, Arc::clone(&pool), &unread);
    let sweeper = CancellationToken::new();
    let (swept, until) = (Arc::clone(&registry), sweeper.clone());
    tasks.spawn(async move { swept.run(until).await });
    let path = http.path.clone();
    let authenticator = Arc::new(Authenticator::new(Methods::default(), principals));
    let servers = Servers::of(endpoint, Arc::clone(&registry), Arc::clone(&pool));
    let http = Http::new(http, Guard::new(guard), authenticator, servers);

    let stop = link.stop.child_token();
    let near = Link { service: Arc::new(Within::new(http)), url: url(&path)?, stop: stop.clone(), ..link.clone() };
    let mut passing = std::pin::pin!(remote::run(near, input, output));
    let ending = tokio::select! {
        _ = &mut passing => Ok(()),
        error = pool.lost() => {
            // What is in flight has its error already.
            stop.cancel();
            passing.await;
            Err(error)
        }
    };
    registry.end_standing_streams();
    if timeout(STOP_TIMEOUT, pool.stop()).await.is_err() {
        debug!("the session with the remote server was not closed in time");
    }
    registry.close_all();
    sweeper.cancel();
    tasks.close();
    let _ = timeout(STOP_TIMEOUT, tasks.wait()).await;
    ending
}

/// What somebody gets who types nothing, but for what is said here.
fn config(era: Era, link: &Link) -> Result<Config, StartupError> {
    let era = match era {
        Era::Legacy => "legacy",
        Era::Modern => "modern",
    };
    let Bounds { in_flight_max, message_bytes_max, retry_timeout } = link.bounds;
    let flags = [
        format!("--child-era={era}"),
        // There is one client, and each of its requests may be what a question is about.
        "--on-ambiguous=serialize".to_owned(),
        "--session-idle-timeout=none".to_owned(),
        "--request-timeout=none".to_owned(),
        "--request-timeout-max=none".to_owned(),
        format!("--in-flight-max={in_flight_max}"),
        format!("--body-bytes-max={message_bytes_max}"),
        format!("--line-bytes-max={message_bytes_max}"),
        format!("--queue-bytes-max={}", message_bytes_max.saturating_mul(4)),
        format!("--start-timeout={}ms", (retry_timeout + START_MARGIN).as_millis()),
    ];
    let command = ["--".to_owned(), "remote".to_owned()];
    let args = std::iter::once("mcp-mux".to_owned()).chain(flags).chain(command);
    let cli = Cli::read(args.map(Into::into), |_| None);
    let cli = cli.map_err(|_| StartupError::Bug("the configuration in the middle cannot be read"))?;
    Ok(Config::load(cli)?)
}

fn url(path: &str) -> Result<Uri, StartupError> {
    let url = format!("http://{AUTHORITY}{path}").parse();
    url.map_err(|_| StartupError::Bug("the URL in the middle cannot be read"))
}

/// The server's pipe, as a child.
async fn serve(link: Link, pipes: Pipes) {
    let Pipes { stdin, stdout } = pipes;
    let mut input = Input::new(stdin, link.bounds.message_bytes_max);
    let (output, lines) = mpsc::channel(super::LINES_MAX);
    let (_, ()) = tokio::join!(
        async move {
            // Dropped with this, which ends the other.
            let output = output;
            remote::run(link, &mut input, &output).await
        },
        super::write(stdout, lines)
    );
}

/// [`Http`], asked without a connection.
#[derive(Debug)]
struct Within {
    http: Arc<Http>,
    peer: Arc<Peer>,
}

impl Within {
    fn new(http: Arc<Http>) -> Self {
        let here = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
        Self { http, peer: Arc::new(Peer { ends: Ends::Tcp { local: here, remote: here }, tls: None }) }
    }
}

impl Service for Within {
    fn call(&self, mut request: Request<Bytes>) -> Answering {
        request.headers_mut().insert(HOST, HeaderValue::from_static(AUTHORITY));
        let answer = Arc::clone(&self.http).handle(request.map(Full::new), Arc::clone(&self.peer));
        Box::pin(async move {
            let answer = answer.await;
            Ok(answer.map(|body| body.map_err(|never| match never {}).boxed_unsync()))
        })
    }
}

const AUTHORITY: &str = "127.0.0.1:1";
/// For the end of the session with the remote server.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// What the handshake takes beside the time in which the server is tried to be reached.
const START_MARGIN: Duration = Duration::from_secs(30);
