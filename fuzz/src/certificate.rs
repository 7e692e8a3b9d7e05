//! What is read of certificates: the name that a client's one gives, and the files that TLS is set up from.
//!
//! A name says exactly what the subject does, and stands for no other subject; a file is used or refused, and the refusal
//! says which one it is and not a word of what is in it. An input that begins with `0`, as DER does, is a whole certificate.
//! Any other is lines:
//!
//! | line | |
//! |---|---|
//! | `n` attribute type value | the next part of a client certificate's subject; `+`: more of the same part |
//! | `u` text, `d` text | a URI, a DNS name that it also has |
//! | `c` text, `k` text, `a` text | a line of the file of the certificate, of its key, of the authorities |

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs, iter, process};

use mcp_mux::config::{ClientAuth, ClientCaConfig, TlsConfig};
use mcp_mux::http::peer::ClientCertificate;
use mcp_mux::http::tls::{Tls, client_certificate};

use super::input::lines;

/// The input is a certificate, or a list of what is in one and in files.
pub fn run(data: &[u8]) {
    if data.starts_with(b"0") {
        return drop(name(data));
    }
    let mut subject: Vec<Vec<Attribute>> = Vec::new();
    let mut alternatives = Vec::new();
    let mut files = [const { Vec::new() }; 3];
    for mut line in lines(data, 256) {
        match line.next() {
            how @ (b'n' | b'+') => {
                let attribute =
                    Attribute { kind: line.pick(&KINDS), tag: line.pick(&TAGS), value: line.rest().to_vec() };
                match subject.last_mut().filter(|_| how == b'+') {
                    Some(part) => part.push(attribute),
                    None => subject.push(vec![attribute]),
                }
            }
            b'u' => alternatives.push((URI, line.rest())),
            b'd' => alternatives.push((DNS, line.rest())),
            b'c' => files[0].extend_from_slice(&[line.rest(), b"\n"].concat()),
            b'k' => files[1].extend_from_slice(&[line.rest(), b"\n"].concat()),
            b'a' => files[2].extend_from_slice(&[line.rest(), b"\n"].concat()),
            _ => {}
        }
    }
    if !subject.is_empty() || !alternatives.is_empty() {
        check_name(&mut subject, &alternatives);
    }
    if files.iter().any(|file| !file.is_empty()) {
        check_files(&files);
    }
}

// --- names ---

/// One attribute of a subject.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Attribute {
    kind: Kind,
    tag: u8,
    value: Vec<u8>,
}

/// An object identifier in DER and as text, and its name, if it has one.
type Kind = (&'static [u8], &'static str, Option<&'static str>);

const KINDS: [Kind; 6] = [
    (b"\x55\x04\x03", "2.5.4.3", Some("CN")),
    (b"\x55\x04\x0a", "2.5.4.10", Some("O")),
    (b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19", "0.9.2342.19200300.100.1.25", Some("DC")),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01", "1.2.840.113549.1.9.1", Some("emailAddress")),
    (b"\x55\x04\x61", "2.5.4.97", None),
    (b"\x2b\x06\x01\x04\x01\x82\x37\x14\x02\x03", "1.3.6.1.4.1.311.20.2.3", None),
];
const UTF8: u8 = 0x0c;
const BMP: u8 = 0x1e;
/// Those of strings first, of which the last one is not read as text.
const TAGS: [u8; 9] = [UTF8, 0x13, 0x16, 0x14, 0x12, BMP, 0x15, 0x02, 0x04];
const URI: u8 = 0x86;
const DNS: u8 = 0x82;

/// The name that a certificate gives, which is always fit to be shown.
fn name(der: &[u8]) -> Option<String> {
    match client_certificate(der) {
        ClientCertificate::Named { subject: name, until: _ } => {
            assert!(!name.is_empty() && name.len() <= 1024, "{name:?}");
            assert!(!name.contains(|char: char| char.is_ascii_control()), "{name:?}");
            Some(name.to_string())
        }
        ClientCertificate::Unnamed { .. } => None,
        ClientCertificate::None => panic!("there is one"),
    }
}

/// What a name says of one attribute.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    kind: String,
    value: Value,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Text(String),
    /// In DER.
    Other(Vec<u8>),
}

fn check_name(subject: &mut [Vec<Attribute>], alternatives: &[(u8, &[u8])]) {
    // A set in DER is in order.
    subject.iter_mut().for_each(|part| part.sort_by_key(Attribute::der));
    let name = name(&certificate(subject, alternatives));
    if !subject.is_empty() {
        let expected: Vec<Vec<Said>> = subject.iter().rev().map(|part| said(part)).collect();
        let Some(name) = name else {
            // What is the same twice is no set, and a long name is none.
            let several = subject.iter().any(|part| part.len() > 1);
            let length: usize = subject.iter().flatten().map(|attribute| 32 + 3 * attribute.value.len()).sum();
            return assert!(several || length > 1024, "without a name: {expected:?}");
        };
        return assert_eq!(read(&name), expected, "{name:?}");
    }
    let printable = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    let first = |kind| alternatives.iter().find(|(other, text)| *other == kind && printable(text));
    let expected = match (first(URI), first(DNS)) {
        _ if !alternatives.iter().all(|(_, text)| text.is_ascii()) => None,
        (Some((_, uri)), _) => Some(format!("URI:{}", String::from_utf8_lossy(uri))),
        (None, Some((_, dns))) => Some(format!("DNS:{}", String::from_utf8_lossy(dns))),
        (None, None) => None,
    };
    assert_eq!(name, expected.filter(|name| name.len() <= 1024));
}

/// What a name has to say of one part, in any order.
fn said(part: &[Attribute]) -> Vec<Said> {
    let mut all: Vec<_> = part.iter().map(Attribute::said).collect();
    all.sort();
    all
}

impl Attribute {
    fn said(&self) -> Said {
        let text = match self.tag {
            UTF8 => String::from_utf8(self.value.clone()).ok(),
            0x12..=0x14 | 0x16 => String::from_utf8(self.value.clone()).ok().filter(|text| text.is_ascii()),
            BMP if self.value.len().is_multiple_of(2) => {
                let units: Vec<_> = self.value.chunks(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]])).collect();
                String::from_utf16(&units).ok()
            }
            _ => None,
        };
        let (_, oid, name) = self.kind;
        match (name, text) {
            (Some(name), Some(text)) => Said { kind: name.to_owned(), value: Value::Text(text) },
            _ => Said { kind: oid.to_owned(), value: Value::Other(tlv(self.tag, &[&self.value])) },
        }
    }

    fn der(&self) -> Vec<u8> {
        tlv(SEQUENCE, &[&tlv(0x06, &[self.kind.0]), &tlv(self.tag, &[&self.value])])
    }
}

/// Reads a name as RFC 4514 has it; the attributes of a part in any order.
fn read(name: &str) -> Vec<Vec<Said>> {
    let mut parts = vec![Vec::new()];
    let mut rest = name;
    loop {
        let (kind, after) = rest.split_once('=').unwrap_or_else(|| panic!("no value in {name:?}"));
        let mut chars = after.char_indices().peekable();
        let value = if after.starts_with('#') {
            let end = after.find([',', '+']).unwrap_or(after.len());
            while chars.next_if(|(at, _)| *at < end).is_some() {}
            Value::Other(hex(&after[1..end]))
        } else {
            let mut text = String::new();
            while let Some((_, char)) = chars.next_if(|(_, char)| !matches!(char, ',' | '+')) {
                assert!(!r#""<>;"#.contains(char), "{char:?} in {name:?}");
                let Some((_, next)) = chars.next_if(|_| char == '\\') else {
                    text.push(char);
                    continue;
                };
                let second = chars.next_if(|(_, second)| next.is_ascii_hexdigit() && second.is_ascii_hexdigit());
                let pair = second.map(|(_, second)| hex(&format!("{next}{second}")));
                text.push(pair.map_or(next, |pair| char::from(pair[0])));
            }
            Value::Text(text)
        };
        if let Some(part) = parts.last_mut() {
            part.push(Said { kind: kind.to_owned(), value });
            part.sort();
        }
        match chars.next() {
            Some((at, ',')) => {
                parts.push(Vec::new());
                rest = &after[at + 1..];
            }
            Some((at, _)) => rest = &after[at + 1..],
            None => return parts,
        }
    }
}

fn hex(digits: &str) -> Vec<u8> {
    let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap_or_else(|error| panic!("{pair}: {error}"))).collect()
}

const SEQUENCE: u8 = 0x30;

fn certificate(subject: &[Vec<Attribute>], alternatives: &[(u8, &[u8])]) -> Vec<u8> {
    let part = |part: &Vec<Attribute>| tlv(0x31, &[&part.iter().flat_map(Attribute::der).collect::<Vec<_>>()]);
    let parts: Vec<_> = subject.iter().map(part).collect();
    let names: Vec<_> = alternatives.iter().map(|(kind, text)| tlv(*kind, &[text])).collect();
    let names = tlv(0x04, &[&tlv(SEQUENCE, &[&names.concat()])]);
    let names = tlv(SEQUENCE, &[&tlv(0x06, &[b"\x55\x1d\x11"]), &names]);
    let extensions = if alternatives.is_empty() { Vec::new() } else { tlv(0xa3, &[&tlv(SEQUENCE, &[&names])]) };
    let ed25519 = tlv(SEQUENCE, &[&tlv(0x06, &[b"\x2b\x65\x70"])]);
    let date = tlv(0x17, &[b"260101000000Z"]);
    let signed = tlv(
        SEQUENCE,
        &[
            &tlv(0xa0, &[b"\x02\x01\x02"]),
            b"\x02\x01\x01",
            &ed25519,
            &tlv(SEQUENCE, &[]),
            &tlv(SEQUENCE, &[&date, &date]),
            &tlv(SEQUENCE, &[&parts.concat()]),
            &tlv(SEQUENCE, &[&ed25519, &tlv(0x03, &[&[0; 33]])]),
            &extensions,
        ],
    );
    tlv(SEQUENCE, &[&signed, &ed25519, &tlv(0x03, &[&[0; 65]])])
}

/// A value in DER: its tag, its length, and what it consists of.
fn tlv(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let mut der = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short @ ..0x80) => der.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let digits: Vec<_> = length.into_iter().skip_while(|byte| *byte == 0).collect();
            der.push(0x80 | u8::try_from(digits.len()).unwrap_or_default());
            der.extend(digits);
        }
    }
    der.extend(content);
    der
}

// --- files ---

fn check_files([cert, key, authorities]: &[Vec<u8>; 3]) {
    let folder = env::temp_dir();
    let file = |name: &str, content: &[u8]| {
        let path = folder.join(format!("mcp-mux-fuzz-{name}-{}", process::id()));
        fs::write(&path, content).unwrap_or_else(|error| panic!("{error}"));
        path
    };
    let (cert, key, ca) = (file("cert", cert), file("key", key), file("ca", authorities));
    for auth in [None, Some(ClientAuth::Required), Some(ClientAuth::Optional)] {
        let client_ca = auth.filter(|_| !authorities.is_empty()).map(|auth| ClientCaConfig { file: ca.clone(), auth });
        let files = TlsConfig { cert: cert.clone(), key: key.clone(), client_ca };
        match Tls::load(files) {
            Ok(tls) => {
                assert_eq!(tls.config().alpn_protocols, [&b"h2"[..], b"http/1.1"]);
                assert!(tls.reload().is_ok(), "the same files");
            }
            Err(error) => {
                let expected: &Path = match error.flag {
                    "--tls-cert" => &cert,
                    "--tls-key" => &key,
                    flag => {
                        assert!(flag == "--tls-client-ca" && auth.is_some(), "{flag}");
                        &ca
                    }
                };
                assert_eq!(error.file, expected);
                check_silence(&error, &[&cert, &key, &ca]);
            }
        }
    }
    for file in [&cert, &key, &ca] {
        fs::remove_file(file).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Nothing of what is in the files is said. A line is taken for such if it is long enough to be nothing else.
fn check_silence(error: &(dyn Error + 'static), files: &[&PathBuf]) {
    let chain = iter::successors(Some(error), |error| (*error).source());
    let said = chain.map(|error| format!("{error} {error:?}")).collect::<Vec<_>>().join("\n");
    for file in files {
        let content = fs::read(file).unwrap_or_else(|error| panic!("{error}"));
        let text = String::from_utf8_lossy(&content);
        let lines = text.lines().filter(|line| line.len() >= 24 && !line.contains("-----"));
        lines.into_iter().for_each(|line| assert!(!said.contains(line), "{line:?} is in {said:?}"));
    }
}
