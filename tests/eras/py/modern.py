"""A client of the official Python SDK 2.x, of 2026-07-28 and nothing older."""

import asyncio
from contextlib import asynccontextmanager

import mcp_types as types
from mcp import Client, StdioServerParameters
from mcp.client.subscriptions import ResourceUpdated, ToolsListChanged
from mcp.shared.exceptions import MCPError

from checks import Inbox, RpcError, command_of, main

TIMEOUT = 20.0


class Peer:
    era = "modern"

    def __init__(self, name: str) -> None:
        self.name, self.inbox, self.asked = name, Inbox(), []
        self.client: Client

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

    async def call(self, tool: str, want_progress: bool = False, level: str | None = None, **arguments):
        meta = {"io.modelcontextprotocol/logLevel": level} if level else None
        callback = self.on_progress if want_progress else None
        return await rpc(self.client.call_tool(tool, arguments, TIMEOUT, callback, meta=meta))

    async def text(self, tool: str, **arguments) -> str:
        result = await self.call(tool, **arguments)
        assert not result.is_error, f"{tool} failed: {result.content}"
        return result.content[0].text

    def is_error(self, result) -> bool:
        return result.is_error

    def cancellable(self, tool: str, **arguments):
        return Running(asyncio.create_task(self.call(tool, want_progress=True, **arguments)))

    async def tools(self):
        return [tool.name for tool in (await rpc(self.client.list_tools())).tools]

    async def prompt(self, name: str, **arguments):
        return (await rpc(self.client.get_prompt(name, arguments))).messages[0].content.text

    async def read(self, uri: str):
        return (await rpc(self.client.read_resource(uri))).contents[0].text

    async def complete(self, prompt: str, argument: str, value: str):
        reference = types.PromptReference(type="ref/prompt", name=prompt)
        return (await rpc(self.client.complete(reference, {"name": argument, "value": value}))).completion.values

    @asynccontextmanager
    async def watch(self, uris=(), tools=False):
        async with self.client.listen(tools_list_changed=tools, resource_subscriptions=list(uris)) as subscription:

            async def take():
                async for event in subscription:
                    if isinstance(event, ResourceUpdated):
                        self.inbox.updates.append(event.uri)
                    elif isinstance(event, ToolsListChanged):
                        self.inbox.tool_changes += 1
                    self.inbox.arrived()

            taking = asyncio.create_task(take())
            try:
                yield
            finally:
                taking.cancel()
                await asyncio.gather(taking, return_exceptions=True)


class Running:
    def __init__(self, task: asyncio.Task) -> None:
        self.task = task

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def rpc(request):
    try:
        return await request
    except MCPError as error:
        raise RpcError(error.code, error.error.message, error.error.data) from None


@asynccontextmanager
async def connect(url: str, name: str, can: dict[str, bool]):
    peer = Peer(name)
    command = command_of(url)
    client = Client(
        StdioServerParameters(**command) if command else url,
        client_info=types.Implementation(name=name, version="1"),
        sampling_callback=peer.on_sampling if can.get("sampling") else None,
        elicitation_callback=peer.on_elicitation if can.get("elicitation") else None,
        list_roots_callback=peer.on_roots if can.get("roots") else None,
        logging_callback=peer.on_log,
        read_timeout_seconds=TIMEOUT,
    )
    async with client as peer.client:
        # By default it falls back to the other era where it finds no sign of this one.
        assert client.protocol_version == "2026-07-28", f"negotiated {client.protocol_version}"
        yield peer


if __name__ == "__main__":
    main(connect)
