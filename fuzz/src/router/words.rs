//! What sessions and children say when they keep to the rules.

/// Ids of clients.
pub const IDS: [&str; 6] = ["0", "1", r#""1""#, "1e2", "12345678901234567890123", r#""é""#];
/// What clients ask for: methods, and members of their params.
pub const METHODS: [(&str, &str); 16] = [
    ("tools/call", r#""name":"t","arguments":{}"#),
    ("tools/list", ""),
    ("resources/subscribe", r#""uri":"x:/0""#),
    ("resources/unsubscribe", r#""uri":"x:/0""#),
    ("resources/subscribe", r#""uri":"x:/1""#),
    ("logging/setLevel", r#""level":"debug""#),
    ("logging/setLevel", r#""level":"error""#),
    ("initialize", r#""protocolVersion":"2025-11-25","capabilities":{"sampling":{}}"#),
    ("ping", ""),
    ("subscriptions/listen", r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:/0"]}"#),
    ("tools/call", r#""name":"t","task":{"ttl":1}"#),
    ("tasks/get", r#""taskId":"k""#),
    ("tasks/cancel", r#""taskId":"k""#),
    ("tasks/list", ""),
    ("resources/read", r#""uri":"x:/0""#),
    ("prompts/get", r#""name":"p""#),
];
/// Members of results.
pub const RESULTS: [&str; 8] = [
    r#""content":[]"#,
    r#""resultType":"input_required","inputRequests":{"a":{"method":"sampling/createMessage","params":{}}},"requestState":"s""#,
    r#""resultType":"complete","ttlMs":1000,"cacheScope":"public""#,
    r#""task":{"taskId":"k","status":"working"}"#,
    r#""resultType":"task","taskId":"k","status":"working""#,
    r#""tasks":[{"taskId":"k"},{"taskId":"l"}]"#,
    r#""resultType":7"#,
    r#""resultType":"input_required","inputRequests":{}"#,
];
/// Members of the result of `initialize`.
pub const INTRODUCTION: &str = r#""protocolVersion":"2025-11-25","capabilities":{"logging":{},"tools":{"listChanged":true},"resources":{"subscribe":true},"tasks":{}},"serverInfo":{"name":"s","version":"1"}"#;
/// Members of the result of `server/discover`.
pub const DISCOVERY: &str = r#""supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":true},"logging":{},"extensions":{"io.modelcontextprotocol/tasks":{}}},"resultType":"complete","ttlMs":0,"cacheScope":"private""#;
/// What a child asks for.
pub const QUESTIONS: [(&str, &str); 4] = [
    ("sampling/createMessage", ""),
    ("elicitation/create", r#""mode":"form","message":"m""#),
    ("elicitation/create", r#""mode":"url","elicitationId":"e","url":"https://e.example""#),
    ("roots/list", ""),
];
/// What a child says besides; `$` is an id of a request.
pub const NEWS: [(&str, &str); 9] = [
    ("notifications/tools/list_changed", ""),
    ("notifications/resources/updated", r#""uri":"x:/0""#),
    ("notifications/message", r#""level":"error","data":1"#),
    ("notifications/cancelled", r#""requestId":$"#),
    (
        "notifications/subscriptions/acknowledged",
        r#""notifications":{"toolsListChanged":true,"resourceSubscriptions":["x:/0"]}"#,
    ),
    ("notifications/tasks/status", r#""taskId":"k","status":"completed""#),
    ("notifications/elicitation/complete", r#""elicitationId":"e""#),
    ("notifications/tasks", r#""taskId":"k","status":"completed""#),
    ("notifications/x", ""),
];
