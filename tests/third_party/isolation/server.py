"""The child of the isolation test: one stdio MCP server, standard library alone, made to tempt a multiplexer.

Whatever it sends on behalf of a call carries the call's `marker`, so the receiver can prove that it is its own. It answers
out of order, keeps working for a moment after a cancellation (a last log message, a last progress notification, a late
answer, as servers on the Python SDK send one), sends resource updates whether or not anybody subscribed and log messages
of every level whatever level was set: filtering is left to who stands in front.
"""

import asyncio
import json
import sys

LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
QUESTIONS = {
    "sampling": "sampling/createMessage",
    "elicitation": "elicitation/create",
    "roots": "roots/list",
}


class Server:
    def __init__(self):
        self.calls = {}  # id of a request in flight -> Event that is set when it is cancelled
        self.late = 0  # cancelled calls that still have something to say
        self.none_late = asyncio.Event()
        self.none_late.set()
        self.questions = {}  # id of a request of ours -> Future of the answer
        self.next_question = 0

    def send(self, message):
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False, separators=(",", ":")) + "\n")
        sys.stdout.flush()

    def notify(self, method, params):
        self.send({"method": method, "params": params})

    def log(self, level, marker):
        self.notify("notifications/message", {"level": level, "data": {"marker": marker, "level": level}})

    async def ask(self, kind, marker):
        # Counted from 0, as clients do: a multiplexer that mixes up the two directions' ids is found out.
        question, self.next_question = self.next_question, self.next_question + 1
        answer = self.questions[question] = asyncio.get_running_loop().create_future()
        params = {"_meta": {"marker": marker}}
        if kind == "sampling":
            params |= {"messages": [{"role": "user", "content": {"type": "text", "text": marker}}], "maxTokens": 1}
        elif kind == "elicitation":
            schema = {"type": "object", "properties": {"answer": {"type": "string"}}}
            params |= {"mode": "form", "message": marker, "requestedSchema": schema}
        self.send({"id": question, "method": QUESTIONS[kind], "params": params})
        return await answer

    def receive(self, message):
        method, id = message.get("method"), message.get("id")
        if method is None:
            answer = self.questions.pop(id, None)
            if answer is not None:
                answer.set_result(message)
        elif method == "notifications/cancelled":
            if (cancelled := self.calls.get(message["params"]["requestId"])) is not None:
                cancelled.set()
        elif id is not None:
            cancelled = self.calls[id] = asyncio.Event()
            task = asyncio.create_task(self.respond(message, cancelled))
            task.add_done_callback(lambda task: (self.calls.pop(id, None), task.result()))

    async def respond(self, message, cancelled):
        try:
            self.send({"id": message["id"], "result": await self.result(message, cancelled)})
        except Refused as error:
            self.send({"id": message["id"], "error": {"code": -32050, "message": str(error)}})

    async def result(self, message, cancelled):
        method, params = message["method"], message.get("params") or {}
        if method == "initialize":
            return {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}, "resources": {"subscribe": True}, "logging": {}},
                "serverInfo": {"name": "isolation", "version": "1"},
            }
        if method == "tools/list":
            return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
        if method != "tools/call":
            return {}
        token = params.get("_meta", {}).get("progressToken")
        text = await TOOLS[params["name"]](self, token=token, cancelled=cancelled, **params["arguments"])
        return {"content": [{"type": "text", "text": text}]}


class Refused(Exception):
    pass


async def echo(server, token, cancelled, marker, ms=0, size=0):
    await asyncio.sleep(ms / 1000)
    return marker + "." * size


async def work(server, token, cancelled, marker, ms, steps):
    """Progress with the marker in it, at the caller's pace."""
    for step in range(1, steps + 1):
        progress = {"progressToken": token, "progress": step, "total": steps, "message": marker}
        server.notify("notifications/progress", progress)
        await asyncio.sleep(ms / 1000 / steps)
    return marker


async def hang(server, token, cancelled, marker, ending, ms=0):
    """Wait to be cancelled; then, `ms` later, go on as `ending` says: "result", "error", or "nothing" (no answer)."""
    server.notify("notifications/progress", {"progressToken": token, "progress": 1, "message": marker})
    await cancelled.wait()
    server.late += 1
    server.none_late.clear()
    await asyncio.sleep(ms / 1000)
    server.log("emergency", marker)
    server.notify("notifications/progress", {"progressToken": token, "progress": 2, "message": marker})
    server.late -= 1
    # Once the answer below is written, which is in this same turn of the loop.
    asyncio.get_running_loop().call_soon(lambda: server.late or server.none_late.set())
    if ending == "nothing":
        await asyncio.Event().wait()
    if ending == "error":
        raise Refused(marker)
    return marker


async def settled(server, token, cancelled, marker):
    """Answer when no cancelled call has anything left to say."""
    await server.none_late.wait()
    return marker


async def fail(server, token, cancelled, marker):
    raise Refused(marker)


async def log(server, token, cancelled, marker):
    for level in LEVELS:
        server.log(level, marker)
    return marker


async def ask(server, token, cancelled, marker, kind):
    answer = await server.ask(kind, marker)
    return json.dumps({"marker": marker, "result": answer.get("result"), "error": answer.get("error")})


async def touch(server, token, cancelled, marker, uris):
    for uri in uris:
        server.notify("notifications/resources/updated", {"uri": uri})
    return marker


TOOLS = {tool.__name__: tool for tool in (echo, work, hang, settled, fail, log, ask, touch)}


async def main():
    server = Server()
    reader = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    async for line in reader:
        server.receive(json.loads(line))


if __name__ == "__main__":
    asyncio.run(main())
