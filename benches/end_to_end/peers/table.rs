//! The tables in Markdown, as benches/RESULTS.md has them: absolute figures, and for the others how many times mcp-mux's.

use std::fs;
use std::io::Result;
use std::process::Command;
use std::time::Duration;

use super::Outcome;
use crate::load::{Load, Transport};
use crate::report::Row;

/// What it was measured on.
pub(super) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    date: String,
}

impl Machine {
    pub(super) fn read() -> Result<Self> {
        let info = fs::read_to_string("/proc/cpuinfo")?;
        let processor = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output()?;
        Ok(Self {
            processor: processor.map_or("unknown", |(_, name)| name).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            date: String::from_utf8_lossy(&date.stdout).trim().to_owned(),
        })
    }

    pub(super) fn print(&self, versions: &[String]) {
        let Self { processor, cores, kernel, date } = self;
        println!("{}.\n{date}, {processor}, {cores} cores, Linux {kernel}.", versions.join(", "));
    }
}

/// What a server takes that does nothing.
pub(super) struct Idle {
    pub(super) start: Duration,
    /// In bytes.
    pub(super) resident: u64,
    pub(super) children: usize,
}

pub(super) fn head_of_loads(transport: Transport) {
    println!("\n| {} | server | requests/s | p50 ms | p99 ms | CPU µs/request | wrong | missing |", name(transport));
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
}

/// A server under a load, with the ratios to another.
pub(super) fn load(load: &Load, server: &str, outcome: &Outcome, to: Option<&Row>) {
    let size = if load.size < 1000 { format!("{} B", load.size) } else { format!("{} KB", load.size / 1000) };
    let load = format!("{}×{} {size}", load.sessions, load.in_flight);
    let row = match outcome {
        Ok(row) if row.answered => row,
        Ok(row) => {
            let complaint = row.complaint.as_deref().unwrap_or_default().replace('|', "/");
            return println!(
                "| {load} | {server} | no right answer: {complaint} | | | | {} | {} |",
                row.wrong, row.failed
            );
        }
        Err(happened) => return println!("| {load} | {server} | {happened} | | | | | |"),
    };
    if let (1.., Some(complaint)) = (row.wrong + row.failed, &row.complaint) {
        eprintln!("{server}, {load}: {complaint}");
    }
    let cell = |value: &dyn Fn(&Row) -> f64, digits| {
        let of = value(row);
        let ratio = to.map(|to| format!(" ({})", ratio(of / value(to)))).unwrap_or_default();
        format!("{of:.digits$}{ratio}")
    };
    println!(
        "| {load} | {server} | {} | {} | {} | {} | {} | {} |",
        cell(&|row| row.per_second, 0),
        cell(&|row| row.p50.as_secs_f64() * 1e3, 2),
        cell(&|row| row.p99.as_secs_f64() * 1e3, 2),
        cell(&|row| row.cpu.unwrap_or_default().as_secs_f64() * 1e6, 0),
        row.wrong,
        row.failed,
    );
}

pub(super) fn head_of_idle(sessions: usize) {
    println!(
        "\n| transport | server | start to first answer, ms | MiB with {sessions} idle sessions | MCP server processes |"
    );
    println!("|---|---|---:|---:|---:|");
}

pub(super) fn idle(transport: Transport, server: &str, rounds: Vec<std::result::Result<Idle, String>>) {
    let (mut idle, mut words) = (Vec::new(), String::new());
    for round in rounds {
        match round {
            Ok(round) => idle.push(round),
            Err(happened) => words = happened,
        }
    }
    idle.sort_by_key(|idle| idle.start);
    match idle.get(idle.len() / 2) {
        Some(Idle { start, resident, children }) => println!(
            "| {} | {server} | {:.0} | {:.1} | {children} |",
            name(transport),
            start.as_secs_f64() * 1e3,
            *resident as f64 / 1_048_576.0
        ),
        None => println!("| {} | {server} | {words} | | |", name(transport)),
    }
}

fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Sse => "HTTP+SSE",
        Transport::Streamable | Transport::StreamableEvents | Transport::Modern => "Streamable HTTP",
    }
}

/// Two digits of it, whatever its size.
fn ratio(value: f64) -> String {
    if value < 0.001 {
        "<0.001×".to_owned()
    } else if value < 0.1 {
        format!("{value:.3}×")
    } else if value < 10.0 {
        format!("{value:.2}×")
    } else {
        format!("{value:.0}×")
    }
}
