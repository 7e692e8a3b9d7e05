"""The official Python SDK's OAuth client, with a user whose browser is `provider.visit`; how to ask without any SDK."""

from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

import provider

HEADERS = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
REVISION = "2025-11-25"


@dataclass
class Storage(TokenStorage):
    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@dataclass
class Login:
    """How one user gets in. `options()` are for `sdk.connect`; the rest is what was seen on the way."""

    url: str
    user: str
    storage: Storage = field(default_factory=Storage)
    # Every authorization request, in order.
    authorizations: list[httpx.QueryParams] = field(default_factory=list)
    # Every HTTP exchange, of MCP and of OAuth: method, URL without query, status.
    exchanges: list[tuple[str, str, int]] = field(default_factory=list)
    _answer: httpx.QueryParams | None = None

    def options(self) -> dict[str, Any]:
        metadata = OAuthClientMetadata(redirect_uris=[provider.REDIRECT_URI], client_name=f"{self.user}'s client")
        auth = OAuthClientProvider(
            server_url=self.url,
            client_metadata=metadata,
            storage=self.storage,
            redirect_handler=self._redirect,
            callback_handler=self._callback,
        )
        return {"auth": auth, "httpx_client_factory": self._http_client}

    @property
    def token(self) -> str:
        return self.storage.tokens.access_token

    async def _redirect(self, url: str) -> None:
        self.authorizations.append(httpx.URL(url).params)
        self._answer = provider.visit(url, self.user)

    async def _callback(self) -> tuple[str, str | None]:
        return self._answer["code"], self._answer.get("state")

    def _http_client(self, **settings: Any) -> httpx.AsyncClient:
        client = create_mcp_http_client(**settings)

        async def note(response: httpx.Response) -> None:
            url = str(response.request.url.copy_with(query=None))
            self.exchanges.append((response.request.method, url, response.status_code))

        client.event_hooks["response"].append(note)
        return client


def claims(token: str) -> dict[str, Any]:
    """What a token says, unchecked."""
    return jwt.decode(token, options={"verify_signature": False})


def bearer(token: str, session_id: str | None = None) -> dict[str, str]:
    session = {"mcp-session-id": session_id, "mcp-protocol-version": REVISION} if session_id else {}
    return {**HEADERS, **session, "authorization": f"Bearer {token}"}


def initialize(name: str = "mcp-mux tests") -> dict[str, Any]:
    params = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": {"name": name, "version": "1"}}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
