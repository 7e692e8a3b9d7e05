"""Python SDK client → mcp-mux → a server on the Python SDK, over both transports, one child for the whole module."""

import anyio
import mcp.types as types
import pytest

import mux
import sdk

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server():
    with mux.running(mux.fastmcp_server()) as running:
        yield running


async def test_initialize_gives_the_servers_own_words(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        assert peer.initialized.protocolVersion == "2025-11-25"
        assert peer.initialized.serverInfo.name == "fastmcp-under-mux"
        assert peer.initialized.instructions == "A server for the tests of mcp-mux."
        assert peer.initialized.capabilities.tools is not None
        assert peer.initialized.capabilities.logging is not None


async def test_ping_and_tools(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        await peer.session.send_ping()
        tools = {tool.name: tool for tool in (await peer.session.list_tools()).tools}
        assert {"echo", "add", "progress", "sample", "confirm"} <= tools.keys()
        assert tools["add"].outputSchema is not None
        result = await peer.session.call_tool("add", {"a": 2**60, "b": 1})
        assert result.structuredContent == {"result": 2**60 + 1}
        text = 'line\nbreak\t"quoted" \\ 👩‍👩‍👧‍👦 e\u0301 \u2028 \u0000 𝕊'
        assert await peer.text("echo", value=text) == text


async def test_a_megabyte_passes_both_ways(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        assert await peer.text("big", count=1_000_000) == "x" * 1_000_000
        value = "é\\" * 300_000
        assert await peer.text("echo", value=value) == value


async def test_progress_arrives_complete_and_in_order(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        await peer.session.list_tools()
        got = {"a": [], "b": []}

        async def call(name: str, steps: int) -> None:
            async def on_progress(progress, total, message):
                got[name].append((progress, total, message))

            await peer.session.call_tool("progress", {"marker": name, "steps": steps}, progress_callback=on_progress)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, "a", 5)
            tasks.start_soon(call, "b", 9)
        assert got["a"] == [(n, 5, f"a {n}") for n in range(1, 6)]
        assert got["b"] == [(n, 9, f"b {n}") for n in range(1, 10)]


async def test_cancellation_reaches_the_server_and_no_answer_comes_back(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        await peer.session.list_tools()
        marker = sdk.marker("cancel")
        call = peer.cancellable("hang", {"marker": marker})
        await peer.session.call_tool("started", {"marker": marker})
        await call.cancel()
        await peer.session.call_tool("cancelled", {"marker": marker})
        # The SDK's server answers a cancelled request with an error; nobody may see it. After a further round trip
        # through the same child it would be here.
        await peer.text("echo", value="after")
        assert not [m for m in peer.seen if m.get("id") == call.request_id]


async def test_another_sessions_cancellation_touches_nothing(server, transport):
    other = "sse" if transport == "http" else "http"
    async with (
        sdk.connect(server.url(transport), transport) as mine,
        sdk.connect(server.url(other), other) as theirs,
    ):
        await mine.session.list_tools()
        await theirs.session.list_tools()
        marker = sdk.marker("mine")
        call = mine.cancellable("hang", {"marker": marker})
        await mine.session.call_tool("started", {"marker": marker})
        await theirs.cancel(call.request_id)
        await theirs.text("echo", value="after")
        assert not call.done.is_set()
        await call.cancel()
        await mine.session.call_tool("cancelled", {"marker": marker})


async def test_sampling_is_answered_by_the_caller(server, transport):
    async def on_sampling(context, params: types.CreateMessageRequestParams):
        return types.CreateMessageResult(
            role="assistant",
            model="test",
            content=types.TextContent(type="text", text=f"answer to {params.messages[0].content.text}"),
        )

    async with sdk.connect(server.url(transport), transport, sampling_callback=on_sampling) as peer:
        assert await peer.text("sample", marker="who") == "answer to who"


async def test_sampling_error_of_the_client_reaches_the_server(server, transport):
    async def on_sampling(context, params):
        return types.ErrorData(code=-1, message="the user said no")

    async with sdk.connect(server.url(transport), transport, sampling_callback=on_sampling) as peer:
        result = await peer.session.call_tool("sample", {"marker": "who"})
        assert result.isError and "the user said no" in result.content[0].text


async def test_a_question_nobody_can_answer_is_an_error_not_a_hang(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        result = await peer.session.call_tool("sample", {"marker": "who"})
        assert result.isError


@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
async def test_elicitation(server, transport, action):
    async def on_elicitation(context, params: types.ElicitRequestParams):
        assert params.message == "confirm it?"
        content = {"confirm": True, "note": "ok 👍"} if action == "accept" else None
        return types.ElicitResult(action=action, content=content)

    async with sdk.connect(server.url(transport), transport, elicitation_callback=on_elicitation) as peer:
        text = await peer.text("confirm", marker="it")
        assert text == ('accept {"confirm":true,"note":"ok 👍"}' if action == "accept" else action)


async def test_roots_are_the_callers(server, transport):
    async def on_roots(context):
        return types.ListRootsResult(roots=[types.Root(uri="file:///home/me", name="me")])

    async with sdk.connect(server.url(transport), transport, list_roots_callback=on_roots) as peer:
        result = await peer.session.call_tool("roots", {})
        assert result.structuredContent == {"result": ["file:///home/me"]}


async def test_log_level_is_the_sessions_own(server, transport):
    async with (
        sdk.connect(server.url(transport), transport) as loud,
        sdk.connect(server.url(transport), transport) as quiet,
    ):
        await loud.session.set_logging_level("debug")
        await quiet.session.set_logging_level("error")
        # The child has the most verbose level of its sessions.
        assert (await loud.text("level")).startswith("debug ")
        for peer, expected in ((loud, ["debug", "info", "warning", "error"]), (quiet, ["error"])):
            marker = sdk.marker("log")
            await peer.text("log", marker=marker)
            wanted = [f"{marker} {level}" for level in expected]
            await peer.until(lambda: len(peer.logs()) >= len(wanted), "log messages")
            assert [entry["data"] for entry in peer.logs()] == wanted
            assert {entry["logger"] for entry in peer.logs()} == {"fastmcp-under-mux"}
        assert len(loud.logs()) == 4 and len(quiet.logs()) == 1


async def test_resources_and_templates(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        assert [str(r.uri) for r in (await peer.session.list_resources()).resources] == ["demo://greeting"]
        templates = (await peer.session.list_resource_templates()).resourceTemplates
        assert [t.uriTemplate for t in templates] == ["demo://square/{n}"]
        contents = (await peer.session.read_resource(sdk.uri("demo://square/12"))).contents
        assert contents[0].text == "144"


async def test_prompts_and_completion(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        assert [p.name for p in (await peer.session.list_prompts()).prompts] == ["review"]
        prompt = await peer.session.get_prompt("review", {"language": "rust", "code": "fn main() {}"})
        assert prompt.messages[0].content.text == "Please review this rust code: fn main() {}"
        ref = types.PromptReference(type="ref/prompt", name="review")
        completed = await peer.session.complete(ref, {"name": "language", "value": "p"})
        assert completed.completion.values == ["python", "perl", "php"]


async def test_list_changed_reaches_every_session(server):
    async with (
        sdk.connect(server.url("http"), "http") as one,
        sdk.connect(server.url("sse"), "sse") as two,
    ):
        await one.text("announce")
        for peer in (one, two):
            for kind in ("tools", "resources", "prompts"):
                method = f"notifications/{kind}/list_changed"
                await peer.until(lambda: peer.notifications(method), method)


async def test_errors_are_the_servers(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        result = await peer.session.call_tool("fail", {"marker": "m"})
        assert result.isError and "failed on purpose: m" in result.content[0].text
        assert (await peer.session.call_tool("no-such-tool", {})).isError
        error = await sdk.error_of(peer.session.read_resource(sdk.uri("demo://no/such")))
        assert "demo://no/such" in error.message
        assert (await sdk.error_of(peer.session.get_prompt("no-such-prompt"))).message


async def test_crash_in_the_middle_then_the_session_goes_on(transport):
    with mux.running(mux.fastmcp_server(), errors_expected=True) as server:
        async with (
            sdk.connect(server.url(transport), transport) as caller,
            sdk.connect(server.url("http"), "http") as bystander,
        ):
            await caller.session.list_tools()
            await bystander.session.list_tools()
            # What a session that set no level wants to hear is for mcp-mux to say; so here both set one.
            await caller.session.set_logging_level("warning")
            await bystander.session.set_logging_level("error")
            marker = sdk.marker("crash")
            waiting = bystander.cancellable("hang", {"marker": marker})
            await bystander.session.call_tool("started", {"marker": marker})
            for error in (
                await sdk.error_of(caller.session.call_tool("exit_process", {"code": 3})),
                (await waiting.finished()).error,
            ):
                assert error.data["source"] == "mcp-mux" and error.data["kind"] == "child-exited", error
            for peer in (caller, bystander):
                assert await peer.text("echo", value="alive") == "alive"
            # The new process was told the level again.
            assert await caller.text("level") == "warning 1"
            await caller.text("log", marker="after")
            await caller.until(lambda: len(caller.logs()) >= 2, "log messages of the new process")
            assert [entry["data"] for entry in caller.logs()] == ["after warning", "after error"]
