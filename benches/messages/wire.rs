//! From bytes to messages, and back.

use bytes::{Bytes, BytesMut};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box, black_box_drop};
use mcp_mux::jsonrpc::{BATCH_MAX, Body, DEPTH_MAX, Frame, Kind, Message, Span, parse_body};
use mcp_mux::mcp::Era;

use crate::world::{CLIENT_ID, World};
use crate::{SIZES, parsed, request, response};

/// The deepest nesting that is taken from a child.
const CHILD_DEPTH_MAX: usize = 1024;

#[divan::bench(args = SIZES)]
fn parse_request(bencher: Bencher<'_, '_>, size: usize) {
    let body = request(CLIENT_ID, size);
    let message = single(&body, DEPTH_MAX);
    assert_eq!((message.kind(), message.method(), message.bytes()), (Kind::Request, "tools/call", &body));
    let bencher = bencher.counter(ItemsCount::new(1_usize)).counter(BytesCount::new(size));
    bencher
        .with_inputs(|| body.clone())
        .bench_local_values(|body| black_box_drop(parse_body(body, DEPTH_MAX, BATCH_MAX)));
}

#[divan::bench(args = SIZES)]
fn parse_response(bencher: Bencher<'_, '_>, size: usize) {
    let line = response("12345", size);
    let message = single(&line, CHILD_DEPTH_MAX);
    assert_eq!((message.kind(), message.id_as_u64(), message.bytes()), (Kind::Result, Some(12345), &line));
    let bencher = bencher.counter(ItemsCount::new(1_usize)).counter(BytesCount::new(size));
    bencher
        .with_inputs(|| line.clone())
        .bench_local_values(|line| black_box_drop(parse_body(line, CHILD_DEPTH_MAX, BATCH_MAX)));
}

#[divan::bench(args = SIZES)]
fn splice_to_bytes(bencher: Bencher<'_, '_>, size: usize) {
    let (line, span) = spliced(size);
    let bencher = bencher.counter(ItemsCount::new(1_usize)).counter(BytesCount::new(size));
    bencher
        .with_inputs(|| Frame::new(line.clone()))
        .bench_local_values(|frame| black_box_drop(frame.replace(span, black_box(CLIENT_ID)).into_bytes()));
}

#[divan::bench(args = SIZES)]
fn splice_to_buffer(bencher: Bencher<'_, '_>, size: usize) {
    let (line, span) = spliced(size);
    let mut buffer = BytesMut::new();
    let bencher = bencher.counter(ItemsCount::new(1_usize)).counter(BytesCount::new(size));
    bencher.with_inputs(|| Frame::new(line.clone())).bench_local_values(|frame| {
        buffer.clear();
        frame.replace(span, black_box(CLIENT_ID)).write_to(&mut buffer);
    });
}

#[divan::bench(args = SIZES)]
fn round(bencher: Bencher<'_, '_>, size: usize) {
    let mut world = World::new(Era::Legacy);
    let session = world.attach_session(1);
    let mut child_id = world.check_round(session, size);
    let body = request(CLIENT_ID, size);
    let mut stdin = BytesMut::new();
    let bencher = bencher.counter(ItemsCount::new(2_usize)).counter(BytesCount::new(2 * size));
    let inputs = || {
        child_id += 1;
        (body.clone(), response(&child_id.to_string(), size))
    };
    bencher.with_inputs(inputs).bench_local_values(|(body, line)| {
        stdin.clear();
        world.sends(session, single(&body, DEPTH_MAX)).write_to(&mut stdin);
        black_box_drop(world.answers(single(&line, CHILD_DEPTH_MAX)).into_bytes());
        line
    });
}

fn single(bytes: &Bytes, depth_max: usize) -> Message {
    match parse_body(bytes.clone(), depth_max, BATCH_MAX) {
        Ok(Body::Single(message)) => message,
        other => panic!("it is one message, and not {other:?}"),
    }
}

/// An answer, and where its id is.
fn spliced(size: usize) -> (Bytes, Span) {
    let line = response("12345", size);
    let span = parsed(line.clone()).id_span().expect("an answer has an id");
    let frame = Frame::new(line.clone()).replace(span, CLIENT_ID);
    assert_eq!(frame.into_bytes(), response(CLIENT_ID, size));
    (line, span)
}
