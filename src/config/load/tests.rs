use std::time::Duration;

use super::*;
use crate::config::allow::WebOrigin;
use crate::config::{ClientAuth, ClientCaConfig, DeclaredCapabilities, LogFormat, OnAmbiguous};

pub(super) fn load_with(args: &[&str], variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let args = ["mcp-mux"].iter().chain(args).map(Into::into);
    let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
    let cli = Cli::read(args, variable).unwrap();
    Config::load(cli).map_err(|errors| errors.problems().iter().map(Problem::to_string).collect())
}

pub(super) fn load(args: &[&str]) -> Result<Config, Vec<String>> {
    load_with(&[args, &["--", "server"]].concat(), &[])
}

/// What is listened on.
fn address(config: &Config) -> String {
    config.listen.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The one problem of these arguments.
pub(super) fn problem(args: &[&str]) -> String {
    let problems = load(args).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].clone()
}

#[test]
fn defaults_are_those_of_the_help_text() {
    let config = load(&[]).unwrap();
    assert_eq!(address(&config), "127.0.0.1:8000");
    assert_eq!(config.http.path, "/mcp");
    assert_eq!(config.http.sse_path, "/sse");
    assert_eq!(config.http.message_path, "/messages");
    assert_eq!(config.server().endpoint.body_bytes_max, 16 << 20);
    assert_eq!(config.server().endpoint.body_timeout, Duration::from_secs(30));
    assert_eq!(config.server().endpoint.sse_after, Duration::from_secs(1));
    assert_eq!(config.server().endpoint.keep_alive, Duration::from_secs(15));
    assert_eq!(config.server().endpoint.sessions, SessionMode::Sessions);
    assert_eq!(config.guard.allow_host, []);
    assert_eq!(config.guard.allow_origin, []);
    assert_eq!(config.server().session.idle_timeout, Some(Duration::from_secs(30 * 60)));
    assert_eq!(config.server().session.age_max, None);
    assert_eq!(config.server().session.sessions_max.get(), 10_000);
    assert_eq!(config.listen.connections_max.get(), 20_000);
    assert!(config.tls.is_none());
    assert_eq!(config.server().session.replay_events, 256);
    assert_eq!(config.server().session.replay_bytes, 1 << 20);
    assert_eq!(
        (config.server().session.streams_max.get(), config.server().session.messages_waiting_max.get()),
        (16, 64)
    );
    assert_eq!(
        (config.server().session.unread_messages_max.get(), config.server().session.unread_bytes_max),
        (4096, 8 << 20)
    );
    assert_eq!(config.server().session.unread_total_bytes_max, 512 << 20);
    assert_eq!((config.server().session.parked_max.get(), config.server().session.parked_bytes_max), (5_000, 64 << 20));
    assert_eq!(config.listen.connection.untaken_timeout, Duration::from_secs(60));
    assert_eq!(
        (config.server().pool.isolation, config.server().pool.size.get(), config.server().pool.warm),
        (Isolation::Shared, 1, 0)
    );
    assert_eq!((config.server().pool.children_max.get(), config.server().pool.idle_timeout), (100, None));
    assert_eq!(config.server().pool.cache_bytes, 16 << 20);
    assert_eq!((config.server().child.on_exit, config.server().child.ping_interval), (OnChildExit::Restart, None));
    assert_eq!((config.server().child.age_max, config.server().child.requests_max), (None, None));
    assert_eq!(config.server().child.command, ["server"]);
    assert_eq!(config.server().child.cwd, None);
    assert!(config.server().child.env.is_empty());
    assert_eq!(config.server().child.inherit_env, InheritEnv::All);
    assert_eq!(config.server().child.line_bytes_max, 16 << 20);
    assert_eq!(config.server().child.stderr_lines_max, 1000);
    for bounds in [config.server().endpoint.bounds, config.server().router.bounds, config.server().pool.bounds] {
        assert_eq!(bounds, Bounds::default());
    }
    assert_eq!(config.server().child.queue_bytes_max, 64 << 20);
    assert_eq!(config.server().child.queue_timeout, Duration::from_secs(60));
    assert_eq!(config.server().child.start_timeout, Duration::from_secs(60));
    assert_eq!((config.server().child.era, config.server().child.probe_timeout), (None, Duration::from_secs(5)));
    assert_eq!(config.server().child.stop_timeout, Duration::from_secs(5));
    assert_eq!(config.server().router.request_timeout, None);
    assert_eq!(config.server().router.request_timeout_max, None);
    assert_eq!(
        (config.server().session.input_timeout, config.server().session.request_timeout_max),
        (Duration::from_secs(120), None)
    );
    assert_eq!(config.server().router.in_flight_max.get(), 128);
    assert_eq!(config.server().router.queue_timeout, Duration::from_secs(60));
    assert_eq!(config.server().router.on_ambiguous, OnAmbiguous::Reject);
    let all = DeclaredCapabilities { roots: true, sampling: true, elicitation: true };
    assert_eq!(config.server().router.client_capabilities, all);
    assert_eq!(config.telemetry.log_level, "warn,mcp_mux=info");
    assert_eq!(config.telemetry.log_format, LogFormat::Text);
    assert_eq!(config.drain_timeout, Duration::from_secs(10));
}

#[test]
fn tls_is_a_certificate_with_its_key_and_whose_clients_are_good() {
    let files = ["--tls-cert", "c.pem", "--tls-key", "k.pem"];
    let tls = load(&files).unwrap().tls.unwrap();
    assert_eq!((tls.cert, tls.key), ("c.pem".into(), "k.pem".into()));
    assert!(tls.client_ca.is_none());
    for (auth, expected) in [
        (&[] as &[&str], ClientAuth::Required),
        (&["--tls-client-auth", "required"], ClientAuth::Required),
        (&["--tls-client-auth", "optional"], ClientAuth::Optional),
    ] {
        let tls = load(&[&files, &["--tls-client-ca", "ca.pem"][..], auth].concat()).unwrap().tls.unwrap();
        let ClientCaConfig { file, auth } = tls.client_ca.unwrap();
        assert_eq!((file, auth), ("ca.pem".into(), expected));
    }
}

#[test]
fn half_of_tls_is_a_mistake_that_names_the_other_half() {
    for (args, expected) in [
        (&["--tls-cert", "c"][..], r#"--tls-cert "c": must be accompanied by --tls-key, its private key"#),
        (&["--tls-key", "k"], r#"--tls-key "k": must be accompanied by --tls-cert, its certificate"#),
        (&["--tls-client-ca", "a"], r#"--tls-client-ca "a": must be absent, unless TLS is on (--tls-cert, --tls-key)"#),
        (
            &["--tls-cert", "c", "--tls-key", "k", "--tls-client-auth", "optional"],
            r#"--tls-client-auth "optional": must be absent, unless --tls-client-ca says whose certificates are good"#,
        ),
        (
            &["--tls-cert", "c", "--tls-key", "k", "--tls-client-ca", "a", "--tls-client-auth", "maybe"],
            r#"--tls-client-auth "maybe": must be required or optional"#,
        ),
        (
            &["--tls-cert", "c", "--tls-client-ca", "a"],
            r#"--tls-cert "c": must be accompanied by --tls-key, its private key"#,
        ),
    ] {
        assert_eq!(problem(args), expected);
    }
}

#[test]
fn durations_are_read_in_every_documented_way() {
    for (text, milliseconds) in [
        ("90", 90_000),
        ("1.5", 1_500),
        ("500ms", 500),
        ("30m", 1_800_000),
        ("1h 30m", 5_400_000),
        ("1h30m", 5_400_000),
    ] {
        let config = load(&["--request-timeout", text]).unwrap();
        assert_eq!(config.server().router.request_timeout, Some(Duration::from_millis(milliseconds)), "{text}");
    }
    for text in ["none", "off", "0", "0s", "None", "0.0"] {
        assert_eq!(load(&["--session-idle-timeout", text]).unwrap().into_server().session.idle_timeout, None, "{text}");
    }
    for text in ["", "soon", "-1", "1e3", "inf", "NaN", ".", "1.2.3", "30M", "3651d", "9".repeat(400).as_str(), "1 2"] {
        let problem = problem(&["--request-timeout", text]);
        assert!(problem.contains("such as 90 (seconds)"), "{problem}");
        assert!(problem.ends_with("or none"), "{problem}");
    }
    assert!(problem(&["--keep-alive", "0"]).contains("longer than 0"));
    assert!(problem(&["--body-timeout", "none"]).starts_with("--body-timeout \"none\": must be a duration"));
    assert_eq!(load(&["--sse-after", "0"]).unwrap().server().endpoint.sse_after, Duration::ZERO);
}

#[test]
fn sizes_are_read_in_every_documented_way() {
    for (text, bytes) in
        [("16777216", 16 << 20), ("16MiB", 16 << 20), ("16 MiB", 16 << 20), ("16MB", 16_000_000), ("64k", 64_000)]
    {
        assert_eq!(load(&["--body-bytes-max", text]).unwrap().server().endpoint.body_bytes_max, bytes, "{text}");
    }
    for text in ["", "big", "-1", "16 potatoes", "1.5.5M", "2TiB", "99999999999999999999EiB"] {
        assert!(problem(&["--replay-bytes", text]).contains("such as 16777216"), "{text}");
    }
    assert!(problem(&["--line-bytes-max", "0"]).contains("more than 0"));
    assert_eq!(load(&["--replay-bytes", "0"]).unwrap().into_server().session.replay_bytes, 0);
}

#[test]
fn every_problem_is_reported_at_once_with_where_what_and_what_would_be_right() {
    let variables = [("MCP_MUX_PORT", "http"), ("MCP_MUX_STATELESS", "maybe"), ("MCP_MUX_HOST", "")];
    let args = ["--path", "mcp", "--cwd", "/does/not/exist", "--sessions-max", "0", "--spawn", "'open"];
    let problems = load_with(&args, &variables).unwrap_err();
    for expected in [
        "MCP_MUX_PORT \"http\": must be a port number from 0 to 65535",
        "MCP_MUX_STATELESS \"maybe\": must be true or false",
        "--path \"mcp\": must be a path that starts with /",
        "--cwd \"/does/not/exist\": must be a folder that can be entered (No such file or directory",
        "--sessions-max \"0\": must be a whole number, 1 or more",
        "--spawn \"'open\": must be a command whose quotes are closed",
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{expected} is missing in {problems:#?}");
    }
    assert_eq!(problems.len(), 6, "{problems:#?}");
}

#[test]
fn paths_are_plain_distinct_and_not_taken() {
    for path in ["", "mcp", "/m cp", "/mcp?x", "/mcp#x", "/m\u{e9}", "/mcp\n"] {
        assert!(problem(&["--path", path]).contains("starts with /"), "{path:?}");
    }
    for path in ["/healthz", "/servers/", "/servers/a/mcp", "/.well-known/x"] {
        assert!(problem(&["--sse-path", path]).contains("are mcp-mux's own"), "{path}");
    }
    assert!(problem(&["--message-path", "/mcp"]).ends_with("another path than that of --path"));
    assert!(problem(&["--path", "/x", "--sse-path", "/x"]).starts_with("--sse-path"));
    assert_eq!(load(&["--path", "/"]).unwrap().http.path, "/");
}

#[test]
fn a_number_out_of_its_range_is_told_the_range() {
    for (args, wanted) in [
        (["--sessions-max", "0"], "a whole number, 1 or more"),
        (["--sessions-max", "1000000000001"], "a whole number of at most 1000000000000"),
        (["--replay-events", "99999999999999999999999"], "a whole number of at most 1000000000000"),
        (["--principal-in-flight-max", "1000000000001"], "a whole number of at most 1000000000000; or none"),
        (["--headers-max", "1000000000001"], "a whole number, 1 to 10000"),
        (["--header-bytes-max", "16MiB"], "a size from 8KiB to 256KiB, such as 64KiB"),
        (["--body-bytes-max", "2TiB"], "a size of at most 1TiB, such as 16777216, 16MiB, 16MB or 64k, and more than 0"),
    ] {
        let [flag, value] = args;
        assert_eq!(problem(&args), format!("{flag} \"{value}\": must be {wanted}"));
    }
    load(&["--sessions-max", " 1000000000000 "]).unwrap();
}

#[test]
fn limits_that_contradict_each_other_are_reported() {
    let wanted = "must be at least as much as --body-bytes-max, 68157440 bytes";
    assert_eq!(problem(&["--body-bytes-max", "65MiB"]), format!("--queue-bytes-max \"64MiB\": {wanted}"));
    let problem_of_timeout = problem(&["--request-timeout", "2m", "--request-timeout-max", "1m"]);
    assert!(problem_of_timeout.ends_with("at least as long as --request-timeout, 2m"), "{problem_of_timeout}");
    let problem_of_events = problem(&["--replay-events", "5000", "--unread-messages-max", "4096"]);
    assert!(problem_of_events.starts_with("--unread-messages-max"), "{problem_of_events}");
    assert!(problem_of_events.ends_with("at least as much as --replay-events, 5000"), "{problem_of_events}");
    let problem_of_bytes = problem(&["--unread-bytes-max", "1000000"]);
    assert!(problem_of_bytes.ends_with("at least as much as --replay-bytes, 1048576 bytes"), "{problem_of_bytes}");
    let problem_of_total = problem(&["--unread-total-bytes-max", "15MiB"]);
    assert!(problem_of_total.ends_with("at least six times --line-bytes-max, 100663296 bytes"), "{problem_of_total}");
    let problem_of_total = problem(&["--unread-total-bytes-max", "48MiB", "--unread-bytes-max", "20MiB"]);
    assert!(problem_of_total.ends_with("at least six times --unread-bytes-max, 125829120 bytes"), "{problem_of_total}");
    load(&["--unread-total-bytes-max", "96MiB"]).unwrap();
    load(&["--request-timeout", "1m", "--request-timeout-max", "1m"]).unwrap();
    load(&["--request-timeout", "1m", "--request-timeout-max", "none"]).unwrap();
}

#[test]
fn what_may_be_left_unread_goes_up_by_itself_with_what_is_kept() {
    let session = load(&["--replay-events", "5000", "--replay-bytes", "300MiB"]).unwrap().into_server().session;
    assert_eq!((session.unread_messages_max.get(), session.unread_bytes_max), (5000, 300 << 20));
    assert_eq!(session.unread_total_bytes_max, 1800 << 20);
    let session = load(&["--unread-bytes-max", "1GiB"]).unwrap().into_server().session;
    assert_eq!(session.unread_total_bytes_max, 6 << 30);
    let session = load(&["--line-bytes-max", "1GiB"]).unwrap().into_server().session;
    assert_eq!(session.unread_total_bytes_max, 6 << 30);
}

#[test]
fn the_time_for_taking_nothing_is_one_that_the_system_can_be_told() {
    for (text, millis) in [("0.1", 100), ("20d", 20 * 24 * 60 * 60 * 1000)] {
        let config = load(&["--untaken-timeout", text]).unwrap();
        assert_eq!(config.listen.connection.untaken_timeout.as_millis(), millis);
    }
    for wrong in ["0", "99ms", "21d"] {
        assert!(problem(&["--untaken-timeout", wrong]).contains("from 100ms to 20d"));
    }
}

#[test]
fn half_of_the_sessions_may_wait_for_their_clients_unless_told_otherwise() {
    let parked_max = |args: &[&str]| load(args).unwrap().into_server().session.parked_max.get();
    assert_eq!(parked_max(&["--sessions-max", "30"]), 15);
    assert_eq!(parked_max(&["--sessions-max", "1"]), 1);
    assert_eq!(parked_max(&["--sessions-max", "30", "--parked-max", "20"]), 20);
}

#[test]
fn the_command_is_split_like_a_shell_does_but_not_expanded() {
    let spawn = |line| load_with(&["--spawn", line], &[]).map(|config| config.into_server().child.command);
    assert_eq!(
        spawn(r#"python3 "my server.py" --x='a b' c\ d $HOME *"#).unwrap(),
        ["python3", "my server.py", "--x=a b", "c d", "$HOME", "*"]
    );
    for line in ["", "  ", "''", "# comment", "\"open"] {
        assert!(spawn(line).unwrap_err()[0].starts_with("--spawn"), "{line:?}");
    }
    let words = load_with(&["--", "a b", "--port", "1"], &[]).unwrap();
    assert_eq!(address(&words), "127.0.0.1:8000");
    assert_eq!(words.server().child.command, ["a b", "--port", "1"]);
    assert!(load_with(&["--", ""], &[]).unwrap_err()[0].starts_with("the command after --"));
}

#[test]
fn variables_for_the_child_are_checked_without_telling_their_values() {
    let config = load(&["--env", "A=1", "--env", "B=x=y", "--env", "A=2", "--env", "C="]).unwrap();
    let env: Vec<_> = config.server().child.env.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(env, [("A", "2"), ("B", "x=y"), ("C", "")]);
    assert_eq!(problem(&["--env", "perhaps-a-secret"]), "--env: must be NAME=VALUE");
    assert!(problem(&["--env", "=secret"]).starts_with("--env \"\": must be"));
    let own = problem(&["--env", "MCP_MUX_PORT=secret"]);
    assert!(own.contains("mcp-mux's own") && !own.contains("secret"), "{own}");

    let several = load_with(&["--", "server"], &[("MCP_MUX_ENV", "A=1,2\nB=3\n\n")]).unwrap();
    assert_eq!(several.server().child.env.len(), 2);
    assert_eq!(several.server().child.env["A"].expose(), "1,2");
}

// DESIGN section 2, invariant 7
#[test]
fn no_secret_is_in_what_debug_shows_of_what_was_typed_and_what_it_means() {
    let args = ["mcp-mux", "--env", "TYPED=hunter2", "--", "server"].map(Into::into);
    let variables = [("MCP_MUX_AUTH_TOKENS", "alice:hunter2")];
    let cli = || {
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        Cli::read(args.clone(), variable).unwrap()
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[env]\nFILED = 'hunter2'").unwrap();
    let filed = ["mcp-mux".into(), "--config".into(), file.path().into(), "--".into(), "server".into()];
    let filed = || Cli::read(filed.clone(), |_| None).unwrap();
    for cli in [cli(), filed()] {
        let shown = format!("{cli:?} {:?}", Config::load(cli.clone()).unwrap());
        assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
    }
    let config = Config::load(cli()).unwrap();
    assert_eq!(config.server().child.env["TYPED"].expose(), "hunter2");
    assert_eq!(config.auth.tokens.unwrap().expose(), "alice:hunter2");
}

#[test]
fn hosts_to_listen_on_have_no_port() {
    for (typed, expected) in [("::1", "[::1]"), ("[::1]", "[::1]"), ("0.0.0.0", "0.0.0.0"), ("mux.local", "mux.local")]
    {
        assert_eq!(address(&load(&["--host", typed]).unwrap()), format!("{expected}:8000"));
    }
    for typed in ["", "127.0.0.1:80", "http://localhost", "a b", "[localhost]", "[::1"] {
        assert!(problem(&["--host", typed]).contains("--port"), "{typed:?}");
    }
    assert!(problem(&["--port", "65536"]).starts_with("--port \"65536\""));
    assert!(problem(&["--port", "-1"]).starts_with("--port \"-1\""));
}

#[test]
fn a_name_that_is_listened_on_is_allowed_as_host() {
    assert_eq!(load(&["--host", "Mux.local"]).unwrap().guard.allow_host, [AllowHost::parse("mux.local").unwrap()]);
    assert_eq!(load(&["--host", "10.0.0.7"]).unwrap().guard.allow_host, []);
}

#[test]
fn allowed_hosts_and_origins_are_lists() {
    let config =
        load(&["--allow-host", "a.example, b.example:1", "--allow-host=*", "--allow-origin", "https://A.example,null"]);
    let guard = config.unwrap().guard;
    assert_eq!(guard.allow_host.len(), 3);
    assert_eq!(guard.allow_host[2], AllowHost::Any);
    let origin = AllowOrigin::Origin(WebOrigin::parse("https://a.example:443").unwrap());
    assert_eq!(guard.allow_origin, [origin, AllowOrigin::Null]);
    for host in ["*.example.com", "http://a.example", "a.example/x", "a b", "a:b"] {
        assert!(problem(&["--allow-host", host]).contains("a host such as"), "{host}");
    }
    for origin in ["a.example", "https://a.example/", "https://*.example", "https://", "://a", "https://a:99999"] {
        assert!(problem(&["--allow-origin", origin]).contains("an origin such as"), "{origin}");
    }
}

#[test]
fn switches_take_what_people_write() {
    for (value, expected) in [("true", true), ("1", true), ("YES", true), ("0", false), ("false", false), ("no", false)]
    {
        let config = load_with(&["--", "server"], &[("MCP_MUX_CLEAN_ENV", value)]).unwrap();
        assert_eq!(config.server().child.inherit_env == InheritEnv::Minimal, expected, "{value}");
    }
    assert_eq!(load(&["--stateless"]).unwrap().server().endpoint.sessions, SessionMode::Stateless);
    let off = load_with(&["--stateless=false", "--", "server"], &[("MCP_MUX_STATELESS", "1")]).unwrap();
    assert_eq!(off.server().endpoint.sessions, SessionMode::Sessions);
}

#[test]
fn words_of_closed_lists_are_checked() {
    let declared =
        load(&["--client-capabilities", "sampling, roots"]).unwrap().into_server().router.client_capabilities;
    assert_eq!(declared, DeclaredCapabilities { roots: true, sampling: true, elicitation: false });
    let none = load(&["--client-capabilities", "none"]).unwrap().into_server().router.client_capabilities;
    assert_eq!(none, DeclaredCapabilities { roots: false, sampling: false, elicitation: false });
    assert!(problem(&["--client-capabilities", "sampling,tools"]).contains("or none"));
    assert_eq!(
        load(&["--on-ambiguous", "serialize"]).unwrap().into_server().router.on_ambiguous,
        OnAmbiguous::Serialize
    );
    assert!(problem(&["--on-ambiguous", "guess"]).ends_with("must be reject or serialize"));
    assert_eq!(load(&["--log-format", "json"]).unwrap().telemetry.log_format, LogFormat::Json);
    assert!(problem(&["--log-format", "xml"]).ends_with("must be text or json"));
}

#[test]
fn a_bare_log_level_is_for_mcp_mux_and_a_filter_is_taken_as_it_is() {
    for (typed, filter) in [
        ("debug", "warn,mcp_mux=debug"),
        ("WARN", "warn"),
        ("off", "off"),
        ("mcp_mux=trace,hyper=info", "mcp_mux=trace,hyper=info"),
        ("warn,mcp_mux::x=debug", "warn,mcp_mux::x=debug"),
    ] {
        assert_eq!(load(&["--log-level", typed]).unwrap().telemetry.log_level, filter);
    }
    for typed in ["", "verbose", "mcp_mux=loud", "debug,verbose"] {
        assert!(problem(&["--log-level", typed]).contains("or a filter such as"), "{typed:?}");
    }
}

#[test]
fn what_an_isolation_does_not_have_is_a_mistake() {
    for (args, text) in [
        (
            &["--pool", "2", "--isolation", "session"] as &[&str],
            "--pool \"2\": must be 1, unless with --isolation shared",
        ),
        (&["--warm", "1"], "--warm \"1\": must be 0, unless with --isolation session"),
        (
            &["--header-env", "X-A=A"],
            "--header-env \"x-a=A\": must be absent, unless with --isolation session: others share the process",
        ),
        (
            &["--isolation", "session", "--warm", "3", "--children-max", "2"],
            "--warm \"3\": must be at most --children-max, 2",
        ),
        (
            &["--isolation", "session", "--client-capabilities", "none"],
            "--client-capabilities \"none\": must be left out with --isolation session: the server sees the client's own \
             capabilities",
        ),
        (
            &["--isolation", "session", "--on-ambiguous", "serialize"],
            "--on-ambiguous \"serialize\": must be left out with --isolation session: no question is ambiguous there",
        ),
        (
            &["--child-max-age", "1ms"],
            "--child-max-age \"1ms\": must be a duration of at most 3650d, such as 90 (seconds), 1.5, 500ms, 30m or 1h 30m, \
             and at least 100ms; or none",
        ),
        (&["--isolation", "each"], "--isolation \"each\": must be shared, principal or session"),
        (&["--child-max-requests", "-1"], "--child-max-requests \"-1\": must be a whole number, 0 or more; or none"),
    ] {
        assert_eq!(problem(args), text);
    }
    assert!(
        problem(&["--isolation", "session", "--on-child-exit", "exit"])
            .starts_with("--on-child-exit \"exit\": must be restart")
    );
}

#[test]
fn a_header_becomes_a_variable_that_does_not_decide_on_code() {
    let session = |header: &str| problem(&["--isolation", "session", "--header-env", header]);
    assert!(session("X-A").contains("must be HEADER=VARIABLE"));
    assert!(session("X A=B").contains("must be HEADER=VARIABLE"));
    assert!(session("X-A=1B").contains("letters, digits and _"));
    assert!(session("X-A=LD_PRELOAD").contains("code of its own"));
    assert!(session("X-A=MCP_MUX_HOST").contains("mcp-mux's own"));
    let twice = ["--isolation", "session", "--header-env", "X-A=A", "--header-env", "X-B=A"];
    assert!(problem(&twice).contains("the only one for this variable"));
    let variable = [("MCP_MUX_HEADER_ENV", "X-A=A\nX-B=B"), ("MCP_MUX_ISOLATION", "session")];
    let config = load_with(&["--", "server"], &variable).unwrap();
    let named: Vec<_> =
        config.server().pool.header_env.iter().map(|one| (one.header.as_str(), one.variable.as_str())).collect();
    assert_eq!(named, [("x-a", "A"), ("x-b", "B")]);
}

#[test]
fn an_unused_process_stays_unless_it_is_a_principals_or_told_otherwise() {
    let idle = |args: &[&str]| load(args).unwrap().into_server().pool.idle_timeout.map(|timeout| timeout.as_secs());
    assert_eq!(idle(&[]), None);
    assert_eq!(idle(&["--isolation", "principal"]), Some(300));
    assert_eq!(idle(&["--isolation", "principal", "--child-idle-timeout", "none"]), None);
    assert_eq!(idle(&["--child-idle-timeout", "7"]), Some(7));
}

#[test]
fn what_messages_may_make_grow_can_be_chosen() {
    let args = [
        "--nesting-max=8",
        "--batch-max=0",
        "--subscriptions-max=1",
        "--questions-max=2",
        "--resend-bytes-max=1KiB",
        "--tasks-max=16",
        "--stderr-lines-max=0",
    ];
    let config = load(&args).unwrap();
    let expected = Bounds {
        nesting_max: 8,
        batch_max: 0,
        subscriptions_max: 1,
        questions_max: 2,
        resend_bytes_max: 1024,
        tasks_max: 16,
    };
    assert_eq!(
        (config.server().endpoint.bounds, config.server().router.bounds, config.server().pool.bounds),
        (expected, expected, expected)
    );
    assert_eq!((expected.tasks_per_principal_max(), expected.tasks_per_session_max()), (4, 1));
    assert_eq!(config.server().child.stderr_lines_max, 0);
    for (arg, wanted) in [
        ("--nesting-max=7", "8 to 1024"),
        ("--nesting-max=1025", "8 to 1024"),
        ("--batch-max=-1", "a whole number, 0 or more"),
        ("--subscriptions-max=many", "a whole number, 0 or more"),
        ("--questions-max=", "a whole number, 0 or more"),
        ("--resend-bytes-max=x", "a size"),
        ("--tasks-max=15", "16 or more"),
        ("--stderr-lines-max=4294967296", "0 to 4294967295"),
    ] {
        let problem = problem(&[arg]);
        let flag = arg.split('=').next().unwrap();
        assert!(problem.contains(flag) && problem.contains(wanted), "{problem}");
    }
}
