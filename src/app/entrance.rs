//! Who may enter: what is built of the configuration for it, what is refused, and what is read again.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::auth::jwt::Verifier;
use crate::auth::tokens::{Census, Tokens};
use crate::auth::{Authenticator, Change, Methods};
use crate::config::allow::{AllowHost, AllowOrigin};
use crate::config::principals::PrincipalsConfig;
use crate::config::{AuthConfig, Exposure, GuardConfig, Source};
use crate::error::StartupError;
use crate::http::listener::Bound;
use crate::reload::Reloads;
use crate::servers::Servers;
use crate::telemetry::access;

/// Who decides who may enter. Its tasks are on the tracker until `stop`.
pub(super) fn authenticator(
    config: AuthConfig,
    principals: PrincipalsConfig,
    (public_url, paths): (Option<&str>, Vec<String>),
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Arc<Authenticator>, StartupError> {
    let AuthConfig { token_file, tokens, jwt, certificates, exposure: _ } = config;
    let tokens = if token_file.is_some() || tokens.is_some() {
        let origin = token_file.as_deref().map(|file| format!("--auth-token-file {}", file.display()));
        let origin = origin.unwrap_or_else(|| "MCP_MUX_AUTH_TOKENS".to_owned());
        let unusable = |source| StartupError::Tokens { origin, source: Box::new(source) };
        let (tokens, census) = Tokens::new(token_file, tokens).map_err(unusable)?;
        info!(tokens = census.tokens, "clients may enter with a token");
        warn_of_weak(census);
        Some(Arc::new(tokens))
    } else {
        None
    };
    let issuer = jwt.as_ref().map(|jwt| jwt.issuer.as_str().to_owned());
    let jwt = jwt.map(|jwt| Verifier::new(jwt, tasks, stop.clone())).transpose().map_err(|source| {
        let file = source.path().to_owned();
        StartupError::File { flag: "--jwks-file", file, source: Box::new(source) }
    })?;
    if let (Some(jwt), Some(base)) = (&jwt, public_url) {
        for resource in paths.iter().map(|path| format!("{base}{path}")) {
            if !jwt.audiences().contains(&resource) {
                warn!(
                    resource,
                    "clients may ask their issuer for a token for this URL, which is none of --jwt-audience"
                );
            }
        }
    }
    if let Some(issuer) = issuer {
        info!(issuer, "clients may enter with a JSON Web Token");
    }
    if certificates {
        info!("clients may enter with a certificate");
    }
    Ok(Arc::new(Authenticator::new(Methods { tokens, jwt, certificates }, principals)))
}

/// What can be read again. That of the principals is, with the whole of the file that they are in; here, where there is no `source`.
pub(super) fn read_again(
    reloads: &mut Reloads,
    authenticator: &Arc<Authenticator>,
    servers: &Arc<Servers>,
    source: Option<&Source>,
) {
    let Methods { tokens, jwt, certificates: _ } = authenticator.methods();
    if let Some(tokens) = tokens.clone() {
        let servers = Arc::clone(servers);
        let file = tokens.file().map(Path::to_owned);
        reloads.add("tokens", file.into_iter().collect(), move || {
            warn_of_weak(tokens.reload()?);
            // What was opened with those that are gone.
            servers.services().iter().for_each(|service| service.registry.sweep_lapsed(Instant::now()));
            Ok(())
        });
    }
    if let Some(jwt) = jwt.clone() {
        let servers = Arc::clone(servers);
        let file = jwt.key_file().map(Path::to_owned);
        reloads.add("jwks", file.into_iter().collect(), move || {
            jwt.reload();
            // Perhaps with a key that is withdrawn.
            interrupt_all(&servers);
            Ok(())
        });
    }
    if authenticator.has_file() && source.is_none() {
        let (authenticator, servers) = (Arc::clone(authenticator), Arc::clone(servers));
        // It looks itself at what its file is.
        reloads.add("principals", Vec::new(), move || {
            if authenticator.reload()? == Change::Other {
                interrupt_all(&servers);
            }
            Ok(())
        });
    }
    if let Some(file) = access::file() {
        reloads.add_own("access log", vec![file.to_owned()], || Ok(access::reopen()?));
    }
}

/// Whoever is being served has to show a credential that is good now.
pub(super) fn interrupt_all(servers: &Servers) {
    servers.services().iter().for_each(|service| service.registry.interrupt_all());
}

/// Nobody should find out from a stranger that everybody may use the server.
pub(super) fn refuse_exposure(bound: &Bound, auth: &AuthConfig) -> Result<(), StartupError> {
    let open = !auth.is_required() && auth.exposure == Exposure::Refused;
    match bound {
        Bound::Tcp { address, .. } if open && !address.ip().to_canonical().is_loopback() => {
            Err(StartupError::Exposed { address: *address })
        }
        Bound::Tcp { .. } | Bound::Unix(_) => Ok(()),
    }
}

fn warn_of_weak(census: Census) {
    if census.exposed {
        warn!("everybody on this machine can read the file of tokens: take it from them (chmod o-r)");
    }
    if census.weak > 0 {
        warn!(
            tokens = census.weak,
            "tokens of fewer than 20 characters can be guessed: make them with `openssl rand -hex 32`"
        );
    }
}

/// What makes a socket open to more than was meant, perhaps.
pub(super) fn warn_of_exposure(bound: &Bound, auth: &AuthConfig) {
    match bound {
        Bound::Tcp { address, .. }
            if auth.exposure == Exposure::Wanted && !address.ip().to_canonical().is_loopback() =>
        {
            warn!(
                %address,
                "listening without authentication (--insecure-no-auth): whoever can reach this port can use the server. Put a \
                 firewall or an authenticating proxy in front"
            );
        }
        Bound::Unix(Some(path)) if !auth.is_required() => {
            let world_writable = fs::metadata(path).is_ok_and(|file| file.mode() & 0o002 != 0);
            if world_writable {
                warn!(
                    path = %path.display(),
                    "everybody on this machine may use the server through this socket: take it from them (--unix-mode 660, or \
                     SocketMode=0660 where systemd opens it)"
                );
            }
        }
        Bound::Tcp { .. } | Bound::Unix(_) => {}
    }
}

/// What lets web pages in that were not meant, perhaps.
pub(super) fn warn_of_openness(guard: &GuardConfig) {
    if guard.allow_host.contains(&AllowHost::Any) {
        warn!("--allow-host * lets web pages reach the server through DNS rebinding: name the hosts instead");
    }
    if guard.allow_origin.contains(&AllowOrigin::Any) {
        warn!("--allow-origin * lets the pages of every web site use the server: name the origins instead");
    }
}
