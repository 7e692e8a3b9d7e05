// Servers that take `server/discover` oddly, dual-era servers and modern-only ones, each with a client of either era; with
// plain requests, so that it is seen what is asked when.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { start } from '../../third_party/js/mux.mjs';

const DEADLINE = 20_000;
const MODERN = '2026-07-28';
const LEGACY = '2025-11-25';
const info = { name: 'odd', version: '1' };

async function post(url, body, headers) {
    const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', ...headers },
        body: JSON.stringify({ jsonrpc: '2.0', ...body }),
        signal: AbortSignal.timeout(DEADLINE)
    });
    const text = await response.text();
    const json = response.headers.get('content-type')?.startsWith('text/event-stream')
        ? text.split('\n').filter(line => line.startsWith('data: {')).map(line => line.slice('data: '.length)).at(-1)
        : text;
    return { session: response.headers.get('mcp-session-id'), message: json ? JSON.parse(json) : undefined };
}

const textOf = message => {
    assert.ok(message?.result?.content, `no result: ${JSON.stringify(message)}`);
    return message.result.content[0].text;
};

const clients = {
    legacy: async url => {
        const params = { protocolVersion: LEGACY, capabilities: {}, clientInfo: info };
        const { session, message } = await post(url, { id: 1, method: 'initialize', params });
        assert.ok(message?.result, `initialize: ${JSON.stringify(message)}`);
        const headers = { 'mcp-session-id': session, 'mcp-protocol-version': message.result.protocolVersion };
        await post(url, { method: 'notifications/initialized' }, headers);
        return async name => textOf((await post(url, { id: 2, method: 'tools/call', params: { name, arguments: {} } }, headers)).message);
    },
    modern: async url => async name => {
        const _meta = {
            'io.modelcontextprotocol/protocolVersion': MODERN,
            'io.modelcontextprotocol/clientInfo': info,
            'io.modelcontextprotocol/clientCapabilities': {}
        };
        const headers = { 'mcp-protocol-version': MODERN, 'mcp-method': 'tools/call', 'mcp-name': name };
        return textOf((await post(url, { id: 1, method: 'tools/call', params: { name, arguments: {}, _meta } }, headers)).message);
    }
};

/** `[{ name, run() }]`: each starts an mcp-mux of its own. `servers` are commands by name. */
export function oddities(servers, python) {
    const odd = way => [python, path.join(import.meta.dirname, '../servers/odd.py'), way];
    const all = { ...servers, ...Object.fromEntries(['exit', 'hang', 'ignore', 'invalid-params'].map(way => [way, odd(way)])) };
    const list = [];
    const reached = (server, client, flags, expected) =>
        list.push({
            name: [server, ...flags.filter(flag => !flag.startsWith('--')), `${client}-client`].join('/'),
            run: () =>
                withMux(all[server], flags, async url => {
                    const call = await clients[client](url);
                    assert.equal(await call('era'), expected);
                })
        });
    for (const client of ['legacy', 'modern']) {
        for (const server of ['exit', 'hang', 'ignore', 'invalid-params', 'legacy']) reached(server, client, [], 'legacy');
        reached('modern', client, [], 'modern');
        reached('dual', client, [], 'modern');
        reached('dual', client, ['--isolation', 'session'], client);
        reached('exit', client, ['--isolation', 'session'], 'legacy');
        reached('dual', client, ['--child-era', 'legacy'], 'legacy');
    }
    for (const server of ['exit', 'hang']) list.push({ name: `${server}/probed-once`, run: () => probedOnce(all[server]) });
    return list;
}

async function withMux(command, flags, body) {
    const mux = await start(command, { flags, errorsExpected: true });
    try {
        await body(mux.mcpUrl);
    } finally {
        await mux.stop();
    }
}

/** A process is lost to the first probe; no later start loses another. */
async function probedOnce(command) {
    const starts = path.join(mkdtempSync(path.join(os.tmpdir(), 'mcp-mux-odd-')), 'starts');
    writeFileSync(starts, '');
    const count = () => readFileSync(starts, 'utf8').split('\n').length - 1;
    await withMux(command, ['--env', `STARTS=${starts}`], async url => {
        const call = await clients.legacy(url);
        const pid = Number(await call('pid'));
        assert.ok(count() <= 2, `${count()} processes were started for the first client`);
        const before = count();
        process.kill(pid, 'SIGKILL');
        let next = pid;
        for (const end = Date.now() + DEADLINE; next === pid && Date.now() < end; ) next = Number(await call('pid').catch(() => pid));
        assert.notEqual(next, pid);
        assert.equal(count() - before, 1, 'processes started for a restart');
    });
}
