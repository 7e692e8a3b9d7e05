//! Pools without processes, for the layers above and for the pool's own tests.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::task::TaskTracker;

use super::{Ask, Pool, Spawn};
use crate::child::{ChildHandle, Eras, Tenancy};
use crate::config::{Bounds, Isolation, PoolConfig};
use crate::mcp::Era;
use crate::metrics::ServerMetrics;
use crate::router::Sharing;

/// A configuration of that isolation: one child shared, or at most two; nothing idles.
pub(crate) fn config(isolation: Isolation) -> PoolConfig {
    PoolConfig {
        isolation,
        size: NonZeroUsize::MIN,
        warm: 0,
        children_max: NonZeroUsize::new(2).expect("not zero"),
        idle_timeout: None,
        queue_timeout: Duration::from_secs(60),
        header_env: Vec::new(),
        cache_bytes: 0,
        bounds: Bounds::default(),
    }
}

impl Pool {
    /// One child, which everybody shares.
    pub(crate) fn of(child: ChildHandle) -> Arc<Self> {
        let only = Mutex::new(Some(child));
        let spawn = move |_| only.lock().expect("not poisoned").take().expect("one child is enough");
        let (config, eras) = (config(Isolation::Shared), Eras::said(Era::Legacy));
        Self::start_with(
            config,
            Sharing::Shared,
            Box::new(spawn),
            eras,
            nobody(),
            (ServerMetrics::unnamed(), &TaskTracker::new()),
        )
    }

    /// Children that `spawn` makes up.
    pub(crate) fn with(
        config: PoolConfig,
        spawn: impl Fn(Tenancy) -> ChildHandle + Send + Sync + 'static,
        tracker: &TaskTracker,
    ) -> Arc<Self> {
        Self::asking(config, Sharing::Private, spawn, Eras::said(Era::Legacy), nobody(), tracker)
    }

    /// The same, of a command whose eras are asked for unless they are known.
    pub(crate) fn asking(
        config: PoolConfig,
        own: Sharing,
        spawn: impl Fn(Tenancy) -> ChildHandle + Send + Sync + 'static,
        eras: Eras,
        ask: Ask,
        tracker: &TaskTracker,
    ) -> Arc<Self> {
        let spawn: Spawn = Box::new(spawn);
        Self::start_with(config, own, spawn, eras, ask, (ServerMetrics::unnamed(), tracker))
    }
}

/// Nobody is asked for the eras.
fn nobody() -> Ask {
    Box::new(|| Box::pin(std::future::pending()))
}
