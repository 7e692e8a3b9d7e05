//! Reads `src/` and fails on an import against the arrows of the map in `lib.rs`.
#![expect(clippy::unwrap_used, clippy::string_slice, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, top to bottom: a module may name those in layers below its own, and itself. The modules of one layer may
/// name each other.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["init"],
    &["app", "check", "connect", "reload", "shutdown"],
    &["notify"],
    &["http"],
    &["status"],
    &["servers"],
    &["session"],
    &["pool"],
    &["child"],
    &["router"],
    &["auth", "remote"],
    &["error", "config", "cli", "telemetry", "metrics", "outbound"],
    &["era"],
    &["lines"],
    &["jsonrpc"],
    &["mcp"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The top-level modules that a source names, as `crate::name` or `mcp_mux::name`, also in `crate::{a, b}`.
fn named(source: &str) -> BTreeSet<String> {
    let code: Vec<&str> = source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let mut named = BTreeSet::new();
    for (at, root) in code.match_indices("crate::").chain(code.match_indices("mcp_mux::")) {
        // Part of another name, or a string: the target of a log line.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"') {
            continue;
        }
        let rest = &code[at + root.len()..];
        match rest.strip_prefix('{') {
            Some(group) => named.extend(top_level_names(group)),
            None => named.extend(first_name(rest)),
        }
    }
    named
}

fn first_name(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The first names of a group's elements; `group` starts behind its opening brace.
fn top_level_names(group: &str) -> Vec<String> {
    let (mut depth, mut element, mut names) = (0_usize, String::new(), Vec::new());
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.extend(first_name(std::mem::take(&mut element).trim())),
            _ if depth == 0 => element.push(character),
            _ => {}
        }
    }
    names.extend(first_name(element.trim()));
    names
}

#[test]
fn imports_follow_the_arrows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut against = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).unwrap();
        let module = path.iter().next().unwrap().to_string_lossy();
        let module = module.trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let own = layer(module).unwrap_or_else(|| panic!("{module} is in no layer: add it where it belongs"));
        for name in named(&fs::read_to_string(&file).unwrap()) {
            if layer(&name).is_some_and(|named| named < own) {
                against.push(format!("{} names {name}", path.display()));
            }
        }
    }
    assert!(against.is_empty(), "imports against the arrows:\n{}", against.join("\n"));
}

#[test]
fn imports_are_recognised() {
    let source = "use crate::{child::{self, x}, config}; fn f() { crate::http::g(mcp_mux::app::h) } // crate::session
        info!(target: \"mcp_mux::router\")";
    assert_eq!(named(source).into_iter().collect::<Vec<_>>(), ["app", "child", "config", "http"]);
}
