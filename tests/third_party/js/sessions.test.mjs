// The life of a session as the TypeScript SDK sees it: its end, and its resumption.

import assert from 'node:assert/strict';
import net from 'node:net';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { CallToolResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { notesServer, start } from './mux.mjs';
import { event, marker, open, withPeers } from './sdk.mjs';

let mux;
before(async () => (mux = await start(notesServer())));
after(() => mux?.stop());

test('sessions: terminateSession ends the session, and 404 says so', () =>
    withPeers(mux, ['http'], async peer => {
        const headers = { 'mcp-session-id': peer.transport.sessionId, accept: 'application/json, text/event-stream' };
        await peer.transport.terminateSession();
        assert.equal(peer.transport.sessionId, undefined);
        for (const method of ['GET', 'DELETE']) assert.equal((await fetch(mux.mcpUrl, { method, headers })).status, 404, method);
        peer.complaints.length = 0;
    }));

test('sessions: a request in a dead session fails with 404, and a new session works', async () => {
    const peer = await open(mux.mcpUrl, 'http');
    const headers = { 'mcp-session-id': peer.transport.sessionId };
    assert.ok((await fetch(mux.mcpUrl, { method: 'DELETE', headers })).ok);
    await assert.rejects(peer.client.listTools(), error => error.code === 404);
    await peer.client.close();
    await withPeers(mux, ['http'], peer => peer.client.listTools());
});

test('sessions: a session that closes without DELETE disturbs no other', () =>
    withPeers(mux, ['http', 'sse'], async (...peers) => {
        for (const kind of ['http', 'sse', 'http', 'sse']) {
            const leaver = await open(mux.url(kind), kind);
            leaver.call('slow', { seconds: 1, steps: 10 }).catch(() => {});
            await leaver.text('echo', { value: 1 });
            await leaver.client.close();
        }
        for (const peer of peers) assert.equal(await peer.text('echo', { value: 2 }), '{"value":2}');
    }));

// spec: 2025-11-25 basic/transports, Resumability and Redelivery
test('sessions: a call whose connection is cut is resumed', () =>
    cuttable(async (url, cut) => {
        const peer = await open(url, 'http');
        const third = event();
        const call = peer.text('slow', { seconds: 2, steps: 20 }, { onprogress: ({ progress }) => progress === 3 && third.set() });
        await third.promise;
        cut();
        assert.equal(await call, 'Waited 2 seconds in 20 steps.');
        assert.deepEqual(peer.progress.map(params => params.progress), Array.from({ length: 20 }, (_, n) => n + 1));
        assert.equal(await peer.text('echo', { value: 1 }), '{"value":1}');
        peer.complaints.length = 0; // it told of the cut
        await peer.close();
    }));

test('sessions: a notification sent while the stream is cut arrives afterwards, once', () =>
    cuttable(async (url, cut) => {
        const peer = await open(url, 'http');
        await withPeers(mux, ['sse'], async toucher => {
            const [first, second] = [`note:///${marker('first')}`, `note:///${marker('second')}`];
            for (const uri of [first, second]) await peer.client.subscribeResource({ uri });
            await toucher.text('touch', { uri: first });
            await peer.until(() => peer.updates.length === 1, 'the update before the cut');
            cut();
            await toucher.text('touch', { uri: second });
            await peer.until(() => peer.updates.length >= 2, 'the update sent meanwhile');
            await toucher.text('touch', { uri: second });
            await peer.until(() => peer.updates.length >= 3, 'the update after the resumption');
            assert.deepEqual(peer.updates, [first, second, second]);
        });
        peer.complaints.length = 0;
        await peer.close();
    }));

test('sessions: another process resumes a call with its resumption token', async () => {
    const first = await open(mux.mcpUrl, 'http');
    let token;
    const began = event();
    const onresumptiontoken = given => {
        token = given;
        if (first.progress.length >= 2) began.set();
    };
    const call = first.call('slow', { seconds: 2, steps: 20 }, { onprogress: () => {}, onresumptiontoken });
    const lost = assert.rejects(call);
    await began.promise;
    const { sessionId } = first.transport;
    // Gone without a word; the session stays.
    await first.client.close();
    await lost;
    const second = await open(mux.mcpUrl, 'http', { sessionId });
    const params = { name: 'slow', arguments: { seconds: 2, steps: 20 } };
    const result = await second.client.request({ method: 'tools/call', params }, CallToolResultSchema, { resumptionToken: token });
    assert.equal(result.content[0].text, 'Waited 2 seconds in 20 steps.');
    // Where the first left off, with no gap and no repetition.
    const steps = [...first.progress, ...second.progress].map(params => params.progress);
    assert.deepEqual(steps, Array.from({ length: 20 }, (_, n) => n + 1));
    second.complaints.length = 0; // it never asked for progress itself
    await second.close();
});

/** Run `body(url, cut)` with a TCP relay to mcp-mux, every connection through which `cut` cuts. */
async function cuttable(body) {
    const target = new URL(mux.mcpUrl);
    const sockets = new Set();
    const server = net.createServer(client => {
        const upstream = net.connect(Number(target.port), target.hostname);
        for (const [socket, other] of [
            [client, upstream],
            [upstream, client]
        ]) {
            sockets.add(socket);
            socket.on('error', () => {});
            socket.on('close', () => {
                sockets.delete(socket);
                other.destroy();
            });
            socket.pipe(other);
        }
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const url = new URL(target);
    url.port = server.address().port;
    try {
        await body(url.href, () => sockets.forEach(socket => socket.destroy()));
    } finally {
        sockets.forEach(socket => socket.destroy());
        server.close();
    }
}
