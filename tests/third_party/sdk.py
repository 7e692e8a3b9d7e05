"""A client session of the official Python SDK (1.x) that remembers everything that reached it."""

import itertools
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import anyio
import mcp.types as types
from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import McpError
from mcp.shared.message import SessionMessage
from pydantic import AnyUrl

DEADLINE = 20.0
TRANSPORTS = ["http", "sse"]


@dataclass
class Peer:
    """One session as its client sees it. `seen` holds every JSON-RPC message that arrived, in order, as plain data."""

    session: ClientSession
    session_id: Callable[[], str | None]
    initialized: types.InitializeResult | None = None
    seen: list[dict[str, Any]] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    tasks: Any = None
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def note(self, message: dict[str, Any]) -> None:
        self.seen.append(message)
        self._changed.set()

    def notifications(self, method: str) -> list[dict[str, Any]]:
        return [m.get("params") or {} for m in self.seen if m.get("method") == method and "id" not in m]

    def logs(self) -> list[dict[str, Any]]:
        return self.notifications("notifications/message")

    def updates(self) -> list[str]:
        return [params["uri"] for params in self.notifications("notifications/resources/updated")]

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until what arrived makes `condition` true; looks only when something arrives."""
        try:
            with anyio.fail_after(DEADLINE):
                while not condition():
                    self._changed = anyio.Event()
                    await self._changed.wait()
        except TimeoutError:
            last = "\n".join(str(message)[:300] for message in self.seen[-5:])
            raise AssertionError(f"{what}: not within {DEADLINE} s; the last messages were\n{last}") from None

    async def text(self, name: str, **arguments: Any) -> str:
        """Call a tool that has to succeed, and give its first text."""
        result = await self.session.call_tool(name, arguments)
        assert not result.isError, f"{name} failed: {result.content}"
        return result.content[0].text

    def cancellable(self, name: str, arguments: dict[str, Any], on_progress=None) -> "Running":
        """Start a tool call that can be cancelled as the protocol has it (the SDK 1.x has no call for that)."""
        return Running(self, name, arguments, on_progress)

    async def cancel(self, request_id: int) -> None:
        await self.session.send_notification(
            types.ClientNotification(
                types.CancelledNotification(
                    params=types.CancelledNotificationParams(requestId=request_id, reason="the test says so")
                )
            )
        )


class Running:
    """A call in flight: its request id, and how to cancel it."""

    def __init__(self, peer: Peer, name: str, arguments: dict[str, Any], on_progress) -> None:
        self.peer = peer
        self.request_id = -1
        self.scope = anyio.CancelScope()
        self.outcome: Any = None
        self.done = anyio.Event()
        self.request = (name, arguments, on_progress)
        peer.tasks.start_soon(self._run)

    async def _run(self) -> None:
        name, arguments, on_progress = self.request
        # Read in the same step in which `call_tool` takes it.
        self.request_id = self.peer.session._request_id
        with self.scope:
            try:
                self.outcome = await self.peer.session.call_tool(name, arguments, progress_callback=on_progress)
            except McpError as error:
                self.outcome = error
        self.done.set()

    async def finished(self) -> Any:
        with anyio.fail_after(DEADLINE):
            await self.done.wait()
        return self.outcome

    async def cancel(self) -> None:
        await self.peer.cancel(self.request_id)
        self.scope.cancel()


@asynccontextmanager
async def connect(url: str, transport: str, **options: Any):
    """A session over `transport`, initialised. Leaving it fails if anything reached it that the SDK could not place.

    With "stdio" the client starts `mcp-mux connect URL` as its server.

    What goes wrong inside comes out as it is, not wrapped into a group by each of the four task groups it passes.
    """
    try:
        async with _connect(url, transport, **options) as peer:
            yield peer
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None


@asynccontextmanager
async def _connect(
    url: str,
    transport: str,
    httpx_client_factory=create_mcp_http_client,
    auth=None,
    headers=None,
    flags: list[str] | None = None,
    **callbacks: Any,
):
    ids: list[str] = []
    options = {"timeout": DEADLINE, "httpx_client_factory": httpx_client_factory, "auth": auth, "headers": headers}
    if transport == "http":
        opening = streamablehttp_client(url, **options)
    elif transport == "stdio":
        command = StdioServerParameters(command=os.environ["MCP_MUX_BIN"], args=["connect", url, *(flags or [])])
        opening = stdio_client(command, errlog=sys.stderr)
    else:
        opening = sse_client(url, on_session_created=ids.append, **options)
    async with opening as streams:
        read, write = streams[0], streams[1]
        session_id = streams[2] if transport == "http" else lambda: ids[-1] if ids else None
        tapped_in, tapped = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        async with anyio.create_task_group() as tasks:
            peer: Peer

            async def on_message(message: Any) -> None:
                if isinstance(message, Exception):
                    peer.strange.append(repr(message)[:500])

            async def tap() -> None:
                async with tapped_in:
                    async for message in read:
                        if isinstance(message, SessionMessage):
                            root = message.message.root
                            peer.note(root.model_dump(by_alias=True, mode="json", exclude_none=True))
                        await tapped_in.send(message)

            session = ClientSession(
                tapped,
                write,
                read_timeout_seconds=timedelta(seconds=DEADLINE),
                message_handler=on_message,
                **callbacks,
            )
            peer = Peer(session=session, session_id=session_id, tasks=tasks)
            tasks.start_soon(tap)
            async with session:
                peer.initialized = await session.initialize()
                yield peer
                tasks.cancel_scope.cancel()
    assert not peer.strange, f"messages the SDK could not place: {peer.strange}"


async def error_of(awaitable: Awaitable[Any]) -> types.ErrorData:
    """The JSON-RPC error the request must end with."""
    try:
        result = await awaitable
    except McpError as error:
        return error.error
    raise AssertionError(f"expected a JSON-RPC error, got {result!r}")


def request(method: str, params: dict[str, Any] | None = None) -> types.Request:
    """A request that the SDK has no class for."""
    return types.Request[dict[str, Any] | None, str](method=method, params=params)


_unique = itertools.count()


def marker(prefix: str) -> str:
    return f"{prefix}-{next(_unique)}"


def uri(text: str) -> AnyUrl:
    return AnyUrl(text)
