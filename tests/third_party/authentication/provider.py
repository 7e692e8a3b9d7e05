"""The OpenID providers of js/provider.mjs, and the ways to a token of theirs that no SDK is needed for."""

import base64
import hashlib
import json
import secrets
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import jwt

import mux

START_DEADLINE = 30.0
STOP_DEADLINE = 10.0
# Nobody listens there: the code is taken from the redirection itself.
REDIRECT_URI = "http://127.0.0.1:9/callback"
# There is no TLS here: that spares reading everybody's authorities, which takes longer than the request.
HTTP = httpx.Client(verify=False)


@dataclass
class Provider:
    """One provider: its name, and where it is told what to do (see js/provider.mjs)."""

    issuer: str
    control: str

    def rotate(self) -> None:
        """Sign with new keys from now on, and go on publishing the old ones."""
        HTTP.post(f"{self.control}/rotate").raise_for_status()

    def drop(self) -> None:
        """Publish the newest keys alone."""
        HTTP.post(f"{self.control}/drop").raise_for_status()

    def set(self, **settings: Any) -> None:
        HTTP.post(f"{self.control}/settings", json=settings).raise_for_status()

    def count(self, what: str) -> int:
        """How often a path was asked for (`GET /keys`), or a grant given (`grant refresh_token`)."""
        return HTTP.get(f"{self.control}/counts").json().get(what, 0)

    def keys(self) -> list[dict[str, Any]]:
        """The private keys, the newest first: a test may sign what the provider never would."""
        return HTTP.get(f"{self.control}/keys").json()

    def key(self, algorithm: str) -> dict[str, Any]:
        return next(key for key in self.keys() if key["alg"] == algorithm)

    def sign(self, claims: dict[str, Any], algorithm: str = "ES256", **header: Any) -> str:
        """A token that the provider's key has signed, whatever it says."""
        key = self.key(algorithm)
        return jwt.encode(claims, jwt.PyJWK(key).key, algorithm, {"kid": key["kid"], "typ": "at+jwt", **header})

    def register(self, **metadata: Any) -> dict[str, Any]:
        """Dynamic client registration (RFC 7591)."""
        asked = {"redirect_uris": [REDIRECT_URI], "grant_types": ["authorization_code", "refresh_token"], **metadata}
        response = HTTP.post(f"{self.issuer}/register", json=asked)
        assert response.status_code == 201, response.text
        return response.json()

    def log_in(self, user: str, resource: str, scope: str = "mcp", client: dict | None = None) -> dict[str, Any]:
        """What the token endpoint gives a client that went the whole way for a user: authorization code and PKCE."""
        client = client or self.register()
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": client["client_id"],
            "redirect_uri": REDIRECT_URI,
            "scope": scope,
            "resource": resource,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        answer = visit(str(httpx.URL(f"{self.issuer}/authorize", params=asked)), user)
        return self._token(
            client,
            grant_type="authorization_code",
            code=answer["code"],
            code_verifier=verifier,
            redirect_uri=REDIRECT_URI,
            resource=resource,
        )

    def token(self, user: str, resource: str, scope: str = "mcp") -> str:
        return self.log_in(user, resource, scope)["access_token"]

    def machine_token(self, resource: str, scope: str = "mcp") -> str:
        """A client's own token: it acts for no user."""
        client = self.register(grant_types=["client_credentials"], response_types=[], redirect_uris=[])
        return self._token(client, grant_type="client_credentials", resource=resource, scope=scope)["access_token"]

    def _token(self, client: dict[str, Any], **form: str) -> dict[str, Any]:
        response = HTTP.post(f"{self.issuer}/token", data=form, auth=(client["client_id"], client["client_secret"]))
        assert response.status_code == 200, response.text
        return response.json()


def visit(url: str, user: str) -> httpx.QueryParams:
    """Go where a browser would, as `user`; the parameters with which the provider comes back to REDIRECT_URI."""
    next_url = httpx.URL(url).copy_merge_params({"login_hint": user})
    with httpx.Client(verify=False) as browser:
        for _ in range(10):
            response = browser.get(next_url)
            assert response.is_redirect, f"{next_url}: {response.status_code} {response.text}"
            next_url = response.next_request.url
            if str(next_url).startswith(REDIRECT_URI):
                return next_url.params
    raise AssertionError(f"{url}: too many redirections")


@contextmanager
def running(count: int = 1):
    """So many providers, in one process."""
    process = subprocess.Popen(
        [mux.node(), str(mux.HERE / "js/provider.mjs"), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    # Without a line in time it is killed, which ends the wait for the line.
    too_late = threading.Timer(START_DEADLINE, process.kill)
    too_late.start()
    line = process.stdout.readline()
    too_late.cancel()
    try:
        yield [Provider(**one) for one in json.loads(line)]
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
