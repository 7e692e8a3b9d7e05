//! Every input that the fuzzers' corpora hold, once through what the fuzzers do with it (`fuzz/src/lib.rs`).
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::Cell;
use std::path::Path;
use std::sync::Once;
use std::{fs, panic};

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, clippy::indexing_slicing, clippy::string_slice, reason = "a library of tests")]
mod targets;

thread_local! {
    /// A panic in a task is caught by its runtime, which is on the thread of its test.
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// Runs the whole corpus of a target.
fn run(target: &str) {
    static NOTING: Once = Once::new();
    NOTING.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            usual(info);
            PANICKED.set(true);
        }));
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() > 5, "{} has hardly any inputs", folder.display());
    for input in inputs {
        let bytes = fs::read(&input).unwrap();
        let outcome = panic::catch_unwind(|| targets::run(target, &bytes));
        assert!(outcome.is_ok() && !PANICKED.get(), "{target} fails with {}", input.display());
    }
}

#[test]
fn the_corpus_of_every_target_is_run() {
    let mut folders: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    let mut targets = targets::TARGETS.map(|(name, _)| name);
    targets.sort_unstable();
    assert_eq!(folders, targets);
}

macro_rules! corpora {
    ($($test:ident: $target:literal,)*) => {
        $(#[test]
        fn $test() {
            run($target);
        })*
    };
}

corpora! {
    wire_holds: "wire",
    router_holds: "router",
    http_holds: "http",
    connection_holds: "connection",
    sse_holds: "sse",
    config_holds: "config",
    jwt_holds: "jwt",
    certificate_holds: "certificate",
}
