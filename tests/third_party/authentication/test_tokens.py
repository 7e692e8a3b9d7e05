"""Tokens that must open nothing: of a real provider but for something else, and forged with what an attacker has.

Each is presented to a running session, to a new one and to the event stream; nothing of it may reach the child. Spec:
2025-11-25 basic/authorization, Token Handling; RFC 6750, 2 and 3; RFC 8725; RFC 9068, 4.
"""

import base64
import hashlib
import hmac
import json
import time

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

import login
import mux
import provider
import sdk
from login import bearer


class World:
    """A provider that mcp-mux believes, one that it does not, and what mcp-mux's child has been told."""

    def __init__(self, believed, other, server, record):
        self.believed, self.other, self.server, self.record = believed, other, server, record
        self.http = httpx.Client(timeout=sdk.DEADLINE)
        self.good = believed.token("ann", server.mcp_url)

    def open(self) -> str:
        """A session of whom the good token is for."""
        opened = self.post(self.good, login.initialize())
        assert opened.status_code == 200, opened.text
        return opened.headers["mcp-session-id"]

    def post(self, token: str, message, session_id=None) -> httpx.Response:
        return self.http.post(self.server.mcp_url, json=message, headers=bearer(token, session_id))

    def get(self, url: str, headers) -> httpx.Response:
        """As far as it goes: an event stream would have no end."""
        with self.http.stream("GET", url, headers=headers) as response:
            if response.status_code != 200:
                response.read()
            return response

    def claims(self, **other) -> dict:
        """Those of a good token; without those that `other` gives as None."""
        now = int(time.time())
        good = {**login.claims(self.good), "iat": now, "exp": now + 600}
        return {name: value for name, value in {**good, **other}.items() if value is not None}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    record = tmp_path_factory.mktemp("tokens") / "record"
    with provider.running(2) as (believed, other):
        port = mux.free_port()
        flags = ["--port", str(port), "--jwt-issuer", believed.issuer]
        flags += ["--jwt-audience", f"http://127.0.0.1:{port}/mcp", "--jwt-scope", "mcp"]
        with mux.running(mux.recorded(mux.notes_server(), record), *flags) as server:
            yield World(believed, other, server, record)


# --- Of a provider, and for something else ----------------------------------------------------------------------------

def for_another_server(world):
    return world.believed.token("ann", "https://mcp.example.com/mcp")


def for_another_path(world):
    return world.believed.token("ann", world.server.mcp_url + "/more")


def for_the_whole_host(world):
    return world.believed.token("ann", world.server.mcp_url.removesuffix("/mcp"))


def for_several_others(world):
    return world.believed.sign(world.claims(aud=["https://mcp.example.com/mcp", world.server.mcp_url.upper()]))


def for_nobody(world):
    return world.believed.sign(world.claims(aud=None))


def of_another_provider(world):
    return world.other.token("ann", world.server.mcp_url)


def of_another_provider_that_says_it_is_this_one(world):
    # Keys are named alike by both.
    return world.other.sign(world.claims())


def of_this_provider_for_another(world):
    return world.believed.sign(world.claims(iss=world.other.issuer))


def of_no_provider(world):
    return world.believed.sign(world.claims(iss=None))


def of_a_provider_with_a_slash(world):
    return world.believed.sign(world.claims(iss=world.believed.issuer + "/"))


def an_id_token(world):
    return world.believed.log_in("ann", world.server.mcp_url, "openid mcp")["id_token"]


def a_refresh_token(world):
    return world.believed.log_in("ann", world.server.mcp_url)["refresh_token"]


def expired(world):
    return world.believed.sign(world.claims(exp=int(time.time()) - 120))


def expired_long_ago(world):
    return world.believed.sign(world.claims(exp=-1))


def without_an_end(world):
    return world.believed.sign(world.claims(exp=None))


def with_an_end_that_is_no_number(world):
    # PyJWT itself makes none like that.
    key = world.believed.key("ES256")
    head = {"alg": "ES256", "kid": key["kid"], "typ": "at+jwt"}
    said = {**world.claims(), "exp": str(int(time.time()) + 600)}
    return signed(jwt.PyJWK(key).key, head, said)


def from_the_future(world):
    return world.believed.sign(world.claims(nbf=int(time.time()) + 600))


# --- Forged -----------------------------------------------------------------------------------------------------------

def encoded(data) -> str:
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(part: str):
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def signed(key, head, said) -> str:
    """With a P-256 key, whatever the head says."""
    message = f"{encoded(head)}.{encoded(said)}"
    return f"{message}.{encoded(jwt.get_algorithm_by_name('ES256').sign(message.encode(), key))}"


def changed_claims(world):
    head, said, signature = world.good.split(".")
    return ".".join([head, encoded({**decoded(said), "sub": "bob"}), signature])


def changed_head(world):
    head, said, signature = world.good.split(".")
    return ".".join([encoded({**decoded(head), "x": 1}), said, signature])


def changed_signature(world):
    head, said, signature = world.good.split(".")
    return ".".join([head, said, ("A" if signature[0] != "A" else "B") + signature[1:]])


def the_signature_of_another_token(world):
    head, said, _ = world.good.split(".")
    return ".".join([head, said, world.believed.token("bob", world.server.mcp_url).split(".")[2]])


def without_a_signature(world):
    return world.good.rpartition(".")[0] + "."


def a_signature_of_zeros(world):
    # CVE-2022-21449.
    return world.good.rpartition(".")[0] + "." + encoded(bytes(64))


def a_signature_in_der(world):
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    head, said, signature = world.good.split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    whole = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    return ".".join([head, said, encoded(whole)])


def algorithm(name, keep_signature=False):
    def forged(world):
        _, said, signature = world.good.split(".")
        head = {"alg": name, "typ": "at+jwt", "kid": world.believed.key("ES256")["kid"]}
        return ".".join([encoded(head), said, signature if keep_signature else ""])

    forged.__name__ = f"algorithm_{name!r}{'_with_a_signature' if keep_signature else ''}"
    return forged


def shared_secret(of, how, hashed="HS256"):
    """HMAC with the public key as the secret: what a library falls for that lets the token choose."""

    def forged(world):
        key = world.believed.key(of)
        public = jwt.PyJWK(key).key.public_key()
        published = {name: key[name] for name in key if name in ("kty", "crv", "x", "y", "n", "e", "kid", "alg", "use")}
        info = serialization.PublicFormat.SubjectPublicKeyInfo
        secret = {
            "pem": public.public_bytes(serialization.Encoding.PEM, info),
            "pem_without_its_end": public.public_bytes(serialization.Encoding.PEM, info).rstrip(),
            "der": public.public_bytes(serialization.Encoding.DER, info),
            "jwk": json.dumps(published, separators=(",", ":")).encode(),
            "empty": b"",
        }[how]
        message = f"{encoded({'alg': hashed, 'typ': 'at+jwt', 'kid': key['kid']})}.{encoded(world.claims())}"
        return f"{message}.{encoded(hmac.digest(secret, message.encode(), hashlib.sha256))}"

    forged.__name__ = f"{hashed}_with_the_public_{of}_key_as_{how}"
    return forged


def attackers_key(how):
    """Signed with a key of the attacker's, which the head brings along or points at."""

    def forged(world):
        key = ec.generate_private_key(ec.SECP256R1())
        public = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(key.public_key()))
        head = {"alg": "ES256", "typ": "at+jwt"}
        head |= {
            "jwk": {"jwk": {**public, "kid": "mine"}, "kid": "mine"},
            "jku": {"jku": f"{world.other.issuer}/keys", "kid": world.other.key("ES256")["kid"]},
            "x5u": {"x5u": f"{world.other.issuer}/keys", "kid": "mine"},
            "kid": {"kid": world.believed.key("ES256")["kid"]},
            "no kid": {},
            "path": {"kid": "../../../../dev/null"},
        }[how]
        key = jwt.PyJWK(world.other.key("ES256")).key if how == "jku" else key
        return signed(key, head, world.claims())

    forged.__name__ = f"attackers_key_by_{how}"
    return forged


def for_the_key_of_another_algorithm(world):
    key = world.believed.key("RS256")
    return jwt.encode(world.claims(), jwt.PyJWK(key).key, "RS256", {"kid": world.believed.key("ES256")["kid"]})


def signed_with_an_algorithm_that_the_key_is_not_for(world):
    # The key is published for RS256 alone.
    key = world.believed.key("RS256")
    return jwt.encode(world.claims(), jwt.PyJWK(key).key, "PS256", {"kid": key["kid"]})


def with_a_critical_extension(world):
    # RFC 7515, 4.1.11: who does not understand it must reject the token.
    return world.believed.sign(world.claims(), crit=["exp-of-mine"], **{"exp-of-mine": 1})


def whose_last_word_is_another_issuer(world):
    # RFC 7519, 4: what is said twice is refused, or the last counts.
    key = world.believed.key("ES256")
    said = json.dumps(world.claims())[:-1] + f', "iss": "{world.other.issuer}"}}'
    return signed(jwt.PyJWK(key).key, {"alg": "ES256", "kid": key["kid"]}, said.encode())


def no_jwt(world):
    return "0123456789abcdef"


def nothing_between_dots(world):
    return ".."


def five_parts(world):
    return world.good + ".a.b"


def very_long(world):
    return "A" * 8_000


BAD = [
    for_another_server,
    for_another_path,
    for_the_whole_host,
    for_several_others,
    for_nobody,
    of_another_provider,
    of_another_provider_that_says_it_is_this_one,
    of_this_provider_for_another,
    of_no_provider,
    of_a_provider_with_a_slash,
    an_id_token,
    a_refresh_token,
    expired,
    expired_long_ago,
    without_an_end,
    with_an_end_that_is_no_number,
    from_the_future,
    changed_claims,
    changed_head,
    changed_signature,
    the_signature_of_another_token,
    without_a_signature,
    a_signature_of_zeros,
    a_signature_in_der,
    *(algorithm(name, keep) for name in ["none", "None", "NONE", "nOnE", "", "ES256K"] for keep in [False, True]),
    *(shared_secret(of, how) for of in ["ES256", "RS256"] for how in ["pem", "pem_without_its_end", "der", "jwk"]),
    shared_secret("ES256", "empty"),
    *(attackers_key(how) for how in ["jwk", "jku", "x5u", "kid", "no kid", "path"]),
    for_the_key_of_another_algorithm,
    signed_with_an_algorithm_that_the_key_is_not_for,
    with_a_critical_extension,
    whose_last_word_is_another_issuer,
    no_jwt,
    nothing_between_dots,
    five_parts,
    very_long,
]


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_it_opens_nothing_and_nothing_reaches_the_child(world, make):
    token, session_id = make(world), world.open()
    mark = sdk.marker("unwanted")
    call = login.call("echo", value=mark)
    asked_elsewhere = world.other.count("GET /keys")
    challenged = [
        world.post(token, call, session_id),
        world.post(token, login.initialize(mark)),
        world.get(world.server.mcp_url, bearer(token, session_id)),
        world.http.delete(world.server.mcp_url, headers=bearer(token, session_id)),
        world.get(world.server.sse_url, {"authorization": f"Bearer {token}"}),
    ]
    for response in challenged:
        assert response.status_code == 401, response.request
        challenge = response.headers["www-authenticate"]
        assert 'error="invalid_token"' in challenge and "resource_metadata=" in challenge
        # Nothing of the token is told back.
        assert "mcp-session-id" not in response.headers
        assert len(token) < 10 or token[:50] not in response.text
    # The one whose session it is goes on; and what it says comes after all that would have come of the above.
    mine = sdk.marker("wanted")
    assert world.post(world.good, login.call("echo", value=mine), session_id).status_code == 200
    seen = world.record.read_text()
    assert mine in seen and mark not in seen
    # Nobody makes mcp-mux fetch what a token points at.
    assert world.other.count("GET /keys") == asked_elsewhere
    assert len(token) < 10 or not any(token in line for line in world.server.log)


def test_each_of_these_would_have_been_good_otherwise(world):
    session_id = world.open()
    for claims in [
        world.claims(),
        world.claims(aud=["https://mcp.example.com/mcp", world.server.mcp_url]),
        world.claims(nbf=int(time.time()) - 600),
    ]:
        for algorithm_name in ["ES256", "RS256"]:
            token = world.believed.sign(claims, algorithm_name)
            assert world.post(token, login.call("echo", value=1), session_id).status_code == 200, claims


# spec: 2025-11-25 basic/authorization, Token Requirements 1 and 2
@pytest.mark.parametrize(
    "headers, query",
    [
        ([], "?access_token={token}"),
        ([("cookie", "access_token={token}")], ""),
        ([("authorization", "Basic {token}")], ""),
        ([("authorization", "{token}")], ""),
        ([("authorization", "Bearer")], ""),
        ([("authorization", "Bearer {token} {token}")], ""),
        ([("authorization", "Bearer {token}, Bearer {token}")], ""),
        ([("authorization", "Bearer {token}"), ("authorization", "Bearer {token}")], ""),
        ([("authorization", "Bearer {token}"), ("authorization", "Bearer bad")], ""),
        ([("x-api-key", "{token} {token}")], ""),
    ],
)
def test_a_good_token_has_to_come_in_the_one_way_that_there_is(world, headers, query):
    mark = sdk.marker("unwanted")
    given = [*login.HEADERS.items(), ("mcp-session-id", world.open())]
    given += [(name, value.format(token=world.good)) for name, value in headers]
    url = world.server.mcp_url + query.format(token=world.good)
    response = world.http.post(url, json=login.call("echo", value=mark), headers=given)
    assert response.status_code in (400, 401)
    if response.status_code == 401:
        assert response.headers["www-authenticate"].startswith("Bearer ")
    assert mark not in world.record.read_text()


def test_the_name_of_the_scheme_is_of_any_case(world):
    # RFC 9110, 11.1.
    session_id = world.open()
    for scheme in ["bearer", "BEARER", "bEaReR"]:
        headers = {**bearer(world.good, session_id), "authorization": f"{scheme} {world.good}"}
        response = world.http.post(world.server.mcp_url, json=login.call("echo", value=1), headers=headers)
        assert response.status_code == 200, scheme
