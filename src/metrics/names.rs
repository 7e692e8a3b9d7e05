//! The closed sets of labels, and the gauges and counters that each server has.

use crate::mcp::method;

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $label:expr, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = $text] $variant,)+
        }

        impl $name {
            /// Every one, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The value of the label.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }
        }
    };
}

labels! {
    /// What came of a client's request: the label `outcome`.
    Outcome {
        Ok = "ok", "It was answered with a result.";
        ToolError = "tool-error", "It was answered with a tool's result that says `isError`.";
        Error = "error", "The server answered it with an error.";
        InputRequired = "input-required", "The client is to come back with what the server wants to know first.";
        Cancelled = "cancelled", "The client cancelled it.";
        Disconnected = "disconnected", "The client left before the answer was there.";
        Timeout = "timeout", "The server, or a client that it asked, did not answer in time.";
        ChildExited = "child-exited", "The process exited before it answered.";
        ChildUnavailable = "child-unavailable", "There is no process that works.";
        Unusable = "unusable", "The server's answer could not be passed on.";
        Overloaded = "overloaded", "There was no room for it, or for its answer.";
        Limited = "limited", "It was more than its client may have.";
        Invalid = "invalid", "There was something wrong with it.";
        Denied = "denied", "Its client may not do that.";
        SessionUnknown = "session-unknown", "Its session is not there (any more).";
        ShuttingDown = "shutting-down", "mcp-mux was stopping, or its session was closed meanwhile.";
    }
}

labels! {
    /// The method of a client's request: the label `method`. Those of the specification; everything else is `other`, or
    /// clients could make up series.
    Method {
        Initialize = method::INITIALIZE, "The legacy handshake.";
        Discover = method::DISCOVER, "The modern one.";
        Ping = method::PING, "A ping.";
        ToolsList = method::TOOLS_LIST, "Which tools there are.";
        ToolsCall = method::TOOLS_CALL, "A tool is called.";
        ResourcesList = method::RESOURCES_LIST, "Which resources there are.";
        ResourceTemplatesList = method::RESOURCE_TEMPLATES_LIST, "Which templates of resources there are.";
        ResourcesRead = method::RESOURCES_READ, "A resource is read.";
        Subscribe = method::SUBSCRIBE, "A resource is watched.";
        Unsubscribe = method::UNSUBSCRIBE, "It is not any more.";
        PromptsList = method::PROMPTS_LIST, "Which prompts there are.";
        PromptsGet = method::PROMPTS_GET, "A prompt is fetched.";
        Complete = method::COMPLETE, "An argument is completed.";
        SetLevel = method::SET_LEVEL, "A log level is set.";
        TasksGet = method::TASKS_GET, "A task's state.";
        TasksResult = method::TASKS_RESULT, "A task's result.";
        TasksList = method::TASKS_LIST, "Which tasks there are.";
        TasksCancel = method::TASKS_CANCEL, "A task is cancelled.";
        TasksUpdate = method::TASKS_UPDATE, "A task is told something.";
        Listen = method::LISTEN, "A subscription of the modern era.";
        Other = "other", "None of the specification's.";
        Unread = "unread", "It was refused, or its client left, before it was read.";
    }
}

impl Method {
    /// The label for a request of that method.
    pub fn of(name: &str) -> Self {
        // By how often they come.
        match name {
            method::TOOLS_CALL => Self::ToolsCall,
            method::TOOLS_LIST => Self::ToolsList,
            method::PING => Self::Ping,
            _ => Self::ALL
                .iter()
                .copied()
                .find(|one| one.as_str() == name)
                .filter(|one| *one != Self::Unread)
                .unwrap_or(Self::Other),
        }
    }
}

/// A value of a server's that goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their help texts are in GAUGES")]
pub enum Gauge {
    ServerAsleep,
    ServerWaiting,
    ServerStarting,
    ServerStarted,
    ServerStopping,
    ServerFailed,
    SessionsStreamable,
    SessionsHttpSse,
    SessionsStateless,
    SessionsModern,
    Streams,
    ChildrenStarting,
    ChildrenReady,
    ChildrenRestarting,
    ChildrenCircuitOpen,
    ChildrenFailed,
    RequestsInFlight,
    RequestsWaiting,
    SessionsWaiting,
    StdinWaiting,
}

impl Gauge {
    /// How many there are.
    pub(super) const COUNT: usize = Self::StdinWaiting as usize + 1;
}

/// A value of a server's that only goes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "their help texts are in COUNTERS")]
pub enum Counter {
    ChildStarts,
    ChildRestarts,
    ChildWritten,
    ChildRead,
    ClientReceived,
    ClientSent,
    Unattributed,
    NoiseLines,
}

impl Counter {
    /// How many there are.
    pub(super) const COUNT: usize = Self::NoiseLines as usize + 1;
}

/// In what a metric is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// It is counted.
    None,
    Bytes,
}

/// One metric: its name without `mcp_mux_` and without its unit, and what it is made of.
#[derive(Debug)]
pub(super) struct Family<T: 'static> {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) help: &'static str,
    /// The label beside `server`, if there is one.
    pub(super) label: Option<&'static str>,
    /// Each with the value of that label.
    pub(super) members: &'static [(T, &'static str)],
}

const fn plain<T>(
    name: &'static str,
    unit: Unit,
    help: &'static str,
    members: &'static [(T, &'static str)],
) -> Family<T> {
    Family { name, unit, help, label: None, members }
}

/// The gauges of a server.
pub(super) const GAUGES: &[Family<Gauge>] = &[
    Family {
        name: "server_state",
        unit: Unit::None,
        help: "1 for what the server is, 0 for what it is not",
        label: Some("state"),
        members: &[
            (Gauge::ServerAsleep, "asleep"),
            (Gauge::ServerWaiting, "waiting"),
            (Gauge::ServerStarting, "starting"),
            (Gauge::ServerStarted, "started"),
            (Gauge::ServerStopping, "stopping"),
            (Gauge::ServerFailed, "failed"),
        ],
    },
    Family {
        name: "sessions",
        unit: Unit::None,
        help: "Sessions, and exchanges without one, as --sessions-max counts them",
        label: Some("transport"),
        members: &[
            (Gauge::SessionsStreamable, "streamable-http"),
            (Gauge::SessionsHttpSse, "http-sse"),
            (Gauge::SessionsStateless, "stateless"),
            (Gauge::SessionsModern, "modern"),
        ],
    },
    plain("streams", Unit::None, "Event streams that clients have open", &[(Gauge::Streams, "")]),
    Family {
        name: "children",
        unit: Unit::None,
        help: "Places for server processes, by how what is in them is doing",
        label: Some("state"),
        members: &[
            (Gauge::ChildrenStarting, "starting"),
            (Gauge::ChildrenReady, "ready"),
            (Gauge::ChildrenRestarting, "restarting"),
            (Gauge::ChildrenCircuitOpen, "circuit-open"),
            (Gauge::ChildrenFailed, "failed"),
        ],
    },
    plain(
        "requests_in_flight",
        Unit::None,
        "Requests of clients that have no outcome yet",
        &[(Gauge::RequestsInFlight, "")],
    ),
    plain(
        "requests_waiting",
        Unit::None,
        "Requests that wait for a process to be ready, or for room in its input (--queue-bytes-max)",
        &[(Gauge::RequestsWaiting, "")],
    ),
    plain(
        "sessions_waiting",
        Unit::None,
        "Sessions and exchanges that wait for one of --children-max processes",
        &[(Gauge::SessionsWaiting, "")],
    ),
    plain(
        "child_stdin_waiting",
        Unit::Bytes,
        "What waits for the processes' stdin, as --queue-bytes-max counts it",
        &[(Gauge::StdinWaiting, "")],
    ),
];

/// The counters of a server.
pub(super) const COUNTERS: &[Family<Counter>] = &[
    plain("child_starts", Unit::None, "Server processes that were started", &[(Counter::ChildStarts, "")]),
    plain(
        "child_restarts",
        Unit::None,
        "Server processes that were started because the one before failed",
        &[(Counter::ChildRestarts, "")],
    ),
    plain("child_written", Unit::Bytes, "Bytes written to processes", &[(Counter::ChildWritten, "")]),
    plain("child_read", Unit::Bytes, "Bytes read from processes' stdout", &[(Counter::ChildRead, "")]),
    plain(
        "client_received",
        Unit::Bytes,
        "Bytes of messages received from clients, without HTTP's own",
        &[(Counter::ClientReceived, "")],
    ),
    plain(
        "client_sent",
        Unit::Bytes,
        "Bytes of answers and events handed out to clients, without HTTP's own",
        &[(Counter::ClientSent, "")],
    ),
    plain(
        "unattributed_messages",
        Unit::None,
        "Messages of processes that could not be attributed to one client, and so went to none",
        &[(Counter::Unattributed, "")],
    ),
    plain(
        "noise_lines",
        Unit::None,
        "Lines on processes' stdout that are no message, or none of use",
        &[(Counter::NoiseLines, "")],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gauge_and_counter_is_in_one_family() {
        let gauges: Vec<usize> = GAUGES.iter().flat_map(|one| one.members).map(|(one, _)| *one as usize).collect();
        assert_eq!(gauges, (0..Gauge::COUNT).collect::<Vec<_>>());
        let counters: Vec<usize> = COUNTERS.iter().flat_map(|one| one.members).map(|(one, _)| *one as usize).collect();
        assert_eq!(counters, (0..Counter::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn a_method_that_the_specification_does_not_have_is_other() {
        for method in Method::ALL.iter().filter(|method| **method != Method::Unread) {
            assert_eq!(Method::of(method.as_str()), *method);
        }
        for name in ["", "unread", "tools/call ", "vendor/anything", "notifications/progress"] {
            assert_eq!(Method::of(name), Method::Other, "{name}");
        }
    }
}
