"""A real Prometheus and its promtool: they take the metrics, the alerts and the dashboard's questions.

From Debian's package `prometheus`, which run.sh installs where it can."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager

import pytest

import mux
import sdk

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not (shutil.which("prometheus") and shutil.which("promtool")), reason="no prometheus, promtool"),
]
MONITORING = mux.REPOSITORY / "examples/monitoring"
DEADLINE = 60.0


def promtool(*arguments: str, **options) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=DEADLINE, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fetch(url: str, accept: str) -> tuple[str, str]:
    request = urllib.request.Request(url, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=DEADLINE) as response:
        return response.headers["Content-Type"], response.read().decode()


@contextmanager
def prometheus(folder, target: str):
    """One that scrapes `target` every second, with the alerts of the example."""
    config = (MONITORING / "prometheus.yaml").read_text()
    config = config.replace("localhost:8000", target).replace("15s", "1s")
    (folder / "prometheus.yaml").write_text(config)
    shutil.copy(MONITORING / "alerts.yaml", folder)
    port = mux.free_port()
    command = ["prometheus", f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}/api/v1"
    finally:
        process.terminate()
        process.wait(DEADLINE)


def ask(api: str, path: str, **query: str):
    with urllib.request.urlopen(f"{api}/{path}?{urllib.parse.urlencode(query)}", timeout=DEADLINE) as response:
        answer = json.load(response)
    assert answer["status"] == "success", answer
    return answer["data"]


def eventually(condition, what: str):
    """Prometheus tells nobody when it has scraped: it has to be asked."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            if found := condition():
                return found
        except OSError as error:
            what = f"{what} ({error})"
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE} s"
        time.sleep(0.1)


def questions() -> list[str]:
    """Those of the dashboard, with its variables set to everything."""
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(asked) > 25
    return [re.sub(r"\$(instance|server|job)", ".*", expr.replace("$__rate_interval", "1m")) for expr in asked]


def test_the_alerts_and_the_configuration_are_good():
    assert "rules found" in promtool("check", "rules", str(MONITORING / "alerts.yaml"))
    promtool("check", "config", "--syntax-only", str(MONITORING / "prometheus.yaml"))


async def test_prometheus_takes_the_metrics_and_answers_alerts_and_dashboard(tmp_path):
    with mux.running(mux.notes_server()) as running:
        async with sdk.connect(running.url("http"), "http") as peer:
            await peer.session.call_tool("echo", {"value": 1})
            await peer.session.list_tools()
        base = running.url("http").rsplit("/", 1)[0]
        content_type, text = fetch(f"{base}/metrics", "*/*")
        assert content_type.startswith("text/plain; version=0.0.4")
        promtool("check", "metrics", input=text)
        with prometheus(tmp_path, urllib.parse.urlsplit(base).netloc) as api:
            call = 'mcp_mux_requests_total{job="mcp-mux",server="default",method="tools/call",outcome="ok"}'
            [found] = eventually(lambda: ask(api, "query", query=call)["result"], "a scrape")
            assert found["value"][1] == "1"
            [target] = ask(api, "targets")["activeTargets"]
            assert (target["health"], target["lastError"]) == ("up", "")
            # What it knows of the metrics says that it took them as OpenMetrics: only that has units.
            [described] = ask(api, "targets/metadata", metric="mcp_mux_request_duration_seconds")
            assert (described["type"], described["unit"]) == ("histogram", "seconds")
            for question in questions():
                ask(api, "query", query=question)
            evaluated = lambda: [  # noqa: E731
                rule for group in ask(api, "rules")["groups"] for rule in group["rules"] if rule["health"] != "unknown"
            ]
            rules = eventually(evaluated, "the alerts")
            assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
            assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []
