"""Python SDK clients whose mcp-mux has more than one server process."""

import os
import signal

import anyio
import mcp.types as types
import pytest

import mux
import sdk

pytestmark = pytest.mark.anyio

ROUNDS = 5


def callbacks_of(name):
    async def on_sampling(context, params):
        text = f"{name} says {params.messages[0].content.text}"
        return types.CreateMessageResult(
            role="assistant", model="m", content=types.TextContent(type="text", text=text)
        )

    async def on_elicitation(context, params):
        return types.ElicitResult(action="accept", content={"confirm": True, "note": f"{name}: {params.message}"})

    async def on_roots(context):
        return types.ListRootsResult(roots=[types.Root(uri=f"file:///{name}", name=name)])

    return {
        "sampling_callback": on_sampling,
        "elicitation_callback": on_elicitation,
        "list_roots_callback": on_roots,
    }


async def test_each_session_of_a_process_of_its_own_is_asked_its_own_questions(transport):
    """Both can be asked anything and both are busy: of one process, nobody would know whom it means."""
    other = "sse" if transport == "http" else "http"
    with mux.running(mux.fastmcp_server(), "--isolation", "session", "--warm", "1") as server:
        async with (
            sdk.connect(server.url(transport), transport, **callbacks_of("ann")) as ann,
            sdk.connect(server.url(other), other, **callbacks_of("bob")) as bob,
        ):

            async def use(peer, name):
                for number in range(ROUNDS):
                    mine = f"{name}-{number}"
                    assert await peer.text("sample", marker=mine) == f"{name} says {mine}"
                    assert f'"note":"{name}: confirm {mine}?"' in await peer.text("confirm", marker=mine)
                    assert await peer.text("roots") == f"file:///{name}"
                    await peer.text("log", marker=mine)
                levels = ("debug", "info", "warning", "error")
                wanted = [f"{name}-{number} {level}" for number in range(ROUNDS) for level in levels]
                await peer.until(lambda: len(peer.logs()) >= len(wanted), "log messages")
                assert [entry["data"] for entry in peer.logs()] == wanted

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(use, ann, "ann")
                tasks.start_soon(use, bob, "bob")


async def test_a_session_of_a_pool_survives_its_process(transport):
    uri = "note:///watched"

    async def about(peer):
        return (await peer.session.call_tool("whoami", {})).structuredContent

    with mux.running(mux.notes_server(), "--pool", "2") as server:
        async with (
            sdk.connect(server.url(transport), transport) as struck,
            sdk.connect(server.url(transport), transport) as spared,
        ):
            await struck.session.set_logging_level("alert")
            await struck.session.subscribe_resource(sdk.uri(uri))
            before, others = await about(struck), await about(spared)
            assert before["pid"] != others["pid"]
            id = struck.session_id()
            os.kill(before["pid"], signal.SIGKILL)
            # It may reach the old process; then it is repeated.
            assert (await struck.session.list_tools()).tools
            after = await about(struck)
            assert after["pid"] not in (before["pid"], others["pid"]) and struck.session_id() == id
            assert (after["logLevel"], after["subscriptions"]) == ("alert", [uri])
            await struck.text("touch", uri=uri)
            await struck.until(lambda: struck.updates() == [uri], "an update from the new process")
            assert (await about(spared))["pid"] == others["pid"] and spared.updates() == []
