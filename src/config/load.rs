//! From what was typed to what is used: every value is read, every rule between values checked, and everything that is
//! wrong is reported at once.

mod auth;
mod jwt;
mod listen;
mod principals;
mod servers;
mod session;
mod tls;
mod traces;

pub(crate) use traces::VARIABLES as TRACES_VARIABLES;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::allow::{AllowHost, AllowOrigin, Authority, Host};
use super::listen::{Chosen, ListenAddress};
use super::secret::Secret;
use super::values;
use super::{
    AccessLogConfig, AccessLogNames, Bounds, ChildConfig, Config, ConfigErrors, DeclaredCapabilities, EndpointConfig,
    ForwardedConfig, GuardConfig, HttpConfig, InheritEnv, Isolation, ListenConfig, OnAmbiguous, OnChildExit,
    PoolConfig, Problem, Reread, RouterConfig, ServerConfig, ServerName, SessionMode, Start, TelemetryConfig,
};
use crate::cli::{Cli, Origins};

impl Config {
    /// Turns what was typed into what is used.
    ///
    /// Looks at the file system for `--cwd` and for the names of `--unix-owner` alone.
    ///
    /// # Errors
    /// Everything that is wrong, at once; but of a file that cannot be read, that alone: what it would have said is not known.
    pub fn load(cli: Cli) -> Result<Self, ConfigErrors> {
        Self::load_at(Moment::Start, cli)
    }

    /// The same for what a file says while the program runs, which may have come to no server that is served.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn load_again(cli: Cli) -> Result<Self, ConfigErrors> {
        Self::load_at(Moment::Later, cli)
    }

    fn load_at(moment: Moment, mut cli: Cli) -> Result<Self, ConfigErrors> {
        let problems = std::mem::take(&mut cli.origins.problems);
        if cli.origins.file_unreadable {
            return Err(ConfigErrors(problems));
        }
        let auth_tokens = cli.origins.auth_tokens.take();
        let mut reader = Reader { origins: cli.origins.clone(), problems, auth_tokens, moment };
        let config = read(cli, &mut reader);
        match config {
            Some(config) if reader.problems.is_empty() => Ok(config),
            _ => Err(ConfigErrors(reader.problems)),
        }
    }
}

#[cfg(test)]
impl Config {
    /// The only server.
    pub(crate) fn server(&self) -> &super::ServerConfig {
        let [server] = self.servers.servers.as_slice() else { panic!("{:?}", self.servers) };
        server
    }

    /// The same, to be kept.
    pub(crate) fn into_server(mut self) -> super::ServerConfig {
        self.servers.servers.pop().expect("there is one")
    }
}

/// When a configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Before anything runs: there has to be something to run.
    Start,
    /// While the program runs.
    Later,
}

/// Reads values and collects what is wrong with them.
struct Reader {
    moment: Moment,
    origins: Origins,
    problems: Vec<Problem>,
    /// Those of the environment, until they have been read.
    auth_tokens: Option<Secret>,
}

impl Reader {
    /// Reads one value. None means that a problem was recorded.
    fn read<T>(&mut self, flag: &str, text: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        parse(text).map_err(|wanted| self.problem(flag, Some(text), wanted)).ok()
    }

    /// Reads every entry of a list, so that every wrong one is reported.
    fn read_all<T>(
        &mut self,
        flag: &str,
        texts: &[String],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let read: Vec<_> = texts.iter().map(|text| self.read(flag, text.trim(), &parse)).collect();
        read.into_iter().collect()
    }

    fn problem(&mut self, flag: &str, value: Option<&str>, wanted: impl Into<String>) {
        let origin = self.origins.origin(flag);
        self.problems.push(Problem { origin, value: value.map(str::to_owned), wanted: wanted.into() });
    }
}

/// None means that a problem was recorded; every value is read before the first one is missed.
fn read(mut cli: Cli, reader: &mut Reader) -> Option<Config> {
    let entries = cli.servers.take();
    let admin = listen::read_admin(&cli, reader);
    let listen = listen::read(&cli, reader, admin.as_deref());
    let tls = tls::read(&cli, reader);
    let http = read_http(&cli, reader);
    let guard = read_guard(&cli, reader, listen.as_ref(), admin.as_deref());
    let of_servers = entries.iter().flatten().filter_map(|entry| entry.cli.as_deref());
    let of_servers: Vec<&Cli> = if entries.is_some() { of_servers.collect() } else { vec![&cli] };
    let auth = auth::read(&cli, reader, tls.as_ref(), &of_servers);
    let log_level = reader.read("log-level", &cli.log_level, values::log_filter);
    let log_format = reader.read("log-format", &cli.log_format, values::log_format);
    let access_log = reader.read("access-log", &cli.access_log, values::access_log);
    let access_log_names = reader.read("access-log-names", &cli.access_log_names, values::switch);
    let access_log_names =
        access_log_names.map(|shown| if shown { AccessLogNames::Shown } else { AccessLogNames::Hidden });
    let traces = traces::read(&cli, reader, access_log_names);
    let drain_timeout = reader.read("drain-timeout", &cli.drain_timeout, values::duration);
    let reread = read_reread(&cli, reader);
    let servers = servers::read(&cli, entries, reader);
    let principals = principals::read(&cli, reader, servers.as_ref());
    let (listen, admin) = (listen?, admin?);
    let apart = ListenConfig { addresses: admin, chosen: Chosen::ByOperator, ..listen.clone() };
    Some(Config {
        admin: Some(apart).filter(|apart| !apart.addresses.is_empty()),
        listen,
        tls: tls?,
        http: http?,
        guard: guard?,
        auth: auth?,
        servers: servers?,
        telemetry: TelemetryConfig {
            log_level: log_level?,
            log_format: log_format?,
            access: AccessLogConfig { to: access_log?, names: access_log_names? },
            traces: traces?,
        },
        drain_timeout: drain_timeout?,
        principals: principals?,
        reread: reread?,
        exposed_file: cli.origins.exposed_file(),
        foreign_keys: std::mem::take(&mut cli.origins.foreign),
    })
}

/// When files are read again.
fn read_reread(cli: &Cli, reader: &mut Reader) -> Option<Reread> {
    let watch = reader.read("watch", &cli.watch, values::switch)?;
    let has_file = cli.origins.file.is_some()
        || [&cli.auth_token_file, &cli.jwks_file, &cli.tls_cert].iter().any(|file| file.is_some());
    // What would do nothing is a mistake.
    if watch && !has_file {
        reader.problem("watch", None, "left out where there is no file to read again, such as that of --config");
    }
    Some(if watch { Reread::OnChange } else { Reread::OnSignal })
}

/// One server. None means that a problem was recorded.
fn read_server(cli: &Cli, name: ServerName, reader: &mut Reader) -> Option<ServerConfig> {
    let bounds = read_bounds(cli, reader);
    let endpoint = read_endpoint(cli, bounds, reader);
    let session = session::read(cli, reader);
    let router = read_router(cli, bounds, reader);
    let pool = read_pool(cli, bounds, reader);
    let child = read_child(cli, reader);
    let lazy = reader.read("lazy", &cli.lazy, values::switch);
    let idle_timeout = &cli.server_idle_timeout;
    let idle_timeout = reader.read("server-idle-timeout", idle_timeout, values::optional_long_duration);

    if let (Some(pool), Some(child)) = (&pool, &child)
        && pool.isolation != Isolation::Shared
        && child.on_exit == OnChildExit::Exit
    {
        let wanted =
            "restart, unless with --isolation shared: the exit of one client's process is not everybody's matter";
        reader.problem("on-child-exit", Some("exit"), wanted);
    }
    if let (Some(pool), Some(endpoint), Some(router)) = (&pool, &endpoint, &router)
        && pool.isolation == Isolation::Session
        && endpoint.sessions == SessionMode::Sessions
    {
        let DeclaredCapabilities { roots, sampling, elicitation } = router.client_capabilities;
        if !(roots && sampling && elicitation) {
            let wanted = "left out with --isolation session: the server sees the client's own capabilities";
            reader.problem("client-capabilities", Some(&cli.client_capabilities), wanted);
        }
        if router.on_ambiguous == OnAmbiguous::Serialize {
            let wanted = "left out with --isolation session: no question is ambiguous there";
            reader.problem("on-ambiguous", Some("serialize"), wanted);
        }
    }
    if let (Some(endpoint), Some(child)) = (&endpoint, &child)
        && child.queue_bytes_max < endpoint.body_bytes_max
    {
        let wanted = format!("at least as much as --body-bytes-max, {} bytes", endpoint.body_bytes_max);
        reader.problem("queue-bytes-max", Some(&cli.queue_bytes_max), wanted);
    }
    Some(ServerConfig {
        name,
        start: if lazy? { Start::OnDemand } else { Start::AtOnce },
        idle_timeout: idle_timeout?,
        endpoint: endpoint?,
        session: session?,
        pool: pool?,
        child: child?,
        router: router?,
    })
}

fn read_http(cli: &Cli, reader: &mut Reader) -> Option<HttpConfig> {
    let path = reader.read("path", &cli.path, values::path);
    let sse_path = reader.read("sse-path", &cli.sse_path, values::path);
    let message_path = reader.read("message-path", &cli.message_path, values::path);
    // Their problems are reported where the connections' configuration is read.
    let header_bytes_max = values::header_bytes(&cli.header_bytes_max).ok();
    let headers_max = values::headers(&cli.headers_max).ok();
    let trusted = reader.read_all("trusted-proxy", &cli.trusted_proxy, values::trusted_proxy);
    let header = reader.read("forwarded-header", &cli.forwarded_header, values::forwarded_header);
    let public_url = cli.public_url.as_deref().map(|url| reader.read("public-url", url, values::base_url));

    let paths = [("path", &path), ("sse-path", &sse_path), ("message-path", &message_path)];
    for (at, (flag, path)) in paths.iter().enumerate() {
        if let Some((other, _)) = paths.iter().take(at).find(|(_, earlier)| path.is_some() && earlier == path) {
            reader.problem(flag, path.as_deref(), format!("another path than that of --{other}"));
        }
    }
    Some(HttpConfig {
        path: path?,
        sse_path: sse_path?,
        message_path: message_path?,
        header_bytes_max: header_bytes_max?,
        headers_max: headers_max?,
        forwarded: ForwardedConfig { trusted: trusted?, header: header? },
        // None: a problem was recorded. Some(None): none was given.
        public_url: public_url.map_or(Some(None), |url| url.map(Some))?,
    })
}

fn read_endpoint(cli: &Cli, bounds: Option<Bounds>, reader: &mut Reader) -> Option<EndpointConfig> {
    let body_bytes_max = reader.read("body-bytes-max", &cli.body_bytes_max, values::some_size);
    let body_timeout = reader.read("body-timeout", &cli.body_timeout, values::some_duration);
    let sse_after = reader.read("sse-after", &cli.sse_after, values::duration);
    let keep_alive = reader.read("keep-alive", &cli.keep_alive, values::some_duration);
    let stateless = reader.read("stateless", &cli.stateless, values::switch);
    Some(EndpointConfig {
        body_bytes_max: body_bytes_max?,
        body_timeout: body_timeout?,
        bounds: bounds?,
        sse_after: sse_after?,
        keep_alive: keep_alive?,
        sessions: if stateless? { SessionMode::Stateless } else { SessionMode::Sessions },
    })
}

fn read_bounds(cli: &Cli, reader: &mut Reader) -> Option<Bounds> {
    let nesting_max = reader.read("nesting-max", &cli.nesting_max, values::nesting);
    let batch_max = reader.read("batch-max", &cli.batch_max, values::count);
    let subscriptions_max = reader.read("subscriptions-max", &cli.subscriptions_max, values::count);
    let questions_max = reader.read("questions-max", &cli.questions_max, values::count);
    let resend_bytes_max = reader.read("resend-bytes-max", &cli.resend_bytes_max, values::size);
    let tasks_max = reader.read("tasks-max", &cli.tasks_max, values::tasks);
    Some(Bounds {
        nesting_max: nesting_max?,
        batch_max: batch_max?,
        subscriptions_max: subscriptions_max?,
        questions_max: questions_max?,
        resend_bytes_max: resend_bytes_max?,
        tasks_max: tasks_max?,
    })
}

fn read_guard(
    cli: &Cli,
    reader: &mut Reader,
    listen: Option<&ListenConfig>,
    admin: Option<&[ListenAddress]>,
) -> Option<GuardConfig> {
    let allow_host = reader.read_all("allow-host", &cli.allow_host, |text| {
        AllowHost::parse(text).ok_or_else(|| "a host such as example.com or example.com:8443, or *".to_owned())
    });
    let allow_origin = reader.read_all("allow-origin", &cli.allow_origin, |text| {
        let wanted = "an origin such as https://app.example.com (scheme, host, no path), null, or *";
        AllowOrigin::parse(text).ok_or_else(|| wanted.to_owned())
    });
    let mut allow_host = allow_host?;
    // The name that is printed in the URLs must be one that works. An address needs no entry: the guard lets in
    // whatever address a connection came to.
    let addresses = listen.iter().flat_map(|listen| &listen.addresses).chain(admin.unwrap_or_default());
    let hosts = addresses.filter_map(|address| match address {
        ListenAddress::Tcp { host, .. } => Authority::parse(host),
        ListenAddress::Unix(_) | ListenAddress::Handed(_) => None,
    });
    for named in hosts.filter(|authority| matches!(authority.host, Host::Name(_))).map(AllowHost::Host) {
        if !allow_host.contains(&named) {
            allow_host.push(named);
        }
    }
    let public = cli.public_url.as_deref().and_then(|url| url.trim().parse::<http::Uri>().ok());
    let public = public.as_ref().and_then(http::Uri::authority);
    allow_host.extend(public.and_then(|authority| AllowHost::parse(authority.as_str())));
    Some(GuardConfig { allow_host, allow_origin: allow_origin? })
}

fn read_router(cli: &Cli, bounds: Option<Bounds>, reader: &mut Reader) -> Option<RouterConfig> {
    let request_timeout = reader.read("request-timeout", &cli.request_timeout, values::optional_duration);
    let request_timeout_max = reader.read("request-timeout-max", &cli.request_timeout_max, values::optional_duration);
    let in_flight_max = reader.read("in-flight-max", &cli.in_flight_max, values::some_count);
    // Its problems are reported where the child's configuration is read.
    let queue_timeout = values::duration(&cli.queue_timeout).ok();
    let on_ambiguous = reader.read("on-ambiguous", &cli.on_ambiguous, values::on_ambiguous);
    let capabilities = reader.read("client-capabilities", &cli.client_capabilities, values::capabilities);

    if let (Some(Some(timeout)), Some(Some(max))) = (request_timeout, request_timeout_max)
        && max < timeout
    {
        let wanted = format!("at least as long as --request-timeout, {}", humantime::format_duration(timeout));
        reader.problem("request-timeout-max", Some(&cli.request_timeout_max), wanted);
    }
    Some(RouterConfig {
        request_timeout: request_timeout?,
        request_timeout_max: request_timeout_max?,
        in_flight_max: in_flight_max?,
        queue_timeout: queue_timeout?,
        on_ambiguous: on_ambiguous?,
        client_capabilities: capabilities?,
        bounds: bounds?,
    })
}

fn read_pool(cli: &Cli, bounds: Option<Bounds>, reader: &mut Reader) -> Option<PoolConfig> {
    let isolation = reader.read("isolation", &cli.isolation, values::isolation);
    let size = reader.read("pool", &cli.pool, values::some_count);
    let warm = reader.read("warm", &cli.warm, values::count);
    let children_max = reader.read("children-max", &cli.children_max, values::some_count);
    let idle_timeout = cli.child_idle_timeout.as_deref();
    let idle_timeout = match (idle_timeout, isolation) {
        (Some(text), _) => reader.read("child-idle-timeout", text, values::optional_duration),
        (None, Some(Isolation::Principal)) => Some(Some(PRINCIPAL_IDLE_TIMEOUT)),
        (None, _) => Some(None),
    };
    // Its problems are reported where the child's configuration is read.
    let queue_timeout = values::duration(&cli.queue_timeout).ok();
    let cache_bytes = reader.read("cache-bytes", &cli.cache_bytes, values::size);
    let header_env = reader.read_all("header-env", &cli.header_env, values::header_env);

    // What would do nothing is a mistake.
    if isolation.is_some_and(|isolation| isolation != Isolation::Shared) && size.is_some_and(|size| size.get() > 1) {
        reader.problem("pool", Some(&cli.pool), "1, unless with --isolation shared");
    }
    if isolation.is_some_and(|isolation| isolation != Isolation::Session) {
        if warm.is_some_and(|warm| warm > 0) {
            reader.problem("warm", Some(&cli.warm), "0, unless with --isolation session");
        }
        if let Some(first) = header_env.as_ref().and_then(|all| all.first()) {
            let value = format!("{}={}", first.header, first.variable);
            reader.problem(
                "header-env",
                Some(&value),
                "absent, unless with --isolation session: others share the process",
            );
        }
    }
    if let (Some(warm), Some(max)) = (warm, children_max)
        && warm > max.get()
    {
        reader.problem("warm", Some(&cli.warm), format!("at most --children-max, {max}"));
    }
    if let Some(all) = &header_env {
        for (at, one) in all.iter().enumerate() {
            if all.iter().take(at).any(|other| other.variable == one.variable) {
                let value = format!("{}={}", one.header, one.variable);
                reader.problem("header-env", Some(&value), "the only one for this variable");
            }
        }
    }
    Some(PoolConfig {
        isolation: isolation?,
        size: size?,
        warm: warm?,
        children_max: children_max?,
        idle_timeout: idle_timeout?,
        queue_timeout: queue_timeout?,
        header_env: header_env?,
        cache_bytes: cache_bytes?,
        bounds: bounds?,
    })
}

/// How long the process of a principal without a session is kept, unless told otherwise.
const PRINCIPAL_IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

fn read_child(cli: &Cli, reader: &mut Reader) -> Option<ChildConfig> {
    let command = match &cli.spawn {
        Some(line) => reader.read("spawn", line, values::command_line),
        // What would have said it is wrong, and reported already.
        None if cli.command.is_empty() => None,
        None => {
            let origin = reader.origins.of_command();
            let problem = |wanted| Problem { origin, value: None, wanted };
            values::command(cli.command.clone()).map_err(|wanted| reader.problems.push(problem(wanted))).ok()
        }
    };
    let cwd = cli.cwd.clone().map(|folder| read_folder(folder, reader));
    let mut env = std::collections::BTreeMap::new();
    for text in &cli.env {
        match values::variable(text.expose()) {
            Ok((name, value)) => {
                env.insert(name, value);
            }
            // What stands behind the name may be a secret; and what has no name, too.
            Err(wanted) => reader.problem("env", text.expose().split_once('=').map(|(name, _)| name), wanted),
        }
    }
    let clean_env = reader.read("clean-env", &cli.clean_env, values::switch);
    let line_bytes_max = reader.read("line-bytes-max", &cli.line_bytes_max, values::some_size);
    let stderr_lines_max = reader.read("stderr-lines-max", &cli.stderr_lines_max, values::lines);
    let queue_bytes_max = reader.read("queue-bytes-max", &cli.queue_bytes_max, values::some_size);
    let queue_timeout = reader.read("queue-timeout", &cli.queue_timeout, values::duration);
    let start_timeout = reader.read("start-timeout", &cli.start_timeout, values::some_duration);
    let era = reader.read("child-era", &cli.child_era, values::child_era);
    let probe_timeout = reader.read("probe-timeout", &cli.probe_timeout, values::some_duration);
    let stop_timeout = reader.read("stop-timeout", &cli.stop_timeout, values::duration);
    let on_exit = reader.read("on-child-exit", &cli.on_child_exit, values::on_child_exit);
    let ping_interval = reader.read("ping-interval", &cli.ping_interval, values::optional_long_duration);
    let age_max = reader.read("child-max-age", &cli.child_max_age, values::optional_long_duration);
    let requests_max = reader.read("child-max-requests", &cli.child_max_requests, values::optional_count);
    Some(ChildConfig {
        server: None,
        command: command?,
        // None: a problem was recorded. Some(None): none was given.
        cwd: cwd.map_or(Some(None), |folder| folder.map(Some))?,
        env,
        inherit_env: if clean_env? { InheritEnv::Minimal } else { InheritEnv::All },
        line_bytes_max: line_bytes_max?,
        stderr_lines_max: stderr_lines_max?,
        queue_bytes_max: queue_bytes_max?,
        queue_timeout: queue_timeout?,
        start_timeout: start_timeout?,
        era: era?,
        probe_timeout: probe_timeout?,
        stop_timeout: stop_timeout?,
        on_exit: on_exit?,
        ping_interval: ping_interval?,
        age_max: age_max?,
        requests_max: requests_max?,
    })
}

fn read_folder(folder: PathBuf, reader: &mut Reader) -> Option<PathBuf> {
    match folder_fault(&folder) {
        None => Some(folder),
        Some(wanted) => {
            reader.problem("cwd", Some(&Path::display(&folder).to_string()), wanted);
            None
        }
    }
}

/// What would be right instead of a folder that cannot be entered.
fn folder_fault(folder: &Path) -> Option<String> {
    match folder.metadata() {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(_) => Some("a folder; this is none".to_owned()),
        Err(error) => Some(format!("a folder that can be entered ({error})")),
    }
}

#[cfg(test)]
mod tests;
