//! The table of principals in a whole file, and the flags that say the same for everybody.

use std::num::NonZeroU32;

use super::*;
use crate::config::Isolation;
use crate::config::principals::{PrincipalConfig, PrincipalsConfig};

#[test]
fn the_flags_for_everybody_are_read_and_checked() {
    let default = |text: &str| Setting::toml(text).load().unwrap().principals.default;
    assert_eq!(default(""), PrincipalConfig { rate: Some(Rate::Unlimited), ..PrincipalConfig::default() });
    let all = default("rate = '600/m'\nrate-burst = 20\nprincipal-sessions-max = 3\nprincipal-in-flight-max = 4");
    assert_eq!(all.rate, Some(Rate::PerSecond(10.0)));
    assert_eq!(all.burst.map(NonZeroU32::get), Some(20));
    assert_eq!(all.sessions_max.zip(all.in_flight_max).map(|(a, b)| (a.get(), b.get())), Some((3, 4)));
    for (text, expected) in [
        ("rate = 0", "rate \"0\": must be a rate from 1/d to 1000000/s, such as 10 (a second), 10/s"),
        ("rate = -1", "rate \"-1\": must be a rate"),
        ("rate = nan", "rate \"nan\": must be a rate"),
        ("rate = inf", "rate \"inf\": must be a rate"),
        ("rate = '10/w'", "rate \"10/w\": must be a rate"),
        ("rate = '1000001'", "rate \"1000001\": must be a rate"),
        ("rate = 1\nrate-burst = 0", "rate-burst \"0\": must be a whole number from 1 to 4294967295"),
        ("rate-burst = 1", "rate-burst \"1\": must be left out without --rate"),
        ("principal-sessions-max = 0", "principal-sessions-max \"0\": must be a whole number, 1 or more; or none"),
        ("principal-sessions-max = 10001", "principal-sessions-max \"10001\": must be at most --sessions-max, 10000"),
        ("principal-in-flight-max = 'x'", "principal-in-flight-max \"x\": must be a whole number, 1 or more; or none"),
    ] {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].starts_with(&format!("mux.toml: {expected}")), "{found:?}");
    }
}

#[test]
fn variables_of_principals_need_a_child_of_their_own() {
    let text = "[principals.'jwt:*'.env]\nA = 'hunter2'";
    let wanted = "must be left out, unless with --isolation principal: others share the process";
    assert_eq!(problems(text), [format!("mux.toml: principals.\"jwt:*\".env: {wanted}")]);
    let config = Setting::toml(&format!("isolation = 'principal'\n{text}")).load().unwrap();
    assert_eq!(config.principals.isolation, Isolation::Principal);
    assert_eq!(config.principals.entries["jwt:*"].env["A"].expose(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_principals_alone_are_read_again() {
    let setting = Setting::toml("port = 1\nrate = 7\n[principals.anonymous]\nrate = 1");
    let config = setting.load().unwrap().principals;
    assert_eq!(config.reload().unwrap(), config);

    fs::write(setting.path(), "port = 'x'\nrate = 8\n[principals.'jwt:*']\nrate = 2").unwrap();
    let again = config.reload().unwrap();
    assert_eq!(again.entries.keys().collect::<Vec<_>>(), ["jwt:*"]);
    assert_eq!(again.default, config.default);

    for (text, expected) in [
        ("[principals", "mux.toml: line 1, column 12: must be valid TOML ("),
        ("[principals.x]", "mux.toml: principals.x: must be one of token:NAME"),
        ("[principals.'*'.env]\nA = 'a'", "mux.toml: principals.\"*\".env: must be left out"),
        ("", "mux.toml: must be a file with something in it: an empty one would take every limit away"),
        ("# port = 1\n", "mux.toml: must be a file with something in it"),
    ] {
        fs::write(setting.path(), text).unwrap();
        let problems = again.reload().unwrap_err().to_string();
        assert!(problems.contains(expected), "{problems}");
    }
    fs::write(setting.path(), "port = 1").unwrap();
    assert_eq!(again.reload().unwrap().entries, PrincipalsConfig::default().entries);
    fs::remove_file(setting.path()).unwrap();
    assert!(again.reload().unwrap_err().to_string().contains("a file that can be read (No such file"));
    fs::create_dir(setting.path()).unwrap();
    assert!(again.reload().unwrap_err().to_string().contains("a regular file, to be read again"));
    let without = PrincipalsConfig::default();
    assert_eq!(without.reload().unwrap(), without);
}
