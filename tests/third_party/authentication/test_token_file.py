"""Tokens of --auth-token-file, as curl and the Python SDK present them, and what SIGHUP does to those who hold them."""

import os
import subprocess

import anyio
import httpx
import pytest

import login
import mux
import sdk
from login import bearer

pytestmark = pytest.mark.anyio
ANN, ANN_TOO, BOB = (f"{name}-0123456789abcdef0123456789abcdef" for name in ["ann", "ann-too", "bob"])
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture
def tokens(tmp_path):
    file = tmp_path / "tokens"
    file.touch(mode=0o600)
    file.write_text(f"# Who may enter\n\nann:{ANN}\nann:{ANN_TOO}\nbob:{BOB}\n")
    return file


@pytest.fixture
def server(tokens):
    with mux.running(mux.notes_server(), "--auth-token-file", str(tokens)) as running:
        yield running


@pytest.fixture
async def http():
    async with httpx.AsyncClient(timeout=sdk.DEADLINE) as client:
        yield client


async def status(http, server, token: str) -> int:
    return (await http.post(server.mcp_url, json=login.initialize(), headers=bearer(token))).status_code


async def test_each_of_two_users_of_the_sdk_has_sessions_of_their_own(server, transport, http):
    url = server.url(transport)
    async with (
        sdk.connect(url, transport, headers={"authorization": f"Bearer {ANN}"}) as hers,
        sdk.connect(url, transport, headers={"x-api-key": BOB}) as his,
    ):
        assert await hers.text("echo", value=1) == await his.text("echo", value=1)
        if transport == "http":
            theirs = bearer(BOB, hers.session_id())
            assert (await http.post(url, json=PING, headers=theirs)).status_code == 404
            another = bearer(ANN_TOO, hers.session_id())
            assert (await http.post(url, json=PING, headers=another)).status_code == 200


async def test_wrong_tokens_open_nothing(server, http):
    close = [ANN[:-1], ANN + "0", ANN.upper(), f"ann:{ANN}", "ann", "", " ", "#", "Who", ANN + "\t" + BOB]
    for token in close:
        # As curl sends it: httpx takes blanks away.
        words = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--data", "{}"]
        for header in [f"Authorization: Bearer {token}", f"X-API-Key: {token}"]:
            asked = [*words, "--header", header, server.mcp_url]
            done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False)
            assert done.stdout in ("400", "401"), (header, done.stdout)
    assert await status(http, server, ANN) == 200


async def test_a_token_that_is_taken_away_ends_what_it_opened_and_nothing_else(server, tokens, http):
    opened = [await http.post(server.mcp_url, json=login.initialize(), headers=bearer(token)) for token in (ANN, BOB)]
    hers, his = (response.headers["mcp-session-id"] for response in opened)
    async with sdk.connect(server.mcp_url, "http", headers={"authorization": f"Bearer {BOB}"}) as peer:
        async with http.stream("GET", server.mcp_url, headers=bearer(ANN, hers)) as stream:
            assert stream.status_code == 200
            tokens.write_text(f"bob:{BOB}\neve:{ANN_TOO}\n")
            server.reload()
            with anyio.fail_after(sdk.DEADLINE):
                # Its stream ends.
                async for _ in stream.aiter_raw():
                    pass
        assert await status(http, server, ANN) == 401
        assert (await http.post(server.mcp_url, json=PING, headers=bearer(ANN, hers))).status_code == 401
        # A token that has become somebody else's opens none of what it opened before.
        assert (await http.post(server.mcp_url, json=PING, headers=bearer(ANN_TOO, hers))).status_code == 404
        assert (await http.post(server.mcp_url, json=PING, headers=bearer(BOB, his))).status_code == 200
        assert await peer.text("echo", value=1) == '{"value":1}'


async def test_a_file_that_cannot_be_used_changes_nothing(server, tokens, http):
    for unusable in [b"no colon\n", b"\xff:\xff\n", b"bob:" + BOB.encode() + b"\neve:" + BOB.encode() + b"\n", None]:
        logged = len(server.log)
        if unusable is None:
            os.remove(tokens)
        else:
            tokens.write_bytes(unusable)
        server.reload()
        with anyio.fail_after(sdk.DEADLINE):
            while not any('"WARN"' in line for line in server.log[logged:]):
                await anyio.sleep(0.02)
        assert [await status(http, server, token) for token in (ANN, BOB)] == [200, 200], unusable
    assert not any(token in line for line in server.log for token in (ANN, BOB))
