// TypeScript SDK clients whose mcp-mux has more than one server process.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fastmcpServer, notesServer, TRANSPORTS, withMux } from './mux.mjs';
import { withPeers } from './sdk.mjs';

const ROUNDS = 5;

const callbacksOf = name => ({
    sampling: ({ params }) => ({
        role: 'assistant',
        model: 'm',
        content: { type: 'text', text: `${name} says ${params.messages[0].content.text}` }
    }),
    elicitation: ({ params }) => ({ action: 'accept', content: { confirm: true, note: `${name}: ${params.message}` } }),
    roots: () => ({ roots: [{ uri: `file:///${name}`, name }] })
});

for (const transport of TRANSPORTS) {
    const other = transport === 'http' ? 'sse' : 'http';

    // Both can be asked anything and both are busy: of one process, nobody would know whom it means.
    test(`children, ${transport}: each session of a process of its own is asked its own questions`, () =>
        withMux(fastmcpServer(), { flags: ['--isolation', 'session', '--warm', '1'] }, mux =>
            withPeers(mux, [[transport, callbacksOf('ann')], [other, callbacksOf('bob')]], async (...peers) => {
                const use = async (peer, name) => {
                    const wanted = [];
                    for (let number = 0; number < ROUNDS; number += 1) {
                        const mine = `${name}-${number}`;
                        assert.equal(await peer.text('sample', { marker: mine }), `${name} says ${mine}`);
                        const confirmed = await peer.text('confirm', { marker: mine });
                        assert.ok(confirmed.includes(`"note":"${name}: confirm ${mine}?"`), confirmed);
                        assert.equal(await peer.text('roots'), `file:///${name}`);
                        await peer.text('log', { marker: mine });
                        wanted.push(...['debug', 'info', 'warning', 'error'].map(level => `${mine} ${level}`));
                    }
                    await peer.until(() => peer.logs.length >= wanted.length, 'log messages');
                    assert.deepEqual(peer.logs.map(entry => entry.data), wanted);
                };
                await Promise.all([use(peers[0], 'ann'), use(peers[1], 'bob')]);
            })
        ));

    test(`children, ${transport}: a session of a pool survives its process`, () =>
        withMux(notesServer(), { flags: ['--pool', '2'] }, mux =>
            withPeers(mux, [transport, transport], async (struck, spared) => {
                const about = async peer => (await peer.call('whoami')).structuredContent;
                const uri = 'note:///watched';
                await struck.client.setLoggingLevel('alert');
                await struck.client.subscribeResource({ uri });
                const [before, others] = [await about(struck), await about(spared)];
                assert.notEqual(before.pid, others.pid);
                process.kill(before.pid, 'SIGKILL');
                // It may reach the old process; then it is repeated.
                assert.ok((await struck.client.listTools()).tools.length > 0);
                const after = await about(struck);
                assert.ok(![before.pid, others.pid].includes(after.pid));
                assert.deepEqual([after.logLevel, after.subscriptions], ['alert', [uri]]);
                await struck.text('touch', { uri });
                await struck.until(() => struck.updates.includes(uri), 'an update from the new process');
                assert.equal((await about(spared)).pid, others.pid);
                assert.deepEqual([struck.updates, spared.updates], [[uri], []]);
            })
        ));
}
