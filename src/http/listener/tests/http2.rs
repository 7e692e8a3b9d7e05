//! What HTTP/2 can be flooded with, in frames written by hand: each flood is bounded, and another client is answered meanwhile.
//!
//! Spec: RFC 9113, 10.5 (denial of service).

mod raw;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper::body::Frame as BodyFrame;

use self::raw::*;
use super::*;
use crate::metrics::{Limit, limit_hits};

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let served = serve().await;
    let hits = limit_hits(Limit::Http2ResetsMax);
    let mut frames = Vec::new();
    let mut raw = Raw::connect(&served, &[]).await;
    for number in 0..2000 {
        let stream = number * 2 + 1;
        frames.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &get("/never", 0, 0)));
        frames.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    let _ = raw.write.write_all(&frames).await;
    assert_eq!(raw.farewell().await, Some(ENHANCE_YOUR_CALM));
    all_ended(&served).await;
    assert!(limit_hits(Limit::Http2ResetsMax) > hits);
}

#[tokio::test]
async fn resets_one_by_one_are_frames_that_carry_nothing() {
    let served = serve().await;
    let hits = limit_hits(Limit::Http2FramesMax);
    let mut raw = Raw::connect(&served, &[]).await;
    let mut sent = 0;
    for number in 0..100_000 {
        let stream = number * 2 + 1;
        let request = frame(HEADERS, END_STREAM | END_HEADERS, stream, &get("/never", 0, 0));
        if raw.write.write_all(&request).await.is_err() {
            break;
        }
        tokio::select! {
            () = served.reached.notified() => {}
            ended = raw.next_of(GOAWAY) => {
                assert!(ended.is_none());
                break;
            }
        }
        if raw.write.write_all(&frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])).await.is_err() {
            break;
        }
        sent = number;
    }
    assert!((900..20_000).contains(&sent), "{sent}");
    all_ended(&served).await;
    assert!(limit_hits(Limit::Http2FramesMax) > hits);
}

#[tokio::test]
async fn a_head_in_endless_continuations_ends_the_connection() {
    let served = serve().await;
    let hits = limit_hits(Limit::HeaderBytesMax);
    let mut raw = Raw::connect(&served, &[]).await;
    raw.send(&frame(HEADERS, END_STREAM, 1, &get("/", 0, 0))).await;
    assert_eq!(raw.flood(&served, &frame(CONTINUATION, 0, 1, &[])).await, Some(ENHANCE_YOUR_CALM));
    all_ended(&served).await;
    assert!(limit_hits(Limit::HeaderBytesMax) > hits);
}

#[tokio::test]
async fn a_head_that_decodes_to_far_too_much_ends_the_connection_and_one_somewhat_too_large_its_request() {
    let served = serve().await;
    let mut raw = Raw::connect(&served, &[]).await;
    let frames = |stream, headers| {
        let mut frames = frame(HEADERS, END_STREAM, stream, &get("/", 0, 0));
        for number in 1..=headers {
            let block = get("/", 1, 16_000);
            let field = &block[get("/", 0, 0).len()..];
            frames.extend(frame(CONTINUATION, if number == headers { END_HEADERS } else { 0 }, stream, field));
        }
        frames
    };
    // 144 kB, which h2 answers itself: a response without a body, whose status is 431 (RFC 7541, 6.2.1).
    raw.send(&frames(1, 9)).await;
    let answer = raw.next_of(HEADERS).await.unwrap();
    assert_eq!((answer.stream, answer.flags), (1, END_STREAM | END_HEADERS));
    assert_eq!(answer.payload, [0x48, 0x83, 0x69, 0x90, 0xff]);
    // 640 kB.
    let _ = raw.write.write_all(&frames(3, 40)).await;
    assert_eq!(raw.farewell().await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn frames_that_carry_nothing_end_the_connection() {
    let served = serve().await;
    let stream_1 = frame(HEADERS, END_HEADERS, 1, &get("/never", 0, 0));
    for (what, frames, farewell) in [
        ("ping", frame(PING, 0, 0, b"12345678"), None),
        ("pong", frame(PING, ACK, 0, b"12345678"), None),
        ("settings", frame(SETTINGS, 0, 0, &setting(SETTINGS_INITIAL_WINDOW_SIZE, 65_535)), None),
        ("empty settings", frame(SETTINGS, 0, 0, &[]), None),
        ("priority", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16]), None),
        ("unknown", frame(UNKNOWN, 0, 0, b"?"), None),
        ("empty data", frame(DATA, 0, 1, &[]), Some(ENHANCE_YOUR_CALM)),
        ("data of a byte", frame(DATA, 0, 1, b"x"), Some(ENHANCE_YOUR_CALM)),
    ] {
        let hits = limit_hits(Limit::Http2FramesMax);
        let mut raw = Raw::connect(&served, &[]).await;
        raw.send(&stream_1).await;
        assert_eq!(raw.flood(&served, &frames).await, farewell, "{what}");
        let counted = timeout(DEADLINE, async {
            while limit_hits(Limit::Http2FramesMax) == hits {
                tokio::task::yield_now().await;
            }
        });
        assert!(counted.await.is_ok(), "{what}");
    }
    // A window grows by what it is updated, and only so far: the least at a time is the longest flood.
    let mut raw = Raw::connect(&served, &[]).await;
    raw.send(&stream_1).await;
    assert_eq!(raw.flood(&served, &frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_take_its_pongs_is_read_no_further() {
    let served = serve_with_frames(usize::MAX).await;
    let mut raw = Raw::connect(&served, &[]).await;
    let pings = frame(PING, 0, 0, b"12345678").repeat(4096);
    let mut sent = 0_usize;
    // It takes no more when its own buffers, ours and the system's are full.
    while timeout(Duration::from_millis(500), raw.write.write_all(&pings)).await.is_ok() {
        sent += pings.len();
        assert!(sent < 64 << 20, "unread pongs are kept without bound");
    }
}

async fn serve_with_frames(frames: usize) -> Served {
    let mut config = listen("127.0.0.1", 0, 1000);
    config.connection.http2_frames_max = NonZeroUsize::new(frames).unwrap();
    serve_by(Listener::bind(&config, Handed::none()).await.unwrap())
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_the_others_go_on() {
    let served = serve().await;
    let hits = limit_hits(Limit::Http2StreamsMax);
    let mut raw = Raw::connect(&served, &[]).await;
    let mut frames = Vec::new();
    for number in 0..=128 {
        let path = if number == 0 { "/slow" } else { "/never" };
        frames.extend(frame(HEADERS, END_STREAM | END_HEADERS, number * 2 + 1, &get(path, 0, 0)));
    }
    raw.send(&frames).await;
    let refused = raw.next_of(RST_STREAM).await.unwrap();
    assert_eq!((refused.stream, refused.payload), (257, REFUSED_STREAM.to_be_bytes().to_vec()));
    assert!(limit_hits(Limit::Http2StreamsMax) > hits);
    served.release.notify_one();
    assert_eq!(raw.next_of(HEADERS).await.unwrap().stream, 1);
}

/// An endless body: how much of it was asked for.
struct Endless(Arc<AtomicUsize>);

const PIECE: usize = 16 * 1024;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        self.0.fetch_add(PIECE, Ordering::Relaxed);
        Poll::Ready(Some(Ok(BodyFrame::data(Bytes::from_static(&[0; PIECE])))))
    }
}

/// Asks for 100 endless answers with windows of this size, and reads nothing but their heads; how much was asked for in all.
async fn asked_for_by_100_streams(window: u32) -> usize {
    let listener = Listener::bind(&listen("127.0.0.1", 0, 10), Handed::none()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, stop, connections) = (Arc::new(AtomicUsize::new(0)), Stop::default(), TaskTracker::new());
    let body = Arc::clone(&asked);
    let handle = move |_: Request<Incoming>, _: Arc<Peer>| {
        let body = Endless(Arc::clone(&body));
        async move { Response::new(body) }
    };
    #[expect(clippy::disallowed_methods, reason = "the test waits for it by its handle")]
    let accepting = tokio::spawn(listener.serve(handle, connections.clone(), stop.clone()));
    let served = Served { address, stop, connections, reached: Arc::default(), release: Arc::default(), accepting };
    let mut raw = Raw::connect(&served, &setting(SETTINGS_INITIAL_WINDOW_SIZE, window)).await;
    raw.send(&frame(WINDOW_UPDATE, 0, 0, &(i32::MAX.cast_unsigned() - 65_535).to_be_bytes())).await;
    let mut frames = Vec::new();
    for number in 0..100 {
        frames.extend(frame(HEADERS, END_STREAM | END_HEADERS, number * 2 + 1, &get("/", 0, 0)));
    }
    frames.extend(frame(PING, 0, 0, b"the last"));
    raw.send(&frames).await;
    if window == 0 {
        // Heads come, and the pong after all of it.
        while raw.next().await.unwrap().payload != b"the last" {}
        return asked.load(Ordering::Relaxed);
    }
    // Nothing is read, so there is an end to it. Time is paused: it passes when nobody has anything to do.
    let mut last = 0;
    loop {
        let _ = timeout(Duration::from_millis(300), std::future::pending::<()>()).await;
        let now = asked.load(Ordering::Relaxed);
        if now == last && now > 0 {
            return now;
        }
        last = now;
    }
}

#[tokio::test]
async fn streams_without_a_window_have_at_most_one_piece_buffered() {
    assert!(asked_for_by_100_streams(0).await <= 100 * PIECE);
}

#[tokio::test(start_paused = true)]
async fn streams_of_a_client_that_reads_nothing_have_little_buffered() {
    // 64 KiB for each and the piece that it is in, and what the system takes for the socket.
    let asked = asked_for_by_100_streams(i32::MAX.cast_unsigned()).await;
    assert!(asked < 100 * (64 * 1024 + 2 * PIECE) + (16 << 20), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_told_to_go_and_closed() {
    let served = serve().await;
    let mut raw = Raw::connect(&served, &[]).await;
    let since = Instant::now();
    raw.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get("/", 0, 0))).await;
    let mut farewell = None;
    while let Some(received) = raw.next().await {
        match received.kind {
            PING if received.flags & ACK == 0 => raw.send(&frame(PING, ACK, 0, &received.payload)).await,
            GOAWAY => farewell = Some((since.elapsed().as_secs(), received.payload[4..8].to_vec())),
            _ => {}
        }
    }
    assert_eq!(farewell, Some((120, NO_ERROR.to_be_bytes().to_vec())));
    assert!(since.elapsed() < Duration::from_secs(126));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_of_its_answer_is_closed_though_it_answers_pings() {
    let served = serve().await;
    let before = limit_hits(Limit::UntakenTimeout);
    let mut raw = Raw::connect(&served, &setting(SETTINGS_INITIAL_WINDOW_SIZE, 0)).await;
    let since = Instant::now();
    raw.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get("/", 0, 0))).await;
    while let Some(received) = raw.next().await {
        if received.kind == PING && received.flags & ACK == 0 {
            raw.send(&frame(PING, ACK, 0, &received.payload)).await;
        }
    }
    let seconds = since.elapsed().as_secs();
    assert!((60..=61).contains(&seconds), "{seconds}");
    assert!(limit_hits(Limit::UntakenTimeout) > before);
}

// spec: RFC 9113, 6.8: "Endpoints SHOULD always send a GOAWAY frame before closing a connection"
#[tokio::test(start_paused = true)]
async fn a_connection_that_never_asks_for_anything_is_told_to_go_and_closed() {
    let served = serve().await;
    let hits = limit_hits(Limit::HeaderTimeout);
    let mut raw = Raw::connect(&served, &[]).await;
    let since = Instant::now();
    let farewell = raw.next_of(GOAWAY).await.unwrap();
    assert_eq!((since.elapsed().as_secs(), &farewell.payload[4..8]), (20, &NO_ERROR.to_be_bytes()[..]));
    // A client that answers nothing.
    assert_eq!(raw.farewell().await, None);
    assert_eq!(since.elapsed().as_secs(), 25);
    assert!(limit_hits(Limit::HeaderTimeout) > hits);
}

#[tokio::test]
async fn a_client_that_takes_much_may_say_so_often() {
    let served = serve_with_frames(100).await;
    let stream = connect(&served).await;
    let executor = Tracked(served.connections.clone());
    let mut client = hyper::client::conn::http2::Builder::new(executor);
    // Small windows: an update for every few kB.
    client.initial_stream_window_size(8 * 1024).initial_connection_window_size(8 * 1024);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.unwrap();
    served.connections.spawn(connection);
    let request = Request::get(format!("http://{}/large", served.address)).body(Full::new(Bytes::new())).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let taken = timeout(DEADLINE, http_body_util::BodyExt::collect(response.into_body())).await.unwrap().unwrap();
    assert_eq!(taken.to_bytes().len(), 64 << 20);
}
