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
    // Problems of these, and of the longest line, are reported where the router's and the child's configuration is read.
    let in_flight_max = values::some_count(&cli.in_flight_max).ok();
    let request_timeout_max = values::optional_duration(&cli.request_timeout_max).ok();
    let input_timeout = reader.read("input-timeout", &cli.input_timeout, values::duration);
    let replay_events = reader.read("replay-events", &cli.replay_events, values::count);
    let replay_bytes = reader.read("replay-bytes", &cli.replay_bytes, values::size);
    let streams_max = reader.read("streams-max", &cli.streams_max, values::some_count);
    let messages_waiting_max = reader.read("messages-waiting-max", &cli.messages_waiting_max, values::some_count);
    let unread_messages_max = unread_messages_max(cli, replay_events, reader);
    let unread_bytes_max = unread_bytes_max(cli, replay_bytes, reader);
    let line_bytes_max = values::some_size(&cli.line_bytes_max).ok();
    let unread_total_bytes_max = unread_total_bytes_max(cli, unread_bytes_max, line_bytes_max, reader);
    let parked_max = match &cli.parked_max {
        Some(text) => reader.read("parked-max", text, values::some_count),
        None => sessions_max.map(|max| NonZeroUsize::new(max.get() / 2).unwrap_or(NonZeroUsize::MIN)),
    };
    let parked_bytes_max = reader.read("parked-bytes-max", &cli.parked_bytes_max, values::some_size);
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

/// A client that comes back is given all that was kept for it at once, and must not be too slow by that alone.
fn unread_messages_max(cli: &Cli, replay_events: Option<usize>, reader: &mut Reader) -> Option<NonZeroUsize> {
    let Some(text) = &cli.unread_messages_max else {
        return NonZeroUsize::new(UNREAD_MESSAGES.max(replay_events?));
    };
    let max = reader.read("unread-messages-max", text, values::some_count)?;
    let least = replay_events?;
    if max.get() < least {
        let wanted = format!("at least as much as --replay-events, {least}");
        reader.problem("unread-messages-max", Some(text), wanted);
        return None;
    }
    Some(max)
}

fn unread_bytes_max(cli: &Cli, replay_bytes: Option<usize>, reader: &mut Reader) -> Option<usize> {
    let Some(text) = &cli.unread_bytes_max else {
        return Some(UNREAD_BYTES.max(replay_bytes?));
    };
    let max = reader.read("unread-bytes-max", text, values::some_size)?;
    let least = replay_bytes?;
    if max < least {
        let wanted = format!("at least as much as --replay-bytes, {least} bytes");
        reader.problem("unread-bytes-max", Some(text), wanted);
        return None;
    }
    Some(max)
}

/// One session has a third of what other accounts leave, and one of them may have half: so it has a sixth at least, while no more
/// than one other takes all it can. That is so much that it reaches its own limit first, and that an answer of any length the
/// server may give gets through.
fn unread_total_bytes_max(
    cli: &Cli,
    unread_bytes_max: Option<usize>,
    line_bytes_max: Option<usize>,
    reader: &mut Reader,
) -> Option<usize> {
    let (unread, line) = (unread_bytes_max?, line_bytes_max?);
    let least = unread.max(line).saturating_mul(6);
    let Some(text) = &cli.unread_total_bytes_max else { return Some(UNREAD_TOTAL_BYTES.max(least)) };
    let total = reader.read("unread-total-bytes-max", text, values::some_size)?;
    if total < least {
        let flag = if unread < line { "--line-bytes-max" } else { "--unread-bytes-max" };
        let wanted = format!("at least six times {flag}, {least} bytes");
        reader.problem("unread-total-bytes-max", Some(text), wanted);
        return None;
    }
    Some(total)
}

const UNREAD_MESSAGES: usize = 4096;
const UNREAD_BYTES: usize = 8 * 1024 * 1024;
const UNREAD_TOTAL_BYTES: usize = 512 * 1024 * 1024;
