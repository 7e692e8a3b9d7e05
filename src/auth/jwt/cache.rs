//! Tokens that were found to be right, so that a signature is checked once a minute and not for each request.
//!
//! Known by their digest: the cache holds no token, and says nothing about those that it does not hold. An entry is good for
//! as long as the keys that it was checked with are the current ones, and never longer than the token.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ring::digest;
use rustc_hash::FxBuildHasher;
use tokio::time::Instant;

use super::Verified;

/// What a token is known by.
pub(super) type Digest = [u8; digest::SHA256_OUTPUT_LEN];

/// A token's digest.
pub(super) fn digest_of(token: &str) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    digest
}

/// At most twice [`ENTRIES_MAX`] tokens.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Halves>);

/// The entries of the younger half that is full become the older half, and those of the older one go: so there is no search
/// for what to drop.
#[derive(Debug, Default)]
struct Halves {
    generation: u64,
    younger: HashMap<Digest, Entry, FxBuildHasher>,
    older: HashMap<Digest, Entry, FxBuildHasher>,
}

#[derive(Debug)]
struct Entry {
    verified: Verified,
    until: Instant,
}

/// The time of a request, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// What tokens mean.
    pub(super) date: SystemTime,
    /// What nobody sets.
    pub(super) instant: Instant,
}

impl Now {
    /// So much later.
    pub(super) fn after(self, time: Duration) -> Self {
        Self { date: self.date + time, instant: self.instant + time }
    }
}

impl Cache {
    /// What is known of a token that was checked with these keys.
    pub(super) fn find(&self, token: &Digest, generation: u64, now: Now) -> Option<Verified> {
        let halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if halves.generation != generation {
            return None;
        }
        let entry = halves.younger.get(token).or_else(|| halves.older.get(token))?;
        (now.instant < entry.until && now.date < entry.verified.expires).then(|| entry.verified.clone())
    }

    /// Keeps what was found with the keys of a generation. Newer keys make all that was kept before worth nothing.
    pub(super) fn keep(&self, token: Digest, generation: u64, verified: Verified, now: Now) {
        let mut halves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if generation < halves.generation {
            return;
        }
        if generation > halves.generation {
            *halves = Halves { generation, ..Halves::default() };
        }
        if halves.younger.len() >= ENTRIES_MAX {
            halves.older = std::mem::take(&mut halves.younger);
        }
        halves.younger.insert(token, Entry { verified, until: now.instant + AGE_MAX });
    }
}

const ENTRIES_MAX: usize = 4096;
const AGE_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: SystemTime = SystemTime::UNIX_EPOCH;

    fn verified(seconds: u64) -> Verified {
        Verified { subject: "alice".to_owned(), expires: DATE + Duration::from_secs(seconds), policy: None }
    }

    fn now() -> Now {
        Now { date: DATE, instant: Instant::now() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_kept_for_a_minute_and_no_longer_than_it_lasts() {
        let (cache, start) = (Cache::default(), now());
        let (long, short) = (digest_of("long"), digest_of("short"));
        cache.keep(long, 1, verified(3600), start);
        cache.keep(short, 1, verified(10), start);
        let after = |seconds| {
            let passed = Duration::from_secs(seconds);
            Now { date: start.date + passed, instant: start.instant + passed }
        };
        assert!(cache.find(&short, 1, after(9)).is_some());
        assert!(cache.find(&short, 1, after(10)).is_none());
        assert!(cache.find(&long, 1, after(59)).is_some());
        assert!(cache.find(&long, 1, after(60)).is_none());
        assert!(cache.find(&digest_of("other"), 1, start).is_none());
        // The clock was set: the token is over.
        assert!(cache.find(&long, 1, Now { date: DATE + Duration::from_secs(3600), ..start }).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_checked_with_other_keys_is_worth_nothing() {
        let (cache, now, token) = (Cache::default(), now(), digest_of("token"));
        cache.keep(token, 1, verified(60), now);
        assert!(cache.find(&token, 2, now).is_none());
        cache.keep(digest_of("other"), 2, verified(60), now);
        assert!(cache.find(&token, 1, now).is_none() && cache.find(&token, 2, now).is_none());
        // One that was under way while the keys changed.
        cache.keep(token, 1, verified(60), now);
        assert!(cache.find(&token, 2, now).is_none() && cache.find(&digest_of("other"), 2, now).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn it_holds_the_latest_and_no_more_than_it_has_room_for() {
        let (cache, now) = (Cache::default(), now());
        let digests: Vec<_> = (0..ENTRIES_MAX * 3 + 5).map(|at| digest_of(&at.to_string())).collect();
        for digest in &digests {
            cache.keep(*digest, 0, verified(60), now);
        }
        let held = digests.iter().filter(|digest| cache.find(digest, 0, now).is_some()).count();
        assert_eq!(held, ENTRIES_MAX + 5);
        let last = digests.iter().rev().take(ENTRIES_MAX);
        assert!(last.into_iter().all(|digest| cache.find(digest, 0, now).is_some()));
    }
}
