//! Every input that the fuzzers' corpora hold, once through what the fuzzers do with it (`fuzz/src/lib.rs`).
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::sync::Once;

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, clippy::indexing_slicing, clippy::string_slice, reason = "a library of tests")]
mod targets;

/// Runs the whole corpus of a target. A panic in a task is one here.
fn run(target: &str) {
    static LOUD: Once = Once::new();
    LOUD.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            // A runtime would catch it, and the test would not know.
            std::process::exit(101);
        }));
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(inputs.len() > 5, "{} has hardly any inputs", folder.display());
    for input in inputs {
        println!("{}", input.display());
        targets::run(target, &fs::read(&input).unwrap());
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
}
