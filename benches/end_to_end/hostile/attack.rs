//! The attacks. Each is bounded in what it opens and in time.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use super::http2;
use crate::load::{Answers, Target, Transport, begin_session};
use crate::request::assemble;
use crate::subject::CONNECTIONS_MAX;
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
    /// Clients of HTTP/2 that ask, and leave no room for an answer.
    ZeroWindow,
    /// Silent connections of many addresses, more than there may be in all.
    Places,
}

impl Attack {
    pub(super) const ALL: [Self; 8] = [
        Self::SlowHeads,
        Self::SlowBodies,
        Self::Connections,
        Self::Silence,
        Self::StalledReaders,
        Self::RapidReset,
        Self::ZeroWindow,
        Self::Places,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::SlowHeads => "500 slow heads (slowloris)",
            Self::SlowBodies => "500 slow bodies",
            Self::Connections => "a connection flood, 2000/s",
            Self::Silence => "900 silent connections",
            Self::StalledReaders => "50 stalled readers of 8 MB each",
            Self::RapidReset => "rapid resets, 20000/s",
            Self::ZeroWindow => "50 HTTP/2 clients with 32 answers of 16 kB each and a zero window",
            Self::Places => "900 silent connections of 30 addresses for 500 places",
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
            Self::ZeroWindow => "zero-window",
            Self::Places => "places",
        }
    }

    /// How many connections the server may have while this goes on.
    pub(super) const fn connections_max(self) -> usize {
        match self {
            Self::Places => 500,
            Self::SlowHeads
            | Self::SlowBodies
            | Self::Connections
            | Self::Silence
            | Self::StalledReaders
            | Self::RapidReset
            | Self::ZeroWindow => CONNECTIONS_MAX,
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
            Attack::Silence | Attack::Places => 900,
            Attack::StalledReaders | Attack::ZeroWindow => 50,
            Attack::RapidReset => 2,
        };
        for number in 0..count {
            attackers.spawn_local(async move {
                loop {
                    // Whoever is thrown out comes again, a little later.
                    let _ = one(attack, number, address).await;
                    sleep(AGAIN).await;
                }
            });
        }
        sleep(time).await;
        attackers.shutdown().await;
    });
    Ok(())
}

async fn one(attack: Attack, number: u16, address: SocketAddr) -> Result<()> {
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
        Attack::RapidReset => http2::rapid_reset(address).await,
        Attack::ZeroWindow => http2::zero_window(address).await,
        Attack::Places => {
            // All of 127.0.0.0/8 is this machine. The honest clients have its first address.
            let [_, low] = (number % ADDRESSES).to_be_bytes();
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from(([127, 0, 1, low], 0)))?;
            let mut stream = socket.connect(address).await?;
            stream.read_u8().await.map(drop)
        }
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

const AGAIN: Duration = Duration::from_millis(50);
const SECONDS_MAX: f64 = 600.0;
const ADDRESSES: u16 = 30;
