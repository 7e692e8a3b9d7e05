//! The examples of the README: they are those of the man page too, and command lines that are understood.

use super::*;

/// A command line with what it is for.
struct Example {
    what: String,
    lines: Vec<String>,
}

/// What follows "By example:" in the README, up to the end of the block.
fn examples() -> Vec<Example> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, block) = readme.split_once("By example:\n\n").unwrap();
    let mut examples: Vec<Example> = Vec::new();
    for line in block.lines().map_while(|line| line.strip_prefix("    ")) {
        match line.strip_prefix("# ") {
            Some(what) => examples.push(Example { what: what.to_owned(), lines: Vec::new() }),
            None => examples.last_mut().unwrap().lines.push(line.to_owned()),
        }
    }
    examples
}

/// The man page's section.
pub(super) fn section() -> String {
    let mut section = ".SH EXAMPLES\n".to_owned();
    for Example { what, lines } in examples() {
        let lines: Vec<String> = lines.iter().map(|line| roff(line)).collect();
        section += &format!(".TP\n{}\n.EX\n{}\n.EE\n", roff(&what), lines.join("\n"));
    }
    section
}

/// The text of a line, with nothing in it that roff would take for its own.
fn roff(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

/// The words of a command line, with the variables in front of it.
fn understood(line: &str) -> Result<Invocation, clap::Error> {
    let words = shlex::split(&line.replace("\\\n", " ")).unwrap();
    let at = words.iter().position(|word| word == "mcp-mux").unwrap();
    let (variables, words) = words.split_at(at);
    let variables: Vec<_> = variables.iter().map(|variable| variable.split_once('=').unwrap()).collect();
    Invocation::read(words.iter().map(Into::into), |name| {
        variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
    })
}

#[test]
fn every_example_is_a_command_line_that_is_understood() {
    let examples = examples();
    assert!(examples.len() > 4, "the README has a block of examples");
    for Example { what, lines } in examples {
        let line = lines.join("\n");
        let invocation = understood(&line).unwrap_or_else(|error| panic!("{what}: {error}"));
        let Invocation::Serve(cli) = invocation else { continue };
        assert!(!cli.command.is_empty() || cli.spawn.is_some(), "{what}: {line}");
    }
}

#[test]
fn every_other_command_line_of_the_documents_is_understood() {
    for file in ["README.md", "SECURITY.md"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let text = text.replace("\\\n", " ");
        for line in text.lines().filter_map(|line| line.strip_prefix("    ")) {
            let own = line.starts_with("mcp-mux ") && shlex::split(line).is_some();
            if own && let Err(error) = understood(line) {
                panic!("{file}: {line}: {error}");
            }
        }
    }
}
