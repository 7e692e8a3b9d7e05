//! Static tokens: a file (or a variable) with one `name:token` a line.
//!
//! Of either only digests are kept, under a key of this process, so neither a memory dump nor a table made in advance gives a token
//! away. A presented token is compared with every one there is, in a time that does not depend on which one fits, or how far.
//!
//! Invariant: a broken file changes nothing; a token that is gone from the file ends what was opened with it.
//!
//! Spec: RFC 6750, 2.1 (`Authorization: Bearer`).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use tokio_util::sync::CancellationToken;

use super::{Principal, Source};
use crate::config::secret::Secret;

/// The tokens that are good for something.
pub struct Tokens {
    file: Option<PathBuf>,
    /// Those of the environment, which stay what they are.
    fixed: Vec<Grant>,
    /// Makes digests useless elsewhere.
    key: Key,
    entries: RwLock<Arc<[Entry]>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A line of the file or of the environment.
#[derive(Clone)]
struct Grant {
    name: String,
    digest: Digest,
    /// The token is short enough to be guessed.
    weak: bool,
}

type Digest = [u8; 32];

/// What digests are made with.
struct Key([u8; 16]);

impl Key {
    fn digest(&self, token: impl AsRef<[u8]>) -> Digest {
        Sha256::new().chain_update(self.0).chain_update(token).finalize().into()
    }
}

struct Entry {
    digest: Digest,
    holder: Holder,
}

/// Who presented a token.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Whose it is.
    pub principal: Principal,
    /// Cancelled when the token is taken away.
    pub revoked: CancellationToken,
}

/// Why there are no tokens to be had.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file cannot be read.
    #[error("cannot be read")]
    Unreadable(#[source] io::Error),
    /// The file is larger than it may be.
    #[error("larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    /// A line is not what it should be.
    #[error("line {line}: {wrong}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it; never the line itself.
        wrong: &'static str,
    },
    /// There is none in it.
    #[error("holds no token; write one `name:token` a line")]
    Empty,
}

/// How many tokens there are, and what an operator should know of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// All of them.
    pub tokens: usize,
    /// Those short enough to be guessed.
    pub weak: usize,
    /// Whether everybody on the machine can read the file.
    pub exposed: bool,
}

impl Tokens {
    /// Those of the file, and those that are given as text. One of the two must be there for anybody to enter.
    ///
    /// # Errors
    /// The file cannot be used, a line is no `name:token`, or there is no token at all.
    pub fn new(file: Option<PathBuf>, fixed: Option<Secret>) -> Result<(Self, Census), TokensError> {
        let key = Key(uuid::Uuid::new_v4().into_bytes());
        let mut grants = Vec::new();
        if let Some(text) = fixed {
            parse(&text, &key, &mut grants)?;
        }
        let tokens = Self { file, fixed: grants, key, entries: RwLock::default() };
        let census = tokens.reload()?;
        Ok((tokens, census))
    }

    /// The file.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    fn has_any(&self) -> bool {
        !self.entries.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Reads the file again. Who holds a token that is still there notices nothing.
    ///
    /// # Errors
    /// As [`Tokens::new`]; then everything stays as it was.
    pub fn reload(&self) -> Result<Census, TokensError> {
        let mut grants = self.fixed.clone();
        if let Some(file) = &self.file {
            let text = read(file)?;
            parse(&text, &self.key, &mut grants)?;
            // One that somebody is just writing; who wants to take all tokens away leaves a comment in it.
            if text.expose().trim().is_empty() && self.has_any() {
                return Err(TokensError::Empty);
            }
        }
        let census = Census {
            tokens: grants.len(),
            exposed: self.file.as_deref().is_some_and(is_open_to_others),
            weak: grants.iter().filter(|grant| grant.weak).count(),
        };
        if grants.is_empty() {
            return Err(TokensError::Empty);
        }
        // Made beside the table that is in use: nobody waits for it.
        let entries = Arc::clone(&self.entries.read().unwrap_or_else(PoisonError::into_inner));
        let before: HashMap<(Digest, &Principal), &Holder> =
            entries.iter().map(|entry| ((entry.digest, &entry.holder.principal), &entry.holder)).collect();
        let after: Arc<[Entry]> = grants
            .into_iter()
            .map(|Grant { name, digest, weak: _ }| {
                let principal = Principal::new(Source::Token, &name);
                let holder = before.get(&(digest, &principal)).map(|holder| (*holder).clone());
                let holder = holder.unwrap_or_else(|| Holder { principal, revoked: CancellationToken::new() });
                Entry { digest, holder }
            })
            .collect();
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&after);
        let stays: HashSet<_> = after.iter().map(|entry| (entry.digest, &entry.holder.principal)).collect();
        for entry in entries.iter().filter(|entry| !stays.contains(&(entry.digest, &entry.holder.principal))) {
            entry.holder.revoked.cancel();
        }
        Ok(census)
    }

    /// Who holds this token, if it is one.
    pub fn holder(&self, token: &[u8]) -> Option<Holder> {
        let digest = self.key.digest(token);
        let entries = Arc::clone(&self.entries.read().unwrap_or_else(PoisonError::into_inner));
        let (mut found, mut at) = (Choice::from(0), 0_u64);
        for (index, entry) in (0_u64..).zip(entries.iter()) {
            let same = entry.digest.ct_eq(&digest);
            at.conditional_assign(&index, same);
            found |= same;
        }
        let entry = entries.get(usize::try_from(at).ok()?).filter(|_| bool::from(found))?;
        Some(entry.holder.clone())
    }
}

/// Whether users that are neither the file's owner nor of its group may read it.
fn is_open_to_others(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

fn read(file: &Path) -> Result<Secret, TokensError> {
    let file = std::fs::File::open(file).map_err(TokensError::Unreadable)?;
    let length = file.metadata().map_or(0, |metadata| metadata.len()).min(FILE_BYTES_MAX);
    // All at once: what is outgrown is not wiped.
    let mut text = String::with_capacity(usize::try_from(length).unwrap_or_default() + 1);
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(TokensError::Unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX { Err(TokensError::TooLarge) } else { Ok(Secret::new(text)) }
}

/// Adds what every line says to `found`. Blank lines, and those that start with `#`, say nothing.
fn parse(text: &Secret, key: &Key, found: &mut Vec<Grant>) -> Result<(), TokensError> {
    let mut holders: HashMap<Digest, String> = found.iter().map(|grant| (grant.digest, grant.name.clone())).collect();
    for (line, content) in (1..).zip(text.expose().trim_start_matches('\u{feff}').lines()) {
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let (name, token) = read_line(content).map_err(|wrong| TokensError::Line { line, wrong })?;
        let digest = key.digest(token);
        match holders.insert(digest, name.to_owned()) {
            Some(holder) if holder == name => {}
            Some(_) => return Err(TokensError::Line { line, wrong: "this token has another name already" }),
            None => found.push(Grant { name: name.to_owned(), digest, weak: token.len() < WEAK_TOKEN_BYTES }),
        }
        if found.len() > TOKENS_MAX {
            return Err(TokensError::Line { line, wrong: "more than 10000 tokens: use JWTs for so many" });
        }
    }
    Ok(())
}

fn read_line(content: &str) -> Result<(&str, &str), &'static str> {
    let (name, token) = content.split_once(':').ok_or("must be `name:token`")?;
    let (name, token) = (name.trim(), token.trim());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._@+/".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        return Err("the name must be 1 to 128 letters, digits or any of - . _ @ + /");
    }
    if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the token must be 1 to 4096 visible ASCII characters without blanks");
    }
    Ok((name, token))
}

const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Each request is compared with all of them.
const TOKENS_MAX: usize = 10_000;
const NAME_BYTES_MAX: usize = 128;
const TOKEN_BYTES_MAX: usize = 4096;
/// Shorter ones can be guessed, or were chosen by a person.
const WEAK_TOKEN_BYTES: usize = 20;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(text: &str) -> Result<Tokens, TokensError> {
        Tokens::new(None, Some(Secret::new(text.to_owned()))).map(|(tokens, _)| tokens)
    }

    fn who(tokens: &Tokens, token: &str) -> Option<String> {
        tokens.holder(token.as_bytes()).and_then(|holder| holder.principal.label().map(str::to_owned))
    }

    #[test]
    fn each_token_has_its_holder_and_nothing_else_has_one() {
        let tokens = of("# ours\n\nalice:first:with:colons\n bob : second \r\nalice:third\n").expect("three tokens");
        assert_eq!(who(&tokens, "first:with:colons").as_deref(), Some("token:alice"));
        assert_eq!(who(&tokens, "third").as_deref(), Some("token:alice"));
        assert_eq!(who(&tokens, "second").as_deref(), Some("token:bob"));
        for wrong in ["", "first", "first:with:colon", "first:with:colonss", "SECOND", "alice", "alice:third", "# ours"]
        {
            assert_eq!(who(&tokens, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_bad_line_is_named_and_not_shown() {
        for (text, line, part) in [
            ("alice", 1, "must be `name:token`"),
            ("\n#\n:secret", 3, "the name"),
            ("a b:secret", 1, "the name"),
            ("alice:", 1, "the token"),
            ("alice:sec ret", 1, "the token"),
            ("alice:s\u{e9}cret", 1, "the token"),
            ("alice:secret\nbob:secret", 2, "another name"),
        ] {
            let error = of(text).expect_err(text);
            let shown = error.to_string();
            assert!(shown.starts_with(&format!("line {line}: ")) && shown.contains(part), "{text:?}: {shown}");
            assert!(!shown.contains("secret") && !shown.contains("ret"), "{shown}");
        }
        assert!(matches!(of(" \n# nobody\n"), Err(TokensError::Empty)));
        assert!(of("a:same\na:same").is_ok());
    }

    #[test]
    fn no_token_is_in_what_debug_shows() {
        let tokens = of("alice:correct-horse").expect("one token");
        assert!(!format!("{tokens:?} {:?}", tokens.holder(b"correct-horse")).contains("horse"));
    }

    #[test]
    fn reloading_takes_tokens_away_and_leaves_the_others_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens");
        fs::write(&file, "alice:first\nbob:second\n").expect("written");
        let (tokens, census) = Tokens::new(Some(file.clone()), None).expect("two tokens");
        assert_eq!((census.tokens, census.weak), (2, 2));
        let (alice, bob) = (tokens.holder(b"first").expect("alice"), tokens.holder(b"second").expect("bob"));

        fs::write(&file, "alice first\n").expect("written");
        assert!(tokens.reload().is_err());
        assert!(tokens.holder(b"second").is_some() && !bob.revoked.is_cancelled());

        fs::write(&file, "alice:first\ncarol:third\neve:second\n").expect("written");
        tokens.reload().expect("good again");
        assert!(!alice.revoked.is_cancelled() && bob.revoked.is_cancelled());
        assert_eq!(who(&tokens, "third").as_deref(), Some("token:carol"));
        assert_eq!(who(&tokens, "second").as_deref(), Some("token:eve"));

        fs::remove_file(&file).expect("there");
        assert!(matches!(tokens.reload(), Err(TokensError::Unreadable(_))));
        assert!(tokens.holder(b"first").is_some());
    }

    #[test]
    fn a_file_that_is_emptied_takes_nobodys_token_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("tokens");
        fs::write(&file, "\u{feff}alice:first\n").expect("written");
        let fixed = Secret::new("bob:second".to_owned());
        let (tokens, _) = Tokens::new(Some(file.clone()), Some(fixed)).expect("two tokens");
        let alice = tokens.holder(b"first").expect("alice");
        fs::write(&file, " \n").expect("written");
        assert!(matches!(tokens.reload(), Err(TokensError::Empty)));
        assert!(!alice.revoked.is_cancelled());
        fs::write(&file, "# nobody any more\n").expect("written");
        tokens.reload().expect("there is the other one");
        assert!(alice.revoked.is_cancelled() && tokens.holder(b"second").is_some());
        // Whoever starts with none in the file means it.
        fs::write(&file, "").expect("written");
        assert!(Tokens::new(Some(file), Some(Secret::new("bob:second".to_owned()))).is_ok());
    }

    #[test]
    fn the_weak_ones_are_counted() {
        let text = Secret::new(format!("a:{}\nb:{}", "x".repeat(19), "y".repeat(20)));
        let (_, census) = Tokens::new(None, Some(text)).expect("two tokens");
        assert_eq!(census, Census { tokens: 2, weak: 1, exposed: false });
    }
}
