//! What is beside the program for those who run it: that it fits the program it is for.
#![expect(clippy::unwrap_used, clippy::string_slice, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mcp_mux::cli::{self, Cli};
use mcp_mux::config::Config;
use mcp_mux::config::listen::{Chosen, ListenAddress};
use mcp_mux::metrics::{self, Outcome, ServerMetrics};

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The flags of the program and of its subcommands, without their dashes.
fn flags() -> BTreeSet<String> {
    let commands = cli::SUBCOMMANDS.iter().map(|subcommand| (subcommand.definition)()).chain([cli::command()]);
    let flags = commands.flat_map(|mut command| {
        command.build();
        command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned).collect::<Vec<_>>()
    });
    flags.collect()
}

/// What stands behind each occurrence of `start`, for as long as it could be a name.
fn names(text: &str, start: &str) -> Vec<String> {
    let is_part = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    let starts_a_word = |at: usize| text[..at].chars().next_back().is_none_or(|before| !is_part(&before));
    let starts = text.match_indices(start).filter(|(at, _)| starts_a_word(*at));
    let names = starts.map(|(at, _)| text[at + start.len()..].chars().take_while(is_part).collect::<String>());
    names.filter(|name| name.starts_with(|first: char| first.is_ascii_alphabetic())).collect()
}

/// Fails unless every flag and variable of ours that the text names is there; `others` are flags of other programs.
fn names_only_what_there_is(file: &str, text: &str, others: &[&str]) {
    let flags = flags();
    for name in names(text, "--") {
        assert!(flags.contains(&name) || others.contains(&name.as_str()), "{file}: there is no --{name}");
    }
    for name in names(text, "MCP_MUX_") {
        let flag = name.to_ascii_lowercase().replace('_', "-");
        assert!(flags.contains(&flag) || name == "AUTH_TOKENS", "{file}: there is no MCP_MUX_{name}");
    }
}

#[test]
fn the_files_for_operators_name_only_flags_and_variables_that_there_are() {
    let of_docker = [
        "target",
        "rm",
        "init",
        "time",
        "from",
        "mount",
        "locked",
        "release",
        "features",
        "bin",
        "yes",
        "no-install-recommends",
    ];
    names_only_what_there_is("Dockerfile", &text("Dockerfile"), &of_docker);
    for unit in [SERVICE, SOCKET] {
        names_only_what_there_is(unit, &text(unit), &["now"]);
    }
    let of_kubernetes = ["target", "from-literal"];
    for file in ["mcp-mux", "network-policy", "pod-monitor"] {
        let file = format!("examples/kubernetes/{file}.yaml");
        names_only_what_there_is(&file, &text(&file), &of_kubernetes);
    }
}

#[test]
fn the_tables_for_those_who_come_from_others_name_only_flags_that_there_are() {
    let readme = text("README.md");
    let (_, section) = readme.split_once("\n## For those who come from").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows: Vec<_> = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")).collect();
    assert!(rows.len() > 50, "{}", rows.len());
    for row in rows {
        let [_, ours] =
            row.split(" | ").collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("two columns: {row}"));
        names_only_what_there_is("README", ours, &[]);
    }
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(document: &str) -> BTreeSet<String> {
    let mut fenced = false;
    let headings = document.lines().filter_map(|line| {
        fenced ^= line.starts_with("```");
        line.strip_prefix('#').filter(|_| !fenced).map(|rest| rest.trim_start_matches('#').trim())
    });
    let anchor = |heading: &str| -> String {
        let kept = heading.chars().filter(|character| character.is_alphanumeric() || " -_".contains(*character));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The links of a document: what can be read, and where it leads.
fn links(document: &str) -> Vec<(&str, &str)> {
    let links = document.match_indices("](").filter_map(|(at, _)| {
        let text = document[..at].rsplit_once('[')?.1;
        Some((text, document[at + 2..].split_once(')')?.0))
    });
    links.collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere_and_the_tests_that_they_name_are_there() {
    let mut named = 0;
    for file in ["README.md", "SECURITY.md", "benches/RESULTS.md"] {
        let document = text(file);
        for (shown, target) in links(&document) {
            let (target, anchor) = target.split_once('#').unwrap_or((target, ""));
            if target.starts_with("https://") {
                continue;
            }
            let target = match target {
                "" => path(file),
                target => path(file).parent().unwrap().join(target),
            };
            assert!(target.exists(), "{file}: {shown}: there is no {}", target.display());
            if !anchor.is_empty() {
                let there = anchors(&fs::read_to_string(&target).unwrap());
                assert!(there.contains(anchor), "{file}: {shown}: there is no #{anchor}");
            }
            // A test is a link whose text is its name.
            if let Some(name) = shown.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'))
                && name.contains('_')
                && name.chars().all(|character| character.is_ascii_lowercase() || "_0123456789".contains(character))
            {
                let source = fs::read_to_string(&target).unwrap();
                let there = ["fn", "def"].iter().any(|start| source.contains(&format!("{start} {name}(")));
                assert!(there, "{file}: there is no {name} in {}", target.display());
                named += 1;
            }
        }
    }
    assert!(named > 30, "{named}");
}

#[test]
fn the_image_is_built_from_what_there_is_with_a_compiler_that_can() {
    let (dockerfile, ignored) = (text("Dockerfile"), text(".dockerignore"));
    for line in dockerfile.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from")) {
        let words: Vec<_> = line.split_whitespace().collect();
        for source in &words[1..words.len() - 1] {
            assert!(path(source).exists(), "{line}");
            assert!(ignored.lines().any(|line| line.strip_prefix('!') == Some(source)), "not let through: {source}");
        }
    }
    let version = |text: &str| -> Vec<u32> { text.split('.').map(|number| number.parse().unwrap()).collect() };
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let has = dockerfile.lines().find_map(|line| line.strip_prefix("FROM rust:")?.split('-').next()).unwrap();
    assert!(version(has) >= version(wanted), "rust {has}, but {wanted} is wanted");
    // A process of the last stage that anybody may start is not root.
    for stage in dockerfile.split("\nFROM ").filter(|stage| stage.contains("\nENTRYPOINT ")) {
        let user = stage.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
        assert!(user.split(':').all(|id| id.parse::<u32>().unwrap() > 0), "{user}");
    }
}

/// The value behind a key of YAML that stands there once.
fn yaml(text: &str, key: &str) -> u64 {
    let values: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": ")).collect();
    let [value] = values[..] else { panic!("{key}: {values:?}") };
    value.parse().unwrap()
}

#[test]
fn the_configuration_for_kubernetes_is_right_and_its_times_fit_the_pods() {
    let yaml_text = text("examples/kubernetes/mcp-mux.yaml");
    let (_, block) = yaml_text.split_once("  mcp-mux.toml: |\n").unwrap();
    let lines = block.lines().map_while(|line| line.strip_prefix("    "));
    // The file of tokens is a Secret's.
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, format!("alice:{}\n", "0123456789abcdef".repeat(4))).unwrap();
    let configuration = lines.collect::<Vec<_>>().join("\n");
    let configuration = configuration.replace("/run/secrets/mcp-mux/tokens", &tokens.display().to_string());
    let file = folder.path().join("mcp-mux.toml");
    fs::write(&file, configuration).unwrap();
    let arguments = ["mcp-mux".into(), "--config".into(), OsString::from(file)];
    // As the image has it.
    let cli = Cli::read(arguments, |name| (name == "MCP_MUX_HOST").then(|| "0.0.0.0".into())).unwrap();
    let config = Config::load(cli).unwrap();

    let stop = config.drain_timeout + 2 * config.servers.servers[0].child.stop_timeout + Duration::from_secs(11);
    let before = Duration::from_secs(yaml(&yaml_text, "seconds"));
    let grace = Duration::from_secs(yaml(&yaml_text, "terminationGracePeriodSeconds"));
    assert!(before + stop <= grace, "{before:?} and {stop:?} are more than {grace:?}");
    let start = Duration::from_secs(yaml_text.matches("periodSeconds: 2\n").count() as u64 * 2 * 60);
    assert!(
        start >= config.servers.servers[0].child.start_timeout,
        "the start may take longer than the startup probe allows"
    );
}

const SERVICE: &str = "packaging/systemd/mcp-mux.service";
const SOCKET: &str = "packaging/systemd/mcp-mux.socket";

/// The values of a unit's key.
fn of_unit<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_units_fit_each_other_and_the_service_listens_by_itself_without_the_socket() {
    let (service, socket) = (text(SERVICE), text(SOCKET));
    let stem = |file: &str| Path::new(file).file_stem().unwrap().to_owned();
    // So the one starts the other, without Service= and Sockets=.
    assert_eq!(stem(SERVICE), stem(SOCKET));
    assert!(of_unit(&socket, "Service").is_empty() && of_unit(&service, "Sockets").is_empty());
    // One process takes all connections (Accept=no, which is systemd's own).
    assert!(of_unit(&socket, "Accept").is_empty());
    let [start] = of_unit(&service, "ExecStart")[..] else { panic!("one start") };
    for flag in ["--host", "--port", "--listen"] {
        assert!(!start.contains(flag), "{start}: the sockets that are handed over would not be used");
    }
    assert_eq!(of_unit(&service, "NotifyAccess"), ["main"]);

    // The port that systemd opens is the one that mcp-mux opens where there is no socket.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp-mux.toml");
    let read = |more: &str| {
        fs::write(&file, format!("command = [\"server\"]\n{more}")).unwrap();
        let arguments = start
            .split_whitespace()
            .map(|word| if word.starts_with("/etc") { file.clone().into() } else { word.into() });
        Config::load(Cli::read(arguments, |_| None).unwrap()).unwrap().listen
    };
    let by_default = read("");
    assert_eq!(by_default.chosen, Chosen::ByDefault);
    let [ListenAddress::Tcp { host, port }] = &by_default.addresses[..] else { panic!("{:?}", by_default.addresses) };
    assert_eq!(of_unit(&socket, "ListenStream"), [format!("{host}:{port}")]);
    let [name] = of_unit(&socket, "FileDescriptorName")[..] else { panic!("one name") };
    let named = read(&format!("listen = [\"systemd:{name}\"]\n"));
    assert_eq!(named.addresses, [ListenAddress::Handed(Some(name.to_owned()))]);
}

#[test]
fn systemd_understands_the_units() {
    let folder = tempfile::tempdir().unwrap();
    // Where the program is not installed.
    let service = text(SERVICE).replace("/usr/local/bin/mcp-mux", env!("CARGO_BIN_EXE_mcp-mux"));
    let [service_file, socket_file] = [SERVICE, SOCKET].map(|file| folder.path().join(path(file).file_name().unwrap()));
    fs::write(&service_file, service).unwrap();
    fs::write(&socket_file, text(SOCKET)).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]).args([&service_file, &socket_file]);
    let Ok(output) = verify.output() else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    let of_ours: Vec<_> = said.lines().filter(|line| line.contains("mcp-mux")).collect();
    assert!(of_ours.is_empty(), "{said}");
}

/// Every sample there can be, by name.
#[cfg(target_os = "linux")]
fn samples() -> BTreeSet<String> {
    let server = ServerMetrics::named("test");
    server.request(metrics::Method::ToolsCall, Outcome::Ok, Duration::ZERO);
    let text = metrics::render();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let names = types.flat_map(|(name, kind)| {
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
    });
    names.collect()
}

/// The values that a text asks for with `label="…"`, `label=~"…"` and their opposites.
fn values_of<'a>(label: &str, text: &'a str) -> Vec<&'a str> {
    let places = text.match_indices(label).map(|(at, _)| &text[at + label.len()..]);
    let asked = places.filter(|rest| rest.starts_with(['=', '!']));
    // In JSON the quotes have backslashes.
    let quoted = asked.map(|rest| rest.trim_start_matches(['=', '!', '~', '\\']));
    let values = quoted.filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
    values.flat_map(|values| values.trim_end_matches('\\').split('|')).filter(|value| !value.starts_with('$')).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let samples = samples();
    for file in ["examples/monitoring/grafana-dashboard.json", "examples/monitoring/alerts.yaml"] {
        let text = text(file);
        for (start, of) in [("mcp_mux_", "mcp_mux_"), ("process_", "process_")] {
            let named = names(&text, start);
            assert!(!named.is_empty(), "{file} names none of {start}");
            for name in named {
                assert!(samples.contains(&format!("{of}{name}")), "{file}: there is no {of}{name}");
            }
        }
        let outcomes: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        let methods: Vec<&str> = metrics::Method::ALL.iter().map(|method| method.as_str()).collect();
        let limits: Vec<&str> = metrics::Limit::ALL.iter().map(|limit| limit.as_str()).collect();
        let of_children = ["starting", "ready", "restarting", "circuit-open", "failed"];
        let states = [&of_children[..], &["asleep", "waiting", "started", "stopping"]].concat();
        for (label, known) in [("outcome", outcomes), ("method", methods), ("limit", limits), ("state", states)] {
            for value in values_of(label, &text) {
                assert!(known.contains(&value), "{file}: {label} is never {value}");
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_readme_has_every_metric_in_its_table() {
    let readme = text("README.md");
    for name in samples().iter().filter(|name| !["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end))) {
        assert!(readme.contains(&format!("| `{name}` |")), "{name} is not in the README's table of metrics");
    }
    for outcome in Outcome::ALL {
        assert!(readme.contains(&format!("| `{}` |", outcome.as_str())), "{outcome:?} is not in the README");
    }
}

/// What bash offers where the cursor stands behind these words, the last of which may be the beginning of one.
fn offered(words: &[&str]) -> Vec<String> {
    let script = path("packaging/completions/mcp-mux.bash");
    let [.., before, last] = words else { panic!("two words at least") };
    let line = r#"source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mcp__mux mcp-mux "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[@]}""#;
    assert!(!before.is_empty() && !last.contains(' '));
    let done = Command::new("bash").arg("-c").arg(line).arg(script).args(words).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bash_completes_flags_words_and_subcommands() {
    for (words, expected) in [
        (&["mcp-mux", "--isol"][..], &["--isolation"][..]),
        (&["mcp-mux", "--isolation", ""], &["shared", "principal", "session"]),
        (&["mcp-mux", "--log-format", "j"], &["json"]),
        (&["mcp-mux", "con"], &["connect"]),
        (&["mcp-mux", "connect", "--auth"], &["--auth-token-file"]),
        (&["mcp-mux", "check", "--child-era", "m"], &["modern"]),
        (&["mcp-mux", "completions", ""], &["bash", "zsh", "fish"]),
        (&["mcp-mux", "hel"], &[]),
    ] {
        let offered = offered(words);
        assert!(expected.iter().all(|word| offered.iter().any(|offer| offer == word)), "{words:?}: {offered:?}");
        assert!(!expected.is_empty() || offered.is_empty(), "{words:?}: {offered:?}");
    }
}
