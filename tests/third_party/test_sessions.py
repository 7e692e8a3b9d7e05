"""The life of a session, seen by the Python SDK and, where that hides too much, by a plain HTTP client."""

import contextlib
import uuid

import anyio
import httpx
import pytest

import mux
import sdk

pytestmark = pytest.mark.anyio

HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
PING = {"jsonrpc": "2.0", "id": "ping", "method": "ping"}


@pytest.fixture(scope="module")
def server():
    with mux.running(mux.notes_server()) as running:
        yield running


@pytest.fixture
async def http():
    async with httpx.AsyncClient(timeout=sdk.DEADLINE) as client:
        yield client


def session_headers(session_id: str) -> dict[str, str]:
    return {**HEADERS, "mcp-session-id": session_id, "mcp-protocol-version": "2025-11-25"}


async def test_session_ids_are_random_uuids(server, transport):
    ids = set()
    for _ in range(3):
        async with sdk.connect(server.url(transport), transport) as peer:
            ids.add(peer.session_id())
            assert uuid.UUID(peer.session_id()).version == 4
    assert len(ids) == 3


# spec: 2025-11-25 basic/transports, Session Management 3 and 5
async def test_leaving_deletes_the_session(server, http):
    async with sdk.connect(server.mcp_url, "http") as peer:
        headers = session_headers(peer.session_id())
        assert (await http.post(server.mcp_url, json=PING, headers=headers)).json()["result"] == {}
    for method in ("POST", "GET", "DELETE"):
        response = await http.request(method, server.mcp_url, json=PING if method == "POST" else None, headers=headers)
        assert response.status_code == 404, method


# spec: 2025-11-25 basic/transports, Session Management 4
async def test_a_dead_session_is_told_and_a_new_one_works(server, http):
    async with sdk.connect(server.mcp_url, "http") as peer:
        await peer.session.list_tools()
        deleted = await http.delete(server.mcp_url, headers=session_headers(peer.session_id()))
        assert deleted.is_success
        # What the SDK makes of HTTP 404.
        assert (await sdk.error_of(peer.session.list_tools())).message == "Session terminated"
    async with sdk.connect(server.mcp_url, "http") as peer:
        assert (await peer.session.list_tools()).tools


async def test_deleting_a_session_disturbs_no_other(server, http, transport):
    async with (
        sdk.connect(server.mcp_url, "http") as doomed,
        sdk.connect(server.url(transport), transport) as survivor,
    ):
        began = anyio.Event()

        async def on_progress(progress, total, message):
            began.set()

        call = survivor.cancellable("slow", {"seconds": 1, "steps": 20}, on_progress)
        doomed.cancellable("slow", {"seconds": 30, "steps": 1})
        with anyio.fail_after(sdk.DEADLINE):
            await began.wait()
        assert (await http.delete(server.mcp_url, headers=session_headers(doomed.session_id()))).is_success
        assert (await call.finished()).content[0].text.startswith("Waited 1 ")


# spec: 2025-11-25 basic/transports, Session Management 2 and 3
async def test_unknown_and_missing_sessions(server, http):
    unknown = await http.post(server.mcp_url, json=PING, headers=session_headers(str(uuid.uuid4())))
    assert unknown.status_code == 404
    missing = await http.post(server.mcp_url, json=PING, headers=HEADERS)
    assert missing.status_code == 400
    assert "error" in unknown.json() and "error" in missing.json()


async def test_an_sse_session_ends_with_its_stream(server, http):
    messages = None
    async with http.stream("GET", server.sse_url) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()
        event = []
        with anyio.fail_after(sdk.DEADLINE):
            async for line in lines:
                if not line and event:
                    break
                if line and not line.startswith(":"):
                    event.append(line)
        assert event[0] == "event: endpoint"
        path = event[1].removeprefix("data: ")
        assert path.startswith("/") and "sessionId=" in path
        messages = httpx.URL(server.sse_url).join(path)
        assert (await http.post(messages, json=PING, headers=HEADERS)).status_code == 202
    with anyio.fail_after(sdk.DEADLINE):
        # mcp-mux learns from the connection that it is gone.
        while (await http.post(messages, json=PING, headers=HEADERS)).status_code != 404:
            pass


async def test_an_sse_client_that_vanishes_disturbs_no_other(server):
    async with sdk.connect(server.sse_url, "sse") as peer:
        for _ in range(10):
            async with sdk.connect(server.sse_url, "sse") as vanishing:
                vanishing.cancellable("slow", {"seconds": 1, "steps": 10})
                await vanishing.text("echo", value=1)
        assert await peer.text("echo", value=2) == '{"value":2}'


# Over HTTP+SSE only: over Streamable HTTP the refusal is a 503 (with the JSON-RPC error as its body), which this SDK takes
# for the end of the whole session.
async def test_a_refused_request_does_not_end_the_session():
    with mux.running(mux.notes_server(), "--in-flight-max", "1") as server:
        async with sdk.connect(server.sse_url, "sse") as peer:
            began = anyio.Event()

            async def on_progress(progress, total, message):
                began.set()

            accepted = peer.cancellable("slow", {"seconds": 1, "steps": 10}, on_progress)
            with anyio.fail_after(sdk.DEADLINE):
                await began.wait()
            refused = await sdk.error_of(peer.session.call_tool("echo", {"value": 1}))
            assert refused.data["source"] == "mcp-mux"
            assert (await accepted.finished()).content[0].text.startswith("Waited 1 ")
            assert await peer.text("echo", value=2) == '{"value":2}'


# Where the stream of a cancelled request had begun, the SDK takes its end for a broken connection and resumes it: as often
# as that ends well without an answer, twice at most if it is told that there is nothing more.
async def test_a_cancelled_call_leaves_no_client_that_asks_for_ever(server):
    resumed = []

    def client_factory(**settings):
        async def note(request):
            if request.method == "GET" and "last-event-id" in request.headers:
                resumed.append(request.headers["last-event-id"])

        return httpx.AsyncClient(**settings, event_hooks={"request": [note]})

    async with sdk.connect(server.mcp_url, "http", httpx_client_factory=client_factory) as peer:
        began = anyio.Event()

        async def on_progress(progress, total, message):
            began.set()

        call = peer.cancellable("slow", {"seconds": 100, "steps": 1000}, on_progress)
        with anyio.fail_after(sdk.DEADLINE):
            await began.wait()
        await call.cancel()
        await peer.text("slow", seconds=4, steps=1)
        assert len(resumed) <= 2, resumed


@contextlib.asynccontextmanager
async def cuttable(url: str):
    """A TCP relay to `url`: gives its own URL, and a function that cuts every connection through it."""
    target = httpx.URL(url)
    live: set[anyio.abc.SocketStream] = set()

    async def pump(source, sink):
        with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream):
            while True:
                await sink.send(await source.receive())

    async def relay(client):
        async with client, await anyio.connect_tcp(target.host, target.port) as upstream:
            live.update((client, upstream))
            async with anyio.create_task_group() as both:

                async def one_way(source, sink):
                    await pump(source, sink)
                    both.cancel_scope.cancel()

                both.start_soon(one_way, client, upstream)
                both.start_soon(one_way, upstream, client)
            live.difference_update((client, upstream))

    async def cut():
        for stream in list(live):
            await anyio.aclose_forcefully(stream)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, relay)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield str(target.copy_with(port=port)), cut
        tasks.cancel_scope.cancel()


# spec: 2025-11-25 basic/transports, Resumability and Redelivery
async def test_a_call_whose_connection_is_cut_is_resumed(server):
    got = []
    halfway = anyio.Event()

    async def on_progress(progress, total, message):
        got.append(progress)
        if progress == 3:
            halfway.set()

    async with cuttable(server.mcp_url) as (url, cut), sdk.connect(url, "http") as peer:
        call = peer.cancellable("slow", {"seconds": 2, "steps": 20}, on_progress)
        with anyio.fail_after(sdk.DEADLINE):
            await halfway.wait()
        await cut()
        assert (await call.finished()).content[0].text == "Waited 2 seconds in 20 steps."
        assert got == list(range(1, 21))
        assert await peer.text("echo", value=1) == '{"value":1}'
