"""What every cell of client era and server era has to do, as a client of the official Python SDK sees it.

An era's driver brings `connect(url, name, can)`, a peer that hides how its era does it. (js/checks.mjs is the same list.)
"""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

# Some checks start a process for each of many requests, beside other cells that do the same.
DEADLINE = 90.0
ROUNDS = 10
FULL = {"sampling": True, "elicitation": True, "roots": True}


@dataclass
class Inbox:
    """Collects what arrives, and waits for it: looks only when something arrives."""

    progress: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    updates: list[str] = field(default_factory=list)
    tool_changes: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def arrived(self) -> None:
        self._changed.set()

    def note_progress(self, done: float, total: float | None, message: str | None) -> None:
        number = f"{done:g}/{total:g}" if total is not None else f"{done:g}"
        self.progress.append(f"{number} {message}")
        self.arrived()

    async def until(self, condition, what: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE / 2):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what} did not come") from None


class RpcError(Exception):
    """The JSON-RPC error that a request ended with, whatever its SDK calls it."""

    def __init__(self, code: int, message: str, data: Any) -> None:
        super().__init__(f"{code} {message}")
        self.code, self.data = code, data


async def error_of(request) -> RpcError:
    try:
        result = await request
    except RpcError as error:
        return error
    raise AssertionError(f"expected an error, got {result!r}")


def noted(name: str, message: str) -> str:
    return "accept " + json.dumps({"confirm": True, "note": f"{name}: {message}"}, separators=(",", ":"))


async def becomes(peer, marker: str, wanted: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE / 2):
            while await peer.text("what_became_of", marker=marker) != wanted:
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"the call in the server is not {wanted}") from None


def equal(actual: Any, expected: Any) -> None:
    assert actual == expected, f"{actual!r} is not {expected!r}"


async def call(w):
    marker = 'grüße  "\\ \u2028 🎈'
    equal(await w.ann.text("echo", marker=marker), marker)
    assert "echo" in await w.ann.tools()


async def progress(w):
    before = len(w.ann.inbox.progress)
    equal(await w.ann.text("progress", want_progress=True, steps=3, marker="p"), "p")
    await w.ann.inbox.until(lambda: len(w.ann.inbox.progress) >= before + 3, "progress")
    equal(w.ann.inbox.progress[before:], [f"{step}/3 p {step}" for step in (1, 2, 3)])


async def cancel(w):
    before = len(w.ann.inbox.progress)
    running = w.ann.cancellable("slow", marker="cancel-me")
    await w.ann.inbox.until(lambda: len(w.ann.inbox.progress) > before, "progress")
    await running.cancel()
    await becomes(w.ann, "cancel-me", "cancelled")


async def sampling(w):
    equal(await w.ann.text("sample", marker="s"), "ann says s")


async def elicitation_form(w):
    equal(await w.ann.text("confirm", marker="f"), noted("ann", "f"))


async def elicitation_url(w):
    equal(await w.ann.text("visit", marker="u"), "accept")
    last = w.ann.asked[-1]
    equal((last.mode, last.url, last.message), ("url", "https://example.com/u", "open u"))


async def roots(w):
    equal(await w.ann.text("roots"), "file:///ann")


async def several_rounds(w):
    equal(await w.ann.text("two_rounds", marker="r"), f"{noted('ann', 'r 1')}; {noted('ann', 'r 2')}")


async def several_questions(w):
    equal(await w.ann.text("three_at_once", marker="q"), f"{noted('ann', 'q')}; ann says q; file:///ann")


async def question_in_a_prompt(w):
    equal(await w.ann.prompt("introduce"), "Introduce ann: who?")


async def undeclared_capability(w):
    equal(await w.mute.text("echo", marker="m"), "m")
    error = await error_of(w.mute.call("sample", marker="m"))
    if w.mute.era == "modern":
        equal(error.code, -32021)


async def prompt(w):
    equal(await w.ann.prompt("greet", who="you"), "Greet you")


async def logging(w):
    await w.ann.text("log", level="warning", marker="l")
    await w.ann.inbox.until(lambda: len(w.ann.inbox.logs) >= 2, "log messages")
    await w.ann.text("echo", marker="l")
    equal((w.ann.inbox.logs, w.mute.inbox.logs), (["warning l warning", "error l error"], []))


async def subscription(w):
    async with w.ann.watch(uris=["note:///one"]):
        await w.mute.text("touch", uri="note:///two")
        await w.mute.text("touch", uri="note:///one")
        await w.ann.inbox.until(lambda: w.ann.inbox.updates, "an update")
        equal(w.ann.inbox.updates, ["note:///one"])
    await w.mute.text("touch", uri="note:///one")
    await w.ann.text("echo", marker="x")
    equal((w.ann.inbox.updates, w.mute.inbox.updates), (["note:///one"], []))


async def list_change(w):
    async with w.ann.watch(tools=True):
        before = w.ann.inbox.tool_changes
        await w.mute.text("add_tool", name="added-by-python")
        await w.ann.inbox.until(lambda: w.ann.inbox.tool_changes > before, "a list change")
        assert "added-by-python" in await w.ann.tools()


async def completion(w):
    equal(await w.ann.complete("greet", "who", "pa"), ["paris", "park"])


async def resource(w):
    equal(await w.ann.read("note:///one"), "first")


async def tool_error(w):
    result = await w.ann.call("fail", marker="e")
    equal((w.ann.is_error(result), result.content[0].text), (True, "failed: e"))


async def protocol_error(w):
    equal((await error_of(w.ann.call("no-such-tool"))).code, -32602)


async def missing_resource(w):
    error = await error_of(w.ann.read("note:///nowhere"))
    code = -32602 if w.ann.era == "modern" else -32002
    equal((error.code, (error.data or {}).get("uri")), (code, "note:///nowhere"))


async def ping(w):
    if w.ann.era == "modern":
        return "2026-07-28 has no ping"
    await w.ann.ping()


async def two_clients(w):
    async def use(peer, name):
        before = len(peer.inbox.progress)
        markers = [f"secret of {name} {i}" for i in range(ROUNDS)]
        results = await asyncio.gather(*(peer.text("secret", want_progress=True, marker=marker) for marker in markers))
        equal(results, markers)
        await peer.inbox.until(lambda: len(peer.inbox.progress) >= before + 2 * ROUNDS, "progress")
        wanted = sorted(f"{step}/2 {marker}" for marker in markers for step in (1, 2))
        equal(sorted(peer.inbox.progress[before:]), wanted)

    await asyncio.gather(use(w.ann, "ann"), use(w.mute, "mute"))


async def two_clients_asked(w):
    async def use(name):
        async with w.connect(w.asking_url, name, FULL) as peer:
            for number in range(ROUNDS):
                marker = f"{name}-{number}"
                equal(await peer.text("sample", marker=marker), f"{name} says {marker}")
                equal(await peer.text("confirm", marker=marker), noted(name, marker))
                equal(await peer.text("roots"), f"file:///{name}")
            assert all(asked.message.startswith(name) for asked in peer.asked), "it was asked what another has to answer"

    await asyncio.gather(use("bea"), use("cat"))


async def crash(w):
    if not w.can_crash:
        return "nothing starts a server again that serves HTTP by itself"
    pid = await w.ann.text("pid")
    before = len(w.mute.inbox.progress)
    bystander = asyncio.create_task(error_of(w.mute.call("slow", want_progress=True, marker="bystander")))
    await w.mute.inbox.until(lambda: len(w.mute.inbox.progress) > before, "progress")
    await error_of(w.ann.call("crash"))
    await bystander
    assert await w.ann.text("pid") != pid
    equal(await w.ann.text("sample", marker="again"), "ann says again")
    async with w.ann.watch(uris=["note:///two"]):
        w.ann.inbox.updates.clear()
        await w.mute.text("touch", uri="note:///two")
        await w.ann.inbox.until(lambda: "note:///two" in w.ann.inbox.updates, "an update from the new process")


CHECKS = (
    call, progress, cancel, sampling, elicitation_form, elicitation_url, roots, several_rounds, several_questions,
    question_in_a_prompt, undeclared_capability, prompt, logging, subscription, list_change, completion, resource,
    tool_error, protocol_error, missing_resource, ping, two_clients, two_clients_asked, crash,
)  # fmt: skip


@dataclass
class World:
    connect: Any
    asking_url: str
    can_crash: bool
    ann: Any = None
    mute: Any = None


async def _main(connect) -> None:
    url, asking_url, *rest = sys.argv[1:]
    world = World(connect, asking_url, can_crash="no-crash" not in rest)
    async with connect(url, "ann", FULL) as world.ann, connect(url, "mute", {}) as world.mute:
        for check in CHECKS:
            name = check.__name__.replace("_", "-")
            try:
                reason = await asyncio.wait_for(check(world), DEADLINE)
                print(f"{name} n/a {reason}" if reason else f"{name} ok", flush=True)
            except Exception as error:
                print(f"{name} FAILED {one_line(error)}", flush=True)


def one_line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return " ".join(f"{type(error).__name__} {error}".split())[:400]


def command_of(url: str) -> dict | None:
    """Of `connect:URL`: the command that a client starts as its server over stdio."""
    if not url.startswith("connect:"):
        return None
    return {"command": os.environ["MCP_MUX_BIN"], "args": ["connect", url.removeprefix("connect:"), "--log-level", "error"]}


def main(connect) -> None:
    """Runs the checks against the URL of the command line, one line each."""
    try:
        asyncio.run(_main(connect))
    except BaseException as error:  # noqa: BLE001 (a session that breaks takes the rest along)
        print(f"session FAILED {one_line(error)}", flush=True)


__all__ = ["Inbox", "RpcError", "asynccontextmanager", "command_of", "main"]
