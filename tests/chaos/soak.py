#!/usr/bin/env python3
"""The soak: many sessions on a pool of servers, one of which is killed every second, for as long as one likes.

    MCP_MUX_BIN=… soak.py [MINUTES] [--sessions 200] [--pool 4] [--kill-every 1] [--seed 1]

Each session goes on with `tools/call` (most of them quick, some up to two seconds), `tools/list`, `ping` and
`resources/read`. A request may fail only because its server was killed or is not there: `child-exited`, or refused with
503. At the end, when nobody is killed any more, every session has to work without a new `initialize`, and no process may be
left when mcp-mux has stopped. The report has the requests, the failures by kind, the latency, and the resident memory.
"""

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import life
from client import Book, SseClient, StreamableClient
from driver import MIB, Trouble, all_work, examine
from mux import Mux, stop_as_ctrl_c_does

ALLOWED = ("child-exited", "circuit-open", "child-unavailable", "queue-full")
OPENING = 20  # sessions that are opened at the same time


def mix(client):
    drawn = client.random.random()
    if drawn < 0.55:
        return life.echo(client, ms=client.random.choice([0, 0, 5, 20]))
    if drawn < 0.65:
        return life.echo(client, ms=client.random.randrange(100, 2000))
    if drawn < 0.75:
        return client.request("tools/list", {})
    return life.read(client) if drawn < 0.9 else client.request("ping", {})


async def use(client, until):
    while time.monotonic() < until:
        await mix(client)
        await asyncio.sleep(client.random.uniform(0.1, 1.1))


async def open_all(clients, mux):
    for at in range(0, len(clients), OPENING):
        opened = await asyncio.gather(*(life.begin(client) for client in clients[at : at + OPENING]))
        if not all(opened):
            raise Trouble(f"{opened.count(False)} sessions could not be opened:\n{mux.tail()}")


async def kill_one_by_one(mux, chance, every, until, killed):
    while time.monotonic() < until:
        await asyncio.sleep(every)
        if servers := mux.servers():
            victim = chance.choice(servers)
            try:
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
            except ProcessLookupError:
                pass


async def tell_each_minute(mux, book, began):
    while True:
        await asyncio.sleep(60)
        print(
            f"{(time.monotonic() - began) / 60:5.1f} min: resident {mux.resident() / MIB:.1f} MiB, "
            f"{book.counts['requests']} requests, failed {dict(book.failures)}",
            flush=True,
        )


async def soak(options, mux, book):
    chance = random.Random(options.seed)
    clients = []
    for number in range(options.sessions):
        kind = SseClient if number % 10 == 9 else StreamableClient
        clients.append(kind(mux.port, book, random.Random(chance.random())))
    await open_all(clients, mux)
    start, before = mux.resident(), dict(book.counts)
    print(f"{len(clients)} sessions on {len(mux.servers())} servers: resident {start / MIB:.1f} MiB", flush=True)
    began, killed = time.monotonic(), []
    until = began + 60 * options.minutes
    telling = asyncio.ensure_future(tell_each_minute(mux, book, began))
    killing = asyncio.ensure_future(kill_one_by_one(mux, chance, options.kill_every, until, killed))
    await asyncio.gather(killing, *(use(client, until) for client in clients))
    telling.cancel()
    end, failures = mux.resident(), dict(book.failures)
    requests, answers = (book.counts[name] - before.get(name, 0) for name in ("requests", "answers"))
    await all_work(clients, book)
    calm = mux.resident()
    for client in clients:
        await client.leave()
        await client.end()
    gone = mux.resident()
    code = mux.stop()
    if code != 0:
        book.violation(f"mcp-mux ended with {code} after SIGTERM")
    left, _ = mux.gone_within(1)
    if left:
        book.violation(f"mcp-mux left {len(left)} processes behind")

    succeeded = answers - sum(failures.values())
    print(f"sessions    {len(clients)}, none opened twice; pool of {options.pool}; {len(killed)} servers killed")
    unanswered = book.counts["unanswered"]
    print(f"requests    {requests}, answered {answers}, with a result {succeeded}, unanswered {unanswered}")
    print(f"failures    {failures or 'none'} ({100 * sum(failures.values()) / max(requests, 1):.2f} % of the requests)")
    for method in ("ping", "tools/list", "resources/read", "tools/call"):
        seconds = sorted(book.seconds.get(method, [0]))
        p50, p99 = (seconds[int(len(seconds) * part)] * 1000 for part in (0.5, 0.99))
        print(f"latency     {method:15} p50 {p50:8.1f} ms, p99 {p99:8.1f} ms ({len(seconds)} results)")
    print(
        f"resident    start {start / MIB:.1f} MiB, end {end / MIB:.1f}, all working again {calm / MIB:.1f}, "
        f"all gone {gone / MIB:.1f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", type=float, nargs="?", default=10)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--pool", type=int, default=4)
    parser.add_argument("--kill-every", type=float, default=1, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    stop_as_ctrl_c_does()
    folder = tempfile.mkdtemp(prefix="mcp-mux-soak-")
    pool = ["--pool", str(options.pool)] if options.pool > 1 else []
    server = [sys.executable, str(Path(__file__).resolve().parent / "child.py"), "--folder", folder]
    book = Book(ALLOWED)
    mux = Mux([*pool, "--log-level", "warn", "--queue-timeout", "30s"], server, folder)
    try:
        asyncio.run(soak(options, mux, book))
    except Trouble as trouble:
        book.violations.append(str(trouble))
    finally:
        mux.sweep()
    problems = book.violations + examine(folder)
    for problem in problems[:20]:
        print(f"wrong       {problem}")
    if problems:
        print(f"            {len(problems)} in all; its files are in {folder}")
    else:
        mux.forget()
    print(f"{int(not problems)} passed, {int(bool(problems))} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
