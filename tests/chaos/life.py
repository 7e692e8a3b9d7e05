"""What the clients do: call, list, subscribe, cancel, stall, vanish, send half a body, come back."""

import asyncio
import itertools
import time

from client import SseClient, StreamableClient

STALLED_BYTES = 2_000_000
_numbers = itertools.count(1)


async def live(client, until):
    """Opens sessions and uses them until that time; ends with one open, where that was possible."""
    while time.monotonic() < until:
        if not client.is_open and not await begin(client):
            await asyncio.sleep(client.random.uniform(0.05, 0.3))
            continue
        await asyncio.gather(*(lane(client, until) for _ in range(3)))
        if time.monotonic() < until:
            await change(client)


async def begin(client):
    opened = await client.open()
    if opened and isinstance(client, StreamableClient):
        client.listen()
    return opened


async def lane(client, until):
    for _ in range(client.random.randrange(2, 8)):
        if not client.is_open or time.monotonic() >= until:
            return
        actions = BOTH if isinstance(client, SseClient) else BOTH + STREAMABLE
        names, weights = zip(*actions, strict=True)
        await client.random.choices(names, weights)[0](client)


async def change(client):
    """Between what its lanes do: the session is kept, left, or lost."""
    drawn = client.random.random()
    if isinstance(client, SseClient):
        if drawn < 0.1:
            await client.leave()
    elif drawn < 0.15:
        client.listen()  # comes back with the last event it has seen
    elif drawn < 0.25:
        await client.leave(politely=drawn < 0.2)
    elif drawn < 0.3:
        ended = {"session-closed", "session-unknown"}
        calls = [asyncio.ensure_future(echo(client, ms=200, also_allowed=ended)) for _ in range(3)]
        await asyncio.sleep(0.02)
        await client.leave()
        await asyncio.gather(*calls)


# --- Calls, and what their answers have to be -----------------------------------------------------------------------


def call_params(client, name, **arguments):
    number = next(_numbers)
    params = {"name": name, "arguments": {"secret": client.secret, "n": number, **arguments}}

    def check(result):
        about = result["structuredContent"]
        text = client.secret + "." * arguments.get("pad", 0)
        if about["secret"] != client.secret or about["n"] != number or result["content"][0]["text"] != text:
            return "not what it sent"
        if name == "ask" and not about.get("early"):
            return wrong_reply(client, arguments["kind"], about)
        return None

    return params, check


def wrong_reply(client, kind, about):
    """What is wrong with what the server was told when it asked."""
    if about.get("result") is not None:
        return None if client.secret in str(about["result"]) else "somebody else answered the server's question"
    if client.book.private and kind in client.capabilities:
        return "the server's question was not answered by the only client there is"
    error = about.get("error") or {}
    return None if (error.get("data") or {}).get("source") == "mcp-mux" else "the server got no proper answer"


async def call(client, name, token=False, also_allowed=(), manner=None, **arguments):
    params, check = call_params(client, name, **arguments)
    if token:
        params["_meta"] = {"progressToken": client.last_id + 1}
    return await client.request("tools/call", params, check, also_allowed, **(manner or {}))


async def echo(client, ms=None, pad=0, also_allowed=()):
    ms = client.random.choice([0, 0, 5, 30, 300]) if ms is None else ms
    return await call(client, "echo", ms=ms, pad=pad, also_allowed=also_allowed)


async def big_echo(client):
    await echo(client, pad=client.random.randrange(60_000))


async def progress(client):
    await call(client, "progress", token=True, steps=client.random.randrange(1, 6), ms=10)


async def log(client):
    await call(client, "log", count=3)


async def ask(client):
    """Has the server ask it something. Of a question that does not name its request (it does so by the progress token,
    if there is one) a shared server's caller is known only where it is the only one in flight who can be asked this: so
    nobody has asked what it cannot answer itself."""
    if client.capabilities:
        await call(client, "ask", kind=client.random.choice(client.capabilities), token=client.random.random() < 0.5)


async def plain(client):
    method = client.random.choice(["tools/list", "ping", "resources/list"])
    await client.request(method, {})


async def read(client):
    uri = f"chaos://{client.secret}/{next(_numbers)}"
    params = {"uri": uri}
    await client.request("resources/read", params, lambda got: None if got["contents"][0]["uri"] == uri else "another URI")


async def subscribe(client):
    uri = f"chaos://{client.secret}/{next(_numbers)}"
    client.subscribed.add(uri)
    await client.request("resources/subscribe", {"uri": uri})
    await call(client, "touch", uris=[uri, "chaos://nobody"])
    if client.random.random() < 0.7:
        await client.request("resources/unsubscribe", {"uri": uri})


# --- What only makes sense where each request has a connection ------------------------------------------------------


async def cancel(client):
    params, check = call_params(client, "progress", steps=20, ms=20)
    request, text = client.new_request("tools/call", params, check)
    reading = asyncio.ensure_future(client._exchange(request, text))
    await asyncio.sleep(client.random.uniform(0, 0.1))
    await client.cancel(request)
    connection = await reading
    if connection is not None:
        client.release(connection)


async def stall(client):
    """Reads its answer late, all of it."""
    await call(client, "echo", pad=STALLED_BYTES, also_allowed={"answer-not-kept"}, manner={"pause": 1.0})


async def vanish(client):
    manner = {"vanish": client.random.uniform(0.001, 0.05)}
    await call(client, "progress", steps=10, ms=20, manner=manner)


async def half(client):
    await client.half_a_body(client.random.choice([0.05, 4]))


BOTH = [(echo, 40), (big_echo, 8), (progress, 10), (log, 8), (ask, 10), (plain, 12), (read, 6), (subscribe, 6)]
STREAMABLE = [(cancel, 6), (stall, 1), (vanish, 5), (half, 2)]


async def never_reads(client, seconds):
    """A client of another kind: has much sent to it and reads nothing at all. Whatever becomes of it, nobody else is to
    notice."""
    if not await client.open():
        return
    connections = []
    for method, path in (("GET", "/mcp"), ("POST", "/mcp"), ("POST", "/mcp"), ("POST", "/mcp")):
        params, _ = call_params(client, "echo", pad=STALLED_BYTES)
        request, text = client.new_request("tools/call", params)
        request.is_given_up = True
        connection = await client.connection()
        connections.append(connection)
        await connection.send(method, path, client.headers(), text if method == "POST" else b"")
    await asyncio.sleep(seconds)
    for connection in connections:
        connection.abort()
    await client.leave(politely=False)
