//! Whom a client acts for.

use std::fmt;
use std::sync::Arc;

/// Who somebody is. Without authentication, everybody is the same anonymous one. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal(Option<Arc<str>>);

/// How a principal was established. The same name from two sources is two principals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A token of `--auth-token-file`; the name is the one before the colon.
    Token,
    /// A JWT; the name is its subject.
    Jwt,
    /// A client certificate; the name is its subject.
    Certificate,
}

impl Source {
    /// As in a principal's label, and in the keys of the configuration file's `principals`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Jwt => "jwt",
            Self::Certificate => "cert",
        }
    }
}

impl Principal {
    /// Nobody in particular.
    pub const fn anonymous() -> Self {
        Self(None)
    }

    /// Somebody of that name.
    pub fn new(source: Source, name: &str) -> Self {
        Self(Some(format!("{}:{name}", source.as_str()).into()))
    }

    #[cfg(test)]
    pub(crate) fn named(name: &str) -> Self {
        Self::new(Source::Token, name)
    }

    /// What tells it from others, as `token:alice`; nothing for nobody in particular.
    pub fn label(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// For the log: the label, without anything a terminal would obey, cut short.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let label = self.label().unwrap_or("anonymous");
        let harmless = label.chars().filter(|char| !char.is_control()).take(LOGGED_CHARS_MAX);
        harmless.into_iter().try_for_each(|char| write!(f, "{char}"))
    }
}

/// A subject may be as long as whoever issues it likes.
const LOGGED_CHARS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_from_two_sources_is_two_principals() {
        let all = [Source::Token, Source::Jwt, Source::Certificate].map(|source| Principal::new(source, "alice"));
        let [token, jwt, certificate] = &all;
        assert!(token != jwt && jwt != certificate && token != certificate);
        assert_eq!(token.label(), Some("token:alice"));
        assert!(!all.contains(&Principal::anonymous()));
    }

    #[test]
    fn every_label_can_be_a_key_of_the_configuration_file() {
        use crate::cli::Cli;
        use crate::config::Config;

        let all = [Source::Token, Source::Jwt, Source::Certificate].map(|source| Principal::new(source, "alice"));
        let file = tempfile::NamedTempFile::new().unwrap();
        let keys = all.each_ref().map(|principal| format!("'{principal}'.rate = 1"));
        std::fs::write(file.path(), format!("[principals]\nanonymous.rate = 1\n{}", keys.join("\n"))).unwrap();
        let args = ["mcp-mux".into(), "--config".into(), file.path().into(), "--".into(), "server".into()];
        let principals = Config::load(Cli::read(args, |_| None).unwrap()).unwrap().principals;
        for principal in all.iter().chain([&Principal::anonymous()]) {
            assert!(principals.of(principal.label()).is_some(), "{principal}");
        }
    }

    #[test]
    fn a_name_cannot_write_to_the_terminal_of_who_reads_the_log() {
        let name = format!("a\u{1b}[2J\n{}", "x".repeat(1000));
        let shown = Principal::new(Source::Jwt, &name).to_string();
        assert!(shown.starts_with("jwt:a[2Jxx") && shown.chars().count() == 128, "{shown:?}");
        assert_eq!(Principal::anonymous().to_string(), "anonymous");
    }
}
