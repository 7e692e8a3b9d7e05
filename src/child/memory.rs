//! How much memory processes have, where the system says it (`/proc`).
//!
//! A child is its whole group: a launcher such as `npx` or `uvx` is small, and the server beside it is not. Memory that several
//! processes share counts for each of them, so this is rather too much than too little.
//!
//! Spec: proc_pid_stat(5).

use std::collections::HashMap;
use std::fs;

/// Resident bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of each process group, by its number.
    pub by_group: HashMap<u32, u64>,
    /// Of this process alone.
    pub own: Option<u64>,
}

/// Looks; nothing is found where there is no `/proc`. Reads a file for each process of the machine: not for a thread that
/// others wait for.
pub fn look() -> Memory {
    let page_bytes = u64::try_from(rustix::param::page_size()).unwrap_or(0);
    let mut memory = Memory::default();
    let own = std::process::id().to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return memory };
    for entry in entries.flatten() {
        if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        // It may be gone by now.
        let Some((group, pages)) = fs::read(entry.path().join("stat")).ok().and_then(|stat| parse(&stat)) else {
            continue;
        };
        let bytes = pages.saturating_mul(page_bytes);
        let of_group: &mut u64 = memory.by_group.entry(group).or_default();
        *of_group = of_group.saturating_add(bytes);
        if entry.file_name() == *own {
            memory.own = Some(bytes);
        }
    }
    memory
}

/// The group of a process and its resident pages.
fn parse(stat: &[u8]) -> Option<(u32, u64)> {
    // The name, in parentheses, may contain anything.
    let rest = stat.rsplit(|byte| *byte == b')').next().and_then(|rest| str::from_utf8(rest).ok())?;
    let mut fields = rest.split_whitespace();
    let group = fields.nth(GROUP_AFTER_NAME)?.parse().ok()?;
    let pages = fields.nth(PAGES_AFTER_GROUP)?.parse().ok()?;
    Some((group, pages))
}

const GROUP_AFTER_NAME: usize = 2;
const PAGES_AFTER_GROUP: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_and_pages_are_found_behind_any_name() {
        let stat = b"7 (a) b (c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99 123456 789 18446744073709551615 1";
        assert_eq!(parse(stat), Some((42, 789)));
        assert_eq!(parse(b"7 (a) S 1 42"), None);
        assert_eq!(parse(b""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory() {
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        let memory = look();
        let (own, of_group) =
            (memory.own.expect("it is there"), memory.by_group[&u32::try_from(group).expect("a pid")]);
        assert!(own > 1024 * 1024 && of_group >= own / 2, "{own} {of_group}");
    }
}
