//! The program: argv → [`Invocation`] → [`Config`] → [`App`] → exit code. The only place that prints.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal as _, Write};
use std::process::ExitCode;
use std::time::Duration;

use mcp_mux::app::{Announcement, App};
use mcp_mux::cli::{self, AnswerFormat, CheckCli, Invocation};
use mcp_mux::config::{AccessLogConfig, Config, ConnectConfig, Source, TelemetryConfig};
use mcp_mux::error::StartupError;
use mcp_mux::http::listener::Handed;
use mcp_mux::notify::Notifier;
use mcp_mux::{check, child, connect, init, telemetry};

fn main() -> ExitCode {
    // mcp-mux starts itself once more, to outlive itself: see `child::guard`.
    if child::guard::is_guard_invocation(std::env::args_os()) {
        return child::guard::run();
    }
    // And in the place of every child, until the guard knows of it: see `child::gate`.
    if child::gate::is_gate_invocation(std::env::args_os()) {
        return child::gate::run(std::env::args_os());
    }
    // And in a container for the sake of what loses its parent there: see `init`.
    if init::is_wanted()
        && let Ok(code) = init::run(std::env::args_os())
    {
        return code;
    }
    if init::is_stage_invocation(std::env::args_os()) {
        let source = init::become_program(std::env::args_os());
        return report(&StartupError::System { what: "start once more", source });
    }
    let invocation = match Invocation::read(std::env::args_os(), |name| std::env::var_os(name)) {
        Ok(invocation) => invocation,
        Err(error) => {
            // Help for a closed pipe is nobody's loss.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    match std::panic::catch_unwind(|| run(invocation)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => report(&error),
        Err(_) => report(&StartupError::Bug("a panic")),
    }
}

fn run(invocation: Invocation) -> Result<ExitCode, StartupError> {
    match invocation {
        Invocation::Serve(cli) => {
            // Before anything is opened that could be taken for a socket that was handed over.
            let handed = Handed::take()?;
            let source = Source::of(&cli, std::env::args_os(), |name| std::env::var_os(name));
            let config = Config::load(*cli)?;
            let manager = Notifier::from_environment(|name| std::env::var_os(name));
            in_runtime(&config.telemetry.clone(), App::run(config, source, handed, manager, announce))?;
        }
        Invocation::Check(CheckCli { cli, format }) => {
            let config = Config::load(*cli)?;
            // What is written of requests is none of a check's business.
            let telemetry = TelemetryConfig { access: AccessLogConfig::default(), ..config.telemetry.clone() };
            let ending = in_runtime(&telemetry, check::run(config))?;
            if let check::Ending::Answered(report) = &ending {
                let answer = match format {
                    AnswerFormat::Text => report.to_text(colours()),
                    AnswerFormat::Json => report.to_json(),
                };
                print(answer.as_bytes())?;
            }
            return Ok(ExitCode::from(ending.exit_code()));
        }
        Invocation::Connect(cli) => {
            let config = ConnectConfig::load(*cli)?;
            in_runtime(&config.telemetry.clone(), connect::run(config))?;
        }
        Invocation::Completions(shell) => print(&cli::completions(shell))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts the log and the threads, and waits until everything has come to its end.
fn in_runtime<T>(
    telemetry: &TelemetryConfig,
    program: impl Future<Output = Result<T, StartupError>>,
) -> Result<T, StartupError> {
    let system = |what| move |source| StartupError::System { what, source };
    let _log = telemetry::init(telemetry).map_err(system("start the log"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(system("start threads"))?;
    let ending = runtime.block_on(program);
    // Every task has ended; a thread may still be looking up a host name, or reading stdin.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ending
}

/// Prints an answer to stdout. Nobody has to read to the end.
fn print(answer: &[u8]) -> Result<(), StartupError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(answer).and_then(|()| stdout.flush()) {
        Err(source) if source.kind() != ErrorKind::BrokenPipe => {
            Err(StartupError::System { what: "write to stdout", source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether an answer on stdout may have colours (<https://no-color.org>).
fn colours() -> check::Colours {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if std::io::stdout().is_terminal() && !unwanted { check::Colours::Shown } else { check::Colours::None }
}

/// Prints the URLs a client needs to stdout, and to whoever sits in front of a terminal what to do with them. Nobody has to
/// read either.
fn announce(announcement: &Announcement) {
    let mut stdout = std::io::stdout().lock();
    for url in &announcement.urls {
        let _ = writeln!(stdout, "{url}");
    }
    let _ = stdout.flush();
    let mut stderr = std::io::stderr().lock();
    let Some(configuration) = &announcement.client_configuration else { return };
    if stderr.is_terminal() {
        let _ = writeln!(
            stderr,
            "\nFor a client, to paste into its configuration:\n\n{configuration}\n\n\
             For one that only speaks stdio: \"command\": \"mcp-mux\", \"args\": [\"connect\", URL]\n"
        );
    } else {
        drop(stderr);
        // In one line.
        let configuration: String = configuration.lines().map(str::trim_start).collect();
        tracing::info!(configuration, "to paste into a client's configuration");
    }
}

/// Says what went wrong, why, and what to do about it.
fn report(error: &StartupError) -> ExitCode {
    let mut text = format!("mcp-mux: error: {error}\n");
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = writeln!(text, "  caused by: {cause}");
        source = cause.source();
    }
    if let Some(hint) = error.hint() {
        let _ = writeln!(text, "  hint: {hint}");
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(error.exit_code())
}
