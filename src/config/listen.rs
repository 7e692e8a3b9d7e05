//! What is listened on: addresses, paths of sockets, and sockets that were handed over; whose the sockets' files are.
//!
//! `--listen` spells each of them in one word; see [`ListenAddress::parse`].

mod owner;

use std::fmt;
use std::path::PathBuf;

use super::values::{self, Wanted};

/// Something to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A port: the first of the host's addresses that can be had.
    Tcp {
        /// A host name or an address.
        host: String,
        /// The port; 0 lets the system choose.
        port: u16,
    },
    /// A socket in the file system, to be made.
    Unix(PathBuf),
    /// Sockets that systemd has opened: those with this name, or all.
    Handed(Option<String>),
}

/// Whether somebody has said what to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// It was said.
    ByOperator,
    /// Nothing was: sockets that were handed over come first.
    ByDefault,
}

/// The files of the sockets that are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixConfig {
    /// Their mode: the nine bits of permissions.
    pub mode: u32,
    /// Whose they are.
    pub owner: Owner,
}

impl Default for UnixConfig {
    fn default() -> Self {
        Self { mode: 0o600, owner: Owner::default() }
    }
}

/// Whose a file is to be; what is none stays as the system has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub user: Option<u32>,
    /// The group's number.
    pub group: Option<u32>,
}

impl ListenAddress {
    /// `host:port`, `[address]:port`, `unix:path`, `systemd:` or `systemd:name`. The errors say what would be right.
    pub(super) fn parse(text: &str) -> Result<Self, Wanted> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            return path_of_socket(path).map(|path| Self::Unix(path.into()));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            // What systemd takes as FileDescriptorName=.
            let is_name = name.len() <= 255 && name.bytes().all(|byte| byte.is_ascii_graphic());
            let wanted = "systemd: for all sockets that systemd has opened, or systemd:NAME for those with this name";
            return if is_name { Ok(Self::Handed(some(name))) } else { Err(wanted.to_owned()) };
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || host == "*" {
            return Err(format!("an address and a port: {LOCAL_OR_ALL}"));
        }
        if port.is_empty() || (host.contains(':') && !bracketed) {
            return Err(AN_ADDRESS.to_owned());
        }
        let host = values::host(host).map_err(|_| AN_ADDRESS.to_owned())?;
        Ok(Self::Tcp { host, port: values::port(port)? })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Handed(name) => write!(f, "systemd:{}", name.as_deref().unwrap_or_default()),
        }
    }
}

/// Also as in a URL: `unix:///run/mcp-mux.sock`.
fn path_of_socket(text: &str) -> Result<&str, Wanted> {
    let wanted =
        || format!("unix: and the path of a socket of at most {PATH_BYTES_MAX} bytes, such as unix:/run/mcp-mux.sock");
    if text.starts_with('@') {
        return Err("a path in the file system: no mode would protect an abstract socket".to_owned());
    }
    let path = match text.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Err(wanted()),
        None => text,
    };
    let is_path = !path.is_empty() && !path.ends_with('/') && path.len() <= PATH_BYTES_MAX && !path.contains('\0');
    if is_path { Ok(path) } else { Err(wanted()) }
}

/// A mode in octal digits, with which somebody can connect.
pub(super) fn mode(text: &str) -> Result<u32, Wanted> {
    let text = text.trim();
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777 && mode & 0o222 != 0);
    mode.ok_or_else(|| "an octal mode with which somebody may write, such as 600, 660 or 666".to_owned())
}

/// `user`, `user:group`, `:group`; each a name or a number.
pub(super) fn owner(text: &str) -> Result<Owner, Wanted> {
    let (user, group) = text.trim().split_once(':').unwrap_or_else(|| (text.trim(), ""));
    if user.is_empty() && group.is_empty() {
        return Err("user, user:group or :group".to_owned());
    }
    let number = |name: &str, file: &str, what: &str| {
        let known = || std::fs::read_to_string(file).ok().and_then(|text| owner::number_of(&text, name));
        let number = name.parse().ok().filter(|number| *number != u32::MAX).or_else(known);
        number.ok_or_else(|| format!("{what} that {file} has, or a number; {name:?} is none"))
    };
    Ok(Owner {
        user: some(user).map(|user| number(&user, "/etc/passwd", "a user")).transpose()?,
        group: some(group).map(|group| number(&group, "/etc/group", "a group")).transpose()?,
    })
}

fn some(text: &str) -> Option<String> {
    Some(text).filter(|text| !text.is_empty()).map(str::to_owned)
}

const AN_ADDRESS: &str =
    "an address and a port such as 127.0.0.1:8000, [::1]:8000 or localhost:8000, or unix:/path, or systemd:";
const LOCAL_OR_ALL: &str = "127.0.0.1:8000 for this machine alone, 0.0.0.0:8000 and [::]:8000 for every interface";
/// What the system has room for (`sun_path`), with the byte that ends it; of the systems mcp-mux runs on, the least.
const PATH_BYTES_MAX: usize = 103;

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> ListenAddress {
        ListenAddress::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for (text, expected, shown) in [
            ("127.0.0.1:8000", tcp("127.0.0.1", 8000), "127.0.0.1:8000"),
            (" [::1]:0 ", tcp("::1", 0), "[::1]:0"),
            ("localhost:1", tcp("localhost", 1), "localhost:1"),
            ("unix:/run/a.sock", ListenAddress::Unix("/run/a.sock".into()), "unix:/run/a.sock"),
            ("unix:///run/a.sock", ListenAddress::Unix("/run/a.sock".into()), "unix:/run/a.sock"),
            ("unix:a:b.sock", ListenAddress::Unix("a:b.sock".into()), "unix:a:b.sock"),
            ("systemd:", ListenAddress::Handed(None), "systemd:"),
            ("systemd:web", ListenAddress::Handed(Some("web".to_owned())), "systemd:web"),
        ] {
            let address = ListenAddress::parse(text).expect(text);
            assert_eq!((&address, address.to_string().as_str()), (&expected, shown));
        }
    }

    #[test]
    fn what_is_no_address_is_told_what_would_be() {
        let long = format!("unix:/{}", "a".repeat(PATH_BYTES_MAX));
        for (text, part) in [
            ("", "0.0.0.0:8000 and [::]:8000"),
            (":8000", "0.0.0.0:8000 and [::]:8000"),
            ("*:8000", "0.0.0.0:8000 and [::]:8000"),
            ("8000", "such as 127.0.0.1:8000"),
            ("127.0.0.1", "such as 127.0.0.1:8000"),
            ("127.0.0.1:", "such as 127.0.0.1:8000"),
            ("::1:8000", "[::1]:8000"),
            ("[localhost]:1", "such as"),
            ("http://localhost:1", "such as"),
            ("/run/a.sock", "unix:/path"),
            ("localhost:65536", "a port number"),
            ("unix:", "the path of a socket"),
            ("unix:/run/", "the path of a socket"),
            ("unix://run/a.sock", "the path of a socket"),
            (&long, "at most 103 bytes"),
            ("unix:@name", "abstract"),
            ("systemd:a b", "systemd:NAME"),
        ] {
            let wanted = ListenAddress::parse(text).expect_err(text);
            assert!(wanted.contains(part), "{text}: {wanted}");
        }
    }

    #[test]
    fn a_mode_is_octal_and_lets_somebody_in() {
        for (text, expected) in [("600", 0o600), ("0660", 0o660), ("666", 0o666), ("020", 0o020)] {
            assert_eq!(mode(text), Ok(expected));
        }
        for text in ["", "6", "0o600", "rw-rw----", "888", "1777", "000", "444", "-600"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_owner_is_a_user_a_group_or_both() {
        for (text, user, group) in [
            ("0", Some(0), None),
            ("1000:33", Some(1000), Some(33)),
            (":33", None, Some(33)),
            ("33:", Some(33), None),
            ("root", Some(0), None),
        ] {
            assert_eq!(owner(text), Ok(Owner { user, group }), "{text}");
        }
        for text in ["", ":", "no such user", "0:no such group", "4294967295", "-1"] {
            assert!(owner(text).is_err(), "{text}");
        }
    }
}
