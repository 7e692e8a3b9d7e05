"""mcp-mux as an OAuth 2.1 resource server: a standard OpenID provider, the official Python SDK that finds its way in.

Spec: 2025-11-25 basic/authorization; RFC 6750, 7591, 7636, 8414, 8707, 9068, 9728.
"""

import json
import time

import anyio
import httpx
import pytest
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

import login
import mux
import provider
import sdk
from login import Login, bearer

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def openid():
    with provider.running() as [one]:
        yield one


@pytest.fixture(autouse=True)
def ordinary(request):
    """Every test begins with an ordinary provider."""
    if "openid" in request.fixturenames:
        settings = {"accessTokenSeconds": 3600, "algorithm": "ES256", "claims": {}, "down": False}
        request.getfixturevalue("openid").set(**settings)


@pytest.fixture
async def http():
    async with httpx.AsyncClient(timeout=sdk.DEADLINE) as client:
        yield client


def flags(openid, port: int, *more: str) -> list[str]:
    base = f"http://127.0.0.1:{port}"
    audience = f"{base}/mcp,{base}/sse"
    asked = ["--port", str(port), "--jwt-issuer", openid.issuer, "--jwt-audience", audience]
    scope = [] if "--jwt-scope" in more else ["--jwt-scope", "mcp"]
    return [*asked, *scope, *more]


def protected(openid, *more: str, command=None, errors_expected=False):
    asked = flags(openid, mux.free_port(), *more)
    return mux.running(command or mux.notes_server(), *asked, errors_expected=errors_expected)


@pytest.fixture(scope="module")
def server(openid):
    with protected(openid) as running:
        yield running


def metadata_url(url: str) -> str:
    parsed = httpx.URL(url)
    return str(parsed.copy_with(path=f"/.well-known/oauth-protected-resource{parsed.path}"))


async def until_status(http, server, token: str, wanted: int) -> None:
    """Ask with `token` until the answer is `wanted`."""
    with anyio.fail_after(sdk.DEADLINE):
        while True:
            response = await http.post(server.mcp_url, json=login.initialize(), headers=bearer(token))
            if response.status_code == wanted:
                return
            # There is nothing to wait for but the clock: of the token, or between two looks at the provider's keys.
            await anyio.sleep(0.1)


# spec: 2025-11-25 basic/authorization, Protected Resource Metadata Discovery Requirements; RFC 9728, 3.3 and 5.1
async def test_the_challenge_leads_to_the_metadata_and_that_to_the_provider(server, openid, http, transport):
    url = server.url(transport)
    refused = await (http.post(url, json=login.initialize()) if transport == "http" else http.get(url))
    assert refused.status_code == 401
    challenge = refused.headers["www-authenticate"]
    assert challenge.startswith("Bearer ")
    # RFC 6750, 3.1: to a request without any credential no error is said.
    assert "error" not in challenge
    assert f'resource_metadata="{metadata_url(url)}"' in challenge
    metadata = (await http.get(metadata_url(url))).json()
    assert metadata["resource"] == url
    assert metadata["authorization_servers"] == [openid.issuer]
    assert metadata.get("bearer_methods_supported", ["header"]) == ["header"]
    assert metadata["scopes_supported"] == ["mcp"]


async def test_the_metadata_is_at_the_root_too(server, openid, http):
    found = await http.get(server.mcp_url.replace("/mcp", "/.well-known/oauth-protected-resource"))
    assert found.headers["content-type"].startswith("application/json")
    assert found.json()["authorization_servers"] == [openid.issuer]


async def test_the_challenge_to_a_message_leads_to_the_metadata_of_its_event_stream(server, http):
    # To a client of HTTP+SSE the server is its event stream: metadata of anything else it may refuse, as the SDKs do.
    refused = await http.post(server.sse_url.replace("/sse", "/messages?sessionId=none"), json=login.initialize())
    assert refused.status_code == 401
    assert f'resource_metadata="{metadata_url(server.sse_url)}"' in refused.headers["www-authenticate"]


async def test_a_client_that_knows_the_url_alone_finds_its_way_in(server, openid, transport):
    url = server.url(transport)
    ann = Login(url, "ann")
    async with sdk.connect(url, transport, **ann.options()) as peer:
        assert "echo" in [tool.name for tool in (await peer.session.list_tools()).tools]
        assert await peer.text("echo", value=1) == '{"value":1}'
    way = ann.exchanges[:6]
    first = ("POST" if transport == "http" else "GET", url)
    assert way[0] == (*first, 401)
    assert way[1] == ("GET", metadata_url(url), 200)
    assert way[2] == ("GET", f"{openid.issuer}/.well-known/oauth-authorization-server", 200)
    assert way[3] == ("POST", f"{openid.issuer}/register", 201)
    assert way[4] == ("POST", f"{openid.issuer}/token", 200)
    assert way[5] == (*first, 200)
    # PKCE and the resource indicator.
    [asked] = ann.authorizations
    assert (asked["code_challenge_method"], asked["resource"], asked["scope"]) == ("S256", url, "mcp")
    said = login.claims(ann.token)
    assert (said["sub"], said["aud"], said["scope"]) == ("ann", url, "mcp")


async def test_every_signature_algorithm_of_the_provider_is_understood(server, openid, http):
    for algorithm in ["ES256", "RS256"]:
        openid.set(algorithm=algorithm)
        headers = bearer(openid.token("ann", server.mcp_url))
        assert (await http.post(server.mcp_url, json=login.initialize(), headers=headers)).status_code == 200, algorithm


async def test_a_client_that_acts_for_itself_gets_in_as_itself(server, openid, http):
    headers = bearer(openid.machine_token(server.mcp_url))
    assert (await http.post(server.mcp_url, json=login.initialize(), headers=headers)).status_code == 200


async def test_when_a_token_has_expired_the_session_goes_on_with_the_next(openid, http):
    # The SDK asks for another by its own clock, which is up to a second later than the token's: hence the leeway.
    with protected(openid, "--jwt-leeway", "1s") as server:
        openid.set(accessTokenSeconds=2)
        ann = Login(server.mcp_url, "ann")
        refreshed = openid.count("grant refresh_token")
        async with sdk.connect(server.mcp_url, "http", **ann.options()) as peer:
            session_id, first = peer.session_id(), ann.token
            await peer.session.subscribe_resource(sdk.uri("note:///watched"))
            openid.set(accessTokenSeconds=3600)
            await until_status(http, server, first, 401)
            said = (await http.post(server.mcp_url, json=login.initialize(), headers=bearer(first))).headers
            assert 'error="invalid_token"' in said["www-authenticate"]
            assert await peer.text("echo", value=1) == '{"value":1}'
            assert peer.session_id() == session_id
            assert ann.token != first and len(ann.authorizations) == 1
            assert openid.count("grant refresh_token") > refreshed
            await peer.text("touch", uri="note:///watched")
            await peer.until(lambda: peer.updates() == ["note:///watched"], "an update")


async def test_no_stream_goes_on_without_a_good_token_and_the_session_waits_for_the_next(openid, http):
    with protected(openid, "--jwt-leeway", "0") as server:
        openid.set(accessTokenSeconds=2)
        token, for_events = openid.token("ann", server.mcp_url), openid.token("ann", server.sse_url)
        opened = await http.post(server.mcp_url, json=login.initialize(), headers=bearer(token))
        session_id = opened.headers["mcp-session-id"]

        async def to_its_end(url, headers):
            async with http.stream("GET", url, headers=headers) as stream:
                assert stream.status_code == 200
                async for _ in stream.aiter_raw():
                    pass

        with anyio.fail_after(sdk.DEADLINE):
            async with anyio.create_task_group() as streams:
                streams.start_soon(to_its_end, server.mcp_url, bearer(token, session_id))
                streams.start_soon(to_its_end, server.sse_url, bearer(for_events))
        openid.set(accessTokenSeconds=3600)
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        again = bearer(openid.token("ann", server.mcp_url), session_id)
        assert (await http.post(server.mcp_url, json=ping, headers=again)).status_code == 200


# spec: 2025-11-25 basic/authorization, Scope Challenge Handling; RFC 6750, 3.1
async def test_a_client_with_too_few_scopes_is_told_which_it_needs_and_comes_back_with_them(openid, http):
    with protected(openid, "--jwt-scope", "mcp mcp:write") as server:
        client = openid.register()
        got = openid.log_in("ann", server.mcp_url, "mcp", client)
        refused = await http.post(server.mcp_url, json=login.initialize(), headers=bearer(got["access_token"]))
        assert refused.status_code == 403
        challenge = refused.headers["www-authenticate"]
        assert 'error="insufficient_scope"' in challenge and 'scope="mcp mcp:write"' in challenge
        assert f'resource_metadata="{metadata_url(server.mcp_url)}"' in challenge
        tokens = OAuthToken(access_token=got["access_token"], scope="mcp", expires_in=3600)
        ann = Login(server.mcp_url, "ann", login.Storage(tokens, OAuthClientInformationFull(**client)))
        async with sdk.connect(server.mcp_url, "http", **ann.options()) as peer:
            assert await peer.text("echo", value=1) == '{"value":1}'
        assert ann.exchanges[0] == ("POST", server.mcp_url, 403)
        assert [asked["scope"] for asked in ann.authorizations] == ["mcp mcp:write"]
        assert login.claims(ann.token)["scope"] == "mcp mcp:write"


async def test_sessions_go_on_while_the_provider_changes_its_keys(openid, http):
    with protected(openid) as server:
        logins = {transport: Login(server.url(transport), "ann") for transport in sdk.TRANSPORTS}
        async with (
            sdk.connect(server.mcp_url, "http", **logins["http"].options()) as one,
            sdk.connect(server.sse_url, "sse", **logins["sse"].options()) as other,
        ):
            sessions = [one.session_id(), other.session_id()]
            first = [logins[transport].token for transport in sdk.TRANSPORTS]
            fetched = openid.count("GET /keys")
            openid.rotate()
            # What is signed with the new key is good as soon as mcp-mux has looked; what the old one signed still is.
            second = openid.token("bob", server.mcp_url)
            await until_status(http, server, second, 200)
            for peer in [one, other]:
                assert await peer.text("echo", value=1) == '{"value":1}'
            for transport in sdk.TRANSPORTS:
                url = server.url(transport)
                async with sdk.connect(url, transport, **Login(url, "bob").options()) as peer:
                    assert await peer.text("echo", value=2) == '{"value":2}'
            # The old key is gone when mcp-mux looks next: another new key makes it.
            openid.drop()
            openid.rotate()
            await until_status(http, server, openid.token("bob", server.mcp_url), 200)
            for token in first:
                await until_status(http, server, token, 401)
            await until_status(http, server, second, 200)
            # The keys were asked for when they were needed, and not for every request: once for each new key, and for each token
            # whose key is there no more, since it could be a newer one.
            assert 2 <= openid.count("GET /keys") - fetched <= 2 + len(first)
            # The clients' tokens are none any more; they get others and go on in the same sessions.
            for peer in [one, other]:
                assert await peer.text("echo", value=3) == '{"value":3}'
            assert [one.session_id(), other.session_id()] == sessions
            assert all(logins[transport].token not in first for transport in sdk.TRANSPORTS)


async def test_no_flood_of_unknown_keys_makes_mcp_mux_flood_the_provider(server, openid, http):
    await until_status(http, server, openid.token("ann", server.mcp_url), 200)
    fetched = openid.count("GET /keys")
    before = time.monotonic()
    for number in range(50):
        token = openid.sign({"iss": openid.issuer}, kid=f"no-such-key-{number}")
        assert (await http.post(server.mcp_url, json=login.initialize(), headers=bearer(token))).status_code == 401
    # One at the most for every second that this took, and one for the first.
    assert openid.count("GET /keys") - fetched <= 1 + (time.monotonic() - before)


async def test_the_provider_is_needed_for_its_keys_alone(openid, http):
    openid.set(down=True)
    with protected(openid) as server:
        token_url = server.mcp_url
        openid.set(down=False)
        token = openid.token("ann", token_url)
        openid.set(down=True)
        # Nobody can say yet what the token is worth: that is not the client's fault.
        response = await http.post(server.mcp_url, json=login.initialize(), headers=bearer(token))
        assert response.status_code == 503 and "retry-after" in response.headers
        openid.set(down=False)
        await until_status(http, server, token, 200)
        another = openid.token("bob", token_url)
        openid.set(down=True)
        await until_status(http, server, another, 200)


async def test_what_belongs_to_one_user_does_not_exist_for_another(server, openid, http):
    ann, bob = (openid.token(user, server.mcp_url) for user in ["ann", "bob"])
    opened = await http.post(server.mcp_url, json=login.initialize(), headers=bearer(ann))
    session_id = opened.headers["mcp-session-id"]
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    unknown = "00000000-0000-4000-8000-000000000000"
    for method in ["POST", "GET", "DELETE"]:
        body = ping if method == "POST" else None
        theirs = await http.request(method, server.mcp_url, json=body, headers=bearer(bob, session_id))
        none = await http.request(method, server.mcp_url, json=body, headers=bearer(bob, unknown))
        # Not even that it is somebody's can be told.
        assert theirs.status_code == none.status_code == 404, method
        assert theirs.content == none.content, method
    replay = {**bearer(bob, session_id), "last-event-id": "0-0"}
    assert (await http.get(server.mcp_url, headers=replay)).status_code == 404
    # It is unharmed, and another token of the same user is as good as the first.
    again = bearer(openid.token("ann", server.mcp_url), session_id)
    assert (await http.post(server.mcp_url, json=ping, headers=again)).json() == {"jsonrpc": "2.0", "id": 1, "result": {}}


async def test_nobody_posts_to_the_event_stream_of_another(server, openid, http):
    ann, bob = (openid.token(user, server.sse_url) for user in ["ann", "bob"])
    async with http.stream("GET", server.sse_url, headers=bearer(ann)) as stream:
        assert stream.status_code == 200
        # Kept: the stream would end with it.
        lines = stream.aiter_lines()
        async for line in lines:
            if line.startswith("data: "):
                messages = httpx.URL(server.sse_url).join(line.removeprefix("data: "))
                break
        body = login.initialize()
        assert (await http.post(messages, json=body, headers=bearer(bob))).status_code == 404
        assert (await http.post(messages, json=body, headers=login.HEADERS)).status_code == 401
        assert (await http.post(messages, json=body, headers=bearer(ann))).status_code == 202


async def test_the_sessions_of_two_users_are_apart_in_the_sdk_too(server, transport):
    url = server.url(transport)
    ann, bob = Login(url, "ann"), Login(url, "bob")
    async with (
        sdk.connect(url, transport, **ann.options()) as hers,
        sdk.connect(url, transport, **bob.options()) as his,
    ):
        assert hers.session_id() != his.session_id()
        await hers.session.subscribe_resource(sdk.uri("note:///hers"))
        await his.session.subscribe_resource(sdk.uri("note:///his"))
        await hers.text("touch", uri="note:///his")
        await his.text("touch", uri="note:///hers")
        await hers.until(hers.updates, "an update")
        await his.until(his.updates, "an update")
        assert (hers.updates(), his.updates()) == (["note:///hers"], ["note:///his"])


async def test_keys_of_a_file_are_read_again_on_sighup(openid, http, tmp_path):
    def publish():
        public = [{name: key[name] for name in key if name not in PRIVATE} for key in openid.keys()]
        keys.write_text(json.dumps({"keys": public}))

    keys = tmp_path / "keys.json"
    openid.drop()
    publish()
    with protected(openid, "--jwks-file", str(keys)) as server:
        asked = openid.count("GET /keys") + openid.count("GET /.well-known/openid-configuration")
        first = openid.token("ann", server.mcp_url)
        await until_status(http, server, first, 200)
        openid.rotate()
        openid.drop()
        second = openid.token("ann", server.mcp_url)
        refused = await http.post(server.mcp_url, json=login.initialize(), headers=bearer(second))
        assert refused.status_code == 401
        publish()
        server.reload()
        await until_status(http, server, second, 200)
        await until_status(http, server, first, 401)
        # The provider itself was never asked.
        assert openid.count("GET /keys") + openid.count("GET /.well-known/openid-configuration") == asked


PRIVATE = {"d", "p", "q", "dp", "dq", "qi"}


@pytest.fixture
def rules(tmp_path):
    file = tmp_path / "mux.json"
    everything = {"tools": {"allow": ["*"]}}
    readers = {"tools": {"allow": ["echo", "list_*"], "deny": ["list_secrets"]}, "prompts": {"allow": []}}
    file.write_text(json.dumps({"principals": {"jwt:ann": everything, "jwt:*": readers}}))
    return file


async def test_each_user_has_the_tools_that_the_configuration_gives_them(openid, transport, tmp_path, rules):
    record = tmp_path / "record"
    command = mux.recorded(mux.notes_server(), record)
    with protected(openid, "--config", str(rules), command=command) as server:
        url = server.url(transport)
        async with (
            sdk.connect(url, transport, **Login(url, "ann").options()) as hers,
            sdk.connect(url, transport, **Login(url, "bob").options()) as his,
        ):
            assert {"echo", "list_notes", "whoami"} <= await tools(hers)
            assert await tools(his) == {"echo", "list_notes"}
            assert (await his.session.list_prompts()).prompts == []
            assert await his.text("echo", value=1) == '{"value":1}'
            assert not (await hers.session.call_tool("environment", {"name": "not-his"})).isError
            await sdk.error_of(his.session.call_tool("environment", {"name": "his"}))
            # Not even that there is such a tool can be told.
            denied = await sdk.error_of(his.session.call_tool("whoami", {}))
            missing = await sdk.error_of(his.session.call_tool("nosuch", {}))
            assert denied.code == missing.code
            assert denied.message.replace("whoami", "…") == missing.message.replace("nosuch", "…")
            await sdk.error_of(his.session.get_prompt("summarize_note", {"title": "Welcome"}))
        seen = record.read_text()
        assert '"not-his"' in seen and '"his"' not in seen and "nosuch" not in seen and "prompts/get" not in seen


async def test_what_a_user_may_call_is_read_again_on_sighup(openid, rules):
    with protected(openid, "--config", str(rules)) as server:
        url = server.mcp_url
        bob = Login(url, "bob")
        async with sdk.connect(url, "http", **bob.options()) as his:
            assert await his.text("echo", value=1) == '{"value":1}'
            rules.write_text(json.dumps({"principals": {"jwt:bob": {"tools": {"allow": ["touch"]}}}}))
            server.reload()
            with anyio.fail_after(sdk.DEADLINE):
                while await allowed(bob) != {"touch"}:
                    await anyio.sleep(0.05)
            # No session goes on with what was allowed before.
            await sdk.error_of(his.session.call_tool("echo", {"value": 2}))


async def allowed(login: Login) -> set[str]:
    """What a new session of the same client can see."""
    async with sdk.connect(login.url, "http", **login.options()) as peer:
        return await tools(peer)


async def tools(peer) -> set[str]:
    return {tool.name for tool in (await peer.session.list_tools()).tools}


async def test_a_token_itself_may_say_what_its_user_may_call(openid):
    openid.set(claims={"cid": {"mcp_mux": {"tools": {"allow": ["echo"]}}}})
    with protected(openid) as server:
        url = server.mcp_url
        async with (
            sdk.connect(url, "http", **Login(url, "cid").options()) as his,
            sdk.connect(url, "http", **Login(url, "ann").options()) as hers,
        ):
            assert await tools(his) == {"echo"}
            await sdk.error_of(his.session.call_tool("whoami", {}))
            assert len(await tools(hers)) > 10
