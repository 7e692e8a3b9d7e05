//! An issuer's public keys: a JWK set read, the one key that a token may be signed with, and whether it was. Pure.
//!
//! Invariant: a key is used for nothing but what its type, its curve, `use`, `key_ops` and `alg` say it is for, so that an
//! RSA key is never a shared secret (RFC 8725, 3.1). Spec: RFC 7517, RFC 7518 (6), RFC 8037 (2).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use serde::Deserialize;
use serde_json::Value;

use super::object;
use crate::config::jwt::Algorithm;

/// The keys of a JWK set that can be used here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    unusable: usize,
}

/// A key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    kid: Option<String>,
    /// The one algorithm that it is for, where it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Debug, PartialEq, Eq)]
enum Material {
    /// Modulus and exponent.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    /// An uncompressed point.
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// Why there is no key for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// None has its name, or none is for its algorithm: there may be a newer set.
    Unknown,
    /// One has its name, and is for another algorithm.
    Misfit,
    /// Several could be meant.
    Several,
}

/// Why a document is not taken for a set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotKeys {
    #[error("not a JWK set (a JSON object with an array of objects `keys`)")]
    Format,
    #[error("more than {KEYS_MAX} keys")]
    TooMany,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWK set. Keys that cannot be used are left out (RFC 7517, 5), also all of them.
    ///
    /// # Errors
    /// It is none, or one of too many keys.
    pub(super) fn parse(document: &[u8]) -> Result<Self, NotKeys> {
        let Document { keys } = object(document).ok_or(NotKeys::Format)?;
        if keys.len() > KEYS_MAX {
            return Err(NotKeys::TooMany);
        }
        let given = keys.len();
        let keys: Vec<_> = keys.into_iter().filter_map(Key::read).collect();
        Ok(Self { unusable: given - keys.len(), keys })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// How many were left out.
    pub(super) const fn unusable(&self) -> usize {
        self.unusable
    }

    /// The key that a token with this header is signed with. There is one at most: none is tried in vain.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, NoKey> {
        let named = || self.keys.iter().filter(|key| kid.is_none() || key.kid.as_deref() == kid);
        let mut fitting = named().filter(|key| key.fits(algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(NoKey::Several),
            (None, _) if kid.is_some() && named().next().is_some() => Err(NoKey::Misfit),
            (None, _) => Err(NoKey::Unknown),
        }
    }
}

impl Key {
    /// None for a key that is not for signatures, or that no accepted algorithm has.
    fn read(jwk: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(Some(jwk).filter(Value::is_object)?).ok()?;
        let for_signatures = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !for_signatures {
            return None;
        }
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (number(jwk.n.as_deref()?)?, number(jwk.e.as_deref()?)?);
                if !RSA_BYTES.contains(&n.len()) {
                    return None;
                }
                Material::Rsa { n, e }
            }
            ("EC", Some("P-256")) => Material::P256(point(&jwk, 32)?),
            ("EC", Some("P-384")) => Material::P384(point(&jwk, 48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(coordinate(jwk.x.as_deref(), 32)?),
            _ => return None,
        };
        // One that is for an algorithm which is not known here is for none that is.
        let algorithm = match jwk.alg {
            Some(name) => Some(Algorithm::named(&name)?),
            None => None,
        };
        let key = Self { kid: jwk.kid, algorithm, material };
        let useful = key.algorithm.is_none_or(|algorithm| key.material.is_for(algorithm));
        useful.then_some(key)
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|own| own == algorithm) && self.material.is_for(algorithm)
    }

    /// Whether this key made this signature with this algorithm.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let rsa = |n: &[u8], e: &[u8], parameters: &'static RsaParameters| {
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
        };
        let curve = |point: &[u8], parameters: &'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(parameters, point).verify(message, signature).is_ok()
        };
        match (&self.material, algorithm) {
            (Material::Rsa { n, e }, Algorithm::Rs256) => rsa(n, e, &signature::RSA_PKCS1_2048_8192_SHA256),
            (Material::Rsa { n, e }, Algorithm::Rs384) => rsa(n, e, &signature::RSA_PKCS1_2048_8192_SHA384),
            (Material::Rsa { n, e }, Algorithm::Rs512) => rsa(n, e, &signature::RSA_PKCS1_2048_8192_SHA512),
            (Material::Rsa { n, e }, Algorithm::Ps256) => rsa(n, e, &signature::RSA_PSS_2048_8192_SHA256),
            (Material::Rsa { n, e }, Algorithm::Ps384) => rsa(n, e, &signature::RSA_PSS_2048_8192_SHA384),
            (Material::Rsa { n, e }, Algorithm::Ps512) => rsa(n, e, &signature::RSA_PSS_2048_8192_SHA512),
            (Material::P256(key), Algorithm::Es256) => curve(key, &signature::ECDSA_P256_SHA256_FIXED),
            (Material::P384(key), Algorithm::Es384) => curve(key, &signature::ECDSA_P384_SHA384_FIXED),
            (Material::Ed25519(key), Algorithm::EdDsa) => curve(key, &signature::ED25519),
            (Material::Rsa { .. } | Material::P256(_) | Material::P384(_) | Material::Ed25519(_), _) => false,
        }
    }
}

impl Material {
    const fn is_for(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => matches!(self, Self::Rsa { .. }),
            Algorithm::Es256 => matches!(self, Self::P256(_)),
            Algorithm::Es384 => matches!(self, Self::P384(_)),
            Algorithm::EdDsa => matches!(self, Self::Ed25519(_)),
        }
    }
}

/// A big-endian number, without the zeros before it that some write.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).filter(|number| !number.is_empty()).map(<[u8]>::to_vec)
}

/// RFC 7518, 6.2.1.2: of full length.
fn coordinate(text: Option<&str>, bytes: usize) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text?).ok().filter(|coordinate| coordinate.len() == bytes)
}

fn point(jwk: &Jwk, bytes: usize) -> Option<Vec<u8>> {
    let (x, y) = (coordinate(jwk.x.as_deref(), bytes)?, coordinate(jwk.y.as_deref(), bytes)?);
    Some([&[UNCOMPRESSED][..], &x, &y].concat())
}

/// The first byte of a point of which both coordinates are given (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 4;
/// The modulus: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// Far more than an issuer needs while it changes them.
const KEYS_MAX: usize = 256;

#[cfg(test)]
mod tests;
