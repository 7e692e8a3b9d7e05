//! From one configuration to the next.

use super::*;
use crate::config::ServerConfig;

#[tokio::test(start_paused = true)]
async fn a_new_configuration_touches_what_has_changed_and_nothing_else() {
    let play = Play::default();
    let (same, other, gone) = (server("same", &[]), server("other", &[]), server("gone", &[]));
    let (servers, tracker) = start(several(vec![same.clone(), other, gone]), &play);
    assert!(servers.first().await.is_ok());
    let before = ["same", "other", "gone"].map(|text| servers.named(&name(text)).unwrap());
    let mut sessions = Vec::new();
    for server in &before {
        let visit = server.visit().await.unwrap();
        let session = visit.registry.open(Transport::Streamable, tenant(&visit)).unwrap();
        sessions.push(Arc::clone(session.session()));
        session.keep();
    }

    let changed = server("other", &["--request-timeout", "7s"]);
    let mut config = several(vec![same, changed, server("new", &[])]);
    config.unusable = vec![(name("off"), Unusable::Disabled)];
    assert_eq!(servers.change(config.clone()), Changes { added: 2, removed: 1, changed: 1, kept: 1 });
    assert!(servers.named(&name("gone")).is_none() && servers.named(&name("off")).is_none());
    assert!(Arc::ptr_eq(&before[0], &servers.named(&name("same")).unwrap()));
    assert!(!Arc::ptr_eq(&before[1], &servers.named(&name("other")).unwrap()));
    sleep(LONG / 2).await;
    assert_eq!(sessions.iter().map(|session| session.is_closed()).collect::<Vec<_>>(), [false, true, true]);
    for old in &before[1..] {
        assert!(matches!(old.visit().await, Err(Reject::NotFound)));
    }
    for text in ["same", "other", "new"] {
        assert!(servers.named(&name(text)).unwrap().visit().await.is_ok());
    }
    assert_eq!(["same", "other", "gone", "new"].map(|text| play.started(text)), [1, 2, 1, 1]);
    assert_eq!(play.running.load(Ordering::Relaxed), 3);

    // The same once more is nothing.
    assert_eq!(servers.change(config), Changes { kept: 4, ..Changes::default() });
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn the_one_that_needs_no_name_stays_that_and_none_takes_its_place() {
    let play = Play::default();
    let unnamed = |servers: &Servers| servers.only().map(|server| server.name().to_string());
    let (a, b) = (server("a", &[]), server("b", &[]));
    let (servers, tracker) = start(several(vec![a.clone(), b.clone()]), &play);
    assert_eq!(unnamed(&servers), None);
    servers.change(several(vec![b.clone()]));
    assert_eq!(unnamed(&servers).as_deref(), Some("b"));
    servers.change(several(vec![a.clone(), b]));
    assert_eq!(unnamed(&servers).as_deref(), Some("b"));
    servers.change(several(vec![a]));
    assert_eq!(unnamed(&servers), None);
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_started_later_does_not_make_the_others_unready() {
    let play = Play::default();
    let (servers, tracker) = start(several(vec![server("a", &[])]), &play);
    assert!(servers.first().await.is_ok());
    assert_eq!(servers.health().standing, Standing::Ready);
    play.silent.lock().unwrap().insert("b");
    servers.change(several(vec![server("a", &[]), server("b", &["--start-timeout", "10s"])]));
    for _ in 0..60 {
        sleep(SOON).await;
        assert_eq!(servers.health().standing, Standing::Ready);
    }
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_taken_out_answers_what_is_in_flight_first() {
    let play = Play::default();
    let (servers, tracker) = start(several(vec![server("a", &[]), server("b", &[])]), &play);
    assert!(servers.first().await.is_ok());
    let visit = servers.named(&name("a")).unwrap().visit().await.unwrap();
    servers.change(several(vec![server("b", &[])]));
    sleep(Duration::from_secs(9)).await;
    assert_eq!(play.running.load(Ordering::Relaxed), 2, "it waits for those who visit it");
    drop(visit);
    sleep(SOON).await;
    assert_eq!(play.running.load(Ordering::Relaxed), 1);
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_stop_nothing_is_started_and_nothing_changes() {
    let play = Play::default();
    play.silent.lock().unwrap().extend(["a", "b"]);
    let (servers, tracker) =
        start(several(vec![server("a", &[]), server("b", &[]), server("c", &[]), lazy("d", LONG)]), &play);
    sleep(SOON).await;
    let (c, d) = (servers.named(&name("c")).unwrap(), servers.named(&name("d")).unwrap());
    servers.end_standing_streams();
    assert_eq!(servers.change(several(vec![server("e", &[])])), Changes::default());
    servers.stop().await;
    servers.close_all();
    sleep(LONG).await;
    for server in [c, d] {
        assert!(matches!(timeout(LONG, server.visit()).await, Ok(Err(Reject::NotFound | Reject::ShuttingDown))));
    }
    assert_eq!(["a", "b", "c", "d", "e"].map(|text| play.started(text)), [1, 1, 0, 0, 0]);
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_the_one_before_was_in_the_way_of_is_tried_again_when_that_is_gone() {
    let play = Play::default();
    play.exclusive.lock().unwrap().insert("a");
    let (servers, tracker) = start(several(vec![server("a", &[]), server("b", &[])]), &play);
    assert!(servers.first().await.is_ok());
    let visit = servers.named(&name("a")).unwrap().visit().await.unwrap();
    servers.change(several(vec![server("a", &["--request-timeout", "7s"]), server("b", &[])]));
    let after = servers.named(&name("a")).unwrap();
    // After 0, 2 and 6 seconds; the next wait is 8 seconds long.
    sleep(Duration::from_secs(7)).await;
    assert_eq!((after.condition(), play.started("a")), (Condition::Failed, 1 + 3));
    drop(visit);
    sleep(SOON).await;
    assert_eq!((after.condition().as_str(), play.started("a")), ("ready", 1 + 4));
    end((servers, tracker), &play).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_as_it_was_goes_on_though_its_folder_is_gone() {
    let play = Play::default();
    let (a, b) = (server("a", &[]), server("b", &[]));
    let (servers, tracker) = start(several(vec![a.clone(), b.clone()]), &play);
    assert!(servers.first().await.is_ok());
    let before = servers.named(&name("a")).unwrap();
    let without_folder = |config: ServerConfig| {
        let unusable = vec![(name("a"), Unusable::Invalid("no folder".to_owned()))];
        ServersConfig { unusable, folderless: vec![config], ..several(vec![b.clone()]) }
    };
    assert_eq!(servers.change(without_folder(a)), Changes { kept: 2, ..Changes::default() });
    assert!(Arc::ptr_eq(&before, &servers.named(&name("a")).unwrap()));
    assert!(before.visit().await.is_ok());

    let other = server("a", &["--request-timeout", "7s"]);
    assert_eq!(servers.change(without_folder(other)), Changes { changed: 1, kept: 1, ..Changes::default() });
    assert!(servers.named(&name("a")).is_none());
    end((servers, tracker), &play).await;
}
