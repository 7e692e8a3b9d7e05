//! What a connection may do, over real sockets. Time is paused where it counts.

use std::net::IpAddr;

use tokio::net::TcpSocket;

use super::*;

/// Serves with bounds of its own.
async fn serve_with(change: impl FnOnce(&mut ListenConfig)) -> Served {
    let mut config = listen("127.0.0.1", 0, 1000);
    change(&mut config);
    serve_by(Listener::bind(&config, Handed::none()).await.unwrap())
}

/// A connection from this address of the machine.
async fn connect_from(address: &str, served: &Served) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    socket.connect(served.address).await.unwrap()
}

/// Asks, and reads the answer of `/`.
async fn is_answered(stream: &mut TcpStream, served: &Served) -> bool {
    request(stream, "/").await;
    read_until(stream, &served.address.to_string()).await.starts_with("HTTP/1.1 200 OK")
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    // Not limited by the deadline of the others: time is mostly paused here.
    let mut byte = [0];
    timeout(Duration::from_secs(3600), stream.read(&mut byte)).await.unwrap().unwrap_or(0) == 0
}

/// How long until the connection is closed, to the second.
async fn closed_after(stream: &mut TcpStream) -> u64 {
    let since = Instant::now();
    assert!(is_closed(stream).await);
    since.elapsed().as_secs()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_address_with_too_many_connections_gets_no_more_and_others_do() {
    let served = serve_with(|config| config.connections_per_address_max = NonZeroUsize::new(2).unwrap()).await;
    let hits = limit_hits(Limit::ConnectionsPerAddressMax);
    let (mut first, mut second) = (connect(&served).await, connect(&served).await);
    assert!(is_answered(&mut first, &served).await && is_answered(&mut second, &served).await);
    assert!(is_closed(&mut connect(&served).await).await);
    assert!(limit_hits(Limit::ConnectionsPerAddressMax) > hits);
    let mut other = connect_from("127.0.0.2", &served).await;
    assert!(is_answered(&mut other, &served).await);
    drop(first);
    // As soon as it is known that the first has gone.
    let again = async {
        loop {
            let mut next = connect(&served).await;
            next.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap_or_default();
            let mut byte = [0];
            if next.read(&mut byte).await.is_ok_and(|read| read > 0) {
                break;
            }
        }
    };
    timeout(DEADLINE, again).await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_exempt_address_has_any_number_of_connections() {
    let mut config = listen("127.0.0.1", 0, 1000);
    config.connections_per_address_max = NonZeroUsize::MIN;
    let exempt: IpAddr = "127.0.0.9".parse().unwrap();
    let served = serve_by(
        Listener::bind(&config, Handed::none())
            .await
            .unwrap()
            .exempting(move |remote| remote == Remote::Address(exempt)),
    );
    let mut connections = Vec::new();
    for _ in 0..5 {
        let mut stream = connect_from("127.0.0.9", &served).await;
        assert!(is_answered(&mut stream, &served).await);
        connections.push(stream);
    }
    let mut own = connect(&served).await;
    assert!(is_answered(&mut own, &served).await);
    assert!(is_closed(&mut connect(&served).await).await);
}

#[tokio::test]
async fn the_table_of_connections_keeps_nothing_of_those_that_have_gone() {
    let places = Places::new(&listen("127.0.0.1", 0, 1000));
    let mut taken = Vec::new();
    for host in 0..100 {
        for _ in 0..3 {
            taken.push(places.take(IpAddr::from([10, 0, 0, host]).into()).await.unwrap());
        }
    }
    assert_eq!(places.used(), (300, 100));
    taken.truncate(3);
    assert_eq!(places.used(), (3, 1));
    drop(taken);
    assert_eq!(places.used(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn connections_that_say_nothing_make_room_for_those_that_do() {
    let served = serve_at_most(3).await;
    let hits = limit_hits(Limit::ConnectionsMax);
    let mut busy = connect(&served).await;
    request(&mut busy, "/slow").await;
    served.reached.notified().await;
    let (mut oldest, mut younger) = (connect(&served).await, connect(&served).await);
    oldest.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let since = Instant::now();
    let (mut first, mut second) = (connect(&served).await, connect(&served).await);
    assert!(is_answered(&mut first, &served).await && is_answered(&mut second, &served).await);
    assert!(is_closed(&mut oldest).await && is_closed(&mut younger).await);
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    assert!(limit_hits(Limit::ConnectionsMax) > hits);
    // Whoever has a request under way stays.
    served.release.notify_one();
    assert!(read_until(&mut busy, &served.address.to_string()).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test(start_paused = true)]
async fn idle_connections_make_room_when_they_have_been_idle_for_a_while() {
    let served = serve_at_most(2).await;
    let (mut first, mut second) = (connect(&served).await, connect(&served).await);
    assert!(is_answered(&mut first, &served).await && is_answered(&mut second, &served).await);
    let since = Instant::now();
    let mut third = connect(&served).await;
    assert!(is_answered(&mut third, &served).await);
    assert!((5..7).contains(&since.elapsed().as_secs()));
    assert!(is_closed(&mut first).await);
    assert!(is_answered(&mut second, &served).await, "one was enough");
}

#[tokio::test(start_paused = true)]
async fn each_time_limit_of_a_connection_counts_from_where_it_should() {
    let served = serve().await;
    let hits = [Limit::FirstByteTimeout, Limit::HeaderTimeout, Limit::IdleTimeout].map(limit_hits);
    // Nothing at all: 30 s. A head: 20 s from its first byte, however it trickles.
    assert_eq!(closed_after(&mut connect(&served).await).await, 30);
    let mut trickling = connect(&served).await;
    let since = Instant::now();
    for byte in b"GET / HTTP/1.1\r\nHost: a-host-that-is-never-there" {
        if timeout(Duration::from_secs(3), trickling.readable()).await.is_ok() {
            break;
        }
        trickling.write_all(&[*byte]).await.unwrap();
    }
    assert!((20..24).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
    // Idle: 120 s after an answer, also after the second one.
    let mut idle = connect(&served).await;
    for _ in 0..2 {
        assert!(is_answered(&mut idle, &served).await);
        assert!(timeout(Duration::from_secs(100), idle.readable()).await.is_err());
    }
    assert!(is_answered(&mut idle, &served).await);
    assert_eq!(closed_after(&mut idle).await, 120);
    // The time for a further head is that for a head, neither more nor less for the idle time before it.
    let mut late = connect(&served).await;
    assert!(is_answered(&mut late, &served).await);
    assert!(timeout(Duration::from_secs(110), late.readable()).await.is_err());
    late.write_all(b"GET / HT").await.unwrap();
    assert_eq!(closed_after(&mut late).await, 20);
    let after = [Limit::FirstByteTimeout, Limit::HeaderTimeout, Limit::IdleTimeout].map(limit_hits);
    assert!(after.iter().zip(hits).all(|(after, before)| *after > before), "{hits:?} {after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_has_no_time_limit_of_its_connection() {
    let served = serve().await;
    let mut stream = connect(&served).await;
    request(&mut stream, "/slow").await;
    served.reached.notified().await;
    assert!(timeout(Duration::from_secs(24 * 3600), stream.readable()).await.is_err());
    served.release.notify_one();
    assert!(read_until(&mut stream, &served.address.to_string()).await.starts_with("HTTP/1.1 200 OK"));
    assert_eq!(closed_after(&mut stream).await, 120);
}

#[tokio::test]
async fn heads_beyond_their_bounds_are_answered_with_431_and_long_targets_with_414() {
    let large = 16 * 1024;
    let served = serve_with(|config| config.connection.header_bytes_max = large).await;
    let head = |count: usize, length: usize| {
        let headers: String = (1..count).map(|number| format!("X-{number}: {}\r\n", "v".repeat(length))).collect();
        format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
    };
    for (text, status, limit) in [
        (head(100, 1), "200 OK", None),
        (head(101, 1), "431 Request Header Fields Too Large", Some(Limit::HeadersMax)),
        (head(15, 1000), "200 OK", None),
        (head(18, 1000), "431 Request Header Fields Too Large", Some(Limit::HeaderBytesMax)),
        (head(2, 1 << 20), "431 Request Header Fields Too Large", Some(Limit::HeaderBytesMax)),
    ] {
        let hits = limit.map(limit_hits);
        let mut stream = connect(&served).await;
        // The connection may be ended before all of it was sent.
        let _ = stream.write_all(text.as_bytes()).await;
        let end = if limit.is_none() { served.address.to_string() } else { "the end of the connection".to_owned() };
        let answer = read_until(&mut stream, &end).await;
        let answer = if answer.is_empty() { status.to_owned() } else { answer };
        assert!(answer.contains(status), "{answer}");
        if let Some((limit, hits)) = limit.zip(hits) {
            let counted = timeout(DEADLINE, async {
                while limit_hits(limit) == hits {
                    tokio::task::yield_now().await;
                }
            });
            assert!(counted.await.is_ok(), "{} after {answer}", limit.as_str());
        }
    }
    let served = serve_with(|config| config.connection.header_bytes_max = 256 * 1024).await;
    let mut stream = connect(&served).await;
    request(&mut stream, &format!("/{}", "p".repeat(66_000))).await;
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 414 "));
}
