//! What all sessions together leave unread, as their streams keep it.

use super::*;
use crate::session::Held;
use crate::session::queue::SMALL_BYTES_MAX;

/// Streams of sessions that share a total of so many bytes, each of an account of its own.
fn sessions<const N: usize>(bytes_max: usize) -> (Arc<Total>, [Streams; N]) {
    let total = Total::new(bytes_max);
    let streams = std::array::from_fn(|_| session_of(&Arc::default(), &total));
    (total, streams)
}

/// Streams of a session of this account.
fn session_of(account: &Arc<Usage>, total: &Arc<Total>) -> Streams {
    let share = Share::new(Arc::clone(total), Arc::clone(account));
    Streams::new(bounds(100, 100_000, true), Arc::clone(account), share, None)
}

fn answer(length: usize) -> Payload {
    response(&format!(r#"{{"jsonrpc":"2.0","id":"x","result":"{}"}}"#, "x".repeat(length)))
}

/// The answers to a POST that is answered as JSON, and what is held for them.
#[track_caller]
fn answers(streams: &mut Streams, id: StreamId, generation: u64) -> (Vec<String>, Held) {
    let std::task::Poll::Ready(Head::Answers(answers, held)) = streams.poll_head(id, generation, false, Waker::noop())
    else {
        panic!("all are there");
    };
    let text = |answer: Answer| String::from_utf8(answer.into_frame().into_bytes().to_vec()).expect("text");
    (answers.into_iter().map(text).collect(), held)
}

#[test]
fn a_reader_that_takes_what_it_is_given_is_sent_what_is_small_whatever_there_is_room_for() {
    let (total, [mut streams]) = sessions(10);
    let get = streams.stand(GET);
    let post = streams.post(POST, 1, PostForm::Streamable);
    assert!(streams.read(GET, get).is_empty() && streams.read(POST, post).is_empty(), "they wait");
    for _ in 0..3 {
        assert_eq!(streams.give(StreamId::STANDALONE, message("more than ten bytes")), None);
        assert_eq!(streams.give(POST, message("more than ten bytes")), None);
        assert_eq!(total.bytes(), 0);
        assert_eq!((streams.read(GET, get).len(), streams.read(POST, post).len()), (1, 1));
    }
    for id in [StreamId::STANDALONE, POST] {
        assert_eq!(streams.give(id, message("more than ten bytes")), None);
        assert_eq!(streams.give(id, message("once it is woken")), Some(Notice::Dropped));
        assert_eq!(streams.give(id, message("x")), None);
    }
    assert_eq!(
        (streams.read(GET, get), streams.read(POST, post)),
        (vec!["2-4 x".to_owned()], vec!["1-4 x".to_owned()])
    );
    assert_eq!(total.bytes(), 0);
}

#[test]
fn whoever_leaves_most_unread_loses_its_oldest_and_the_others_go_on() {
    let (total, [mut hog, mut other]) = sessions(1500);
    let (slow, honest) = (hog.post(POST, 1, PostForm::Streamable), other.post(POST, 1, PostForm::Streamable));
    let hits = limit_hits(Limit::UnreadTotalBytesMax);
    for number in 1..=5 {
        assert_eq!(hog.give(POST, message(&format!("{number:0100}"))), None);
    }
    assert_eq!(total.bytes(), 500);
    for _ in 0..2 {
        assert_eq!(other.give(POST, message(&"x".repeat(100))), None);
    }
    assert_eq!(hog.give(POST, message(&format!("{:0100}", 6))), Some(Notice::Dropped));
    assert!(limit_hits(Limit::UnreadTotalBytesMax) > hits);
    assert_eq!(other.read(POST, honest).len(), 2);
    // Its stream goes on, with what there was room for.
    assert_eq!(hog.give(POST, answer(10)), Some(Notice::Dropped));
    let read = hog.read(POST, slow);
    assert!(read[0].ends_with("03") || read[0].ends_with("04"), "{read:?}");
    assert!(read[read.len() - 2].contains("xxxxxxxxxx") && read[read.len() - 1] == "end", "{read:?}");
    assert_eq!(total.bytes(), 0);
}

#[test]
fn an_account_with_many_sessions_leaves_room_for_those_of_others() {
    let (total, account) = (Total::new(30_000), Arc::default());
    let mut hogs: Vec<_> = (0..100).map(|_| session_of(&account, &total)).collect();
    for round in 0..3 {
        for hog in &mut hogs {
            hog.give(StreamId::STANDALONE, message(&format!("{round:01000}")));
        }
    }
    assert!(total.bytes() > 14_000 && total.bytes() <= 15_000, "{}", total.bytes());
    let mut honest = session_of(&Arc::default(), &total);
    let everything = honest.open_everything();
    let post = honest.post(POST, 2, PostForm::Streamable);
    let json = honest.post(GET, 1, PostForm::AnswersOnly);
    assert!(honest.expect(StreamId::STANDALONE, honest.admit(Asked::Requests(1)).expect("room")));
    for id in [StreamId::STANDALONE, POST] {
        assert_eq!(honest.give(id, message("one")), None);
        assert_eq!(honest.give(id, message("two")), None);
    }
    for id in [StreamId::STANDALONE, POST, GET] {
        // Also one that comes before its reader has looked for the first time.
        assert_eq!(honest.give(id, answer(1000)), None);
    }
    assert_eq!(honest.read(StreamId::STANDALONE, everything).len(), 3);
    assert_eq!(honest.read(POST, post).len(), 3);
    assert!(answers(&mut honest, GET, json).0[0].len() > 1000);
}

#[test]
fn a_large_answer_beyond_the_total_is_replaced_and_a_small_one_never_is() {
    let (total, [mut streams]) = sessions(30_000);
    let reader = streams.post(POST, 3, PostForm::Streamable);
    let hits = limit_hits(Limit::UnreadTotalBytesMax);
    assert_eq!(streams.give(POST, answer(9000)), None);
    assert_eq!(streams.give(POST, answer(9000)), Some(Notice::AnswerNotKept));
    assert_eq!(streams.give(POST, answer(10)), None);
    assert!(limit_hits(Limit::UnreadTotalBytesMax) > hits && total.bytes() <= 30_000);
    let (texts, held) = answers(&mut streams, POST, reader);
    let replaced = texts.iter().map(|text| text.contains("answer-not-kept"));
    assert_eq!(replaced.collect::<Vec<_>>(), [false, true, false]);
    assert!(total.bytes() > 9000, "it is on its way");
    drop(held);
    assert_eq!(total.bytes(), 0);
}

#[test]
fn an_answer_that_is_not_large_gets_through_whatever_came_before_it() {
    let (_total, [mut streams]) = sessions(600);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    assert_eq!(streams.give(POST, message("progress")), None);
    assert_eq!(streams.give(POST, answer(1000)), Some(Notice::Dropped));
    assert!(answers(&mut streams, POST, reader).0[0].len() > 1000);
}

#[test]
fn a_large_answer_without_room_costs_no_messages() {
    let (_total, [mut streams]) = sessions(30_000);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    for _ in 0..3 {
        assert_eq!(streams.give(POST, message(&"x".repeat(100))), None);
    }
    assert_eq!(streams.give(POST, answer(20_000)), Some(Notice::AnswerNotKept));
    let read = streams.read(POST, reader);
    assert!(read.len() == 5 && read[3].contains("answer-not-kept"), "{read:?}");
}

#[test]
fn what_is_on_its_way_to_a_client_is_of_the_total_until_it_has_gone() {
    let (total, [mut streams]) = sessions(30_000);
    let get = streams.stand(GET);
    assert_eq!(streams.give(StreamId::STANDALONE, message(&"x".repeat(9000))), None);
    let std::task::Poll::Ready(Some(event)) = streams.poll_event(GET, get, Waker::noop()) else {
        panic!("it is there")
    };
    assert_eq!(total.bytes(), 9000);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    assert_eq!(streams.give(POST, answer(9000)), Some(Notice::AnswerNotKept));
    assert!(answers(&mut streams, POST, reader).0[0].contains("answer-not-kept"));
    // What was sent is sent once more, also where there is no room for that.
    let again = streams.come_back("2-0").expect("named");
    assert_eq!(streams.read(GET, again).len(), 1);
    let other = session_of(&Arc::default(), &total);
    let mut hog = Held::default();
    assert!(hog.grow(5000, &other.share));
    drop(event);
    assert_eq!(total.bytes(), 5000);
}

#[test]
fn what_waits_for_the_rest_of_a_batch_is_of_the_total() {
    let (total, [mut streams]) = sessions(40_000);
    let reader = streams.post(POST, 2, PostForm::AnswersOnly);
    for _ in 0..2 {
        assert!(streams.poll_head(POST, reader, false, Waker::noop()).is_pending());
        streams.give(POST, answer(9000));
        assert!(total.bytes() > 9000);
    }
}

#[test]
fn what_comes_for_an_exchange_that_is_parked_is_of_the_total() {
    let (total, [mut streams]) = sessions(2000);
    let reader = streams.post(POST, 1, PostForm::Streamable);
    assert!(streams.poll_item(POST, reader, Waker::noop()).is_pending());
    streams.attend(POST, reader, Attention::Lasting).wake();
    let question = |length: usize| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "q".repeat(length));
    assert_eq!(streams.give(POST, message(&question(500))), None);
    assert!(total.bytes() > 500);
    assert_eq!(streams.give(POST, message(&question(1500))), Some(Notice::Dropped));
    assert_eq!(total.bytes(), 0);
}

#[test]
fn a_client_of_everything_that_leaves_more_than_its_share_keeps_its_session() {
    let (_total, [mut streams]) = sessions(30_000);
    let reader = streams.open_everything();
    let mut notices = Vec::new();
    for _ in 0..2 {
        assert!(streams.expect(StreamId::STANDALONE, streams.admit(Asked::Requests(1)).expect("room")));
        notices.push(streams.give(StreamId::STANDALONE, answer(9000)));
    }
    assert_eq!(notices, [None, Some(Notice::AnswerNotKept)]);
    assert_eq!(streams.read(StreamId::STANDALONE, reader).len(), 2);
}

#[test]
fn what_waits_for_clients_that_are_not_there_is_of_the_total_oldest_out_first() {
    let (total, [mut streams]) = sessions(30);
    assert_eq!(streams.give(StreamId::STANDALONE, message("first one ")), None);
    assert_eq!(streams.give(StreamId::STANDALONE, message("second one")), Some(Notice::Dropped));
    assert_eq!(total.bytes(), 10);
    let get = streams.stand(GET);
    assert_eq!(streams.read(GET, get), ["2-1 second one"]);
    assert_eq!(total.bytes(), 0);
}

/// What a random run does, to one of the sessions.
#[derive(Clone, Debug)]
enum Step {
    Post,
    Get,
    Message(usize, usize),
    Answer(usize, usize),
    Read(usize),
    /// One event, into the body of its response.
    Take(usize),
    /// As JSON, likewise.
    Head(usize),
    /// The connection has sent what was taken first.
    Send,
    Park(usize),
    Leave(usize),
    Resume(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let (at, length) = (any::<usize>, || prop_oneof![3 => 1usize..100, 1 => 500usize..3000, 1 => 8000usize..20_000]);
    prop_oneof![
        3 => Just(Step::Post),
        2 => Just(Step::Get),
        10 => (at(), length()).prop_map(|(at, length)| Step::Message(at, length)),
        6 => (at(), length()).prop_map(|(at, length)| Step::Answer(at, length)),
        4 => at().prop_map(Step::Read),
        4 => at().prop_map(Step::Take),
        4 => at().prop_map(Step::Head),
        3 => Just(Step::Send),
        1 => at().prop_map(Step::Park),
        3 => at().prop_map(Step::Leave),
        3 => at().prop_map(Step::Resume),
        1 => Just(Step::Close),
    ]
}

proptest! {
    /// Whatever is given, taken, sent, parked, left, resumed and closed: never more than the total is held; all that is in a
    /// queue or on its way is held, but for small answers that there was no room for, and one small thing that its reader
    /// was woken for; and in the end nothing is.
    #[test]
    fn never_more_than_the_total_is_held(steps in proptest::collection::vec((0usize..4, step()), 1..200)) {
        let total = Total::new(40_000);
        let accounts = [Arc::default(), Arc::default()];
        let mut sessions: [_; 4] = std::array::from_fn(|at| session_of(&accounts[at / 2], &total));
        let mut readers: [Vec<(StreamId, u64)>; 4] = Default::default();
        let mut sent = Vec::new();
        let mut last_stream = 0;
        for (session, step) in steps {
            let (streams, readers) = (&mut sessions[session], &mut readers[session]);
            match step {
                Step::Post => {
                    last_stream += 1;
                    let id = StreamId(last_stream);
                    let generation = streams.post(id, 5, PostForm::Streamable);
                    streams.begin_events(id, generation, last_stream % 2 == 0);
                    readers.push((id, generation));
                }
                Step::Get => {
                    last_stream += 1;
                    readers.push((StreamId(last_stream), streams.stand(StreamId(last_stream))));
                }
                Step::Message(at, length) => {
                    let id = if at % 3 == 0 { StreamId::STANDALONE } else { StreamId(at as u64 % (last_stream + 1)) };
                    streams.give(id, message(&"m".repeat(length)));
                }
                Step::Answer(at, length) => {
                    streams.give(StreamId(at as u64 % (last_stream + 1)), answer(length));
                }
                Step::Read(at) if !readers.is_empty() => {
                    let (id, generation) = readers[at % readers.len()];
                    streams.read(id, generation);
                }
                Step::Take(at) if !readers.is_empty() => {
                    let (id, generation) = readers[at % readers.len()];
                    if let std::task::Poll::Ready(Some(event)) = streams.poll_event(id, generation, Waker::noop()) {
                        // One that is kept for replay is there anyway; where there is no room it is not held once more.
                        let kept = event.id.is_some_and(|id| streams.log.event(id).is_some());
                        let whole = event.held.bytes() == event.frame.len();
                        prop_assert!(whole || event.frame.len() <= SMALL_BYTES_MAX || kept && event.held.bytes() == 0);
                        sent.push(event.held);
                    }
                }
                Step::Head(at) if !readers.is_empty() => {
                    let (id, generation) = readers[at % readers.len()];
                    let head = streams.poll_head(id, generation, false, Waker::noop());
                    if let std::task::Poll::Ready(Head::Answers(_, held)) = head {
                        sent.push(held);
                    }
                }
                Step::Send => sent.truncate(sent.len().saturating_sub(1)),
                Step::Park(at) if !readers.is_empty() => {
                    let (id, generation) = readers[at % readers.len()];
                    streams.attend(id, generation, Attention::Lasting).wake();
                }
                Step::Leave(at) if !readers.is_empty() => {
                    let (id, generation) = readers.swap_remove(at % readers.len());
                    streams.depart(id, generation);
                }
                Step::Resume(at) => {
                    let last = EventId { stream: StreamId(at as u64 % (last_stream + 1)), number: 0 };
                    if let Ok((generation, effects)) = streams.resume(last) {
                        effects.wake();
                        readers.push((last.stream, generation));
                    }
                }
                Step::Close => streams.close().wake(),
                Step::Read(_) | Step::Take(_) | Step::Head(_) | Step::Park(_) | Step::Leave(_) => {}
            }
            prop_assert!(total.bytes() <= 40_000);
            let mut held = sent.iter().map(Held::bytes).sum::<usize>();
            for streams in &sessions {
                for stream in streams.streams.values() {
                    let queue = &stream.queue;
                    held += queue.held();
                    let small_answers = queue.messages() == 0 && queue.newest_answer_above(stream.small_answer_bytes()).is_none();
                    let passes = stream.reader.is_some() && queue.is_one_small();
                    let there = queue.message_bytes() + queue.answer_bytes();
                    prop_assert!(queue.held() == there || queue.is_over() && (small_answers || passes));
                }
                held += streams.pool.held();
                let passes = !streams.standing.is_empty() && streams.pool.is_one_small();
                prop_assert!(passes || streams.pool.held() == streams.pool.message_bytes());
            }
            prop_assert_eq!(total.bytes(), held);
        }
        drop((sessions, sent));
        prop_assert_eq!(total.bytes(), 0);
    }
}
