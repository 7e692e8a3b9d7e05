use serde_json::{Value, json};

use super::*;

fn read(principals: &Value) -> Result<PrincipalsConfig, Vec<String>> {
    let mut problems = Vec::new();
    let entries = read_entries("mux.toml: principals", principals, &mut problems);
    let config = PrincipalsConfig { entries, ..PrincipalsConfig::default() };
    if problems.is_empty() { Ok(config) } else { Err(problems.iter().map(Problem::to_string).collect()) }
}

fn claim(value: &Value) -> PrincipalConfig {
    PrincipalConfig::from_claim(value).unwrap()
}

fn per_second(rate: f64) -> Option<RateLimit> {
    Some(RateLimit { per_second: rate, burst: NonZeroU32::new(1).unwrap() })
}

#[test]
fn the_exact_key_holds_else_the_pattern_that_says_most() {
    let keys =
        ["*", "*:alice", "anonymous", "jwt:*", "jwt:al*", "jwt:*ce", "jwt:alice", "token:a*b", "jwt:x*", "jwt:*y"];
    let mut entries = BTreeMap::new();
    for (at, key) in (1..).zip(keys) {
        let entry = PrincipalConfig { sessions_max: NonZeroUsize::new(at), ..PrincipalConfig::default() };
        entries.insert(key.to_owned(), entry);
    }
    let config = PrincipalsConfig { entries, ..PrincipalsConfig::default() };
    for (label, key) in [
        (Some("jwt:alice"), "jwt:alice"),
        (Some("jwt:alina"), "jwt:al*"),
        (Some("jwt:bruce"), "jwt:*ce"),
        // As many characters: the first in the alphabet.
        (Some("jwt:alce"), "jwt:*ce"),
        (Some("jwt:xy"), "jwt:*y"),
        (Some("jwt:bob"), "jwt:*"),
        (Some("token:alice"), "*:alice"),
        (Some("token:bob"), "*"),
        (Some("token:axb"), "token:a*b"),
        (Some("cert:CN=jwt:alice"), "*:alice"),
        (None, "anonymous"),
    ] {
        assert_eq!(config.of(label), config.entries.get(key), "{label:?}");
    }
    let only = |key: &str| {
        let entries = BTreeMap::from([(key.to_owned(), PrincipalConfig::default())]);
        PrincipalsConfig { entries, ..PrincipalsConfig::default() }
    };
    assert!(only("*").of(None).is_some());
    assert!(only("jwt:*").of(None).is_none());
    assert!(only("jwt:alice").of(Some("token:alice")).is_none());
    assert!(only("jwt:alice").of(Some("jwt:Alice")).is_none());
    assert!(PrincipalsConfig::default().of(Some("jwt:alice")).is_none());
}

#[test]
fn every_setting_is_read() {
    let config = read(&json!({
        "token:alice": {
            "rate": "600/m", "burst": 20, "sessions-max": 3, "in-flight-max": "4",
            "tools": { "allow": ["read_*", "list"], "deny": ["read_secret"] },
            "resources": { "deny": "file:///etc/*" },
            "prompts": { "allow": [] },
            "env": { "API_KEY": "hunter2" },
        },
        "jwt:*": { "rate": "none", "sessions-max": "none" },
        "anonymous": {},
    }))
    .unwrap();
    let alice = &config.entries["token:alice"];
    assert_eq!((alice.rate, alice.burst), (Some(Rate::PerSecond(10.0)), NonZeroU32::new(20)));
    assert_eq!((alice.sessions_max, alice.in_flight_max), (NonZeroUsize::new(3), NonZeroUsize::new(4)));
    for (name, admitted) in [("read_file", true), ("list", true), ("lists", false), ("read_secret", false)] {
        assert_eq!(alice.tools.admits(name), admitted, "{name}");
    }
    assert!(alice.resources.admits("file:///home") && !alice.resources.admits("file:///etc/passwd"));
    assert!(!alice.prompts.admits("any") && !alice.prompts.admits_everything());
    assert_eq!(alice.env["API_KEY"].expose(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.entries["jwt:*"].rate, Some(Rate::Unlimited));
    assert_eq!(config.entries["jwt:*"].sessions_max, Some(NonZeroUsize::MAX));
    assert_eq!(config.entries["anonymous"], PrincipalConfig::default());
    assert!(config.entries["anonymous"].tools.admits("any"));
}

#[test]
fn rates_are_read_in_every_documented_way() {
    let rate = |value: Value| claim(&json!({ "rate": value })).rate;
    for (value, per_second) in [
        (json!(10), 10.0),
        (json!(0.5), 0.5),
        (json!("10"), 10.0),
        (json!("10/s"), 10.0),
        (json!("600/m"), 10.0),
        (json!("36000 / h"), 10.0),
        (json!("86400/d"), 1.0),
        (json!("1/d"), 1.0 / 86_400.0),
        (json!(1_000_000), 1e6),
    ] {
        assert_eq!(rate(value.clone()), Some(Rate::PerSecond(per_second)), "{value}");
    }
    assert_eq!((rate(json!("none")), rate(json!("Off"))), (Some(Rate::Unlimited), Some(Rate::Unlimited)));
}

#[test]
fn every_problem_of_the_table_is_reported_at_once() {
    let problems = read(&json!({
        "alice": {},
        "jwt:": { "rate": "fast", "burts": 1 },
        "jwt:a": { "rate": true, "burst": 1.5, "sessions-max": 0, "in-flight-max": [1] },
        "jwt:b": { "tools": ["a"], "prompts": { "alow": [] }, "resources": { "allow": [1], "deny": [""] } },
        "jwt:c": { "env": { "A": 1, "": "hunter2", "B=C": "hunter2", "MCP_MUX_X": "hunter2", "D": "hunter2\u{0}" } },
        "jwt:d": 7,
    }))
    .unwrap_err();
    let expected = [
        "alice: must be one of token:NAME, jwt:SUBJECT, cert:SUBJECT or anonymous, or a pattern such as jwt:* or *",
        "\"jwt:\": must be one of token:NAME, jwt:SUBJECT, cert:SUBJECT or anonymous, or a pattern such as jwt:* or *",
        "\"jwt:\".burts: must be a key that there is; did you mean burst?",
        "\"jwt:\".rate \"fast\": must be a rate from 1/d to 1000000/s, such as 10 (a second), 10/s, 600/m, 36000/h; or none",
        "\"jwt:a\".burst \"1.5\": must be a whole number from 1 to 4294967295",
        "\"jwt:a\".in-flight-max \"[1]\": must be a whole number, 1 or more; or none",
        "\"jwt:a\".rate \"true\": must be a rate from 1/d to 1000000/s, such as 10 (a second), 10/s, 600/m, 36000/h; or none",
        "\"jwt:a\".sessions-max \"0\": must be a whole number, 1 or more; or none",
        "\"jwt:b\".prompts.alow: must be a key that there is; did you mean allow?",
        "\"jwt:b\".resources.allow: must be a list of names and patterns, such as [\"read_*\"]",
        "\"jwt:b\".resources.deny: must be a list of names and patterns, such as [\"read_*\"]",
        "\"jwt:b\".tools: must be a table",
        "\"jwt:c\".env.\"\": must be a name that is not empty and has no =",
        "\"jwt:c\".env.A: must be a text, in quotes",
        "\"jwt:c\".env.\"B=C\": must be a name that is not empty and has no =",
        "\"jwt:c\".env.D: must be NAME=VALUE without NUL bytes",
        "\"jwt:c\".env.MCP_MUX_X: must be a name that does not start with MCP_MUX_: those are mcp-mux's own",
        "\"jwt:d\": must be a table",
    ];
    assert_eq!(problems, expected.map(|problem| format!("mux.toml: principals.{problem}")));
    assert_eq!(read(&json!([])).unwrap_err(), ["mux.toml: principals: must be a table"]);
}

#[test]
fn a_claim_is_the_same_object_without_variables_that_decide_on_code() {
    let value = json!({ "rate": 5, "tools": { "allow": ["a"] }, "env": { "TENANT": "acme" } });
    let from_file = read(&json!({ "jwt:a": value.clone() })).unwrap().entries.remove("jwt:a").unwrap();
    assert_eq!(claim(&value), from_file);
    for name in ["LD_PRELOAD", "PATH", "PYTHONPATH", "NODE_OPTIONS", "MCP_MUX_PORT", "A-B", "1A", ""] {
        let error = PrincipalConfig::from_claim(&json!({ "env": { name: "hunter2" } })).unwrap_err().to_string();
        assert!(error.starts_with("claim.env.") && !error.contains("hunter2"), "{error}");
    }
    read(&json!({ "jwt:a": { "env": { "LD_PRELOAD": "ours.so" } } })).unwrap();
    for (value, expected) in [
        (json!("admin"), "claim: must be a table"),
        (json!({ "rates": 1 }), "claim.rates: must be a key that there is; did you mean rate?"),
        (json!({ "env": { "A": "\u{0}" } }), "claim.env.A: must be a text without NUL bytes"),
    ] {
        assert_eq!(PrincipalConfig::from_claim(&value).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_claim_can_only_tighten_what_the_file_says() {
    let file = claim(&json!({
        "rate": 10, "burst": 5, "sessions-max": 4, "in-flight-max": 8, "tools": { "allow": ["read_*"] },
        "prompts": { "deny": ["x"] }, "env": { "A": "file", "B": "file" },
    }));
    assert_eq!(file.terms().rate, Some(RateLimit { per_second: 10.0, burst: NonZeroU32::new(5).unwrap() }));
    let wide = claim(&json!({
        "rate": "none", "burst": 100, "sessions-max": "none", "in-flight-max": 9, "tools": { "allow": ["*"] },
    }));
    let terms = file.tightened_by(&wide);
    assert_eq!((terms.rate, terms.sessions_max, terms.in_flight_max), {
        let own = file.terms();
        (own.rate, own.sessions_max, own.in_flight_max)
    });
    let narrow = claim(&json!({
        "rate": 1, "sessions-max": 1, "in-flight-max": 2, "tools": { "allow": ["*_file"], "deny": ["read_the_file"] },
        "env": { "A": "claim", "C": "claim" },
    }));
    let terms = file.tightened_by(&narrow);
    assert_eq!(terms.rate, per_second(1.0));
    assert_eq!((terms.sessions_max, terms.in_flight_max), (NonZeroUsize::new(1), NonZeroUsize::new(2)));
    assert_eq!(terms.tools, [file.tools.clone(), narrow.tools.clone()]);
    let admitted = |name: &str| terms.tools.iter().all(|names| names.admits(name));
    for (name, expected) in
        [("read_a_file", true), ("read_the_file", false), ("read_a_line", false), ("write_a_file", false)]
    {
        assert_eq!(admitted(name), expected, "{name}");
    }
    assert_eq!((terms.resources.len(), terms.prompts.len()), (0, 1));
    let env: Vec<_> = terms.env.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(env, [("A", "file"), ("B", "file"), ("C", "claim")]);
}

#[test]
fn where_an_entry_says_nothing_the_default_holds_and_its_own_word_wins() {
    let default = claim(&json!({ "rate": 10, "burst": 50, "sessions-max": 4 }));
    let entries = read(&json!({
        "jwt:silent": {},
        "jwt:bursts": { "burst": 7 },
        "jwt:slow": { "rate": 0.5 },
        "jwt:fast": { "rate": 1.5, "sessions-max": 40 },
        "jwt:free": { "rate": "none", "sessions-max": "none", "in-flight-max": 3 },
    }));
    let config = PrincipalsConfig { default, ..entries.unwrap() };
    let numbers = |label: Option<&str>, claim: Option<&PrincipalConfig>| {
        let terms = config.terms(label, claim);
        let get = |limit: Option<NonZeroUsize>| limit.map(NonZeroUsize::get);
        let rate = terms.rate.map(|rate| (rate.per_second, rate.burst.get()));
        (rate, get(terms.sessions_max), get(terms.in_flight_max))
    };
    assert_eq!(numbers(None, None), (Some((10.0, 50)), Some(4), None));
    assert_eq!(numbers(Some("jwt:silent"), None), (Some((10.0, 50)), Some(4), None));
    assert_eq!(numbers(Some("jwt:bursts"), None), (Some((10.0, 7)), Some(4), None));
    assert_eq!(numbers(Some("jwt:slow"), None), (Some((0.5, 1)), Some(4), None));
    assert_eq!(numbers(Some("jwt:fast"), None), (Some((1.5, 2)), Some(40), None));
    assert_eq!(numbers(Some("jwt:free"), None), (None, None, Some(3)));
    // A claim cannot lift what the default says, and speaks where nothing else does.
    let claimed = claim(&json!({ "rate": 100, "sessions-max": 2, "in-flight-max": 5 }));
    assert_eq!(numbers(Some("jwt:silent"), Some(&claimed)), (Some((10.0, 50)), Some(2), Some(5)));
    assert_eq!(numbers(Some("jwt:free"), Some(&claimed)), (Some((100.0, 100)), Some(2), Some(3)));
    let nothing = PrincipalsConfig::default();
    assert_eq!(nothing.terms(None, None), Terms::default());
}
