//! The answer for people, at most 80 columns wide: a table of several servers, a list for a single one.

use std::fmt::Write as _;
use std::time::Duration;

use super::harmless::visible;
use super::{Count, Failure, Found, Outcome, Report, ServerReport};

/// Whether text may be coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colours {
    /// It is for a file, or for whoever wants none.
    #[default]
    None,
    /// It is for a terminal.
    Shown,
}

/// The width that terminals have at least.
const WIDTH: usize = 80;
/// A longer name has a line of its own.
const NAME_MAX: usize = 12;
const HEAD: [&str; 9] = ["SERVER", "STATE", "ERA", "REVISION", "TOOLS", "RES.", "TPL.", "PROMPTS", "TIME"];
/// The columns up to this are words, the others numbers.
const WORDS: usize = 4;
/// What stands before the second line of a server.
const INDENT: &str = "  ";

impl Report {
    /// The table or the list, then the reasons of those that do not work.
    pub fn to_text(&self, colours: Colours) -> String {
        match self.servers.as_slice() {
            [server] => single(server, colours),
            servers => table(servers, colours),
        }
    }
}

fn table(servers: &[ServerReport], colours: Colours) -> String {
    let rows: Vec<[String; 9]> = servers.iter().map(row).collect();
    let mut widths = HEAD.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if let Some(width) = widths.first_mut() {
        *width = (*width).min(NAME_MAX);
    }
    let mut text = line(&HEAD.map(str::to_owned), &widths, |_, cell| cell);
    for (server, mut row) in servers.iter().zip(rows) {
        if let Some(name) = row.first_mut().filter(|name| name.chars().count() > NAME_MAX) {
            let _ = writeln!(text, "{}", std::mem::take(name));
        }
        text += &line(&row, &widths, |at, cell| if at == 1 { painted(cell, &server.outcome, colours) } else { cell });
        if let Some(about) = server.outcome.found().map(about).filter(|about| !about.is_empty()) {
            wrap(&mut text, INDENT, INDENT, &about);
        }
        for remark in server.outcome.found().iter().flat_map(|found| &found.remarks) {
            wrap(&mut text, INDENT, INDENT, &visible(remark));
        }
    }
    for server in servers {
        let name = server.name.as_str();
        match &server.outcome {
            Outcome::Fails(failure, _) => {
                text.push('\n');
                reason(&mut text, &format!("{name}: "), failure);
            }
            Outcome::Invalid(why) => {
                text.push('\n');
                wrap(&mut text, "", INDENT, &format!("{name}: it cannot be used: {}", visible(why)));
            }
            Outcome::Works(_) | Outcome::Disabled => {}
        }
    }
    text
}

/// The words to the left, the numbers to the right.
fn line(cells: &[String; 9], widths: &[usize; 9], paint: impl Fn(usize, String) -> String) -> String {
    let mut line = String::new();
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
        let cell = paint(at, cell.clone());
        let gap = if at == 0 { "" } else { "  " };
        line += &if at < WORDS { format!("{gap}{cell}{padding}") } else { format!("{gap}{padding}{cell}") };
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

fn row(server: &ServerReport) -> [String; 9] {
    let found = server.outcome.found();
    let of = |number: fn(&Found) -> Option<Count>| found.and_then(number).map_or_else(|| "-".to_owned(), counted);
    let word = |word: Option<&str>| word.unwrap_or("-").to_owned();
    let era = found.map(|found| match found.eras().as_slice() {
        [era] => *era,
        _ => "both",
    });
    [
        server.name.to_string(),
        server.outcome.state().to_owned(),
        word(era),
        word(found.and_then(|found| found.revisions.first().copied())),
        of(|found| found.tools),
        of(|found| found.resources),
        of(|found| found.resource_templates),
        of(|found| found.prompts),
        found.map_or_else(|| "-".to_owned(), |found| seconds(found.answered_after)),
    ]
}

fn single(server: &ServerReport, colours: Colours) -> String {
    let state = painted(server.outcome.state().to_owned(), &server.outcome, colours);
    let mut text = format!("{}: {state}\n", server.name);
    let mut item = |name: &str, value: &str| wrap(&mut text, &format!("{INDENT}{name:16}"), &" ".repeat(18), value);
    if let Some(found) = server.outcome.found() {
        let of = |number: Option<Count>| number.map_or_else(|| "-".to_owned(), counted);
        item("server", &or_none(identity(found)));
        item("eras", &or_none(found.eras().join(", ")));
        item("revisions", &or_none(found.revisions.join(", ")));
        item("capabilities", &or_none(capabilities(found)));
        item("tools", &of(found.tools));
        item("resources", &of(found.resources));
        item("templates", &of(found.resource_templates));
        item("prompts", &of(found.prompts));
        item("answered after", &seconds(found.answered_after));
        for remark in &found.remarks {
            item("remark", &visible(remark));
        }
    }
    match &server.outcome {
        Outcome::Fails(failure, _) => reason(&mut text, INDENT, failure),
        Outcome::Invalid(why) => wrap(&mut text, INDENT, INDENT, &format!("it cannot be used: {}", visible(why))),
        Outcome::Works(_) | Outcome::Disabled => {}
    }
    text
}

/// Who a server is, what else it speaks and what it declared.
fn about(found: &Found) -> String {
    let others = found.revisions.iter().skip(1);
    let others = others.map(|revision| format!("also {revision}")).collect::<Vec<_>>().join(", ");
    let parts = [identity(found), others, capabilities(found)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// `name version (title)`, as far as it says so.
fn identity(found: &Found) -> String {
    let Some(server) = &found.server else { return String::new() };
    let title = server.title.as_ref().filter(|title| !title.is_empty() && server.name.as_ref() != Some(title));
    let title = title.map(|title| format!("({title})"));
    let parts = [server.name.clone(), server.version.clone(), title];
    visible(&parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
}

/// `logging, resources (listChanged, subscribe)`.
fn capabilities(found: &Found) -> String {
    let each = found.capabilities.iter().map(|one| match one.features.as_slice() {
        [] => one.name.clone(),
        features => format!("{} ({})", one.name, features.join(", ")),
    });
    visible(&each.collect::<Vec<_>>().join(", "))
}

/// Why a server does not work; `first` stands before it.
fn reason(text: &mut String, first: &str, failure: &Failure) {
    let mut lines = failure.reason.lines();
    wrap(text, first, INDENT, &visible(lines.next().unwrap_or_default()));
    for line in lines {
        wrap(text, INDENT, INDENT, &visible(line));
    }
    if let Some(advice) = &failure.advice {
        wrap(text, INDENT, INDENT, &visible(advice));
    }
    if !failure.stderr.is_empty() {
        let _ = writeln!(text, "{INDENT}its last lines on stderr:");
        for line in &failure.stderr {
            let _ = writeln!(text, "{INDENT}{INDENT}{}", visible(line));
        }
    }
}

fn counted(Count { count, complete }: Count) -> String {
    if complete { count.to_string() } else { format!("{count}+") }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn or_none(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

fn painted(word: String, outcome: &Outcome, colours: Colours) -> String {
    let code = match outcome {
        Outcome::Works(_) => "32",
        Outcome::Fails(..) | Outcome::Invalid(_) => "31",
        Outcome::Disabled => "2",
    };
    match colours {
        Colours::None => word,
        Colours::Shown => format!("\u{1b}[{code}m{word}\u{1b}[0m"),
    }
}

/// Writes words in lines of the width; one that is longer than a line stays whole.
fn wrap(text: &mut String, first: &str, others: &str, words: &str) {
    let mut line = first.to_owned();
    let mut empty = true;
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        let gap = usize::from(!empty);
        if !empty && line.chars().count() + gap + word.chars().count() > WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line = others.to_owned();
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}
