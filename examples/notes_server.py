#!/usr/bin/env python3
"""A small notebook, served over the Model Context Protocol (MCP) on stdin and stdout.

A whole MCP server in Python's standard library, to be read from top to bottom. Try it by hand:

    $ python3 notes_server.py
    {"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}
    {"jsonrpc":"2.0","method":"notifications/initialized"}
    {"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"list_notes"}}

A message is one line of JSON. A *request* has an `id` and gets exactly one *response* with the same `id`; a
*notification* has no `id` and gets nothing. Both sides may send both: some tools here ask the client something back
while the client still waits for the tool.

The revisions 2024-11-05, 2025-03-26, 2025-06-18 and 2025-11-25 of the specification are spoken. Notes live in memory.
Besides the notebook there are tools for trying out whatever stands between client and server (`slow`, `log`, `crash`,
`environment`, ...): do not offer those to strangers. These options make the server misbehave:

    --delay SECONDS   wait this long before answering `initialize`
    --exit-after N    exit with code 3 after the Nth response (the one to `initialize` counts)
    --noise           print what is not MCP on stdout: a line at the start and before every 3rd message;
                      and text in front of every 4th response, as in `debug: done {"jsonrpc":...}`
    --stderr          chat on stderr: 80 KiB at the start (more than a pipe holds), then a line per message
"""

import argparse
import base64
import inspect
import itertools
import json
import os
import queue
import re
import signal
import sys
import threading
import time
import traceback
from urllib.parse import quote, unquote

REVISIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND = -32700, -32600, -32601
INVALID_PARAMS, INTERNAL_ERROR, RESOURCE_NOT_FOUND = -32602, -32603, -32002
PAGE_SIZE = 50
ANSWER_TIMEOUT = 600  # seconds that a client, and the human behind it, may think about a question of ours
EOF_GRACE = 0.25  # seconds that requests in flight get to finish when stdin ends
STARTED = time.time()

NOTES = {
    "Welcome": "This notebook is served over MCP. Add a note of your own!",
    "Shopping list": "Bread, olives, coffee, a book about Rust.",
    "Crème brûlée 🍮": "Cream, sugar, egg yolks, vanilla. Patience. Then fire.",
}

# --- JSON, without loss ---------------------------------------------------------------------------------------------
class Number:
    """A number that Python might spell differently (`1.10`, `1e400`, `-0`), kept as it was written."""

    def __init__(self, text):
        self.text = text

    def __float__(self):
        return float(self.text)


def from_json(line):
    """Decode a line of bytes. It is UTF-8, whatever the locale says; and NaN is not JSON, whatever Python says."""
    whole = lambda text: Number(text) if text == "-0" or len(text) > 1000 else int(text)  # noqa: E731
    return json.loads(line.decode("utf-8"), parse_int=whole, parse_float=Number, parse_constant=int)


# `json` has no hook for writing numbers: a `Number` is written as a string with a mark that nobody can guess...
MARK = "number-" + os.urandom(8).hex() + ":"


def to_json(value):
    """Encode on one line, without spaces between tokens, with characters rather than escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=lambda number: MARK + number.text)
    return re.sub(f'"{MARK}([^"]*)"', r"\1", text) if MARK in text else text  # ... and the mark taken off again


# --- Three ways for a request to fail -------------------------------------------------------------------------------
class RpcError(Exception):
    """The request was wrong: the client's program gets a JSON-RPC error."""

    def __init__(self, code, message, **more):
        self.body = dict(code=code, message=message, **more)


class ToolError(Exception):
    """The request was right, but the tool failed: the model gets a result that says so, and may try something else."""


class Cancelled(Exception):
    """Nobody wants to know any more: there is no response."""


def invalid(message):
    return RpcError(INVALID_PARAMS, message)


# --- JSON-RPC: requests, responses, notifications -------------------------------------------------------------------
class Call:
    """One request of the client on its way through the server. Whatever handles it is given this."""

    def __init__(self, server, id, method, params):
        self.server, self.id, self.method, self.params = server, id, method, params
        self.cancelled = threading.Event()
        self.replies = queue.SimpleQueue()  # responses to this call's own questions; None when it is cancelled

    def text(self, *path):
        """The parameter at this path, which has to be a string."""
        value = self.params
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if not isinstance(value, str):
            raise invalid(f'"{".".join(path)}" has to be a string')
        return value

    def pause(self, seconds):
        if self.cancelled.wait(seconds):
            raise Cancelled

    def ask(self, method, params=None):
        """Send the client a request in the middle of its own one, and wait for the result."""
        capability = method.split("/")[0]  # sampling, elicitation or roots: only what the client offers may be asked
        if capability not in self.server.capabilities:
            raise ToolError(f"The client did not declare the capability {capability}, so {method} cannot be asked.")
        id = next(self.server.ids)  # our ids and the client's have nothing to do with each other
        self.server.questions[to_json(id)] = self
        self.server.send(method, params, id)
        try:
            reply = self.replies.get(timeout=ANSWER_TIMEOUT)
        except queue.Empty:
            reply = None
        if reply is None:
            self.server.questions.pop(to_json(id), None)
            self.server.send("notifications/cancelled", {"requestId": id, "reason": "nobody waits for it any more"})
            self.pause(0)  # which raises Cancelled, if that is why
            raise ToolError(f"The client did not answer {method} within {ANSWER_TIMEOUT} seconds.")
        if "error" in reply:
            code, message = reply["error"]["code"], reply["error"]["message"]
            raise ToolError(f"The client answered {method} with error {code}: {message}")
        return reply["result"]


class Connection:
    """Reads lines from stdin, sorts them, and writes lines to stdout.

    One thread reads, and answers at once and in order what is quickly answered. A tool may take its time, so each call
    of one has its own thread. Whoever writes holds the lock `writing` for a whole line.
    """

    def __init__(self, options):
        self.options = options
        self.ids = itertools.count()
        self.in_flight = {}  # the client's requests: id -> Call. Ids are kept as JSON text, where 1 is not "1"
        self.questions = {}  # our requests: id -> the Call that waits for the response
        self.writing = threading.Lock()
        self.lines = self.responses = 0

    def run(self):
        """Serve until stdin ends, which is how a client says goodbye."""
        if self.options.noise:
            self.write("Notes server is starting... 🗒")
        for index in range(1600):
            self.chat(f"line {index:4} of 1600 in a very long welcome")
        for line in sys.stdin.buffer:
            if line.strip():
                self.read(line)
        deadline = time.monotonic() + EOF_GRACE
        while self.in_flight and time.monotonic() < deadline:
            time.sleep(0.005)
        self.writing.acquire(timeout=EOF_GRACE)  # leave no half line behind, if that can be helped
        os._exit(0)  # at once: `sys.exit` leaves room for what other threads still do

    def read(self, line):
        try:
            message = from_json(line)
        except (ValueError, RecursionError) as error:
            return self.refuse(None, PARSE_ERROR, f"this line is not JSON: {error}")
        is_batch = message and isinstance(message, list) and self.revision == "2025-03-26"  # no other one has batches
        for each in message if is_batch else [message]:
            call = self.receive(each)
            if call and (call.method == "tools/call" or call.method == "initialize" and self.options.delay):
                threading.Thread(target=self.serve, args=[call], daemon=True).start()
            elif call:
                self.serve(call)

    def receive(self, message):
        """Act on a notification, or on a response to a question of ours; return the Call that a request makes."""
        if not isinstance(message, dict):
            return self.refuse(None, INVALID_REQUEST, "a message has to be an object")
        id, method, params = message.get("id"), message.get("method"), message.get("params", {})
        self.chat(f"<- {message.get('method', 'response')}")
        if "method" not in message and ("result" in message or "error" in message):
            waiting = self.questions.pop(to_json(id), None)
            return waiting.replies.put(message) if waiting else None
        if "id" not in message and isinstance(method, str):
            return self.cancel(params) if method == "notifications/cancelled" else None
        if not isinstance(id, (str, int, Number)) or isinstance(id, bool):
            return self.refuse(None, INVALID_REQUEST, '"id" has to be a string or an integer')
        if message.get("jsonrpc") != "2.0" or not isinstance(method, str):
            return self.refuse(id, INVALID_REQUEST, 'a request has to have "jsonrpc":"2.0" and a "method"')
        if not isinstance(params, dict):
            return self.refuse(id, INVALID_PARAMS, '"params" has to be an object')
        if to_json(id) in self.in_flight:
            return self.refuse(id, INVALID_REQUEST, "a request with this id is still in flight")
        call = self.in_flight[to_json(id)] = Call(self, id, method, params)
        return call

    def cancel(self, params):
        """Stop a call. What makes no sense is ignored: a notification has no response to complain in."""
        call = self.in_flight.get(to_json(params.get("requestId"))) if isinstance(params, dict) else None
        if call and call.method != "initialize":
            call.cancelled.set()
            call.replies.put(None)

    def serve(self, call):
        """Work on a request and write its response, unless it was cancelled meanwhile."""
        line, response = None, {"jsonrpc": "2.0", "id": call.id}
        try:
            line = to_json(dict(response, result=self.handle(call)))
        except RpcError as error:
            line = to_json(dict(response, error=error.body))
        except Cancelled:
            pass
        except Exception as error:  # a bug in here is no reason to let the client wait for ever
            traceback.print_exc()
            line = to_json(dict(response, error={"code": INTERNAL_ERROR, "message": repr(error)}))
        with self.writing:
            del self.in_flight[to_json(call.id)]  # first, for whoever has read the response may use the id again
            if not call.cancelled.is_set():
                self.write(line, is_response=True)

    def refuse(self, id, code, message):
        """Answer what is no proper request. Where its id cannot be known, JSON-RPC wants null."""
        with self.writing:
            error = {"code": code, "message": message}
            self.write(to_json({"jsonrpc": "2.0", "id": id, "error": error}), is_response=True)

    def send(self, method, params=None, id=None):
        """Send a notification or, with an id, a request."""
        message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        line = to_json({key: value for key, value in message.items() if value is not None})
        with self.writing:
            self.write(line)

    def write(self, line, is_response=False):
        """Write one line, while holding the lock.

        Half a surrogate pair has no UTF-8, but JSON may hold it as `\\ud83d`: that is what `backslashreplace` writes.
        """
        self.lines, self.responses = self.lines + 1, self.responses + is_response
        if self.options.noise and is_response and self.responses % 4 == 0:
            line = f"debug: done {line}"
        if self.options.noise and self.lines % 3 == 0:
            line = f"WARNING: message {self.lines} follows, this is not it\n{line}"
        try:
            sys.stdout.buffer.write(line.encode("utf-8", "backslashreplace") + b"\n")
            sys.stdout.buffer.flush()
        except OSError:
            os._exit(0)  # nobody reads any more
        self.chat(f"-> {len(line)} characters")
        if is_response and self.responses == self.options.exit_after:
            os._exit(3)

    def chat(self, text):
        if self.options.stderr:
            os.write(2, f"notes_server: {text}\n".encode("utf-8", "backslashreplace"))


# --- What the tools below are made with -----------------------------------------------------------------------------

TOOLS = {}  # name -> (function, what tools/list says about it)
READS = {"readOnlyHint": True, "openWorldHint": False}
WRITES = {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": True, "openWorldHint": False}
ASKS = {"readOnlyHint": True, "openWorldHint": True}


def tool(hints):
    """Make a tool of a method: its docstring is the description, its arguments are annotated with their JSON Schema."""

    def register(function):
        name, parameters = function.__name__.rstrip("_"), list(inspect.signature(function).parameters.values())[2:]
        schema = {"type": "object", "properties": {parameter.name: parameter.annotation for parameter in parameters}}
        schema["required"] = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
        for parameter in parameters:
            if parameter.default not in (parameter.empty, None):
                parameter.annotation["default"] = parameter.default
        listed = {"name": name, "description": function.__doc__, "inputSchema": schema, "annotations": hints}
        TOOLS[name] = (function, listed)
        return function

    return register


def string(description, **more):
    return dict(type="string", description=description, **more)


def number(kind, minimum, maximum):
    return dict(type=kind, minimum=minimum, maximum=maximum)


def checked(name, value, schema):
    """The argument, if it is what its schema says (this knows just enough of JSON Schema for the tools below)."""
    kind, fits = schema.get("type"), True
    if kind == "string":
        fits = isinstance(value, str) and value in schema.get("enum", [value])
    elif kind:
        value = float(value) if isinstance(value, Number) else value
        fits = type(value) in (int, float) and schema["minimum"] <= value <= schema["maximum"]
        if fits and kind == "integer":
            value, fits = int(value), value == int(value)
    if not fits:
        raise invalid(f'the argument "{name}" does not fit its schema: {to_json(schema)}')
    return value


def reply(text, data=None):
    """The result of a tool: text for a model to read, and maybe the same as an object for a program."""
    result = {"content": [{"type": "text", "text": text}]}
    return result if data is None else dict(result, structuredContent=data)


def note_uri(title):
    """A title may hold any character, a URI may not: `Shopping list` becomes `note:///Shopping%20list`."""
    return "note:///" + quote(title, safe="", errors="replace")


# --- MCP: the handshake, tools, resources, prompts ------------------------------------------------------------------

TEMPLATE = {"uriTemplate": "note:///{title}", "name": "note", "mimeType": "text/plain", "description": "A note's text."}
PROMPT = {"name": "summarize_note", "description": "Have a note summarized.",
          "arguments": [{"name": "title", "description": "The title of the note.", "required": True}]}


class NotesServer(Connection):
    """What the client's methods do. The table METHODS, at the end, is the map."""

    def __init__(self, options):
        super().__init__(options)
        self.revision = None  # until `initialize` agrees on one
        self.capabilities, self.client_info = {}, None  # the client's
        self.level = "info"
        self.subscriptions = set()

    def handle(self, call):
        """The result of a request."""
        if self.revision is None and call.method not in ("initialize", "ping"):
            raise RpcError(INVALID_REQUEST, f"not initialized: send initialize before {call.method}")
        if call.method not in self.METHODS:
            raise RpcError(METHOD_NOT_FOUND, f"unknown method: {call.method}")
        return self.METHODS[call.method](self, call)

    def initialize(self, call):
        """Agree on a revision: the one the client wants if it is known here, else the newest that is."""
        wanted = call.text("protocolVersion")
        if self.revision is not None:
            raise RpcError(INVALID_REQUEST, "already initialized")
        time.sleep(self.options.delay)
        self.capabilities, self.client_info = call.params.get("capabilities") or {}, call.params.get("clientInfo")
        self.revision = wanted if wanted in REVISIONS else REVISIONS[-1]
        return {
            "protocolVersion": self.revision,
            "capabilities": {
                "tools": {"listChanged": True}, "resources": {"listChanged": True, "subscribe": True},
                "prompts": {}, "completions": {}, "logging": {},
            },
            "serverInfo": {"name": "notes", "version": "1.0.0"},
            "instructions": "A notebook. Search it before adding a note: there may be one already.",
        }

    def set_level(self, call):
        if call.text("level") not in LEVELS:
            raise invalid(f'"level" has to be one of {", ".join(LEVELS)}')
        self.level = call.text("level")
        return {}

    def call_tool(self, call):
        name, arguments = call.text("name"), call.params.get("arguments", {})
        if name not in TOOLS:
            raise invalid(f"unknown tool: {name}")
        if not isinstance(arguments, dict):
            raise invalid('"arguments" has to be an object')
        function, listed = TOOLS[name]
        schemas, required = listed["inputSchema"]["properties"], listed["inputSchema"]["required"]
        missing = [key for key in required if key not in arguments]
        if missing:
            raise invalid(f"{name} needs the arguments {', '.join(missing)}")
        known = {key: checked(key, arguments[key], schemas[key]) for key in schemas if key in arguments}
        try:
            return function(self, call, **known)
        except ToolError as error:
            return dict(reply(str(error)), isError=True)

    def list_resources(self, call):
        """A page of notes. The cursor is the last title of the page before, so notes may come and go meanwhile."""
        titles = sorted(NOTES)
        if call.params.get("cursor") is not None:
            try:
                last = base64.b64decode(call.text("cursor"), validate=True).decode("utf-8")
            except ValueError:
                raise invalid("this cursor is not one of ours") from None
            titles = [title for title in titles if title > last]
        page = titles[:PAGE_SIZE]
        result = {"resources": [{"uri": note_uri(title), "name": title, "mimeType": "text/plain"} for title in page]}
        if len(titles) > PAGE_SIZE:
            result["nextCursor"] = base64.b64encode(page[-1].encode("utf-8", "replace")).decode("ascii")
        return result

    def read_resource(self, call):
        uri = call.text("uri")
        text = NOTES.get(unquote(uri[8:])) if uri.startswith("note:///") else None
        if text is None:
            raise RpcError(RESOURCE_NOT_FOUND, "Resource not found", data={"uri": uri})
        return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": text}]}

    def subscribe(self, call):
        """Any URI will do: one may wait for a note that is yet to be written."""
        self.subscriptions.add(call.text("uri"))
        return {}

    def unsubscribe(self, call):
        self.subscriptions.discard(call.text("uri"))
        return {}

    def updated(self, uri):
        """Tell the client that a resource has changed, if it subscribed to it."""
        if uri in self.subscriptions:
            self.send("notifications/resources/updated", {"uri": uri})

    def get_prompt(self, call):
        if call.text("name") != PROMPT["name"]:
            raise invalid(f"unknown prompt: {call.text('name')}")
        title = call.text("arguments", "title")
        if title not in NOTES:
            raise invalid(f"there is no note with the title {title!r}")
        request = f"Summarize my note {title!r} in one sentence:\n\n{NOTES[title]}"
        return {"messages": [{"role": "user", "content": {"type": "text", "text": request}}]}

    def complete(self, call):
        """The titles that begin with what the user has typed so far, at most 100 of them."""
        kind = call.text("ref", "type")
        known = {"ref/prompt": ("name", PROMPT["name"]), "ref/resource": ("uri", TEMPLATE["uriTemplate"])}
        if kind not in known or call.text("ref", known[kind][0]) != known[kind][1]:
            raise invalid(f"nothing can be completed for {to_json(call.params['ref'])}")
        if call.text("argument", "name") != "title":
            raise invalid('the only argument is "title"')
        typed = call.text("argument", "value").casefold()
        titles = [title for title in sorted(NOTES) if title.casefold().startswith(typed)]
        return {"completion": {"values": titles[:100], "total": len(titles), "hasMore": len(titles) > 100}}

    # The tools: what a model can do. First the notebook, then the tools that ask the client something.

    @tool(WRITES)
    def add_note(self, call, title: string("What to call the note."), text: string("What the note says.")):
        """Write a note. If there is one with this title, its text is replaced."""
        is_new = title not in NOTES
        NOTES[title] = text
        if is_new:
            self.send("notifications/resources/list_changed")
        self.updated(note_uri(title))
        return reply(f"{'Added' if is_new else 'Changed'}: {title}", {"title": title, "uri": note_uri(title)})

    @tool(READS)
    def list_notes(self, call):
        """List the titles of all notes, one on a line."""
        return reply("\n".join(sorted(NOTES)), {"titles": sorted(NOTES)})

    @tool(READS)
    def search_notes(self, call, query: string("What to look for; upper or lower case does not matter.")):
        """List the titles of all notes that contain the query in their title or text."""
        notes = sorted(NOTES.items())
        titles = [title for title, text in notes if query.casefold() in f"{title}\n{text}".casefold()]
        return reply("\n".join(titles), {"titles": titles})

    @tool(WRITES)
    def delete_note(self, call, title: string("The title of the note.")):
        """Delete a note for good."""
        if NOTES.pop(title, None) is None:
            raise ToolError(f"There is no note with the title {title!r}.")
        self.send("notifications/resources/list_changed")
        self.updated(note_uri(title))
        return reply(f"Deleted: {title}", {"title": title})

    @tool(ASKS)
    def summarize(self, call, title: string("A note to summarize.") = None, text: string("Or any text.") = None):
        """Summarize a note, or any text, by asking the client's language model."""
        if (title is None) == (text is None):
            raise invalid('summarize needs either "title" or "text"')
        text = NOTES.get(title) if text is None else text
        if text is None:
            raise ToolError(f"There is no note with the title {title!r}.")
        question = {"role": "user", "content": {"type": "text", "text": f"Summarize in one sentence:\n\n{text}"}}
        content = call.ask("sampling/createMessage", {"messages": [question], "maxTokens": 200}).get("content")
        blocks = content if isinstance(content, list) else [content]
        return reply("\n".join(str(block["text"]) for block in blocks if isinstance(block, dict) and "text" in block))

    @tool(ASKS)
    def ask(self, call, question: string("What to ask.")):
        """Ask the human behind the client. The result is "accept: <answer>", "decline" or "cancel"."""
        modes = self.capabilities.get("elicitation") or {}
        if "url" in modes and "form" not in modes:
            raise ToolError("The client can show its user a URL, but not a form.")
        schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
        result = call.ask("elicitation/create", {"mode": "form", "message": question, "requestedSchema": schema})
        answer = f": {(result.get('content') or {}).get('answer')}" if result.get("action") == "accept" else ""
        return reply(f"{result.get('action')}{answer}", result)

    @tool(ASKS)
    def client_roots(self, call):
        """Ask the client which directories it works in. The result is JSON."""
        roots = call.ask("roots/list").get("roots")
        return reply(to_json(roots), {"roots": roots})

    # The rest is for trying out clients and proxies.

    @tool(READS)
    def echo(self, call, value: dict(description="Anything. Other arguments are welcome, too.") = None):
        """Return all arguments as JSON, exactly as they came, but for the spaces between tokens."""
        arguments = call.params.get("arguments", {})
        return reply(to_json(arguments), arguments)

    @tool(READS)
    def slow(self, call, seconds: number("number", 0, 3600), steps: number("integer", 1, 10000) = 1):
        """Do nothing for a while, in steps, with a progress notification after each. Can be cancelled."""
        token = (call.params.get("_meta") or {}).get("progressToken")  # a client that wants reports sends one
        for step in range(1, steps + 1):
            call.pause(seconds / steps)
            if token is not None:
                report = {"progressToken": token, "progress": step, "total": steps}
                self.send("notifications/progress", dict(report, message=f"step {step} of {steps}"))
        return reply(f"Waited {seconds:g} seconds in {steps} steps.")

    @tool(READS)
    def log(self, call, level: string("How bad it is.", enum=LEVELS), message: string("What to say."),
            count: number("integer", 1, 100000) = 1):
        """Send log messages, if the client listens to this level. Several are numbered: "message 1", "message 2"."""
        is_heard = LEVELS.index(level) >= LEVELS.index(self.level)
        for index in range(1, count + 1 if is_heard else 1):
            call.pause(0)
            data = message if count == 1 else f"{message} {index}"
            self.send("notifications/message", {"level": level, "logger": "notes", "data": data})
        return reply(f"Sent: {count if is_heard else 0}")

    @tool(READS)
    def bytes_(self, call, count: number("integer", 0, 1 << 28)):
        """Return a text of this many bytes, all of them "x"."""
        return reply("x" * count)

    @tool(READS)
    def touch(self, call, uri: string("Any URI.")):
        """Pretend that a resource has changed: the client is notified if it subscribed to exactly this URI."""
        self.updated(uri)
        return reply("Notified." if uri in self.subscriptions else "Not subscribed.")

    @tool(READS)
    def whoami(self, call):
        """Tell about this process and its client, as JSON. The number in flight includes this very call."""
        about = {
            "pid": os.getpid(), "started": STARTED, "protocolVersion": self.revision, "clientInfo": self.client_info,
            "clientCapabilities": self.capabilities, "logLevel": self.level,
            "subscriptions": sorted(self.subscriptions), "inFlight": len(self.in_flight),
        }
        return reply(to_json(about), about)

    @tool(READS)
    def environment(self, call, name: string("The name of the variable.")):
        """Return an environment variable of this process as a JSON string, or null."""
        return reply(to_json(os.environ.get(name)), {"value": os.environ.get(name)})

    @tool(dict(WRITES, idempotentHint=False))
    def crash(self, call, exit_code: number("integer", 0, 255) = 3, message: string("Last words.") = "notes: crashing"):
        """End this process at once, without an answer."""
        os.write(2, f"{message}\n".encode("utf-8", "backslashreplace"))
        os._exit(exit_code)

    METHODS = {
        "initialize": initialize,
        "ping": lambda self, call: {},
        "logging/setLevel": set_level,
        "tools/list": lambda self, call: {"tools": [listed for function, listed in TOOLS.values()]},
        "tools/call": call_tool,
        "resources/list": list_resources,
        "resources/templates/list": lambda self, call: {"resourceTemplates": [TEMPLATE]},
        "resources/read": read_resource,
        "resources/subscribe": subscribe,
        "resources/unsubscribe": unsubscribe,
        "prompts/list": lambda self, call: {"prompts": [PROMPT]},
        "prompts/get": get_prompt,
        "completion/complete": complete,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0, metavar="SECONDS")
    parser.add_argument("--exit-after", type=int, metavar="N")
    parser.add_argument("--noise", action="store_true")
    parser.add_argument("--stderr", action="store_true")
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    NotesServer(parser.parse_args()).run()


if __name__ == "__main__":
    main()
