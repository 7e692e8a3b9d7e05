//! Which arguments of which tools are repeated in headers, as far as the server's lists have said.
//!
//! Spec: 2026-07-28, Streamable HTTP, Custom Headers from Tool Parameters.

use std::collections::BTreeMap;

use crate::era::annotations::{self, Annotation};

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

/// More are not kept.
const TOOLS_MAX: usize = 16_384;
