//! What each principal may do: the table `principals` of the configuration file, the flags that say it for everybody, and the
//! same settings in a claim of a JWT.
//!
//! Separate from `load`, since this part is read again while mcp-mux runs ([`PrincipalsConfig::reload`]), and read from
//! tokens ([`PrincipalConfig::from_claim`]).
//!
//! Invariants: one entry says it all for a principal, entries are never merged; where an entry says nothing, the flags do; a
//! claim can only tighten what these say.

mod read;
mod terms;

pub use read::ClaimError;
pub(super) use read::read_entries;
pub use terms::{RateLimit, Terms};

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use serde::Serialize;

use super::file::{self, File};
use super::secret::Secret;
use super::{ConfigErrors, Isolation, Problem, known, pattern};

/// What each principal may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrincipalsConfig {
    /// The limits where nothing else is said: `--rate`, `--rate-burst`, `--principal-sessions-max` and
    /// `--principal-in-flight-max`. It has no rules for names and no variables.
    pub default: PrincipalConfig,
    /// The table `principals` of the configuration file. A key is `token:NAME`, `jwt:SUBJECT`, `cert:SUBJECT`, `anonymous`, or
    /// a pattern of these.
    pub entries: BTreeMap<String, PrincipalConfig>,
    /// The file that they are in.
    pub file: Option<PathBuf>,
    /// Who shares a child; decides whether an entry may have variables.
    pub isolation: Isolation,
}

/// What one principal may do, as somebody wrote it down: what is none was not said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrincipalConfig {
    /// Its requests.
    pub rate: Option<Rate>,
    /// How many requests may come at once, after a pause.
    pub burst: Option<NonZeroU32>,
    /// The most sessions at once; [`NonZeroUsize::MAX`] where `none` was said.
    pub sessions_max: Option<NonZeroUsize>,
    /// The most requests in flight at once, in all its sessions; [`NonZeroUsize::MAX`] where `none` was said.
    pub in_flight_max: Option<NonZeroUsize>,
    /// Its tools, by name.
    pub tools: NamesConfig,
    /// Its resources, by URI.
    pub resources: NamesConfig,
    /// Its prompts, by name.
    pub prompts: NamesConfig,
    /// The variables of its own child; with [`Isolation::Principal`].
    pub env: BTreeMap<String, Secret>,
}

/// How many requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As many as they like.
    Unlimited,
    /// So many in a second: from one in a day to a million.
    PerSecond(f64),
}

/// Which names are admitted. In a pattern `*` stands for any run of characters, everything else for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NamesConfig {
    /// Only what one of these patterns admits; none: everything.
    pub allow: Option<Vec<String>>,
    /// Nothing that one of these patterns admits, whatever else is allowed.
    pub deny: Vec<String>,
}

impl NamesConfig {
    /// Whether this name is admitted.
    pub fn admits(&self, name: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| pattern::matches(pattern, name));
        self.allow.as_deref().is_none_or(any) && !any(&self.deny)
    }

    /// Whether every name is admitted, so that nobody has to look.
    pub const fn admits_everything(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }
}

impl PrincipalsConfig {
    /// The entry for the principal of this label (none: the anonymous one): the one of that very key; else, of the patterns
    /// that admit it, the one with the most characters that stand for themselves (of several, the first in the alphabet).
    pub fn of(&self, label: Option<&str>) -> Option<&PrincipalConfig> {
        let label = label.unwrap_or(ANONYMOUS);
        if let Some(exact) = self.entries.get(label) {
            return Some(exact);
        }
        let patterns = self.entries.iter().filter(|(key, _)| key.contains('*') && pattern::matches(key, label));
        // Of several that are the greatest, `max_by_key` takes the last.
        patterns.rev().max_by_key(|(key, _)| pattern::literal_chars(key)).map(|(_, entry)| entry)
    }

    /// What holds for the principal of this label, whose token has this claim: its entry; where that says nothing, the
    /// default; and whatever the claim makes tighter than these.
    pub fn terms(&self, label: Option<&str>, claim: Option<&PrincipalConfig>) -> Terms {
        let own = self.of(label).map_or_else(|| self.default.clone(), |entry| entry.or(&self.default));
        claim.map_or_else(|| own.terms(), |claim| own.tightened_by(claim))
    }

    /// Reads the table `principals` of the file again, and nothing else of it; without a file nothing changes.
    ///
    /// Waits for the file system.
    ///
    /// # Errors
    /// What is wrong with the file or with the table, all at once; this configuration goes on to be right.
    pub fn reload(&self) -> Result<Self, ConfigErrors> {
        let Some(path) = &self.file else { return Ok(self.clone()) };
        let file = File::read(path, file::Kind::Regular, "--config").map_err(ConfigErrors::one)?;
        // More likely somebody is about to write it than that everybody is to do everything.
        if file.table.is_empty() && !self.entries.is_empty() {
            let wanted = "a file with something in it: an empty one would take every limit away".to_owned();
            return Err(ConfigErrors::one(Problem { origin: path.display().to_string(), value: None, wanted }));
        }
        let mut problems = Vec::new();
        let principals = file.table.get("principals");
        let entries = principals.map(|principals| file::read_principals(path, principals, &mut problems));
        let again = Self { entries: entries.unwrap_or_default(), ..self.clone() };
        again.check(&mut problems);
        ConfigErrors::unless_empty(problems).map(|()| again)
    }

    /// What does not go together.
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        let Some(path) = self.file.as_ref().filter(|_| self.isolation != Isolation::Principal) else { return };
        for (key, _) in self.entries.iter().filter(|(_, entry)| !entry.env.is_empty()) {
            let place = known::below(&known::below("principals", key), "env");
            let wanted = "left out, unless with --isolation principal: others share the process";
            problems.push(Problem { origin: File::origin(path, &place), value: None, wanted: wanted.to_owned() });
        }
    }
}

/// The key of the principal without a label.
const ANONYMOUS: &str = "anonymous";

#[cfg(test)]
mod tests;
