//! Who may enter.

use super::{Reader, jwt, values};
use crate::cli::Cli;
use crate::config::{AuthConfig, Exposure, Isolation, TlsConfig};

/// `of_servers` is what was said of each server. None means that a problem was recorded.
pub(super) fn read(
    cli: &Cli,
    reader: &mut Reader,
    tls: Option<&Option<TlsConfig>>,
    of_servers: &[&Cli],
) -> Option<AuthConfig> {
    let no_auth = reader.read("insecure-no-auth", &cli.insecure_no_auth, values::switch);
    let jwt = jwt::read(cli, reader);
    let auth = AuthConfig {
        token_file: cli.auth_token_file.clone(),
        tokens: reader.auth_tokens.take(),
        jwt: jwt?,
        certificates: tls.and_then(Option::as_ref).is_some_and(|tls| tls.client_ca.is_some()),
        exposure: if no_auth? { Exposure::Wanted } else { Exposure::Refused },
    };
    // What would do nothing is a mistake.
    if let Some(name) = cli.jwt_claim_env.first()
        && !of_servers.is_empty()
        && of_servers.iter().all(|cli| values::isolation(&cli.isolation).is_ok_and(|rule| rule != Isolation::Principal))
    {
        reader.problem(
            "jwt-claim-env",
            Some(name),
            "absent, unless with --isolation principal: others share the process",
        );
    }
    if auth.exposure == Exposure::Wanted && auth.is_required() {
        let wanted = "left out where clients have to authenticate (--auth-token-file, MCP_MUX_AUTH_TOKENS, --jwt-issuer, --tls-client-ca)";
        reader.problem("insecure-no-auth", None, wanted);
    }
    Some(auth)
}
