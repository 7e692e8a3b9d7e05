//! A stdio MCP server with one tool that says what it is told, as fast as can be: all requests that are there are read at
//! once and answered with one write.

use std::io::{self, Read, Write};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Era;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

const INITIALIZED: &str =
    r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}}"#;
const DISCOVERED: &str = r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}}"#;
const TOOLS: &str =
    r#""tools":[{"name":"echo","inputSchema":{"type":"object","properties":{"text":{"type":"string"}}}}]"#;

/// Serves until its stdin ends.
pub(crate) fn serve(era: Era) -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut read = vec![0; 1 << 20];
    let mut filled = 0;
    let mut answers = Vec::with_capacity(1 << 16);
    loop {
        if filled == read.len() {
            read.resize(read.len() * 2, 0);
        }
        let Some(room) = read.get_mut(filled..) else { return Ok(()) };
        let count = input.read(room)?;
        if count == 0 {
            return Ok(());
        }
        let before = filled;
        filled += count;
        // Only what is new can have the end of a line.
        let Some(end) = read.get(before..filled).and_then(|new| memchr::memrchr(b'\n', new)) else { continue };
        let end = before + end + 1;
        for line in read.get(..end).unwrap_or_default().split_inclusive(|&byte| byte == b'\n') {
            answer(era, line, &mut answers)?;
        }
        output.write_all(&answers)?;
        output.flush()?;
        answers.clear();
        read.copy_within(end..filled, 0);
        filled -= end;
    }
}

fn answer(era: Era, line: &[u8], answers: &mut Vec<u8>) -> io::Result<()> {
    let Ok(Request { id: Some(id), method: Some(method), params }) = serde_json::from_slice::<Request<'_>>(line) else {
        return Ok(());
    };
    let text =
        params.and_then(|params| params.arguments).and_then(|arguments| arguments.text).map_or("null", RawValue::get);
    let envelope = match era {
        Era::Legacy => "",
        Era::Modern => r#""resultType":"complete","#,
    };
    match (method, era) {
        ("tools/call", _) => {
            write!(answers, r#"{{"jsonrpc":"2.0","id":{id},"result":{{{envelope}"content":[{{"type":"text","text":"#)?;
            answers.extend_from_slice(text.as_bytes());
            answers.extend_from_slice(b"}]}}\n");
            Ok(())
        }
        ("initialize", Era::Legacy) => writeln!(answers, r#"{{"jsonrpc":"2.0","id":{id},"result":{INITIALIZED}}}"#),
        ("server/discover", Era::Modern) => writeln!(answers, r#"{{"jsonrpc":"2.0","id":{id},"result":{DISCOVERED}}}"#),
        ("tools/list", Era::Legacy) => writeln!(answers, r#"{{"jsonrpc":"2.0","id":{id},"result":{{{TOOLS}}}}}"#),
        ("tools/list", Era::Modern) => {
            let hints = r#""ttlMs":0,"cacheScope":"private""#;
            writeln!(answers, r#"{{"jsonrpc":"2.0","id":{id},"result":{{{envelope}{hints},{TOOLS}}}}}"#)
        }
        ("ping", Era::Legacy) => writeln!(answers, r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#),
        _ => {
            let error = r#"{"code":-32601,"message":"method not found"}"#;
            writeln!(answers, r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
        }
    }
}
