"""The status page in a real browser (Chromium): what happens is seen, by mouse, keyboard and screen reader alike, and nothing that
somebody else has written is taken for anything but text."""

import json
import os
import re
import signal
import sys
import threading
import urllib.error
import urllib.request

import pytest

import devtools
import mux

pytestmark = pytest.mark.skipif(devtools.COMMAND is None, reason="needs chromium")

HOSTILE = "<img src=x onerror=document.title='owned'>\u202e\u001b[31m"
# Long enough for a page that asks every two seconds on a busy machine.
LIVE = "document.querySelector('#link')?.dataset.state === 'live'"


@pytest.fixture
def page():
    with devtools.page() as one:
        yield one


class Client:
    """A legacy client of Streamable HTTP by hand, with a name of the test's choice."""

    def __init__(self, url: str, name: str):
        self.url, self.headers, self.last = url, {}, 0
        info = {"name": name, "version": "7"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
        response = self.post("initialize", params)
        self.headers = {"mcp-session-id": response.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
        response.close()

    def post(self, method: str, params):
        self.last += 1
        message = {"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream", **self.headers}
        return urllib.request.urlopen(urllib.request.Request(self.url, json.dumps(message).encode(), headers), timeout=30)

    def call(self, name: str, arguments) -> str:
        with self.post("tools/call", {"name": name, "arguments": arguments}) as response:
            return response.read().decode()


def base(server) -> str:
    return re.match(r"https?://[^/]+/", server.mcp_url).group()


def child(server):
    with urllib.request.urlopen(base(server) + "status.json", timeout=30) as answer:
        return json.load(answer)["servers"][0]["children"][0]


def text(page, selector: str) -> str:
    return page.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")


def says(page, selector: str, pattern: str) -> str:
    """Waits until what is there matches."""
    read = f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"
    page.until(f"new RegExp({json.dumps(pattern)}).test({read})")
    return text(page, selector)


def opened(server, count: int, name: str) -> list[Client]:
    """So many sessions, all at the same time."""
    clients = []
    threads = [threading.Thread(target=lambda: clients.append(Client(server.mcp_url, name))) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clients) == count
    return clients


def assert_clean(page, server) -> None:
    assert page.complaints == []
    assert page.requests and all(url.startswith(base(server)) for url in page.requests), page.requests
    assert page.evaluate("document.title") == "mcp-mux"


def test_a_session_appears_a_call_is_counted_and_a_child_crashes_and_comes_back(page):
    with mux.running([*mux.notes_server(), "--stderr"]) as server:
        page.open(base(server))
        page.until(LIVE)
        assert "There is no session" in text(page, "#e-sessions")
        client = Client(server.mcp_url, HOSTILE)
        row = says(page, "#sessions tbody tr", "Streamable HTTP")
        # As text, without what a terminal or a reader would obey.
        assert "<img src=x onerror=document.title='owned'>" in row and "\u001b" not in row, row
        assert page.evaluate("document.querySelectorAll('main img, main script').length") == 0
        says(page, "#changes", "Session [0-9a-f]{8} was opened")

        before = int(re.match(r"[\d,]+", says(page, "#t-rate-more", "since")).group().replace(",", ""))
        for count in range(5):
            assert "result" in client.call("echo", {"value": count})
        page.until(f"parseInt(document.querySelector('#t-rate-more').innerText.replace(',', '')) >= {before + 5}")
        says(page, "#errors", r"ok\s+\d")
        says(page, "#t-p95", "ms|s")
        assert page.evaluate("document.querySelectorAll('#c-latency :is(path, circle)').length") > 0

        pid = child(server)["pid"]
        assert str(pid) in text(page, "#children tbody tr")
        os.kill(pid, signal.SIGKILL)
        says(page, "#troubles", r"Child 1 was started again after signal: 9 \(SIGKILL\)")
        row = says(page, "#children tbody tr", "ready")
        assert "2025-11-25 (legacy)" in row, row
        # The server has had it too, whatever becomes of the child.
        assert text(page, "#servers tbody tr").rstrip().endswith("1")
        page.evaluate("document.querySelector('#servers .open').click()")
        says(page, "#servers .more", rf"Process {pid} ended at .* ago: signal: 9 \(SIGKILL\)")
        assert re.search("p50.*p95.*p99", text(page, "#c-latency figcaption"), re.DOTALL)
        assert str(pid) not in row and row.rstrip().endswith("1"), row
        # The session lives on.
        assert "result" in client.call("echo", {"value": "again"})
        assert text(page, "#sessions tbody tr")
        assert_clean(page, server)


def test_the_keyboard_alone_will_do(page):
    with mux.running([*mux.notes_server(), "--stderr"]) as server:
        page.open(base(server))
        page.until(LIVE)
        Client(server.mcp_url, "one")
        Client(server.mcp_url, "another")
        page.until("document.querySelectorAll('#sessions tbody tr').length === 2")
        focused = "document.activeElement"
        page.press("Tab")
        assert page.evaluate(f"{focused}.className") == "skip"
        assert page.evaluate(f"getComputedStyle({focused}).outlineStyle") != "none"
        page.press("Enter")
        assert page.evaluate(f"{focused}.id") == "main"
        page.press("/")
        assert page.evaluate(f"{focused}.id") == "filter"
        page.type("another")
        page.until("document.querySelectorAll('#sessions tbody tr').length === 1")
        page.press("Escape")
        page.until("document.querySelectorAll('#sessions tbody tr').length === 2")
        page.press("ArrowDown")
        assert page.evaluate(f"{focused}.innerText") == "default"
        page.press("ArrowDown")
        assert page.evaluate(f"{focused}.innerText") == "1"
        page.press("Enter")
        assert page.evaluate(f"{focused}.getAttribute('aria-expanded')") == "true"
        says(page, "#children .more", "Last lines of process")
        # What comes later does not take the focus away, nor close what is open.
        page.until("(window.seen ??= document.querySelector('#children time').textContent) !== document.querySelector('#children time').textContent")
        assert page.evaluate(f"{focused}.getAttribute('aria-expanded')") == "true"
        page.press("Enter")
        assert page.evaluate("document.querySelector('#children .more').hidden")
        # Into the charts, and through them.
        page.evaluate("document.querySelector('#c-rate svg').focus()")
        page.press("ArrowLeft", 2)
        assert text(page, "#r-rate").startswith("At "), text(page, "#r-rate")
        page.press("Escape")
        assert text(page, "#r-rate").startswith("Now"), text(page, "#r-rate")
        # Everything that can be reached has a name.
        unnamed = """[...document.querySelectorAll('main button, main input, main select, main svg[tabindex]')]
            .filter(one => !one.hidden && !(one.innerText || one.labels?.length || one.getAttribute('aria-label'))).length"""
        assert page.evaluate(unnamed) == 0
        assert_clean(page, server)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_beyond_the_edge_of_a_narrow_screen(page, scheme):
    with mux.running([*mux.notes_server(), "--stderr"]) as server:
        page.prefer(scheme)
        page.size(400)
        page.open(base(server))
        page.until(LIVE)
        Client(server.mcp_url, "a-client-with-a-very-long-name-" * 8)
        says(page, "#sessions tbody tr", "very-long")
        page.evaluate("document.querySelector('#children .open').click()")
        says(page, "#children .more", "Last lines of process")
        for width in [400, 320, 700, 1280]:
            page.size(width)
            page.until(f"innerWidth === {width}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            beyond = f"""[...document.querySelectorAll('main *')].filter(one =>
                one.getBoundingClientRect().right > {width} + 1 && !one.closest('.hidden, thead, pre')).length"""
            assert page.evaluate(beyond) == 0
            # A hash or a revision is not broken because of a long name beside it.
            broken = "[...document.querySelectorAll('#sessions .value.whole')].filter(one => one.getClientRects().length > 1).length"
            assert width < 1280 or page.evaluate(broken) == 0
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 300) == (scheme == "dark"), ground
        assert_clean(page, server)


def test_a_lost_connection_is_said_and_its_return(page):
    port = str(mux.free_port())
    with mux.running(mux.notes_server(), "--port", port) as server:
        page.open(base(server))
        page.until(LIVE)
    says(page, "#link", "connection lost")
    assert page.evaluate("document.querySelector('#main').classList.contains('stale')")
    assert page.evaluate("document.title") == "lost – mcp-mux"
    assert "connection lost" in text(page, "#t-state")
    with mux.running(mux.notes_server(), "--port", port):
        page.until(LIVE)
        says(page, "#changes", "is back after")
        says(page, "#troubles", "was started again")
        assert page.evaluate("document.title") == "mcp-mux" and "ready" in text(page, "#t-state")
        assert not page.evaluate("document.querySelector('#main').classList.contains('stale')")
    # Of which the browser complains by itself.
    assert all("status.json" in complaint for complaint in page.complaints), page.complaints


def test_that_servers_fail_is_the_first_thing_to_be_seen_and_why(page, tmp_path):
    python = sys.executable
    lines = "import sys; [print('line', n, '<b>', file=sys.stderr) for n in range(3)]; sys.exit(3)"
    servers = {
        "bad": {"command": python, "args": ["-c", lines]},
        "good": {"command": python, "args": mux.notes_server()[1:]},
        "idle": {"command": python, "args": mux.notes_server()[1:], "lazy": True},
        "off": {"command": "none", "disabled": True},
    }
    config = tmp_path / "servers.json"
    config.write_text(json.dumps({"mcpServers": servers}))
    with mux.running([], "--config", str(config), errors_expected=True) as server:
        page.open(base(server))
        page.until(LIVE)
        assert says(page, "#t-state", "fail") == "1 of 3 servers fails"
        assert page.evaluate("document.querySelector('#t-state .state').dataset.state") == "failed"
        assert page.evaluate("document.title") == "1 of 3 servers fails – mcp-mux"
        assert "trouble" in page.evaluate("document.querySelector('#icon').href")
        assert "bad; 1 of 1 child ready" in text(page, "#t-state-more")
        # A line of stderr is a line, and no markup.
        why = says(page, "#servers .why", "exit status: 3")
        assert "line 0 <b>\n" in why, why
        page.evaluate("document.querySelector('#servers .open').click()")
        assert "line 2 <b>" in says(page, "#servers .more", "Why it does not work")
        assert page.evaluate("document.querySelectorAll('main b').length") == 0
        # Whether requests can be answered is another question.
        with urllib.request.urlopen(base(server) + "readyz", timeout=30) as answer:
            assert answer.status == 200
        page.until("[...document.querySelector('#server').options].some(option => option.value === 'good')")
        page.evaluate("(chosen => { chosen.value = 'good'; chosen.dispatchEvent(new Event('change')); })(document.querySelector('#server'))")
        assert says(page, "#t-state", "ready") == "ready"
        assert page.complaints == []


def test_a_child_that_does_not_read_is_no_healthy_child(page):
    with mux.running([*mux.notes_server(), "--stderr"]) as server:
        page.open(base(server))
        page.until(LIVE)
        clients = opened(server, 15, "big")
        pid = child(server)["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            calls = [threading.Thread(target=one.call, args=("echo", {"value": "x" * 1_000_000})) for one in clients]
            for call in calls:
                call.start()
            row = says(page, "#children tbody tr", "of its input wait")
            assert re.search(r"1\d\.\d MiB", row) and re.search(r"15, for \d+ s", row), row
            says(page, "#limits", r"--queue-bytes-max \(fullest child\)\s+1\d\.\d MiB of 64\.0 MiB")
            says(page, "#limits", r"--in-flight-max \(fullest session\)\s+1 of")
            says(page, "#t-flight-more", "MiB not read by children yet")
            says(page, "#troubles", "Child 1 does not read its input")
        finally:
            os.kill(pid, signal.SIGCONT)
        for call in calls:
            call.join()
        page.until("!document.querySelector('#children tbody').innerText.includes('input')")
        assert_clean(page, server)


def test_many_sessions_bury_neither_what_went_wrong_nor_the_rest_of_the_page(page):
    with mux.running([*mux.notes_server(), "--stderr"]) as server:
        page.size(400)
        page.open(base(server))
        page.until(LIVE)
        os.kill(child(server)["pid"], signal.SIGKILL)
        says(page, "#troubles", "was started again")
        clients = opened(server, 45, "one of many")
        says(page, "#changes", r"\d+ sessions were opened")
        says(page, "#n-sessions", "45 sessions")
        assert page.evaluate("document.querySelectorAll('#changes li').length") <= 12
        says(page, "#troubles", "was started again")
        rows = "document.querySelectorAll('#sessions tbody tr').length"
        assert page.evaluate(rows) == 20 and text(page, "#a-sessions") == "Show all 45"
        above = "document.querySelector('{}').getBoundingClientRect().top < document.querySelector('#sessions').getBoundingClientRect().top"
        assert all(page.evaluate(above.format(one)) for one in ["#errors", "#limits", "#troubles"])
        page.evaluate("document.querySelector('#a-sessions').focus()")
        page.press("Enter")
        page.until(f"{rows} === 45")
        page.press("Enter")
        page.until(f"{rows} === 20")
        # Nobody asks anything any more: what was measured before is not what is now.
        assert "result" in clients[0].call("echo", {"value": 1})
        says(page, "#t-p95-more", "p50 .* p99")
        assert says(page, "#t-p95-more", "no requests in the last 10 s") and text(page, "#t-p95") == "–"
        assert_clean(page, server)


def test_where_clients_have_to_say_who_they_are_so_has_the_page(page, tmp_path):
    tokens = tmp_path / "tokens"
    tokens.write_text("ann:a-token-of-twenty-characters\n")
    tokens.chmod(0o600)
    with mux.running(mux.notes_server(), "--auth-token-file", str(tokens)) as server:
        page.open(base(server))
        page.until("document.querySelector('#entry')?.hidden === false")
        assert page.evaluate("document.activeElement.id") == "token" and page.evaluate("document.querySelector('#main').hidden")
        page.type("a-token-that-is-wrong")
        page.press("Enter")
        says(page, "#entry-problem", "not accepted")
        page.type("a-token-of-twenty-characters")
        page.press("Enter")
        page.until(LIVE)
        says(page, "#children tbody tr", "ready")
        kept = "JSON.stringify([localStorage, document.cookie, location.href])"
        assert "twenty" not in page.evaluate(kept) and all("twenty" not in url for url in page.requests)
        # It stays in this tab.
        page.call("Page.reload")
        page.until(LIVE)


def test_a_door_of_their_own_shows_operators_what_clients_do_not_see(page):
    with mux.running(mux.notes_server(), "--admin", "127.0.0.1:0") as server:
        [url] = [json.loads(line)["url"] for line in server.log if "the status page" in line]
        page.open(url)
        page.until(LIVE)
        says(page, "#children tbody tr", "ready")
        for path in ["", "status.json", "metrics"]:
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(base(server) + path, timeout=30)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(url + "mcp", timeout=30)
        with urllib.request.urlopen(url + "metrics", timeout=30) as answer:
            assert answer.read().endswith(b"# EOF\n")
        assert page.complaints == []
