"""Python SDK client over stdio → mcp-mux connect → remote servers of others, and mcp-mux itself."""

import os
from contextlib import asynccontextmanager

import anyio
import mcp.types as types
import pytest

import mux
import remote
import sdk

pytestmark = pytest.mark.anyio

EVERYTHING = ["http", "sse", "mux http", "mux sse"]
FASTMCP = [(), ("json",), ("stateless",), ("stateless", "json"), ("sse",)]


@pytest.fixture(scope="module", params=EVERYTHING)
def everything(request):
    """server-everything by its own transports, and behind mcp-mux."""
    if request.param.startswith("mux"):
        with mux.running(mux.everything_server()) as running:
            yield running.url(request.param.split()[1])
    else:
        with remote.everything(request.param) as url:
            yield url


@pytest.fixture(scope="module", params=FASTMCP, ids="-".join)
def fastmcp(request):
    with remote.fastmcp(*request.param) as url:
        yield url, request.param


def connect(url, **options):
    return sdk.connect(url, "stdio", **options)


async def on_sampling(context, params):
    text = f"sampled {params.systemPrompt or params.messages[0].content.text}"
    return types.CreateMessageResult(role="assistant", model="m", content=types.TextContent(type="text", text=text))


async def test_tools_resources_prompts_and_completion(everything):
    async with connect(everything) as peer:
        assert peer.initialized.serverInfo.name == "mcp-servers/everything"
        assert "echo" in {tool.name for tool in (await peer.session.list_tools()).tools}
        assert await peer.text("echo", message="héllo\u2028") == "Echo: héllo\u2028"
        result = await peer.session.call_tool("get-structured-content", {"location": "Chicago"})
        assert result.structuredContent["humidity"] == 82
        contents = (await peer.session.read_resource(sdk.uri("demo://resource/dynamic/text/7"))).contents
        assert contents[0].text.startswith("Resource 7:")
        prompt = await peer.session.get_prompt("args-prompt", {"city": "Köln"})
        assert prompt.messages[0].content.text == "What's weather in Köln?"
        completed = await peer.session.complete(
            types.PromptReference(type="ref/prompt", name="completable-prompt"),
            {"name": "name", "value": "A"},
            {"department": "Engineering"},
        )
        assert completed.completion.values == ["Alice"]
        assert (await sdk.error_of(peer.session.get_prompt("nope"))).code == -32602
        await peer.session.send_ping()


async def test_progress(everything):
    steps = []

    async def on_progress(progress, total, message):
        steps.append((progress, total))

    async with connect(everything) as peer:
        arguments = {"duration": 0.4, "steps": 4}
        await peer.session.call_tool("trigger-long-running-operation", arguments, progress_callback=on_progress)
        assert steps == [(n, 4) for n in range(1, 5)]


async def test_questions_of_the_server(everything):
    async def on_elicitation(context, params):
        return types.ElicitResult(action="accept", content={"name": "Ada", "integer": 7})

    async with connect(everything, sampling_callback=on_sampling, elicitation_callback=on_elicitation) as peer:
        text = await peer.text("trigger-sampling-request", prompt="p", maxTokens=10)
        assert "sampled You are a helpful test server." in text
        result = await peer.session.call_tool("trigger-elicitation-request", {})
        assert "- Name: Ada" in result.content[1].text and "- Favorite Integer: 7" in result.content[1].text


async def test_updates_of_a_resource_and_log_messages(everything):
    uri = "demo://resource/dynamic/text/1"
    async with connect(everything) as peer:
        await peer.session.set_logging_level("debug")
        assert "Started" in await peer.text("toggle-simulated-logging")
        await peer.until(peer.logs, "the log message that this server writes at once")
        assert "Stopped" in await peer.text("toggle-simulated-logging")
        await peer.session.subscribe_resource(sdk.uri(uri))
        assert "Started" in await peer.text("toggle-subscriber-updates")
        await peer.until(lambda: uri in peer.updates(), "an update")
        assert "Stopped" in await peer.text("toggle-subscriber-updates")
        await peer.session.unsubscribe_resource(sdk.uri(uri))
        assert set(peer.updates()) == {uri}


async def test_two_clients_of_one_server_have_sessions_of_their_own(everything):
    async with connect(everything) as ann, connect(everything) as bob:

        async def use(peer, name):
            for number in range(20):
                assert await peer.text("echo", message=f"{name} {number}") == f"Echo: {name} {number}"

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(use, ann, "ann")
            tasks.start_soon(use, bob, "bob")


async def test_cancellation(everything):
    # The last of a server: it never says when it is done with a cancelled request, and until then what it logs or asks might
    # belong to that.
    async with connect(everything) as peer:
        call = peer.cancellable("trigger-long-running-operation", {"duration": 1, "steps": 10})
        await peer.text("echo", message="meanwhile")
        await call.cancel()
        # This server works on regardless. The later, longer call ends after the cancelled one would have.
        await peer.text("trigger-long-running-operation", duration=1.2, steps=1)
        assert not [m for m in peer.seen if m.get("id") == call.request_id]


async def test_a_python_server(fastmcp):
    url, modes = fastmcp
    steps = []

    async def on_progress(progress, total, message):
        steps.append(progress)

    async with connect(url) as peer:
        assert peer.initialized.serverInfo.name == "fastmcp-under-mux"
        assert peer.initialized.instructions == "A server for the tests of mcp-mux."
        assert await peer.text("echo", value="{\"a\": 1e2}\u0000\U0001f600") == "{\"a\": 1e2}\u0000\U0001f600"
        added = await peer.session.call_tool("add", {"a": 2**53 + 1, "b": 0})
        assert added.structuredContent == {"result": 2**53 + 1}
        assert len(await peer.text("big", count=3_000_000)) == 3_000_000
        assert (await peer.session.call_tool("fail", {"marker": "x"})).isError
        await peer.session.call_tool("progress", {"marker": "m", "steps": 5}, progress_callback=on_progress)
        # With json_response an answer is all there is.
        assert steps == ([] if "json" in modes else [1, 2, 3, 4, 5])


async def test_a_python_server_cancels(fastmcp):
    url, modes = fastmcp
    if "stateless" in modes:
        pytest.skip("a stateless server of this SDK knows nothing of the request that is to be cancelled")
    async with connect(url) as peer:
        call = peer.cancellable("hang", {"marker": "c"})
        assert await peer.text("started", marker="c") == "true"
        await call.cancel()
        assert await peer.text("cancelled", marker="c") == "true"


async def test_a_python_server_asks(fastmcp):
    url, modes = fastmcp
    if "stateless" in modes or "json" in modes:
        pytest.skip("this SDK asks over a stream that belongs to a session")

    async def on_elicitation(context, params):
        return types.ElicitResult(action="accept", content={"confirm": True, "note": params.message})

    async def on_roots(context):
        return types.ListRootsResult(roots=[types.Root(uri="file:///mine", name="mine")])

    callbacks = {
        "sampling_callback": on_sampling,
        "elicitation_callback": on_elicitation,
        "list_roots_callback": on_roots,
    }
    async with connect(url, **callbacks) as peer:
        assert await peer.text("sample", marker="s") == "sampled s"
        assert '"note":"confirm e?"' in await peer.text("confirm", marker="e")
        assert await peer.text("roots") == "file:///mine"


@asynccontextmanager
async def over_a_wire(url, **options):
    with remote.wire(url) as wire:
        async with connect(wire.url, **options) as peer:
            yield wire, peer


@pytest.mark.parametrize("which", ["sdk", "mux"])
async def test_an_answer_whose_connection_is_cut_comes_all_the_same(which):
    """Both keep what they could not send, and send it to who asks for it by Last-Event-ID."""
    opened = remote.resumable() if which == "sdk" else mux.running(mux.fastmcp_server())
    with opened as server:
        async with over_a_wire(server if which == "sdk" else server.mcp_url) as (wire, peer):
            steps = []

            async def on_progress(progress, total, message):
                steps.append(progress)
                if progress in (5, 20, 21):
                    wire.cut()

            name, arguments = ("steps", {"count": 40}) if which == "sdk" else ("progress", {"marker": "m", "steps": 40})
            result = await peer.session.call_tool(name, arguments, progress_callback=on_progress)
            assert result.content[0].text == ("40 steps" if which == "sdk" else "m")
            # Once each: the SDK looks at a notification one turn later than at an answer, so the last may be missing here.
            assert [entry["progress"] for entry in peer.notifications("notifications/progress")] == list(range(1, 41))
            assert wire.cuts == 3
            answered = [m["id"] for m in peer.seen if "result" in m]
            assert len(set(answered)) == len(answered), "an answer came twice"
            assert {tool.name for tool in (await peer.session.list_tools()).tools} >= {name}


async def test_an_answer_that_was_given_while_the_network_was_down_comes_afterwards():
    with remote.everything("http") as url:
        async with over_a_wire(url) as (wire, peer):
            arrived, outcome = anyio.Event(), []

            async def on_progress(progress, total, message):
                arrived.set()

            async def call():
                name, arguments = "trigger-long-running-operation", {"duration": 1, "steps": 4}
                outcome.append(await peer.session.call_tool(name, arguments, progress_callback=on_progress))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(call)
                with anyio.fail_after(sdk.DEADLINE):
                    await arrived.wait()
                wire.down()
                await anyio.sleep(1.5)
                wire.up()
            assert "Long running operation completed" in outcome[0].content[0].text
            assert [entry["progress"] for entry in peer.notifications("notifications/progress")] == [1, 2, 3, 4]
            assert await peer.text("echo", message="after") == "Echo: after"


@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_questions_and_updates_still_come_again_after_a_cut(transport):
    """The standing stream is opened again, and of HTTP+SSE the whole session."""
    uri = "demo://resource/dynamic/text/1"
    with mux.running(mux.everything_server()) as server:
        async with over_a_wire(server.url(transport), sampling_callback=on_sampling) as (wire, peer):
            await peer.session.subscribe_resource(sdk.uri(uri))
            for _ in range(3):
                wire.cut()
                # It is on its way when the connection breaks, and can be made twice.
                assert (await peer.session.list_tools()).tools
                accepted = wire.accepted
                wire.cut()
                # A call that is on its way then may have been made: it is not made again. So it is made once all is well.
                with anyio.fail_after(sdk.DEADLINE):
                    while wire.accepted == accepted:
                        await anyio.sleep(0.01)
                assert "sampled" in await peer.text("trigger-sampling-request", prompt="p", maxTokens=10)
            assert "Started" in await peer.text("toggle-subscriber-updates")
            await peer.until(lambda: uri in peer.updates(), "an update")
            assert "Stopped" in await peer.text("toggle-subscriber-updates")


async def test_a_network_that_is_down_for_a_while_delays_and_one_that_stays_down_is_an_error():
    with remote.fastmcp() as url:
        async with over_a_wire(url, flags=["--retry-timeout", "8s"]) as (wire, peer):
            wire.down()
            answer = []

            async def list_tools():
                answer.append(await peer.session.list_tools())

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(list_tools)
                await anyio.sleep(1)
                wire.up()
            assert "echo" in {tool.name for tool in answer[0].tools}
            wire.down()
            error = await sdk.error_of(peer.session.list_tools())
            assert error.data["source"] == "mcp-mux" and error.data["kind"].startswith("remote-"), error
            wire.up()
            assert await peer.text("echo", value="back") == "back"


async def test_a_server_that_was_started_again_gets_a_new_session():
    port = mux.free_port()
    flags = ("--port", str(port))
    with mux.running(mux.fastmcp_server(), *flags) as server:
        url = server.mcp_url
        async with connect(url) as peer:
            assert await peer.text("echo", value="1") == "1"
            server.stop()
            again = mux.start(os.environ["MCP_MUX_BIN"], mux.fastmcp_server(), *flags)
            server.process, server.log = again.process, again.log
            assert await peer.text("echo", value="2") == "2"
