use super::*;
use crate::config::{Arrangement, ForeignKey, Isolation, ServerConfig, ServerName, Source, Start, Unusable};

/// As Claude Desktop writes it, with its own settings around.
const CLAUDE_DESKTOP: &str = r#"{
    "globalShortcut": "Ctrl+Space",
    "preferences": { "menuBarEnabled": false },
    "mcpServers": {
        "filesystem": {
            "command": "npx",
            "args": ["-y", "@modelcontextprotocol/server-filesystem", "/tmp"]
        },
        "brave-search": {
            "command": "npx",
            "args": ["-y", "@modelcontextprotocol/server-brave-search"],
            "env": { "BRAVE_API_KEY": "hunter2" }
        }
    }
}"#;

/// As Cline and Roo write it.
const CLINE: &str = r#"{
    "mcpServers": {
        "local": {
            "command": "node",
            "args": ["/path/to/server.js", 1],
            "env": { "API_KEY": "hunter2" },
            "alwaysAllow": ["tool1"],
            "autoApprove": [],
            "disabledTools": ["tool3"],
            "timeout": 60,
            "disabled": false
        },
        "remote": { "url": "https://example.com/mcp?key=hunter2", "headers": { "Authorization": "Bearer hunter2" }, "disabled": false }
    }
}"#;

/// As Cursor, Windsurf and Gemini's command line write it.
const OTHERS: &str = r#"{
    "theme": "Dark",
    "selectedAuthType": "oauth",
    "mcpServers": {
        "a": { "type": "stdio", "command": "uvx", "args": ["a", "--root", "${userHome}"], "envFile": ".env", "env": null },
        "b": { "serverUrl": "https://example.com/sse" },
        "c": { "type": "http", "command": null },
        "d": { "command": "python", "args": ["-m", "d"], "cwd": "${env:FOLDER}", "trust": false, "includeTools": ["x"], "description": "d" },
        "e": { "httpUrl": "https://example.com/mcp", "enabled": false }
    }
}"#;

fn server<'a>(config: &'a Config, name: &str) -> &'a ServerConfig {
    let named = config.servers.servers.iter().find(|server| server.name.as_str() == name);
    named.unwrap_or_else(|| panic!("{name}: {:?}", config.servers.unusable))
}

fn foreign(config: &Config) -> Vec<&str> {
    config.foreign_keys.iter().map(|key| key.place.as_str()).collect()
}

fn names(config: &Config) -> Vec<&str> {
    config.servers.servers.iter().map(|server| server.name.as_str()).collect()
}

fn why(config: &Config, name: &str) -> String {
    match config.servers.unusable.iter().find(|(unusable, _)| unusable.as_str() == name) {
        Some((_, Unusable::Invalid(why))) => why.clone(),
        other => panic!("{name}: {other:?}"),
    }
}

fn json(text: &str) -> Setting {
    Setting::new("mcp.json", text)
}

/// With nothing typed.
fn load(setting: &Setting) -> Result<Config, Vec<String>> {
    setting.load_with(&[], &[("HOME", "/home/x"), ("FOLDER", "/"), ("TOKEN", "hunter2")])
}

fn expect_problem(text: &str, expected: &str) {
    let found = load(&json(text)).unwrap_err();
    assert!(found.len() == 1 && found[0].starts_with(&format!("mcp.json: {expected}")), "{expected} is not {found:?}");
}

#[test]
fn the_files_of_desktop_clients_work_unchanged() {
    let config = load(&json(CLAUDE_DESKTOP)).unwrap();
    assert_eq!(config.servers.arrangement, Arrangement::Several);
    assert_eq!(names(&config), ["brave-search", "filesystem"]);
    let child = &server(&config, "filesystem").child;
    assert_eq!(child.command, ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/tmp"]);
    assert_eq!(server(&config, "brave-search").child.env["BRAVE_API_KEY"].expose(), "hunter2");
    assert_eq!(foreign(&config), ["globalShortcut", "preferences"]);

    let config = load(&json(CLINE)).unwrap();
    assert_eq!(server(&config, "local").child.command, ["node", "/path/to/server.js", "1"]);
    assert!(why(&config, "remote").contains("connect"));
    let local = ["alwaysAllow", "autoApprove", "disabledTools", "timeout"];
    let local = local.map(|key| format!("mcpServers.local.{key}"));
    // What says that it is remote has been heard.
    assert_eq!(foreign(&config), local);
    assert!(!format!("{config:?}").contains("hunter2"));

    let config = load(&json(OTHERS)).unwrap();
    assert_eq!(names(&config), ["a", "d"]);
    assert_eq!(server(&config, "a").child.command, ["uvx", "a", "--root", "/home/x"]);
    assert_eq!(server(&config, "d").child.cwd.as_deref(), Some(Path::new("/")));
    assert!(why(&config, "b").contains("connect") && why(&config, "c").contains("connect"));
    assert!(config.servers.unusable.contains(&(ServerName::parse("e").unwrap(), Unusable::Disabled)));
}

#[test]
fn a_server_has_keys_of_its_own_and_the_file_those_for_all() {
    let toml = Setting::toml(
        "request-timeout = '5s'\npool = 2\nport = 9000\nstarts-max = 2\n\
         [mcpServers.a]\ncommand = 'a'\npool = 3\nlazy = true\n\
         [mcpServers.b]\ncommand = ['b', '-x']\nargs = ['y']\nrequest-timeout = 1\nserver-idle-timeout = '10m'\n\
         [mcpServers.c]\nspawn = \"c 'd e'\"\npool = 1\nisolation = 'session'\n[mcpServers.c.env]\nA = 'b'",
    );
    let config = load(&toml).unwrap();
    let timeout = |config: &Config, name: &str| server(config, name).router.request_timeout.unwrap().as_secs();
    let pool = |config: &Config, name: &str| server(config, name).pool.size.get();
    assert_eq!([("a", 5), ("b", 1), ("c", 5)].map(|(name, _)| timeout(&config, name)), [5, 1, 5]);
    assert_eq!(["a", "b", "c"].map(|name| pool(&config, name)), [3, 2, 1]);
    assert_eq!((port_of(&config), config.servers.starts_max.get()), (9000, 2));
    assert_eq!(server(&config, "a").start, Start::OnDemand);
    assert_eq!(server(&config, "b").start, Start::AtOnce);
    assert_eq!(server(&config, "b").idle_timeout.unwrap().as_secs(), 600);
    assert_eq!(server(&config, "b").child.command, ["b", "-x", "y"]);
    assert_eq!(server(&config, "c").child.command, ["c", "d e"]);
    assert_eq!(server(&config, "c").pool.isolation, Isolation::Session);
    assert_eq!(server(&config, "c").child.env["A"].expose(), "b");
    // A variable wins over both, and a flag over that.
    let variables = [("MCP_MUX_REQUEST_TIMEOUT", "7")];
    let config = toml.load_with(&[], &variables).unwrap();
    assert_eq!(["a", "b", "c"].map(|name| timeout(&config, name)), [7, 7, 7]);
    let config = toml.load_with(&["--request-timeout", "8"], &variables).unwrap();
    assert_eq!(["a", "b", "c"].map(|name| timeout(&config, name)), [8, 8, 8]);
}

#[test]
fn one_server_that_cannot_be_used_is_in_nobodys_way() {
    let config = load(&json(
        r#"{"mcpServers": {
            "good": {"command": "${TOKEN}", "args": ["${NONE:-x}"]},
            "no-command": {},
            "empty": {"command": ""},
            "quotes": {"spawn": "'a"},
            "no-folder": {"command": "x", "cwd": "/no/such/folder"},
            "my server": {"command": "x"},
            "my/server": {"command": "x"},
            "unset": {"command": "x", "env": {"A": "${NONE}"}},
            "asked": {"command": "x", "args": ["${input:key}"]},
            "no-table": "x",
            "no-list": {"command": "x", "args": "y"},
            "no-program": {"command": {"x": 1}},
            "two": {"command": "x", "spawn": "x"},
            "half": {"spawn": "x", "args": ["y"]}
        }}"#,
    ))
    .unwrap();
    assert_eq!(names(&config), ["good"]);
    assert_eq!(server(&config, "good").child.command, ["hunter2", "x"]);
    for (name, text) in [
        ("no-command", "it has no command"),
        ("empty", "its command must be a command that starts with a program"),
        ("quotes", "spawn must be a command whose quotes are closed"),
        ("no-folder", "cwd \"/no/such/folder\": must be a folder that can be entered"),
        ("my-server", "a name has 1 to 64"),
        ("my-server-2", "a name has 1 to 64"),
        ("unset", "env: the variable NONE is not set"),
        ("asked", "its command cannot be made: nobody here knows"),
        ("no-table", "it must be a table, such as"),
        ("no-list", "args must be a list of texts"),
        ("no-program", "command must be a program, or a list of words"),
        ("two", "spawn must be left out where there is a command"),
        ("half", "args must be left out with spawn"),
    ] {
        assert!(why(&config, name).starts_with(text), "{name}: {}", why(&config, name));
    }
}

#[test]
fn a_wrong_value_is_a_problem_of_the_file_and_named_with_its_key() {
    for (keys, expected) in [
        (r#""pool": "x""#, "mcpServers.git.pool \"x\": must be a whole number"),
        (r#""env": {"A": 1.50}"#, "mcpServers.git.env.A: must be a text, in quotes"),
        (r#""env": {"A": ["x"]}"#, "mcpServers.git.env.A: must be a text, in quotes"),
        (r#""isolaton": "shared""#, "mcpServers.git.isolaton: must be a key that there is; did you mean isolation?"),
        (r#""environment": {}"#, "mcpServers.git.environment: must be a key that there is; did you mean env?"),
        (r#""port": 1"#, "mcpServers.git.port: must be at the top of the file"),
        (r#""rate": 1"#, "mcpServers.git.rate: must be at the top of the file"),
        (r#""principals": {}"#, "mcpServers.git.principals: must be at the top of the file"),
        (r#""disabled": "perhaps""#, "mcpServers.git.disabled: must be true or false"),
        (r#""warm": 1"#, "mcpServers.git.warm \"1\": must be 0, unless with --isolation session"),
    ] {
        expect_problem(
            &format!(r#"{{"mcpServers": {{"git": {{"command": "x", {keys}}}, "b": {{"command": "x"}}}}}}"#),
            expected,
        );
    }
    expect_problem(r#"{"mcpServers": {"a b": {"command": "x", "pool": 0}}}"#, "mcpServers.\"a b\".pool \"0\"");
    // What is put aside may be as it likes.
    let aside = r#"{"mcpServers": {"git": {"disabled": true, "pool": "x", "command": 1}, "b": {"command": "x"}}}"#;
    assert_eq!(names(&load(&json(aside)).unwrap()), ["b"]);
}

#[test]
fn a_key_that_is_like_ours_and_spelled_as_others_spell_is_theirs_and_remembered() {
    let text = r#"{"logLevel": "x", "theme": "dark", "mcpServers": {"a": {"command": "x", "requestTimeout": 1, "trust": true}}}"#;
    let config = load(&json(text)).unwrap();
    let key = |place: &str, like: Option<&str>| ForeignKey { place: place.to_owned(), like: like.map(str::to_owned) };
    let expected = [
        key("logLevel", Some("log-level")),
        key("mcpServers.a.requestTimeout", Some("request-timeout")),
        key("mcpServers.a.trust", None),
        key("theme", None),
    ];
    let mut found = config.foreign_keys;
    found.sort_by(|a, b| a.place.cmp(&b.place));
    assert_eq!(found, expected);
}

#[test]
fn a_number_in_the_environment_is_the_text_that_it_is_written_as() {
    let config =
        load(&json(r#"{"mcpServers": {"a": {"command": "x", "env": {"PORT": 8080, "DEBUG": true}}}}"#)).unwrap();
    let env = &server(&config, "a").child.env;
    assert_eq!((env["PORT"].expose(), env["DEBUG"].expose()), ("8080", "true"));
}

#[test]
fn what_is_wrong_for_all_servers_is_said_once_and_for_one_alone_with_its_name() {
    let of = |general: &str, own: &str| {
        format!(r#"{{{general}, "mcpServers": {{"a": {{"command": "x"}}, "b": {{"command": "x", {own}}}}}}}"#)
    };
    expect_problem(&of(r#""pool": "x""#, r#""lazy": true"#), "pool \"x\": must be a whole number, 1 or more");
    let session = of(r#""pool": 2"#, r#""isolation": "session""#);
    expect_problem(&session, "pool \"2\": must be 1, unless with --isolation shared (for the server b)");
}

#[test]
fn a_file_says_either_one_server_or_several() {
    let servers = r#""mcpServers": {"a": {"command": "x"}}"#;
    expect_problem(&format!(r#"{{"command": ["x"], {servers}}}"#), "command: must be left out with mcpServers");
    expect_problem(&format!(r#"{{"spawn": "x", {servers}}}"#), "spawn: must be left out with mcpServers");
    let setting = json(&format!("{{{servers}}}"));
    let wanted = "must be left out with mcp.json, which has other servers: choose";
    for (args, variables, origin) in [
        (&["--", "x"][..], &[][..], "the command after --"),
        (&["--spawn", "x"], &[], "--spawn"),
        (&[], &[("MCP_MUX_SPAWN", "x")], "MCP_MUX_SPAWN"),
    ] {
        assert_eq!(setting.load_with(args, variables).unwrap_err(), [format!("{origin}: {wanted}")]);
    }
}

#[test]
fn a_file_without_a_server_that_can_be_used_is_a_problem() {
    expect_problem(r#"{"mcpServers": {}}"#, "mcpServers: must be a table with a server at least");
    expect_problem(r#"{"mcpServers": []}"#, "mcpServers: must be a table");
    expect_problem(
        r#"{"mcpServers": {"a": 1}}"#,
        "mcpServers: must be a table with a server that can be used; of those in it, none can\n    a: it must be a table, such as",
    );
    let none = "mcpServers: must be a table with a server that can be used; of those in it, none can\n    a: disabled\n    b: it has no command";
    expect_problem(r#"{"mcpServers": {"a": {"command": "x", "disabled": true}, "b": {}}}"#, none);
    // Other programs have another name for it.
    for text in [r#"{"servers": {"a": {"command": "x"}}}"#, r#"{"inputs": [], "servers": {}}"#] {
        let found = load(&json(text)).unwrap_err();
        assert!(
            found.iter().any(|problem| problem.starts_with("mcp.json: servers: must be called mcpServers here")),
            "{found:?}"
        );
    }
    let twice = "{\"mcpServers\": {\n\"a\": {\"command\": \"x\"},\n\"a\": {}}}";
    expect_problem(twice, "line 3, column 3: must be valid JSON (the key \"a\" is there twice)");
}

#[test]
fn the_example_of_the_readme_works() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, chapter) = readme.split_once("### Many servers\n").unwrap();
    let (_, example) = chapter.split_once("```json\n").unwrap();
    let setting = json(example.split_once("```").unwrap().0);
    let config = setting.load_with(&[], &[("GITHUB_TOKEN", "hunter2")]).unwrap();
    assert_eq!(names(&config), ["filesystem", "github"]);
    assert_eq!(server(&config, "github").child.env["GITHUB_PERSONAL_ACCESS_TOKEN"].expose(), "hunter2");
}

#[test]
fn whose_a_flag_is_is_decided_by_its_group() {
    let definition = cli::command();
    let of_process = definition.get_arguments().filter(|arg| cli::Whose::of(arg) == cli::Whose::Process);
    let flags: Vec<_> = of_process.filter_map(flag_with_key).collect();
    for flag in
        ["unread-total-bytes-max", "starts-max", "watch", "drain-timeout", "rate", "log-level", "port", "tls-cert"]
    {
        assert!(flags.contains(&flag), "{flag}");
    }
    // What a server is made of can be read for each of them alone; the process's flags are in none of them.
    for flag in flags {
        let text = format!(r#"{{"mcpServers": {{"a": {{"command": "x", "{flag}": "1"}}}}}}"#);
        expect_problem(&text, &format!("mcpServers.a.{flag}: must be at the top of the file"));
    }
}

#[test]
fn a_source_reads_the_servers_again_and_keeps_what_needs_a_restart() {
    let write = |setting: &Setting, text: &str| fs::write(setting.path(), text).unwrap();
    let setting = json(r#"{"port": 1, "mcpServers": {"a": {"command": "x"}}}"#);
    let args = || ["mcp-mux".into(), "--config".into(), setting.path().into_os_string()];
    let source = Source::of(&setting.cli(&[], &[]).unwrap(), args(), |_| None).unwrap();
    let again = source.again().unwrap();
    assert_eq!((again.servers.as_ref(), again.restart.len()), (Some(&load(&setting).unwrap().servers), 0));

    write(&setting, r#"{"port": 2, "starts-max": 9, "pool": 3, "mcpServers": {"b": {"command": "x"}, "c": {}}}"#);
    let again = source.again().unwrap();
    let servers = again.servers.unwrap();
    assert_eq!((servers.servers[0].name.as_str(), servers.servers[0].pool.size.get()), ("b", 3));
    assert_eq!((servers.unusable.len(), servers.starts_max.get()), (1, 4));
    assert_eq!(again.restart, ["port", "starts-max"]);

    for (text, expected) in [
        ("{", "valid JSON"),
        (r#"{"mcpServers": {"a": {"command": "x", "pool": "y"}}}"#, "mcpServers.a.pool \"y\""),
        (r#"{"port": "y", "mcpServers": {"a": {"command": "x"}}}"#, "port \"y\""),
        (r#"{"command": ["x"]}"#, "with mcpServers, as at the start"),
        ("{}", "a file with a server in it"),
    ] {
        write(&setting, text);
        let error = source.again().unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }

    // What can be added again can all be taken away.
    for (text, unusable) in [(r#"{"port": 1, "mcpServers": {}}"#, 0), (r#"{"port": 1, "mcpServers": {"a": {}}}"#, 1)] {
        write(&setting, text);
        let servers = source.again().unwrap().servers.unwrap();
        assert_eq!((servers.servers.len(), servers.unusable.len()), (0, unusable), "{text}");
    }

    let one = json(r#"{"port": 1, "command": ["x"]}"#);
    let args = ["mcp-mux".into(), "--config".into(), one.path().into_os_string()];
    let source = Source::of(&one.cli(&[], &[]).unwrap(), args, |_| None).unwrap();
    write(&one, r#"{"pool": 2, "port": 1, "command": ["y"]}"#);
    let again = source.again().unwrap();
    assert!(again.servers.is_none());
    assert_eq!(again.restart, ["command", "pool"]);
}
