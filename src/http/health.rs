//! What a supervisor or a load balancer asks: does the process serve, and does its child.
//!
//! The answers name the state and nothing else: they are read without authentication, so no reason, no stderr.

use http::StatusCode;
use serde_json::{Value, json};

use crate::child::ChildState;

/// `GET /healthz`: the process serves. It does so whatever its child does; killing mcp-mux would not help a child that
/// restarts.
pub fn healthz(_child: &ChildState) -> (StatusCode, Value) {
    (StatusCode::OK, json!({"status": "ok"}))
}

/// `GET /readyz`: requests can be answered now, that is, the child's handshake stands.
pub fn readyz(child: &ChildState) -> (StatusCode, Value) {
    let (status, name) = match child {
        ChildState::Ready => (StatusCode::OK, "ready"),
        ChildState::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        ChildState::Restarting(_) => (StatusCode::SERVICE_UNAVAILABLE, "restarting"),
        ChildState::CircuitOpen(_) => (StatusCode::SERVICE_UNAVAILABLE, "circuit-open"),
        ChildState::Failed(_) => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
        ChildState::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "stopped"),
    };
    (status, json!({"status": name}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_standing_handshake_is_ready_and_no_reason_is_told() {
        assert_eq!(readyz(&ChildState::Ready), (StatusCode::OK, json!({"status": "ready"})));
        let down = [
            (ChildState::Starting, "starting"),
            (ChildState::Restarting("secret".to_owned()), "restarting"),
            (ChildState::CircuitOpen("secret".to_owned()), "circuit-open"),
            (ChildState::Failed("secret".to_owned()), "failed"),
            (ChildState::Stopped, "stopped"),
        ];
        for (state, name) in down {
            assert_eq!(healthz(&state), (StatusCode::OK, json!({"status": "ok"})));
            assert_eq!(readyz(&state), (StatusCode::SERVICE_UNAVAILABLE, json!({"status": name})));
        }
    }
}
