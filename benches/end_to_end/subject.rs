//! What is measured: servers that are started for it.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Era;
use crate::load::{Answers, Target, Transport};
use crate::process::Process;
use crate::request::answer_length;

/// More connections than any load makes.
pub(crate) const CONNECTIONS_MAX: usize = 60_000;

/// A server that is up.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// The paths of Streamable HTTP and HTTP+SSE.
    pub(crate) paths: [String; 2],
}

impl Server {
    /// mcp-mux in front of the child.
    pub(crate) fn mux(program: &Path, era: Era) -> Result<Self> {
        Self::mux_with(program, era, CONNECTIONS_MAX)
    }

    /// The same, with no more connections than these, of any number of addresses.
    pub(crate) fn mux_with(program: &Path, era: Era, connections_max: usize) -> Result<Self> {
        let connections_max = connections_max.to_string();
        let mut command = Command::new(program);
        command.args(["--port", "0", "--log-level", "error", "--sessions-max", "100000"]);
        command.args(["--connections-max", &connections_max, "--connections-per-address-max", &connections_max]);
        let era = match era {
            Era::Legacy => "legacy",
            Era::Modern => "modern",
        };
        command.arg("--").arg(std::env::current_exe()?).args(["child", era]);
        let (process, url) = Process::start(command.stderr(Stdio::inherit()))?;
        Self::at(process, &url)
    }

    /// The bare HTTP server, with answers as long as those to texts of this size.
    pub(crate) fn bare(size: usize) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let (process, url) = Process::start(command.args(["bare", &answer_length(size).to_string()]))?;
        Self::at(process, &url)
    }

    /// hyper in front of the child, with nothing between them: for one client with one request at a time.
    pub(crate) fn bare_proxy() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let (process, url) = Process::start(command.arg("bare"))?;
        Self::at(process, &url)
    }

    fn at(process: Process, url: &str) -> Result<Self> {
        let authority = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
        let address = authority.parse().map_err(|_| Error::other(format!("no address: {url}")))?;
        Ok(Self { process, address, paths: ["/mcp".to_owned(), "/sse".to_owned()] })
    }

    /// How to speak to it.
    pub(crate) fn target(&self, transport: Transport, answers: Answers) -> Target {
        let [streamable, sse] = self.paths.clone();
        let path = match transport {
            Transport::Sse => sse,
            Transport::Streamable | Transport::StreamableEvents | Transport::Modern => streamable,
        };
        Target { address: self.address, path, transport, answers }
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.process.id().cpu().unwrap_or_default()
    }
}
