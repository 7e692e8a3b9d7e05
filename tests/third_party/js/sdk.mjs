// A client session of the official TypeScript SDK (1.x) that remembers everything that reached it.

import assert from 'node:assert/strict';
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
    CreateMessageRequestSchema,
    ElicitRequestSchema,
    ListRootsRequestSchema,
    McpError
} from '@modelcontextprotocol/sdk/types.js';

export const DEADLINE = 20_000;

class Peer {
    seen = []; // every JSON-RPC message that arrived, in order
    complaints = []; // what the SDK could not place
    #waiting = new Set();

    async connect(url, kind, { sampling, elicitation, roots, ...options } = {}) {
        this.transport = transportTo(url, kind, options);
        this.transport.onmessage = message => {
            this.seen.push(message);
            for (const look of this.#waiting) look();
        };
        const capabilities = { ...(sampling && { sampling: {} }), ...(elicitation && { elicitation: {} }), ...(roots && { roots: {} }) };
        this.client = new Client({ name: 'mcp-mux tests', version: '1' }, { capabilities });
        // The SDK handles a notification one turn later than a response: when the last progress notification and the
        // response arrive together it has forgotten the token by then, and says so.
        this.client.onerror = ({ message }) => message.includes('progress notification for an unknown token') || this.complaints.push(message);
        if (sampling) this.client.setRequestHandler(CreateMessageRequestSchema, sampling);
        if (elicitation) this.client.setRequestHandler(ElicitRequestSchema, elicitation);
        if (roots) this.client.setRequestHandler(ListRootsRequestSchema, roots);
        await this.client.connect(this.transport);
        return this;
    }

    notifications(method) {
        return this.seen.filter(message => message.method === method && message.id === undefined).map(message => message.params);
    }

    get logs() {
        return this.notifications('notifications/message');
    }

    /** The progress notifications as they arrived: the SDK's callback misses some (see `connect`). */
    get progress() {
        return this.notifications('notifications/progress');
    }

    get updates() {
        return this.notifications('notifications/resources/updated').map(params => params.uri);
    }

    /** Wait until what arrived makes `condition` true; looks only when something arrives. */
    async until(condition, what) {
        if (condition()) return;
        await new Promise((resolve, reject) => {
            const done = settle => {
                clearTimeout(timer);
                this.#waiting.delete(look);
                settle();
            };
            const last = () => this.seen.slice(-5).map(message => JSON.stringify(message).slice(0, 300)).join('\n');
            const look = () => condition() && done(resolve);
            const timer = setTimeout(
                () => done(() => reject(new Error(`${what}: not within ${DEADLINE} ms; the last messages were\n${last()}`))),
                DEADLINE
            );
            this.#waiting.add(look);
        });
    }

    call(name, args = {}, options = {}) {
        return this.client.callTool({ name, arguments: args }, undefined, { timeout: DEADLINE, ...options });
    }

    /** Call a tool that has to succeed, and give its first text. */
    async text(name, args, options) {
        const result = await this.call(name, args, options);
        assert.ok(!result.isError, `${name} failed: ${JSON.stringify(result.content)}`);
        return result.content[0].text;
    }

    /** Start a call that is to be cancelled: `{ id, cancel() }`, where `cancel` ends it as the SDK does. */
    cancellable(name, args, options = {}) {
        const controller = new AbortController();
        const id = this.client._requestMessageId;
        let settled = false;
        const outcome = this.call(name, args, { ...options, signal: controller.signal }).then(
            result => ((settled = true), result),
            error => ((settled = true), error)
        );
        return {
            id,
            outcome,
            isSettled: () => settled,
            cancel: async () => {
                controller.abort('the test says so');
                await outcome;
            }
        };
    }

    /** Close as a well-behaved client does. Fails if anything reached this one that the SDK could not place. */
    async close() {
        const complaints = this.complaints.slice();
        await this.transport.terminateSession?.();
        await this.client.close();
        assert.deepEqual(complaints, []);
    }
}

/** Over stdio the client starts `mcp-mux connect` as its server. */
function transportTo(url, kind, { flags = [], ...options }) {
    if (kind === 'stdio') {
        const command = process.env.MCP_MUX_BIN;
        assert.ok(command, 'set MCP_MUX_BIN to the mcp-mux binary');
        return new StdioClientTransport({ command, args: ['connect', url, ...flags], stderr: 'inherit' });
    }
    return new (kind === 'http' ? StreamableHTTPClientTransport : SSEClientTransport)(new URL(url), options);
}

export const open = (url, kind, options) => new Peer().connect(url, kind, options);

/** As `open`, for a client that has to log in on the way: the SDK then wants to be told the code, and to start anew. */
export async function openAs(login, url, kind, options = {}) {
    const Transport = kind === 'http' ? StreamableHTTPClientTransport : SSEClientTransport;
    const first = new Transport(new URL(url), { authProvider: login, fetch: login.fetch });
    await assert.rejects(new Client({ name: 'mcp-mux tests', version: '1' }).connect(first), UnauthorizedError);
    await first.finishAuth(login.code);
    await first.close();
    return open(url, kind, { authProvider: login, fetch: login.fetch, ...options });
}

/** Run `body` with a session on `mux` over each of `kinds`, then close them. */
export async function withPeers(mux, kinds, body) {
    const peers = [];
    let failed = true;
    try {
        for (const kind of kinds) {
            const [transport, options] = Array.isArray(kind) ? kind : [kind];
            peers.push(await open(mux.url(transport), transport, options));
        }
        await body(...peers);
        failed = false;
    } finally {
        // A failure of `body` is the one to be told.
        for (const peer of peers) await peer.close().catch(error => assert.ok(failed, error));
    }
}

/** The JSON-RPC error the request must end with. */
export async function errorOf(request) {
    try {
        await request;
    } catch (error) {
        assert.ok(error instanceof McpError, `not a JSON-RPC error: ${error}`);
        return error;
    }
    return assert.fail('expected a JSON-RPC error');
}

let last = 0;
export const marker = prefix => `${prefix}-${(last += 1)}`;

/** A promise and what resolves it. */
export function event() {
    let set;
    const promise = new Promise(resolve => (set = resolve));
    return { promise, set };
}
