//! The environment of a child. Pure: mcp-mux's own environment is an input.
//!
//! `MCP_MUX_*` is mcp-mux's configuration and may hold its secrets, so it is never inherited (DESIGN section 2,
//! invariant 7). Nor are the variables by which systemd hands over sockets: those are mcp-mux's. What the operator sets for the child by name is set, whatever its name.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::OwnVariables;
use crate::config::InheritEnv;
use crate::config::secret::Secret;

/// The prefix of mcp-mux's own variables.
const OWN_PREFIX: &str = "MCP_MUX_";
/// What systemd says of the sockets that it hands over, and what a service manager says to mcp-mux alone: a server that took it
/// for its own would take some other descriptors for sockets, or speak in mcp-mux's name.
const SERVICE_MANAGER: [&str; 7] =
    ["LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
/// What programs need to start at all and to find their files.
const MINIMAL: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TERM", "TMPDIR", "TZ"];
/// The prefix of the locale's categories.
const LOCALE_PREFIX: &str = "LC_";
/// Without it a Python program keeps up to 8 KiB of its output back when that is a pipe.
const PYTHON_UNBUFFERED: &str = "PYTHONUNBUFFERED";

/// Puts a child's environment together from mcp-mux's own one, what was configured, and what is this child's alone.
pub(super) fn environment(
    own: impl IntoIterator<Item = (OsString, OsString)>,
    inherit: InheritEnv,
    configured: &BTreeMap<String, Secret>,
    variables: &OwnVariables,
) -> BTreeMap<OsString, OsString> {
    let mut environment: BTreeMap<_, _> = own.into_iter().filter(|(name, _)| inherits(name, inherit)).collect();
    // What stands for a client is not to be the operator's own by accident.
    for (name, _) in &variables.0 {
        environment.remove(OsStr::new(name));
    }
    environment.extend(configured.iter().map(|(name, value)| (name.into(), value.expose().into())));
    let of_client = variables.0.iter().filter_map(|(name, value)| Some((name.into(), value.clone()?)));
    environment.extend(of_client);
    environment.entry(PYTHON_UNBUFFERED.into()).or_insert_with(|| "1".into());
    environment
}

fn inherits(name: &OsStr, inherit: InheritEnv) -> bool {
    let starts_with = |prefix: &str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
    if starts_with(OWN_PREFIX) || SERVICE_MANAGER.iter().any(|own| name == *own) {
        return false;
    }
    match inherit {
        InheritEnv::All => true,
        InheritEnv::Minimal => starts_with(LOCALE_PREFIX) || MINIMAL.iter().any(|minimal| name == *minimal),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn made(own: &[(&str, &str)], inherit: InheritEnv, configured: &[(&str, &str)]) -> Vec<String> {
        let own = own.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let secret = |value: &str| Secret::new(value.to_owned());
        let configured = configured.iter().map(|(name, value)| ((*name).to_owned(), secret(value))).collect();
        let show = |(name, value): (OsString, OsString)| format!("{}={}", name.display(), value.display());
        environment(own, inherit, &configured, &OwnVariables::default()).into_iter().map(show).collect()
    }

    #[test]
    fn own_variables_are_removed_unless_configured_for_the_child() {
        let own = [("MCP_MUX_TOKEN", "secret"), ("MCP_MUX_", "x"), ("MCP_MUXER", "stays"), ("HOME", "/h")];
        assert_eq!(made(&own, InheritEnv::All, &[]), ["HOME=/h", "MCP_MUXER=stays", "PYTHONUNBUFFERED=1"]);
        let configured = [("MCP_MUX_FOR_THE_CHILD", "y")];
        assert_eq!(
            made(&own, InheritEnv::Minimal, &configured),
            ["HOME=/h", "MCP_MUX_FOR_THE_CHILD=y", "PYTHONUNBUFFERED=1"]
        );
    }

    #[test]
    fn sockets_that_were_handed_over_are_not_told_of() {
        let own = [
            ("LISTEN_FDS", "1"),
            ("LISTEN_PID", "7"),
            ("LISTEN_FDNAMES", "a"),
            ("LISTEN_PIDFDID", "9"),
            ("LISTEN", "x"),
        ];
        assert_eq!(made(&own, InheritEnv::All, &[]), ["LISTEN=x", "PYTHONUNBUFFERED=1"]);
        assert_eq!(
            made(&own, InheritEnv::All, &[("LISTEN_FDS", "2")]),
            ["LISTEN=x", "LISTEN_FDS=2", "PYTHONUNBUFFERED=1"]
        );
    }

    #[test]
    fn what_the_service_manager_says_is_not_for_the_child() {
        let own = [("NOTIFY_SOCKET", "/run/n"), ("WATCHDOG_USEC", "1"), ("WATCHDOG_PID", "2"), ("HOME", "/h")];
        assert_eq!(made(&own, InheritEnv::All, &[]), ["HOME=/h", "PYTHONUNBUFFERED=1"]);
        let configured = [("NOTIFY_SOCKET", "/its/own")];
        assert_eq!(
            made(&own, InheritEnv::Minimal, &configured),
            ["HOME=/h", "NOTIFY_SOCKET=/its/own", "PYTHONUNBUFFERED=1"]
        );
    }

    #[test]
    fn minimal_keeps_what_programs_need_to_start() {
        let own = [("PATH", "/bin"), ("LC_ALL", "C"), ("LANG", "C"), ("AWS_SECRET_ACCESS_KEY", "k"), ("PATHS", "x")];
        assert_eq!(made(&own, InheritEnv::Minimal, &[]), ["LANG=C", "LC_ALL=C", "PATH=/bin", "PYTHONUNBUFFERED=1"]);
    }

    #[test]
    fn what_is_configured_wins_and_so_does_a_choice_about_buffering() {
        assert_eq!(made(&[("A", "own")], InheritEnv::All, &[("A", "mine")]), ["A=mine", "PYTHONUNBUFFERED=1"]);
        assert_eq!(made(&[("PYTHONUNBUFFERED", "")], InheritEnv::All, &[]), ["PYTHONUNBUFFERED="]);
        assert_eq!(made(&[], InheritEnv::Minimal, &[("PYTHONUNBUFFERED", "0")]), ["PYTHONUNBUFFERED=0"]);
    }

    #[test]
    fn what_is_a_clients_wins_and_is_never_the_operators_by_inheritance() {
        let own = [("KEY", "operator's"), ("TOKEN", "operator's")].map(|(name, value)| (name.into(), value.into()));
        let configured = BTreeMap::from([("TOKEN".to_owned(), Secret::new("default".to_owned()))]);
        let absent = OwnVariables::new(vec![("KEY".to_owned(), None), ("TOKEN".to_owned(), None)]);
        let made = environment(own.clone(), InheritEnv::All, &configured, &absent);
        assert_eq!((made.get(OsStr::new("KEY")), made.get(OsStr::new("TOKEN"))), (None, Some(&"default".into())));
        let given =
            OwnVariables::new(vec![("KEY".to_owned(), Some("a".into())), ("TOKEN".to_owned(), Some("b".into()))]);
        let made = environment(own, InheritEnv::All, &configured, &given);
        assert_eq!(made.get(OsStr::new("KEY")), Some(&"a".into()));
        assert_eq!(made.get(OsStr::new("TOKEN")), Some(&"b".into()));
        assert!(!format!("{given:?}").contains("\"a\""));
    }

    #[test]
    fn values_that_are_not_utf8_pass() {
        let odd = OsString::from_vec(vec![0xff, 0xfe]);
        let made = environment(
            [(OsString::from("ODD"), odd.clone())],
            InheritEnv::All,
            &BTreeMap::new(),
            &OwnVariables::default(),
        );
        assert_eq!(made.get(OsStr::new("ODD")), Some(&odd));
    }
}
