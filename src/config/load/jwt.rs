//! The flags of JSON Web Tokens.

use std::time::Duration;

use super::Reader;
use crate::cli::Cli;
use crate::config::jwt::{Algorithm, JwtConfig, KeySource, SecureUrl};
use crate::config::values;

/// None means that a problem was recorded; none inside: no JWT is accepted.
pub(super) fn read(cli: &Cli, reader: &mut Reader) -> Option<Option<JwtConfig>> {
    let audiences = reader.read_all("jwt-audience", &cli.jwt_audience, |text| {
        if text.is_empty() { Err("a name that tokens carry in `aud`".to_owned()) } else { Ok(text.to_owned()) }
    });
    let url = optional(reader, "jwks-url", cli.jwks_url.as_deref(), |text| {
        SecureUrl::parse(text).ok_or_else(|| A_SECURE_URL.to_owned())
    });
    let algorithms = optional(reader, "jwt-algorithm", cli.jwt_algorithm.as_deref(), algorithms);
    let scopes = reader.read_all("jwt-scope", &cli.jwt_scope, scopes);
    let leeway = optional(reader, "jwt-leeway", cli.jwt_leeway.as_deref(), leeway);
    let principal_claim = optional(reader, "jwt-principal-claim", cli.jwt_principal_claim.as_deref(), |text| {
        if text.is_empty() { Err("the name of a claim".to_owned()) } else { Ok(text.to_owned()) }
    });

    let claim_env = reader.read_all("jwt-claim-env", &cli.jwt_claim_env, values::foreign_variable);

    let Some(issuer) = &cli.jwt_issuer else {
        // What would do nothing is a mistake.
        let file = cli.jwks_file.as_ref().map(|path| path.display().to_string());
        for (flag, value) in [
            ("jwt-audience", cli.jwt_audience.first()),
            ("jwks-url", cli.jwks_url.as_ref()),
            ("jwks-file", file.as_ref()),
            ("jwt-algorithm", cli.jwt_algorithm.as_ref()),
            ("jwt-scope", cli.jwt_scope.first()),
            ("jwt-leeway", cli.jwt_leeway.as_ref()),
            ("jwt-principal-claim", cli.jwt_principal_claim.as_ref()),
            ("jwt-claim-env", cli.jwt_claim_env.first()),
        ] {
            if let Some(value) = value {
                reader.problem(flag, Some(value), "absent, unless with --jwt-issuer");
            }
        }
        return Some(None);
    };
    let issuer = reader.read("jwt-issuer", issuer, read_issuer);
    if cli.jwt_audience.is_empty() {
        let wanted = "together with --jwt-audience: without it, a token for any other service would do here";
        reader.problem("jwt-issuer", cli.jwt_issuer.as_deref(), wanted);
    }
    let keys = match (url, &cli.jwks_file) {
        (Some(Some(_)), Some(file)) => {
            let wanted = "absent with --jwks-url: the keys come from one place";
            reader.problem("jwks-file", Some(&file.display().to_string()), wanted);
            None
        }
        (url, Some(file)) => url.map(|_| KeySource::File(file.clone())),
        (url, None) => url.map(|url| url.map_or(KeySource::Issuer, KeySource::Url)),
    };
    let mut wanted_scopes: Vec<String> = Vec::new();
    for scope in scopes?.into_iter().flatten() {
        if !wanted_scopes.contains(&scope) {
            wanted_scopes.push(scope);
        }
    }
    Some(Some(JwtConfig {
        issuer: issuer?,
        audiences: audiences?,
        keys: keys?,
        algorithms: algorithms?.unwrap_or_else(|| Algorithm::ALL.to_vec()),
        scopes: wanted_scopes,
        leeway: leeway?.unwrap_or(LEEWAY),
        principal_claim: principal_claim?.unwrap_or_else(|| PRINCIPAL_CLAIM.to_owned()),
        claim_env: claim_env?,
    }))
}

/// A value that may be left out. None means that a problem was recorded.
fn optional<T>(
    reader: &mut Reader,
    flag: &str,
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<Option<T>> {
    text.map_or(Some(None), |text| reader.read(flag, text.trim(), parse).map(Some))
}

/// RFC 8414, 2: "a URL that uses the "https" scheme and has no query or fragment components".
fn read_issuer(text: &str) -> Result<SecureUrl, String> {
    let url = SecureUrl::parse(text).filter(|url| url.uri().query().is_none() && !text.ends_with('?'));
    url.ok_or_else(|| format!("{A_SECURE_URL}, without a query, and spelled as in the tokens' `iss`"))
}

fn algorithms(text: &str) -> Result<Vec<Algorithm>, String> {
    let named: Option<Vec<_>> = text.split(',').map(|name| Algorithm::named(name.trim())).collect();
    named.ok_or_else(|| {
        let all = Algorithm::ALL.map(Algorithm::as_str).join(", ");
        format!("a list of {all}; `none` and algorithms with a shared secret (HS256) are never accepted")
    })
}

/// RFC 6749, 3.3: `scope-token *( SP scope-token )`.
fn scopes(text: &str) -> Result<Vec<String>, String> {
    let scopes: Vec<_> = text.split_ascii_whitespace().map(str::to_owned).collect();
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    if scopes.is_empty() || !scopes.iter().flat_map(|scope| scope.bytes()).all(plain) {
        return Err("a scope, or several separated by blanks, of visible ASCII characters but \" and \\".to_owned());
    }
    // spec: 2026-07-28 basic/authorization, Refresh Tokens: no server wants it of a token.
    if scopes.iter().any(|scope| scope == "offline_access") {
        return Err("another scope: offline_access is between a client and the issuer, and in no token".to_owned());
    }
    Ok(scopes)
}

fn leeway(text: &str) -> Result<Duration, String> {
    let short = values::duration(text).ok().filter(|leeway| *leeway <= LEEWAY_MAX);
    short.ok_or_else(|| "a duration of at most 10m, such as 30s; 0 for none".to_owned())
}

const A_SECURE_URL: &str = "an https URL without credentials and fragment (http only on a loopback host)";
const LEEWAY: Duration = Duration::from_secs(30);
/// What is more is no difference between clocks.
const LEEWAY_MAX: Duration = Duration::from_secs(10 * 60);
const PRINCIPAL_CLAIM: &str = "mcp_mux";

#[cfg(test)]
mod tests {
    use super::super::tests::{load, problem};
    use super::*;
    use crate::config::load::tests::load_with;

    const ISSUER: &str = "https://issuer.example/tenant";

    fn jwt(more: &[&str]) -> JwtConfig {
        let args = [&["--jwt-issuer", ISSUER, "--jwt-audience", "https://mcp.example/mcp"], more].concat();
        load(&args).unwrap().auth.jwt.unwrap()
    }

    #[test]
    fn no_jwt_is_accepted_unless_an_issuer_is_named() {
        assert!(load(&[]).unwrap().auth.jwt.is_none());
        let jwt = jwt(&[]);
        assert_eq!(
            (jwt.issuer.as_str(), jwt.audiences.as_slice()),
            (ISSUER, &["https://mcp.example/mcp".to_owned()][..])
        );
        assert_eq!((jwt.keys, jwt.algorithms.as_slice()), (KeySource::Issuer, &Algorithm::ALL[..]));
        assert_eq!((jwt.scopes.len(), jwt.leeway), (0, Duration::from_secs(30)));
        assert_eq!(jwt.principal_claim, "mcp_mux");
    }

    #[test]
    fn everything_about_a_token_can_be_said() {
        let said = jwt(&[
            "--jwt-audience=a,b",
            "--jwks-url=http://localhost:8080/keys",
            "--jwt-algorithm=ES256, EdDSA",
            "--jwt-scope=mcp:use files:read",
            "--jwt-scope=mcp:use",
            "--jwt-leeway=0",
            "--jwt-principal-claim=https://mcp.example/claims",
        ]);
        assert_eq!(said.audiences, ["https://mcp.example/mcp", "a", "b"]);
        assert_eq!(said.keys, KeySource::Url(SecureUrl::parse("http://localhost:8080/keys").unwrap()));
        assert_eq!(said.algorithms, [Algorithm::Es256, Algorithm::EdDsa]);
        assert_eq!(said.scopes, ["mcp:use", "files:read"]);
        assert_eq!((said.leeway, said.principal_claim.as_str()), (Duration::ZERO, "https://mcp.example/claims"));
        assert_eq!(jwt(&["--jwks-file", "keys.json"]).keys, KeySource::File("keys.json".into()));
    }

    #[test]
    fn what_is_said_of_tokens_without_an_issuer_is_a_mistake() {
        for flag in [
            "--jwt-audience=a",
            "--jwks-url=https://issuer.example/keys",
            "--jwks-file=keys.json",
            "--jwt-algorithm=ES256",
            "--jwt-scope=a",
            "--jwt-leeway=1s",
            "--jwt-principal-claim=a",
        ] {
            let (name, value) = flag.split_once('=').unwrap();
            assert_eq!(problem(&[flag]), format!("{name} {value:?}: must be absent, unless with --jwt-issuer"));
        }
    }

    #[test]
    fn what_would_let_others_in_is_a_mistake() {
        let https = "must be an https URL without credentials and fragment (http only on a loopback host)";
        let (issuer, audience) = (&["--jwt-issuer", ISSUER][..], &["--jwt-audience", "a"][..]);
        for (args, expected) in [
            (issuer.to_vec(), "together with --jwt-audience: without it, a token for any other service would do here"),
            ([audience, &["--jwt-issuer=http://issuer.example"]].concat(), https),
            ([audience, &["--jwt-issuer=https://issuer.example/?a=b"]].concat(), "without a query"),
            ([audience, &["--jwt-issuer=issuer.example"]].concat(), https),
            ([audience, issuer, &["--jwks-url=http://issuer.example/keys"]].concat(), https),
            (
                [audience, issuer, &["--jwt-algorithm=ES256,none"]].concat(),
                "`none` and algorithms with a shared secret",
            ),
            ([audience, issuer, &["--jwt-algorithm=HS256"]].concat(), "a list of RS256, RS384,"),
            ([audience, issuer, &["--jwt-algorithm="]].concat(), "a list of RS256"),
            ([issuer, &["--jwt-audience="]].concat(), "a name that tokens carry in `aud`"),
            ([audience, issuer, &["--jwt-scope=a\"b"]].concat(), "a scope, or several separated by blanks"),
            ([audience, issuer, &["--jwt-scope= "]].concat(), "a scope, or several separated by blanks"),
            ([audience, issuer, &["--jwt-scope=offline_access"]].concat(), "in no token"),
            ([audience, issuer, &["--jwt-leeway=11m"]].concat(), "at most 10m"),
            ([audience, issuer, &["--jwt-principal-claim="]].concat(), "the name of a claim"),
            (
                [audience, issuer, &["--jwks-url=https://issuer.example/keys", "--jwks-file=keys.json"]].concat(),
                "--jwks-file \"keys.json\": must be absent with --jwks-url",
            ),
        ] {
            let problem = problem(&args);
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn the_environment_says_the_same() {
        let variables = [
            ("MCP_MUX_JWT_ISSUER", ISSUER),
            ("MCP_MUX_JWT_AUDIENCE", "a,b"),
            ("MCP_MUX_JWT_SCOPE", "c d"),
            ("MCP_MUX_JWKS_FILE", "keys.json"),
        ];
        let jwt = load_with(&["--", "server"], &variables).unwrap().auth.jwt.unwrap();
        assert_eq!((jwt.audiences.len(), jwt.scopes.len()), (2, 2));
        let problems = load_with(&["--", "server"], &[("MCP_MUX_JWT_ISSUER", ISSUER)]).unwrap_err();
        assert!(problems[0].starts_with("MCP_MUX_JWT_ISSUER "), "{problems:?}");
    }
}
