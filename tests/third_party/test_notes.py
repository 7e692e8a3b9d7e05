"""Python SDK client → mcp-mux → examples/notes_server.py, over both transports, one child for the whole module."""

import json

import anyio
import mcp.types as types
import pytest

import mux
import sdk

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server():
    """One in front of which nothing is ever cancelled or left behind: this child never says when it is done with a
    cancelled request, and until then what it logs or asks might belong to that."""
    with mux.running(mux.notes_server()) as running:
        yield running


@pytest.fixture
def own_server():
    with mux.running(mux.notes_server()) as running:
        yield running


async def test_initialize(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        assert peer.initialized.protocolVersion == "2025-11-25"
        assert peer.initialized.serverInfo.name == "notes"
        capabilities = peer.initialized.capabilities
        assert capabilities.resources.subscribe and capabilities.resources.listChanged
        assert capabilities.completions is not None and capabilities.logging is not None


async def test_payloads_pass_unchanged(server, transport):
    value = {
        "beyond a double": 2**53 + 1,
        "forty digits": 10**40 - 1,
        "negative": -(2**63) - 1,
        "emoji with joiners": "👩‍👩‍👧‍👦 🏳️‍🌈 🇪🇺",
        "order": {"z": 1, "a": 2, "m": [None, True, [], {}]},
        "invisible": "\u200b\u2060\ufeff\u2028",
        "controls": "\u0000\u0001\u001f\u007f\n\r\t\"\\/",
        "": "empty key",
    }
    async with sdk.connect(server.url(transport), transport) as peer:
        result = await peer.session.call_tool("echo", {"value": value, "and": "more"})
        assert result.structuredContent == {"value": value, "and": "more"}
        assert list(result.structuredContent["value"]) == list(value)
        assert json.loads(result.content[0].text) == {"value": value, "and": "more"}


async def test_the_notebook_is_shared_and_its_changes_are_told(server, transport):
    other = "sse" if transport == "http" else "http"
    title = sdk.marker("Ünique 📝")
    async with (
        sdk.connect(server.url(transport), transport) as writer,
        sdk.connect(server.url(other), other) as reader,
    ):
        added = await writer.session.call_tool("add_note", {"title": title, "text": "needle-in-a-note"})
        uri = added.structuredContent["uri"]
        for peer in (writer, reader):
            method = "notifications/resources/list_changed"
            await peer.until(lambda: peer.notifications(method), method)
        assert title in (await reader.session.call_tool("list_notes", {})).structuredContent["titles"]
        found = await reader.session.call_tool("search_notes", {"query": "NEEDLE-in"})
        assert found.structuredContent["titles"] == [title]
        assert (await reader.session.read_resource(sdk.uri(uri))).contents[0].text == "needle-in-a-note"
        assert (await reader.text("delete_note", title=title)) == f"Deleted: {title}"
        gone = await writer.session.call_tool("delete_note", {"title": title})
        assert gone.isError


async def test_progress(server, transport):
    steps = []

    async def on_progress(progress, total, message):
        steps.append((progress, total, message))

    async with sdk.connect(server.url(transport), transport) as peer:
        result = await peer.session.call_tool("slow", {"seconds": 0.5, "steps": 5}, progress_callback=on_progress)
        assert result.content[0].text == "Waited 0.5 seconds in 5 steps."
        assert steps == [(n, 5, f"step {n} of 5") for n in range(1, 6)]


async def test_a_slow_call_delays_no_other(own_server, transport):
    async with sdk.connect(own_server.url(transport), transport) as peer:
        began = anyio.Event()

        async def on_progress(progress, total, message):
            began.set()

        slow = peer.cancellable("slow", {"seconds": 10, "steps": 100}, on_progress)
        with anyio.fail_after(sdk.DEADLINE):
            await began.wait()
        for n in range(20):
            assert json.loads(await peer.text("echo", value=n)) == {"value": n}
        assert not slow.done.is_set()
        await slow.cancel()


async def test_cancellation_ends_the_call_in_the_child(own_server, transport):
    async with sdk.connect(own_server.url(transport), transport) as peer:
        began = anyio.Event()

        async def on_progress(progress, total, message):
            began.set()

        async def in_flight() -> int:
            return (await peer.session.call_tool("whoami", {})).structuredContent["inFlight"]

        call = peer.cancellable("slow", {"seconds": 500, "steps": 10000}, on_progress)
        with anyio.fail_after(sdk.DEADLINE):
            await began.wait()
        assert await in_flight() == 2
        await call.cancel()
        with anyio.fail_after(sdk.DEADLINE):
            # `inFlight` counts the asking call; the cancelled one's thread needs a moment to notice.
            while await in_flight() != 1:
                pass
        assert not [m for m in peer.seen if m.get("id") == call.request_id]


async def test_a_session_that_leaves_in_mid_call_takes_the_others_questions_not_away(own_server, transport):
    """What a departed session's call might still ask could never have been answered by it: it had offered nothing."""
    async with sdk.connect(own_server.url(transport), transport) as leaver:
        began = anyio.Event()

        async def on_progress(progress, total, message):
            began.set()

        leaver.cancellable("slow", {"seconds": 500, "steps": 10000}, on_progress)
        with anyio.fail_after(sdk.DEADLINE):
            await began.wait()
    await test_sampling(own_server, transport)


async def test_sampling(server, transport):
    async def on_sampling(context, params: types.CreateMessageRequestParams):
        assert params.messages[0].content.text.endswith("a long text")
        return types.CreateMessageResult(
            role="assistant", model="m", content=types.TextContent(type="text", text="in short")
        )

    async with sdk.connect(server.url(transport), transport, sampling_callback=on_sampling) as peer:
        assert await peer.text("summarize", text="a long text") == "in short"


async def test_elicitation(server, transport):
    async def on_elicitation(context, params):
        if params.message == "name?":
            return types.ElicitResult(action="accept", content={"answer": "Zoë"})
        return types.ElicitResult(action="decline")

    async with sdk.connect(server.url(transport), transport, elicitation_callback=on_elicitation) as peer:
        assert await peer.text("ask", question="name?") == "accept: Zoë"
        assert await peer.text("ask", question="age?") == "decline"


async def test_roots_are_asked_of_the_caller_not_of_who_came_first(server, transport):
    def roots_of(name):
        async def on_roots(context):
            return types.ListRootsResult(roots=[types.Root(uri=f"file:///{name}", name=name)])

        return on_roots

    async with (
        sdk.connect(server.url(transport), transport, list_roots_callback=roots_of("first")) as first,
        sdk.connect(server.url(transport), transport, list_roots_callback=roots_of("second")) as second,
    ):
        for peer, name in ((second, "second"), (first, "first"), (second, "second")):
            result = await peer.session.call_tool("client_roots", {})
            assert result.structuredContent["roots"] == [{"uri": f"file:///{name}", "name": name}]


async def test_log_levels(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        await peer.session.set_logging_level("warning")
        for level in ("debug", "notice", "warning", "emergency", "info"):
            await peer.text("log", level=level, message=f"at {level}", count=2)
        wanted = ["at warning 1", "at warning 2", "at emergency 1", "at emergency 2"]
        await peer.until(lambda: len(peer.logs()) >= len(wanted), "log messages")
        assert [entry["data"] for entry in peer.logs()] == wanted
        wrong = sdk.request("logging/setLevel", {"level": "loudest"})
        error = await sdk.error_of(peer.session.send_request(wrong, types.EmptyResult))
        assert error.code == types.INVALID_PARAMS


async def test_a_thousand_log_messages_of_one_call_arrive_in_order(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        await peer.session.set_logging_level("info")
        await peer.text("log", level="info", message="n", count=1000)
        await peer.until(lambda: len(peer.logs()) >= 1000, "log messages")
        assert [entry["data"] for entry in peer.logs()] == [f"n {n}" for n in range(1, 1001)]


async def test_updates_reach_the_subscribed_and_nobody_else(server, transport):
    other = "sse" if transport == "http" else "http"
    shared, own = (f"note:///{sdk.marker(name)}" for name in ("shared", "own"))
    async with (
        sdk.connect(server.url(transport), transport) as one,
        sdk.connect(server.url(other), other) as two,
        sdk.connect(server.url(transport), transport) as none,
    ):
        await one.session.subscribe_resource(sdk.uri(shared))
        await one.session.subscribe_resource(sdk.uri(own))
        await two.session.subscribe_resource(sdk.uri(shared))
        for uri in (shared, own):
            await none.text("touch", uri=uri)
        await one.until(lambda: sorted(one.updates()) == sorted([shared, own]), "both updates")
        await two.until(lambda: two.updates() == [shared], "the shared update")
        # One of two leaves: the child still is subscribed, only the other hears of it.
        await one.session.unsubscribe_resource(sdk.uri(shared))
        assert await none.text("touch", uri=shared) == "Notified."
        await two.until(lambda: two.updates() == [shared, shared], "the second shared update")
        # The last one leaves: so does mcp-mux.
        await two.session.unsubscribe_resource(sdk.uri(shared))
        assert await none.text("touch", uri=shared) != "Notified."
        assert sorted(one.updates()) == sorted([shared, own]) and none.updates() == []


async def test_a_session_that_ends_takes_its_subscriptions_along(server, transport):
    uri = f"note:///{sdk.marker('left')}"
    async with sdk.connect(server.url(transport), transport) as leaver:
        await leaver.session.subscribe_resource(sdk.uri(uri))
    async with sdk.connect(server.url(transport), transport) as peer:
        with anyio.fail_after(sdk.DEADLINE):
            while uri in (await peer.session.call_tool("whoami", {})).structuredContent["subscriptions"]:
                pass


async def test_resources_prompts_completion(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        resources = {r.name: str(r.uri) for r in (await peer.session.list_resources()).resources}
        uri = resources["Crème brûlée 🍮"]
        assert (await peer.session.read_resource(sdk.uri(uri))).contents[0].text.startswith("Cream")
        templates = (await peer.session.list_resource_templates()).resourceTemplates
        assert [t.uriTemplate for t in templates] == ["note:///{title}"]
        assert [p.name for p in (await peer.session.list_prompts()).prompts] == ["summarize_note"]
        prompt = await peer.session.get_prompt("summarize_note", {"title": "Welcome"})
        assert "This notebook" in prompt.model_dump_json()
        for ref in (
            types.PromptReference(type="ref/prompt", name="summarize_note"),
            types.ResourceTemplateReference(type="ref/resource", uri="note:///{title}"),
        ):
            completed = await peer.session.complete(ref, {"name": "title", "value": "shop"})
            assert completed.completion.values == ["Shopping list"]


async def test_errors_are_the_childs_own(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        error = await sdk.error_of(peer.session.read_resource(sdk.uri("note:///nothing")))
        assert (error.code, error.message, error.data) == (-32002, "Resource not found", {"uri": "note:///nothing"})
        assert (await sdk.error_of(peer.session.call_tool("no-such-tool", {}))).code == -32602
        error = await sdk.error_of(peer.session.send_request(sdk.request("no/such"), types.EmptyResult))
        assert (error.code, error.message) == (-32601, "unknown method: no/such")


async def test_a_megabyte(server, transport):
    async with sdk.connect(server.url(transport), transport) as peer:
        text = await peer.text("bytes", count=1_000_000)
        assert len(text) == 1_000_000 and set(text) == {"x"}


async def test_crash_answers_all_and_the_sessions_live_on(transport):
    with mux.running(mux.notes_server(), errors_expected=True) as server:
        async with (
            sdk.connect(server.url(transport), transport) as caller,
            sdk.connect(server.url("sse"), "sse") as bystander,
        ):
            uri = "note:///watched"
            # What a session that set no level wants to hear is for mcp-mux to say; so here both set one.
            await caller.session.set_logging_level("alert")
            await bystander.session.set_logging_level("critical")
            before = (await caller.session.call_tool("whoami", {})).structuredContent
            assert before["logLevel"] == "critical"
            await bystander.session.subscribe_resource(sdk.uri(uri))
            began = anyio.Event()

            async def on_progress(progress, total, message):
                began.set()

            waiting = bystander.cancellable("slow", {"seconds": 500, "steps": 10000}, on_progress)
            with anyio.fail_after(sdk.DEADLINE):
                await began.wait()
            crash = {"exit_code": 42, "message": "these are my last words"}
            for error in (
                await sdk.error_of(caller.session.call_tool("crash", crash)),
                (await waiting.finished()).error,
            ):
                assert error.data["source"] == "mcp-mux" and error.data["kind"] == "child-exited", error
                assert "42" in json.dumps([error.message, error.data]), error
                assert "these are my last words" in json.dumps([error.message, error.data]), error
            after = (await caller.session.call_tool("whoami", {})).structuredContent
            assert after["pid"] != before["pid"]
            # Replayed to the new process: handshake, level, subscriptions.
            assert after["clientInfo"] == before["clientInfo"] and after["logLevel"] == "critical"
            assert after["subscriptions"] == [uri]
            await caller.text("touch", uri=uri)
            await bystander.until(lambda: bystander.updates() == [uri], "an update from the new process")
            for peer in (caller, bystander):
                for kind in ("tools", "resources"):
                    method = f"notifications/{kind}/list_changed"
                    await peer.until(lambda: peer.notifications(method), method)
