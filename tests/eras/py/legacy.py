"""A client of the official Python SDK 1.x, of 2025-11-25."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta

import mcp.types as types
from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.exceptions import McpError
from pydantic import AnyUrl

from checks import Inbox, RpcError, command_of, main

TIMEOUT = 20.0


class Peer:
    era = "legacy"

    def __init__(self, name: str) -> None:
        self.name, self.inbox, self.asked = name, Inbox(), []
        self.session: ClientSession

    async def on_sampling(self, context, params):
        text = f"{self.name} says {params.messages[0].content.text}"
        return types.CreateMessageResult(role="assistant", model="m", content=types.TextContent(type="text", text=text))

    async def on_elicitation(self, context, params):
        self.asked.append(params)
        content = None if params.mode == "url" else {"confirm": True, "note": f"{self.name}: {params.message}"}
        return types.ElicitResult(action="accept", content=content)

    async def on_roots(self, context):
        return types.ListRootsResult(roots=[types.Root(uri=f"file:///{self.name}", name=self.name)])

    async def on_log(self, params):
        self.inbox.logs.append(f"{params.level} {params.data}")
        self.inbox.arrived()

    async def on_progress(self, done, total, message):
        self.inbox.note_progress(done, total, message)

    async def on_message(self, message):
        match getattr(message, "root", None):
            case types.ResourceUpdatedNotification(params=params):
                self.inbox.updates.append(str(params.uri))
            case types.ToolListChangedNotification():
                self.inbox.tool_changes += 1
        self.inbox.arrived()

    async def call(self, tool: str, want_progress: bool = False, level: str | None = None, **arguments):
        if level:
            await self.session.set_logging_level(level)
        callback = self.on_progress if want_progress else None
        return await rpc(self.session.call_tool(tool, arguments, timedelta(seconds=TIMEOUT), callback))

    async def text(self, tool: str, **arguments) -> str:
        result = await self.call(tool, **arguments)
        assert not result.isError, f"{tool} failed: {result.content}"
        return result.content[0].text

    def is_error(self, result) -> bool:
        return result.isError

    def cancellable(self, tool: str, **arguments):
        return Running(self, tool, arguments)

    async def tools(self):
        return [tool.name for tool in (await rpc(self.session.list_tools())).tools]

    async def prompt(self, name: str, **arguments):
        return (await rpc(self.session.get_prompt(name, arguments))).messages[0].content.text

    async def read(self, uri: str):
        return (await rpc(self.session.read_resource(AnyUrl(uri)))).contents[0].text

    async def complete(self, prompt: str, argument: str, value: str):
        reference = types.PromptReference(type="ref/prompt", name=prompt)
        return (await rpc(self.session.complete(reference, {"name": argument, "value": value}))).completion.values

    async def ping(self) -> None:
        await rpc(self.session.send_ping())

    @asynccontextmanager
    async def watch(self, uris=(), tools=False):
        for uri in uris:
            await self.session.subscribe_resource(AnyUrl(uri))
        yield
        for uri in uris:
            await self.session.unsubscribe_resource(AnyUrl(uri))


class Running:
    """A call in flight, and how to cancel it as the protocol has it (the SDK has no call for that)."""

    def __init__(self, peer: Peer, tool: str, arguments: dict) -> None:
        self.peer = peer
        # The call that is about to start takes it.
        self.request_id = peer.session._request_id
        self.task = asyncio.create_task(peer.call(tool, want_progress=True, **arguments))

    async def cancel(self) -> None:
        params = types.CancelledNotificationParams(requestId=self.request_id, reason="the test says so")
        await self.peer.session.send_notification(types.ClientNotification(types.CancelledNotification(params=params)))
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def rpc(request):
    try:
        return await request
    except McpError as error:
        raise RpcError(error.error.code, error.error.message, error.error.data) from None


@asynccontextmanager
async def connect(url: str, name: str, can: dict[str, bool]):
    peer = Peer(name)
    command = command_of(url)
    opening = stdio_client(StdioServerParameters(**command)) if command else streamablehttp_client(url, timeout=TIMEOUT)
    async with opening as (read, write, *_):
        async with ClientSession(
            read,
            write,
            client_info=types.Implementation(name=name, version="1"),
            sampling_callback=peer.on_sampling if can.get("sampling") else None,
            elicitation_callback=peer.on_elicitation if can.get("elicitation") else None,
            list_roots_callback=peer.on_roots if can.get("roots") else None,
            logging_callback=peer.on_log,
            message_handler=peer.on_message,
        ) as peer.session:
            await peer.session.initialize()
            yield peer


if __name__ == "__main__":
    main(connect)
