//! Sessions: how long and how many, and what each may have waiting, unread and kept.

use std::num::NonZeroUsize;

use super::Reader;
use crate::cli::Cli;
use crate::config::{SessionConfig, values};

/// None means that a problem was recorded.
pub(super) fn read(cli: &Cli, reader: &mut Reader) -> Option<SessionConfig> {
    let idle_timeout = reader.read("session-idle-timeout", &cli.session_idle_timeout, values::optional_duration);
    let age_max = reader.read("session-max-age", &cli.session_max_age, values::optional_duration);
    let sessions_max = reader.read("sessions-max", &cli.sessions_max, values::some_count);
    // Its problems are reported where the router's configuration is read.
    let in_flight_max = values::some_count(&cli.in_flight_max).ok();
    let request_timeout_max = values::optional_duration(&cli.request_timeout_max).ok();
    let input_timeout = reader.read("input-timeout", &cli.input_timeout, values::duration);
    let replay_events = reader.read("replay-events", &cli.replay_events, values::count);
    let replay_bytes = reader.read("replay-bytes", &cli.replay_bytes, values::size);
    let streams_max = reader.read("streams-max", &cli.streams_max, values::some_count);
    let messages_waiting_max = reader.read("messages-waiting-max", &cli.messages_waiting_max, values::some_count);
    let unread_messages_max = reader.read("unread-messages-max", &cli.unread_messages_max, values::some_count);
    let unread_bytes_max = reader.read("unread-bytes-max", &cli.unread_bytes_max, values::some_size);
    let unread_total_bytes_max = &cli.unread_total_bytes_max;
    let unread_total_bytes_max = reader.read("unread-total-bytes-max", unread_total_bytes_max, values::some_size);
    let parked_max = match &cli.parked_max {
        Some(text) => reader.read("parked-max", text, values::some_count),
        None => sessions_max.map(|max| NonZeroUsize::new(max.get() / 2).unwrap_or(NonZeroUsize::MIN)),
    };
    let parked_bytes_max = reader.read("parked-bytes-max", &cli.parked_bytes_max, values::some_size);

    // A client that comes back is given all that was kept for it at once, and must not be too slow by that alone.
    if let (Some(events), Some(max)) = (replay_events, unread_messages_max)
        && max.get() < events
    {
        let wanted = format!("at least as much as --replay-events, {events}");
        reader.problem("unread-messages-max", Some(&cli.unread_messages_max), wanted);
    }
    if let (Some(bytes), Some(max)) = (replay_bytes, unread_bytes_max)
        && max < bytes
    {
        let wanted = format!("at least as much as --replay-bytes, {bytes} bytes");
        reader.problem("unread-bytes-max", Some(&cli.unread_bytes_max), wanted);
    }
    // One client alone has half of it.
    if let (Some(max), Some(total)) = (unread_bytes_max, unread_total_bytes_max)
        && total / 2 < max
    {
        let wanted = format!("at least twice --unread-bytes-max, {} bytes", max * 2);
        reader.problem("unread-total-bytes-max", Some(&cli.unread_total_bytes_max), wanted);
    }
    Some(SessionConfig {
        idle_timeout: idle_timeout?,
        age_max: age_max?,
        sessions_max: sessions_max?,
        in_flight_max: in_flight_max?,
        replay_events: replay_events?,
        replay_bytes: replay_bytes?,
        streams_max: streams_max?,
        messages_waiting_max: messages_waiting_max?,
        unread_messages_max: unread_messages_max?,
        unread_bytes_max: unread_bytes_max?,
        unread_total_bytes_max: unread_total_bytes_max?,
        parked_max: parked_max?,
        parked_bytes_max: parked_bytes_max?,
        input_timeout: input_timeout?,
        request_timeout_max: request_timeout_max?,
    })
}
