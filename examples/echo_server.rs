//! A fast stdio MCP server that answers every request at once: `tools/call` with its own arguments as text, everything
//! else with an empty result. For load tests and benchmarks, where the server must not be what is measured.

use std::io::{self, BufRead, BufReader, BufWriter, Write};

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

const INITIALIZED: &str =
    r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}}"#;

fn main() -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 16, io::stdin());
    let mut output = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        if let Ok(Envelope { id: Some(id), method: Some(method), params }) = serde_json::from_str::<Envelope<'_>>(&line)
        {
            let result = match (method, params) {
                ("initialize", _) => INITIALIZED,
                ("tools/call", Some(params)) => params.get(),
                _ => "{}",
            };
            writeln!(output, r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)?;
        }
        line.clear();
        // While more requests have been read already, their answers go out in one write.
        if memchr::memchr(b'\n', input.buffer()).is_none() {
            output.flush()?;
        }
    }
    output.flush()
}
