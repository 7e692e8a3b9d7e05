use super::*;

const LIST: &str =
    r#"{"resultType":"complete","tools":[],"ttlMs":1000,"cacheScope":"public","_meta":{"a":{"ttlMs":7}}}"#;

fn ask(cache: &ResponseCache, method: &str, params: &str, now: Instant) -> Lookup {
    cache.lookup(method, Some(params), now)
}

fn keep(cache: &ResponseCache, method: &str, params: &str, result: &str, now: Instant) {
    let Lookup::Miss(ticket) = ask(cache, method, params, now) else { panic!("nothing is there") };
    cache.store(ticket, &Bytes::copy_from_slice(result.as_bytes()), now);
}

fn is_kept(cache: &ResponseCache, method: &str, params: &str, now: Instant) -> bool {
    matches!(ask(cache, method, params, now), Lookup::Hit(_))
}

fn with_uri(uri: &str) -> String {
    format!(r#"{{"uri":"{uri}"}}"#)
}

#[test]
fn a_result_is_served_until_its_time_is_over_and_says_what_is_left_of_it() {
    let (cache, now) = (ResponseCache::new(10_000), Instant::now());
    keep(&cache, "tools/list", "{}", LIST, now);
    let later = |ms| now + Duration::from_millis(ms);
    let Lookup::Hit(result) = cache.lookup("tools/list", None, later(400)) else { panic!("it is fresh") };
    assert_eq!(result, LIST.replacen("1000", "600", 1));
    assert!(is_kept(&cache, "tools/list", "{}", later(999)));
    assert!(!is_kept(&cache, "tools/list", "{}", later(1000)));
    assert_eq!(cache.lock().bytes, 0);
    // Longer than anything is kept.
    keep(&cache, "tools/list", "{}", &LIST.replace("1000", &u64::MAX.to_string()), now);
    assert!(is_kept(&cache, "tools/list", "{}", now + AGE_MAX / 2));
    assert!(!is_kept(&cache, "tools/list", "{}", now + AGE_MAX));
}

#[test]
fn only_what_anybody_may_have_is_kept() {
    let (cache, now) = (ResponseCache::new(10_000), Instant::now());
    for (result, kept) in [
        (r#"{"ttlMs":1,"cacheScope":"public"}"#, true),
        (r#"{"cacheScope":"public","ttlMs": 1 ,"resultType":"complete"}"#, true),
        (r#"{"ttlMs":1,"cacheScope":"private"}"#, false),
        (r#"{"ttlMs":1}"#, false),
        (r#"{"ttlMs":0,"cacheScope":"public"}"#, false),
        (r#"{"ttlMs":-1,"cacheScope":"public"}"#, false),
        (r#"{"ttlMs":"1","cacheScope":"public"}"#, false),
        (r#"{"ttlMs":1.5,"cacheScope":"public"}"#, false),
        (r#"{"ttlMs":1,"ttlMs":1,"cacheScope":"public"}"#, false),
        (r#"{"cacheScope":"public"}"#, false),
        (r#"{"ttlMs":1,"cacheScope":"public","resultType":"input_required"}"#, false),
        (r#"{"ttlMs":1,"cacheScope":"public","resultType":"task"}"#, false),
        (r#"{"ttlMs":1,"cacheScope":"public","inputRequests":{}}"#, false),
        ("[]", false),
        ("", false),
    ] {
        keep(&cache, "tools/list", "{}", result, now);
        assert_eq!(is_kept(&cache, "tools/list", "{}", now), kept, "{result}");
        cache.clear();
    }
}

#[test]
fn the_key_is_the_method_and_all_parameters_but_meta() {
    let (cache, now) = (ResponseCache::new(10_000), Instant::now());
    keep(&cache, "resources/list", r#"{"cursor":"a","_meta":{"progressToken":1}}"#, LIST, now);
    for (method, params, kept) in [
        ("resources/list", r#"{"_meta":{"progressToken":2},"cursor":"a"}"#, true),
        ("resources/list", r#"{ "\u0063ursor" : "a" }"#, true),
        ("resources/list", r#"{"cursor":"b"}"#, false),
        ("resources/list", r#"{"cursor":"a","x":1}"#, false),
        ("resources/list", r#"{"Cursor":"a"}"#, false),
        ("resources/list", "{}", false),
        ("resources/templates/list", r#"{"cursor":"a"}"#, false),
    ] {
        assert_eq!(is_kept(&cache, method, params, now), kept, "{method} {params}");
    }
    for (method, params) in [
        ("tools/call", "{}"),
        ("prompts/get", "{}"),
        ("resources/list", r#"{"cursor":"a","cursor":"a"}"#),
        ("resources/list", r#"{"cursor":"a","inputResponses":{}}"#),
        ("resources/list", r#"{"cursor":"a","requestState":"s"}"#),
        ("resources/list", "[]"),
    ] {
        assert_eq!(ask(&cache, method, params, now), Lookup::Uncacheable, "{method} {params}");
    }
    assert_eq!(ResponseCache::new(0).lookup("tools/list", None, now), Lookup::Uncacheable);
}

#[test]
fn a_notification_drops_what_it_is_about() {
    let kept = |notification: &str, uri: Option<&str>| {
        let (cache, now) = (ResponseCache::new(100_000), Instant::now());
        let (one, two) = (with_uri("note:///a/one"), with_uri("note:///b"));
        let requests = [
            ("tools/list", "{}"),
            ("prompts/list", "{}"),
            ("resources/list", "{}"),
            ("resources/templates/list", "{}"),
            ("resources/read", one.as_str()),
            ("resources/read", two.as_str()),
            ("server/discover", "{}"),
        ];
        for (method, params) in requests {
            keep(&cache, method, params, LIST, now);
        }
        cache.invalidate(notification, uri);
        requests.map(|(method, params)| u8::from(is_kept(&cache, method, params, now)))
    };
    assert_eq!(kept("notifications/tools/list_changed", None), [0, 1, 1, 1, 1, 1, 1]);
    assert_eq!(kept("notifications/prompts/list_changed", None), [1, 0, 1, 1, 1, 1, 1]);
    assert_eq!(kept("notifications/resources/list_changed", None), [1, 1, 0, 0, 0, 0, 1]);
    assert_eq!(kept("notifications/resources/updated", Some("note:///a/one")), [1, 1, 1, 1, 0, 1, 1]);
    // A part of it, and what it is part of.
    assert_eq!(kept("notifications/resources/updated", Some("note:///a/one/1")), [1, 1, 1, 1, 0, 1, 1]);
    assert_eq!(kept("notifications/resources/updated", Some("note:///a")), [1, 1, 1, 1, 0, 1, 1]);
    assert_eq!(kept("notifications/resources/updated", None), [1, 1, 0, 0, 0, 0, 1]);
    assert_eq!(kept("notifications/message", None), [1; 7]);
}

#[test]
fn an_answer_that_a_notification_overtook_is_not_kept() {
    let (cache, now) = (ResponseCache::new(10_000), Instant::now());
    let Lookup::Miss(ticket) = cache.lookup("tools/list", None, now) else { panic!("nothing is there") };
    cache.invalidate("notifications/prompts/list_changed", None);
    cache.store(ticket.clone(), &Bytes::from_static(LIST.as_bytes()), now);
    assert!(is_kept(&cache, "tools/list", "{}", now));
    cache.invalidate("notifications/tools/list_changed", None);
    cache.store(ticket, &Bytes::from_static(LIST.as_bytes()), now);
    assert!(!is_kept(&cache, "tools/list", "{}", now));
}

#[test]
fn the_least_recently_used_goes_first_and_what_is_too_large_is_not_kept() {
    let now = Instant::now();
    let bytes = LIST.len() + ENTRY_BYTES + "resources/read \"uri\":\"a\"".len();
    let cache = ResponseCache::new(3 * bytes);
    for uri in ["a", "b", "c"] {
        keep(&cache, "resources/read", &with_uri(uri), LIST, now);
    }
    assert!(is_kept(&cache, "resources/read", &with_uri("a"), now));
    keep(&cache, "resources/read", &with_uri("d"), LIST, now);
    let kept = |uri: &&str| is_kept(&cache, "resources/read", &with_uri(uri), now);
    assert_eq!(["a", "b", "c", "d"].into_iter().filter(kept).collect::<String>(), "acd");
    let large = LIST.replace("[]", &format!("[\"{}\"]", "x".repeat(3 * bytes)));
    keep(&cache, "resources/read", &with_uri("e"), &large, now);
    assert!(!is_kept(&cache, "resources/read", &with_uri("e"), now));
    let inner = cache.lock();
    assert_eq!((inner.bytes, inner.entries.len(), inner.by_use.len()), (3 * bytes, 3, 3));
}

#[test]
fn scopes_have_nothing_of_each_other() {
    let (cache, now) = (ResponseCache::new(10_000), Instant::now());
    let (one, two) = (cache.scoped(1), cache.scoped(2));
    keep(&one, "tools/list", "{}", LIST, now);
    assert!(!is_kept(&two, "tools/list", "{}", now));
    keep(&two, "tools/list", "{}", LIST, now);
    one.invalidate("notifications/tools/list_changed", None);
    assert!(!is_kept(&one, "tools/list", "{}", now) && is_kept(&two, "tools/list", "{}", now));
    two.clear();
    assert_eq!(cache.lock().bytes, 0);
}

#[test]
fn tools_are_known_to_one_scope_and_as_long_as_its_lists() {
    let all = ResponseCache::new(0);
    let known = |cache: &ResponseCache| cache.tools().of("t", Instant::now()).is_some();
    let learn = |cache: &ResponseCache| cache.tools().learn(cache.tools().ticket(), Vec::new(), Extent::Whole);
    let (shared, one) = (all.scoped(0), all.scoped(1));
    learn(&shared);
    assert!(known(&all) && known(&all.scoped(0)) && !known(&one));
    learn(&one);
    shared.invalidate(method::TOOLS_LIST_CHANGED, None);
    assert!(!known(&all) && known(&one.clone()));
    one.invalidate(method::PROMPTS_LIST_CHANGED, None);
    assert!(known(&one));
    one.clone().clear();
    assert!(!known(&one));
}

#[test]
fn what_a_client_can_do_and_what_is_not_known_tell_requests_apart_and_what_is_about_the_request_does_not() {
    let (cache, now) = (ResponseCache::new(100_000), Instant::now());
    let of = |more: &str| {
        let capabilities = r#""io.modelcontextprotocol/clientCapabilities":{"roots":{},"sampling":{"a":1}}"#;
        format!(r#"{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28",{capabilities}{more}}}}}"#)
    };
    keep(&cache, "tools/list", &of(""), LIST, now);
    for same in [
        of(r#","progressToken":1"#),
        of(r#","traceparent":"00-1","tracestate":"a=1","baggage":"b""#),
        of(r#","io.modelcontextprotocol/clientInfo":{"name":"x"},"io.modelcontextprotocol/logLevel":"info""#),
        of("").replace(r#""roots":{},"sampling":{"a":1}"#, r#" "sampling" : {"a": 1} , "roots":{}"#),
    ] {
        assert!(is_kept(&cache, "tools/list", &same, now), "{same}");
    }
    for other in [
        of("").replace(r#","sampling":{"a":1}"#, ""),
        of("").replace(r#""a":1"#, r#""a":2"#),
        of(r#","com.example/tenant":"b""#),
        of(r#","com.example/tenant":"b""#).replace("example", "example2"),
        "{}".to_owned(),
    ] {
        assert!(!is_kept(&cache, "tools/list", &other, now), "{other}");
        keep(&cache, "tools/list", &other, LIST, now);
        assert!(is_kept(&cache, "tools/list", &other, now), "{other}");
    }
    for twice in [r#"{"_meta":{"a":1,"a":2}}"#, r#"{"_meta":7}"#] {
        assert_eq!(ask(&cache, "tools/list", twice, now), Lookup::Uncacheable, "{twice}");
    }
}
