// The official TypeScript SDK's OAuth client, a standard OpenID provider, and mcp-mux as the resource server between them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { freePort, notesServer, TRANSPORTS, withMux } from './mux.mjs';
import { startProvider, visit } from './provider.mjs';
import { DEADLINE, openAs } from './sdk.mjs';

// Nobody listens there: the code is taken from the redirection itself.
const REDIRECT_URI = 'http://127.0.0.1:9/callback';

/** How one user gets in, and what was seen on the way. */
class Login {
    exchanges = []; // of OAuth and MCP: 'METHOD URL status'
    authorizations = []; // the parameters of every authorization request

    constructor(user, metadata = {}) {
        this.user = user;
        this.metadata = metadata;
        this.fetch = async (url, init) => {
            const response = await fetch(url, init);
            const { origin, pathname } = new URL(url);
            this.exchanges.push(`${init?.method ?? 'GET'} ${origin}${pathname} ${response.status}`);
            return response;
        };
    }

    get redirectUrl() {
        return REDIRECT_URI;
    }
    get clientMetadata() {
        return { redirect_uris: [REDIRECT_URI], grant_types: ['authorization_code', 'refresh_token'], ...this.metadata };
    }
    clientInformation() {
        return this.client;
    }
    saveClientInformation(client) {
        this.client = client;
    }
    tokens() {
        return this.saved;
    }
    saveTokens(tokens) {
        this.saved = tokens;
    }
    saveCodeVerifier(verifier) {
        this.verifier = verifier;
    }
    codeVerifier() {
        return this.verifier;
    }
    async redirectToAuthorization(url) {
        this.authorizations.push(Object.fromEntries(url.searchParams));
        this.code = (await visit(url, this.user, REDIRECT_URI)).get('code');
    }

    get token() {
        return this.saved.access_token;
    }
}

const claims = token => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
const metadataUrl = url => url.replace(/(\/\w+)$/, '/.well-known/oauth-protected-resource$1');

async function until(condition, what) {
    const deadline = Date.now() + DEADLINE;
    while (!(await condition())) {
        assert.ok(Date.now() < deadline, `${what}: not within ${DEADLINE} ms`);
        // There is nothing to wait for but the clock.
        await new Promise(resolve => setTimeout(resolve, 100));
    }
}

let provider;
before(async () => (provider = await startProvider()));
after(() => provider?.close());

/** Run `body` with an mcp-mux behind the provider, and what opens a session there for somebody who has to log in first. */
async function withProtected(flags, body) {
    Object.assign(provider.settings, { accessTokenSeconds: 3600, claims: {} });
    const port = await freePort();
    const audience = `http://127.0.0.1:${port}/mcp,http://127.0.0.1:${port}/sse`;
    const asked = ['--port', port, '--jwt-issuer', provider.issuer, '--jwt-audience', audience, '--jwt-scope', 'mcp', ...flags];
    const peers = [];
    await withMux(notesServer(), { flags: asked.map(String) }, async mux => {
        const enter = async (login, transport = 'http') => {
            const peer = await openAs(login, mux.url(transport), transport);
            peers.push(peer);
            return peer;
        };
        try {
            await body(mux, enter);
        } finally {
            // One that a failed test has left open would try to come back for ever.
            for (const peer of peers) await peer.client.close();
        }
    });
}

/** A token with the scope `mcp` alone, had without the SDK. */
async function tokenOf(user, client, resource) {
    const code_verifier = 'v'.repeat(64);
    const digest = await crypto.subtle.digest('SHA-256', Buffer.from(code_verifier));
    const asked = {
        response_type: 'code',
        client_id: client.client_id,
        redirect_uri: REDIRECT_URI,
        scope: 'mcp',
        resource,
        code_challenge: Buffer.from(digest).toString('base64url'),
        code_challenge_method: 'S256'
    };
    const code = (await visit(`${provider.issuer}/authorize?${new URLSearchParams(asked)}`, user, REDIRECT_URI)).get('code');
    const form = { grant_type: 'authorization_code', code, code_verifier, redirect_uri: REDIRECT_URI, resource };
    const basic = Buffer.from(`${client.client_id}:${client.client_secret}`).toString('base64');
    const headers = { authorization: `Basic ${basic}` };
    const response = await fetch(`${provider.issuer}/token`, { method: 'POST', headers, body: new URLSearchParams(form) });
    assert.equal(response.status, 200);
    return (await response.json()).access_token;
}

/** A client that is registered without the SDK. */
async function register() {
    const body = JSON.stringify({ redirect_uris: [REDIRECT_URI] });
    const headers = { 'content-type': 'application/json' };
    return (await fetch(`${provider.issuer}/register`, { method: 'POST', headers, body })).json();
}

/** What an initialize with this token is answered with. */
async function statusOf(mux, token) {
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'mcp-mux tests', version: '1' } };
    const headers = {
        authorization: `Bearer ${token}`,
        accept: 'application/json, text/event-stream',
        'content-type': 'application/json'
    };
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params });
    const response = await fetch(mux.mcpUrl, { method: 'POST', headers, body });
    await response.text();
    return response.status;
}

for (const transport of TRANSPORTS)
    test(`oauth, ${transport}: a client that knows the URL alone finds its way in`, () =>
        withProtected([], async (mux, enter) => {
            const [ann, url] = [new Login('ann'), mux.url(transport)];
            const peer = await enter(ann, transport);
            assert.equal(await peer.text('echo', { value: 1 }), '{"value":1}');
            await peer.close();
            const first = `${transport === 'http' ? 'POST' : 'GET'} ${url}`;
            const [refused, ...way] = ann.exchanges;
            assert.equal(refused, `${first} 401`);
            for (const step of [
                `GET ${metadataUrl(url)} 200`,
                `GET ${provider.issuer}/.well-known/oauth-authorization-server 200`,
                `POST ${provider.issuer}/register 201`,
                `POST ${provider.issuer}/token 200`,
                `${first} 200`
            ])
                assert.ok(way.includes(step), `${step}: not in\n${way.join('\n')}`);
            const [{ code_challenge_method, resource, scope }] = ann.authorizations;
            assert.deepEqual([code_challenge_method, resource, scope], ['S256', url, 'mcp']);
            const { sub, aud } = claims(ann.token);
            assert.deepEqual([sub, aud], ['ann', url]);
        }));

test('oauth, http: when a token has expired the session goes on with the next', () =>
    withProtected(['--jwt-leeway', '0'], async (mux, enter) => {
        provider.settings.accessTokenSeconds = 2;
        const ann = new Login('ann');
        const peer = await enter(ann);
        const [first, session] = [ann.token, peer.transport.sessionId];
        await peer.client.subscribeResource({ uri: 'note:///watched' });
        provider.settings.accessTokenSeconds = 3600;
        await until(async () => (await statusOf(mux, first)) === 401, 'the end of the first token');
        assert.equal(await peer.text('echo', { value: 1 }), '{"value":1}');
        assert.equal(peer.transport.sessionId, session);
        assert.notEqual(ann.token, first);
        assert.equal(ann.authorizations.length, 1);
        assert.ok(provider.counts['grant refresh_token'] > 0);
        await peer.text('touch', { uri: 'note:///watched' });
        await peer.until(() => peer.updates.includes('note:///watched'), 'an update');
        await peer.close();
    }));

test('oauth, http: a client with too few scopes is told which it needs and comes back with them', () =>
    withProtected(['--jwt-scope', 'mcp:write'], async (mux, enter) => {
        // Of a client that may refresh its token, this SDK refreshes it instead of asking for more.
        const ann = new Login('ann', { grant_types: ['authorization_code'], scope: 'mcp mcp:write' });
        const given = await enter(ann);
        await given.close();
        assert.equal(claims(ann.token).scope, 'mcp mcp:write');
        // The same client, with a token for less.
        ann.saved = { ...ann.saved, access_token: await tokenOf('ann', ann.client, mux.mcpUrl) };
        assert.equal(claims(ann.token).scope, 'mcp');
        const from = ann.exchanges.length;
        const peer = await enter(ann);
        assert.equal(ann.exchanges[from], `POST ${mux.mcpUrl} 403`);
        assert.equal(ann.authorizations.at(-1).scope, 'mcp mcp:write');
        assert.equal(claims(ann.token).scope, 'mcp mcp:write');
        assert.equal(await peer.text('echo', { value: 1 }), '{"value":1}');
        await peer.close();
    }));

test('oauth: sessions go on while the provider changes its keys', () =>
    withProtected([], async (mux, enter) => {
        const clients = [];
        for (const transport of TRANSPORTS) {
            const login = new Login('ann');
            clients.push([login, await enter(login, transport)]);
        }
        const [[ann, peer]] = clients;
        const [first, session] = [ann.token, peer.transport.sessionId];
        const all = () => Promise.all(clients.map(([, peer]) => peer.text('echo', { value: 1 })));
        const client = await register();
        const rotated = async () => {
            provider.rotate();
            const token = await tokenOf('bob', client, mux.mcpUrl);
            await until(async () => (await statusOf(mux, token)) === 200, 'a token that was signed with the new key');
        };
        await rotated();
        await all();
        provider.drop();
        await rotated();
        assert.equal(await statusOf(mux, first), 401);
        assert.equal(await peer.text('echo', { value: 2 }), '{"value":2}');
        assert.equal(peer.transport.sessionId, session);
        assert.notEqual(ann.token, first);
        await peer.close();
        // The other one's token is good no more either, and it gets another.
        const [other, events] = clients[1];
        const before = other.token;
        assert.equal(await events.text('echo', { value: 3 }), '{"value":3}');
        assert.notEqual(other.token, before);
        await events.close();
    }));

test('oauth: each user has sessions and tools of their own', () =>
    withProtected([], async (mux, enter) => {
        provider.settings.claims = { bob: { mcp_mux: { tools: { allow: ['echo'] } } } };
        const [ann, bob] = [new Login('ann'), new Login('bob')];
        const hers = await enter(ann);
        const his = await enter(bob);
        const names = async peer => (await peer.client.listTools()).tools.map(tool => tool.name);
        assert.ok((await names(hers)).length > 10);
        assert.deepEqual(await names(his), ['echo']);
        await assert.rejects(his.call('whoami'));
        // What is hers is not there for him.
        const headers = { authorization: `Bearer ${bob.token}`, 'mcp-session-id': hers.transport.sessionId };
        assert.equal((await fetch(mux.mcpUrl, { method: 'DELETE', headers })).status, 404);
        assert.equal(await hers.text('echo', { value: 1 }), '{"value":1}');
        await hers.close();
        await his.close();
    }));
