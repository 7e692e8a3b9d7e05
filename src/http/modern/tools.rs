//! How the annotations of a child's tools come to be known: from a client's `tools/list` that passes by, or from one of
//! mcp-mux's own before a tool is called of which nothing is known.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::era::annotations::{self, Annotation};
use crate::era::legacy;
use crate::jsonrpc::{self, DEPTH_MAX, Kind, Message};
use crate::mcp::{Era, method};
use crate::router::cache::{Extent, ResponseCache, Tools, ToolsTicket};
use crate::session::Session;

/// A client's `tools/list` under way.
pub(super) struct Listing {
    tools: Tools,
    ticket: ToolsTicket,
    /// Whether it asks for the first page.
    first: bool,
}

impl Listing {
    /// None if the request is another, or its answer not all that the child says.
    pub(super) fn of(request: &Message, session: &Session) -> Option<Self> {
        // What one client may not see would seem not to be there, to all.
        let is_whole = request.method() == method::TOOLS_LIST && session.rules().is_everything();
        let tools = session.cache().filter(|_| is_whole).map(ResponseCache::tools)?;
        let cursor = request.params().map(|params| request.member(params, "cursor"));
        let first = matches!(cursor, None | Some(Ok(None)));
        Some(Self { tools: tools.clone(), ticket: tools.ticket(), first })
    }

    /// The child answered.
    pub(super) fn answered(self, response: &Message) {
        if let Some(result) = response.result().filter(|_| response.kind() == Kind::Result) {
            let page = annotations::read(response.text(result));
            let extent = if self.first && page.next.is_none() { Extent::Whole } else { Extent::Part };
            self.tools.learn(self.ticket, page.tools, extent);
        }
    }
}

/// What is repeated of the arguments of this tool. Where that is not known the child is asked for its list, by one of all
/// that wait for it; a child that gives none has nothing checked.
pub(super) async fn of(name: &str, session: &Arc<Session>) -> Arc<[Annotation]> {
    let Some(tools) = session.cache().map(ResponseCache::tools) else { return Arc::default() };
    if let Some(known) = tools.of(name, Instant::now()) {
        return known;
    }
    let Ok(Some(_turn)) = timeout(LIST_TIME_MAX, tools.turn()).await else { return Arc::default() };
    if let Some(known) = tools.of(name, Instant::now()) {
        return known;
    }
    let ticket = tools.ticket();
    let Ok(Some(listed)) = timeout(LIST_TIME_MAX, list(session)).await else {
        debug!("the server gave no list of its tools: headers are not checked against it for a while");
        tools.failed(ticket, Instant::now());
        return Arc::default();
    };
    // The call is judged by this list even if it is stale already.
    let annotations = listed.iter().rfind(|(listed, _)| listed == name).map(|(_, annotations)| annotations.clone());
    tools.learn(ticket, listed, Extent::Whole);
    annotations.unwrap_or_default().into()
}

async fn list(session: &Arc<Session>) -> Option<Vec<(String, Vec<Annotation>)>> {
    let (mut tools, mut cursor) = (Vec::new(), None::<String>);
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
        let answer = session.ask_for_all(request).await.ok()??;
        let answer = Message::parse(answer.into_frame().into_bytes(), usize::MAX).ok()?;
        let result = answer.result().filter(|_| answer.kind() == Kind::Result)?;
        let found = annotations::read(answer.text(result));
        tools.extend(found.tools);
        cursor = found.next;
        if cursor.is_none() {
            return Some(tools);
        }
    }
    debug!(pages = PAGES_MAX, "the server's list of tools is longer than is looked at");
    Some(tools)
}

/// The most pages of a list that are asked for.
const PAGES_MAX: usize = 32;
/// How long a call waits for the list, and before that for another that asks for it.
const LIST_TIME_MAX: Duration = Duration::from_secs(5);
