//! Sessions that each have a child of their own: taking it, and letting it go.

use std::num::NonZeroUsize;
use std::time::Duration;

use http::HeaderMap;

use super::testing::{Arrival, Own};
use super::*;
use crate::auth::Admission;
use crate::child::Outbox;
use crate::config::SessionConfig;
use crate::jsonrpc::Message;
use crate::metrics::{Limit, limit_hits};
use crate::router::{Origin, Payload};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#;

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn call() -> Message {
    Message::parse(bytes::Bytes::from_static(CALL.as_bytes()), 10).unwrap()
}

impl Own {
    fn open(&self) -> Owned {
        let tenant = self.pool.tenant(&Admission::anonymous(), &HeaderMap::new()).unwrap();
        self.registry.open(Transport::Streamable, tenant).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_detaches_before_its_own_child_is_stopped() {
    let own = testing::own(|_| {}).await;
    let owned = own.open();
    let session = owned.session();
    session.attach().await.unwrap();
    let (_, mut child) = own.child();
    let (key, _) = child.next().await.attached();
    let (_reader, mut handover) = session.open_post(Asked::Requests(1), PostForm::Streamable).unwrap();
    handover.request(call()).await;
    child.next().await.sent();
    assert!(child.try_next().is_none());
    drop(owned);
    assert_eq!(child.next().await.detached(), key);
    assert!(matches!(child.next().await, Arrival::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_session_closed_while_it_waits_for_a_child_leaves_nothing() {
    let own = testing::own(|pool| pool.children_max = NonZeroUsize::MIN).await;
    let first = own.open();
    first.session().attach().await.unwrap();
    let (_, mut child) = own.child();
    child.next().await.attached();

    let (closed, next) = (own.open(), own.open());
    let mut turn = Box::pin(next.session().attach());
    let (waited, ()) = tokio::join!(closed.session().attach(), async {
        tokio::select! { biased; _ = &mut turn => panic!("there is no room"), () = settle() => {} }
        own.registry.close(closed.session(), CloseReason::Deleted);
    });
    assert_eq!(waited, Err(Reject::SessionClosed));
    drop(first);
    child.next().await.detached();
    assert!(matches!(child.next().await, Arrival::Stopped));
    child.exits();
    turn.await.unwrap();
    let (_, mut child) = own.child();
    child.next().await.attached();
    assert!(own.try_child().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_session_closed_while_it_is_attached_is_detached_after_that() {
    let own = testing::own(|_| {}).await;
    let owned = own.open();
    let session = owned.session().clone();
    session.attach().await.unwrap();
    let (_, mut child) = own.child();
    let (key, _) = child.next().await.attached();
    // The child takes nothing for a while: what is sent waits, and so would the detachment.
    while tokio::time::timeout(Duration::from_secs(1), session.send(call())).await.is_ok() {}
    let sending = session.send(call());
    tokio::join!(
        async {
            assert_eq!(sending.await, Err(Reject::SessionClosed));
        },
        async {
            settle().await;
            drop(owned);
        }
    );
    let mut arrivals = Vec::new();
    loop {
        match child.next().await {
            Arrival::Sent(..) => {}
            Arrival::Stopped => break,
            other @ (Arrival::Attached(..) | Arrival::Detached(_)) => arrivals.push(other),
        }
    }
    assert!(matches!(arrivals.as_slice(), [Arrival::Detached(detached)] if *detached == key), "{arrivals:?}");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_no_client_reads_is_answered_to_the_child_that_asked() {
    let own = testing::own(|_| {}).await;
    let (one, other) = (own.open(), own.open());
    one.session().attach().await.unwrap();
    other.session().attach().await.unwrap();
    let ((_, mut first), (_, mut second)) = (own.child(), own.child());
    first.next().await.attached();
    let (key, _) = second.next().await.attached();
    let question = r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#;
    let to = Origin::client(key, StreamId::STANDALONE);
    for _ in 0..testing::config().replay_events + 1 {
        second.message(to, question);
    }
    let (from, answer) = tokio::select! {
        () = own.registry.run(tokio_util::sync::CancellationToken::new()) => panic!("not stopped"),
        arrived = second.next() => arrived.sent(),
    };
    assert_eq!((from.session, answer.id().is_some()), (key, true));
    assert!(first.try_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn each_session_has_the_limits_of_the_configuration() {
    let (two, kibibyte) = (NonZeroUsize::new(2).unwrap(), 1024);
    let config = SessionConfig {
        streams_max: two,
        unread_messages_max: two,
        unread_bytes_max: kibibyte,
        parked_max: two,
        parked_bytes_max: kibibyte,
        ..testing::config()
    };
    let testing::Shared { registry, pool, .. } = testing::registry(config);
    let tenant = pool.tenant(&Admission::anonymous(), &HeaderMap::new()).unwrap();
    let owned = registry.open(Transport::Streamable, tenant).unwrap();
    let session = owned.session();
    let limits =
        [Limit::StreamsMax, Limit::UnreadMessagesMax, Limit::UnreadBytesMax, Limit::ParkedMax, Limit::ParkedBytesMax];
    let before = limits.map(limit_hits);
    let has_ended = |reader: &StreamReader| {
        let polled = reader.poll_event(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        matches!(polled, std::task::Poll::Ready(None))
    };

    let [first, second, third] = [(); 3].map(|()| session.open_standing().unwrap());
    assert_eq!([&first, &second, &third].map(has_ended), [true, false, false]);
    for text in ["1", "2", "3"] {
        session.deliver(StreamId::STANDALONE, Payload::Message(testing::frame(text)));
    }
    assert!(has_ended(&third));
    // The other has what the third left unread.
    assert!(!has_ended(&second) && !has_ended(&second) && !has_ended(&second));
    for _ in 0..2 {
        session.deliver(StreamId::STANDALONE, Payload::Message(testing::frame(&"x".repeat(kibibyte + 1))));
    }
    assert!(has_ended(&second));

    let later = Instant::now() + Duration::from_secs(1);
    for number in 0..3 {
        registry.park(number, Box::new(()), 1, later).unwrap();
    }
    assert_eq!(registry.parked().len(), 2);
    registry.park(3, Box::new(()), kibibyte + 1, later).unwrap();
    assert_eq!(registry.parked().len(), 1);
    let after = limits.map(limit_hits);
    assert!(before.iter().zip(after).all(|(before, after)| *before < after), "{before:?} {after:?}");
}
