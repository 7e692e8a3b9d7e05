//! What a certificate says: whom it is for, and when it is valid. What it is worth, rustls has decided before.
//!
//! Pure. The name of a client certificate is its subject as RFC 4514 has it: the last part first, parts separated by `,`,
//! several attributes of one part by `+`. The attributes of [`ATTRIBUTES`] have a name and a text, in which `,`, `+`, `"`,
//! `\`, `<`, `>`, `;`, a blank or `#` at the beginning, and a blank at the end have a `\` before them, control characters are
//! `\` and two hexadecimal digits, and everything else stands for itself in UTF-8. Other attributes, and values that
//! are no text, are the object identifier and the DER of the value: `2.5.4.97=#0c0161`. So
//! `openssl x509 -noout -subject -nameopt RFC2253,-esc_msb` prints the same after `subject=`, save for attributes
//! that it knows and the table does not.
//!
//! A certificate with an empty subject has the name `URI:` and its first URI, or else `DNS:` and its first DNS name (subject
//! alternative names); that is how workload identities such as SPIFFE's come. Invariant: two different subjects never
//! have the same name, and no subject has that of an alternative name.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;
use x509_cert::time::Time;
use x509_cert::{Certificate, Version};

/// The name of whom a certificate is for; none where it has none that can be used.
pub(super) fn subject(certificate: &[u8]) -> Option<Arc<str>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let subject = certificate.tbs_certificate().subject();
    let name = if subject.is_empty() { alternative_name(&certificate)? } else { distinguished_name(subject)? };
    (name.len() <= NAME_BYTES_MAX).then(|| name.into())
}

/// When a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validity {
    pub(super) from: Moment,
    pub(super) until: Moment,
}

/// A moment that a certificate names; shown as `2026-01-31T00:00:00Z`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) at: SystemTime,
    time: Time,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.time.fmt(f)
    }
}

/// When a certificate is valid, if it can be told.
pub(super) fn validity(certificate: &[u8]) -> Option<Validity> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let moment = |time: Time| Some(Moment { at: UNIX_EPOCH.checked_add(time.to_unix_duration())?, time });
    Some(Validity { from: moment(validity.not_before)?, until: moment(validity.not_after)? })
}

/// Whether a certificate is of an older version of X.509.
pub(super) fn is_before_version_3(certificate: &[u8]) -> bool {
    Certificate::from_der(certificate).is_ok_and(|certificate| certificate.tbs_certificate().version() != Version::V3)
}

fn alternative_name(certificate: &Certificate) -> Option<String> {
    let (_, SubjectAltName(names)) = certificate.tbs_certificate().get_extension().ok()??;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are no names of principals")]
    let uri = |name: &GeneralName| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(format!("URI:{}", printable(uri.as_str())?)),
        _ => None,
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are no names of principals")]
    let dns = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(format!("DNS:{}", printable(name.as_str())?)),
        _ => None,
    };
    names.iter().find_map(uri).or_else(|| names.iter().find_map(dns))
}

/// Neither kind of alternative name has anything else in it, if it is one.
fn printable(name: &str) -> Option<&str> {
    Some(name).filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()))
}

fn distinguished_name(name: &Name) -> Option<String> {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for part in parts.into_iter().rev() {
        let attributes: Vec<_> = part.iter().collect();
        // No certificate should have such a part; it would leave no trace in the name.
        if attributes.is_empty() {
            return None;
        }
        for (at, attribute) in attributes.into_iter().rev().enumerate() {
            if !text.is_empty() {
                text.push(if at == 0 { ',' } else { '+' });
            }
            push_attribute(&mut text, attribute)?;
        }
    }
    Some(text)
}

fn push_attribute(text: &mut String, attribute: &AttributeTypeAndValue) -> Option<()> {
    let AttributeTypeAndValue { oid, value } = attribute;
    let name = ATTRIBUTES.iter().find(|(known, _)| known == oid).map(|(_, name)| name);
    if let (Some(name), Some(value)) = (name, as_text(value.tag(), value.value())) {
        text.push_str(name);
        text.push('=');
        push_escaped(text, &value);
    } else {
        write!(text, "{oid}=#").ok()?;
        value.to_der().ok()?.iter().try_for_each(|byte| write!(text, "{byte:02X}")).ok()?;
    }
    Some(())
}

/// A value of one of the string types.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others are no text")]
fn as_text(tag: Tag, value: &[u8]) -> Option<String> {
    match tag {
        Tag::Utf8String => std::str::from_utf8(value).ok().map(str::to_owned),
        Tag::PrintableString | Tag::Ia5String | Tag::TeletexString | Tag::NumericString => {
            std::str::from_utf8(value).ok().filter(|text| text.is_ascii()).map(str::to_owned)
        }
        Tag::BmpString => {
            let (units, rest) = value.as_chunks();
            let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            String::from_utf16(&units).ok().filter(|_| rest.is_empty())
        }
        _ => None,
    }
}

/// RFC 4514, 2.4.
fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (at, character) in value.chars().enumerate() {
        match character {
            '\0'..='\x1f' | '\x7f' => {
                // Writing to a string does not fail.
                let _ = write!(text, "\\{:02X}", u32::from(character));
            }
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => text.extend(['\\', character]),
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            character => text.push(character),
        }
    }
}

/// The attributes that have a name (RFC 4514, 3, and what else names of people have), as OpenSSL spells them.
const ATTRIBUTES: &[(ObjectIdentifier, &str)] = &[
    (ObjectIdentifier::new_unwrap("2.5.4.3"), "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.4"), "SN"),
    (ObjectIdentifier::new_unwrap("2.5.4.5"), "serialNumber"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.9"), "street"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("2.5.4.12"), "title"),
    (ObjectIdentifier::new_unwrap("2.5.4.42"), "GN"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"), "UID"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"), "DC"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1"), "emailAddress"),
];

/// A longer name is none: it stays as long as its connection does.
const NAME_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests;
