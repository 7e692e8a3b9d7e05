//! The table and the JSON.

use std::io::Result;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::load::Tally;

/// What was measured of one server under one load.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Whether there was a right answer at all.
    pub(crate) answered: bool,
    pub(crate) per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// Of the server's process, for each request.
    pub(crate) cpu: Option<Duration>,
    pub(crate) wrong: u64,
    pub(crate) failed: u64,
    pub(crate) complaint: Option<String>,
}

impl Row {
    pub(crate) fn new(name: &'static str, tally: &Tally, time: Duration, cpu: Option<Duration>) -> Self {
        let quantile = |hundredths: usize| {
            tally.latencies.get(tally.latencies.len() * hundredths / 100).copied().unwrap_or_default()
        };
        let answered = u32::try_from(tally.answered).unwrap_or(u32::MAX).max(1);
        Self {
            name,
            answered: tally.answered > 0,
            per_second: f64::from(answered) / time.as_secs_f64(),
            p50: quantile(50),
            p99: quantile(99),
            cpu: cpu.map(|cpu| cpu / answered),
            wrong: tally.wrong,
            failed: tally.failed,
            complaint: tally.complaint.clone(),
        }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "requests_per_second": self.per_second,
            "p50_us": micros(self.p50),
            "p99_us": micros(self.p99),
            "cpu_us_per_request": self.cpu.map(micros),
            "wrong": self.wrong,
            "failed": self.failed,
        })
    }
}

/// The round with the median throughput for that, and the medians of the others; what is wrong counts of all.
pub(crate) fn median(rounds: &[Row]) -> Option<Row> {
    let middle = |value: &dyn Fn(&Row) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let time = |value: &dyn Fn(&Row) -> Duration| Duration::from_secs_f64(middle(&|row| value(row).as_secs_f64()));
    let first = rounds.first()?;
    Some(Row {
        answered: rounds.iter().any(|row| row.answered),
        per_second: middle(&|row| row.per_second),
        p50: time(&|row| row.p50),
        p99: time(&|row| row.p99),
        cpu: first.cpu.map(|_| time(&|row| row.cpu.unwrap_or_default())),
        wrong: rounds.iter().map(|row| row.wrong).sum(),
        failed: rounds.iter().map(|row| row.failed).sum(),
        complaint: rounds.iter().find_map(|row| row.complaint.clone()),
        ..first.clone()
    })
}

/// What a single figure is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// It is there to compare others with.
    None,
}

/// What is printed while it is measured, and kept for the JSON.
pub(crate) struct Report {
    loads: Vec<Value>,
    figures: Vec<Value>,
}

impl Report {
    pub(crate) fn new(program: &Path) -> Self {
        println!("{}", program.display());
        println!(
            "{:34} {:12} {:>10} {:>7} {:>10} {:>7} {:>10} {:>9} {:>7}",
            "load", "server", "requests/s", "ratio", "p50 us", "ratio", "p99 us", "cpu us", "ratio"
        );
        Self { loads: Vec::new(), figures: Vec::new() }
    }

    /// The servers under one load; ratios are to the bare HTTP server, of the latency to the sum of both ceilings.
    pub(crate) fn rows(&mut self, load: &str, rows: Vec<Row>) {
        let of = |name: &str| rows.iter().find(|row| row.name == name);
        let ceiling = of("bare hyper").cloned();
        let pipe = of("pipe").map(|row| row.p50).unwrap_or_default();
        for row in &rows {
            let compared = ceiling.as_ref().filter(|ceiling| ceiling.name != row.name && row.name != "pipe");
            let ratio = |value: Option<f64>| value.map(|value| format!("{value:.2}")).unwrap_or_default();
            let throughput = compared.map(|ceiling| row.per_second / ceiling.per_second);
            let latency = compared.map(|ceiling| row.p50.as_secs_f64() / (ceiling.p50 + pipe).as_secs_f64());
            let cpu = compared.and_then(|ceiling| Some(row.cpu?.as_secs_f64() / ceiling.cpu?.as_secs_f64()));
            println!(
                "{load:34} {:12} {:>10.0} {:>7} {:>10.1} {:>7} {:>10.1} {:>9} {:>7}{}",
                row.name,
                row.per_second,
                ratio(throughput),
                micros(row.p50),
                ratio(latency),
                micros(row.p99),
                row.cpu.map(|cpu| format!("{:.1}", micros(cpu))).unwrap_or_default(),
                ratio(cpu),
                match (row.wrong, row.failed, &row.complaint) {
                    (0, 0, _) => String::new(),
                    (wrong, failed, complaint) =>
                        format!("  {wrong} WRONG, {failed} FAILED: {}", complaint.as_deref().unwrap_or_default()),
                }
            );
        }
        self.loads.push(json!({"load": load, "servers": rows.iter().map(Row::json).collect::<Vec<_>>()}));
    }

    /// A single figure.
    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: &str, goal: Goal) {
        let (sign, goal, met) = match goal {
            Goal::AtMost(goal) => ("<=", Some(goal), value <= goal),
            Goal::AtLeast(goal) => (">=", Some(goal), value >= goal),
            Goal::None => ("", None, true),
        };
        let ratio = goal.map(|goal| value / goal);
        let compared = goal
            .zip(ratio)
            .map(|(goal, ratio)| format!("  {sign} {goal}, ratio {ratio:.2}{}", if met { "" } else { "  NOT MET" }));
        println!("{name:64} {value:>10.1} {unit}{}", compared.unwrap_or_default());
        self.figures.push(json!({"name": name, "value": value, "unit": unit, "target": goal, "ratio": ratio}));
    }

    /// What was not right with a measure; nothing where all was.
    pub(crate) fn faults(&mut self, name: &str, tally: &Tally) {
        let Tally { wrong, failed, complaint, .. } = tally;
        if wrong + failed > 0 {
            println!("{name:64} {wrong} WRONG, {failed} FAILED: {}", complaint.as_deref().unwrap_or_default());
            self.figures.push(json!({"name": name, "wrong": wrong, "failed": failed, "complaint": complaint}));
        }
    }

    /// Why something was not measured.
    pub(crate) fn skipped(&mut self, name: &str, why: &str) {
        println!("{name:64} SKIPPED: {why}");
        self.figures.push(json!({"name": name, "skipped": why}));
    }

    /// What kept a measure from being made.
    pub(crate) fn broken(&mut self, name: &str, error: &std::io::Error) {
        println!("{name:64} FAILED: {error}");
        self.figures.push(json!({"name": name, "error": error.to_string()}));
    }

    pub(crate) fn finish(self, file: Option<&Path>) -> Result<()> {
        let Some(file) = file else { return Ok(()) };
        let whole = json!({"loads": self.loads, "figures": self.figures});
        std::fs::write(file, format!("{whole:#}\n"))
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
