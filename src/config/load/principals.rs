//! The limits of principals that are said by flags, and the table of the configuration file with them.

use super::Reader;
use crate::cli::{Cli, Origins};
use crate::config::principals::{PrincipalConfig, PrincipalsConfig, Rate};
use crate::config::{Isolation, ServersConfig, values};

/// None means that a problem was recorded, here or for what is given.
pub(super) fn read(cli: &Cli, reader: &mut Reader, servers: Option<&ServersConfig>) -> Option<PrincipalsConfig> {
    let servers = servers.map(|servers| &servers.servers);
    let rate = reader.read("rate", &cli.rate, values::rate);
    let burst = cli.rate_burst.as_deref().map(|text| reader.read("rate-burst", text, values::burst));
    let sessions_max = reader.read("principal-sessions-max", &cli.principal_sessions_max, values::optional_limit);
    let in_flight_max = reader.read("principal-in-flight-max", &cli.principal_in_flight_max, values::optional_limit);

    if let (Some(Rate::Unlimited), Some(text)) = (rate, &cli.rate_burst) {
        reader.problem("rate-burst", Some(text), "left out without --rate");
    }
    if let (Some(Some(max)), Some(most)) =
        (sessions_max, servers.and_then(|servers| servers.iter().map(|server| server.session.sessions_max).max()))
        && max > most
    {
        let wanted = format!("at most --sessions-max, {most}");
        reader.problem("principal-sessions-max", Some(&cli.principal_sessions_max), wanted);
    }
    let default = PrincipalConfig {
        rate: Some(rate?),
        // None: a problem was recorded. Some(None): none was given.
        burst: burst.map_or(Some(None), |burst| burst.map(Some))?,
        sessions_max: sessions_max?,
        in_flight_max: in_flight_max?,
        ..PrincipalConfig::default()
    };
    let Origins { file, principals, .. } = &cli.origins;
    // One server is enough for that the variables of a principal are of use.
    let mut isolations = servers?.iter().map(|server| server.pool.isolation);
    // Without a server, they are of no use and no mistake.
    let of_none = if servers?.is_empty() { Isolation::Principal } else { Isolation::default() };
    let isolation = isolations.find(|isolation| *isolation == Isolation::Principal).unwrap_or(of_none);
    let principals = PrincipalsConfig { default, entries: principals.clone(), file: file.clone(), isolation };
    principals.check(&mut reader.problems);
    Some(principals)
}
