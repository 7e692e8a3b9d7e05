//! Whose [`Usage`] is counted together, and where the counts are kept.
//!
//! Where nobody has to say who they are, each client address is counted by itself (an IPv6 client by its /64), and on unix
//! sockets each user.
//!
//! Invariant: an account that is not used any more is given up, so the table is as large as what is going on; beyond a bound
//! all further ones are one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::usage::Usage;
use super::{Principal, Remote};
use crate::metrics::{Limit, limit_hit};

/// The accounts there are.
#[derive(Debug)]
pub struct Accounts {
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    accounts: FxHashMap<Account, Arc<Usage>>,
    /// As many as there may be before those that are not used any more are looked for.
    sweep_at: usize,
    swept: Option<Instant>,
}

/// Who is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Account {
    Principal(Principal),
    Remote(Remote),
    /// All whose own account the table has no room for.
    Others,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { table: Mutex::new(Table { accounts: FxHashMap::default(), sweep_at: SWEEP_MIN, swept: None }) }
    }
}

impl Accounts {
    /// The account of a principal, or, where it is nobody in particular, of a client that is there.
    pub fn of(&self, principal: &Principal, remote: Remote) -> Arc<Usage> {
        let account = match principal.label() {
            Some(_) => Account::Principal(principal.clone()),
            None => Account::Remote(remote.counted()),
        };
        let mut table = self.lock();
        if let Some(usage) = table.accounts.get(&account) {
            return Arc::clone(usage);
        }
        table.sweep(Instant::now());
        let account = if table.accounts.len() >= ACCOUNTS_MAX {
            limit_hit(Limit::Accounts);
            Account::Others
        } else {
            account
        };
        Arc::clone(table.accounts.entry(account).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().accounts.len()
    }
}

impl Table {
    /// Gives up the accounts that are not used any more, if there are many, and not all the time.
    fn sweep(&mut self, now: Instant) {
        if self.accounts.len() < self.sweep_at || self.swept.is_some_and(|swept| now < swept + SWEEP_PERIOD) {
            return;
        }
        self.accounts.retain(|_, usage| Arc::strong_count(usage) > 1 || !usage.is_forgotten());
        self.sweep_at = (self.accounts.len() * 2).clamp(SWEEP_MIN, ACCOUNTS_MAX);
        self.swept = Some(now);
    }
}

const SWEEP_MIN: usize = 1024;
/// The shortest time between two sweeps: each looks at every account.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);
/// Each takes about 200 bytes.
const ACCOUNTS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::usage::tests::rate;
    use super::*;
    use crate::metrics::limit_hits;

    const HERE: Remote = Remote::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));

    fn ip(address: impl Into<IpAddr>) -> Remote {
        Remote::Address(address.into())
    }

    #[tokio::test(start_paused = true)]
    async fn one_principals_requests_are_none_of_anothers() {
        let accounts = Accounts::default();
        let (a, b) = (Principal::named("a"), Principal::named("b"));
        assert!(accounts.of(&a, HERE).request(1, &rate(1000, 1)).is_ok());
        assert!(accounts.of(&a, ip([10, 0, 0, 9])).request(1, &rate(1000, 1)).is_err());
        assert!(accounts.of(&b, HERE).request(1, &rate(1000, 1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_in_particular_is_counted_by_address_and_ipv6_by_network() {
        let (accounts, nobody) = (Accounts::default(), Principal::anonymous());
        let ask_of = |remote| accounts.of(&nobody, remote).request(1, &rate(1000, 1)).is_ok();
        let ask = |address: &str| ask_of(ip(address.parse::<IpAddr>().expect("one")));
        assert!(ask("10.0.0.1") && ask("10.0.0.2") && !ask("10.0.0.1") && !ask("::ffff:10.0.0.2"));
        assert!(ask("2001:db8::1") && !ask("2001:db8::ffff:2") && ask("2001:db8:0:1::1"));
        assert!(ask_of(Remote::User(1)) && ask_of(Remote::User(2)) && !ask_of(Remote::User(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_that_are_not_used_any_more_are_given_up() {
        let (accounts, nobody) = (Accounts::default(), Principal::anonymous());
        let held = accounts.of(&Principal::named("held"), HERE);
        let address = |at: u32| ip(Ipv4Addr::from(at));
        for at in 0..3000 {
            let _ = accounts.of(&nobody, address(at)).request(1, &rate(1, 1));
            tokio::time::advance(Duration::from_millis(3)).await;
        }
        assert!(accounts.len() <= SWEEP_MIN, "{}", accounts.len());
        assert!(Arc::ptr_eq(&held, &accounts.of(&Principal::named("held"), HERE)));
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_is_no_room_for_an_account_the_others_share_one() {
        let (accounts, nobody) = (Accounts::default(), Principal::anonymous());
        let slow = rate(3_600_000, 1);
        for at in 0..u32::try_from(ACCOUNTS_MAX).expect("fits") {
            assert!(accounts.of(&nobody, ip(Ipv4Addr::from(at))).request(1, &slow).is_ok());
        }
        assert!(accounts.of(&nobody, ip([200, 0, 0, 1])).request(1, &slow).is_ok());
        assert!(accounts.of(&nobody, ip([200, 0, 0, 2])).request(1, &slow).is_err());
        assert_eq!((accounts.len(), limit_hits(Limit::Accounts)), (ACCOUNTS_MAX + 1, 2));
    }
}
