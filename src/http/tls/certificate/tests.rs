use rcgen::string::Ia5String;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, KeyPair, SanType};

use super::*;
use crate::http::tls::testing::named;

/// The name of a certificate with this subject and these alternative names.
fn name(subject: DistinguishedName, alternatives: Vec<SanType>) -> Option<String> {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name = subject;
    params.subject_alt_names = alternatives;
    name_of(&params)
}

fn name_of(params: &CertificateParams) -> Option<String> {
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    super::subject(certificate.der()).map(|name| name.to_string())
}

fn subject(parts: impl IntoIterator<Item = (DnType, DnValue)>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    for (kind, value) in parts {
        subject.push(kind, value);
    }
    subject
}

fn common_name(value: impl Into<DnValue>) -> DistinguishedName {
    subject([(DnType::CommonName, value.into())])
}

fn other(oid: &[u64]) -> DnType {
    DnType::CustomDnType(oid.to_vec())
}

fn ia5(text: &str) -> Ia5String {
    text.try_into().unwrap()
}

// spec: RFC 4514, 2.1
#[test]
fn a_name_is_the_whole_subject_the_last_part_first() {
    let text = |text: &str| DnValue::Utf8String(text.to_owned());
    let whole = subject([
        (DnType::CountryName, DnValue::PrintableString("DE".try_into().unwrap())),
        (DnType::StateOrProvinceName, text("Bayern")),
        (DnType::LocalityName, text("München")),
        (DnType::OrganizationName, text("Example, Inc.")),
        (DnType::OrganizationalUnitName, text("R+D")),
        (DnType::CommonName, text("alice")),
        (other(&[0, 9, 2342, 19_200_300, 100, 1, 1]), text("a1")),
        (other(&[0, 9, 2342, 19_200_300, 100, 1, 25]), DnValue::Ia5String(ia5("example"))),
        (other(&[1, 2, 840, 113_549, 1, 9, 1]), DnValue::Ia5String(ia5("a@example.com"))),
        (other(&[2, 5, 4, 5]), text("7")),
    ]);
    let expected = r"serialNumber=7,emailAddress=a@example.com,DC=example,UID=a1,CN=alice,OU=R\+D,O=Example\, Inc.,L=München,ST=Bayern,C=DE";
    assert_eq!(name(whole, vec![]).as_deref(), Some(expected));
}

// spec: RFC 4514, 2.4
#[test]
fn what_could_end_a_value_or_hide_in_it_is_escaped() {
    for (value, expected) in [
        ("plain", "CN=plain"),
        ("", "CN="),
        ("#1", r"CN=\#1"),
        ("a#", "CN=a#"),
        (" a b ", r"CN=\ a b\ "),
        (" ", r"CN=\ "),
        (r#"a,b+c"d\e<f>g;h=i"#, r#"CN=a\,b\+c\"d\\e\<f\>g\;h=i"#),
        ("bob,CN=alice", r"CN=bob\,CN=alice"),
        ("a\0b\n\u{7f}", r"CN=a\00b\0A\7F"),
        ("Лев 🦁", "CN=Лев 🦁"),
    ] {
        assert_eq!(name(common_name(value), vec![]).as_deref(), Some(expected));
    }
}

#[test]
fn the_kind_of_string_makes_no_difference() {
    for value in [
        DnValue::Utf8String("ab".to_owned()),
        DnValue::PrintableString("ab".try_into().unwrap()),
        DnValue::Ia5String(ia5("ab")),
        DnValue::TeletexString("ab".try_into().unwrap()),
        DnValue::BmpString("ab".try_into().unwrap()),
    ] {
        assert_eq!(name(common_name(value), vec![]).as_deref(), Some("CN=ab"));
    }
}

#[test]
fn what_has_no_name_is_its_der() {
    let unknown = subject([(other(&[2, 5, 4, 97]), DnValue::Utf8String("a".to_owned()))]);
    assert_eq!(name(unknown, vec![]).as_deref(), Some("2.5.4.97=#0C0161"));
}

#[test]
fn without_a_subject_it_is_the_first_uri_or_else_the_first_dns_name() {
    let (dns, uri) = (|name: &str| SanType::DnsName(ia5(name)), |uri: &str| SanType::URI(ia5(uri)));
    let alternatives = vec![dns("a.example"), dns("b.example"), uri("spiffe://example/a"), uri("spiffe://example/b")];
    let none = DistinguishedName::new;
    assert_eq!(name(none(), alternatives.clone()).as_deref(), Some("URI:spiffe://example/a"));
    assert_eq!(name(none(), alternatives[..2].to_vec()).as_deref(), Some("DNS:a.example"));
    // A subject that says the same is another name.
    assert_eq!(name(common_name("a"), alternatives).as_deref(), Some("CN=a"));
    let mail = SanType::Rfc822Name(ia5("a@example.com"));
    let address = SanType::IpAddress([10, 0, 0, 1].into());
    for alternatives in [vec![], vec![mail, address], vec![dns("")], vec![uri("spiffe://a b")], vec![dns("a\nb")]] {
        assert_eq!(name(none(), alternatives), None);
    }
}

#[test]
fn what_cannot_be_read_or_is_too_long_has_no_name() {
    assert_eq!(super::subject(b""), None);
    assert_eq!(super::subject(b"\x30\x00"), None);
    assert!(validity(b"\x30\x00").is_none());
    // A kind of string that certificates have not had for decades.
    let universal = common_name(DnValue::UniversalString("a".try_into().unwrap()));
    assert_eq!(name(universal, vec![]), None);
    // "CN=" is part of it.
    assert_eq!(name_of(&named(&"x".repeat(1021))).map(|name| name.len()), Some(1024));
    assert_eq!(name_of(&named(&"x".repeat(1022))), None);
    let mut params = named("");
    params.distinguished_name = DistinguishedName::new();
    // Alternative names that are none.
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![4, 1, 0])];
    assert_eq!(name_of(&params), None);
}
