mod principals;
mod servers;

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::cli::{self, Cli, flag_with_key};
use crate::config::listen::ListenAddress;
use crate::config::principals::Rate;
use crate::config::secret::Secret;
use crate::config::{Config, SessionMode};

/// A folder with one configuration file in it.
struct Setting {
    folder: TempDir,
    name: String,
}

impl Setting {
    fn new(name: &str, text: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        Self { folder, name: name.to_owned() }
    }

    fn toml(text: &str) -> Self {
        Self::new("mux.toml", text)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    fn cli(&self, args: &[&str], variables: &[(&str, &str)]) -> Result<Cli, clap::Error> {
        let config = ["mcp-mux".into(), "--config".into(), self.path().into_os_string()];
        let variable = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        Cli::read(config.into_iter().chain(args.iter().map(OsString::from)), variable)
    }

    fn load_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let folder = format!("{}/", self.folder.path().display());
        let text = |problem: &Problem| problem.to_string().replace(&folder, "");
        Config::load(self.cli(args, variables).unwrap()).map_err(|errors| errors.problems().iter().map(text).collect())
    }

    fn load(&self) -> Result<Config, Vec<String>> {
        self.load_with(&["--", "server"], &[])
    }
}

/// The problems of a TOML file.
fn problems(text: &str) -> Vec<String> {
    Setting::toml(text).load().unwrap_err()
}

/// What is listened on.
fn port_of(config: &Config) -> u16 {
    match config.listen.addresses.as_slice() {
        [ListenAddress::Tcp { port, .. }] => *port,
        others => panic!("{others:?}"),
    }
}

#[test]
fn a_flag_wins_over_its_variable_a_variable_over_the_file_and_the_file_over_the_default() {
    let file = Setting::toml("port = 3\nallow-host = ['file']\nstateless = true");
    let plain = Setting::toml("");
    let (flag, variable): (&[&str], &[(&str, &str)]) = (&["--port", "1", "--", "server"], &[("MCP_MUX_PORT", "2")]);
    let none: (&[&str], &[(&str, &str)]) = (&["--", "server"], &[]);
    for (setting, args, variables, port, origin) in [
        (&plain, none.0, none.1, 8000, "--port"),
        (&file, none.0, none.1, 3, "mux.toml: port"),
        (&plain, none.0, variable, 2, "MCP_MUX_PORT"),
        (&file, none.0, variable, 2, "MCP_MUX_PORT"),
        (&plain, flag, none.1, 1, "--port"),
        (&file, flag, none.1, 1, "--port"),
        (&plain, flag, variable, 1, "--port"),
        (&file, flag, variable, 1, "--port"),
    ] {
        assert_eq!(port_of(&setting.load_with(args, variables).unwrap()), port, "{origin}");
        assert!(setting.cli(args, variables).unwrap().origins.origin("port").ends_with(origin), "{origin}");
    }
    // An empty variable is none.
    assert_eq!(port_of(&file.load_with(none.0, &[("MCP_MUX_PORT", "")]).unwrap()), 3);
    // Lists replace each other.
    let hosts = |args: &[&str], variables: &[(&str, &str)]| file.cli(args, variables).unwrap().allow_host;
    assert_eq!(hosts(&["--", "server"], &[]), ["file"]);
    assert_eq!(hosts(&["--", "server"], &[("MCP_MUX_ALLOW_HOST", "a,b")]), ["a", "b"]);
    assert_eq!(hosts(&["--allow-host", "c", "--", "server"], &[("MCP_MUX_ALLOW_HOST", "a,b")]), ["c"]);
    // A switch of the file can be turned off.
    assert_eq!(file.load().unwrap().server().endpoint.sessions, SessionMode::Stateless);
    let off = file.load_with(&["--stateless=false", "--", "server"], &[]).unwrap();
    assert_eq!(off.server().endpoint.sessions, SessionMode::Sessions);
}

#[test]
fn every_flag_is_a_key_and_its_variable_and_the_flag_itself_win() {
    let definition = cli::command();
    let mut keys = 0;
    for flag in definition.get_arguments().filter_map(flag_with_key) {
        let setting = Setting::toml(&format!("{flag} = 'of=file'"));
        let reached = |args: &[&str], variables: &[(&str, &str)], what: &str| {
            let cli = setting.cli(args, variables).unwrap();
            let secrets: Vec<_> = cli.env.iter().map(Secret::expose).collect();
            format!("{cli:?} {secrets:?}").contains(what)
        };
        let server: &[&str] = if flag == "spawn" { &[] } else { &["--", "server"] };
        assert!(reached(server, &[], "of=file"), "{flag}");
        let variable = format!("MCP_MUX_{}", flag.replace('-', "_").to_uppercase());
        assert!(reached(server, &[(&variable, "of=variable")], "of=variable"), "{flag}");
        assert!(!reached(server, &[(&variable, "of=variable")], "of=file"), "{flag}");
        let typed = format!("--{flag}=of=typed");
        assert!(reached(&[&[typed.as_str()], server].concat(), &[], "of=typed"), "{flag}");
        assert!(!reached(&[&[typed.as_str()], server].concat(), &[], "of=file"), "{flag}");
        keys += 1;
    }
    assert!(keys > 40, "{keys}");
}

#[test]
fn the_command_is_a_list_of_words_or_one_text_and_a_typed_one_wins() {
    let words = Setting::toml("command = ['python3', 'my server.py', '--port']");
    let spawn = Setting::toml("spawn = \"python3 'my server.py' --port\"");
    for setting in [&words, &spawn] {
        let command = |args: &[&str], variables: &[(&str, &str)]| {
            setting.load_with(args, variables).unwrap().into_server().child.command
        };
        assert_eq!(command(&[], &[]), ["python3", "my server.py", "--port"]);
        assert_eq!(command(&["--"], &[]), ["python3", "my server.py", "--port"]);
        assert_eq!(command(&["--", "a b"], &[]), ["a b"]);
        assert_eq!(command(&["--spawn", "a b"], &[]), ["a", "b"]);
        assert_eq!(command(&[], &[("MCP_MUX_SPAWN", "a b")]), ["a", "b"]);
    }
    for (text, expected) in [
        ("command = 'a b'", "command: must be a list of words"),
        ("command = ['a', 1]", "command: must be a list of words"),
        ("command = []", "command: must be a list of words"),
        ("command = ['']", "command: must be a command that starts with a program"),
        ("command = [\"a\\u0000\"]", "command: must be a command without NUL bytes"),
        ("command = ['a']\nspawn = 'b'", "spawn: must be left out where there is a command"),
        ("spawn = \"'a\"", "spawn \"'a\": must be a command whose quotes are closed"),
    ] {
        let found = Setting::toml(text).load_with(&[], &[]).unwrap_err();
        assert!(found.len() == 1 && found[0].starts_with(&format!("mux.toml: {expected}")), "{found:?}");
    }
    let error = Setting::toml("").cli(&[], &[]).unwrap_err();
    assert!(error.to_string().contains("no server to run"), "{error}");
}

#[test]
fn toml_and_json_give_the_same_configuration() {
    let toml = Setting::toml(
        r#"
        command = ["python3", "server.py"]
        port = 9000
        stateless = true
        request-timeout = 1.5
        body-bytes-max = "4MiB"
        allow-host = ["a.example", "b.example"]
        allow-origin = "https://app.example"
        client-capabilities = ["roots", "sampling"]
        rate = "10/s"

        [env]
        API_KEY = "hunter2"
        "odd name" = "x=y"

        [principals."jwt:*"]
        rate = 5
        tools = { allow = ["read_*"], deny = "read_secret" }
        "#,
    );
    let json = json!({
        "command": ["python3", "server.py"], "port": 9000, "stateless": true, "request-timeout": 1.5,
        "body-bytes-max": "4MiB", "allow-host": ["a.example", "b.example"], "allow-origin": "https://app.example",
        "client-capabilities": ["roots", "sampling"], "rate": "10/s",
        "env": { "API_KEY": "hunter2", "odd name": "x=y" },
        "principals": { "jwt:*": { "rate": 5, "tools": { "allow": ["read_*"], "deny": "read_secret" } } },
    });
    let load = |setting: &Setting| {
        let mut config = setting.load_with(&[], &[]).unwrap();
        (config.principals.file, config.exposed_file) = (None, None);
        config
    };
    let config = load(&toml);
    for name in ["mux.json", "mux", "mux.conf"] {
        assert_eq!(format!("{:?}", load(&Setting::new(name, json.to_string()))), format!("{config:?}"));
    }
    assert_eq!((port_of(&config), config.server().endpoint.body_bytes_max), (9000, 4 << 20));
    assert_eq!(config.server().router.request_timeout, Some(std::time::Duration::from_millis(1500)));
    assert_eq!((config.guard.allow_host.len(), config.guard.allow_origin.len()), (2, 1));
    assert!(!config.server().router.client_capabilities.elicitation);
    let env: Vec<_> = config.server().child.env.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(env, [("API_KEY", "hunter2"), ("odd name", "x=y")]);
    assert_eq!(config.principals.entries["jwt:*"].rate, Some(Rate::PerSecond(5.0)));
    assert_eq!(config.principals.entries["jwt:*"].tools.deny, ["read_secret"]);
}

#[test]
fn repeatable_flags_take_lists_tables_and_single_texts() {
    let env = |text: &str| Setting::toml(text).load().unwrap().into_server().child.env.into_iter().collect::<Vec<_>>();
    let pair = |name: &str, value: &str| (name.to_owned(), Secret::new(value.to_owned()));
    assert_eq!(env("env = 'A=1'"), [pair("A", "1")]);
    assert_eq!(env("env = ['A=1', 'B=']"), [pair("A", "1"), pair("B", "")]);
    assert_eq!(env("[env]\nA = ''\nB = \"two\\nlines\""), [pair("A", ""), pair("B", "two\nlines")]);
    assert_eq!(env("env = []"), []);
    let header_env = Setting::toml("isolation = 'session'\n[header-env]\nX-Api-Key = 'API_KEY'").load().unwrap();
    assert_eq!(header_env.server().pool.header_env[0].variable, "API_KEY");
}

#[test]
fn every_problem_is_reported_at_once_with_file_key_and_what_would_be_right() {
    let text = r#"
        body-bytes-max = "4Mx"
        port = true
        host = ["a"]
        cwd = ""
        sessions-max = {}
        allow-host = ["a.example", 1, []]
        allow-origin = { a = "b" }
        keep-alive = 2026-07-28
        pool = 1.5
        prot = 1
        "odd key" = 1
        config = "x"
        env = { A = 1.5, "B=" = "hunter2", MCP_MUX_C = "hunter2" }
    "#;
    let expected = [
        "mux.toml: allow-host: must be a list of texts",
        "mux.toml: allow-origin: must be a text or a list of texts",
        "mux.toml: body-bytes-max \"4Mx\": must be a size of at most 1TiB",
        "mux.toml: config: must be a key that there is",
        "mux.toml: cwd: must be not empty",
        "mux.toml: env.\"B=\": must be a name that is not empty and has no =",
        "mux.toml: env.A: must be a text, in quotes",
        "mux.toml: host: must be a text, a number, true or false",
        "mux.toml: keep-alive \"2026-07-28\": must be a duration",
        "mux.toml: \"odd key\": must be a key that there is",
        "mux.toml: pool \"1.5\": must be a whole number, 1 or more",
        "mux.toml: port \"true\": must be a port number",
        "mux.toml: prot: must be a key that there is; did you mean port?",
        "mux.toml: sessions-max: must be a text, a number, true or false",
    ];
    let found = problems(text);
    for expected in expected {
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{expected} is missing in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(!format!("{found:?}").contains("hunter2"), "{found:#?}");
    let own = problems("[env]\nMCP_MUX_C = 'hunter2'");
    assert_eq!(
        own,
        ["mux.toml: env \"MCP_MUX_C\": must be a name that does not start with MCP_MUX_: those are mcp-mux's own"]
    );
    let null = Setting::new("mux.json", "{\"port\": null}").load().unwrap_err();
    assert_eq!(null, ["mux.json: port: must be a text, a number, true or false"]);
    for switch in ["''", "'maybe'", "[]"] {
        assert!(problems(&format!("stateless = {switch}"))[0].starts_with("mux.toml: stateless"), "{switch}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem() {
    let setting = Setting::toml("port = 1\nhost = ");
    let found = setting.load_with(&["--port", "x", "--warm", "1"], &[]).unwrap_err();
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("mux.toml: line 2, column 8: must be valid TOML ("), "{found:?}");
    let json = Setting::new("mux.json", "{\n  \"port\": 1,\n}").load().unwrap_err();
    assert_eq!(json, ["mux.json: line 3, column 1: must be valid JSON (trailing comma)"]);
    assert_eq!(Setting::new("mux.json", "[]").load().unwrap_err(), ["mux.json: must be a JSON object"]);
    let bytes = Setting::new("mux.toml", b"a = '\xff'").load().unwrap_err();
    assert_eq!(bytes, ["mux.toml: line 1, column 6: must be valid UTF-8"]);
    let limit = usize::try_from(FILE_BYTES_MAX).unwrap();
    let large = Setting::new("mux.toml", "#".repeat(limit + 1)).load().unwrap_err();
    assert_eq!(large, ["--config \"mux.toml\": must be a file of at most 1 MiB"]);
    Setting::new("mux.toml", "#".repeat(limit)).load().unwrap();
}

#[test]
fn a_file_that_is_not_there_is_named_with_who_named_it() {
    for (typed, variable, origin) in
        [(&["--config=/no/such.toml"] as &[&str], None, "--config"), (&[], Some("/no/such.toml"), "MCP_MUX_CONFIG")]
    {
        let args = ["mcp-mux"].iter().chain(typed).map(Into::into);
        let cli = Cli::read(args, |name| variable.filter(|_| name == "MCP_MUX_CONFIG").map(Into::into)).unwrap();
        let problem = Config::load(cli).unwrap_err().to_string();
        let expected =
            format!("invalid configuration: {origin} \"/no/such.toml\": must be a file that can be read (No such");
        assert!(problem.starts_with(&expected), "{problem}");
    }
    // A typed one wins.
    let setting = Setting::toml("port = 1");
    assert_eq!(port_of(&setting.load_with(&["--", "server"], &[("MCP_MUX_CONFIG", "/no/such.toml")]).unwrap()), 1);
    let folder = Setting { name: String::new(), ..Setting::toml("") };
    assert!(folder.load().unwrap_err()[0].contains("must be a file that can be read (Is a directory"));
}

#[test]
fn a_file_with_values_of_variables_that_everybody_can_read_is_remarked_on() {
    let principal = "isolation = 'principal'\n[principals.'jwt:a'.env]\nA = '1'";
    for (text, mode, remarked) in [
        ("[env]\nA = '1'", 0o644, true),
        (principal, 0o604, true),
        ("[env]\nA = '1'", 0o640, false),
        (principal, 0o600, false),
        ("port = 1\nenv = []", 0o644, false),
        ("[principals.'jwt:a']\nrate = 1", 0o644, false),
    ] {
        let setting = Setting::toml(text);
        fs::set_permissions(setting.path(), fs::Permissions::from_mode(mode)).unwrap();
        let exposed = setting.load().unwrap().exposed_file;
        assert_eq!(exposed, remarked.then(|| setting.path()), "{text} {mode:o}");
    }
}

#[test]
fn the_examples_of_the_readme_are_configurations() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let example = |syntax: &str| {
        let rest = readme.split_once(&format!("```{syntax}\n")).unwrap().1;
        Setting::new(&format!("mux.{syntax}"), rest.split_once("```").unwrap().0).load_with(&[], &[]).unwrap()
    };
    let (toml, json) = (example("toml"), example("json"));
    assert_eq!((port_of(&toml), &toml.server().child.command), (port_of(&json), &json.server().child.command));
    let tools = |config: &Config| config.principals.of(Some("jwt:bob")).map(|principal| principal.tools.clone());
    assert!(tools(&toml).is_some() && tools(&toml) == tools(&json));
}

/// Trees whose keys are often ones that there are.
fn trees() -> impl Strategy<Value = Value> {
    let definition = cli::command();
    let mut keys: Vec<String> = definition.get_arguments().filter_map(flag_with_key).map(str::to_owned).collect();
    let others = ["command", "principals", "principals", "mcpServers", "jwt:*", "anonymous", "tools", "allow", "deny"];
    keys.extend(others.map(str::to_owned));
    keys.extend(["burst", "sessions-max", "env", "A", "A=", ""].map(str::to_owned));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9/=*\u{0}\\-. ]{0,12}".prop_map(Value::from),
        Just(Value::from("none")),
        ".{0,4}".prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(4, 32, 6, move |inner| {
        let key = prop_oneof![4 => prop::sample::select(keys.clone()), 1 => ".{0,5}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..6).prop_map(|table| Value::Object(table.into_iter().collect())),
        ]
    });
    tree.prop_filter("a table", Value::is_object)
}

proptest! {
    #[test]
    fn no_bytes_make_the_loader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), json in any::<bool>()) {
        let setting = Setting::new(if json { "mux.json" } else { "mux.toml" }, bytes);
        let _ = setting.cli(&["--", "server"], &[]).map(Config::load);
        let _ = setting.cli(&[], &[]).map(Config::load);
    }

    #[test]
    fn whatever_the_keys_hold_is_a_configuration_or_a_list_of_problems(tree in trees()) {
        let setting = Setting::new("mux.json", tree.to_string());
        // Never a usage error: the command line is right.
        match setting.load() {
            Ok(_) => {}
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }
}
