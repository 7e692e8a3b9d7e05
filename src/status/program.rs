//! The program, and how its servers are doing, taken together.

use serde::Serialize;

use super::model::Server;

/// The program.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// Its version.
    pub version: &'static str,
    /// Its pid.
    pub pid: u32,
    /// Tells this run from another.
    pub started_unix_ms: u64,
    /// When this was true.
    pub now_unix_ms: u64,
    /// Whether requests can be answered: how the best of its servers is doing.
    pub standing: &'static str,
    /// Whether somebody should look after it: how the worst of those servers is doing that are to be served.
    pub worst: &'static str,
    /// How many of its servers are to be served.
    pub enabled: usize,
    /// How many of these do not work.
    pub failing: usize,
    /// The memory it has itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// What is wrong with a server, from bad to worst.
const TROUBLES: [&str; 4] = ["restarting", "circuit-open", "invalid", "failed"];

impl Server {
    /// Whether it is to be served.
    pub(super) fn is_enabled(&self) -> bool {
        self.state != "disabled"
    }

    /// Whether it is to be served and does not work, also while it is tried once more.
    pub(super) fn fails(&self) -> bool {
        self.is_enabled() && (self.why.is_some() || matches!(self.state, "circuit-open" | "invalid" | "failed"))
    }

    /// How bad it is; none if it is not.
    fn trouble(&self) -> Option<usize> {
        let known = TROUBLES.iter().position(|trouble| *trouble == self.state);
        if self.fails() { known.or(Some(TROUBLES.len() - 1)) } else { known }
    }
}

/// How the worst of them is doing; if nothing is wrong with any, as they do together.
pub(super) fn worst(servers: &[Server], standing: &'static str) -> &'static str {
    let worst = servers.iter().filter_map(Server::trouble).max();
    worst.and_then(|worst| TROUBLES.get(worst)).copied().unwrap_or(standing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_those_that_are_to_be_served_is_told() {
        let server = |state, why: Option<&str>| Server::without_parts("a".to_owned(), state, why.map(str::to_owned));
        let told = |servers: &[Server]| {
            let failing = servers.iter().filter(|server| server.fails()).count();
            (worst(servers, "ready"), failing)
        };
        let (ready, asleep, disabled) = (server("ready", None), server("asleep", None), server("disabled", None));
        let well = [ready.clone(), asleep, disabled, server("starting", None)];
        assert_eq!(told(&well), ("ready", 0));
        assert_eq!(told(&[]), ("ready", 0));
        assert_eq!(told(&[ready.clone(), server("restarting", None)]), ("restarting", 0));
        assert_eq!(
            told(&[ready.clone(), server("circuit-open", None), server("restarting", None)]),
            ("circuit-open", 1)
        );
        assert_eq!(told(&[server("invalid", Some("no command")), ready.clone()]), ("invalid", 1));
        // It is tried again, and nobody knows whether that will help.
        let again = server("starting", Some("it exited"));
        assert_eq!(told(&[again, ready, server("circuit-open", None)]), ("failed", 2));
    }
}
