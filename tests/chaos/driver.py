#!/usr/bin/env python3
"""Clients that misbehave against a server that misbehaves, with mcp-mux (MCP_MUX_BIN) between them.

    driver.py [--seed N] [--only NAME,…] [--scale X] short | long MINUTES | list

`short` runs a few scenarios once; `long` runs all of them again and again, each round with the next seed, for so many
minutes. In every scenario has to hold, whatever the server does:

- every request on a connection that stays gets exactly one answer, with its own id as it was spelled, and with its own
  payload; it fails only in the ways that the scenario's misbehaviour is good for;
- no client reads another's secret, in any byte; no question, notification or progress that is not its own;
- the server reads only whole messages with ids that are new; with `--isolation session` only one client's;
- mcp-mux's resident memory stays below the scenario's bound; its log has no error, no panic and no secret;
- when the server behaves again, so does every session: nobody has to open a new one;
- when all clients are gone, descriptors and threads are what they were before;
- SIGTERM ends mcp-mux with 0, SIGKILL ends it in mid-work; neither leaves a process behind.
"""

import argparse
import asyncio
import random
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import life
from child import QUESTIONS
from client import Book, SseClient, StreamableClient
from mux import Mux, stop_as_ctrl_c_does

HERE = Path(__file__).resolve().parent
MIB = 1 << 20
COMMON_FLAGS = (
    "--stop-timeout 1s --body-timeout 2s --sse-after 200ms --keep-alive 1s --session-idle-timeout 5s --queue-timeout 20s"
).split()
RECOVERY = 60.0  # a circuit that is open is tried again within that
SETTLE = 25.0
GONE = 10.0
RUN_DEADLINE = 300.0
LOG_TROUBLE = re.compile(rb"(?:^|\s)ERROR\s|panicked at|secret-[0-9a-f]{24}")
LOST = ("child-exited", "child-unavailable", "circuit-open")
POOL = "--pool 4"
PRIVATE = "--isolation session --warm 2 --children-max 60"


@dataclass(frozen=True)
class Scenario:
    """`rates`: how the server misbehaves. `allowed`: how a request may fail. `kill`: SIGKILL instead of SIGTERM."""

    name: str
    rates: str
    allowed: tuple = ()
    flags: str = ""
    clients: int = 10
    seconds: float = 5.0
    resident_mib_max: int = 64
    megabytes: int = 10
    kill: bool = False

    @property
    def private(self):
        return "--isolation session" in self.flags


HARMLESS = "twice=0.03,unknown=0.03,unasked=0.02,slow=0.3"
DEADLY = "exit=0.004,kill=0.003,half=0.003,family=0.002,orphaning=0.001,stillborn=0.1,early=0.1"
NOISY = "noise=0.001,stderr=0.001,endless=0.001,endless_answer=0.001"
STUCK = "hang=0.001,deaf=0.001"
ALL = f"{HARMLESS},{DEADLY},{NOISY},{STUCK}"
ANY = (*LOST, "child-answer-unusable", "children-limit", "queue-full", "messages-waiting")
PING = "--ping-interval 2s"
SMALL_LINES = "--line-bytes-max 4MiB"

SCENARIOS = [
    # Alone: one server, one misbehaviour.
    Scenario("calm", "", seconds=3),
    Scenario("twice", "twice=0.2"),
    Scenario("unknown id", "unknown=0.2,respelled=0.2"),
    Scenario("another's id", "anothers=0.1"),
    Scenario("unasked", "unasked=0.1"),
    Scenario("noise", "noise=0.01"),
    Scenario("stderr", "stderr=0.005", flags="--log-level error"),
    Scenario("endless line", "endless=0.001", megabytes=100, flags=SMALL_LINES),
    Scenario("endless answer", "endless_answer=0.002", ("child-answer-unusable",), megabytes=100, flags=SMALL_LINES),
    Scenario("exit", "exit=0.005", LOST),
    Scenario("kill", "kill=0.005", LOST),
    Scenario("half an answer", "half=0.005", (*LOST, "child-answer-unusable")),
    Scenario("grandchildren", "family=0.02,orphaning=0.005", LOST),
    Scenario("slow handshake", "exit=0.002,slow=1", LOST),
    Scenario("stillborn", "exit=0.003,stillborn=0.5", LOST),
    Scenario("dead in the handshake", "exit=0.003,early=0.3", LOST),
    Scenario("refused handshake", "exit=0.003,refuse=0.3", LOST),
    Scenario("ignored requests", "ignore=0.02", ("request-timeout",), flags="--request-timeout 1s"),
    Scenario("hang until ping", "hang=0.002", LOST, flags=PING, seconds=8),
    Scenario("deaf until ping", "deaf=0.002", (*LOST, "queue-full"), flags=PING, seconds=8),
    # All at once.
    Scenario("one child", f"{HARMLESS},{DEADLY},noise=0.001", ANY, clients=16, seconds=10),
    Scenario("pool", f"{ALL},anothers=0.01", ANY, f"{POOL} {PING} {SMALL_LINES}", 24, 10, 120),
    # Replaced all the time, and nothing may be lost.
    Scenario("pool recycled", HARMLESS, flags=f"{POOL} --child-max-requests 40", clients=24, seconds=8, resident_mib_max=120),
    Scenario("pool aged", HARMLESS, flags=f"{POOL} --child-max-age 700ms", clients=24, seconds=8, resident_mib_max=120),
    Scenario("own children recycled", HARMLESS, flags=f"{PRIVATE} --child-max-requests 20"),
    Scenario("own children", ALL, (*ANY, "the server's own error"), f"{PRIVATE} {PING} {SMALL_LINES}", 12, 10, 120),
    Scenario("few own children", HARMLESS, ("children-limit",), "--isolation session --children-max 8", 8),
    # The end that gives no time.
    Scenario("one child killed", "family=0.1,exit=0.002,slow=0.3", LOST, seconds=3, kill=True),
    Scenario("pool killed", "family=0.1,exit=0.002,slow=0.3", LOST, POOL, seconds=3, kill=True),
    Scenario("own children killed", "family=0.1", LOST, PRIVATE, seconds=3, kill=True),
]
SHORT_SCALE = 0.7
SHORT = ["pool", "own children", "pool killed", "own children killed"]




class Trouble(Exception):
    """What ends a scenario early."""


async def run(scenario, seed, scale):
    """Runs one scenario; returns what was wrong, and its figures in one line."""
    book = Book(scenario.allowed, scenario.private)
    folder = tempfile.mkdtemp(prefix="mcp-mux-chaos-")
    mux = Mux([*COMMON_FLAGS, *scenario.flags.split()], server(scenario, seed, folder), folder)
    figures = ""
    try:
        figures = await drive(scenario, mux, book, random.Random(f"{scenario.name}/{seed}"), scale)
    except Trouble as trouble:
        book.violations.append(str(trouble))
    finally:
        mux.sweep()
    problems = book.violations + examine(folder)
    if problems:
        problems.append(f"its files are in {folder}; the end of its log:\n{mux.tail()}")
    else:
        mux.forget()
    return problems, figures


def server(scenario, seed, folder):
    command = [sys.executable, str(HERE / "child.py"), "--folder", folder, "--megabytes", str(scenario.megabytes)]
    command += ["--chaos", str(seed), "--rates", scenario.rates]
    return command + ["--private"] if scenario.private else command


async def drive(scenario, mux, book, chance, scale):
    await settled(mux)
    start, before = mux.resident(), (mux.descriptors(), mux.threads())
    clients = []
    for number in range(scenario.clients):
        # Some can be asked nothing, some one thing, some everything.
        able = [[], ["sampling"], ["elicitation"], ["roots"], list(QUESTIONS)][number % 5]
        kind = SseClient if number % 4 == 3 else StreamableClient
        clients.append(kind(mux.port, book, random.Random(chance.random()), able))
    until = time.monotonic() + scenario.seconds * scale
    lives = [asyncio.ensure_future(life.live(client, until)) for client in clients]
    stuck = StreamableClient(mux.port, book, chance)
    lives.append(asyncio.ensure_future(life.never_reads(stuck, scenario.seconds * scale / 2)))
    if scenario.kill:
        await kill(scenario, mux, book, lives, clients, until)
        return figures_of(book, start, start, start)
    await gather(lives, mux)
    Path(mux.folder, "calm").touch()
    await all_work(clients, book)
    end, peak = mux.resident(), mux.resident_peak()
    if peak > scenario.resident_mib_max * MIB:
        book.violation(f"resident memory of {peak // MIB} MiB, more than {scenario.resident_mib_max}")
    for client in clients:
        await client.leave()
    for client in [*clients, stuck]:
        await client.end()
    await back_to(mux, before, book)
    if (code := mux.stop()) != 0:
        book.violation(f"mcp-mux ended with {code} after SIGTERM" if code else "mcp-mux did not end after SIGTERM")
    left, _ = mux.gone_within(1)
    if left:
        book.violation(f"mcp-mux ended and left {len(left)} processes behind")
    return figures_of(book, start, peak, end)


async def gather(lives, mux):
    done, pending = await asyncio.wait(lives, timeout=RUN_DEADLINE)
    if mux.process.poll() is not None:
        raise Trouble(f"mcp-mux ended by itself with {mux.process.returncode}")
    if pending:
        raise Trouble(f"{len(pending)} clients did not come to an end")
    for task in done:
        task.result()


async def all_work(clients, book):
    """Now that the server behaves: every session that is open works, and every client can open one."""
    deadline = time.monotonic() + RECOVERY

    async def works(client):
        sessions = client.sessions + (not client.is_open)
        while time.monotonic() < deadline:
            if not client.is_open and not await life.begin(client):
                await asyncio.sleep(0.2)
            elif (await life.echo(client, ms=0)).succeeded():
                if client.sessions != sessions:
                    book.violation(f"{client} lost its session")
                return
            else:
                await asyncio.sleep(0.2)
        book.violation(f"{client} cannot work {RECOVERY:.0f} s after the server behaves again")

    await asyncio.gather(*(works(client) for client in clients))


async def kill(scenario, mux, book, lives, clients, until):
    """SIGKILL in the middle of it: no process is left within a while."""
    await asyncio.sleep(max(until - time.monotonic() - 0.5, 0))
    book.is_over = True
    book.counts["processes before"] = len(mux.left())
    mux.kill()
    for task in lives:
        task.cancel()
    await asyncio.gather(*lives, return_exceptions=True)
    for client in clients:
        await client.end()
    left, seconds = mux.gone_within(GONE)
    book.counts["ms until all were gone"] = int(seconds * 1000)
    if left:
        book.violations.append(f"{len(left)} processes are left {GONE:.0f} s after SIGKILL of mcp-mux")


async def settled(mux):
    """Waits until what starts by itself has started."""
    last, since = None, time.monotonic()
    while time.monotonic() - since < 0.4:
        now = (mux.descriptors(), mux.threads(), len(mux.left()))
        if now != last:
            last, since = now, time.monotonic()
        await asyncio.sleep(0.05)


async def back_to(mux, before, book):
    """Everybody is gone: so is what mcp-mux had for them."""
    deadline = time.monotonic() + SETTLE
    while time.monotonic() < deadline:
        now = (mux.descriptors(), mux.threads())
        if all(after <= earlier for after, earlier in zip(now, before, strict=True)):
            return
        await asyncio.sleep(0.1)
    book.violation(f"descriptors and threads were {before}, and are {now} after all clients have gone")


def figures_of(book, start, peak, end):
    counts, failures = dict(book.counts), dict(book.failures)
    requests, answers = counts.pop("requests", 0), counts.pop("answers", 0)
    resident = "→".join(f"{size / MIB:.1f}" for size in (start, peak, end))
    return f"{requests} requests, {answers} answers; failed {failures}; {counts}; resident MiB {resident}"


def examine(folder):
    """What the server and the log have to say."""
    problems = []
    noted = Path(folder, "violations")
    if noted.exists():
        problems += [f"the server: {line}" for line in noted.read_text().splitlines()[:5]]
    with open(Path(folder, "log"), "rb") as log:
        for line in log:
            # A server's log messages that belong to nobody are shown there, by design.
            if LOG_TROUBLE.search(line) and b"log message of the child" not in line:
                problems.append(f"the log: {line[:400].decode(errors='replace').strip()}")
    return problems[:20]


async def run_all(scenarios, seed, scale):
    passed = failed = 0
    for scenario in scenarios:
        began = time.monotonic()
        try:
            problems, figures = await run(scenario, seed, scale)
        except RuntimeError as error:
            problems, figures = [str(error)], ""
        failed += bool(problems)
        passed += not problems
        outcome = "FAILED" if problems else "ok    "
        print(f"{outcome} {scenario.name} ({time.monotonic() - began:.1f} s): {figures}", flush=True)
        for problem in problems[:12]:
            print(f"    {problem}", flush=True)
        if len(problems) > 12:
            print(f"    … and {len(problems) - 12} more", flush=True)
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("form", choices=["short", "long", "list"])
    parser.add_argument("minutes", type=float, nargs="?", default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="names of scenarios, separated by commas")
    parser.add_argument("--scale", type=float, default=1, help="how much longer each scenario takes")
    options = parser.parse_args()
    stop_as_ctrl_c_does()
    names = [name.strip() for name in options.only.split(",")] if options.only else None
    chosen = [scenario for scenario in SCENARIOS if names is None or scenario.name in names]
    if options.form == "list":
        for scenario in SCENARIOS:
            print(f"{scenario.name}: {scenario.rates or 'well-behaved'} {scenario.flags}")
        return 0
    if options.form == "short" and names is None:
        chosen, options.scale = [scenario for scenario in SCENARIOS if scenario.name in SHORT], SHORT_SCALE
    passed = failed = 0
    until, seed = time.monotonic() + 60 * options.minutes, options.seed
    while True:
        print(f"seed {seed}", flush=True)
        more_passed, more_failed = asyncio.run(run_all(chosen, seed, options.scale))
        passed, failed, seed = passed + more_passed, failed + more_failed, seed + 1
        if options.form == "short" or time.monotonic() >= until:
            break
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
