//! Which loads are measured, and in which turn.

use std::collections::BTreeMap;
use std::io::Result;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::task::LocalSet;

use crate::load::{Answers, Clients, Load, Tally, Transport};
use crate::pipe::Pipe;
use crate::report::{Report, Row, median};
use crate::subject::Server;
use crate::{Era, Options, standing};

/// One load.
struct Case {
    name: &'static str,
    transport: Transport,
    /// Of the child; translation where the transport is of the other one.
    child: Era,
    sessions: usize,
    in_flight: usize,
    size: usize,
}

const fn case(
    name: &'static str,
    transport: Transport,
    child: Era,
    (sessions, in_flight): (usize, usize),
    size: usize,
) -> Case {
    Case { name, transport, child, sessions, in_flight, size }
}

use Era::{Legacy, Modern};
use Transport::{Sse, Streamable, StreamableEvents};

const CASES: &[Case] = &[
    case("streamable 1x1 100 B", Streamable, Legacy, (1, 1), 100),
    case("streamable 1x32 100 B", Streamable, Legacy, (1, 32), 100),
    case("streamable 50x1 100 B", Streamable, Legacy, (50, 1), 100),
    case("streamable 200x1 100 B", Streamable, Legacy, (200, 1), 100),
    case("streamable 200x4 100 B", Streamable, Legacy, (200, 4), 100),
    case("streamable 1000x1 100 B", Streamable, Legacy, (1000, 1), 100),
    case("streamable 50x1 10 KB", Streamable, Legacy, (50, 1), 10_000),
    case("streamable 8x1 100 KB", Streamable, Legacy, (8, 1), 100_000),
    case("streamable 1x1 1 MB", Streamable, Legacy, (1, 1), 1_000_000),
    case("streamable 8x1 1 MB", Streamable, Legacy, (8, 1), 1_000_000),
    case("streamable events 1x1 100 B", StreamableEvents, Legacy, (1, 1), 100),
    case("streamable events 50x1 100 B", StreamableEvents, Legacy, (50, 1), 100),
    case("streamable events 200x4 100 B", StreamableEvents, Legacy, (200, 4), 100),
    case("streamable events 8x1 1 MB", StreamableEvents, Legacy, (8, 1), 1_000_000),
    case("http+sse 1x1 100 B", Sse, Legacy, (1, 1), 100),
    case("http+sse 1x32 100 B", Sse, Legacy, (1, 32), 100),
    case("http+sse 50x1 100 B", Sse, Legacy, (50, 1), 100),
    case("http+sse 200x4 100 B", Sse, Legacy, (200, 4), 100),
    case("http+sse 1000x1 100 B", Sse, Legacy, (1000, 1), 100),
    case("http+sse 50x1 10 KB", Sse, Legacy, (50, 1), 10_000),
    case("http+sse 8x1 1 MB", Sse, Legacy, (8, 1), 1_000_000),
    case("modern 1x1 100 B", Transport::Modern, Modern, (1, 1), 100),
    case("modern 50x1 100 B", Transport::Modern, Modern, (50, 1), 100),
    case("modern 200x4 100 B", Transport::Modern, Modern, (200, 4), 100),
    case("modern 1000x1 100 B", Transport::Modern, Modern, (1000, 1), 100),
    case("modern 50x1 10 KB", Transport::Modern, Modern, (50, 1), 10_000),
    case("modern 8x1 1 MB", Transport::Modern, Modern, (8, 1), 1_000_000),
    case("modern to legacy child 50x1 100 B", Transport::Modern, Legacy, (50, 1), 100),
    case("legacy to modern child 50x1 100 B", Streamable, Modern, (50, 1), 100),
];

/// Measures all that is asked for, and prints it.
pub(crate) fn run(options: &Options) -> Result<()> {
    let program = options.sampling.mux.clone().unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_mcp-mux")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = Report::new(&program);
    let mut servers = Servers { program: &program, mux: BTreeMap::new() };
    for case in CASES.iter().filter(|case| options.wants(case.name)) {
        let rows = measure(case, options, &mut servers, &runtime)?;
        report.rows(case.name, rows);
    }
    drop(servers);
    standing::run(options, &program, &runtime, &mut report)?;
    report.finish(options.json.as_deref())
}

/// mcp-mux in front of a child of each era, started when first needed.
struct Servers<'a> {
    program: &'a Path,
    mux: BTreeMap<&'static str, Server>,
}

impl Servers<'_> {
    fn mux(&mut self, era: Era) -> Result<&Server> {
        let name = match era {
            Era::Legacy => "legacy",
            Era::Modern => "modern",
        };
        if !self.mux.contains_key(name) {
            self.mux.insert(name, Server::mux(self.program, era)?);
        }
        self.mux.get(name).ok_or_else(|| std::io::Error::other("not started"))
    }
}

fn measure(
    case: &Case,
    options: &Options,
    servers: &mut Servers<'_>,
    runtime: &tokio::runtime::Runtime,
) -> Result<Vec<Row>> {
    let &Case { transport, child, sessions, in_flight, size, .. } = case;
    let load = Load {
        sessions,
        in_flight,
        size,
        time: options.sampling.time(),
        warm_up: options.sampling.time().min(WARM_UP),
    };
    let mux = servers.mux(child)?;
    let bare = Server::bare(size)?;
    let mut pipe = match child {
        Legacy => Some(Pipe::start(Command::new(std::env::current_exe()?).args(["child", "legacy"]))?),
        Modern => None,
    };
    // With more than one request in flight it would not be right.
    let bare_proxy = (pipe.is_some() && transport == Streamable && sessions * in_flight == 1).then(Server::bare_proxy);
    let bare_proxy = bare_proxy.transpose()?;
    let mut samples: [Vec<Row>; 4] = Default::default();
    for _ in 0..options.sampling.rounds {
        let [of_pipe, of_bare, of_bare_proxy, of_mux] = &mut samples;
        if let Some(pipe) = &mut pipe {
            let (tally, time) = pipe.run(&load)?;
            of_pipe.push(Row::new("pipe", &tally, time, None));
        }
        let target = bare.target(transport, Answers::Fixed(crate::request::answer_length(size)));
        of_bare.push(sample("bare hyper", &bare, &target, &load, runtime)?);
        if let Some(proxy) = &bare_proxy {
            let target = proxy.target(transport, Answers::Own);
            of_bare_proxy.push(sample("bare proxy", proxy, &target, &load, runtime)?);
        }
        let target = mux.target(transport, Answers::Own);
        of_mux.push(sample("mcp-mux", mux, &target, &load, runtime)?);
    }
    Ok(samples.into_iter().filter_map(|samples| median(&samples)).collect())
}

fn sample(
    name: &'static str,
    server: &Server,
    target: &crate::load::Target,
    load: &Load,
    runtime: &tokio::runtime::Runtime,
) -> Result<Row> {
    let local = LocalSet::new();
    let (tally, marks): (Tally, _) = local.block_on(runtime, async {
        let clients = Clients::open(target, load).await?;
        clients.run(load, || server.cpu()).await
    })?;
    let [(from, cpu_before), (to, cpu_after)] = marks;
    Ok(Row::new(name, &tally, to - from, Some(cpu_after.saturating_sub(cpu_before))))
}

const WARM_UP: Duration = Duration::from_millis(300);
