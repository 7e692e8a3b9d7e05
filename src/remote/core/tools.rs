//! Which arguments of which tools are repeated in headers, as far as the server's lists have said.
//!
//! Spec: 2026-07-28, Streamable HTTP, Custom Headers from Tool Parameters.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::exchange::{Purpose, Step};
use super::{Core, ExchangeId};
use crate::era::annotations::{self, Annotation};
use crate::era::edit;
use crate::era::legacy::own_meta;
use crate::jsonrpc::{Frame, Message};
use crate::mcp::ids::{PROGRESS_TOKEN, Param};
use crate::mcp::method;

/// The tools that have such arguments.
#[derive(Debug, Default)]
pub(in crate::remote) struct Tools(BTreeMap<String, Vec<Annotation>>);

impl Tools {
    /// The annotations of a tool.
    pub(in crate::remote) fn of(&self, name: &str) -> &[Annotation] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Reads a result of `tools/list`; returns where the next page is.
    pub(in crate::remote) fn learn(&mut self, result: &str) -> Option<String> {
        let page = annotations::read(result);
        for (name, annotations) in page.tools {
            if annotations.is_empty() {
                self.0.remove(&name);
            } else if self.0.len() < TOOLS_MAX || self.0.contains_key(&name) {
                self.0.insert(name, annotations);
            }
        }
        page.next
    }
}

impl Core {
    /// spec: 2026-07-28 basic/transports/streamable-http, Client Behavior: `tools/list`, then the request once more.
    pub(super) fn ask_for_tools(&mut self, of: ExchangeId, error: Option<Message>, now: Instant) {
        if let Some(exchange) = self.exchanges.get_mut(&of) {
            exchange.refusal = error;
            exchange.moved = true;
            exchange.step = Step::Parked;
        }
        self.ask_for_page(of, None, now);
    }

    fn ask_for_page(&mut self, of: ExchangeId, cursor: Option<&str>, now: Instant) {
        let Some(asked) = self.exchanges.get_mut(&of) else { return };
        asked.attempts += 1;
        if asked.attempts > PAGES_MAX {
            return self.tools_unknown(of);
        }
        let cursor =
            cursor.map_or_else(String::new, |cursor| format!(r#","cursor":{}"#, serde_json::Value::from(cursor)));
        let meta = self.exchanges.get(&of).and_then(|exchange| exchange.message.as_ref()).and_then(|message| {
            let meta = message.param(Param::Meta)?;
            let kept = edit::remove(Frame::new(message.bytes().clone()), message, meta, &[PROGRESS_TOKEN]);
            let edited = Message::parse(kept.ok()?.into_bytes(), usize::MAX).ok()?;
            Some(edited.text(edited.param(Param::Meta)?).to_owned())
        });
        let meta = meta.unwrap_or_else(own_meta);
        let params = format!(r#"{{"_meta":{meta}{cursor}}}"#);
        match Self::own(Some("\"mcp-mux-tools\""), method::TOOLS_LIST, Some(&params)) {
            Some(message) => {
                let id = self.begin(Purpose::Tools(of), Some(message));
                self.launch(id, now);
            }
            None => self.tools_unknown(of),
        }
    }

    pub(super) fn tools_listed(&mut self, at: ExchangeId, of: ExchangeId, message: &Message, now: Instant) {
        self.let_go(at, now);
        let next = message.result().map(|result| self.tools.learn(message.text(result)));
        match next {
            Some(Some(next)) => self.ask_for_page(of, Some(&next), now),
            Some(None) => {
                if let Some(exchange) = self.exchanges.get_mut(&of) {
                    exchange.succeeded();
                }
                self.launch(of, now);
            }
            None => self.tools_unknown(of),
        }
    }

    /// The client gets what the server said in the first place.
    pub(super) fn tools_unknown(&mut self, of: ExchangeId) {
        let Some(exchange) = self.end(of) else { return };
        if let (Some(refusal), Some((id, _))) = (exchange.refusal, exchange.purpose.request()) {
            self.pass_error(id, &refusal);
        }
    }
}

/// The most pages of tools that are asked for.
const PAGES_MAX: u32 = 64;
/// More are not kept.
const TOOLS_MAX: usize = 16_384;
