//! Variables of mcp-mux's environment in the texts of `mcpServers`, as the files of several desktop clients have them.
//!
//! `${NAME}` and `${env:NAME}` stand for the variable's value, `${NAME:-text}` for the text where it is unset or empty, and
//! `${userHome}` for the home folder. A `$` that begins none of these stands for itself: the text may be a shell's.
//!
//! Invariants: what was put in is not looked at again; a variable of mcp-mux's own (`MCP_MUX_*`) has no value here.

use std::ffi::OsString;

/// The text with the values of its variables. The error says why there is none; it quotes no value.
pub(super) fn expand(text: &str, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        expanded.push_str(before);
        let Some((inside, after)) = behind.split_once('}') else {
            expanded.push_str("${");
            rest = behind;
            continue;
        };
        match reference(inside)? {
            Some((name, default)) => expanded.push_str(&value(name, default, environment)?),
            None => {
                expanded.push_str("${");
                expanded.push_str(inside);
                expanded.push('}');
            }
        }
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The variable that is meant, and what stands for it where it has no value. None: this is no variable of ours.
fn reference(inside: &str) -> Result<Option<(&str, Option<&str>)>, String> {
    let (kind, named) = match inside.split_once(':') {
        Some(("env", named)) => (None, named),
        // `:-` belongs to a variable.
        Some((kind, rest)) if !rest.starts_with('-') => (Some(kind), inside),
        Some(_) | None => (None, inside),
    };
    if let Some(kind) = kind.filter(|kind| OF_OTHERS.contains(kind)) {
        return Err(format!(
            "nobody here knows what ${{{kind}:...}} stands for: write it out, or use a variable as ${{NAME}}"
        ));
    }
    let (name, default) = match named.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (named, None),
    };
    if default.is_some_and(|default| default.contains("${")) {
        return Err(format!("the text that stands for {name} where it is unset has a variable in it, which cannot be"));
    }
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
    Ok(is_name.then_some((name, default)))
}

fn value(name: &str, default: Option<&str>, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<String, String> {
    let name = if name == "userHome" { "HOME" } else { name };
    let given = environment(name).filter(|_| !name.starts_with("MCP_MUX_"));
    match (given, default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => value.into_string().map_err(|_| format!("the variable {name} is not valid UTF-8")),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!("the variable {name} is not set (${{{name}:-text}} says what to use then)")),
    }
}

/// What stands before the colon where other programs ask, or look something up.
const OF_OTHERS: [&str; 5] = ["input", "config", "command", "workspaceFolder", "extensionInstallFolder"];

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        expand(text, &|name| match name {
            "A" => Some("a".into()),
            "EMPTY" => Some("".into()),
            "HOME" => Some("/home/x".into()),
            "NESTED" => Some("${A}".into()),
            "MCP_MUX_AUTH_TOKENS" => Some("secret".into()),
            "BYTES" => Some(OsString::from_vec(vec![0xff])),
            _ => None,
        })
    }

    #[test]
    fn variables_have_their_values_and_everything_else_stays() {
        for (text, expected) in [
            ("", ""),
            ("plain $A $$ $", "plain $A $$ $"),
            ("${A}", "a"),
            ("x${A}y${env:A}z", "xayaz"),
            ("${A:-b}${NONE:-b}${EMPTY:-b}${env:NONE:-b}", "abbb"),
            ("${NONE:-}|${EMPTY}|", "||"),
            ("${NONE:-a:-b}", "a:-b"),
            ("${userHome}/x", "/home/x/x"),
            ("${NESTED}", "${A}"),
            ("${A", "${A"),
            ("${${A}", "${${A}"),
            ("${X##*/} ${1} ${} ${A:0:1} ${A:+b} ${A b}", "${X##*/} ${1} ${} ${A:0:1} ${A:+b} ${A b}"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_has_no_value_is_named_and_nothing_is_quoted() {
        for (text, expected) in [
            ("${NONE}", "the variable NONE is not set"),
            ("${env:NONE}", "the variable NONE is not set"),
            ("${workspaceFolder}/x", "the variable workspaceFolder is not set"),
            ("${MCP_MUX_AUTH_TOKENS}", "the variable MCP_MUX_AUTH_TOKENS is not set"),
            ("${BYTES}", "the variable BYTES is not valid UTF-8"),
            ("${input:token}", "nobody here knows what ${input:...} stands for"),
            ("${NONE:-${A}}", "the text that stands for NONE"),
        ] {
            let error = expanded(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
