//! What somebody who starts mcp-mux by hand wants to put into a client: a configuration that is ready to be pasted.

use serde_json::{Map, Value, json};

use crate::config::ServerName;

/// The part of a client's configuration that leads here, as clients of the `mcpServers` kind have it: the servers' names and the
/// URLs of their Streamable HTTP. Where one has to authenticate, there is a place for the token.
pub(super) fn client_configuration(servers: &[(ServerName, String)], with_token: bool) -> String {
    let entry = |(name, url): &(ServerName, String)| {
        let entry = if with_token {
            json!({"type": "http", "url": url, "headers": {"Authorization": "Bearer YOUR-TOKEN"}})
        } else {
            json!({"type": "http", "url": url})
        };
        let name = if *name == ServerName::unnamed() { "mcp-mux" } else { name.as_str() };
        (name.to_owned(), entry)
    };
    let servers: Map<String, Value> = servers.iter().map(entry).collect();
    // Plain data is always JSON.
    serde_json::to_string_pretty(&json!({"mcpServers": servers})).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(servers: &[(&str, &str)], with_token: bool) -> String {
        let servers = servers.iter().map(|(name, url)| (ServerName::parse(name).unwrap(), (*url).to_owned()));
        client_configuration(&servers.collect::<Vec<_>>(), with_token)
    }

    #[test]
    fn it_can_be_pasted_as_it_is() {
        let expected = r#"{
  "mcpServers": {
    "mcp-mux": {
      "type": "http",
      "url": "http://127.0.0.1:8000/mcp"
    }
  }
}"#;
        assert_eq!(written(&[("default", "http://127.0.0.1:8000/mcp")], false), expected);
    }

    #[test]
    fn each_server_is_there_and_a_place_for_the_token_where_one_is_needed() {
        let text = written(&[("git", "http://h/servers/git/mcp"), ("time", "http://h/servers/time/mcp")], true);
        let value: Value = serde_json::from_str(&text).unwrap();
        for name in ["git", "time"] {
            assert_eq!(value["mcpServers"][name]["url"], format!("http://h/servers/{name}/mcp"));
            assert_eq!(value["mcpServers"][name]["headers"]["Authorization"], "Bearer YOUR-TOKEN");
        }
    }
}
