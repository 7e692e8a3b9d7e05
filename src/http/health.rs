//! What a supervisor or a load balancer asks: does the process serve, and do its children.
//!
//! The answers name states and counts and nothing else: they are read without authentication, so no reason, no stderr.

use http::StatusCode;
use serde::Serialize;

use crate::pool::{Health, Standing};

/// The whole of an answer, in this order.
#[derive(Serialize)]
struct Report {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    children: Option<Children>,
}

#[derive(Serialize)]
struct Children {
    ready: usize,
    total: usize,
}

/// `GET /healthz`: the process serves. It does so whatever its children do; killing mcp-mux would not help one that
/// restarts.
pub fn healthz() -> (StatusCode, String) {
    (StatusCode::OK, text(&Report { status: "ok", children: None }))
}

/// `GET /readyz`: a request that comes now can be answered.
pub fn readyz(health: Health) -> (StatusCode, String) {
    let Health { standing, ready, total } = health;
    let code = if standing == Standing::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, text(&Report { status: standing.as_str(), children: Some(Children { ready, total }) }))
}

fn text(report: &Report) -> String {
    // Plain data is always JSON.
    serde_json::to_string(report).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_standing_handshake_is_ready_and_counts_are_all_that_is_told() {
        assert_eq!(healthz(), (StatusCode::OK, r#"{"status":"ok"}"#.to_owned()));
        let all = [
            (Standing::Ready, 200, "ready"),
            (Standing::Starting, 503, "starting"),
            (Standing::Restarting, 503, "restarting"),
            (Standing::CircuitOpen, 503, "circuit-open"),
            (Standing::Failed, 503, "failed"),
            (Standing::Stopped, 503, "stopped"),
        ];
        for (standing, code, name) in all {
            let (status, text) = readyz(Health { standing, ready: 3, total: 4 });
            assert_eq!(status.as_u16(), code);
            assert_eq!(text, format!(r#"{{"status":"{name}","children":{{"ready":3,"total":4}}}}"#));
        }
    }
}
