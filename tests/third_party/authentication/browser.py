"""A real browser (Chromium, headless) that opens pages of ours, and what they found out.

Pages are served here, under whatever host names the tests want: the browser takes all of them for this machine's. A
page's script ends with `report(...)`, which a test gets from `Browser.visit`.
"""

import json
import queue
import shutil
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


DEADLINE = 60.0
COMMAND = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)

# What every page can use: MCP by hand, since nothing between `fetch` and the test is to hide what the browser says.
SCRIPT = """
const HEADERS = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
const INITIALIZE = {
    jsonrpc: '2.0', id: 1, method: 'initialize',
    params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'a page', version: '1' } }
};
const call = (name, args) => ({ jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name, arguments: args } });
/** What a page can tell of a request: `{ status, headers, text }`, or `{ blocked }`. */
async function ask(url, { headers = {}, body, ...init } = {}) {
    try {
        const response = await fetch(url, {
            method: body === undefined ? 'GET' : 'POST',
            headers: { ...(body === undefined ? {} : HEADERS), ...headers },
            body: body === undefined ? undefined : JSON.stringify(body),
            ...init
        });
        const stream = response.headers.get('content-type')?.startsWith('text/event-stream');
        const text = stream ? await first(response) : await response.text();
        return { status: response.status, type: response.type, headers: Object.fromEntries(response.headers), text };
    } catch (error) {
        return { blocked: String(error) };
    }
}
/** What a stream begins with. */
async function first(response) {
    const reader = response.body.getReader();
    const { value } = await reader.read();
    reader.cancel();
    return new TextDecoder().decode(value);
}
"""


class Browser:
    """One browser. It is at one page at a time; the page of a test tells it where the next is."""

    def __init__(self, port: int):
        self.port = port
        self._next: queue.Queue[str] = queue.Queue()
        self._outcomes: queue.Queue[Any] = queue.Queue()
        self._pages: dict[str, str] = {}
        self._lost = False

    def visit(self, host: str, script: str, to: int | None = None, **values: Any) -> Any:
        """What the script of a page on `http://host` reports. The values are constants of the script."""
        assert not self._lost, "the browser did not come back from a page of another test"
        path = f"/page-{len(self._pages)}"
        constants = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in values.items())
        run = f"(async () => {{ {script} }})().catch(error => report({{ failed: String(error) }}));"
        self._pages[path] = page(f"{SCRIPT}\n{constants}\n{run}", self.port)
        self._next.put(f"http://{host}:{to or self.port}{path}")
        try:
            outcome = self._outcomes.get(timeout=DEADLINE)
        except queue.Empty:
            self._lost = True
            raise AssertionError(f"the page at {host} has not reported within {DEADLINE} s") from None
        assert not (isinstance(outcome, dict) and "failed" in outcome), outcome
        return outcome

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/next":
            url = self._next.get(timeout=10 * DEADLINE)
            handler.send_response(302)
            handler.send_header("location", url)
            handler.end_headers()
        elif handler.path == "/report":
            length = int(handler.headers["content-length"])
            self._outcomes.put(json.loads(handler.rfile.read(length)))
            # A page of any origin may report.
            handler.send_response(204)
            handler.send_header("access-control-allow-origin", "*")
            handler.end_headers()
        elif handler.path in self._pages:
            handler.send_response(200)
            handler.send_header("content-type", "text/html; charset=utf-8")
            handler.end_headers()
            handler.wfile.write(self._pages[handler.path].encode())
        else:
            handler.send_error(404)


def page(script: str, port: int) -> str:
    # Plain text, so that no preflight is needed. Then on to the next page.
    return f"""<!doctype html><title>A page</title><script>
async function report(outcome) {{
    await fetch('http://driver.example:{port}/report', {{ method: 'POST', body: JSON.stringify(outcome) }});
    location = 'http://driver.example:{port}/next';
}}
{script}
</script>"""


@contextmanager
def running():
    """A browser, and the server of its pages."""
    browser: Browser

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            browser.answer(self)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    browser = Browser(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="mcp-mux-browser-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                COMMAND,
                "--headless",
                # It cannot have its own where these tests run as root; the pages are ours.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-extensions",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                # Every name but an address is this machine; nothing leaves it.
                "--host-resolver-rules=MAP * 127.0.0.1",
                f"--user-data-dir={profile}",
                f"http://driver.example:{browser.port}/next",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield browser
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            server.shutdown()
            server.server_close()
