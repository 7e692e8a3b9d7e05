//! How each of them is started, stopped and looked at.

use std::fs::File;
use std::io::{Error, Result};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::load::{Answers, Target, Transport};
use crate::process::{Id, Process};

/// A program that is measured.
pub(super) struct Peer {
    pub(super) name: &'static str,
    program: PathBuf,
    /// Where what it says on stderr goes.
    log: Option<PathBuf>,
    arguments: fn(&mut Command, Transport, u16, &[String]) -> Result<()>,
}

/// One that runs.
pub(super) struct Running {
    pub(super) target: Target,
    pub(super) started: Instant,
    process: Process,
    log: Option<PathBuf>,
    /// The program of the children.
    child: PathBuf,
}

impl Peer {
    pub(super) fn mux(program: Option<PathBuf>) -> Self {
        let program = program.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_mcp-mux")));
        Self { name: "mcp-mux", program, log: None, arguments: mux }
    }

    pub(super) fn others(installed: &Path) -> [Self; 3] {
        let log = Some(installed.join("stderr.log"));
        let peer = |name, program: &str, arguments| Self {
            name,
            program: installed.join(program),
            log: log.clone(),
            arguments,
        };
        [
            peer("supergateway", "npm/node_modules/.bin/supergateway", supergateway),
            peer("mcp-proxy (npm)", "npm/node_modules/.bin/mcp-proxy", mcp_proxy_npm),
            peer("mcp-proxy (PyPI)", "pypi/bin/mcp-proxy", mcp_proxy_pypi),
        ]
    }

    /// Its name and its version.
    pub(super) fn versioned(&self) -> Result<String> {
        let said = Command::new(&self.program).arg("--version").stderr(Stdio::null()).output();
        let said = said.map_err(|error| Error::other(format!("{}: {error}", self.program.display())))?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        Ok(format!("{} {}", self.name, said.split_whitespace().next_back().unwrap_or("of an unknown version")))
    }

    /// Starts it on a port that is free.
    pub(super) fn start(&self, transport: Transport) -> Result<Running> {
        // Nobody else takes it so soon: the system goes on to other ports first.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let own = std::env::current_exe()?;
        let child = [own.to_string_lossy().into_owned(), "child".to_owned(), "legacy".to_owned()];
        let mut command = Command::new(&self.program);
        (self.arguments)(&mut command, transport, address.port(), &child)?;
        match &self.log {
            Some(log) => command.stderr(File::create(log)?),
            None => command.stderr(Stdio::inherit()),
        };
        let started = Instant::now();
        let process = Process::start_group(&mut command)?;
        let path = match transport {
            Transport::Sse => "/sse",
            Transport::Streamable | Transport::StreamableEvents | Transport::Modern => "/mcp",
        };
        let target = Target { address, path: path.to_owned(), transport, answers: Answers::First };
        Ok(Running { target, started, process, log: self.log.clone(), child: own })
    }
}

impl Running {
    /// Processor time so far, of the tree without the children.
    pub(super) fn cpu(&self) -> Duration {
        let (proxy, _) = self.tree().unwrap_or_default();
        proxy.into_iter().filter_map(|id| id.cpu().ok()).sum()
    }

    /// Memory in bytes, of the tree without the children; and how many these are.
    pub(super) fn resident(&self) -> Result<(u64, usize)> {
        let (proxy, children) = self.tree()?;
        let mut resident = 0;
        for id in proxy {
            resident += id.resident()?;
        }
        Ok((resident, children.len()))
    }

    fn tree(&self) -> Result<(Vec<Id>, Vec<Id>)> {
        let all = self.process.id().tree()?;
        Ok(all.into_iter().partition(|id| id.program().is_ok_and(|program| program != self.child)))
    }

    /// What happened, with what the server has to say about it.
    pub(super) fn explain(&mut self, happened: &str) -> String {
        let ended = self.process.ended().map(|status| format!("; it ended ({status})")).unwrap_or_default();
        let log = self.log.as_ref().and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default();
        let said = log.lines().find(|line| line.contains("Error")).or_else(|| log.lines().next_back());
        let said: String = said.unwrap_or_default().trim().chars().take(120).collect();
        let said = if said.is_empty() { said } else { format!("; it said: {said}") };
        format!("{happened}{ended}{said}").replace('|', "/")
    }
}

fn mux(command: &mut Command, _: Transport, port: u16, child: &[String]) -> Result<()> {
    command.args(["--port", &port.to_string(), "--log-level", "error", "--"]).args(child);
    Ok(())
}

fn supergateway(command: &mut Command, transport: Transport, port: u16, child: &[String]) -> Result<()> {
    let child = shlex::try_join(child.iter().map(String::as_str)).map_err(Error::other)?;
    command.args(["--port", &port.to_string(), "--logLevel", "none", "--stdio", &child, "--outputTransport"]);
    match transport {
        Transport::Sse => command.arg("sse"),
        Transport::Streamable | Transport::StreamableEvents | Transport::Modern => {
            command.args(["streamableHttp", "--stateful"])
        }
    };
    Ok(())
}

fn mcp_proxy_npm(command: &mut Command, _: Transport, port: u16, child: &[String]) -> Result<()> {
    command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--"]).args(child);
    Ok(())
}

fn mcp_proxy_pypi(command: &mut Command, _: Transport, port: u16, child: &[String]) -> Result<()> {
    command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--log-level", "ERROR", "--"]).args(child);
    Ok(())
}
