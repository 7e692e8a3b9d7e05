//! What a modern child wants to be told before it goes on with a request (`resultType: "input_required"`), asked of a
//! legacy client as it knows it: by requests. With all answers the request is sent to the child again.
//!
//! Who is asked is never in doubt: the client whose request it is, on the stream of that request.
//!
//! Spec: 2026-07-28, Multi Round-Trip Requests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::id_table::ChildId;
use super::super::in_flight::{InFlight, Phase};
use super::super::io::Payload;
use super::super::need::Need;
use super::super::purpose::progress_token;
use super::super::questions::{Asker, Question, QuestionId, Scope};
use super::super::{Router, Tell, with_id};
use crate::era::edit;
use crate::error::Reject;
use crate::jsonrpc::{self, Frame, Message, ParseError, Span, decode_str};
use crate::mcp::ids::Param;
use crate::mcp::method;
use crate::metrics::{Limit, limit_hit};

/// How often a request is sent again, as in official clients.
const ROUNDS_MAX: u8 = 10;
/// How long a request rests before the second time, and at most.
const REST: Duration = Duration::from_millis(50);
const REST_MAX: Duration = Duration::from_secs(2);
/// The most that the answers of one round, and what the child wants to have again, may add to the request.
const ANSWERS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The requests whose clients are being asked something.
#[derive(Debug, Default)]
pub(in crate::router) struct Rounds {
    by_request: BTreeMap<ChildId, Round>,
    /// Those of which nothing is asked, and when they are sent again.
    resting: BTreeSet<(Instant, ChildId)>,
}

#[derive(Debug)]
struct Round {
    /// Open questions, each with the key that its answer goes under (JSON text).
    open: BTreeMap<QuestionId, Box<str>>,
    /// `inputResponses` so far: keys and results as JSON text.
    answers: Vec<(Box<str>, Box<str>)>,
    /// `requestState` as the child spelled it.
    state: Option<Box<str>>,
    /// How much of all that is kept.
    bytes: usize,
}

/// Something that a client is to be asked.
struct Wanted {
    key: Box<str>,
    /// As a request, with an id to be replaced.
    request: Message,
}

impl Router {
    /// The child wants to be told something about a request; `result` is what it says of that.
    pub(super) fn begin_round(&mut self, id: ChildId, answer: &Message, result: Span, now: Instant) {
        let (wanted, state) = match self.check_round(id, answer, result) {
            Ok(round) => round,
            Err(what) => return self.reject(id, Reject::ChildAnswerUnusable(what)),
        };
        let Some(origin) = self.requests.get(id).map(|request| request.origin) else { return };
        self.requests.begin_asking(id);
        let bytes = state.as_deref().map_or(0, str::len);
        let round = Round { open: BTreeMap::new(), answers: Vec::new(), state, bytes };
        self.rounds.by_request.insert(id, round);
        if wanted.is_empty() {
            return self.rest(id, now);
        }
        let mut frames = Vec::with_capacity(wanted.len());
        for Wanted { key, request } in wanted {
            let asker = Asker::Round(id);
            let question = Question { session: origin.session, stream: origin.stream, asker, scope: Scope::Round };
            match self.questions.open(question, self.config.bounds.questions_max) {
                Ok(question) => {
                    frames.push(question_frame(&request, question));
                    if let Some(round) = self.rounds.by_request.get_mut(&id) {
                        round.open.insert(question, key);
                    }
                }
                Err(what) => {
                    // Nobody was told of those that are open.
                    for question in self.rounds.take(id) {
                        self.questions.close(question);
                    }
                    return self.reject(id, Reject::ChildAnswerUnusable(what.to_owned()));
                }
            }
        }
        for frame in frames {
            self.tell_session(origin.session, origin.stream, Payload::Message(frame));
        }
        self.renew_deadline(id, now);
    }

    /// What its client is to be asked, and the state that the child wants to have again; or why that cannot be.
    fn check_round(
        &self,
        id: ChildId,
        answer: &Message,
        result: Span,
    ) -> Result<(Vec<Wanted>, Option<Box<str>>), String> {
        let request = self.requests.get(id).ok_or("it is over")?;
        let session = request.origin.session;
        if request.rounds >= ROUNDS_MAX {
            limit_hit(Limit::MessageForm);
            return Err(format!("it still asks for input after {ROUNDS_MAX} rounds"));
        }
        if request.original.is_none() {
            limit_hit(Limit::ResendBytesMax);
            let limit = self.config.bounds.resend_bytes_max;
            return Err(format!(
                "it asks for input, and the request was not kept to be sent again: together with others that were in \
                 flight it is larger than {limit} bytes (--resend-bytes-max)"
            ));
        }
        let member = |name: &str| answer.member(result, name).map_err(|_| format!("`{name}` is not unique"));
        let state = member("requestState")?.map(|span| answer.text(span));
        if state.is_some_and(|state| !state.starts_with('"')) {
            return Err("`requestState` is not a string".to_owned());
        }
        if state.is_some_and(|state| state.len() > ANSWERS_BYTES_MAX) {
            limit_hit(Limit::MessageForm);
            return Err(format!("`requestState` is larger than {ANSWERS_BYTES_MAX} bytes"));
        }
        let inputs = member("inputRequests")?;
        if inputs.is_none() && state.is_none() {
            return Err("it asks for input and does not say which".to_owned());
        }
        if inputs.is_some_and(|span| !answer.text(span).starts_with('{')) {
            return Err("`inputRequests` is not an object".to_owned());
        }
        let inputs = inputs.map(|span| answer.members(span)).unwrap_or_default();
        let limit = self.config.bounds.questions_max;
        if inputs.len() > limit {
            limit_hit(Limit::QuestionsMax);
            return Err(format!("it asks for more than {limit} inputs at once (--questions-max)"));
        }
        let mut keys = BTreeSet::new();
        let mut wanted = Vec::with_capacity(inputs.len());
        for input in inputs {
            let key = answer.text(input.name);
            if !keys.insert(decode_str(key)) {
                return Err("a key of `inputRequests` is not unique".to_owned());
            }
            let request = wanted_request(answer, input.value).ok_or("it asks for input in a form that is not known")?;
            let need = Need::of(&request);
            if !self.meets(session, need) {
                // What a client without a session can do was told to another request, if at all.
                let is_told = self.sessions.get(&session).is_some_and(|profile| profile.client_capabilities.is_some());
                let why =
                    if is_told { "the client did not declare" } else { "a client cannot declare with --stateless" };
                return Err(format!("it asks for {}, which {why}", need.name()));
            }
            wanted.push(Wanted { key: key.into(), request });
        }
        Ok((wanted, state.map(Into::into)))
    }

    /// A client answered one of the questions before a request goes on.
    pub(in crate::router) fn round_answered(
        &mut self,
        id: ChildId,
        question: QuestionId,
        message: &Message,
        now: Instant,
    ) {
        let Some(round) = self.rounds.by_request.get_mut(&id) else { return };
        let Some(key) = round.open.remove(&question) else { return };
        let Some(result) = message.result() else {
            // It does not come to an answer, and that is why.
            return self.settle(id, |request| Payload::Response(with_id(message, request.client_id.as_str())));
        };
        let result = message.text(result);
        round.bytes = round.bytes.saturating_add(key.len() + result.len());
        if round.bytes > ANSWERS_BYTES_MAX {
            limit_hit(Limit::MessageForm);
            let what = format!("the answers to what the server asks are larger than {ANSWERS_BYTES_MAX} bytes");
            return self.reject(id, Reject::InvalidRequest(what));
        }
        round.answers.push((key, result.into()));
        if round.open.is_empty() {
            self.send_again(id, now);
        } else {
            self.renew_deadline(id, now);
        }
    }

    /// The child wants nothing but to be asked again: at once the first time, and then after longer and longer, so that it has
    /// the time that it seems to need.
    fn rest(&mut self, id: ChildId, now: Instant) {
        let rounds = self.requests.get(id).map_or(0, |request| request.rounds);
        let Some(doublings) = rounds.checked_sub(1) else { return self.send_again(id, now) };
        let pause = REST.saturating_mul(1 << doublings.min(ROUNDS_MAX)).min(REST_MAX);
        self.renew_deadline(id, now);
        self.rounds.resting.insert((now + pause, id));
    }

    /// Sends the requests again that have rested.
    pub(in crate::router) fn wake_rounds(&mut self, now: Instant) {
        while let Some((_, id)) = self.rounds.resting.first().copied().filter(|(until, _)| *until <= now) {
            self.rounds.resting.pop_first();
            self.send_again(id, now);
        }
    }

    /// The request goes to the child again, under an id of its own, with what the child wanted to have.
    fn send_again(&mut self, id: ChildId, now: Instant) {
        let Some(round) = self.rounds.by_request.remove(&id) else { return };
        let Some(original) = self.requests.get(id).and_then(|request| request.original.clone()) else { return };
        let message = match completed(original, &round, self.config.bounds.nesting_max) {
            Ok(message) => message,
            Err(error) => {
                if matches!(error, ParseError::Depth(_)) {
                    limit_hit(Limit::NestingMax);
                }
                let what = format!("the answers to what the server asks cannot be passed on: {error}");
                return self.reject(id, Reject::InvalidRequest(what));
            }
        };
        let Some(request) = self.requests.remove(id) else { return };
        let (session, place) = (request.origin.session, self.queue.place_behind());
        self.queue.add_bytes(message.bytes().len());
        let token = progress_token(&message).ok().flatten();
        let again = InFlight {
            token: request.token.and(token),
            phase: Phase::Queued(message),
            rounds: request.rounds.saturating_add(1),
            // What it may be repeated with is what it was before it was asked about.
            kept: None,
            // Nor is what depends on answers for anybody else.
            ticket: None,
            waits_since: now,
            place,
            ..request
        };
        let id = self.requests.insert(again);
        if self.is_ready() {
            // It goes on with what this process has begun, however many it may be given.
            self.forward(id, session, now);
        } else {
            self.queue.put_request(place, id);
        }
        self.renew_deadline(id, now);
    }

    /// A request is settled while its client is being asked.
    pub(in crate::router) fn end_round(&mut self, id: ChildId) {
        for question in self.rounds.take(id) {
            self.void_question(question, "the request that this belonged to is over", Tell::Client);
        }
    }
}

impl Rounds {
    /// How many there are.
    pub(in crate::router) fn len(&self) -> usize {
        self.by_request.len()
    }

    /// When [`Router::wake_rounds`] has something to do.
    pub(in crate::router) fn next_wake(&self) -> Option<Instant> {
        self.resting.first().map(|(until, _)| *until)
    }

    /// A request's round is over: its open questions.
    fn take(&mut self, id: ChildId) -> impl Iterator<Item = QuestionId> + use<> {
        self.resting.retain(|(_, resting)| *resting != id);
        self.by_request.remove(&id).into_iter().flat_map(|round| round.open.into_keys())
    }
}

/// A value of `inputRequests` as a request.
fn wanted_request(answer: &Message, input: Span) -> Option<Message> {
    let member = |name| answer.member(input, name).ok().flatten();
    let method = decode_str(answer.text(member("method")?))?;
    // spec: 2026-07-28 schema, InputRequest.
    if !matches!(&*method, method::ELICITATION | method::SAMPLING | method::ROOTS_LIST) {
        return None;
    }
    let params = member("params").map(|span| answer.text(span));
    let request = jsonrpc::request("0", &method, params.filter(|params| *params != "null"));
    Message::parse(request.into_bytes(), usize::MAX).ok()
}

/// A question as its client reads it.
fn question_frame(request: &Message, id: QuestionId) -> Frame {
    let mut frame = with_id(request, id.text());
    let is_url = Need::of(request) == Need::ElicitationUrl;
    if let Some(params) = request.params().filter(|_| is_url && request.param(Param::ElicitationId).is_none()) {
        // spec: 2025-11-25 client/elicitation, URL Mode Elicitation Requests: it must have one; later there is none.
        frame = edit::object(frame, request, params, &[(Param::ElicitationId.name(), &id.text())], &[]);
    }
    frame
}

/// A request with what the child wanted to have, which came from its client too.
fn completed(original: Bytes, round: &Round, nesting_max: usize) -> Result<Message, ParseError> {
    let original = Message::parse(original, usize::MAX)?;
    let answers: Vec<String> = round.answers.iter().map(|(key, answer)| format!("{key}:{answer}")).collect();
    let answers = format!("{{{}}}", answers.join(","));
    let (mut set, mut unset) = (Vec::new(), Vec::new());
    // spec: 2026-07-28 basic/patterns/mrtr: a state that was not given must not be sent.
    let values = [
        ("inputResponses", Some(answers.as_str()).filter(|_| !round.answers.is_empty())),
        ("requestState", round.state.as_deref()),
    ];
    for (name, value) in values {
        match value {
            Some(value) => set.push((name, value)),
            None => unset.push(name),
        }
    }
    let frame = edit::params(Frame::new(original.bytes().clone()), &original, &set, &unset);
    Message::parse(frame.into_bytes(), nesting_max)
}
