//! What a principal may use: tools, resources and prompts by their names.
//!
//! Invariants: what is denied is denied, whatever allows it; rules of two origins hold both; without rules nothing is looked
//! at. Pure: who reads names out of messages is the router.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use serde::Serialize;

use crate::config::principals::NamesConfig;

/// What somebody may use. Cheap to clone. Two that say the same with their patterns in another order are equal.
#[derive(Clone, Default)]
pub struct Rules(Option<Arc<Limits>>);

/// What a name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A tool, by its `name`.
    Tool,
    /// A resource by its `uri`, or a template of resources by its `uriTemplate`.
    Resource,
    /// A prompt, by its `name`.
    Prompt,
}

/// All of each kind have to be satisfied; none without effect, sorted, each there once.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Limits {
    tools: Vec<NamesConfig>,
    resources: Vec<NamesConfig>,
    prompts: Vec<NamesConfig>,
}

/// What a request is about, as far as rules say something of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Nothing of what they are about.
    Free,
    /// What has this name.
    Named(What, CompactString),
    /// It cannot be told.
    Unclear,
}

impl Rules {
    /// Everything is admitted.
    pub const fn everything() -> Self {
        Self(None)
    }

    /// What all of these admit, for each kind of name. Of a kind without any, everything is admitted.
    pub fn new(tools: Vec<NamesConfig>, resources: Vec<NamesConfig>, prompts: Vec<NamesConfig>) -> Self {
        let [tools, resources, prompts] = [tools, resources, prompts].map(in_order);
        let limits = Limits { tools, resources, prompts };
        if limits == Limits::default() { Self::everything() } else { Self(Some(Arc::new(limits))) }
    }

    /// What both admit.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (_, None) => self.clone(),
            (None, Some(_)) => other.clone(),
            (Some(own), Some(other)) => {
                let both = |of: fn(&Limits) -> &Vec<NamesConfig>| [of(own).as_slice(), of(other)].concat();
                Self::new(
                    both(|limits| &limits.tools),
                    both(|limits| &limits.resources),
                    both(|limits| &limits.prompts),
                )
            }
        }
    }

    /// Whether there is nothing to look at.
    pub const fn is_everything(&self) -> bool {
        self.0.is_none()
    }

    /// Whether this name, decoded, may be used. One with a NUL in it may not: to some servers it ends there.
    pub fn admits(&self, what: What, name: &str) -> bool {
        let Some(limits) = &self.0 else { return true };
        if name.contains('\0') {
            return false;
        }
        let permissions = match what {
            What::Tool => &limits.tools,
            What::Resource => &limits.resources,
            What::Prompt => &limits.prompts,
        };
        permissions.iter().all(|permission| permission.admits(name))
    }

    /// Whether a request about this may be made.
    pub fn admit(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Free => true,
            Subject::Named(what, name) => self.admits(*what, name),
            Subject::Unclear => self.is_everything(),
        }
    }

    /// Bytes that no other rules have; none where everything is admitted.
    pub fn identity(&self) -> Option<Vec<u8>> {
        // Serialising lists of text cannot fail.
        self.0.as_ref().map(|limits| serde_json::to_vec(&**limits).unwrap_or_default())
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(own), Some(other)) => Arc::ptr_eq(own, other) || own == other,
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

impl Eq for Rules {}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("everything"),
            Some(limits) => limits.fmt(f),
        }
    }
}

/// With patterns in order, each once, and without what has no effect.
fn canonical(mut names: NamesConfig) -> NamesConfig {
    names.allow = names.allow.filter(|allow| !allow.iter().any(|pattern| pattern == "*"));
    for patterns in names.allow.iter_mut().chain([&mut names.deny]) {
        patterns.sort_unstable();
        patterns.dedup();
    }
    names
}

fn in_order(permissions: Vec<NamesConfig>) -> Vec<NamesConfig> {
    let mut permissions: Vec<NamesConfig> = permissions.into_iter().map(canonical).collect();
    permissions.retain(|permission| *permission != NamesConfig::default());
    permissions.sort_unstable();
    permissions.dedup();
    permissions
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::pattern::matches;

    fn permission(allow: Option<&[&str]>, deny: &[&str]) -> NamesConfig {
        let texts = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        NamesConfig { allow: allow.map(texts), deny: texts(deny) }
    }

    fn of_tools(permissions: &[NamesConfig]) -> Rules {
        Rules::new(permissions.to_vec(), Vec::new(), Vec::new())
    }

    #[test]
    fn a_star_matches_any_run_and_everything_else_is_itself() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("a", "A", false),
            ("a", "ab", false),
            ("a*", "a", true),
            ("a*", "a/b/c", true),
            ("*a", "a/b/a", true),
            ("*a", "ab", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("ab*ba", "aba", false),
            ("a**b", "ab", true),
            ("*a*b*", "xxbxaxbx", true),
            ("*a*b*", "xxbxa", false),
            ("a*b*b", "ab", false),
            ("file:///srv/*.md", "file:///srv/x/y.md", true),
            ("file:///srv/*.md", "file:///srv/x/y.md?", false),
            ("a?c", "abc", false),
            ("a?c", "a?c", true),
            ("[ab]", "a", false),
            ("a.c", "abc", false),
            (r"a\*", r"a\b", true),
            ("é*ü", "éaü", true),
            ("a*", "a*", true),
            ("a*", "a\n\0", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    /// The same by trying everything.
    fn matches_slowly(pattern: &[char], name: &[char]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some(('*', rest)) => (0..=name.len()).any(|skipped| matches_slowly(rest, &name[skipped..])),
            Some((one, rest)) => {
                name.split_first().is_some_and(|(first, name)| one == first && matches_slowly(rest, name))
            }
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_trying_everything_comes_to(pattern in "[aé*]{0,7}", name in "[aé*]{0,9}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &name), matches_slowly(&chars(&pattern), &chars(&name)));
        }
    }

    #[test]
    fn a_hostile_name_is_read_and_no_way_of_matching_it_tried_again() {
        // Who tries again does not come to an end of these.
        let name = "a".repeat(1_000_000);
        assert!(!matches(&("*a".repeat(2_000) + "*b"), &name));
        assert!(!matches(&format!("{}b*", "*aa".repeat(2_000)), &name));
    }

    #[test]
    fn every_list_has_to_be_satisfied_and_a_denial_wins() {
        let rules = of_tools(&[permission(Some(&["read_*", "list"]), &["*_secret"]), permission(None, &["read_b"])]);
        for (name, expected) in
            [("read_a", true), ("list", true), ("read_b", false), ("read_secret", false), ("write", false), ("", false)]
        {
            assert_eq!(rules.admits(What::Tool, name), expected, "{name}");
        }
        assert!(!rules.admits(What::Tool, "read_\0a"), "it may be `read_` to the server");
        assert!(
            rules.admits(What::Resource, "write") && rules.admits(What::Prompt, "write"),
            "of these nothing is said"
        );
        let rules = Rules::new(Vec::new(), vec![permission(Some(&[]), &[])], vec![permission(None, &["*"])]);
        assert!(rules.admits(What::Tool, "a") && !rules.admits(What::Resource, "a") && !rules.admits(What::Prompt, ""));
    }

    #[test]
    fn rules_without_effect_are_everything() {
        for rules in [
            Rules::default(),
            of_tools(&[]),
            of_tools(&[permission(None, &[]), permission(Some(&["a", "*"]), &[])]),
            Rules::everything().and(&of_tools(&[])),
        ] {
            assert!(rules.is_everything() && rules == Rules::everything() && rules.identity().is_none(), "{rules:?}");
        }
        assert!(!of_tools(&[permission(Some(&[]), &[])]).is_everything());
    }

    #[test]
    fn rules_are_equal_if_they_say_the_same_and_have_one_identity_each() {
        let (a, b) = (permission(Some(&["a", "b"]), &["c", "d"]), permission(None, &["e"]));
        let rules = of_tools(&[a.clone(), b.clone()]);
        let other_order = of_tools(&[b.clone(), permission(Some(&["b", "a", "a"]), &["d", "c"]), a.clone()]);
        assert_eq!((&rules, rules.identity()), (&other_order, other_order.identity()));
        assert_eq!(of_tools(std::slice::from_ref(&a)).and(&of_tools(std::slice::from_ref(&b))), rules);
        assert_eq!(rules.and(&Rules::everything()), rules);
        let all = [
            rules,
            of_tools(std::slice::from_ref(&a)),
            of_tools(std::slice::from_ref(&b)),
            of_tools(&[permission(Some(&["a,b"]), &["c", "d"])]),
            of_tools(&[permission(Some(&["c", "d"]), &["a", "b"])]),
            Rules::new(Vec::new(), vec![b.clone()], Vec::new()),
            Rules::new(Vec::new(), Vec::new(), vec![b]),
            Rules::everything(),
        ];
        for (at, one) in all.iter().enumerate() {
            for other in all.iter().skip(at + 1) {
                assert!(one != other && one.identity() != other.identity(), "{one:?} {other:?}");
            }
        }
    }
}
