//! The ceilings of HTTP: a hyper server that does nothing but read a request and answer with a fixed body of the same size,
//! and one that does nothing but hand each request to the child and its answer back, for one client with one request at a
//! time.

use std::convert::Infallible;
use std::io::{self, Write};
use std::process::Stdio;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

/// What requests are answered with.
enum Answers {
    /// Always this.
    Fixed(Bytes),
    /// What the child says, without a look at it.
    Childs(Box<Mutex<Pipes>>),
}

struct Pipes {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _child: Child,
}

/// Serves until it is killed; prints its port. Without a size for the answers they are the child's.
pub(crate) fn serve(body: Option<usize>) -> io::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let mut stdout = io::stdout();
        writeln!(stdout, "http://{}/mcp", listener.local_addr()?)?;
        stdout.flush()?;
        let answers = Arc::new(match body {
            Some(body) => Answers::Fixed(Bytes::from(vec![b'x'; body])),
            None => Answers::Childs(Box::new(Mutex::new(Pipes::open()?))),
        });
        let connections = TaskTracker::new();
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let answers = Arc::clone(&answers);
            let answer = service_fn(move |request: Request<Incoming>| {
                let answers = Arc::clone(&answers);
                async move {
                    // A client that went away meanwhile is nobody to answer.
                    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    let answer = answers.to(&body).await.unwrap_or_default();
                    let status = if answer.is_empty() { StatusCode::ACCEPTED } else { StatusCode::OK };
                    let mut response = Response::new(Full::new(answer));
                    *response.status_mut() = status;
                    let json = http::HeaderValue::from_static("application/json");
                    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
                    Ok::<_, Infallible>(response)
                }
            });
            connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    })
}

impl Answers {
    async fn to(&self, request: &[u8]) -> io::Result<Bytes> {
        match self {
            Self::Fixed(answer) => Ok(answer.clone()),
            Self::Childs(pipes) => pipes.lock().await.exchange(request).await,
        }
    }
}

impl Pipes {
    fn open() -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["child", "legacy"]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let broken = io::ErrorKind::BrokenPipe;
        Ok(Self { stdin: stdin.ok_or(broken)?, stdout: BufReader::new(stdout.ok_or(broken)?), _child: child })
    }

    /// Nothing comes back for a notification.
    async fn exchange(&mut self, request: &[u8]) -> io::Result<Bytes> {
        let mut line = BytesMut::with_capacity(request.len() + 1);
        line.put_slice(request);
        line.put_u8(b'\n');
        self.stdin.write_all(&line).await?;
        let mut answer = Vec::new();
        if memmem::find(request, b"\"id\":").is_some() {
            self.stdout.read_until(b'\n', &mut answer).await?;
        }
        Ok(answer.into())
    }
}
