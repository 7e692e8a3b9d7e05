"""What pages in a real browser (Chromium) can do with mcp-mux: those of an allowed origin everything, others nothing.

Spec: 2025-11-25 basic/transports, Security Warning; Fetch, 3.2 (CORS).
"""

import json
import socket
import socketserver
import threading
from contextlib import contextmanager

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import browser
import mux
import sdk

pytestmark = pytest.mark.skipif(browser.COMMAND is None, reason="needs chromium")

APP, EVIL = "app.example", "evil.example"
SESSION = "'mcp-session-id': session, 'mcp-protocol-version': '2025-11-25'"
USE = f"""
    const opened = await ask(url, {{ headers, body: INITIALIZE }});
    const session = opened.headers?.['mcp-session-id'];
    const more = {{ ...headers, {SESSION} }};
    const called = await ask(url, {{ headers: more, body: call('echo', {{ value: mark }}) }});
    const closed = await ask(url, {{ method: 'DELETE', headers: more }});
    await report({{ opened, session, called, closed }});
"""
# As good as a page can without asking first: without a preflight, and without seeing an answer.
SEND = """
    const headers = { 'content-type': 'text/plain', accept: 'application/json, text/event-stream' };
    const init = { method: 'POST', mode: 'no-cors', headers };
    const sent = await fetch(url, { ...init, body: JSON.stringify(call('echo', { value: mark })) });
    const opened = await fetch(url, { ...init, body: JSON.stringify(INITIALIZE) });
    await report([sent.type, opened.type]);
"""


@pytest.fixture(scope="module")
def chromium():
    with browser.running() as one:
        yield one


@pytest.fixture
def record(tmp_path):
    return tmp_path / "record"


def notes(record) -> list[str]:
    return mux.recorded(mux.notes_server(), record)


def origin(chromium, host: str) -> str:
    return f"http://{host}:{chromium.port}"


def use(chromium, host: str, server, to=None, headers=None, url=None):
    """A page that does all there is to do; and the mark that it puts into what it says to the child."""
    mark = sdk.marker("from a page")
    return chromium.visit(host, USE, to, url=url or server.mcp_url, mark=mark, headers=headers or {}), mark


def assert_it_works(outcome, mark: str, record) -> None:
    assert outcome["opened"]["status"] == 200, outcome
    # The page can read it: it is exposed.
    assert outcome["session"]
    [content] = json.loads(outcome["called"]["text"])["result"]["content"]
    assert json.loads(content["text"]) == {"value": mark}
    assert 200 <= outcome["closed"]["status"] < 300
    assert mark in record.read_text()


def assert_blocked(outcome) -> None:
    for step in ["opened", "called", "closed"]:
        assert list(outcome[step]) == ["blocked"], outcome


def test_a_page_of_an_allowed_origin_does_all_there_is_to_do(chromium, record):
    with mux.running(notes(record), "--allow-origin", origin(chromium, APP)) as server:
        assert_it_works(*use(chromium, APP, server), record)
        # Others are blocked, however alike: of another host, of a name below, of another port.
        for host in [EVIL, f"www.{APP}", f"{APP}.{EVIL}"]:
            assert_blocked(use(chromium, host, server)[0])
        with relay(chromium, server) as port:
            assert_blocked(use(chromium, APP, server, to=port)[0])
        seen = record.read_text()
        assert seen.count("from a page") == 1


def test_a_page_of_this_machine_needs_no_permission(chromium, record):
    with mux.running(notes(record)) as server:
        assert_it_works(*use(chromium, "localhost", server), record)
        assert_it_works(*use(chromium, "127.0.0.1", server), record)


def test_a_page_of_another_origin_gets_nothing_through_and_sees_nothing(chromium, record):
    with mux.running(notes(record)) as server:
        mark = sdk.marker("from a page")
        # The browser sends these, and shows nothing of the answers; so mcp-mux has to refuse them.
        assert chromium.visit(EVIL, SEND, url=server.mcp_url, mark=mark) == ["opaque", "opaque"]
        outcome, other = use(chromium, EVIL, server)
        assert_blocked(outcome)
        paths = ["/mcp", "/sse", "/healthz", "/readyz", "/metrics", "/.well-known/oauth-protected-resource"]
        urls = [server.mcp_url.replace("/mcp", path) for path in paths]
        seen = chromium.visit(EVIL, "report(await Promise.all(urls.map(url => ask(url))))", urls=urls)
        assert all(list(answer) == ["blocked"] for answer in seen), seen
        assert mark not in record.read_text() and other not in record.read_text()


def sandboxed(script: str) -> str:
    """The script in a frame without an origin of its own; what it gives to `report` is reported."""
    inner = "const report = outcome => parent.postMessage(outcome, '*');"
    return f"""
        addEventListener('message', event => report(event.data), {{ once: true }});
        const frame = document.createElement('iframe');
        frame.sandbox = 'allow-scripts';
        const constants = `const url = ${{JSON.stringify(url)}}, mark = ${{JSON.stringify(mark)}}, headers = {{}};`;
        const run = '(async () => {{' + {json.dumps(script)} + '}})()';
        frame.srcdoc = '<script>' + [shared, {json.dumps(inner)}, constants, run].join(';') + '</' + 'script>';
        document.documentElement.append(frame);
    """


@pytest.mark.parametrize("allowed", [False, True])
def test_a_page_without_an_origin_needs_permission_of_its_own(chromium, record, allowed):
    flags = ["--allow-origin", f"{origin(chromium, APP)},null" if allowed else origin(chromium, APP)]
    with mux.running(notes(record), *flags) as server:
        mark = sdk.marker("from a page")
        outcome = chromium.visit(APP, sandboxed(USE), url=server.mcp_url, mark=mark, shared=browser.SCRIPT)
        if allowed:
            assert_it_works(outcome, mark, record)
        else:
            assert_blocked(outcome)
            assert mark not in record.read_text()


@contextmanager
def relay(chromium, server):
    """A port where a connection that begins with a page goes to its server, and any other to mcp-mux: what a name looks
    like to a browser that pointed to an attacker first, and then to the user's own machine (DNS rebinding)."""
    served = server.mcp_url.split("/")[2].rpartition(":")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            begin = self.request.recv(65536)
            page = begin.split(b" ")[1:2][0].startswith(b"/page-")
            target = ("127.0.0.1", chromium.port if page else int(served[2]))
            with socket.create_connection(target) as other:
                other.sendall(begin)
                back = threading.Thread(target=pump, args=(other, self.request), daemon=True)
                back.start()
                pump(self.request, other)
                back.join()

    def pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        listener.block_on_close = False
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield listener.server_address[1]
        listener.shutdown()


def test_a_name_that_is_pointed_at_this_machine_opens_nothing(chromium, record):
    with mux.running(notes(record), "--allow-origin", origin(chromium, APP)) as server, relay(chromium, server) as port:
        # To the browser, page and server are of one origin: it asks for no permission, and shows everything.
        for host in [EVIL, APP, f"localhost.{EVIL}", f"127.0.0.1.{EVIL}"]:
            mark = sdk.marker("from a page")
            script = """
                const said = [INITIALIZE, call('echo', { value: mark })].map(body => ask('/mcp', { body }));
                const seen = ['/mcp', '/sse', '/healthz'].map(path => ask(path));
                await report(await Promise.all([...said, ...seen]));
            """
            outcome = chromium.visit(host, script, to=port, mark=mark)
            assert [answer["status"] for answer in outcome] == [403] * 5, outcome
            assert mark not in record.read_text()
        # Under a name of this machine, all that works.
        outcome, mark = use(chromium, "localhost", server, to=port, url=f"http://localhost:{port}/mcp")
        assert_it_works(outcome, mark, record)


def test_a_page_can_find_out_how_to_authenticate_and_then_get_in(chromium, record, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(key.public_key()))
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [{**public, "kid": "1", "alg": "ES256", "use": "sig"}]}))
    issuer, audience = "https://issuer.example", "https://mcp.example.com/mcp"
    said = {"iss": issuer, "aud": audience, "sub": "ann", "exp": 4_000_000_000, "client_id": "page"}
    token = jwt.encode(said, key, "ES256", {"kid": "1", "typ": "at+jwt"})
    flags = ["--jwt-issuer", issuer, "--jwt-audience", audience, "--jwks-file", str(keys)]
    with mux.running(notes(record), *flags, "--allow-origin", origin(chromium, APP)) as server:
        script = """
            const refused = await ask(url, { body: INITIALIZE });
            const challenge = refused.headers?.['www-authenticate'];
            const where = challenge?.match(/resource_metadata="([^"]+)"/)?.[1];
            const metadata = where && await ask(where);
            await report({ refused, challenge, metadata });
        """
        found = chromium.visit(APP, script, url=server.mcp_url)
        assert found["refused"]["status"] == 401 and found["challenge"].startswith("Bearer "), found
        metadata = json.loads(found["metadata"]["text"])
        assert (metadata["resource"], metadata["authorization_servers"]) == (server.mcp_url, [issuer])
        authorized = {"authorization": f"Bearer {token}"}
        assert_it_works(*use(chromium, APP, server, headers=authorized), record)
        # Another page has nothing of a token that it knows, nor learns how to get one.
        assert_blocked(use(chromium, EVIL, server, headers=authorized)[0])
        assert list(chromium.visit(EVIL, script, url=server.mcp_url)["refused"]) == ["blocked"]
