"""Python SDK client → mcp-mux → @modelcontextprotocol/server-everything, one child for the whole module."""

import mcp.types as types
import pytest

import mux
import sdk

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server():
    with mux.running(mux.everything_server()) as running:
        yield running


async def test_initialize_and_tools(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        assert peer.initialized.serverInfo.name == "mcp-servers/everything"
        # This server offers these only to a client with the capabilities: mcp-mux declares what it can route.
        names = {tool.name for tool in (await peer.session.list_tools()).tools}
        assert {"echo", "get-roots-list", "trigger-sampling-request", "trigger-elicitation-request"} <= names
        assert await peer.text("echo", message="héllo") == "Echo: héllo"
        assert await peer.text("get-sum", a=40, b=2) == "The sum of 40 and 2 is 42."
        result = await peer.session.call_tool("get-structured-content", {"location": "Chicago"})
        assert result.structuredContent["humidity"] == 82


async def test_images_and_annotations(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        result = await peer.session.call_tool("get-annotated-message", {"messageType": "error", "includeImage": True})
        assert result.content[0].annotations.audience == ["user", "assistant"]
        assert result.content[1].mimeType == "image/png"


async def test_progress(server, transport):
    steps = []

    async def on_progress(progress, total, message):
        steps.append((progress, total))

    async with sdk.connect(server.url(transport), transport) as peer:
        arguments = {"duration": 0.4, "steps": 4}
        await peer.session.call_tool("trigger-long-running-operation", arguments, progress_callback=on_progress)
        assert steps == [(n, 4) for n in range(1, 5)]


async def test_log_message_of_a_request(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        # This server logs at a random level at once, then every 5 s; whatever the level, "debug" lets it through.
        await peer.session.set_logging_level("debug")
        assert "Started" in await peer.text("toggle-simulated-logging")
        await peer.until(peer.logs, "the log message that this server writes at once")
        assert "Stopped" in await peer.text("toggle-simulated-logging")
        assert "level" in peer.logs()[0]["data"]


async def test_cancellation(transport):
    # A process of its own: this server never says when it is done with a cancelled request, and until then what it
    # logs or asks might belong to that.
    with mux.running(mux.everything_server()) as fresh:
        async with sdk.connect(fresh.url(transport), transport) as peer:
            arguments = {"duration": 1, "steps": 10}
            call = peer.cancellable("trigger-long-running-operation", arguments)
            await peer.text("echo", message="meanwhile")
            await call.cancel()
            # This server works on regardless. The later, longer call ends after the cancelled one would have.
            await peer.text("trigger-long-running-operation", duration=1.2, steps=1)
            assert not [m for m in peer.seen if m.get("id") == call.request_id]


async def test_sampling(server, transport):
    async def on_sampling(context, params):
        return types.CreateMessageResult(
            role="assistant", model="m", content=types.TextContent(type="text", text="sampled " + params.systemPrompt)
        )

    async with sdk.connect(server.url(transport), transport, sampling_callback=on_sampling) as peer:
        text = await peer.text("trigger-sampling-request", prompt="p", maxTokens=10)
        assert "sampled You are a helpful test server." in text


async def test_elicitation(server, transport):
    async def on_elicitation(context, params):
        return types.ElicitResult(action="accept", content={"name": "Ada", "integer": 7})

    async with sdk.connect(server.url(transport), transport, elicitation_callback=on_elicitation) as peer:
        result = await peer.session.call_tool("trigger-elicitation-request", {})
        assert "- Name: Ada" in result.content[1].text and "- Favorite Integer: 7" in result.content[1].text


async def test_subscription(server, transport):
    uri = f"demo://resource/dynamic/text/{1 if transport == 'http' else 2}"
    async with (
        sdk.connect(server.url(transport), transport) as peer,
        sdk.connect(server.url(transport), transport) as other,
    ):
        await peer.session.subscribe_resource(sdk.uri(uri))
        assert "Started" in await other.text("toggle-subscriber-updates")
        await peer.until(lambda: uri in peer.updates(), "an update")
        assert "Stopped" in await other.text("toggle-subscriber-updates")
        await peer.session.unsubscribe_resource(sdk.uri(uri))
        assert set(peer.updates()) == {uri} and other.updates() == []


async def test_resources_prompts_completion(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        contents = (await peer.session.read_resource(sdk.uri("demo://resource/dynamic/text/7"))).contents
        assert contents[0].text.startswith("Resource 7:")
        assert len((await peer.session.list_resource_templates()).resourceTemplates) == 2
        prompt = await peer.session.get_prompt("args-prompt", {"city": "Köln"})
        assert prompt.messages[0].content.text == "What's weather in Köln?"
        completed = await peer.session.complete(
            types.PromptReference(type="ref/prompt", name="completable-prompt"),
            {"name": "name", "value": "A"},
            {"department": "Engineering"},
        )
        assert completed.completion.values == ["Alice"]


async def test_errors(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        result = await peer.session.call_tool("get-sum", {"a": "x"})
        assert result.isError
        assert (await sdk.error_of(peer.session.get_prompt("nope"))).code == -32602


async def test_roots_are_the_callers(server, transport):
    # This server asks once per process and keeps the answer, so it has to be a process of its own.
    async def on_roots(context):
        return types.ListRootsResult(roots=[types.Root(uri="file:///mine", name="mine")])

    with mux.running(mux.everything_server()) as fresh:
        async with sdk.connect(fresh.url(transport), transport, list_roots_callback=on_roots) as peer:
            assert "URI: file:///mine" in await peer.text("get-roots-list")
