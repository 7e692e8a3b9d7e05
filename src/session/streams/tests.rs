use std::collections::{HashMap, HashSet};
use std::task::Waker;

use proptest::prelude::*;

use super::leaving::LOST_STREAMS_MAX;
use super::*;
use crate::error::Reject;
use crate::jsonrpc::RawId;
use crate::metrics::limit_hits;
use crate::session::unread::Total;

mod unread;

const POST: StreamId = StreamId(1);
const GET: StreamId = StreamId(2);
const NEWER_GET: StreamId = StreamId(3);

fn streams(events: usize, bytes: usize) -> Streams {
    Streams::new(
        bounds(events, bytes, true),
        Arc::new(Usage::default()),
        Share::new(Total::new(1 << 30), Arc::default()),
        None,
    )
}

fn bounds(events: usize, bytes: usize, resumable: bool) -> Bounds {
    let (unread_messages, unread_bytes) = (4096, 8 << 20);
    let (standing, in_flight, messages_waiting) = (16, 10, 64);
    Bounds { events, bytes, unread_messages, unread_bytes, standing, in_flight, messages_waiting, resumable }
}

fn frame(text: &str) -> Frame {
    Frame::new(text.to_owned().into())
}

fn message(text: &str) -> Payload {
    Payload::Message(frame(text))
}

fn response(text: &str) -> Payload {
    Payload::Response(frame(text))
}

impl Streams {
    /// Opens the stream of a POST with so many requests.
    fn post(&mut self, id: StreamId, requests: usize, form: PostForm) -> u64 {
        let room = self.usage.begin(requests, None).expect("unlimited");
        self.open_post(id, room, form)
    }

    fn give(&mut self, id: StreamId, payload: Payload) -> Option<Notice> {
        let effects = self.deliver(id, payload);
        let notice = effects.notice;
        effects.wake();
        notice
    }

    /// What is ready for a reader: `id text`, then `end` if that is all there will ever be.
    fn read(&mut self, id: StreamId, generation: u64) -> Vec<String> {
        let mut read = Vec::new();
        loop {
            match self.poll_event(id, generation, Waker::noop()) {
                std::task::Poll::Pending => return read,
                std::task::Poll::Ready(None) => {
                    read.push("end".to_owned());
                    return read;
                }
                std::task::Poll::Ready(Some(event)) => {
                    let text = String::from_utf8(event.frame.into_bytes().to_vec()).expect("text");
                    read.push(event.id.map_or_else(|| text.clone(), |id| format!("{id} {text}")));
                }
            }
        }
    }

    fn stand(&mut self, id: StreamId) -> u64 {
        let (generation, effects) = self.open_standing(id);
        effects.wake();
        generation
    }

    fn depart(&mut self, id: StreamId, generation: u64) {
        self.leave(id, generation).wake();
    }

    fn come_back(&mut self, last: &str) -> Result<u64, Reject> {
        let (generation, effects) = self.resume(last.parse().expect("an id"))?;
        effects.wake();
        Ok(generation)
    }

    fn is_empty(&self) -> bool {
        self.streams.is_empty()
            && self.standing.is_empty()
            && self.lost.is_empty()
            && self.pool.is_empty()
            && self.log.len() == 0
            && self.abandoned == Abandoned::default()
            && self.pending() == 0
            && self.readers == 0
    }
}

// spec: 2025-11-25 basic/transports, Multiple Connections 2
#[test]
fn standalone_message_goes_to_one_get_stream_the_newest() {
    let mut streams = streams(10, 1000);
    streams.give(StreamId::STANDALONE, message("kept until a stream is there"));
    let older = streams.stand(GET);
    assert_eq!(streams.read(GET, older), ["2-1 kept until a stream is there"]);
    let newer = streams.stand(NEWER_GET);
    streams.give(StreamId::STANDALONE, message("b"));
    assert!(streams.read(GET, older).is_empty());
    assert_eq!(streams.read(NEWER_GET, newer), ["3-1 b"]);
    streams.give(StreamId::STANDALONE, message("unsent when it broke"));
    streams.depart(NEWER_GET, newer);
    assert_eq!(streams.read(GET, older), ["2-2 unsent when it broke"]);
}

#[test]
fn post_that_died_unnamed_leaves_its_messages_to_the_standalone_side_and_nothing_else() {
    let mut streams = streams(10, 1000);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    streams.give(POST, message("progress"));
    streams.depart(POST, reader);
    assert!(!streams.is_busy(), "the client is gone");
    streams.give(POST, message("more"));
    streams.give(POST, response("for nobody"));
    assert!(streams.streams.is_empty());
    let get = streams.stand(GET);
    assert_eq!(streams.read(GET, get), ["2-1 progress", "2-2 more"]);
}

#[test]
fn messages_for_a_post_that_takes_only_json_go_to_the_standalone_side() {
    let mut streams = streams(10, 1000);
    let reader = streams.post(POST, 1, PostForm::AnswersOnly);
    streams.give(POST, message("progress"));
    assert!(streams.poll_head(POST, reader, false, Waker::noop()).is_pending());
    let get = streams.stand(GET);
    assert_eq!(streams.read(GET, get), ["2-1 progress"]);
}

// spec: 2025-11-25 basic/transports, Resumability and Redelivery 2
#[test]
fn resumed_stream_replays_what_came_after_then_the_unsent_then_goes_on_and_ends() {
    let mut streams = streams(10, 1000);
    let get = streams.stand(GET);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    for text in ["a", "b"] {
        streams.give(POST, message(text));
    }
    streams.give(StreamId::STANDALONE, message("of another stream"));
    assert_eq!(streams.read(POST, reader), ["1-1 a", "1-2 b"]);
    assert_eq!(streams.read(GET, get), ["2-1 of another stream"]);
    streams.depart(POST, reader);
    streams.give(POST, message("c"));
    let reader = streams.come_back("1-1").expect("kept");
    assert_eq!(streams.read(POST, reader), ["1-2 b", "1-3 c"]);
    streams.give(POST, response("answer"));
    assert_eq!(streams.read(POST, reader), ["1-4 answer", "end"]);
    streams.depart(POST, reader);
    let reader = streams.come_back("1-2").expect("finished, but kept");
    assert_eq!(streams.read(POST, reader), ["1-3 c", "1-4 answer", "end"]);
    let replacing = streams.come_back("1-3").expect("finished, but kept");
    assert_eq!(streams.read(POST, reader), ["end"], "replaced");
    assert_eq!(streams.read(POST, replacing), ["1-4 answer", "end"]);
    assert_eq!(streams.come_back("1-4"), Err(Reject::StreamEnded), "nothing to replay, nothing to come");
}

#[test]
fn primed_stream_is_resumed_before_its_first_message() {
    let mut streams = streams(10, 1000);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    assert_eq!(streams.begin_events(POST, reader, true), Some(EventId { stream: POST, number: 0 }));
    streams.depart(POST, reader);
    streams.give(POST, response("answer"));
    let reader = streams.come_back("1-0").expect("named");
    assert_eq!(streams.read(POST, reader), ["1-1 answer", "end"]);
}

#[test]
fn standing_stream_is_resumed_and_serves_again() {
    let mut streams = streams(10, 1000);
    let get = streams.stand(GET);
    streams.give(StreamId::STANDALONE, message("a"));
    assert_eq!(streams.read(GET, get), ["2-1 a"]);
    streams.depart(GET, get);
    streams.give(StreamId::STANDALONE, message("b"));
    let get = streams.come_back("2-0").expect("kept");
    assert_eq!(streams.read(GET, get), ["2-1 a", "2-2 b"]);
}

#[test]
fn event_that_cannot_be_gone_on_from_is_unknown() {
    let mut streams = streams(2, 1000);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    for text in ["a", "b", "c"] {
        streams.give(POST, message(text));
    }
    assert_eq!(streams.read(POST, reader).len(), 3);
    for unknown in ["1-0", "1-4", "9-1", "0-0"] {
        assert_eq!(streams.come_back(unknown), Err(Reject::EventUnknown), "{unknown}");
    }
    assert!(streams.come_back("1-1").is_ok());
    let quiet = streams.post(GET, 1, PostForm::Streamable);
    streams.depart(GET, quiet);
    assert_eq!(streams.come_back("2-0"), Err(Reject::EventUnknown), "no id of it was ever sent");
}

#[test]
fn abandoned_streams_give_up_messages_first_and_never_an_answer() {
    let mut streams = streams(100, 2000);
    let reader = streams.post(POST, 2, PostForm::Streamable);
    streams.begin_events(POST, reader, true);
    streams.depart(POST, reader);
    assert_eq!(streams.give(POST, message("an old notification")), None);
    let large = format!(r#"{{"jsonrpc":"2.0","id":"x","result":"{}"}}"#, "x".repeat(1500));
    assert_eq!(streams.give(POST, response(&large)), None);
    let larger = format!(r#"{{"jsonrpc":"2.0","id":"y","result":"{}"}}"#, "y".repeat(2500));
    assert_eq!(streams.give(POST, response(&larger)), Some(Notice::Dropped));
    let reader = streams.come_back("1-0").expect("named");
    let read = streams.read(POST, reader);
    assert_eq!(read.len(), 3, "{read:?}");
    assert!(read[0].ends_with(&large));
    assert!(read[1].contains(r#""id":"y""#) && read[1].contains("answer-not-kept"), "{}", read[1]);
}

#[test]
fn what_waits_for_a_standing_stream_is_bounded_oldest_out_first() {
    let mut streams = streams(3, 1000);
    for at in 0..5 {
        let notice = streams.give(StreamId::STANDALONE, message(&at.to_string()));
        assert_eq!(notice, (at >= 3).then_some(Notice::Dropped));
    }
    let get = streams.stand(GET);
    assert_eq!(streams.read(GET, get), ["2-1 2", "2-2 3", "2-3 4"]);
}

#[test]
fn nobody_is_told_that_nothing_is_kept_where_nothing_is_to_be() {
    let mut streams = streams(0, 0);
    assert_eq!(streams.give(StreamId::STANDALONE, message("for nobody")), None);
    assert!(streams.pool.is_empty());
}

#[test]
fn reader_that_does_not_keep_up_is_disconnected_and_its_answer_waits() {
    let mut streams = streams(4096, 100_000);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    streams.begin_events(POST, reader, true);
    for at in 0..4096 {
        assert_eq!(streams.give(POST, message(&at.to_string())), None);
    }
    let hits = limit_hits(Limit::UnreadMessagesMax);
    assert_eq!(streams.give(POST, message("one too many")), Some(Notice::SlowConsumer));
    assert!(limit_hits(Limit::UnreadMessagesMax) > hits);
    assert_eq!(streams.read(POST, reader), ["end"]);
    streams.give(POST, response("answer"));
    let reader = streams.come_back("1-0").expect("named");
    let read = streams.read(POST, reader);
    assert_eq!((read.len(), read[0].as_str(), read[4096].as_str()), (4098, "1-1 1", "1-4097 answer"));
}

#[test]
fn slow_standing_reader_hands_the_pool_to_the_one_before_it() {
    let mut streams = streams(4096, 100_000);
    let older = streams.stand(GET);
    let newer = streams.stand(NEWER_GET);
    for at in 0..4096 {
        streams.give(StreamId::STANDALONE, message(&at.to_string()));
    }
    assert_eq!(streams.give(StreamId::STANDALONE, message("4096")), Some(Notice::SlowConsumer));
    assert_eq!(streams.give(StreamId::STANDALONE, message("4097")), None, "the older one has time to take over");
    assert_eq!(streams.read(NEWER_GET, newer), ["end"]);
    let read = streams.read(GET, older);
    assert_eq!((read.len(), read[0].as_str()), (4098, "2-1 0"));
}

#[test]
fn message_is_not_held_against_its_reader_however_large_it_is() {
    let large = "x".repeat(9 << 20);
    let mut streams = streams(10, 1000);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    assert_eq!(streams.give(POST, message("small")), None);
    assert_eq!(streams.give(POST, message(&large)), None);
    assert_eq!(streams.give(POST, response("answer")), None);
    let read: Vec<_> = streams.read(POST, reader).iter().map(String::len).collect();
    assert_eq!(read, [9, large.len() + 4, 10, 3]);

    let get = streams.stand(GET);
    assert_eq!(streams.give(StreamId::STANDALONE, message(&large)), None);
    assert_eq!(streams.read(GET, get), [format!("2-1 {large}")]);
    // Two of them are another matter.
    let hits = limit_hits(Limit::UnreadBytesMax);
    for (text, notice) in [(&large, None), (&"small".to_owned(), None), (&large, Some(Notice::SlowConsumer))] {
        assert_eq!(streams.give(StreamId::STANDALONE, message(text)), notice);
    }
    assert!(limit_hits(Limit::UnreadBytesMax) > hits);
    assert_eq!(streams.read(GET, get), ["end"]);
}

#[test]
fn client_of_everything_that_never_reads_answers_is_a_slow_session() {
    let mut streams = Streams::new(
        Bounds { unread_messages: 1024, ..bounds(10, 1000, false) },
        Arc::new(Usage::default()),
        Share::new(Total::new(1 << 30), Arc::default()),
        None,
    );
    let _reader = streams.open_everything();
    let hits = limit_hits(Limit::UnreadMessagesMax);
    let mut notice = None;
    for _ in 0..1025 {
        assert!(
            notice.is_none() && streams.expect(StreamId::STANDALONE, streams.admit(Asked::Requests(1)).expect("room"))
        );
        notice = streams.give(StreamId::STANDALONE, response("{}"));
    }
    assert_eq!(notice, Some(Notice::SlowSession));
    assert!(limit_hits(Limit::UnreadMessagesMax) > hits);
}

#[test]
fn standing_streams_are_bounded_and_the_oldest_ends() {
    let mut streams = streams(10, 1000);
    let hits = limit_hits(Limit::StreamsMax);
    let readers: Vec<_> = (10..27).map(|id| (StreamId(id), streams.stand(StreamId(id)))).collect();
    let (first, generation) = readers[0];
    assert_eq!(streams.read(first, generation), ["end"]);
    assert_eq!((streams.standing.len(), streams.readers, streams.streams.len()), (16, 16, 16));
    assert!(limit_hits(Limit::StreamsMax) > hits);
    let (last, generation) = readers[16];
    streams.give(StreamId::STANDALONE, message("a"));
    assert_eq!(streams.read(last, generation), ["26-1 a"]);
}

#[test]
fn lost_streams_are_bounded() {
    let mut streams = streams(10, 1000);
    for at in 0..2000 {
        let id = StreamId(10 + at);
        let reader = if at % 2 == 0 { streams.stand(id) } else { streams.post(id, 1, PostForm::Streamable) };
        streams.begin_events(id, reader, true);
        streams.depart(id, reader);
        streams.give(id, response("answer"));
    }
    assert!(streams.streams.len() <= LOST_STREAMS_MAX + 1, "{}", streams.streams.len());
    assert_eq!(streams.come_back("11-0"), Err(Reject::EventUnknown));
    assert!(streams.come_back("2009-0").is_ok());
}

#[test]
fn cancelled_request_ends_its_stream_without_an_answer() {
    let mut streams = streams(10, 1000);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    streams.give(POST, Payload::Cancelled);
    let head = streams.poll_head(POST, reader, false, Waker::noop());
    assert!(matches!(head, std::task::Poll::Ready(Head::Answers(answers, _)) if answers.is_empty()));
    streams.depart(POST, reader);
    assert!(streams.is_empty());
}

/// What a random run does; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Op {
    Post(PostForm, usize),
    Get,
    Begin(usize),
    Message(usize),
    Settle(usize, bool),
    Read(usize),
    Leave(usize),
    Resume(usize),
    EndStanding,
}

fn op() -> impl Strategy<Value = Op> {
    let form = prop_oneof![3 => Just(PostForm::Streamable), 1 => Just(PostForm::AnswersOnly)];
    prop_oneof![
        4 => (form, 1usize..3).prop_map(|(form, requests)| Op::Post(form, requests)),
        2 => Just(Op::Get),
        2 => any::<usize>().prop_map(Op::Begin),
        8 => any::<usize>().prop_map(Op::Message),
        6 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(at, answered)| Op::Settle(at, answered)),
        8 => any::<usize>().prop_map(Op::Read),
        4 => any::<usize>().prop_map(Op::Leave),
        4 => any::<usize>().prop_map(Op::Resume),
        1 => Just(Op::EndStanding),
    ]
}

#[derive(Default)]
struct World {
    /// Readers: stream, generation, whether JSON is all its client takes.
    readers: Vec<(StreamId, u64, bool)>,
    /// Streams whose first reader left or was replaced.
    left: HashSet<StreamId>,
    /// Answers given, by stream.
    answers: Vec<(StreamId, String)>,
    /// In flight, by stream.
    pending: Vec<StreamId>,
    last_stream: u64,
    last_text: u64,
    /// Texts by event id, and event ids by text: each has one.
    text_of: HashMap<(u64, u64), String>,
    read: HashMap<String, String>,
    last_id: Vec<EventId>,
}

impl World {
    /// Reads what is ready for a reader.
    fn read(&mut self, streams: &mut Streams, (id, generation, json): (StreamId, u64, bool), resumable: bool) {
        let text = |frame: Frame| String::from_utf8(frame.into_bytes().to_vec()).expect("text");
        if json {
            let head = streams.poll_head(id, generation, false, Waker::noop());
            if let std::task::Poll::Ready(Head::Answers(answers, _)) = head {
                for text in answers.into_iter().map(|answer| text(answer.into_frame())) {
                    assert!(text.ends_with(&format!(" of {}", id.0)), "an answer crossed over");
                    assert_eq!(self.read.insert(text, "json".to_owned()), None, "delivered twice");
                }
            }
            return;
        }
        while let std::task::Poll::Ready(Some(event)) = streams.poll_event(id, generation, Waker::noop()) {
            let text = text(event.frame);
            assert!(!text.starts_with('a') || text.ends_with(&format!(" of {}", id.0)), "an answer crossed over");
            let Some(event) = event.id else {
                assert_eq!(self.read.insert(text, "live".to_owned()), None, "delivered twice");
                continue;
            };
            assert!(resumable && event.stream == id);
            let known = self.text_of.entry((event.stream.0, event.number)).or_insert_with(|| text.clone());
            assert_eq!(*known, text);
            let known = self.read.entry(text).or_insert_with(|| event.to_string());
            assert_eq!(*known, event.to_string(), "delivered twice");
            self.last_id.push(event);
        }
    }
}

proptest! {
    /// Nothing is delivered under two ids, nor on two streams; who stays gets every answer; bounds hold; once all is
    /// settled, gone and closed, nothing is left.
    #[test]
    fn random_runs_keep_the_invariants(ops in proptest::collection::vec(op(), 1..150), resumable: bool) {
        let mut streams = Streams::new(bounds(5, 60, resumable), Arc::new(Usage::default()), Share::new(Total::new(1 << 30), Arc::default()), None);
        let mut world = World::default();
        for op in ops {
            match op {
                Op::Post(form, requests) => {
                    world.last_stream += 1;
                    let id = StreamId(world.last_stream);
                    let generation = streams.post(id, requests, form);
                    world.readers.push((id, generation, form == PostForm::AnswersOnly));
                    world.pending.extend(std::iter::repeat_n(id, requests));
                }
                Op::Get if !streams.is_ending() => {
                    world.last_stream += 1;
                    let id = StreamId(world.last_stream);
                    world.readers.push((id, streams.stand(id), false));
                }
                Op::Get => {}
                Op::Begin(at) if !world.readers.is_empty() => {
                    let (id, generation, json) = world.readers[at % world.readers.len()];
                    if !json && let Some(event) = streams.begin_events(id, generation, true) {
                        prop_assert!(resumable);
                        world.last_id.push(event);
                    }
                }
                Op::Message(at) => {
                    world.last_text += 1;
                    let id = StreamId(at as u64 % (world.last_stream + 1));
                    streams.give(id, message(&format!("m{}", world.last_text)));
                }
                Op::Settle(at, answered) if !world.pending.is_empty() => {
                    let id = world.pending.swap_remove(at % world.pending.len());
                    world.last_text += 1;
                    let text = format!("a{} of {}", world.last_text, id.0);
                    if answered {
                        world.answers.push((id, text.clone()));
                    }
                    streams.give(id, if answered { response(&text) } else { Payload::Cancelled });
                }
                Op::Read(at) if !world.readers.is_empty() => {
                    let reader = world.readers[at % world.readers.len()];
                    world.read(&mut streams, reader, resumable);
                }
                Op::Leave(at) if !world.readers.is_empty() => {
                    let (id, generation, _) = world.readers.swap_remove(at % world.readers.len());
                    world.left.insert(id);
                    streams.depart(id, generation);
                }
                Op::Resume(at) if !world.last_id.is_empty() => {
                    let last = world.last_id[at % world.last_id.len()];
                    if let Ok((generation, effects)) = streams.resume(last) {
                        effects.wake();
                        world.left.insert(last.stream);
                        world.readers.push((last.stream, generation, false));
                    }
                }
                Op::EndStanding => streams.end_standing().wake(),
                Op::Begin(_) | Op::Settle(..) | Op::Read(_) | Op::Leave(_) | Op::Resume(_) => {}
            }
            prop_assert_eq!(streams.pending(), world.pending.len());
            let waiting: usize = streams
                .streams
                .values()
                .filter(|stream| stream.reader.is_none())
                .map(|stream| stream.queue.messages())
                .sum();
            prop_assert!(waiting <= 5 && streams.log.len() <= 5);
            prop_assert!(!streams.standing.is_empty() || streams.pool.messages() <= 5);
            let (abandoned, bytes) = (streams.abandoned.messages, streams.abandoned.bytes);
            prop_assert_eq!(abandoned, waiting);
            prop_assert_eq!(bytes, streams.streams.values().map(|stream| stream.abandoned().bytes).sum::<usize>());
            prop_assert_eq!(streams.readers, streams.streams.values().filter(|stream| stream.reader.is_some()).count());
        }
        for id in std::mem::take(&mut world.pending) {
            world.last_text += 1;
            let text = format!("a{} of {}", world.last_text, id.0);
            streams.give(id, response(&text));
            world.answers.push((id, text));
        }
        for reader in world.readers.clone() {
            world.read(&mut streams, reader, resumable);
        }
        for (id, text) in &world.answers {
            prop_assert!(world.left.contains(id) || world.read.contains_key(text), "{text} was not delivered");
        }
        let owed = world.last_stream + 1;
        streams.post(StreamId(owed), 1, PostForm::Streamable);
        world.readers.push((StreamId(owed), streams.generation, false));
        world.pending.push(StreamId(owed));
        streams.close().wake();
        for id in world.pending.drain(..) {
            streams.give(id, Payload::Rejected(RawId::from_json("1"), Reject::SessionClosed));
        }
        for (id, generation, _) in world.readers.drain(..) {
            streams.depart(id, generation);
        }
        prop_assert!(streams.is_empty(), "{streams:?}");
    }
}

#[test]
fn stream_whose_request_was_cancelled_is_not_resumed_from_its_end() {
    let mut streams = streams(10, 1000);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    streams.begin_events(POST, reader, true);
    streams.give(POST, message("one"));
    streams.give(POST, message("two"));
    assert_eq!(streams.read(POST, reader), ["1-1 one", "1-2 two"]);
    streams.give(POST, Payload::Cancelled);
    assert_eq!(streams.read(POST, reader), ["end"]);
    let reader = streams.come_back("1-1").expect("there is something after it");
    assert_eq!(streams.read(POST, reader), ["1-2 two", "end"]);
    assert_eq!(streams.come_back("1-2"), Err(Reject::StreamEnded));
}

#[test]
fn what_is_sent_and_what_is_kept_are_the_same_bytes() {
    let mut streams = streams(10, 1000);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    let source: bytes::Bytes = "{\"id\":1}".to_owned().into();
    let edited = Frame::new(source).replace(crate::jsonrpc::Span { start: 6, end: 7 }, "22");
    streams.give(POST, Payload::Message(edited));
    let std::task::Poll::Ready(Some(event)) = streams.poll_event(POST, reader, Waker::noop()) else {
        panic!("there is one");
    };
    let kept = streams.log.event(event.id.expect("resumable")).expect("kept").clone().into_bytes();
    let sent = event.frame.into_bytes();
    assert_eq!((&sent[..], sent.as_ptr()), (&b"{\"id\":22}"[..], kept.as_ptr()));
}

#[test]
fn stderr_lines_of_an_exited_child_count_and_give_way() {
    let mut streams = streams(100, 2000);
    let reader = streams.post(POST, 2, PostForm::Streamable);
    streams.begin_events(POST, reader, true);
    streams.depart(POST, reader);
    let exited = |id: &str| {
        let stderr = vec!["x".repeat(1500)];
        let reject = Reject::ChildExited {
            status: "exit status: 3".into(),
            exit_code: Some(3),
            signal: None,
            stderr: stderr.into(),
        };
        Payload::Rejected(RawId::from_json(id), reject)
    };
    assert_eq!(streams.give(POST, exited("1")), None);
    assert_eq!(streams.give(POST, exited("2")), Some(Notice::AnswerNotKept));
    let reader = streams.come_back("1-0").expect("named");
    let read = streams.read(POST, reader);
    assert!(read[0].contains("child-exited") && read[1].contains(r#""id":2"#) && read[1].contains("answer-not-kept"));
}

#[test]
fn id_of_a_large_answer_is_found_without_reading_it() {
    let mut streams = streams(100, 2000);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    streams.begin_events(POST, reader, true);
    streams.depart(POST, reader);
    // Were it read, it would be found not to be JSON.
    let source = format!(r#"{{"jsonrpc":"2.0","id":8,"result":{}"#, "x".repeat(2500));
    let answer = Frame::new(source.into()).replace(crate::jsonrpc::Span { start: 22, end: 23 }, r#""mine""#);
    assert_eq!(streams.give(POST, Payload::Response(answer)), Some(Notice::AnswerNotKept));
    let reader = streams.come_back("1-0").expect("named");
    assert!(streams.read(POST, reader)[0].contains(r#""id":"mine""#));
}

#[test]
fn what_is_given_up_is_handed_on() {
    let given_up = |mut effects: Effects| {
        let dropped = std::mem::take(&mut effects.dropped);
        effects.wake();
        dropped
            .into_iter()
            .map(|frame| String::from_utf8(frame.into_bytes().to_vec()).expect("text"))
            .collect::<Vec<_>>()
    };
    let mut streams = streams(1, 1000);
    assert_eq!(given_up(streams.deliver(StreamId::STANDALONE, message("a"))), [""; 0]);
    assert_eq!(given_up(streams.deliver(StreamId::STANDALONE, message("b"))), ["a"]);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    streams.begin_events(POST, reader, true);
    streams.depart(POST, reader);
    assert_eq!(given_up(streams.deliver(POST, message("c"))), [""; 0]);
    assert_eq!(given_up(streams.deliver(POST, message("d"))), ["c"]);
    for at in 0..256 {
        let id = StreamId(10 + at);
        let reader = streams.post(id, 1, PostForm::Streamable);
        streams.begin_events(id, reader, true);
        let dropped = given_up(streams.leave(id, reader));
        assert_eq!(dropped.len(), usize::from(at == 255), "{at}: {dropped:?}");
    }
}
