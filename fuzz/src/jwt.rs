//! Bearer tokens against an issuer's keys: whoever is let in has a token that one of those keys signed as it is and whose
//! claims are what they have to be, everybody who has one is, and no refusal says a word of what was presented.
//!
//! | line | |
//! |---|---|
//! | `f` scopes algorithms | what a token has to have; first |
//! | `k` text | the issuer's keys are these from now on; `@` is our public key |
//! | `h` text | the header of our tokens from now on |
//! | `c` text | a token of ours with these claims; `@` and a digit is a date, `0` long ago and `5` long to come |
//! | `t` text | any token |

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{env, fs, process};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use mcp_mux::auth::jwt::Verifier;
use mcp_mux::auth::{Admission, Authenticator, Certificate, Denial, Methods, Remote};
use mcp_mux::config::jwt::{Algorithm, JwtConfig, KeySource, SecureUrl};
use mcp_mux::config::principals::{PrincipalConfig, PrincipalsConfig};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Map, Value};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::input::{Line, lines};
use super::judge::Members;
use super::world::in_runtime;

/// The input is a list of keys and tokens.
pub fn run(data: &[u8]) {
    in_runtime(story(data));
}

async fn story(data: &[u8]) {
    let mut lines = lines(data, 48).peekable();
    let mut first = lines.next_if(|line| line.rest().starts_with(b"f")).unwrap_or_default();
    first.next();
    let mut issuer = Issuer::new(&mut first);
    for mut line in lines {
        match line.next() {
            b'k' => issuer.has_keys(line.rest()).await,
            b'h' => issuer.header = line.rest().to_vec(),
            b'c' => issuer.presents_own(line.rest()).await,
            b't' => drop(issuer.presents(line.rest()).await),
            _ => {}
        }
    }
    issuer.stop.cancel();
    issuer.tasks.close();
    issuer.tasks.wait().await;
    // Where there were no keys there is none.
    let _ = fs::remove_file(&issuer.file);
}

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://mcp.example/mcp";
const SCOPES: [&str; 2] = ["read", "write"];
const LEEWAY: f64 = 30.0;
/// From now, and none of them near to where it makes a difference.
const DATES: [i64; 6] = [-3600, -40, -20, 20, 40, 3600];

struct Issuer {
    file: PathBuf,
    scopes: Vec<String>,
    algorithms: Vec<Algorithm>,
    pair: Ed25519KeyPair,
    authenticator: Option<(Arc<Verifier>, Authenticator)>,
    /// The keys that are used: those that were usable last.
    keys: Vec<Key>,
    header: Vec<u8>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Issuer {
    fn new(line: &mut Line<'_>) -> Self {
        let scopes = line.pick(&[&SCOPES[..0], &SCOPES[..1], &SCOPES]);
        let algorithms = line.pick(&[&Algorithm::ALL[..], &[Algorithm::EdDsa], &[Algorithm::Es256]]);
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap_or_else(|error| panic!("{error}"));
        Self {
            file: env::temp_dir().join(format!("mcp-mux-fuzz-jwt-{}", process::id())),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            algorithms: algorithms.to_vec(),
            pair,
            authenticator: None,
            keys: Vec::new(),
            header: br#"{"alg":"EdDSA"}"#.to_vec(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    async fn has_keys(&mut self, document: &[u8]) {
        let own = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        let document = fill(document, |_| (0, own.clone()));
        fs::write(&self.file, &document).unwrap_or_else(|error| panic!("{error}"));
        let keys = usable_keys(&document);
        if let Some((verifier, _)) = &self.authenticator {
            verifier.reload();
            // The clock is paused: until there is nothing more to do.
            sleep(Duration::from_millis(1)).await;
        } else {
            let config = JwtConfig {
                issuer: SecureUrl::parse(ISSUER).unwrap_or_else(|| panic!("it is one")),
                audiences: vec!["other".to_owned(), AUDIENCE.to_owned()],
                keys: KeySource::File(self.file.clone()),
                algorithms: self.algorithms.clone(),
                scopes: self.scopes.clone(),
                leeway: Duration::from_secs_f64(LEEWAY),
                principal_claim: "mcp_mux".to_owned(),
                claim_env: vec!["TENANT".to_owned()],
            };
            let verifier = Verifier::new(config, &self.tasks, self.stop.clone());
            assert_eq!(verifier.is_ok(), !keys.is_empty(), "{verifier:?}");
            let Ok(verifier) = verifier else { return };
            let methods = Methods { jwt: Some(Arc::clone(&verifier)), ..Methods::default() };
            self.authenticator = Some((verifier, Authenticator::new(methods, PrincipalsConfig::default())));
        }
        if !keys.is_empty() {
            self.keys = keys;
        }
    }

    /// A token with these claims is good exactly if it should be, also the second time, and with no character changed.
    async fn presents_own(&self, claims: &[u8]) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = fill(claims, |next| match DATES.get(usize::from(next.wrapping_sub(b'0'))) {
            Some(date) => (1, now.saturating_add_signed(*date).to_string()),
            None => (0, now.to_string()),
        });
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(&self.header), URL_SAFE_NO_PAD.encode(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        let token = format!("{signed}.{signature}");
        let expected = self.expected(&token, &claims, now);
        for _ in 0..2 {
            let Some(admitted) = self.presents(token.as_bytes()).await else { return };
            let label = admitted.as_ref().map(|admission| admission.principal.label().map(str::to_owned));
            match &expected {
                Some(subject) => assert_eq!(label, Ok(Some(format!("jwt:{subject}"))), "{token}"),
                None => assert!(label.is_err(), "{token} is {label:?}"),
            }
        }
        for at in [0, signed.len() / 2, signed.len() - 1, token.len() - 1] {
            let mut other = token.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let admitted = self.presents(&other).await;
            assert!(admitted.is_none_or(|admitted| admitted.is_err()), "changed at {at}: {token}");
        }
    }

    /// Presents a token, if there is somebody to present it to and it can be in a header.
    async fn presents(&self, token: &[u8]) -> Option<Result<Admission, Denial>> {
        let (_, authenticator) = self.authenticator.as_ref()?;
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok()?;
        headers.insert(header::AUTHORIZATION, value);
        let admitted = authenticator.admit(&headers, Certificate::None, Remote::Address([127, 0, 0, 1].into())).await;
        match &admitted {
            Err(Denial::Invalid(why)) => {
                // spec: RFC 6750, 3: what may be in `error_description`.
                assert!(why.bytes().all(|byte| matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte)), "{why:?}");
                // Mere words could be the refusal's own.
                let is_words = token.iter().all(|byte| byte.is_ascii_alphabetic() || b" ,-'".contains(byte));
                let is_told = !token.is_empty() && why.as_bytes().windows(token.len()).any(|part| part == token);
                assert!(is_words || !is_told, "{why}");
            }
            Err(Denial::InsufficientScope(wanted)) => assert_eq!(**wanted, *self.scopes.join(" ")),
            Err(Denial::Missing | Denial::Ambiguous(_)) => {}
            Err(Denial::KeysUnavailable) => panic!("there are keys"),
            Err(Denial::Certificate(why)) => panic!("no certificate was shown: {why}"),
            Ok(admission) => {
                assert!(admission.validity.until.is_some(), "for ever");
                let signed = token.iter().filter(|byte| **byte == b'.').count() == 2;
                assert!(signed && self.algorithms.contains(&Algorithm::EdDsa), "nobody signed that");
            }
        }
        Some(admitted)
    }

    /// Whom a token of ours is about, if it is good.
    fn expected(&self, token: &str, claims: &[u8], now: u64) -> Option<String> {
        let header = std::str::from_utf8(&self.header).ok().and_then(Members::of)?;
        let text = |name: &str| -> Option<Option<String>> {
            let mut found = header.0.iter().filter(|(_, decoded, _)| decoded.as_deref() == Some(name));
            let value = match found.next() {
                Some((_, _, value)) => serde_json::from_str(value).ok()?,
                None => None,
            };
            found.next().is_none().then_some(value)
        };
        let (algorithm, kid, kind) = (text("alg")??, text("kid")?, text("typ")?);
        let is_critical = header.0.iter().any(|(_, decoded, _)| decoded.as_deref() == Some("crit"));
        let kind = kind.map(|kind| kind.to_ascii_lowercase());
        let kind = kind.as_deref().map(|kind| kind.strip_prefix("application/").unwrap_or(kind));
        let is_ours = matches!(algorithm.as_str(), "EdDSA" | "Ed25519") && self.algorithms.contains(&Algorithm::EdDsa);
        if token.len() > 16 << 10 || !is_ours || is_critical || !matches!(kind, None | Some("at+jwt" | "jwt")) {
            return None;
        }
        let candidate = |key: &&Key| key.point.is_some() && (kid.is_none() || key.kid == kid);
        let mut candidates = self.keys.iter().filter(candidate);
        let (Some(key), None) = (candidates.next(), candidates.next()) else { return None };
        if key.point.as_deref() != Some(self.pair.public_key().as_ref()) {
            return None;
        }
        let claims: Map<String, Value> = serde_json::from_slice(claims).ok()?;
        self.subject(&claims, kind == Some("at+jwt"), now as f64)
    }

    /// Whom these claims are about, if they are what they have to be.
    fn subject(&self, claims: &Map<String, Value>, is_access_token: bool, now: f64) -> Option<String> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let many = |name: &str| match claims.get(name) {
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(one)) => vec![one.as_str()],
            _ => Vec::new(),
        };
        let ours = text("iss") == Some(ISSUER) && many("aud").iter().any(|name| [AUDIENCE, "other"].contains(name));
        let date = |name: &str| match claims.get(name) {
            None => Some(None),
            // The year 9999.
            Some(value) => value.as_f64().filter(|date| (0.0..=253_402_300_799.0).contains(date)).map(Some),
        };
        let (exp, nbf, iat) = (date("exp")??, date("nbf")?, date("iat")?);
        let in_time = now < exp + LEEWAY && [nbf, iat].into_iter().flatten().all(|from| from <= now + LEEWAY);
        let says = |name: &str, value: &str| text(name).is_some_and(|text| text.eq_ignore_ascii_case(value));
        let hashes = claims.contains_key("at_hash") || claims.contains_key("c_hash");
        let is_id_token = !is_access_token && (hashes || says("typ", "ID") || says("token_use", "id"));
        let scopes = [many("scope"), many("scp")].concat().join(" ");
        let allowed = self.scopes.iter().all(|scope| scopes.split_ascii_whitespace().any(|one| one == scope));
        if !ours || !in_time || is_id_token || !allowed {
            return None;
        }
        if let Some(claim) = claims.get("mcp_mux") {
            let config = PrincipalConfig::from_claim(claim).ok()?;
            config.env.keys().all(|name| name == "TENANT").then_some(())?;
        }
        let name = ["sub", "client_id", "azp"].into_iter().find(|name| claims.contains_key(*name))?;
        let subject = text(name).filter(|subject| (1..=2048).contains(&subject.len()))?;
        match name {
            "sub" => (!subject.starts_with("client:")).then(|| subject.to_owned()),
            _ => Some(format!("client:{subject}")),
        }
    }
}

/// A key of a set, as far as it matters for tokens of ours.
struct Key {
    kid: Option<String>,
    /// Of Ed25519; none for other kinds.
    point: Option<Vec<u8>>,
}

/// The keys of a set that can be used; none of something else.
fn usable_keys(document: &[u8]) -> Vec<Key> {
    let set = std::str::from_utf8(document).ok().and_then(Members::of);
    let mut sets = set.iter().flat_map(|set| &set.0).filter(|(_, name, _)| name.as_deref() == Some("keys"));
    let (Some((_, _, keys)), None) = (sets.next(), sets.next()) else { return Vec::new() };
    let keys: Vec<Value> = serde_json::from_str(keys).unwrap_or_default();
    if keys.len() > 256 { Vec::new() } else { keys.iter().filter_map(usable_key).collect() }
}

fn usable_key(key: &Value) -> Option<Key> {
    let key = key.as_object()?;
    // A member of another type than it has to be spoils it all.
    let text = |name: &str| match key.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(value) => value.as_str().map(Some),
    };
    let number = |name: &str| text(name).flatten().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    for name in ["use", "alg", "kid", "crv", "n", "e", "x", "y"] {
        text(name)?;
    }
    let may_verify = match key.get("key_ops") {
        None | Some(Value::Null) => true,
        Some(ops) => ops.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?.contains(&"verify"),
    };
    if text("use")?.is_some_and(|usage| usage != "sig") || !may_verify {
        return None;
    }
    let digits = |name| number(name).unwrap_or_default().iter().skip_while(|byte| **byte == 0).count();
    let is_point = |bytes| ["x", "y"].into_iter().all(|name| number(name).is_some_and(|one| one.len() == bytes));
    let algorithms: &[&str] = match (text("kty")??, text("crv")?) {
        ("RSA", _) if (256..=1024).contains(&digits("n")) && digits("e") > 0 => {
            &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
        }
        ("EC", Some("P-256")) if is_point(32) => &["ES256"],
        ("EC", Some("P-384")) if is_point(48) => &["ES384"],
        ("OKP", Some("Ed25519")) if number("x").is_some_and(|point| point.len() == 32) => &["EdDSA", "Ed25519"],
        _ => return None,
    };
    if text("alg")?.is_some_and(|algorithm| !algorithms.contains(&algorithm)) {
        return None;
    }
    let point = if algorithms.contains(&"EdDSA") { number("x") } else { None };
    Some(Key { kid: text("kid")?.map(str::to_owned), point })
}

/// Puts something in the place of each `@`: how many of the characters behind it go with it, and what.
fn fill(text: &[u8], mut value: impl FnMut(u8) -> (usize, String)) -> Vec<u8> {
    let mut pieces = text.split(|byte| *byte == b'@');
    let mut filled = pieces.next().unwrap_or_default().to_vec();
    for piece in pieces {
        let (taken, value) = value(piece.first().copied().unwrap_or_default());
        filled.extend_from_slice(value.as_bytes());
        filled.extend_from_slice(piece.get(taken..).unwrap_or_default());
    }
    filled
}
