//! What is shown, over sessions and a child that the tests play.

use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use serde_json::{Value, json};

use super::*;
use crate::auth::Admission;
use crate::config::{EndpointConfig, SessionMode};
use crate::jsonrpc::Message;
use crate::session::testing;
use crate::session::{Owned, Transport};

struct World {
    status: Arc<Status>,
    shared: testing::Shared,
    counted: Arc<AtomicU64>,
}

fn world() -> World {
    let shared = testing::registry(testing::config());
    let endpoint = EndpointConfig {
        body_bytes_max: 1000,
        body_timeout: Duration::from_secs(10),
        bounds: crate::config::Bounds::default(),
        sse_after: Duration::from_secs(1),
        keep_alive: Duration::from_secs(15),
        sessions: SessionMode::Sessions,
    };
    let servers = Servers::of(endpoint, Arc::clone(&shared.registry), Arc::clone(&shared.pool));
    let counted = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&counted);
    let counting = move |name: &str| {
        assert_eq!(name, "default");
        let count = counter.load(Ordering::Relaxed);
        Totals { outcomes: BTreeMap::from([("ok", count), ("timeout", count / 10)]), durations: vec![(0.1, count)] }
    };
    let connections = Box::new(|| Occupancy { all: (3, 20), of_address: (2, 10) });
    let status = Status::new(servers, Box::new(counting), connections, TaskTracker::new());
    World { status, shared, counted }
}

impl World {
    async fn json(&self, server: Option<&str>, since: u64) -> Value {
        serde_json::from_str(&self.status.json(server, since).await).expect("JSON")
    }

    fn open(&self, client: &str) -> Owned {
        let tenant = self.shared.pool.tenant(&Admission::anonymous(), &HeaderMap::new()).expect("a tenant");
        let owned = self.shared.registry.open(Transport::Streamable, tenant).expect("there is room");
        let params = json!({"clientInfo": {"name": client, "version": "1"}});
        let text = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string();
        owned.session().initialize(&Message::parse(text.into(), 10).expect("a message")).expect("the first");
        owned
    }
}

#[tokio::test]
async fn a_session_is_shown_by_its_tag_and_what_its_client_says_is_a_text_without_control_characters() {
    let world = world();
    let owned = world.open("<script>alert(1)</script>\u{1b}[2J\u{7}");
    let text = world.status.json(None, 0).await;
    assert!(!text.contains(&owned.session().id().expose()), "{text}");
    let shown: Value = serde_json::from_str(&text).expect("JSON");
    let [server] = shown["servers"].as_array().expect("servers").as_slice() else { panic!("one server: {shown}") };
    assert_eq!(
        (&server["name"], &server["state"], &server["sessions_total"]),
        (&json!("default"), &json!("ready"), &json!(1))
    );
    let session = &server["sessions"][0];
    assert_eq!(session["tag"], json!(owned.session().id().tag().to_string()));
    assert_eq!(session["client"], json!("<script>alert(1)</script>[2J 1"));
    assert_eq!(session["principal"], json!("anonymous"));
    assert_eq!(server["children"][0]["state"], json!("ready"));
}

#[tokio::test]
async fn how_near_limits_are_is_told_of_whoever_is_nearest() {
    let world = world();
    let _owned = world.open("a client");
    let shown = world.json(None, 0).await;
    let limits = [&shown["limits"], &shown["servers"][0]["limits"]].map(|limits| limits.as_array().expect("limits"));
    for expected in [
        json!({"name": "connections-max", "used": 3, "limit": 20}),
        json!({"name": "connections-per-address-max", "used": 2, "limit": 10, "of": "fullest address"}),
        json!({"name": "sessions-max", "used": 1, "limit": 8}),
        json!({"name": "in-flight-max", "used": 0, "limit": 300, "of": "fullest session"}),
        json!({"name": "tasks-max", "used": 0, "limit": 16384}),
    ] {
        assert!(limits.iter().any(|limits| limits.contains(&expected)), "{expected}: {limits:?}");
    }
}

#[tokio::test]
async fn an_outcome_that_no_request_had_is_not_told_of() {
    let world = world();
    world.counted.store(5, Ordering::Relaxed);
    world.status.sample();
    assert_eq!(world.json(None, 0).await["servers"][0]["requests"]["outcomes"], json!({"ok": 5}));
}

#[tokio::test]
async fn restarts_are_counted_for_a_server_whose_children_are_gone() {
    let world = world();
    world.shared.pool.metrics().add(Counter::ChildRestarts, 3);
    let shown = world.json(None, 0).await;
    assert_eq!(shown["servers"][0]["restarts"], json!(3));
    assert_eq!((&shown["program"]["enabled"], &shown["program"]["failing"]), (&json!(1), &json!(0)));
}

#[tokio::test(start_paused = true)]
async fn a_look_is_good_for_all_who_come_within_a_moment() {
    let world = world();
    assert_eq!(world.json(None, 0).await["servers"][0]["sessions_total"], json!(0));
    let _owned = world.open("a client");
    assert_eq!(world.json(None, 0).await["servers"][0]["sessions_total"], json!(0));
    tokio::time::advance(GOOD_FOR).await;
    assert_eq!(world.json(None, 0).await["servers"][0]["sessions_total"], json!(1));
}

#[tokio::test(start_paused = true)]
async fn samples_are_taken_while_nobody_looks_and_only_new_ones_are_sent() {
    let world = world();
    let stop = CancellationToken::new();
    let running = TaskTracker::new();
    running.spawn(Arc::clone(&world.status).run(stop.clone()));
    running.close();
    // Between two samples.
    tokio::time::sleep(PERIOD / 2).await;
    for counted in [10, 30, 30] {
        world.counted.store(counted, Ordering::Relaxed);
        tokio::time::sleep(PERIOD).await;
    }
    let shown = world.json(None, 0).await;
    let requests = |shown: &Value| {
        let samples = shown["history"]["samples"].as_array().expect("samples").clone();
        samples.iter().map(|sample| sample["requests"].as_u64().expect("a count")).collect::<Vec<_>>()
    };
    assert_eq!((requests(&shown), &shown["history"]["first"]), (vec![11, 22, 0], &json!(0)));
    assert_eq!(shown["history"]["samples"][1]["errors"], json!(2));
    assert_eq!(shown["servers"][0]["requests"]["outcomes"], json!({"ok": 30, "timeout": 3}));
    let later = world.json(Some("default"), 2).await;
    assert_eq!((requests(&later), &later["history"]["first"]), (vec![0], &json!(2)));
    assert_eq!(later["history"]["server"], json!("default"));
    // Somebody may ask for whatever he likes.
    let stranger = world.json(Some("no such server"), u64::MAX).await;
    assert_eq!((requests(&stranger), &stranger["history"]["server"]), (vec![], &Value::Null));
    stop.cancel();
    running.wait().await;
}
