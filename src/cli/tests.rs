use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use super::*;
use crate::config::Config;

mod examples;

fn read(args: &[&str], variables: &[(&str, &str)]) -> Result<Cli, clap::Error> {
    let args = ["mcp-mux"].iter().chain(args).map(Into::into);
    Cli::read(args, |name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
}

#[test]
fn the_definition_is_consistent() {
    command().debug_assert();
    for subcommand in SUBCOMMANDS {
        (subcommand.definition)().debug_assert();
    }
    completions::everything().debug_assert();
}

#[test]
fn a_flag_wins_over_its_variable_and_an_empty_variable_is_none() {
    let variables = [("MCP_MUX_PORT", "1"), ("MCP_MUX_HOST", ""), ("MCP_MUX_SSE_PATH", "/s")];
    let cli = read(&["--port", "2", "--", "server"], &variables).unwrap();
    assert_eq!((cli.port.as_deref(), cli.host.as_deref(), cli.sse_path.as_str()), (Some("2"), None, "/s"));
    assert_eq!(cli.origins.origin("port"), "--port");
    assert_eq!(cli.origins.origin("sse-path"), "MCP_MUX_SSE_PATH");
}

#[test]
fn every_flag_has_a_variable_that_works() {
    let mut definition = command();
    definition.build();
    for flag in definition.get_arguments().filter_map(flag_with_variable) {
        let name = variable_name(flag);
        let cli = read(&["--", "server"], &[(name.as_str(), "some=value")]).unwrap();
        let secrets: Vec<_> = cli.env.iter().map(Secret::expose).collect();
        let reached = format!("{cli:?} {secrets:?}").contains("some=value");
        // A command that was typed wins over the variable.
        assert_eq!(reached, flag != "spawn", "{flag}");
    }
}

#[test]
fn exactly_one_command_is_wanted() {
    assert_eq!(read(&["--", "a", "-b"], &[]).unwrap().command, ["a", "-b"]);
    assert_eq!(read(&["--spawn", "a b"], &[]).unwrap().spawn.as_deref(), Some("a b"));
    assert_eq!(read(&[], &[("MCP_MUX_SPAWN", "a b")]).unwrap().spawn.as_deref(), Some("a b"));
    assert_eq!(read(&["--", "a"], &[("MCP_MUX_SPAWN", "b")]).unwrap().spawn, None);
    for (args, text) in [
        (&["--spawn", "a", "--", "b"] as &[&str], "cannot be used with"),
        (&[], "no server to run: give its command after `--`, or in one string with --spawn"),
        (&["--"], "no server to run"),
        (&["server"], "unexpected argument 'server'"),
        (&["--prot", "80", "--", "a"], "--port"),
        (&["--port", "1", "--port", "2", "--", "a"], "multiple times"),
    ] {
        let error = read(args, &[]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn a_variable_that_is_not_utf8_is_a_problem_of_the_configuration() {
    let variable = |name: &str| (name == "MCP_MUX_SPAWN").then(|| OsString::from_vec(vec![b'a', 0xff]));
    let cli = Cli::read(["mcp-mux".into()], variable).unwrap();
    let problems = Config::load(cli).unwrap_err().to_string();
    assert!(problems.contains("MCP_MUX_SPAWN: must be valid UTF-8"), "{problems}");
}

#[test]
fn help_and_version_are_no_errors() {
    for flag in ["--help", "-h", "--version", "-V"] {
        assert_eq!(read(&[flag], &[("MCP_MUX_PORT", "x")]).unwrap_err().exit_code(), 0);
    }
    assert_eq!(read(&["-V"], &[]).unwrap_err().to_string(), format!("mcp-mux {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_empty_argument_list_is_survived() {
    let error = Cli::read([], |_| None).unwrap_err();
    assert_eq!(error.exit_code(), 2);
}

fn invoke(args: &[&str]) -> Result<Invocation, clap::Error> {
    Invocation::read(["mcp-mux"].iter().chain(args).map(Into::into), |_| None)
}

#[test]
fn a_subcommand_is_the_first_word_and_nothing_else_is() {
    let Ok(Invocation::Connect(cli)) = invoke(&["connect", "https://example.com/mcp", "--drain-timeout", "1s"]) else {
        panic!("a subcommand")
    };
    assert_eq!((cli.url.as_str(), cli.drain_timeout.as_str()), ("https://example.com/mcp", "1s"));
    for (args, command) in [
        (&["--", "connect", "https://example.com/mcp"][..], &["connect", "https://example.com/mcp"][..]),
        (&["--port", "1", "--", "connect"], &["connect"]),
    ] {
        let Ok(Invocation::Serve(cli)) = invoke(args) else { panic!("a server's command") };
        assert_eq!(cli.command, command);
    }
    let Ok(Invocation::Serve(cli)) = invoke(&["--spawn", "connect x"]) else { panic!("a server's command") };
    assert_eq!(cli.spawn.as_deref(), Some("connect x"));
    for (args, text) in [
        (&["connect"][..], "<URL>"),
        (&["connect", "https://a/", "--port", "1"], "unexpected argument '--port'"),
        (&["--port", "1", "connect", "https://a/"], "unexpected argument 'connect'"),
    ] {
        let error = invoke(args).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(text), "{error}");
    }
    assert_eq!(invoke(&["connect", "--help"]).unwrap_err().exit_code(), 0);
}

#[test]
fn a_check_takes_what_serving_takes_and_says_how_its_answer_looks() {
    let variables = [("MCP_MUX_PORT", "1"), ("MCP_MUX_FORMAT", "json")];
    let check = |args: &[&str]| {
        let args = ["mcp-mux", "check"].iter().chain(args).map(Into::into);
        Invocation::read(args, |name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
    };
    let Ok(Invocation::Check(CheckCli { cli, format })) = check(&["--pool", "2", "--", "a", "-b"]) else {
        panic!("a check")
    };
    assert_eq!((format, cli.command.as_slice()), (AnswerFormat::Text, &["a".to_owned(), "-b".to_owned()][..]));
    assert_eq!(
        (cli.pool.as_str(), cli.port.as_deref(), cli.origins.origin("port").as_str()),
        ("2", Some("1"), "MCP_MUX_PORT")
    );
    // All that is as for serving, but for how much is logged.
    let served = read(&["--pool", "2", "--", "a", "-b"], &variables).unwrap();
    assert_eq!((cli.log_level.as_str(), served.log_level.as_str()), ("warn", "info"));
    let cli = Cli { log_level: "info".to_owned(), ..*cli };
    assert_eq!(format!("{cli:?}"), format!("{served:?}"));

    let Ok(Invocation::Check(CheckCli { cli, format })) = check(&["--format", "json", "--log-level=off", "--", "a"])
    else {
        panic!("a check")
    };
    assert_eq!((format, cli.log_level.as_str()), (AnswerFormat::Json, "off"));
    for (args, text) in [
        (&["--format", "xml", "--", "a"][..], "[possible values: text, json]"),
        (&[], "no server to run"),
        (&["--prot", "1", "--", "a"], "unexpected argument '--prot'"),
    ] {
        let error = check(args).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(text), "{error}");
    }
    assert!(read(&["--format", "json", "--", "a"], &[]).is_err());

    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    fs::write(file.path(), "command = [\"a\"]\nformat = \"json\"\npool = 3\n").unwrap();
    let path = file.path().to_str().unwrap();
    let Ok(Invocation::Check(CheckCli { cli, .. })) = check(&["--config", path]) else { panic!("a check") };
    let problems = Config::load(*cli).unwrap_err().to_string();
    let served = Config::load(read(&["--config", path], &variables).unwrap()).unwrap_err().to_string();
    assert!(problems == served && problems.contains(": format"), "{problems}");
}

#[test]
fn the_help_text_is_the_one_in_the_repository() {
    let long = command().term_width(100).render_long_help().to_string();
    expect_file("tests/snapshots/help.txt", &long);
    let short = command().term_width(100).render_help().to_string();
    expect_file("tests/snapshots/help-short.txt", &short);
    for Subcommand { name, definition, .. } in SUBCOMMANDS {
        assert!(long.contains(&format!("mcp-mux {name} ")) && short.contains(&format!("\n  {name} ")), "{name}");
        let help = definition().term_width(100).render_long_help().to_string();
        expect_file(&format!("tests/snapshots/help-{name}.txt"), &help);
    }
}

#[test]
fn the_man_pages_are_those_in_the_repository() {
    let of_subcommands = SUBCOMMANDS.iter().map(|one| ((one.definition)(), format!("-{}", one.name), see_also(&[""])));
    let names: Vec<_> = SUBCOMMANDS.iter().map(|one| format!("-{}", one.name)).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let of_program = (command(), String::new(), examples::section() + &see_also(&names));
    for (command, name, sections) in [of_program].into_iter().chain(of_subcommands) {
        let mut page = Vec::new();
        let date_free = clap_mangen::Man::new(command).date("").manual("mcp-mux");
        date_free.render(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        let (before, after) = page.split_once(".SH VERSION\n").unwrap();
        expect_file(&format!("man/mcp-mux{name}.1"), &format!("{before}{sections}.SH VERSION\n{after}"));
    }
}

/// A man page's section.
fn see_also(names: &[&str]) -> String {
    let pages: Vec<_> = names.iter().map(|name| format!("\\fBmcp\\-mux{}\\fR(1)", name.replace('-', "\\-"))).collect();
    format!(".SH \"SEE ALSO\"\n{}\n", pages.join(", "))
}

#[test]
fn the_completions_are_those_in_the_repository_and_know_every_flag() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = String::from_utf8(completions(shell)).unwrap();
        let everything = completions::everything();
        let words =
            everything.get_arguments().chain(everything.get_subcommands().flat_map(clap::Command::get_arguments));
        for flag in words.filter_map(Arg::get_long) {
            let spelled = if shell == Shell::Fish { format!("-l {flag} ") } else { format!("--{flag}") };
            assert!(format!("{} ", script.replace('\n', " ")).contains(&spelled), "{shell:?}: {flag}");
        }
        for Subcommand { name, .. } in SUBCOMMANDS {
            assert!(script.contains(name), "{shell:?}: {name}");
        }
        expect_file(&format!("packaging/completions/{}", shell.file_name()), &script);
    }
}

#[test]
fn completions_are_for_a_shell_that_is_named() {
    let Ok(Invocation::Completions(shell)) = invoke(&["completions", "zsh"]) else { panic!("a shell") };
    assert_eq!(shell, Shell::Zsh);
    for (args, text) in
        [(&["completions"][..], "<SHELL>"), (&["completions", "tcsh"], "[possible values: bash, zsh, fish]")]
    {
        let error = invoke(args).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(text), "{error}");
    }
    let Ok(Invocation::Serve(cli)) = invoke(&["--", "completions", "zsh"]) else { panic!("a server's command") };
    assert_eq!(cli.command, ["completions", "zsh"]);
}

/// Compares with a file of the repository, or writes it where `UPDATE_EXPECT` is set. Blanks at line ends do not count.
fn expect_file(path: &str, text: &str) {
    let text: String = text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &text).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(expected == text, "{path} is not up to date: run the tests once with UPDATE_EXPECT=1 and look at the diff");
}
