"""Clients that trust nothing: raw sockets, raw HTTP, raw events, and an account of every request.

Each client has a secret, counts its ids from 1 as all others do, and reports to a `Book` what was wrong: an answer that is
missing, doubled, somebody else's or in the wrong place; a question or a notification that is not its own; and, in any byte
that any of its connections reads, another client's secret.
"""

import asyncio
import itertools
import json
import re
import secrets
import time
from collections import Counter

from child import QUESTIONS, SECRET_PREFIX

DEADLINE = 45.0
CAPABILITY = {method: kind for kind, method in QUESTIONS.items()}
REVISIONS = ["2025-03-26", "2025-06-18", "2025-11-25"]
SECRET = re.compile(rb"secret-[0-9a-f]{24}")
SECRET_BYTES = len(SECRET_PREFIX) + 24


class Book:
    """What the clients of one run have to tell. `allowed` are the kinds of failures that its server is good for."""

    def __init__(self, allowed, private=False):
        self.allowed, self.private = set(allowed), private
        self.violations, self.counts, self.failures = [], Counter(), Counter()
        self.seconds = {}  # method -> how long each of its successful requests took
        self.is_over = False  # mcp-mux was killed: what breaks now is no violation

    def violation(self, text):
        if not self.is_over:
            self.violations.append(text[:1500])

    def failure(self, kind, text, also_allowed=()):
        self.failures[kind] += 1
        if kind not in self.allowed and kind not in also_allowed:
            self.violation(f"a failure of the kind {kind}: {text}")


class Gone(Exception):
    """The connection ended before what was expected on it."""


class Connection:
    """One TCP connection. Every byte it reads is searched for the secrets of others."""

    def __init__(self, reader, writer, client):
        self.reader, self.writer, self.client = reader, writer, client
        self.buffer = self.searched = b""
        self.is_reusable = True
        self.headers = {}

    @classmethod
    async def open(cls, client):
        # What is in flight belongs into the sockets' buffers and not into ours, or nobody would ever be slow.
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1 << 14)
        return cls(reader, writer, client)

    def close(self):
        self.writer.close()

    def abort(self):
        self.writer.transport.abort()

    async def send(self, method, path, headers=(), body=b"", length=None):
        lines = [f"{method} {path} HTTP/1.1", f"host: 127.0.0.1:{self.client.port}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if method == "POST":
            lines += ["content-type: application/json", f"content-length: {length or len(body)}"]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await self.writer.drain()

    async def _more(self):
        data = await self.reader.read(1 << 16)
        if not data:
            self.is_reusable = False
            raise Gone(f"it ended after {self.buffer[-200:]!r}")
        searched = self.searched + data
        for found in SECRET.finditer(searched):
            if found.group() != self.client.secret.encode():
                around = searched[max(found.start() - 300, 0) : found.end() + 100]
                self.client.book.violation(f"{self.client} read the secret of another: {around!r}")
        self.searched = searched[-SECRET_BYTES + 1 :]
        self.buffer += data

    async def _until(self, end):
        while end not in self.buffer:
            await self._more()
        part, _, self.buffer = self.buffer.partition(end)
        return part

    async def head(self):
        """The status of the answer; its headers are kept."""
        status, *lines = (await self._until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(status.split()[1])

    async def body(self):
        """The parts of the body as they come; ends where the body does, and raises `Gone` if that is too early."""
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(await self._until(b"\r\n"), 16):
                while len(self.buffer) < size + 2:
                    await self._more()
                part, self.buffer = self.buffer[:size], self.buffer[size + 2 :]
                yield part
            await self._until(b"\r\n")
            return
        left = int(self.headers.get("content-length", 0))
        while left:
            if not self.buffer:
                await self._more()
            part, self.buffer = self.buffer[:left], self.buffer[left:]
            left -= len(part)
            yield part

    async def whole(self):
        return b"".join([part async for part in self.body()])

    async def events(self):
        """(id, event, data) of each event; comments are left out."""
        rest = b""
        async for part in self.body():
            *blocks, rest = (rest + part).split(b"\n\n")
            for block in blocks:
                fields = {}
                for line in block.decode().split("\n"):
                    name, _, value = line.partition(":")
                    fields.setdefault(name, value.removeprefix(" "))
                fields.pop("", None)
                if fields:
                    yield fields.get("id"), fields.get("event"), fields.get("data")


class Request:
    """One request and what became of it."""

    def __init__(self, client, id, method, check, also_allowed):
        self.client, self.id, self.method, self.check = client, id, method, check
        self.also_allowed = also_allowed
        self.answers = 0
        self.is_given_up = False  # it was cancelled, or its connection dropped: no answer is owed
        self.began = time.monotonic()
        self.message = None
        self.done = asyncio.get_running_loop().create_future()

    def __str__(self):
        return f"request {self.id} ({self.method}) of {self.client}"

    def answered(self, message):
        book = self.client.book
        self.answers += 1
        if self.answers > 1:
            return book.violation(f"{self} was answered {self.answers} times: {message}")
        self.message = message
        if not self.done.done():
            self.done.set_result(message)
        book.counts["answers"] += 1
        if "error" in message:
            data = message["error"].get("data")
            kind = data.get("kind") if isinstance(data, dict) and data.get("source") == "mcp-mux" else None
            return book.failure(kind or "the server's own error", f"{self}: {message['error']}", self.also_allowed)
        result = message["result"]
        if "mixedUp" in result:
            book.counts["mixed up by the server"] += 1
            if SECRET_PREFIX + result["mixedUp"]["for"] != self.client.secret:
                book.violation(f"{self} got what the server meant for another client's request")
            return None
        try:
            problem = self.check(result) if self.check else None
        except (KeyError, TypeError) as error:
            problem = repr(error)
        if problem:
            book.violation(f"{self} got a wrong answer ({problem}): {str(message)[:600]}")
        book.seconds.setdefault(self.method, []).append(time.monotonic() - self.began)
        return None

    def succeeded(self):
        return self.message is not None and "result" in self.message


class Client:
    """What both transports have in common."""

    numbers = itertools.count(1)

    def __init__(self, port, book, random, capabilities=()):
        self.number = next(self.numbers)
        self.port, self.book, self.random, self.capabilities = port, book, random, capabilities
        self.secret = SECRET_PREFIX + secrets.token_hex(12)
        self.tasks = set()
        self.is_open = False
        self.sessions = 0
        self._begin()

    def __str__(self):
        return f"client {self.number}"

    def _begin(self):
        self.last_id, self.requests, self.subscribed = 0, {}, set()
        self.revision = None

    def spawn(self, coroutine):
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task):
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.book.violation(f"{self}: {error!r}")

    def new_request(self, method, params, check=None, also_allowed=()):
        """A request, and its text. All clients use the same ids, spelled in the ways that JSON has for them."""
        self.last_id += 1
        id = self.random.choice([f"{self.last_id}"] * 6 + [f'"{self.last_id}"'] * 3 + [f"{self.last_id}e0"])
        request = self.requests[id] = Request(self, id, method, check, also_allowed)
        self.book.counts["requests"] += 1
        text = f'{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{json.dumps(params)}}}'
        return request, text.encode()

    def initialize_params(self):
        self.revision = "2024-11-05" if isinstance(self, SseClient) else self.random.choice(REVISIONS)
        info = {"name": f"chaos client {self.number}", "version": "1"}
        return {"protocolVersion": self.revision, "capabilities": dict.fromkeys(self.capabilities, {}), "clientInfo": info}

    # --- What reaches it --------------------------------------------------------------------------------------------

    def receive(self, text, within=None):
        """A message; `within` is the request whose POST carried it."""
        members = members_of(text)
        if "method" in members:
            message = json.loads(text)
            return self.asked(message) if "id" in message else self.told(message)
        request = self.requests.get(members.get("id"))
        if request is None:
            return self.book.violation(f"{self} got an answer to what it did not ask: {text[:300]}")
        if within is not None and request is not within:
            return self.book.violation(f"{self} got the answer to {request} in the place of {within}'s")
        return request.answered(json.loads(text))

    def asked(self, message):
        kind = CAPABILITY.get(message["method"])
        whose = (message.get("params") or {}).get("_meta", {}).get("of")
        is_busy = any(not request.answers for request in self.requests.values())
        if kind not in self.capabilities:
            # From a server of its own it gets whatever that says.
            if not self.book.private:
                self.book.violation(f"{self} was asked what it did not offer: {message}")
            error = {"code": -32601, "message": "not offered"}
            return self.spawn(self.notify(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}).encode()))
        # A question that says of nobody whose it is, is that of the only one who can be meant.
        if whose != self.secret and not (whose == "nobody" and (is_busy or self.book.private)):
            return self.book.violation(f"{self} was asked a question that is not its own: {message}")
        self.book.counts["questions"] += 1
        text = f"answer of {self.secret}"
        result = {
            "sampling": {"role": "assistant", "model": "m", "content": {"type": "text", "text": text}},
            "elicitation": {"action": "accept", "content": {"answer": text}},
            "roots": {"roots": [{"uri": "file:///", "name": text}]},
        }[kind]
        return self.spawn(self.notify(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()))

    def told(self, message):
        method, params = message["method"], message.get("params") or {}
        self.book.counts[method.removeprefix("notifications/")] += 1
        is_own = True
        if self.book.private:
            return None  # whatever its server says is for it; another's secret would be found
        if method == "notifications/message":
            is_own = str(params["data"]).startswith(self.secret)
        elif method == "notifications/progress":
            is_own = params["message"] == self.secret
        elif method == "notifications/resources/updated":
            is_own = params["uri"] in self.subscribed
        elif not method.endswith("/list_changed") and method != "notifications/cancelled":
            is_own = False
        return None if is_own else self.book.violation(f"{self} was told what is not its own: {message}")

    async def answer_to(self, request):
        """Waits for it."""
        try:
            return await asyncio.wait_for(asyncio.shield(request.done), DEADLINE)
        except asyncio.TimeoutError:
            if not request.is_given_up:
                self.book.counts["unanswered"] += 1
                self.book.violation(f"{request} has no answer after {DEADLINE:.0f} s")
            return None

    async def end(self):
        """Waits for what it still has to say, then is gone."""
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class StreamableClient(Client):
    """Streamable HTTP with a session and a standing stream."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.idle = []
        self.listening = self.last_event = None
        self.session = None

    def headers(self, *more):
        headers = [("accept", "application/json, text/event-stream"), *more]
        if self.session is not None:
            headers += [("mcp-session-id", self.session), ("mcp-protocol-version", self.revision)]
        return headers

    async def connection(self):
        return self.idle.pop() if self.idle else await Connection.open(self)

    def release(self, connection):
        if connection.is_reusable and connection.headers.get("connection") != "close" and len(self.idle) < 4:
            self.idle.append(connection)
        else:
            connection.close()

    async def open(self):
        """Opens a session; says whether it could. `listen` is the caller's to start."""
        self._begin()
        self.session, self.last_event = None, None
        request, text = self.new_request("initialize", self.initialize_params())
        connection = await self._exchange(request, text)
        self.session = connection.headers.get("mcp-session-id") if connection else None
        if not request.succeeded() or self.session is None:
            if request.succeeded():
                self.book.violation(f"{self} was given no session id")
            return False
        self.revision = request.message["result"]["protocolVersion"]
        await self.notify(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        self.is_open = True
        self.sessions += 1
        return True

    async def notify(self, text):
        """Sends what gets no answer."""
        if self.session is None:
            # It belonged to a session that is gone, and the next one is not open yet.
            return None
        connection = await self.connection()
        try:
            await connection.send("POST", "/mcp", self.headers(), text)
            status = await asyncio.wait_for(connection.head(), DEADLINE)
            body = await connection.whole()
        except (Gone, ConnectionError, asyncio.TimeoutError) as error:
            return self.book.violation(f"{self}: a notification was not taken ({error!r})")
        if status != 202:
            self.failed(status, body, None)
        return self.release(connection)

    def failed(self, status, body, request):
        """An HTTP error, which is the answer where there is a request."""
        try:
            error = json.loads(body)["error"]
            kind = error["data"]["kind"]
        except (ValueError, KeyError, TypeError):
            return self.book.violation(f"{self}: status {status} with {body[:300]!r} for {request}")
        raw = members_of(body.decode()).get("id")
        if request is not None and raw != request.id:
            self.book.violation(f"{request} was refused under the id {raw}: {body[:300]!r}")
        if status == 503 and self.headers_lack_retry_after:
            self.book.violation(f"{request}: 503 without Retry-After")
        if kind in ("session-unknown", "session-closed"):
            self.is_open = False
        if request is not None:
            return request.answered({"error": error})
        return self.book.failure(kind, f"{self}: {error}")

    headers_lack_retry_after = False

    async def request(self, method, params, check=None, also_allowed=(), **manner):
        """Sends a request, reads what comes, and judges it. `manner`: see `_exchange`."""
        request, text = self.new_request(method, params, check, also_allowed)
        connection = await self._exchange(request, text, **manner)
        if connection is not None:
            self.release(connection)
        return request

    async def _exchange(self, request, text, pause=0.0, vanish=None):
        """One POST to its end; returns the connection if that can be used again. With `pause` nothing is read for so long;
        with `vanish` the connection is dropped after so long."""
        connection = await self.connection()
        try:
            reading = self._read_answer(connection, request, text, pause)
            await asyncio.wait_for(reading, vanish or DEADLINE)
            return connection
        except asyncio.TimeoutError:
            if vanish is None:
                self.book.counts["unanswered"] += 1
                self.book.violation(f"{request} has no whole answer after {DEADLINE:.0f} s")
            request.is_given_up = True
        except (Gone, ConnectionError) as error:
            self.book.violation(f"{request}: its connection broke ({error!r})")
        connection.abort()
        return None

    async def _read_answer(self, connection, request, text, pause):
        await connection.send("POST", "/mcp", self.headers(), text)
        await asyncio.sleep(pause)
        status = await connection.head()
        kind = connection.headers.get("content-type", "")
        if status == 200 and kind.startswith("text/event-stream"):
            async for _, _, data in connection.events():
                if data:
                    self.receive(data, within=request)
        elif status == 200:
            self.receive((await connection.whole()).decode(), within=request)
        elif status == 204 and request.is_given_up:
            await connection.whole()
        else:
            self.headers_lack_retry_after = status == 503 and "retry-after" not in connection.headers
            self.failed(status, await connection.whole(), request)
        if not request.answers and not request.is_given_up:
            self.book.counts["unanswered"] += 1
            self.book.violation(f"{request}: its stream ended without an answer")

    async def cancel(self, request):
        request.is_given_up = True
        params = f'{{"requestId":{request.id}}}'
        await self.notify(f'{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{params}}}'.encode())

    async def half_a_body(self, seconds):
        """Announces more than it sends. The connection is then dropped, or closed by mcp-mux."""
        connection = await Connection.open(self)
        try:
            await connection.send("POST", "/mcp", self.headers(), b'{"jsonrpc":"2.0","id":', length=1000)
            status = await asyncio.wait_for(connection.head(), seconds)
            if status != 408:
                self.book.violation(f"{self}: half a body was answered with {status}")
            self.book.counts["half bodies answered"] += 1
        except (asyncio.TimeoutError, Gone, ConnectionError):
            pass
        connection.abort()

    def listen(self):
        """Opens the standing stream; goes on where the last one broke, if there was one."""
        self.stop_listening()
        self.listening = asyncio.get_running_loop().create_task(self._listen())
        self.listening.add_done_callback(self._ended)

    def stop_listening(self):
        if self.listening is not None:
            self.listening.cancel()
            self.listening = None

    async def _listen(self):
        connection = await Connection.open(self)
        try:
            resumed = [("last-event-id", self.last_event)] if self.last_event else []
            await connection.send("GET", "/mcp", self.headers(*resumed))
            status = await connection.head()
            if status != 200:
                body = await connection.whole()
                # Events may have been too many to be kept; then the stream starts anew.
                return None if resumed and status in (400, 405) else self.failed(status, body, None)
            async for id, _, data in connection.events():
                self.last_event = id or self.last_event
                if data:
                    self.receive(data)
        except (Gone, ConnectionError):
            pass  # it may be closed at any time
        finally:
            connection.abort()
        return None

    async def leave(self, politely=True):
        """Ends the session: with DELETE, or without a word."""
        self.stop_listening()
        if politely and self.is_open:
            connection = await self.connection()
            try:
                await connection.send("DELETE", "/mcp", self.headers())
                status = await connection.head()
                await connection.whole()
                if status != 204:
                    self.book.violation(f"{self}: DELETE was answered with {status}")
            except (Gone, ConnectionError) as error:
                self.book.violation(f"{self}: DELETE: {error!r}")
            connection.close()
        for connection in self.idle:
            connection.abort()
        self.idle.clear()
        self.is_open = False

    async def end(self):
        self.stop_listening()
        await super().end()


class SseClient(Client):
    """HTTP+SSE: one stream that carries everything."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.stream = self.endpoint = self.reading = None

    async def open(self):
        self._begin()
        self.stream = await Connection.open(self)
        await self.stream.send("GET", "/sse", [("accept", "text/event-stream")])
        status = await self.stream.head()
        if status != 200:
            self.failed(status, await self.stream.whole(), None)
            self.stream.close()
            return False
        known = asyncio.get_running_loop().create_future()
        self.is_leaving = False
        self.reading = asyncio.get_running_loop().create_task(self._read(known))
        self.reading.add_done_callback(self._ended)
        self.endpoint = await asyncio.wait_for(known, DEADLINE)
        request = await self.request("initialize", self.initialize_params())
        if not request.succeeded():
            await self.leave()
            return False
        self.revision = request.message["result"]["protocolVersion"]
        await self.notify(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')
        self.is_open = True
        self.sessions += 1
        return True

    async def _read(self, known):
        try:
            async for _, event, data in self.stream.events():
                if event == "endpoint":
                    known.set_result(data)
                elif data:
                    self.receive(data)
        except (Gone, ConnectionError):
            pass
        if not self.is_leaving and self.is_open:
            self.book.violation(f"{self}: its stream was ended")
        self.is_open = False

    failed = StreamableClient.failed
    headers_lack_retry_after = False

    async def _post(self, text, request):
        connection = await Connection.open(self)
        try:
            await connection.send("POST", self.endpoint, [], text)
            status = await asyncio.wait_for(connection.head(), DEADLINE)
            body = await connection.whole()
            self.headers_lack_retry_after = status == 503 and "retry-after" not in connection.headers
            if status != 202:
                self.failed(status, body, request)
        except (Gone, ConnectionError, asyncio.TimeoutError) as error:
            self.book.violation(f"{request or self}: its POST was not answered ({error!r})")
        connection.close()

    async def notify(self, text):
        await self._post(text, None)

    async def request(self, method, params, check=None, also_allowed=(), **manner):
        request, text = self.new_request(method, params, check, also_allowed)
        await self._post(text, request)
        await self.answer_to(request)
        return request

    async def leave(self, politely=True):
        """Its stream is its session."""
        self.is_leaving, self.is_open = True, False
        if self.reading is not None:
            self.reading.cancel()
        self.stream.abort()

    async def end(self):
        await self.leave()
        await super().end()


def members_of(text):
    """The members of a JSON object as they are spelled."""
    decoder, found, at = json.JSONDecoder(), {}, text.index("{") + 1
    while (at := _skip(text, at)) < len(text) and text[at] != "}":
        name, at = decoder.raw_decode(text, at)
        at = _skip(text, at)
        _, end = decoder.raw_decode(text, at)
        found[name] = text[at:end]
        at = end
    return found


def _skip(text, at):
    while at < len(text) and text[at] in " \t\r\n:,":
        at += 1
    return at
