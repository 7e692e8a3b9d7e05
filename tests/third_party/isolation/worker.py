"""Three (or any number of) clients on the official Python SDK, driven line by line by driver.py.

worker.mjs is the same on the TypeScript SDK: the two have to make the same requests in the same number, so that all
clients' JSON-RPC ids and progress tokens, which both SDKs count from 0, stay equal from round to round.

What a client may see is decided here, from what it sent itself (`outgoing`) and against every message that arrives
(`incoming`), below the SDK, so that nothing the SDK swallows goes unnoticed.
"""

import json
import random
import sys
import traceback
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import mcp.types as types
from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.exceptions import McpError
from mcp.shared.message import SessionMessage

LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
ROLES = {"sampling/createMessage": "sampling", "elicitation/create": "elicitation", "roots/list": "roots"}
SHARED = "iso://shared"
DEADLINE = 30


class Client:
    def __init__(self, name, everyone, role, seed):
        self.name, self.everyone, self.role = name, everyone, role
        self.next_one = everyone[(everyone.index(name) + 1) % len(everyone)]
        self.random = random.Random(f"{seed} {name}")
        self.session = None
        self.calls = {}  # JSON-RPC id -> what was asked, and what came back for it so far
        self.markers = set()
        self.level = 0
        self.solo_logs = None
        self.subscribed = set()
        self.updates = Counter()
        self.counts = Counter()
        self.violations = []
        self.closing = False
        self.changed = anyio.Event()

    # What it may see

    def violation(self, what, message=None):
        shown = "" if message is None else ": " + json.dumps(message, ensure_ascii=False)[:400]
        self.violations.append(f"{self.name}: {what}{shown}")

    def outgoing(self, message):
        method, id, params = message.get("method"), message.get("id"), message.get("params") or {}
        if method == "notifications/cancelled":
            self.calls[params["requestId"]]["cancelled"] = True
            self.counts["cancelled"] += 1
        if method is None or id is None:
            return
        arguments = params.get("arguments") or {}
        self.counts["requests"] += 1
        self.counts["highest id"] = max(self.counts["highest id"], id)
        self.markers.add(arguments.get("marker"))
        self.calls[id] = {
            "method": method,
            "tool": params.get("name"),
            "marker": arguments.get("marker"),
            "arguments": arguments,
            "token": (params.get("_meta") or {}).get("progressToken"),
            "progress": 0,
            "answers": 0,
            "cancelled": False,
        }

    def incoming(self, message):
        method = message.get("method")
        if method is None:
            self.answer(message)
        elif "id" in message:
            self.question(message)
        elif method == "notifications/progress":
            self.progress(message)
        elif method == "notifications/message":
            self.log(message)
        elif method == "notifications/resources/updated":
            self.update(message)
        else:
            self.violation("a message nobody could want", message)
        self.changed.set()

    def answer(self, message):
        self.counts["answers"] += 1
        id = message["id"]
        call = self.calls.get(id) if type(id) is int else None
        if call is None:
            return self.violation("an answer to an id it never used", message)
        call["answers"] += 1
        if call["answers"] > 1:
            return self.violation("a second answer", message)
        marker, tool = call["marker"], call["tool"]
        if tool == "hang":
            return self.violation("an answer to a request it had cancelled", message)
        if marker is None:
            if "result" not in message:
                self.violation(f"an error for {call['method']}", message)
            return
        if tool == "fail":
            if (message.get("error") or {}).get("message") != marker:
                self.violation(f"not the error of {marker}", message)
            return
        text = ((message.get("result") or {}).get("content") or [{}])[0].get("text")
        if tool == "ask" and text is not None:
            answer = json.loads(text)
            if answer["marker"] != marker:
                self.violation(f"not the answer to {marker}", message)
            elif call["arguments"]["kind"] == self.role:
                if f"answer to {marker}" not in json.dumps(answer["result"], ensure_ascii=False):
                    self.violation(f"the question of {marker} was not answered by its own client", message)
            elif answer["error"] is None:
                self.violation(f"somebody answered the question of {marker}, which nobody could", message)
        elif text != marker + "." * call["arguments"].get("size", 0):
            self.violation(f"not the answer to {marker}", message)

    def question(self, message):
        self.counts["questions"] += 1
        marker = ((message.get("params") or {}).get("_meta") or {}).get("marker")
        asking = [call for call in self.calls.values() if call["tool"] == "ask" and call["marker"] == marker]
        if ROLES.get(message["method"]) != self.role:
            self.violation("a request of a kind it never offered to answer", message)
        elif not asking or asking[0]["answers"]:
            self.violation("a question that none of its open requests led to", message)
        elif asking[0].setdefault("asked", 0):
            self.violation("a question asked twice", message)
        else:
            asking[0]["asked"] += 1

    def progress(self, message):
        self.counts["progress"] += 1
        params = message["params"]
        token = params.get("progressToken")
        call = self.calls.get(token) if type(token) is int else None
        if call is None or call["token"] is None:
            return self.violation("progress for a token it did not send", message)
        if params.get("message") != call["marker"]:
            return self.violation(f"progress that is not of {call['marker']}", message)
        if params["progress"] != call["progress"] + 1 or call["answers"]:
            return self.violation(f"progress after step {call['progress']}, {call['answers']} answers", message)
        call["progress"] += 1

    def log(self, message):
        self.counts["logs"] += 1
        params = message["params"]
        marker = (params.get("data") or {}).get("marker")
        if marker not in self.markers or not marker.startswith(self.name + "/"):
            return self.violation("a log message of another's", message)
        if LEVELS.index(params["level"]) < self.level:
            return self.violation(f"a log message below its level {LEVELS[self.level]}", message)
        if self.solo_logs is not None:
            self.solo_logs.append(params["level"])

    def update(self, message):
        self.counts["updates"] += 1
        uri = message["params"]["uri"]
        if uri not in self.subscribed:
            return self.violation("an update of what it had not subscribed to", message)
        self.updates[uri] += 1

    async def until(self, condition, what):
        with anyio.move_on_after(DEADLINE) as scope:
            while not condition():
                self.changed = anyio.Event()
                await self.changed.wait()
        if scope.cancelled_caught:
            self.violation(f"{what} did not arrive within {DEADLINE} s")

    # What it does

    async def connect(self, stack, url, transport):
        if transport == "http":
            read, write, _ = await stack.enter_async_context(streamablehttp_client(url, timeout=DEADLINE))
        else:
            read, write = await stack.enter_async_context(sse_client(url, timeout=DEADLINE))
        seen, tapped_read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        tapped_write, said = anyio.create_memory_object_stream[SessionMessage](0)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(tasks.cancel_scope.cancel)

        def plain(message):
            return message.message.model_dump(by_alias=True, mode="json", exclude_none=True)

        async def tap_in():
            async with seen:
                async for message in read:
                    if isinstance(message, SessionMessage):
                        self.incoming(plain(message))
                    else:
                        self.violation(f"the transport failed: {message!r}"[:400])
                    try:
                        await seen.send(message)
                    except anyio.BrokenResourceError:
                        return self.closing or self.violation("its SDK stopped reading")

        async def tap_out():
            async with write:
                async for message in said:
                    self.outgoing(plain(message))
                    await write.send(message)

        tasks.start_soon(tap_in)
        tasks.start_soon(tap_out)
        callbacks = {}
        if self.role == "sampling":
            callbacks["sampling_callback"] = self.on_sampling
        elif self.role == "elicitation":
            callbacks["elicitation_callback"] = self.on_elicitation
        elif self.role == "roots":
            callbacks["list_roots_callback"] = self.on_roots
        self.session = await stack.enter_async_context(ClientSession(tapped_read, tapped_write, **callbacks))
        await self.session.initialize()
        await self.session.list_tools()
        await self.session.subscribe_resource(SHARED)
        self.subscribed.add(SHARED)

    async def on_sampling(self, context, params):
        text = f"answer to {params.messages[0].content.text}"
        content = types.TextContent(type="text", text=text)
        return types.CreateMessageResult(role="assistant", model="test", content=content)

    async def on_elicitation(self, context, params):
        return types.ElicitResult(action="accept", content={"answer": f"answer to {params.message}"})

    async def on_roots(self, context):
        return types.ListRootsResult(roots=[types.Root(uri="file:///", name=f"answer to {context.meta.marker}")])

    async def tool(self, tool, marker, on_progress=None, **arguments):
        """A call whose outcome `incoming` judges; that there is one, in time, is judged here."""
        with anyio.move_on_after(DEADLINE) as scope:
            try:
                await self.session.call_tool(tool, {"marker": marker, **arguments}, progress_callback=on_progress)
            except McpError:
                pass
        if scope.cancelled_caught:
            self.violation(f"no answer to {marker} within {DEADLINE} s")

    async def cancelled_tool(self, tasks, tool, marker, delay, wait_for_progress, **arguments):
        """A call that is cancelled, but for the SDK's own wait for it, which ends with `tasks`: ended while an answer is
        being handed over, it takes the whole session along (mcp 1.30.0: `ClosedResourceError` in its receive loop)."""
        began, id = anyio.Event(), None

        async def on_progress(progress, total, message):
            began.set()

        async def call():
            nonlocal id
            id = self.session._request_id  # the one that the next line takes, in this same turn of the loop
            await self.tool(tool, marker, on_progress if wait_for_progress else None, **arguments)

        tasks.start_soon(call)
        if wait_for_progress:
            with anyio.move_on_after(DEADLINE) as scope:
                await began.wait()
            if scope.cancelled_caught:
                self.violation(f"no progress of {marker} within {DEADLINE} s")
        await anyio.sleep(delay)
        await self.session.send_notification(
            types.ClientNotification(types.CancelledNotification(params=types.CancelledNotificationParams(requestId=id)))
        )

    async def subscribe(self, round, id):
        # Level with the others, whatever a solo turn added.
        while self.session._request_id < id:
            await self.session.send_ping()
        uri = f"iso://{self.name}/{round}"
        self.subscribed.add(uri)
        await self.session.subscribe_resource(uri)

    async def run(self, round, shared):
        async with anyio.create_task_group() as cancelled:
            await self.calls_at_once(cancelled, round, shared)
            cancelled.cancel_scope.cancel()

    async def calls_at_once(self, cancelled, round, shared):
        """The concurrent part of a round: 11 calls at once, then what has to have arrived by then."""
        mark = lambda what: f"{self.name}/{round}/{what}"  # noqa: E731
        ms = self.random.randint
        own, others = f"iso://{self.name}/{round}", f"iso://{self.next_one}/{round}"

        async def on_progress(progress, total, message):
            pass

        calls = [
            lambda: self.tool("echo", mark("now")),
            lambda: self.tool("echo", mark("later"), ms=ms(5, 60)),
            lambda: self.tool("echo", mark("large"), ms=ms(0, 20), size=ms(1, 60_000)),
            lambda: self.tool("work", mark("work"), on_progress, ms=ms(10, 40), steps=4),
            lambda: self.tool("work", mark("more work"), on_progress, ms=ms(10, 60), steps=3),
            lambda: self.tool("fail", mark("fail")),
            lambda: self.tool("log", mark("log")),
            lambda: self.tool("touch", mark("touch"), uris=[own, others, SHARED]),
            (lambda: self.tool("ask", mark("ask"), kind=self.role))
            if self.role
            else (lambda: self.tool("echo", mark("no ask"), ms=ms(5, 30))),
            lambda: self.cancelled_tool(
                cancelled, "hang", mark("hang"), ms(0, 10) / 1000, True,
                ending=self.random.choice(["result", "error"]), ms=ms(0, 10),
            ),
            # Its answer and its cancellation may pass each other.
            lambda: self.cancelled_tool(cancelled, "echo", mark("race"), ms(1, 9) / 1000, False, ms=4),
        ]  # fmt: skip
        self.random.shuffle(calls)
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call)
        await self.until(lambda: self.updates[own] >= 2, f"the 2 updates of {own}")
        await self.until(lambda: self.updates[SHARED] >= shared, f"update {shared} of {SHARED}")
        for uri, wanted in ((own, 2), (SHARED, shared)):
            if self.updates[uri] > wanted:
                self.violation(f"{self.updates[uri]} updates of {uri} instead of {wanted}")
        await self.tool("settled", mark("settled"))
        await self.session.unsubscribe_resource(own)
        self.subscribed.discard(own)
        for id, call in self.calls.items():
            if not call["answers"] and not call["cancelled"]:
                self.violation(f"no answer to {call['marker'] or call['method']}, id {id}")
            if call["tool"] == "work" and call["progress"] != call["arguments"]["steps"]:
                self.violation(f"{call['progress']} of the {call['arguments']['steps']} steps of {call['marker']}")

    async def solo(self, round, level):
        """Alone on the child: now everything can be attributed, so everything has to arrive, and nowhere else."""
        mark = lambda what: f"{self.name}/{round}/{what}"  # noqa: E731
        await self.session.set_logging_level(level)
        self.level = LEVELS.index(level)
        self.solo_logs = []
        await self.tool("log", mark("solo log"))
        wanted = LEVELS[self.level :]
        await self.until(lambda: len(self.solo_logs) >= len(wanted), f"the log messages {wanted} of {mark('solo log')}")
        if self.solo_logs != wanted:
            self.violation(f"log messages {self.solo_logs} instead of {wanted}")
        self.solo_logs = None
        # Nobody who could be asked this has a request in flight.
        await self.tool("ask", mark("solo ask"), kind="elicitation" if self.role == "sampling" else "sampling")
        await self.session.unsubscribe_resource(SHARED)
        self.subscribed.discard(SHARED)
        # All of these were unsubscribed from by all, but the shared one, of which the others hear.
        uris = [f"iso://{name}/{round}" for name in self.everyone] + [SHARED, "iso://nobody"]
        await self.tool("touch", mark("solo touch"), uris=uris)
        self.subscribed.add(SHARED)
        await self.session.subscribe_resource(SHARED)

    async def finish(self, shared):
        await self.until(lambda: self.updates[SHARED] >= shared, f"update {shared} of {SHARED}")
        await self.tool("settled", f"{self.name}/end/settled")
        await self.session.send_ping()
        if self.updates[SHARED] != shared:
            self.violation(f"{self.updates[SHARED]} updates of {SHARED} instead of {shared}")


async def main():
    setup = json.loads(sys.argv[1])
    clients = [Client(name, setup["everyone"], setup["roles"].get(name), setup["seed"]) for name in setup["names"]]
    lines = anyio.wrap_file(sys.stdin)

    async def each(action):
        async with anyio.create_task_group() as tasks:
            for client in clients:
                tasks.start_soon(action, client)

    async with AsyncExitStack() as stack:
        for client in clients:
            await client.connect(stack, setup["url"], setup["transport"])
        command = {"do": "connect"}
        while True:
            match command["do"]:
                case "subscribe":
                    await each(lambda client: client.subscribe(command["round"], command["id"]))
                case "run":
                    await each(lambda client: client.run(command["round"], command["shared"][client.name]))
                case "solo":
                    solo = next(client for client in clients if client.name == command["who"])
                    await solo.solo(command["round"], command["level"])
                case "finish":
                    await each(lambda client: client.finish(command["shared"][client.name]))
            reply = {
                "next": {client.name: client.session._request_id for client in clients},
                "violations": [violation for client in clients for violation in client.violations],
                "counts": {client.name: client.counts for client in clients},
            }
            print(json.dumps(reply, ensure_ascii=False), flush=True)
            for client in clients:
                client.closing = command["do"] == "finish"
            if command["do"] == "finish" or not (line := await lines.readline()):
                break
            command = json.loads(line)


def leaves(error):
    return [leaf for each in error.exceptions for leaf in leaves(each)] if isinstance(error, BaseExceptionGroup) else [error]


if __name__ == "__main__":
    try:
        anyio.run(main)
    except BaseExceptionGroup as group:
        # Each task group on the way has wrapped it once, deeper than a traceback shows.
        for leaf in leaves(group):
            traceback.print_exception(leaf)
        sys.exit(1)
