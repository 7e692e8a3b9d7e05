//! Servers in memory, asked as real ones are, with a clock that stands.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::*;
use crate::child::in_memory::{Pipes, Server};
use crate::config::{ChildConfig, ServerConfig, ServerName, Start};

/// What a server does with a message.
enum Act {
    Say(Value),
    Exit,
    Nothing,
}

type Play = fn(&Value) -> Act;

/// How many children there are, and were.
#[derive(Debug, Default)]
struct Census {
    present: AtomicUsize,
    most: AtomicUsize,
    started: AtomicUsize,
}

pub(super) fn child_config() -> ChildConfig {
    config(&[]).child
}

/// What somebody gets who types these flags.
fn config(flags: &[&str]) -> ServerConfig {
    let args = ["mcp-mux"].iter().chain(flags).chain(&["--", "server"]).map(Into::into);
    let cli = crate::cli::Cli::read(args, |_| None).expect("a command line");
    Config::load(cli).expect("a configuration").into_server()
}

fn named(name: &str, flags: &[&str]) -> ServerConfig {
    ServerConfig { name: ServerName::parse(name).expect("a name"), ..config(flags) }
}

fn single(server: ServerConfig) -> ServersConfig {
    let starts_max = std::num::NonZeroUsize::MIN;
    ServersConfig {
        arrangement: Arrangement::Single,
        servers: vec![server],
        unusable: Vec::new(),
        folderless: Vec::new(),
        starts_max,
    }
}

fn several(servers: Vec<ServerConfig>, unusable: Vec<(ServerName, Unusable)>, starts_max: usize) -> ServersConfig {
    let starts_max = starts_max.try_into().expect("not zero");
    ServersConfig { arrangement: Arrangement::Several, servers, unusable, folderless: Vec::new(), starts_max }
}

async fn serve(Pipes { stdin, mut stdout }: Pipes, play: Play, census: Arc<Census>) {
    census.started.fetch_add(1, Ordering::Relaxed);
    let present = census.present.fetch_add(1, Ordering::Relaxed) + 1;
    census.most.fetch_max(present, Ordering::Relaxed);
    let mut lines = BufReader::new(stdin).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match play(&serde_json::from_str(&line).expect("JSON")) {
            Act::Say(message) => stdout.write_all(format!("{message}\n").as_bytes()).await.expect("it is read"),
            Act::Exit => break,
            Act::Nothing => {}
        }
    }
    census.present.fetch_sub(1, Ordering::Relaxed);
}

/// Asks them, each with its play; nothing is left of them then.
async fn asked(config: ServersConfig, plays: &[(&str, Play)], stop: &Stop) -> (Report, Arc<Census>) {
    let plays: BTreeMap<String, Play> = plays.iter().map(|(name, play)| ((*name).to_owned(), *play)).collect();
    let (tracker, census) = (TaskTracker::new(), Arc::new(Census::default()));
    let spawn: Spawn = {
        let (tracker, census) = (tracker.clone(), Arc::clone(&census));
        Arc::new(move |child, router, tenancy| {
            let name = child.server.as_ref().map_or("default", ServerName::as_str);
            let (play, census) = (plays[name], Arc::clone(&census));
            let server = Server::new(move |pipes| serve(pipes, play, Arc::clone(&census)));
            child::spawn_in_memory(child, router, tenancy, server, &tracker)
        })
    };
    let report = examine(config, spawn, stop, &tracker).await;
    tracker.close();
    tracker.wait().await;
    assert_eq!(census.present.load(Ordering::Relaxed), 0);
    (report, census)
}

async fn one(flags: &[&str], play: Play) -> Report {
    asked(single(config(flags)), &[("default", play)], &Stop::default()).await.0
}

fn found(report: &Report) -> &Found {
    let [server] = report.servers.as_slice() else { panic!("one server") };
    let Outcome::Works(found) = &server.outcome else { panic!("{server:?}") };
    found
}

fn reason(report: &Report) -> &str {
    let [server] = report.servers.as_slice() else { panic!("one server") };
    let Outcome::Fails(failure, _) = &server.outcome else { panic!("{server:?}") };
    &failure.reason
}

fn result(message: &Value, result: &Value) -> Act {
    Act::Say(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
}

fn error(message: &Value, code: i64, text: &str) -> Act {
    Act::Say(json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": text}}))
}

fn legacy(message: &Value, capabilities: &Value) -> Act {
    match message["method"].as_str() {
        Some("initialize") => result(
            message,
            &json!({
                "protocolVersion": "2025-06-18",
                "capabilities": capabilities,
                "serverInfo": {"name": "old", "title": "An old one", "version": "0.9"},
            }),
        ),
        Some("server/discover") => error(message, -32601, "Method not found"),
        Some("tools/list") => result(message, &json!({"tools": [{"name": "a"}, {"name": "b"}]})),
        Some("prompts/list") => result(message, &json!({"prompts": []})),
        _ => Act::Nothing,
    }
}

fn a_legacy_server(message: &Value) -> Act {
    legacy(message, &json!({"tools": {"listChanged": true}, "prompts": {"listChanged": false}, "logging": {}}))
}

/// Two pages of resources; everything else it declares is empty.
fn a_modern_server(message: &Value) -> Act {
    if message["id"].is_null() {
        return Act::Nothing;
    }
    if message["method"] == "initialize" {
        return error(message, -32022, "Unsupported protocol version");
    }
    assert_eq!(message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    let own = json!({"io.modelcontextprotocol/serverInfo": {"name": "new", "version": "2"}});
    let listed = |list: &str, items: Value, next: Option<&str>| {
        let mut page = json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "_meta": own});
        page[list] = items;
        if let Some(next) = next {
            page["nextCursor"] = next.into();
        }
        result(message, &page)
    };
    match (message["method"].as_str(), message["params"]["cursor"].as_str()) {
        (Some("server/discover"), _) => {
            let declared = json!({"resources": {"subscribe": true}, "extensions": {"com.example/x": {}}});
            result(
                message,
                &json!({"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": declared,
                        "ttlMs": 0, "cacheScope": "private", "_meta": own}),
            )
        }
        (Some("resources/list"), None) => listed("resources", json!([{"uri": "a:1"}]), Some("second \"page\"")),
        (Some("resources/list"), Some("second \"page\"")) => listed("resources", json!([{"uri": "a:2"}]), None),
        (Some("resources/templates/list"), None) => listed("resourceTemplates", json!([]), None),
        _ => Act::Nothing,
    }
}

/// Of both eras, in different processes.
fn a_dual_server(message: &Value) -> Act {
    if message["method"] == "initialize" { a_legacy_server(message) } else { a_modern_server(message) }
}

#[tokio::test(start_paused = true)]
async fn a_legacy_server_is_shown_with_what_it_has() {
    let report = one(&[], a_legacy_server).await;
    assert!(report.is_ok());
    assert_eq!(
        report.to_text(Colours::None),
        "default: works
  server          old 0.9 (An old one)
  eras            legacy
  revisions       2025-06-18
  capabilities    logging, prompts, tools (listChanged)
  tools           2
  resources       -
  templates       -
  prompts         0
  answered after  0.00 s
"
    );
    assert_eq!(
        report.to_json(),
        r#"{
  "ok": true,
  "servers": [
    {
      "name": "default",
      "state": "works",
      "reason": null,
      "advice": null,
      "stderr": [],
      "eras": [
        "legacy"
      ],
      "revisions": [
        "2025-06-18"
      ],
      "server": {
        "name": "old",
        "title": "An old one",
        "version": "0.9"
      },
      "capabilities": {
        "logging": [],
        "prompts": [],
        "tools": [
          "listChanged"
        ]
      },
      "tools": {
        "count": 2,
        "complete": true
      },
      "resources": null,
      "resourceTemplates": null,
      "prompts": {
        "count": 0,
        "complete": true
      },
      "answeredAfterMs": 0,
      "remarks": []
    }
  ]
}
"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_modern_server_is_asked_in_its_own_words_and_once_more_for_the_older_ones() {
    let (report, census) = asked(single(config(&[])), &[("default", a_modern_server)], &Stop::default()).await;
    let modern = found(&report).clone();
    assert_eq!((modern.eras(), &modern.revisions[..]), (vec!["modern"], &["2026-07-28"][..]));
    assert_eq!(modern.resources, Some(Count { count: 2, complete: true }));
    assert_eq!((modern.resource_templates, modern.tools), (Some(Count { count: 0, complete: true }), None));
    let declared: Vec<_> = modern.capabilities.iter().map(|one| (one.name.as_str(), one.features.join(","))).collect();
    let declared: Vec<_> = declared.iter().map(|(name, features)| (*name, features.as_str())).collect();
    assert_eq!(declared, [("extensions", "com.example/x"), ("resources", "subscribe")]);
    assert_eq!((census.started.load(Ordering::Relaxed), census.most.load(Ordering::Relaxed)), (2, 1));

    let dual = one(&[], a_dual_server).await;
    let both = found(&dual);
    assert_eq!((both.eras(), &both.revisions[..]), (vec!["modern", "legacy"], &["2026-07-28", "2025-06-18"][..]));
    assert_eq!(both.server, modern.server);

    // Who says what it is does not want to know.
    let said = [("default", a_dual_server as Play)];
    let (report, census) = asked(single(config(&["--child-era", "modern"])), &said, &Stop::default()).await;
    assert_eq!((found(&report).eras(), census.started.load(Ordering::Relaxed)), (vec!["modern"], 1));
}

#[tokio::test(start_paused = true)]
async fn several_servers_are_a_table_by_name_and_no_more_than_the_bound_start_at_once() {
    fn exits(_: &Value) -> Act {
        Act::Exit
    }
    let mut lazy = named("lazy", &[]);
    lazy.start = Start::OnDemand;
    let servers = vec![
        named("b", &[]),
        named("a-name-that-is-longer-than-its-column", &[]),
        lazy,
        named("dual", &[]),
        named("exits", &["--child-era", "legacy"]),
    ];
    let name = |name| ServerName::parse(name).expect("a name");
    let unusable = vec![
        (name("off"), Unusable::Disabled),
        (name("invalid"), Unusable::Invalid("cwd \"/nowhere\": must be a folder".to_owned())),
    ];
    let plays: [(&str, Play); 5] = [
        ("b", a_legacy_server),
        ("a-name-that-is-longer-than-its-column", a_modern_server),
        ("lazy", a_legacy_server),
        ("dual", a_dual_server),
        ("exits", exits),
    ];
    let (report, census) = asked(several(servers, unusable, 2), &plays, &Stop::default()).await;
    assert!(!report.is_ok());
    assert_eq!(census.most.load(Ordering::Relaxed), 2);
    let text = report.to_text(Colours::None);
    assert_eq!(
        text,
        "SERVER        STATE     ERA     REVISION    TOOLS  RES.  TPL.  PROMPTS    TIME
a-name-that-is-longer-than-its-column
              works     modern  2026-07-28      -     2     0        -  0.00 s
  new 2; extensions (com.example/x), resources (subscribe)
b             works     legacy  2025-06-18      2     -     -        0  0.00 s
  old 0.9 (An old one); logging, prompts, tools (listChanged)
dual          works     both    2026-07-28      -     2     0        -  0.00 s
  new 2; also 2025-06-18; extensions (com.example/x), resources (subscribe)
exits         failing   -       -               -     -     -        -       -
invalid       invalid   -       -               -     -     -        -       -
lazy          works     legacy  2025-06-18      2     -     -        0  0.00 s
  old 0.9 (An old one); logging, prompts, tools (listChanged)
off           disabled  -       -               -     -     -        -       -

exits: it did not start: it exited (exit status: 0) before its handshake
  (initialize) stood
  run the command by itself in a terminal to see what it misses

invalid: it cannot be used: cwd \"/nowhere\": must be a folder
"
    );
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let coloured = report.to_text(Colours::Shown);
    assert!(coloured.contains("b             \u{1b}[32mworks\u{1b}[0m     legacy"), "{coloured}");
    assert!(coloured.contains("\u{1b}[31mfailing\u{1b}[0m") && coloured.contains("\u{1b}[2mdisabled\u{1b}[0m"));
    let json: Value = serde_json::from_str(&report.to_json()).expect("JSON");
    let states: Vec<_> = json["servers"].as_array().expect("a list").iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["works", "works", "works", "failing", "invalid", "works", "disabled"]);
    assert_eq!(json["servers"][4]["reason"], "cwd \"/nowhere\": must be a folder");
    let same = |a: &Value, b: &Value| {
        let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
        keys(a) == keys(b)
    };
    assert!(json["servers"].as_array().expect("a list").iter().all(|one| same(one, &json["servers"][0])));
}

#[tokio::test(start_paused = true)]
async fn a_list_without_end_is_followed_to_a_bound_that_is_told_of() {
    fn endless(message: &Value) -> Act {
        match message["method"].as_str() {
            Some("tools/list") => result(message, &json!({"tools": [{}, {}, {}], "nextCursor": "again"})),
            _ => legacy(message, &json!({"tools": {}})),
        }
    }
    let report = one(&[], endless).await;
    assert_eq!(found(&report).tools, Some(Count { count: 300, complete: false }));
    let text = report.to_text(Colours::None);
    assert!(text.contains("\n  tools           300+\n"), "{text}");
    assert!(text.contains("\n  remark          tools/list: there are more than 100 pages; so many are counted\n"));
    assert!(report.to_json().contains("\"count\": 300,\n        \"complete\": false"));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_takes_too_long_is_counted_as_far_as_it_came_or_the_server_does_not_work() {
    fn stuck_at_once(message: &Value) -> Act {
        if message["method"] == "tools/list" { Act::Nothing } else { a_legacy_server(message) }
    }
    fn stuck_later(message: &Value) -> Act {
        match (message["method"].as_str(), message["params"]["cursor"].as_str()) {
            (Some("tools/list"), None) => result(message, &json!({"tools": [{}], "nextCursor": "more"})),
            (Some("tools/list"), Some(_)) => Act::Nothing,
            _ => legacy(message, &json!({"tools": {}})),
        }
    }
    let begun = tokio::time::Instant::now();
    let report = one(&["--start-timeout", "20s"], stuck_at_once).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(20));
    assert_eq!(reason(&report), "it did not answer tools/list in time (--start-timeout)");
    // What it had said is shown all the same.
    let text = report.to_text(Colours::None);
    assert!(text.contains("  server          old 0.9 (An old one)\n") && text.contains("default: failing\n"), "{text}");
    let report = one(&["--start-timeout", "20s"], stuck_later).await;
    assert_eq!(found(&report).tools, Some(Count { count: 1, complete: false }));
    assert_eq!(found(&report).remarks, ["tools/list: not all pages came in time; the first 1 are counted"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_does_not_work_after_the_start_timeout_and_a_bit() {
    fn silent(_: &Value) -> Act {
        Act::Nothing
    }
    for (flags, at_most) in [(&["--child-era", "legacy"][..], 30), (&["--child-era", "auto"], 30 + 10)] {
        let begun = tokio::time::Instant::now();
        let report = one(&[&["--start-timeout", "30s"], flags].concat(), silent).await;
        assert_eq!(reason(&report), "it did not start: its handshake (initialize) did not stand within 30s");
        assert!(begun.elapsed() <= Duration::from_secs(at_most), "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_exit_an_error_and_nonsense_while_it_is_asked_are_reasons() {
    fn exits(message: &Value) -> Act {
        if message["method"] == "prompts/list" { Act::Exit } else { a_legacy_server(message) }
    }
    fn refuses(message: &Value) -> Act {
        if message["method"] == "tools/list" { error(message, -32603, "no\u{1b}[2J") } else { a_legacy_server(message) }
    }
    fn babbles(message: &Value) -> Act {
        if message["method"] == "tools/list" {
            result(message, &json!({"tools": {"a": 1}}))
        } else {
            a_legacy_server(message)
        }
    }
    fn points_nowhere(message: &Value) -> Act {
        if message["method"] == "tools/list" {
            result(message, &json!({"tools": [], "nextCursor": 7}))
        } else {
            a_legacy_server(message)
        }
    }
    let exit = one(&[], exits).await;
    assert_eq!(reason(&exit), "it exited while it was asked (exit status: 0)");
    let refused = one(&[], refuses).await;
    assert_eq!(reason(&refused), "it answered tools/list with the error -32603: no\u{1b}[2J");
    assert!(refused.to_text(Colours::None).contains("the error -32603: no\\u{1b}[2J\n"));
    assert_eq!(reason(&one(&[], babbles).await), "it answered tools/list without a list of tools");
    assert_eq!(reason(&one(&[], points_nowhere).await), "it answered tools/list with a nextCursor that cannot be used");
}

#[tokio::test(start_paused = true)]
async fn what_is_declared_and_not_there_is_told_of_but_for_templates() {
    fn declares(message: &Value) -> Act {
        match message["method"].as_str() {
            Some("resources/list") => result(message, &json!({"resources": []})),
            Some("resources/templates/list" | "prompts/list") => error(message, -32601, "Method not found"),
            _ => legacy(message, &json!({"resources": {}, "prompts": {}, "tools": null, "logging": false})),
        }
    }
    let report = one(&[], declares).await;
    let Found { tools, resources, resource_templates, prompts, remarks, .. } = found(&report);
    assert_eq!((tools, resource_templates, prompts), (&None, &None, &None));
    assert_eq!(*resources, Some(Count { count: 0, complete: true }));
    assert_eq!(*remarks, ["prompts/list: there is no such method, though the capability is declared"]);
}

#[tokio::test(start_paused = true)]
async fn a_hostile_server_drives_no_terminal_and_fills_no_screen() {
    fn hostile(message: &Value) -> Act {
        let text = |text: &str| format!("{text}\u{1b}]0;owned\u{7}\u{9b}2J\n\r\u{202e}");
        match message["method"].as_str() {
            Some("initialize") => {
                let many: serde_json::Map<_, _> =
                    (0..1000).map(|at| (text(&format!("c{at}")), json!({"x": true}))).collect();
                let info = json!({"name": text("n"), "version": "v".repeat(1 << 20), "title": {"a": 1}});
                let result_of = json!({"protocolVersion": "2025-11-25", "capabilities": many, "serverInfo": info});
                result(message, &result_of)
            }
            _ => legacy(message, &json!({})),
        }
    }
    let report = one(&[], hostile).await;
    let server = found(&report).server.clone().expect("it has one");
    assert_eq!(server.version.map(|version| version.chars().count()), Some(101));
    assert_eq!((server.title, found(&report).capabilities.len()), (None, 32));
    let (text, json) = (report.to_text(Colours::None), report.to_json());
    for shown in [&text, &json] {
        assert!(!shown.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{shown}");
        assert!(shown.len() < 10_000, "{}", shown.len());
    }
    assert!(
        text.starts_with("default: works\n  server          n\\u{1b}]0;owned\\u{7}\\u{9b}2J\\n\\r\\u{202e}"),
        "{text}"
    );
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["servers"][0]["server"]["name"], "n\u{1b}]0;owned\u{7}\u{9b}2J\n\r\u{202e}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_nested_deeply_is_counted() {
    fn deep(message: &Value) -> Act {
        if message["method"] != "tools/list" {
            return a_legacy_server(message);
        }
        let mut schema = json!({});
        for _ in 0..100 {
            schema = json!({"properties": {"a": schema}});
        }
        result(message, &json!({"tools": [{"name": "deep", "inputSchema": schema}]}))
    }
    assert_eq!(found(&one(&[], deep).await).tools, Some(Count { count: 1, complete: true }));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_what_is_being_asked_and_starts_nothing_more() {
    fn silent(_: &Value) -> Act {
        Act::Nothing
    }
    let stop = Stop::default();
    let servers = vec![named("a", &["--child-era", "legacy"]), named("b", &["--child-era", "legacy"])];
    let plays: [(&str, Play); 2] = [("a", silent), ("b", silent)];
    let begun = tokio::time::Instant::now();
    let asking = asked(several(servers, Vec::new(), 1), &plays, &stop);
    let stopping = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stop.soon.cancel();
    };
    let ((report, census), ()) = tokio::join!(asking, stopping);
    assert!(report.servers.is_empty());
    assert_eq!(census.started.load(Ordering::Relaxed), 1);
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
}

#[test]
fn an_ending_has_an_exit_code() {
    let report = |outcome| {
        let name = ServerName::unnamed();
        Ending::Answered(Report { servers: vec![ServerReport { name, outcome }] })
    };
    for (ending, code) in [
        (report(Outcome::Works(Box::default())), 0),
        (report(Outcome::Disabled), 0),
        (report(Outcome::Invalid(String::new())), 69),
        (report(Outcome::Fails(Failure::default(), None)), 69),
        (Ending::Stopped { signal: "SIGINT" }, 130),
        (Ending::Stopped { signal: "SIGTERM" }, 143),
    ] {
        assert_eq!(ending.exit_code(), code, "{ending:?}");
    }
}
