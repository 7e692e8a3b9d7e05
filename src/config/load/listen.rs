//! What is listened on, and what its connections may do.

use super::super::listen::{self, Chosen, ListenAddress, UnixConfig};
use super::super::{ConnectionConfig, ListenConfig};
use super::{Reader, values};
use crate::cli::Cli;

pub(super) fn read(cli: &Cli, reader: &mut Reader, admin: Option<&[ListenAddress]>) -> Option<ListenConfig> {
    let addresses = read_addresses(cli, reader);
    for address in admin.into_iter().flatten().filter(|address| !is_chosen_by_system(address)) {
        if addresses.as_deref().is_some_and(|all| all.contains(address)) {
            reader.problem("admin", Some(&address.to_string()), "another address than clients are served at");
        }
    }
    let unix = read_unix(cli, reader, addresses.as_deref().zip(admin));
    let connections_max = reader.read("connections-max", &cli.connections_max, values::some_count);
    let per_address_max = &cli.connections_per_address_max;
    let per_address_max = reader.read("connections-per-address-max", per_address_max, values::some_count);
    let connection = read_connection(cli, reader);
    let chosen = cli.host.is_some() || cli.port.is_some() || !cli.listen.is_empty();
    Some(ListenConfig {
        addresses: addresses?,
        chosen: if chosen { Chosen::ByOperator } else { Chosen::ByDefault },
        unix: unix?,
        connections_max: connections_max?,
        connections_per_address_max: per_address_max?,
        connection: connection?,
    })
}

fn read_addresses(cli: &Cli, reader: &mut Reader) -> Option<Vec<ListenAddress>> {
    let host = reader.read("host", cli.host.as_deref().unwrap_or(HOST), values::host);
    let port = reader.read("port", cli.port.as_deref().unwrap_or(PORT), values::port);
    if cli.listen.is_empty() {
        return Some(vec![ListenAddress::Tcp { host: host?, port: port? }]);
    }
    for (flag, value) in [("host", &cli.host), ("port", &cli.port)] {
        if value.is_some() {
            let wanted =
                format!("left out with {}, which says all that is listened on", reader.origins.origin("listen"));
            reader.problem(flag, value.as_deref(), wanted);
        }
    }
    let addresses = reader.read_all("listen", &cli.listen, ListenAddress::parse)?;
    are_listed_once("listen", &addresses, reader).then_some(addresses)
}

fn are_listed_once(flag: &'static str, addresses: &[ListenAddress], reader: &mut Reader) -> bool {
    let mut once = true;
    for (at, address) in addresses.iter().enumerate() {
        if !is_chosen_by_system(address) && addresses.iter().take(at).any(|earlier| earlier == address) {
            once = false;
            reader.problem(flag, Some(&address.to_string()), "listed once");
        }
    }
    once
}

const fn is_chosen_by_system(address: &ListenAddress) -> bool {
    matches!(address, ListenAddress::Tcp { port: 0, .. })
}

/// What is listened on for operators.
pub(super) fn read_admin(cli: &Cli, reader: &mut Reader) -> Option<Vec<ListenAddress>> {
    let addresses = reader.read_all("admin", &cli.admin, |text| match ListenAddress::parse(text)? {
        // They would leave none for the clients.
        ListenAddress::Handed(None) => Err("systemd:NAME: which of the sockets is for operators".to_owned()),
        address @ (ListenAddress::Tcp { .. } | ListenAddress::Unix(_) | ListenAddress::Handed(Some(_))) => Ok(address),
    })?;
    are_listed_once("admin", &addresses, reader).then_some(addresses)
}

fn read_unix(
    cli: &Cli,
    reader: &mut Reader,
    addresses: Option<(&[ListenAddress], &[ListenAddress])>,
) -> Option<UnixConfig> {
    let default = UnixConfig::default();
    let mode = cli.unix_mode.as_deref().map_or(Some(default.mode), |mode| reader.read("unix-mode", mode, listen::mode));
    let owner =
        cli.unix_owner.as_deref().map_or(Some(default.owner), |owner| reader.read("unix-owner", owner, listen::owner));
    // What would do nothing is a mistake.
    let none = addresses
        .is_some_and(|(listen, admin)| !listen.iter().chain(admin).any(|one| matches!(one, ListenAddress::Unix(_))));
    for (flag, value) in [("unix-mode", &cli.unix_mode), ("unix-owner", &cli.unix_owner)] {
        if none && value.is_some() {
            reader.problem(flag, value.as_deref(), "left out without --listen unix:/path or --admin unix:/path");
        }
    }
    Some(UnixConfig { mode: mode?, owner: owner? })
}

fn read_connection(cli: &Cli, reader: &mut Reader) -> Option<ConnectionConfig> {
    let first_byte_timeout = reader.read("first-byte-timeout", &cli.first_byte_timeout, values::some_duration);
    let header_timeout = reader.read("header-timeout", &cli.header_timeout, values::some_duration);
    let idle_timeout = reader.read("idle-timeout", &cli.idle_timeout, values::some_duration);
    let untaken_timeout = reader.read("untaken-timeout", &cli.untaken_timeout, values::untaken_timeout);
    let header_bytes_max = reader.read("header-bytes-max", &cli.header_bytes_max, values::header_bytes);
    let headers_max = reader.read("headers-max", &cli.headers_max, values::headers);
    let http2_streams_max = reader.read("http2-streams-max", &cli.http2_streams_max, values::streams);
    let http2_resets_max = reader.read("http2-resets-max", &cli.http2_resets_max, values::count);
    let http2_frames_max = reader.read("http2-frames-max", &cli.http2_frames_max, values::some_count);
    Some(ConnectionConfig {
        first_byte_timeout: first_byte_timeout?,
        header_timeout: header_timeout?,
        idle_timeout: idle_timeout?,
        untaken_timeout: untaken_timeout?,
        header_bytes_max: header_bytes_max?,
        headers_max: headers_max?,
        http2_streams_max: http2_streams_max?,
        http2_resets_max: http2_resets_max?,
        http2_frames_max: http2_frames_max?,
    })
}

const HOST: &str = "127.0.0.1";
const PORT: &str = "8000";

#[cfg(test)]
mod tests {
    use super::super::tests::{load, load_with, problem};
    use super::*;

    fn addresses(args: &[&str]) -> Vec<String> {
        load(args).unwrap().listen.addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn there_may_be_several_addresses_of_every_kind() {
        assert_eq!(
            addresses(&["--listen", "127.0.0.1:1, [::1]:2", "--listen=unix:/run/a.sock", "--listen", "systemd:web"]),
            ["127.0.0.1:1", "[::1]:2", "unix:/run/a.sock", "systemd:web"]
        );
        let lines = load_with(&["--", "server"], &[("MCP_MUX_LISTEN", "localhost:1\nunix:/a\n\nsystemd:,[::1]:0")]);
        assert_eq!(lines.unwrap().listen.addresses.len(), 4);
    }

    #[test]
    fn host_and_port_are_the_short_way_for_one_and_nothing_said_is_the_default() {
        for (args, expected, chosen) in [
            (&[] as &[&str], "127.0.0.1:8000", Chosen::ByDefault),
            (&["--port", "0"], "127.0.0.1:0", Chosen::ByOperator),
            (&["--host", "::"], "[::]:8000", Chosen::ByOperator),
            (&["--listen", "127.0.0.1:8000"], "127.0.0.1:8000", Chosen::ByOperator),
        ] {
            assert_eq!((addresses(args), load(args).unwrap().listen.chosen), (vec![expected.to_owned()], chosen));
        }
    }

    #[test]
    fn host_or_port_beside_a_list_is_a_problem_and_so_is_what_is_listed_twice() {
        let wanted = "must be left out with --listen, which says all that is listened on";
        assert_eq!(problem(&["--listen", "systemd:", "--port", "1"]), format!("--port \"1\": {wanted}"));
        assert_eq!(problem(&["--listen", "systemd:", "--host", "::1"]), format!("--host \"::1\": {wanted}"));
        let of_variable = load_with(&["--listen", "systemd:", "--", "server"], &[("MCP_MUX_PORT", "1")]);
        assert_eq!(of_variable.unwrap_err(), [format!("MCP_MUX_PORT \"1\": {wanted}")]);
        assert_eq!(problem(&["--listen", "[::1]:1,[::1]:1"]), "--listen \"[::1]:1\": must be listed once");
        assert_eq!(addresses(&["--listen", "[::1]:0,[::1]:0"]).len(), 2);
        assert!(problem(&["--listen", "8000"]).starts_with("--listen \"8000\": must be an address and a port"));
    }

    #[test]
    fn what_is_said_of_unix_sockets_needs_one() {
        let unix = load(&["--listen", "unix:/a", "--unix-mode", "0660", "--unix-owner", "0:33"]).unwrap().listen.unix;
        assert_eq!((unix.mode, unix.owner.user, unix.owner.group), (0o660, Some(0), Some(33)));
        assert_eq!(load(&["--listen", "unix:/a"]).unwrap().listen.unix, UnixConfig::default());
        assert!(
            problem(&["--unix-mode", "660"]).ends_with("left out without --listen unix:/path or --admin unix:/path")
        );
        assert!(problem(&["--listen", "systemd:", "--unix-owner", "0"]).contains("left out"));
        assert!(problem(&["--listen", "unix:/a", "--unix-mode", "9"]).contains("an octal mode"));
    }

    #[test]
    fn every_name_that_is_listened_on_is_allowed_as_host() {
        let guard = load(&["--listen", "a.example:1,b.example:2,a.example:3,10.0.0.7:1,unix:/a"]).unwrap().guard;
        assert_eq!(guard.allow_host.len(), 2);
    }

    #[test]
    fn operators_have_addresses_of_their_own() {
        let config = load(&["--admin", "127.0.0.1:9000,unix:/run/admin.sock", "--unix-mode", "660"]).unwrap();
        let admin = config.admin.expect("it is said");
        assert_eq!(
            admin.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["127.0.0.1:9000", "unix:/run/admin.sock"]
        );
        assert_eq!((admin.chosen, admin.unix.mode), (Chosen::ByOperator, 0o660));
        assert_eq!(config.listen.addresses.len(), 1);
        assert!(load(&[]).unwrap().admin.is_none());
        let lines = load_with(&["--", "server"], &[("MCP_MUX_ADMIN", "localhost:1\n[::1]:2")]);
        assert_eq!(lines.unwrap().admin.expect("it is said").addresses.len(), 2);
    }

    #[test]
    fn an_address_is_for_clients_or_for_operators() {
        for (args, part) in [
            (&["--admin", "127.0.0.1:8000"][..], "another address than clients are served at"),
            (&["--admin", "127.0.0.1:9,127.0.0.1:9"], "listed once"),
            (&["--admin", "systemd:"], "systemd:NAME"),
            (&["--admin", "9000"], "such as 127.0.0.1:8000"),
        ] {
            let problem = problem(args);
            assert!(problem.contains(part), "{problem}");
        }
    }
}
