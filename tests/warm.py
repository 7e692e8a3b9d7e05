#!/usr/bin/env python3
"""How long a session with a server of its own waits for `initialize`: with a process started ahead, and without.

    MCP_MUX_BIN=… warm.py [ROUNDS]

For each server, ROUNDS (20) times in turn: `initialize` through `--isolation session --warm 2`, when a spare is there and
at rest; the same through `--warm 0`; and the server started directly, from its start to its answer, which is what its
interpreter takes. The servers are examples/notes_server.py and, where the third-party tests are installed, one on the
official Python SDK.
"""

import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "chaos"))

from client import Book, StreamableClient  # noqa: E402
from mux import Mux, busy_ticks, stop_as_ctrl_c_does  # noqa: E402

VENV_PYTHON = HERE / "third_party/.venv/bin/python"
WARM = 2
REST_SECONDS = 0.3  # a process that has used no processor time for so long waits for its input
REST_DEADLINE = 30.0
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "warm", "version": "1"}},
}


def servers():
    found = {"examples/notes_server.py (standard library)": [sys.executable, str(HERE.parent / "examples/notes_server.py")]}
    if VENV_PYTHON.exists():
        found["FastMCP (official Python SDK)"] = [str(VENV_PYTHON), str(HERE / "third_party/fastmcp_server.py")]
    return found


def rest(mux, count):
    """Waits until there are so many servers, all of them at rest."""
    deadline, last, since = time.monotonic() + REST_DEADLINE, None, time.monotonic()
    while time.monotonic() < deadline:
        now = {pid: busy_ticks(pid) for pid in mux.servers()}
        if now != last or len(now) != count:
            last, since = now, time.monotonic()
        elif time.monotonic() - since >= REST_SECONDS:
            return
        time.sleep(0.02)
    raise SystemExit(f"there were not {count} servers at rest within {REST_DEADLINE:.0f} s, but {last}:\n{mux.tail()}")


async def through(mux, spares):
    """The seconds that `initialize` takes. The session is gone afterwards, and what it used up has been replaced."""
    rest(mux, spares)
    book = Book(())
    client = StreamableClient(mux.port, book, random.Random(1))
    if not await client.open():
        raise SystemExit(f"no session: {book.violations}\n{mux.tail()}")
    await client.leave()
    await client.end()
    if book.violations:
        raise SystemExit("\n".join(book.violations))
    return book.seconds["initialize"][0]


def directly(command):
    """The seconds from the start of a server to its answer."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
    process.stdin.flush()
    if b'"result"' not in process.stdout.readline():
        raise SystemExit(f"{command} does not answer")
    seconds = time.monotonic() - began
    process.stdin.close()
    process.stdout.close()
    process.wait(10)
    return seconds


def measure(command, rounds):
    own = ["--isolation", "session", "--log-level", "warn", "--stop-timeout", "1s", "--warm"]
    muxes = {spares: Mux([*own, str(spares)], command, tempfile.mkdtemp(prefix="mcp-mux-warm-")) for spares in (WARM, 0)}
    try:
        warm, cold, direct = [], [], []
        for _ in range(rounds):
            warm.append(asyncio.run(through(muxes[WARM], WARM)))
            cold.append(asyncio.run(through(muxes[0], 0)))
            direct.append(directly(command))
        return warm, cold, direct
    finally:
        for mux in muxes.values():
            mux.stop()
            mux.sweep()
            mux.forget()


def main():
    stop_as_ctrl_c_does()
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20

    def line(what, seconds):
        shown = [statistics.median(seconds), min(seconds), max(seconds)]
        print("  {:44} {:8.1f} ms   ({:.1f} to {:.1f})".format(what, *(each * 1000 for each in shown)))

    for name, command in servers().items():
        warm, cold, direct = measure(command, rounds)
        print(f"{name}, median of {rounds}")
        line(f"initialize with --warm {WARM}, a spare is there", warm)
        line("initialize with --warm 0", cold)
        line("the server alone, from its start to its answer", direct)
        saved = statistics.median(cold) - statistics.median(warm)
        part = saved / statistics.median(direct)
        print(f"  saved by the spare: {saved * 1000:.1f} ms, {part:.0%} of what the server alone takes")


if __name__ == "__main__":
    main()
