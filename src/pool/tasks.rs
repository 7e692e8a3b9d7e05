//! Whose the tasks are that modern exchanges have made, and which child has them. An exchange ends with the answer that
//! names its task; whoever comes with that name later is to reach the same child, if it acts for the same principal. To
//! another one the task does not exist; nor does it to one that may not use any more what the request was about that made it
//! (the rules have changed, or another token of the same principal's says less): a task belongs to its tool.
//!
//! A task that goes on keeps its child as a lease does. When its end was told, or the time to live that its server gave it
//! is over, it keeps it no longer; until that time it is still known whose it is.
//!
//! Bounds: so many tasks in all and of one principal, beyond which the oldest is forgotten; so many that keep a child,
//! beyond which the oldest keeps it no longer. A name that is longer than others is not known. What is not known may be
//! anybody's: where that matters ([`Pool`](super::Pool) knows), it does not exist; elsewhere it goes where any request goes, and
//! there its server says that there is no such task.
//!
//! Plain data, and the time is an input. Spec: SEP-2663, Tasks Extension; DESIGN section 4.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::auth::{Principal, Rules, Subject};
use crate::config::Bounds;
use crate::metrics::{Limit, limit_hit};

/// What became known of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskNews {
    /// A request about this made it. So long it lives; without a limit as far as its server is concerned, if that says nothing.
    Made(Subject, Option<Duration>),
    /// It goes on. The same.
    GoesOn(Option<Duration>),
    /// It has come to its end, or does not exist.
    Over,
}

/// The longest name of one that is known.
const ID_BYTES_MAX: usize = 1024;
/// How long one is known whose server sets no limit, or a longer one, from when it was last told of.
const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// When a task became known, counted in tasks.
type Age = u64;

/// The tasks that are known.
#[derive(Debug)]
pub(super) struct Tasks {
    bounds: Bounds,
    /// The most that may keep a child.
    keeping_max: usize,
    tasks: BTreeMap<Age, Task>,
    by_id: HashMap<Arc<str>, BTreeSet<Age>>,
    by_principal: HashMap<Principal, BTreeSet<Age>>,
    by_end: BTreeSet<(Instant, Age)>,
    keeping: BTreeSet<Age>,
    last: Age,
}

#[derive(Debug)]
struct Task {
    id: Arc<str>,
    principal: Principal,
    /// What the request was about that made it.
    subject: Subject,
    child: u64,
    made: Instant,
    end: Instant,
}

/// What a name is to a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Its own task, on this child.
    Own(u64),
    /// Another's, or of what it may not use any more.
    Anothers,
    /// Not known.
    Nothing,
}

impl Default for Tasks {
    fn default() -> Self {
        Self {
            bounds: Bounds::default(),
            keeping_max: usize::MAX,
            tasks: BTreeMap::new(),
            by_id: HashMap::new(),
            by_principal: HashMap::new(),
            by_end: BTreeSet::new(),
            keeping: BTreeSet::new(),
            last: 0,
        }
    }
}

impl Tasks {
    /// None yet, and never more than `bounds` has, nor more that keep a child.
    pub(super) fn new(bounds: Bounds, keeping_max: usize) -> Self {
        Self { bounds, keeping_max, ..Self::default() }
    }

    /// Whose a name is to a principal that may use so much.
    pub(super) fn find(&self, id: &str, principal: &Principal, rules: &Rules) -> Found {
        if let Some((_, task)) = self.own(id, principal).filter(|(_, task)| rules.admit(&task.subject)) {
            return Found::Own(task.child);
        }
        if self.by_id.contains_key(id) { Found::Anothers } else { Found::Nothing }
    }

    fn own(&self, id: &str, principal: &Principal) -> Option<(Age, &Task)> {
        let ages = self.by_id.get(id)?.iter().rev();
        ages.filter_map(|age| Some((*age, self.tasks.get(age)?))).find(|(_, task)| task.principal == *principal)
    }

    /// A request of `principal` about `subject` made this task. It keeps its child from now on. Returns the children that others do not
    /// keep any longer; where it keeps none itself, its own.
    pub(super) fn make(
        &mut self,
        id: &str,
        (principal, subject): (&Principal, Subject),
        child: u64,
        ttl: Option<Duration>,
        now: Instant,
    ) -> Vec<u64> {
        if id.len() > ID_BYTES_MAX {
            limit_hit(Limit::MessageForm);
            return vec![child];
        }
        let mut free = Vec::new();
        // Its server has forgotten the one that had the name before.
        free.extend(self.own(id, principal).map(|(age, _)| age).and_then(|age| self.forget(age)));
        if let Some(oldest) = self.in_the_way(principal) {
            limit_hit(Limit::TasksMax);
            free.extend(self.forget(oldest));
        }
        self.last += 1;
        let (age, id): (Age, Arc<str>) = (self.last, id.into());
        let end = now + ttl.unwrap_or(TIME_MAX).min(TIME_MAX);
        self.by_id.entry(id.clone()).or_default().insert(age);
        self.by_principal.entry(principal.clone()).or_default().insert(age);
        self.by_end.insert((end, age));
        self.tasks.insert(age, Task { id, principal: principal.clone(), subject, child, made: now, end });
        self.keeping.insert(age);
        if self.keeping.len() > self.keeping_max {
            limit_hit(Limit::TasksMax);
            free.extend(self.keeping.first().copied().and_then(|age| self.release(age)));
        }
        free
    }

    /// How many there are, and how many there may be.
    pub(super) fn occupancy(&self) -> (usize, usize) {
        (self.tasks.len(), self.bounds.tasks_max)
    }

    /// The task that makes room for another one of this principal's, if there is none.
    fn in_the_way(&self, principal: &Principal) -> Option<Age> {
        let own = self.by_principal.get(principal);
        if let Some(own) = own.filter(|own| own.len() >= self.bounds.tasks_per_principal_max()) {
            return own.first().copied();
        }
        self.tasks.first_key_value().map(|(age, _)| *age).filter(|_| self.tasks.len() >= self.bounds.tasks_max)
    }

    /// A task goes on.
    pub(super) fn go_on(&mut self, id: &str, principal: &Principal, ttl: Option<Duration>, now: Instant) {
        let Some((age, task)) = self.own(id, principal) else { return };
        let latest = now + TIME_MAX;
        let end = ttl.and_then(|ttl| task.made.checked_add(ttl)).map_or(latest, |end| end.min(latest));
        self.by_end.remove(&(task.end, age));
        self.by_end.insert((end, age));
        if let Some(task) = self.tasks.get_mut(&age) {
            task.end = end;
        }
    }

    /// A task has come to its end. Returns its child, if it kept that.
    pub(super) fn end(&mut self, id: &str, principal: &Principal) -> Option<u64> {
        let (age, _) = self.own(id, principal)?;
        self.release(age)
    }

    /// Forgets the tasks whose time is over. Returns the children that they kept, each as often as it was kept.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<u64> {
        let mut free = Vec::new();
        while let Some((end, age)) = self.by_end.first().copied().filter(|(end, _)| *end <= now) {
            free.extend(self.forget(age));
            self.by_end.remove(&(end, age));
        }
        free
    }

    /// When the next one's time is over.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.by_end.first().map(|(end, _)| *end)
    }

    fn release(&mut self, age: Age) -> Option<u64> {
        let task = self.tasks.get(&age)?;
        self.keeping.remove(&age).then_some(task.child)
    }

    /// Returns its child, if it kept that.
    fn forget(&mut self, age: Age) -> Option<u64> {
        let kept = self.release(age);
        let task = self.tasks.remove(&age)?;
        self.by_end.remove(&(task.end, age));
        if let Some(ages) = self.by_id.get_mut(&task.id) {
            ages.remove(&age);
            if ages.is_empty() {
                self.by_id.remove(&task.id);
            }
        }
        if let Some(ages) = self.by_principal.get_mut(&task.principal) {
            ages.remove(&age);
            if ages.is_empty() {
                self.by_principal.remove(&task.principal);
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::What;
    use crate::config::principals::NamesConfig;
    use crate::metrics::limit_hits;

    fn principals() -> (Principal, Principal) {
        (Principal::named("a"), Principal::named("b"))
    }

    const NONE: [u64; 0] = [];
    const ALL: Rules = Rules::everything();
    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

    #[test]
    fn a_task_is_its_principals_until_its_time_is_over() {
        let (mut tasks, (a, b), now) = (Tasks::default(), principals(), Instant::now());
        assert_eq!(tasks.make("t", (&a, Subject::Free), 7, MINUTE, now), NONE);
        assert_eq!((tasks.find("t", &a, &ALL), tasks.find("t", &b, &ALL)), (Found::Own(7), Found::Anothers));
        assert_eq!(tasks.find("u", &a, &ALL), Found::Nothing);
        assert_eq!((tasks.end("t", &b), tasks.end("t", &a), tasks.end("t", &a)), (None, Some(7), None));
        assert_eq!(tasks.find("t", &b, &ALL), Found::Anothers, "it can still be asked for");
        assert_eq!(tasks.next_end(), Some(now + Duration::from_secs(60)));
        assert_eq!(tasks.expire(now + Duration::from_secs(60)), NONE);
        assert_eq!((tasks.find("t", &a, &ALL), tasks.next_end()), (Found::Nothing, None));
        assert!(tasks.by_id.is_empty() && tasks.by_principal.is_empty() && tasks.keeping.is_empty());
    }

    #[test]
    fn a_task_is_there_for_who_may_use_what_its_request_was_about() {
        let (mut tasks, (a, _), now) = (Tasks::default(), principals(), Instant::now());
        let deny = NamesConfig { allow: None, deny: vec!["write".to_owned()] };
        let rules = Rules::new(vec![deny], Vec::new(), Vec::new());
        let of = |name: &str| Subject::Named(What::Tool, name.into());
        for (number, (subject, expected)) in
            (0..).zip([(of("read"), true), (of("write"), false), (Subject::Free, true), (Subject::Unclear, false)])
        {
            tasks.make("t", (&a, subject.clone()), number, MINUTE, now);
            assert_eq!(tasks.find("t", &a, &ALL), Found::Own(number), "{subject:?}");
            let found = if expected { Found::Own(number) } else { Found::Anothers };
            assert_eq!(tasks.find("t", &a, &rules), found, "{subject:?}");
        }
    }

    #[test]
    fn one_that_goes_on_keeps_its_child_for_as_long_as_its_server_says() {
        let (mut tasks, (a, _), now) = (Tasks::default(), principals(), Instant::now());
        tasks.make("t", (&a, Subject::Free), 7, MINUTE, now);
        let later = now + Duration::from_secs(30);
        tasks.go_on("t", &a, Some(Duration::from_secs(90)), later);
        assert_eq!(tasks.expire(now + Duration::from_secs(89)), NONE);
        tasks.go_on("t", &a, None, later);
        assert_eq!(tasks.expire(now + TIME_MAX), NONE);
        assert_eq!(tasks.expire(later + TIME_MAX), [7]);
    }

    #[test]
    fn principals_may_have_tasks_of_one_name_and_the_newest_of_ones_own_counts() {
        let (mut tasks, (a, b), now) = (Tasks::default(), principals(), Instant::now());
        tasks.make("t", (&a, Subject::Free), 1, MINUTE, now);
        tasks.make("t", (&b, Subject::Free), 2, MINUTE, now);
        assert_eq!(tasks.make("t", (&a, Subject::Free), 3, MINUTE, now), [1]);
        assert_eq!((tasks.find("t", &a, &ALL), tasks.find("t", &b, &ALL)), (Found::Own(3), Found::Own(2)));
    }

    fn at_most(tasks_max: usize) -> Bounds {
        Bounds { tasks_max, ..Bounds::default() }
    }

    #[test]
    fn the_oldest_makes_room() {
        let (mut tasks, (a, b), now) = (Tasks::new(at_most(16), usize::MAX), principals(), Instant::now());
        let before = limit_hits(Limit::TasksMax);
        tasks.make("b", (&b, Subject::Free), 1, None, now);
        for n in 0..4 {
            assert_eq!(tasks.make(&format!("a{n}"), (&a, Subject::Free), 2, None, now), NONE);
        }
        assert_eq!(
            tasks.make("a", (&a, Subject::Free), 2, None, now),
            [2],
            "the principal's own: it may have a quarter"
        );
        assert_eq!((tasks.find("a0", &a, &ALL), tasks.find("b", &b, &ALL)), (Found::Nothing, Found::Own(1)));
        for n in 0..11 {
            assert_eq!(tasks.make("t", (&Principal::named(&format!("c{n}")), Subject::Free), 3, None, now), NONE);
        }
        assert_eq!(
            tasks.make("t", (&Principal::named("d"), Subject::Free), 3, None, now),
            [1],
            "the oldest of all: there are 16"
        );
        assert_eq!((tasks.find("b", &b, &ALL), tasks.tasks.len()), (Found::Nothing, 16));
        assert!(limit_hits(Limit::TasksMax) >= before + 2);
    }

    #[test]
    fn the_oldest_keeps_its_child_no_longer() {
        let (mut tasks, (a, _), now) = (Tasks::new(Bounds::default(), 2), principals(), Instant::now());
        let before = limit_hits(Limit::TasksMax);
        for n in 0..3 {
            let free = tasks.make(&format!("a{n}"), (&a, Subject::Free), n, None, now);
            assert_eq!(free, if n == 2 { vec![0] } else { Vec::new() });
        }
        assert_eq!(tasks.find("a0", &a, &ALL), Found::Own(0), "whose it is, is known");
        assert!(limit_hits(Limit::TasksMax) > before);
        assert_eq!(Tasks::new(Bounds::default(), 0).make("t", (&a, Subject::Free), 7, None, now), [7]);
    }

    #[test]
    fn a_task_with_a_long_name_is_not_known() {
        let (mut tasks, (a, _), now) = (Tasks::default(), principals(), Instant::now());
        let before = limit_hits(Limit::MessageForm);
        assert_eq!(tasks.make(&"x".repeat(ID_BYTES_MAX), (&a, Subject::Free), 9, None, now), NONE);
        let long = "x".repeat(ID_BYTES_MAX + 1);
        assert_eq!(tasks.make(&long, (&a, Subject::Free), 9, None, now), [9]);
        assert_eq!(tasks.find(&long, &a, &ALL), Found::Nothing);
        assert!(limit_hits(Limit::MessageForm) > before);
    }
}
