use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::testing::{Authority, Files, Identity};
use super::*;

/// What is wrong with files, in the words of the program.
fn refusal(config: TlsConfig) -> (String, String) {
    let error = StartupError::from(Tls::load(config).unwrap_err());
    assert_eq!(error.exit_code(), 78);
    let cause = std::error::Error::source(&error).unwrap();
    let causes = std::iter::successors(Some(cause), |cause| cause.source());
    (error.to_string(), causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

#[test]
fn every_file_that_cannot_be_used_is_named_with_the_reason() {
    let authority = Authority::new();
    let good = authority.server(1);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let secret = "-----BEGIN PRIVATE KEY-----\nsecret!\n-----END PRIVATE KEY-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cut = good.cert.split_once("-----END").unwrap().0;
    let old = "-----BEGIN CERTIFICATE-----\n\
        MIG+MHICAQEwBQYDK2VwMAwxCjAIBgNVBAMMAWEwHhcNMjYxMTIxMTk1NDAxWhcN\n\
        MzYxMTE4MTk1NDAxWjAMMQowCAYDVQQDDAFhMCowBQYDK2VwAyEAuV7nhz1Tx+XF\n\
        S+turDUnA26LndkSs7Wl5vBEiY36sXgwBQYDK2VwA0EAqSG8llAzpRuy3yWRnahj\n\
        XD+EQuK43wpn2NjOlYm6wEFKFo86iwVQm4nxUzwXmBCHaymsUYM7QMPgjUJwaGfX\n\
        BA==\n\
        -----END CERTIFICATE-----\n";
    let large = "x".repeat(4 * 1024 * 1024 + 1);
    let other = authority.server(2);
    let other_first = format!("{}{}", other.cert, good.cert);
    let broken_second = format!("{}{no_certificate}", good.cert);
    for (file, content, reason) in [
        ("cert.pem", "", "it holds no certificate in PEM"),
        ("cert.pem", "hello", "it holds no certificate in PEM"),
        ("cert.pem", good.key.as_str(), "it holds no certificate in PEM"),
        ("cert.pem", cut, "it is damaged"),
        ("cert.pem", &large, "it is larger than 4194304 bytes"),
        ("cert.pem", no_certificate, "a certificate in it cannot be used: invalid peer certificate: BadEncoding"),
        ("cert.pem", old, "a certificate in it is of X.509 version 1 or 2; it must be version 3"),
        ("cert.pem", &broken_second, "a certificate in it cannot be used"),
        ("key.pem", &good.cert, "it holds no private key in PEM"),
        ("key.pem", encrypted, "its private key is encrypted: decrypt it with `openssl pkey"),
        ("key.pem", secret, "it is damaged"),
        ("key.pem", no_key, "its private key cannot be used: it must be RSA"),
        ("ca.pem", "", "it holds no certificate in PEM"),
        ("ca.pem", no_certificate, "a certificate in it cannot be used"),
    ] {
        let files = Files::of(&good);
        let config = files.config_with(&authority, ClientAuth::Required);
        let path = files.write(file, content);
        let flag = match file {
            "cert.pem" => "--tls-cert",
            "key.pem" => "--tls-key",
            _ => "--tls-client-ca",
        };
        let (text, cause) = refusal(config);
        assert_eq!(text, format!("{flag} {} cannot be used", path.display()));
        assert!(cause.starts_with(reason) && !cause.contains("secret"), "{file}: {cause}");
    }
    for (file, content) in [("key.pem", &other.key), ("cert.pem", &other_first)] {
        let files = Files::of(&good);
        files.write(file, content);
        let (text, cause) = refusal(files.config());
        assert_eq!(text, format!("--tls-key {} cannot be used", files.path("key.pem").display()));
        let cert = files.path("cert.pem").display().to_string();
        assert_eq!(cause, format!("its private key does not belong to the first certificate of {cert} (--tls-cert)"));
    }
}

#[test]
fn a_file_that_is_not_there_is_named_with_what_the_system_said() {
    let files = Files::of(&Authority::new().server(1));
    let config = TlsConfig { key: files.path("nowhere.pem"), ..files.config() };
    let (text, cause) = refusal(config);
    assert!(text.starts_with("--tls-key") && text.contains("nowhere.pem"), "{text}");
    assert!(cause.starts_with("it cannot be read: No such file or directory"), "{cause}");
}

#[test]
fn keys_of_every_usual_kind_are_taken() {
    let authority = Authority::new();
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let cert = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let identity = Identity { cert: cert.pem(), key: key.serialize_pem() };
        // A parameter block before the key, and a chain.
        let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
        let identity = Identity {
            cert: format!("Bag Attributes\n{}{}", identity.cert, authority.pem()),
            key: format!("{parameters}{}", identity.key),
        };
        Tls::load(Files::of(&identity).config()).unwrap();
    }
}

#[test]
fn an_expired_certificate_is_used_all_the_same_and_its_dates_are_told() {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2001, 2, 3);
    params.not_after = date_time_ymd(2051, 3, 4);
    let authority = Authority::new();
    let files = Files::of(&authority.issue(&params));
    let chain = files::certificates(&files.path("cert.pem")).unwrap();
    let Validity { from, until } = certificate::validity(&chain[0]).unwrap();
    assert_eq!((from.to_string(), until.to_string()), ("2001-02-03T00:00:00Z".into(), "2051-03-04T00:00:00Z".into()));
    assert!(from.at < SystemTime::now() && until.at > SystemTime::now());
    params.not_after = date_time_ymd(2002, 2, 3);
    files.replace(&authority.issue(&params));
    Tls::load(files.config()).unwrap();
}

#[test]
fn a_key_that_others_can_get_at_is_noticed() {
    let files = Files::of(&Authority::new().server(1));
    let key = files.path("key.pem");
    for (mode, open) in [(0o600, false), (0o640, false), (0o660, false), (0o644, true), (0o602, true)] {
        set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        assert_eq!(files::is_open_to_others(&key), open, "{mode:o}");
    }
}

#[test]
fn a_reload_takes_what_is_there_and_a_broken_one_changes_nothing() {
    let authority = Authority::new();
    let files = Files::of(&authority.server(1));
    let tls = Tls::load(files.config()).unwrap();
    let first = tls.config();
    let next = authority.server(2);
    // One file of two is replaced: the moment between is no good.
    files.write("cert.pem", &next.cert);
    assert!(matches!(tls.reload().unwrap_err().fault, Fault::KeyOfAnother { .. }));
    assert!(Arc::ptr_eq(&tls.config(), &first));
    files.write("key.pem", &next.key);
    tls.reload().unwrap();
    let second = tls.config();
    assert!(!Arc::ptr_eq(&second, &first));
    files.write("key.pem", "nothing");
    assert!(matches!(tls.reload().unwrap_err().fault, Fault::NoKey));
    assert!(Arc::ptr_eq(&tls.config(), &second));
}

#[test]
fn who_is_known_by_a_certificate_resumes_no_session() {
    let authority = Authority::new();
    let files = Files::of(&authority.server(1));
    let open = Tls::load(files.config()).unwrap().config();
    assert!(open.ticketer.enabled());
    for auth in [ClientAuth::Required, ClientAuth::Optional] {
        let strict = Tls::load(files.config_with(&authority, auth)).unwrap().config();
        assert!(!strict.ticketer.enabled() && !strict.session_storage.can_cache());
        assert_eq!((strict.send_tls13_tickets, strict.max_early_data_size), (0, 0));
    }
}
