#!/usr/bin/env python3
"""A stdio MCP server that misbehaves, on command and at random: what mcp-mux has to live with.

    child.py --folder FOLDER [--chaos SEED --rates exit=0.01,twice=0.05] [--sound N] [--private] [--megabytes N]

`tools/call misbehave {"kind": …}` does one of MISBEHAVIOURS at once; with `--chaos` each request draws one with the given
probability (for START, each process does once). Otherwise it is well-behaved: `echo` gives the caller's secret back with
this pid and a counter, `progress`, `log` and `ask` send what carries that secret, `resources/*` and `tools/list` do what
they should. A file `calm` in FOLDER ends the chaos. With `--private` there must be one client only.

It distrusts the other side, too: a line that is no message, an id that comes twice, or (`--private`) a second client's
secret is written to `FOLDER/violations`, which has to stay empty.

What it answers under an id that is not the request's own is marked: `{"mixedUp": {"of": …, "for": …}}` says whose
payload it is and whose request it was, so that a checker can tell the server's confusion from mcp-mux's. Secrets never go to
stderr, since mcp-mux tells all clients of a crash its last words.
"""

import argparse
import collections
import heapq
import itertools
import json
import os
import random
import select
import signal
import sys
import time

SECRET_PREFIX = "secret-"
MEGABYTE = 1 << 20
GRANDCHILD_SECONDS = 300  # nothing of this outlives a test for long, even if the test is wrong
QUESTIONS = {"sampling": "sampling/createMessage", "elicitation": "elicitation/create", "roots": "roots/list"}


class Server:
    def __init__(self, options):
        self.options = options
        self.number = self.take_number()
        self.random = random.Random(f"{options.chaos}/{self.number}")
        self.timers, self.order = [], itertools.count()  # (when, order, action)
        self.input = b""
        self.ids_seen = set()
        self.secrets_seen = set()
        self.open = {}  # requests that are not answered: id -> secret
        self.recent = collections.deque(maxlen=200)  # those that are
        self.questions, self.question_ids = {}, itertools.count()  # our id -> what to do with the answer
        self.subscriptions = set()
        self.capabilities = {}
        self.count = 0
        self.is_mute = False

    def take_number(self):
        """Which process of this test this is, from 1: appending moves to the end of what was appended."""
        file = os.open(os.path.join(self.options.folder, "starts"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, b".")
        number = os.lseek(file, 0, os.SEEK_CUR)
        os.close(file)
        return number

    def violation(self, text):
        with open(os.path.join(self.options.folder, "violations"), "a", encoding="utf-8") as file:
            file.write(f"process {self.number}: {text[:600]}\n")

    # --- The loop ---------------------------------------------------------------------------------------------------

    def run(self):
        while True:
            while self.timers and self.timers[0][0] <= time.monotonic():
                heapq.heappop(self.timers)[2]()
            wait = self.timers[0][0] - time.monotonic() if self.timers else None
            if not select.select([0], [], [], None if wait is None else max(wait, 0))[0]:
                continue
            data = os.read(0, 1 << 16)
            if not data:
                os._exit(0)
            *lines, self.input = (self.input + data).split(b"\n")
            for line in lines:
                self.read(line)

    def later(self, seconds, action):
        heapq.heappush(self.timers, (time.monotonic() + seconds, next(self.order), action))

    def read(self, line):
        try:
            message = json.loads(line.decode("utf-8"))
            if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
                raise ValueError("no JSON-RPC message")
        except ValueError as error:
            return self.violation(f"read a line that is no message ({error}): {line[:200]!r}")
        if self.is_mute:
            return None
        if "method" not in message:
            take = self.questions.pop(str(message.get("id")), None)
            return take(message) if take else None
        if "id" not in message:
            return self.notification(message)
        key = json.dumps(message["id"])
        if key in self.ids_seen:
            self.violation(f"the id {key} came twice")
        self.ids_seen.add(key)
        return self.initialize(message) if message["method"] == "initialize" else self.request(message)

    def write(self, data):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]

    def send(self, message):
        self.write(json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n")

    def notify(self, method, **params):
        self.send({"method": method, "params": params})

    def answer(self, id, result):
        """Answers a request, once: not if it was cancelled, or answered in another way."""
        key = json.dumps(id)
        if key in self.open:
            self.recent.append((id, self.open.pop(key)))
            self.send({"id": id, "result": result})

    # --- What it does when it behaves -------------------------------------------------------------------------------

    def initialize(self, message):
        params = message["params"]
        self.capabilities = params.get("capabilities") or {}
        drawn = self.draw(START) if self.number > self.options.sound else None
        if drawn == "refuse":
            return self.send({"id": message["id"], "error": {"code": -32603, "message": "not today"}})
        if drawn == "early":
            os._exit(4)
        seconds = self.random.uniform(0.2, 1.5) if drawn == "slow" else 0
        capabilities = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}
        result = {
            "protocolVersion": params.get("protocolVersion") if self.options.private else "2025-11-25",
            "capabilities": capabilities,
            "serverInfo": {"name": "chaos", "version": "1"},
        }
        if drawn == "stillborn":
            self.is_stillborn = True
        return self.later(seconds, lambda: self.send({"id": message["id"], "result": result}))

    is_stillborn = False

    def notification(self, message):
        if message["method"] == "notifications/initialized" and self.is_stillborn:
            os._exit(5)
        if message["method"] == "notifications/cancelled":
            # Now and then it is too late for that.
            if self.random.random() < 0.8:
                self.open.pop(json.dumps(message["params"].get("requestId")), None)

    def request(self, message):
        method, params = message["method"], message.get("params") or {}
        if method == "ping":
            return self.send({"id": message["id"], "result": {}})
        arguments = params.get("arguments") or {}
        secret = arguments.get("secret")
        if secret is not None:
            self.secrets_seen.add(secret)
            if self.options.private and len(self.secrets_seen) > 1:
                self.violation("a second client's secret reached a process that has one client")
        self.open[json.dumps(message["id"])] = secret
        kind = self.draw(REQUEST)
        if method == "tools/call" and params.get("name") == "misbehave":
            kind = arguments["kind"]
        if kind is not None and MISBEHAVIOURS[kind](self, message) is ANSWERED:
            return None
        if method == "tools/call":
            return self.call(message, params.get("name"), arguments, (params.get("_meta") or {}).get("progressToken"))
        return self.answer(message["id"], self.plain(method, params))

    def plain(self, method, params):
        if method == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "progress", "log", "ask")]
            return {"tools": tools, "_meta": {"pid": os.getpid()}}
        if method == "resources/read":
            return {"contents": [{"uri": params["uri"], "text": f"text of {params['uri']}"}]}
        if method == "resources/subscribe":
            self.subscriptions.add(params["uri"])
        elif method == "resources/unsubscribe":
            self.subscriptions.discard(params["uri"])
        return {}

    def call(self, message, name, arguments, token):
        id, secret = message["id"], arguments["secret"]
        if name == "ask":
            return self.ask(id, secret, arguments, token)
        if name == "log":
            for number in range(arguments.get("count", 3)):
                self.notify("notifications/message", level="warning", data=f"{secret} {number}")
        elif name == "touch":
            for uri in self.subscriptions & set(arguments["uris"]):
                self.notify("notifications/resources/updated", uri=uri)
        elif name == "progress":
            return self.progress(id, secret, arguments, token, 1)
        return self.later(arguments.get("ms", 0) / 1000, lambda: self.answer(id, self.echo(secret, arguments)))

    def echo(self, secret, arguments, **more):
        self.count += 1
        about = {"secret": secret, "n": arguments.get("n"), "pid": os.getpid(), "count": self.count, **more}
        text = secret + "." * arguments.get("pad", 0)
        return {"content": [{"type": "text", "text": text}], "structuredContent": about}

    def progress(self, id, secret, arguments, token, step):
        if json.dumps(id) not in self.open:
            return None
        if step > arguments["steps"]:
            return self.answer(id, self.echo(secret, arguments))
        if token is not None:
            total = arguments["steps"]
            self.notify("notifications/progress", progressToken=token, progress=step, total=total, message=secret)
        pause = arguments.get("ms", 10) / 1000
        return self.later(pause, lambda: self.progress(id, secret, arguments, token, step + 1))

    def ask(self, id, secret, arguments, token):
        """Asks the client back; half of the callers let the question name their request by its progress token."""
        kind = arguments["kind"]
        params = {
            "sampling": {"messages": [{"role": "user", "content": {"type": "text", "text": secret}}], "maxTokens": 9},
            "elicitation": {"message": secret, "requestedSchema": {"type": "object", "properties": {}}},
            "roots": {},
        }[kind]
        params["_meta"] = {"of": secret, **({"progressToken": token} if token is not None else {})}
        question = f"question-{next(self.question_ids)}"
        self.questions[question] = lambda reply: self.answer(
            id, self.echo(secret, arguments, result=reply.get("result"), error=reply.get("error"))
        )
        self.send({"id": question, "method": QUESTIONS[kind], "params": params})

    # --- What it does when it does not ------------------------------------------------------------------------------

    def draw(self, moment):
        if not self.options.rates or os.path.exists(os.path.join(self.options.folder, "calm")):
            return None
        drawn = self.random.random()
        for kind, rate in self.options.rates.items():
            if (kind in START) == (moment is START):
                drawn -= rate
                if drawn < 0:
                    return kind
        return None

    def exit(self, message):
        """Ends a moment later, in the middle of whatever comes by then."""
        code = self.random.choice([0, 1, 3, 255])
        self.later(self.random.uniform(0, 0.03), lambda: os._exit(code))

    def kill(self, message):
        self.later(self.random.uniform(0, 0.03), lambda: os.kill(os.getpid(), signal.SIGKILL))

    def half(self, message):
        """Ends in the middle of its answer's line."""
        line = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}}).encode()
        self.write(line[: self.random.randrange(1, len(line))])
        os._exit(6)

    def hang(self, message):
        """Reads on, answers nothing any more, not even a ping."""
        self.is_mute = True
        self.timers.clear()
        return ANSWERED

    def ignore(self, message):
        """Answers anything but this."""
        self.open.pop(json.dumps(message["id"]))
        return ANSWERED

    def deaf(self, message):
        """Stops reading, too."""
        while True:
            time.sleep(3600)

    def endless(self, message):
        """A line without an end, as far as it goes."""
        for _ in range(self.options.megabytes):
            self.write(b"x" * MEGABYTE)
        self.write(b"\n")

    def endless_answer(self, message):
        """The same as an answer."""
        key = json.dumps(message["id"])
        del self.open[key]
        self.write(f'{{"jsonrpc":"2.0","id":{key},"result":{{"x":"'.encode())
        for _ in range(self.options.megabytes):
            self.write(b"x" * MEGABYTE)
        self.write(b'"}}\n')
        return ANSWERED

    def stderr(self, message):
        block = (b"e" * 999 + b"\n") * 1000 if self.random.random() < 0.5 else b"e" * 1_000_000
        for _ in range(self.options.megabytes):
            view = memoryview(block)
            while view:
                view = view[os.write(2, view) :]
        os.write(2, b"\n")

    def noise(self, message):
        junk = [
            b"Server is starting...\n", b"\x1b[32mok\x1b[0m\n", b"[1, 2\n", b"\n", b"\xff\xfe\x00\n", b'{"level":"info"}\n',
            b'{"jsonrpc":"2.0"}\n', b'{"jsonrpc":"2.0","id":null,"result":{}}\n', b"[]\n", b"null\n", b"{" * 300 + b"\n",
            b'{"jsonrpc":"2.0","method":7}\n', b'{"jsonrpc":"2.0","id":{},"method":"ping"}\n',
        ]  # fmt: skip
        for _ in range(self.options.megabytes):
            lines = b"".join(self.random.choices(junk, k=1000))
            self.write(lines * (MEGABYTE // len(lines)))

    def family(self, message):
        """Two grandchildren that heed no signal but one, and hold all pipes open."""
        if self.is_parent:
            return
        self.is_parent = True
        for _ in range(2):
            if os.fork() == 0:
                for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                    signal.signal(number, signal.SIG_IGN)
                time.sleep(GRANDCHILD_SECONDS)
                os._exit(0)

    is_parent = False

    def orphaning(self, message):
        """The same, and its own end right after."""
        self.family(message)
        os._exit(0)

    def twice(self, message):
        """Only the first of the two counts."""
        key = json.dumps(message["id"])
        if self.open.get(key) is not None:
            self.answer(message["id"], self.echo(self.open[key], message["params"]["arguments"], early=True))
            self.send({"id": message["id"], "result": {"again": True}})
            return ANSWERED
        return None

    def unknown(self, message):
        for id in (2**52, -1, 0, "mux-1", "nobody", None, 1.5):
            if json.dumps(id) not in self.open and id not in [seen for seen, _ in self.recent]:
                self.send({"id": id, "result": {"of": "nobody"}})

    def respelled(self, message):
        """Answers under the same id as a string: servers do that, and everybody knows what they mean."""
        key = json.dumps(message["id"])
        if self.open.get(key) is None:
            return None
        result = self.echo(self.open.pop(key), message["params"]["arguments"], early=True)
        self.send({"id": f"{message['id']}", "result": result})
        return ANSWERED

    def anothers(self, message):
        """Answers somebody else's request, or one that was answered before."""
        own = self.open.get(json.dumps(message["id"]))
        others = [(json.loads(key), secret) for key, secret in self.open.items() if secret not in (None, own)]
        others = others or [(id, secret) for id, secret in self.recent if secret not in (None, own)]
        if own is None or not others:
            return
        id, secret = self.random.choice(others)
        marks = {"of": own.removeprefix(SECRET_PREFIX), "for": secret.removeprefix(SECRET_PREFIX)}
        self.open.pop(json.dumps(id), None)
        self.send({"id": id, "result": {"content": [], "mixedUp": marks}})

    def unasked(self, message):
        """Questions, progress and changes that nobody asked for; none of them says whose it is."""
        for kind in QUESTIONS.values():
            id = f"unasked-{next(self.question_ids)}"
            self.send({"id": id, "method": kind, "params": {"_meta": {"of": "nobody"}}})
        for token in (1, "1", "mux-1", "mux-99999999", None):
            self.notify("notifications/progress", progressToken=token, progress=1, message="of nobody")
        self.notify("notifications/resources/updated", uri="chaos://nobody")
        self.notify("notifications/tools/list_changed")
        self.notify("notifications/cancelled", requestId="nobody")


ANSWERED = object()
REQUEST = "each request"
# Drawn once, by each process, at its handshake.
START = ("refuse", "early", "slow", "stillborn")
MISBEHAVIOURS = {
    name: getattr(Server, name)
    for name in (
        "exit", "kill", "half", "ignore", "hang", "deaf", "endless", "endless_answer", "stderr", "noise", "family",
        "orphaning", "twice", "unknown", "respelled", "anothers", "unasked",
    )
}  # fmt: skip


def rates(text):
    pairs = (pair.partition("=") for pair in text.split(",") if pair)
    drawn = {kind: float(rate) for kind, _, rate in pairs}
    unknown = drawn.keys() - MISBEHAVIOURS.keys() - set(START)
    if unknown:
        raise argparse.ArgumentTypeError(f"no such misbehaviour: {', '.join(unknown)}")
    return drawn


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--chaos", default="0", metavar="SEED")
    parser.add_argument("--rates", type=rates, default={})
    parser.add_argument("--sound", type=int, default=4, metavar="N", help="the first N processes start as they should")
    parser.add_argument("--private", action="store_true")
    parser.add_argument("--megabytes", type=int, default=20)
    try:
        Server(parser.parse_args()).run()
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
