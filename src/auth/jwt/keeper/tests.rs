use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::time::sleep;
use tokio_util::sync::DropGuard;

use super::super::testing::{Signer, key_set};
use super::*;
use crate::config::jwt::Algorithm;
use crate::metrics::limit_hits;

/// Loads what the test says, each time within a second; after that, it fails.
#[derive(Clone, Default)]
struct Script<const CHANGES: bool>(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answers: VecDeque<(KeySet, Option<Duration>)>,
    /// When each load began.
    began: Vec<Instant>,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

impl<const CHANGES: bool> Source for Script<CHANGES> {
    const CHANGES: bool = CHANGES;
    type Error = NoAnswer;

    async fn load(&self) -> Result<Loaded, NoAnswer> {
        self.0.lock().unwrap().began.push(Instant::now());
        sleep(LOAD).await;
        let answer = self.0.lock().unwrap().answers.pop_front();
        answer.map(|(keys, age_max)| Loaded { keys, age_max }).ok_or(NoAnswer)
    }
}

/// Never has an answer.
struct Never;

impl Source for Never {
    const CHANGES: bool = true;
    type Error = NoAnswer;

    fn load(&self) -> impl Future<Output = Result<Loaded, NoAnswer>> {
        std::future::pending()
    }
}

const LOAD: Duration = Duration::from_secs(1);

fn keys(kid: &str) -> KeySet {
    let signer = Signer::new(Algorithm::EdDsa, Some(kid));
    KeySet::parse(key_set(&[&signer]).to_string().as_bytes()).unwrap()
}

impl<const CHANGES: bool> Script<CHANGES> {
    fn answers(self, keys: KeySet, age_max: Option<u64>) -> Self {
        self.0.lock().unwrap().answers.push_back((keys, age_max.map(Duration::from_secs)));
        self
    }

    fn start(&self, known: Option<KeySet>) -> (Keeper, DropGuard) {
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        (Keeper::start(self.clone(), known, &TaskTracker::new(), stop), guard)
    }

    fn loads(&self) -> usize {
        self.0.lock().unwrap().began.len()
    }

    /// The seconds between the starts of the loads.
    fn pauses(&self) -> Vec<u64> {
        let began = &self.0.lock().unwrap().began;
        began.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect()
    }
}

impl Renewal {
    fn ended(self) -> Option<Known> {
        match self {
            Self::Ended(known) => Some(known),
            Self::Pointless | Self::NotNow => None,
        }
    }
}

fn has(known: &Known, kid: &str) -> bool {
    known.keys.as_ref().is_some_and(|keys| keys.find(Some(kid), Algorithm::EdDsa).is_ok())
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_before_the_keys_wait_for_them_together() {
    let script = Script::<true>::default().answers(keys("a"), None);
    let (keeper, _stop) = script.start(None);
    let nothing = keeper.known();
    assert!(nothing.keys.is_none());
    let (one, other) = tokio::join!(keeper.renewed(&nothing), keeper.renewed(&nothing));
    assert!(has(&one.ended().unwrap(), "a") && has(&other.ended().unwrap(), "a"));
    assert_eq!(script.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_keys_is_one_load_and_not_one_every_moment() {
    let mut script = Script::<true>::default();
    for _ in 0..100 {
        script = script.answers(keys("a"), None);
    }
    let (keeper, _stop) = script.start(None);
    let known = keeper.renewed(&keeper.known()).await.ended().unwrap();
    sleep(REST).await;
    // All at once: one load, which all of them see.
    let keeper = Arc::new(keeper);
    let tasks = TaskTracker::new();
    let all: Vec<_> = (0..1000)
        .map(|_| {
            let (keeper, known) = (Arc::clone(&keeper), known.clone());
            tasks.spawn(async move { keeper.renewed(&known).await.ended().is_some() })
        })
        .collect();
    for one in all {
        assert!(one.await.unwrap());
    }
    assert_eq!(script.loads(), 2);
    // For a minute without end: one load every five seconds, and the time that it takes.
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        keeper.renewed(&keeper.known()).await.ended().unwrap();
    }
    assert_eq!(script.loads(), 2 + 10);
    assert!(script.pauses().iter().all(|seconds| *seconds >= 5), "{:?}", script.pauses());
    // Nobody waits any more, and nobody loads.
    sleep(Duration::from_secs(60)).await;
    assert_eq!(script.loads(), 2 + 10);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_waited_for_while_others_make_keys_up() {
    let script = Script::<true>::default().answers(keys("a"), None).answers(keys("a"), None).answers(keys("b"), None);
    let (keeper, _stop) = script.start(None);
    let first = keeper.renewed(&keeper.known()).await.ended().unwrap();
    sleep(REST).await;
    // Somebody makes one up, and the issuer changes its keys just after the load that this causes.
    let second = keeper.renewed(&first).await.ended().unwrap();
    let begun = Instant::now();
    let (made_up, new) = tokio::join!(keeper.renewed(&second), keeper.renewed(&second));
    assert!(has(&new.ended().unwrap(), "b") && made_up.ended().is_some());
    assert_eq!((begun.elapsed(), script.loads()), (REST + LOAD, 3));
}

#[tokio::test(start_paused = true)]
async fn so_many_wait_for_a_load_and_no_longer_than_is_right() {
    let script = Script::<true>::default().answers(keys("a"), None);
    let (keeper, _stop) = script.start(None);
    let (keeper, nothing) = (Arc::new(keeper), Known::default());
    let (tasks, begun) = (TaskTracker::new(), Instant::now());
    let all: Vec<_> = (0..WAITING_MAX + 7)
        .map(|_| {
            let (keeper, nothing) = (Arc::clone(&keeper), nothing.clone());
            tasks.spawn(async move { keeper.renewed(&nothing).await })
        })
        .collect();
    let mut refused = 0;
    for one in all {
        refused += usize::from(matches!(one.await.unwrap(), Renewal::NotNow));
    }
    assert_eq!((refused, begun.elapsed()), (7, LOAD));
    assert_eq!(limit_hits(Limit::KeysWaiting), 7);
    // There is room again, and for the load that was missed none is needed.
    assert!(keeper.renewed(&nothing).await.ended().is_some());
    let slow = Keeper::start(Never, None, &tasks, CancellationToken::new());
    let begun = Instant::now();
    assert!(matches!(slow.renewed(&slow.known()).await, Renewal::NotNow));
    assert_eq!(begun.elapsed(), WAIT_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_new_is_known_after_one_load() {
    let script = Script::<true>::default().answers(keys("a"), None).answers(keys("b"), None);
    let (keeper, _stop) = script.start(None);
    let known = keeper.renewed(&keeper.known()).await.ended().unwrap();
    assert!(has(&known, "a") && !has(&known, "b"));
    sleep(REST).await;
    let renewed = keeper.renewed(&known).await.ended().unwrap();
    assert!(has(&renewed, "b") && !has(&renewed, "a"));
    assert_eq!(renewed.generation, known.generation + 1);
    // Whoever looked before that load has missed it, and asks for no other.
    assert!(has(&keeper.renewed(&known).await.ended().unwrap(), "b"));
    assert_eq!(script.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn keys_are_renewed_before_they_are_too_old() {
    // Nothing is said; a minute, ten; nothing at all, and a year, both within bounds.
    let script = [None, Some(60), Some(600), Some(0), Some(31_536_000), None]
        .into_iter()
        .fold(Script::<true>::default(), |script, age_max| script.answers(keys("a"), age_max));
    let (_keeper, _stop) = script.start(None);
    sleep(Duration::from_secs(2 * 60 * 60)).await;
    let load = LOAD.as_secs();
    assert_eq!(script.pauses().get(..4).unwrap(), [2700 + load, 45 + load, 450 + load, 45 + load]);
    sleep(Duration::from_secs(60 * 60)).await;
    assert_eq!(script.pauses().get(4), Some(&(2700 + load)));
}

#[tokio::test(start_paused = true)]
async fn keys_that_cannot_be_renewed_go_on_being_used_and_it_is_tried_again() {
    let script = Script::<true>::default().answers(keys("a"), Some(60));
    let (keeper, _stop) = script.start(None);
    sleep(Duration::from_secs(400)).await;
    let known = keeper.known();
    assert!(has(&known, "a") && known.failed);
    let load = LOAD.as_secs();
    assert_eq!(script.pauses(), [45, 2, 4, 8, 16, 32, 60, 60, 60, 60].map(|seconds| seconds + load));
    // The issuer is back.
    let script = script.answers(keys("b"), None);
    sleep(Duration::from_secs(100)).await;
    let known = keeper.known();
    assert!(has(&known, "b") && !known.failed);
    assert_eq!(script.pauses().len(), 11);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_not_there_yet_is_waited_for_but_not_by_every_request() {
    let script = Script::<true>::default();
    let (keeper, _stop) = script.start(None);
    let failed = keeper.renewed(&keeper.known()).await.ended().unwrap();
    assert!(failed.failed && failed.keys.is_none());
    let before = Instant::now();
    assert!(matches!(keeper.renewed(&failed).await, Renewal::Pointless));
    assert_eq!(Instant::now(), before);
    let _script = script.answers(keys("a"), None);
    sleep(RETRY_MIN + LOAD * 2).await;
    assert!(has(&keeper.known(), "a"));
}

#[tokio::test(start_paused = true)]
async fn an_operators_word_loads_at_once() {
    let script = Script::<true>::default().answers(keys("a"), None).answers(keys("b"), None);
    let (keeper, _stop) = script.start(None);
    let known = keeper.renewed(&keeper.known()).await.ended().unwrap();
    keeper.reload();
    sleep(LOAD * 2).await;
    assert!(has(&keeper.known(), "b") && has(&known, "a"));
    assert_eq!(script.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_file_is_read_again_only_at_an_operators_word() {
    let script = Script::<false>::default().answers(keys("b"), None);
    let (keeper, _stop) = script.start(Some(keys("a")));
    let known = keeper.known();
    assert!(has(&known, "a"));
    assert!(matches!(keeper.renewed(&known).await, Renewal::Pointless));
    sleep(Duration::from_secs(100_000)).await;
    assert!(matches!(keeper.renewed(&known).await, Renewal::Pointless));
    assert_eq!(script.loads(), 0);
    keeper.reload();
    sleep(LOAD * 2).await;
    assert!(has(&keeper.known(), "b"));
    // One that cannot be read is no reason to doubt what is known.
    keeper.reload();
    sleep(LOAD * 2).await;
    assert!(has(&keeper.known(), "b") && !keeper.known().failed);
    sleep(Duration::from_secs(100_000)).await;
    assert_eq!(script.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_same_keys_again_are_no_other_keys() {
    let signer = Signer::new(Algorithm::EdDsa, Some("a"));
    let same = || KeySet::parse(key_set(&[&signer]).to_string().as_bytes()).unwrap();
    let script = Script::<true>::default().answers(same(), None).answers(same(), None);
    let (keeper, _stop) = script.start(None);
    let known = keeper.renewed(&keeper.known()).await.ended().unwrap();
    keeper.reload();
    sleep(LOAD * 2).await;
    assert_eq!((keeper.known().generation, script.loads()), (known.generation, 2));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_withdraws_all_keys_has_none() {
    let none = KeySet::parse(br#"{"keys":[]}"#).unwrap();
    let script = Script::<true>::default().answers(keys("a"), None).answers(none, None);
    let (keeper, _stop) = script.start(None);
    keeper.renewed(&keeper.known()).await.ended().unwrap();
    keeper.reload();
    sleep(LOAD * 2).await;
    let known = keeper.known();
    assert!(known.keys.is_some() && !has(&known, "a") && !known.failed);
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_those_who_wait() {
    let script = Script::<true>::default();
    let (keeper, stop) = script.start(None);
    let nothing = keeper.known();
    let waiting = keeper.renewed(&nothing);
    drop(stop);
    assert!(matches!(waiting.await, Renewal::NotNow));
    assert!(matches!(keeper.renewed(&nothing).await, Renewal::NotNow));
}
