//! What all sessions together leave unread, as their streams keep it.

use super::*;

/// Streams of sessions that share a total of so many bytes.
fn sessions<const N: usize>(bytes_max: usize) -> (Arc<Total>, [Streams; N]) {
    let total = Total::new(bytes_max);
    let streams = std::array::from_fn(|_| {
        let share = Share::new(Arc::clone(&total));
        Streams::new(bounds(100, 100_000, true), Arc::new(Usage::default()), share, None)
    });
    (total, streams)
}

fn answer(length: usize) -> Payload {
    response(&format!(r#"{{"jsonrpc":"2.0","id":"x","result":"{}"}}"#, "x".repeat(length)))
}

#[test]
fn a_reader_that_takes_what_it_is_given_holds_nothing_of_the_total() {
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
}

#[test]
fn whoever_leaves_most_unread_is_cut_and_the_others_go_on() {
    let (total, [mut hog, mut other]) = sessions(1000);
    let (slow, honest) = (hog.post(POST, 1, PostForm::Streamable), other.post(POST, 1, PostForm::Streamable));
    hog.begin_events(POST, slow, true);
    let hits = limit_hits(Limit::UnreadTotalBytesMax);
    let hundred = "x".repeat(100);
    for _ in 0..5 {
        assert_eq!(hog.give(POST, message(&hundred)), None);
    }
    assert_eq!(total.bytes(), 500);
    for _ in 0..2 {
        assert_eq!(other.give(POST, message(&hundred)), None);
    }
    assert_eq!(hog.give(POST, message(&hundred)), Some(Notice::SlowConsumer));
    assert!(limit_hits(Limit::UnreadTotalBytesMax) > hits);
    assert_eq!(hog.read(POST, slow), ["end"]);
    assert_eq!(other.read(POST, honest).len(), 2);
    // It can be resumed, with what there is room for.
    let slow = hog.come_back("1-0").expect("named");
    assert_eq!(hog.read(POST, slow).len(), 5);
    assert_eq!(total.bytes(), 0);
}

#[test]
fn a_large_answer_beyond_the_total_is_replaced_and_a_small_one_never_is() {
    let (total, [mut streams]) = sessions(2000);
    let reader = streams.post(POST, 3, PostForm::Streamable);
    let hits = limit_hits(Limit::UnreadTotalBytesMax);
    assert_eq!(streams.give(POST, answer(900)), None);
    assert_eq!(streams.give(POST, answer(900)), Some(Notice::AnswerNotKept));
    assert_eq!(streams.give(POST, answer(10)), None);
    assert!(limit_hits(Limit::UnreadTotalBytesMax) > hits && total.bytes() <= 2000);
    let std::task::Poll::Ready(Head::Answers(answers)) = streams.poll_head(POST, reader, false, Waker::noop()) else {
        panic!("all are there");
    };
    let texts: Vec<_> = answers.into_iter().map(|answer| answer.into_frame().into_bytes()).collect();
    let replaced = texts.iter().map(|text| text.windows(15).any(|part| part == b"answer-not-kept"));
    assert_eq!(replaced.collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(total.bytes(), 0);
}

#[test]
fn a_client_of_everything_that_leaves_more_than_its_share_is_a_slow_session() {
    let (_total, [mut streams]) = sessions(2000);
    let _reader = streams.open_everything();
    let mut notices = Vec::new();
    for _ in 0..2 {
        assert!(streams.expect(StreamId::STANDALONE, streams.admit(Asked::Requests(1)).expect("room")));
        notices.push(streams.give(StreamId::STANDALONE, answer(900)));
    }
    assert_eq!(notices, [None, Some(Notice::SlowSession)]);
}

#[test]
fn what_waits_for_clients_that_are_not_there_is_of_the_total_oldest_out_first() {
    let (total, [mut streams]) = sessions(20);
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
    Leave(usize),
    Resume(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let (at, length) = (any::<usize>, || prop_oneof![3 => 1usize..100, 1 => 500usize..3000]);
    prop_oneof![
        3 => Just(Step::Post),
        2 => Just(Step::Get),
        10 => (at(), length()).prop_map(|(at, length)| Step::Message(at, length)),
        6 => (at(), length()).prop_map(|(at, length)| Step::Answer(at, length)),
        6 => at().prop_map(Step::Read),
        3 => at().prop_map(Step::Leave),
        3 => at().prop_map(Step::Resume),
        1 => Just(Step::Close),
    ]
}

proptest! {
    /// Whatever is given, read, left, resumed and closed: never more than the total is held, all that is kept for readers
    /// who are behind is (but for small answers that there was no room for), and in the end nothing is.
    #[test]
    fn never_more_than_the_total_is_held(steps in proptest::collection::vec((0usize..3, step()), 1..150)) {
        let (total, mut sessions) = sessions::<3>(4000);
        let mut readers: [Vec<(StreamId, u64)>; 3] = Default::default();
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
                Step::Read(_) | Step::Leave(_) => {}
            }
            prop_assert!(total.bytes() <= 4000);
            let mut held = 0;
            for streams in &sessions {
                for stream in streams.streams.values() {
                    let queue = &stream.queue;
                    held += queue.held();
                    let small_answers = queue.messages() == 0 && queue.newest_large_answer().is_none();
                    prop_assert!(!queue.is_over() || small_answers);
                    let there = queue.message_bytes() + queue.answer_bytes();
                    prop_assert!(stream.reader.is_some() || queue.is_over() || queue.held() == there);
                }
                held += streams.pool.held();
                prop_assert!(!streams.pool.is_over());
                prop_assert!(!streams.standing.is_empty() || streams.pool.held() == streams.pool.message_bytes());
            }
            prop_assert_eq!(total.bytes(), held);
        }
        drop(sessions);
        prop_assert_eq!(total.bytes(), 0);
    }
}
