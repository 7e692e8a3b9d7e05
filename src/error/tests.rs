use super::*;

/// One of each. A new variant does not compile until it is here.
fn all() -> Vec<Reject> {
    use Reject::*;
    let second = Duration::from_secs(1);
    let exited =
        ChildExited { status: "exit status: 3".into(), exit_code: Some(3), signal: None, stderr: Arc::default() };
    let all = vec![
        Parse("x".into()),
        InvalidRequest("x".into()),
        InvalidParams("x".into()),
        NotAllowed(Named::Tool),
        UnsupportedMediaType,
        NotAcceptable("x"),
        MethodNotAllowed("x"),
        NotFound,
        ServerUnnamed,
        ServerUnknown,
        SessionMissing,
        SessionUnknown,
        VersionUnsupported,
        EventUnknown,
        StreamEnded,
        HostMissing,
        HostForbidden,
        OriginForbidden,
        Unauthenticated,
        CredentialInvalid("x".into()),
        ScopeMissing("x".into()),
        RateLimited { retry_after: second },
        PrincipalSessions { limit: 1 },
        PrincipalInFlight { limit: 1 },
        KeysUnavailable,
        HeadTooLarge { limit: 1 },
        TooManyHeaders { limit: 1 },
        BodyTooLarge { limit: 1 },
        BodyTimeout(second),
        InFlight { limit: 1 },
        MessagesWaiting { limit: 8 },
        Sessions { limit: 1 },
        QueueFull(second),
        Children { limit: 1, waited: second },
        exited,
        ChildUnavailable("x".into()),
        CircuitOpen { retry_after: second },
        RequestTimeout(second, "x", Awaited::Server),
        ChildAnswerUnusable("x".into()),
        ShuttingDown,
        SessionClosed,
        AnswerNotKept { limit: 1, flag: "x" },
    ];
    for reject in &all {
        match reject {
            Parse(_) | InvalidRequest(_) | InvalidParams(_) | UnsupportedMediaType | NotAcceptable(_) => {}
            NotAllowed(Named::Tool | Named::Prompt | Named::Resource | Named::LegacyResource) => {}
            MethodNotAllowed(_) | NotFound | ServerUnnamed | ServerUnknown | SessionMissing | SessionUnknown
            | VersionUnsupported => {}
            EventUnknown | StreamEnded | HostMissing | HostForbidden | OriginForbidden => {}
            Unauthenticated | CredentialInvalid(_) | ScopeMissing(_) | KeysUnavailable => {}
            RateLimited { .. } | PrincipalSessions { .. } | PrincipalInFlight { .. } => {}
            HeadTooLarge { .. } | TooManyHeaders { .. } => {}
            BodyTooLarge { .. } | BodyTimeout(_) | InFlight { .. } | MessagesWaiting { .. } | Sessions { .. } => {}
            QueueFull(_) | Children { .. } | ChildExited { .. } | ChildUnavailable(_) | CircuitOpen { .. } => {}
            RequestTimeout(..) | ChildAnswerUnusable(_) | ShuttingDown | SessionClosed | AnswerNotKept { .. } => {}
        }
    }
    all
}

#[test]
fn every_reject_is_in_the_readme_with_its_status_and_code() {
    let readme = include_str!("../../README.md");
    for reject in all() {
        let Wire { status, code, kind } = reject.wire();
        let row = readme.lines().find(|line| line.starts_with("| `") && line.contains(&format!("`{kind}`")));
        let row = row.unwrap_or_else(|| panic!("{kind} is not in the README's table of errors"));
        let status = if status == StatusCode::OK { "in the answer".to_owned() } else { status.as_u16().to_string() };
        assert!(row.contains(&status) && row.contains(&format!(" {code} ")), "{kind}: {status}, {code}: {row}");
    }
}

#[test]
fn what_is_not_allowed_looks_like_what_is_not_there() {
    let all = [Named::Tool, Named::Prompt, Named::Resource, Named::LegacyResource].map(Reject::NotAllowed);
    let codes = all.each_ref().map(|reject| reject.wire().code);
    assert_eq!(codes, [code::INVALID_PARAMS, code::INVALID_PARAMS, code::INVALID_PARAMS, code::RESOURCE_NOT_FOUND]);
    assert!(all.iter().all(|reject| reject.to_string().starts_with("unknown ") && reject.wire().status == 200));
    let readme = include_str!("../../README.md");
    assert!(readme.lines().any(|line| line.starts_with("| `not-allowed` | in the answer | -32602 or -32002 |")));
}

#[test]
fn kinds_are_distinct_and_codes_are_json_rpcs_or_in_the_documented_range() {
    let mut kinds: Vec<&str> = all().iter().map(|reject| reject.wire().kind).collect();
    kinds.sort_unstable();
    let count = kinds.len();
    kinds.dedup();
    assert_eq!(kinds.len(), count);
    for reject in all() {
        let standard = [code::PARSE_ERROR, code::INVALID_REQUEST, code::INVALID_PARAMS];
        let code = reject.wire().code;
        assert!(standard.contains(&code) || (-31099..=-31000).contains(&code), "{reject}");
        assert_eq!(reject.data()["source"], "mcp-mux");
        assert_eq!(reject.error_object()["message"], reject.to_string());
    }
}

#[test]
fn every_405_says_what_is_allowed() {
    for reject in all() {
        let is_405 = reject.wire().status == StatusCode::METHOD_NOT_ALLOWED;
        assert_eq!(reject.allowed_methods().is_some(), is_405, "{reject:?}");
    }
}
