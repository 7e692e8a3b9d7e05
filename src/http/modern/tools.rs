//! Which arguments of which tools are repeated in headers, as the child's last `tools/list` results have it.
//!
//! Learnt from results that pass by; a tool that none of them had is looked for once, before it is called.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::debug;

use crate::era::{annotations, legacy};
use crate::jsonrpc::{self, DEPTH_MAX, Kind, Message};
use crate::mcp::{Era, method};
use crate::session::Session;

use annotations::Annotation;

/// The tools that are known, bounded.
#[derive(Debug, Default)]
pub(super) struct Tools(Mutex<HashMap<String, Arc<[Annotation]>>>);

impl Tools {
    fn known(&self, name: &str) -> Option<Arc<[Annotation]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn learn(&self, tools: impl IntoIterator<Item = (String, Vec<Annotation>)>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, annotations) in tools.into_iter().filter(|(name, _)| name.len() <= NAME_BYTES_MAX) {
            if known.len() >= TOOLS_MAX && !known.contains_key(&name) {
                // They are learnt again as they are called.
                known.clear();
            }
            known.insert(name, annotations.into());
        }
    }

    /// A response to `tools/list` passes by. Returns where the next page is.
    pub(super) fn pass(&self, response: &Message) -> Option<String> {
        let result = response.result().filter(|_| response.kind() == Kind::Result)?;
        let page = annotations::read(response.text(result));
        self.learn(page.tools);
        page.next
    }

    /// What is repeated of the arguments of this tool. One that is not known is looked for in the child's list.
    pub(super) async fn of(&self, name: &str, session: &Arc<Session>) -> Arc<[Annotation]> {
        if let Some(known) = self.known(name) {
            return known;
        }
        match tokio::time::timeout(LIST_TIME_MAX, self.list(session)).await {
            // A tool that the list has not is not looked for again.
            Ok(Some(())) if self.known(name).is_none() => self.learn([(name.to_owned(), Vec::new())]),
            Ok(Some(())) => {}
            Ok(None) | Err(_) => debug!("the server gave no list of its tools: headers are not checked against it"),
        }
        self.known(name).unwrap_or_default()
    }

    async fn list(&self, session: &Arc<Session>) -> Option<()> {
        let mut cursor: Option<String> = None;
        for page in 0..PAGES_MAX {
            let mut params = serde_json::Map::new();
            if let Some(cursor) = cursor.take() {
                params.insert("cursor".to_owned(), cursor.into());
            }
            if session.child_era() == Era::Modern {
                params.insert("_meta".to_owned(), serde_json::from_str(&legacy::own_meta()).unwrap_or_default());
            }
            let params = serde_json::Value::Object(params).to_string();
            let request = jsonrpc::request(&format!("\"mcp-mux-tools-{page}\""), method::TOOLS_LIST, Some(&params));
            let request = Message::parse(request.into_bytes(), DEPTH_MAX).ok()?;
            let answer = session.ask(request).await.ok()??;
            let answer = Message::parse(answer.into_frame().into_bytes(), usize::MAX).ok()?;
            if answer.kind() != Kind::Result {
                return None;
            }
            cursor = self.pass(&answer);
            if cursor.is_none() {
                break;
            }
        }
        Some(())
    }
}

/// The most tools that are known at a time, and the longest name of one.
const TOOLS_MAX: usize = 8192;
const NAME_BYTES_MAX: usize = 1024;
/// The most pages of a list that are asked for.
const PAGES_MAX: usize = 32;
/// How long a call waits for the list.
const LIST_TIME_MAX: Duration = Duration::from_secs(5);
