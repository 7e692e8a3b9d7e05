"""An MCP server over HTTP, of one era alone, that does what clients have to be able to live with.

Prints its port, and then each request that it gets as one line of JSON. The argument says what it is:
legacy, modern, open (legacy without sessions), locked (wants the token `good`), elsewhere (redirects to another origin),
moved (redirects within its own), found (does so with a status that is not for POST), page (is a web site), busy (is not there
yet for two requests).
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KIND = sys.argv[1]
INFO = {"name": "remote", "version": "1"}


class State:
    sessions = 0
    refused = 0
    asked = {}
    answered = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def note(self, body):
        headers = {name.lower(): value for name, value in self.headers.items()}
        print(json.dumps({"verb": self.command, "path": self.path, "headers": headers, "body": body}), flush=True)

    def answer(self, status, body=None, kind="application/json", headers=()):
        data = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if data:
            self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def events(self, text):
        self.answer(200, text, "text/event-stream")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.note(body)
        if KIND == "elsewhere":
            return self.answer(307, headers=[("location", "http://localhost.localdomain:1/mcp")])
        if KIND == "moved" and self.path != "/new":
            return self.answer(308, headers=[("location", "new")])
        if KIND == "found":
            return self.answer(302, headers=[("location", "/new")])
        if KIND == "page":
            return self.answer(200, "<html></html>", "text/html; charset=utf-8")
        if KIND == "busy" and State.refused < 2:
            State.refused += 1
            return self.answer(503)
        if KIND == "locked" and self.headers.get("authorization") != "Bearer good":
            return self.answer(401)
        if KIND == "modern":
            return self.modern(body)
        return self.legacy(body)

    def do_GET(self):
        self.note(None)
        if self.headers.get("last-event-id") == "a-1":
            response = {"jsonrpc": "2.0", "id": State.asked["slow"], "result": {"content": [], "resumed": True}}
            return self.events(f"id: a-2\ndata: {json.dumps(response)}\n\n")
        self.answer(405)

    def do_DELETE(self):
        self.note(None)
        self.answer(204)

    def session(self):
        return f"session-{State.sessions}"

    def legacy(self, body):
        if self.headers.get("mcp-protocol-version") == "2026-07-28":
            return self.answer(400)
        method, id = body.get("method"), body.get("id")
        if method == "initialize":
            State.sessions += 1
            result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": INFO}
            headers = [] if KIND == "open" else [("mcp-session-id", self.session())]
            return self.answer(200, {"jsonrpc": "2.0", "id": id, "result": result}, headers=headers)
        if KIND != "open" and self.headers.get("mcp-session-id") != self.session():
            return self.answer(404)
        if "result" in body or "error" in body:
            State.asked["answer"] = body
            State.answered.set()
            return self.answer(202)
        if id is None:
            return self.answer(202)
        name = body.get("params", {}).get("name")
        if name == "slow":
            State.asked["slow"] = id
            return self.events("id: a-1\nretry: 10\ndata: \n\n")
        if name == "ask":
            return self.ask(id)
        if name == "forget":
            State.sessions += 1
        result = {"content": [{"type": "text", "text": f"{name or method} {self.headers.get('mcp-session-id')}"}]}
        self.answer(200, {"jsonrpc": "2.0", "id": id, "result": result})

    def ask(self, id):
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        schema = {"type": "object", "properties": {"name": {"type": "string"}}}
        question = {"message": "who?", "requestedSchema": schema}
        self.event({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": question})
        State.answered.wait(30)
        text = json.dumps(State.asked["answer"].get("result"))
        self.event({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}})

    def event(self, message):
        self.wfile.write(f"data: {json.dumps(message)}\n\n".encode())
        self.wfile.flush()

    def modern(self, body):
        method, id, params = body.get("method"), body.get("id"), body.get("params", {})
        def refuse(status, code, **data):
            self.answer(status, {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "no", "data": data}})
        if self.headers.get("mcp-protocol-version") != "2026-07-28" or "_meta" not in params:
            return refuse(400, -32022, supported=["2026-07-28"])
        if self.headers.get("mcp-method") != method or self.headers.get("mcp-name") != params.get("name"):
            return refuse(400, -32020)
        result = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        if method == "server/discover":
            result |= {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
        elif method == "tools/list":
            region = {"type": "string", "x-mcp-header": "Region"}
            schema = {"type": "object", "properties": {"region": region}}
            result |= {"tools": [{"name": "query", "inputSchema": schema}]}
        elif method == "tools/call":
            if self.headers.get("mcp-param-region") != params["arguments"].get("region"):
                return refuse(400, -32020)
            result = {"resultType": "complete", "content": [{"type": "text", "text": "queried"}]}
        else:
            return refuse(404, -32601)
        self.answer(200, {"jsonrpc": "2.0", "id": id, "result": result})


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
