// TypeScript SDK client → mcp-mux → a server on the Python SDK: what the notes server does not do, or does differently.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fastmcpServer, start, TRANSPORTS, withMux } from './mux.mjs';
import { errorOf, marker, withPeers } from './sdk.mjs';

let mux;
before(async () => (mux = await start(fastmcpServer())));
after(() => mux?.stop());

for (const transport of TRANSPORTS) {
    const other = transport === 'http' ? 'sse' : 'http';
    const it = (name, body) => test(`fastmcp, ${transport}: ${name}`, body);

    it('initialize, tools, structured content', () =>
        withPeers(mux, [transport], async peer => {
            assert.equal(peer.client.getInstructions(), 'A server for the tests of mcp-mux.');
            const { tools } = await peer.client.listTools();
            assert.ok(tools.find(tool => tool.name === 'add').outputSchema);
            assert.deepEqual((await peer.call('add', { a: 40, b: 2 })).structuredContent, { result: 42 });
        }));

    it('progress of two calls at once', () =>
        withPeers(mux, [transport], async peer => {
            const call = async (name, steps) => {
                const id = peer.client._requestMessageId;
                await peer.text('progress', { marker: name, steps }, { onprogress: () => {} });
                const got = peer.progress.filter(params => params.progressToken === id).map(params => params.message);
                assert.deepEqual(got, Array.from({ length: steps }, (_, n) => `${name} ${n + 1}`));
            };
            await Promise.all([call('a', 5), call('b', 9)]);
            assert.equal(peer.progress.length, 14);
        }));

    it('cancellation reaches the server and no answer comes back', () =>
        withPeers(mux, [transport], async peer => {
            const mine = marker(`ts-${transport}`);
            const call = peer.cancellable('hang', { marker: mine });
            await peer.text('started', { marker: mine });
            await call.cancel();
            await peer.text('cancelled', { marker: mine });
            await peer.text('echo', { value: 'after' });
            assert.ok(!peer.seen.some(message => message.id === call.id && message.method === undefined));
        }));

    it("another session's cancellation touches nothing", () =>
        withPeers(mux, [transport, other], async (mine, theirs) => {
            const name = marker(`ts-${transport}-mine`);
            const call = mine.cancellable('hang', { marker: name });
            await mine.text('started', { marker: name });
            await theirs.client.notification({ method: 'notifications/cancelled', params: { requestId: call.id } });
            await theirs.text('echo', { value: 'after' });
            assert.ok(!call.isSettled());
            await call.cancel();
            await mine.text('cancelled', { marker: name });
        }));

    it('sampling and elicitation, answered and refused', async () => {
        const sampling = ({ params }) => {
            const { text } = params.messages[0].content;
            if (text === 'no') throw new Error('the user said no');
            return { role: 'assistant', model: 'm', content: { type: 'text', text: `answer to ${text}` } };
        };
        const elicitation = () => ({ action: 'accept', content: { confirm: true, note: '👍' } });
        await withPeers(mux, [[transport, { sampling, elicitation }]], async peer => {
            assert.equal(await peer.text('sample', { marker: 'who' }), 'answer to who');
            const refused = await peer.call('sample', { marker: 'no' });
            assert.ok(refused.isError);
            assert.match(refused.content[0].text, /the user said no/);
            assert.equal(await peer.text('confirm', { marker: 'it' }), 'accept {"confirm":true,"note":"👍"}');
        });
        await withPeers(mux, [transport], async peer => assert.ok((await peer.call('sample', { marker: 'who' })).isError));
    });

    it('each session has its own log level', () =>
        withPeers(mux, [transport, other], async (loud, quiet) => {
            await loud.client.setLoggingLevel('debug');
            await quiet.client.setLoggingLevel('error');
            for (const [peer, levels] of [
                [loud, ['debug', 'info', 'warning', 'error']],
                [quiet, ['error']]
            ]) {
                const mine = marker('log');
                await peer.text('log', { marker: mine });
                await peer.until(() => peer.logs.length >= levels.length, 'log messages');
                assert.deepEqual(peer.logs.map(entry => entry.data), levels.map(level => `${mine} ${level}`));
            }
            assert.deepEqual([loud.logs.length, quiet.logs.length], [4, 1]);
        }));

    it('resources, templates, prompts, completion', () =>
        withPeers(mux, [transport], async peer => {
            const { resourceTemplates } = await peer.client.listResourceTemplates();
            assert.equal(resourceTemplates[0].uriTemplate, 'demo://square/{n}');
            assert.equal((await peer.client.readResource({ uri: 'demo://square/12' })).contents[0].text, '144');
            const ref = { type: 'ref/prompt', name: 'review' };
            const { completion } = await peer.client.complete({ ref, argument: { name: 'language', value: 'p' } });
            assert.deepEqual(completion.values, ['python', 'perl', 'php']);
        }));

    it('list_changed reaches every session', () =>
        withPeers(mux, [transport, other], async (one, two) => {
            await one.text('announce');
            for (const peer of [one, two])
                for (const kind of ['tools', 'resources', 'prompts']) {
                    const method = `notifications/${kind}/list_changed`;
                    await peer.until(() => peer.notifications(method).length > 0, method);
                }
        }));

    it('errors', () =>
        withPeers(mux, [transport], async peer => {
            const failed = await peer.call('fail', { marker: 'm' });
            assert.ok(failed.isError);
            assert.match(failed.content[0].text, /failed on purpose: m/);
            assert.match((await errorOf(peer.client.readResource({ uri: 'demo://no/such' }))).message, /demo:\/\/no\/such/);
        }));

    it('crash in the middle, then the session goes on', () =>
        withMux(fastmcpServer(), { errorsExpected: true }, mux =>
            withPeers(mux, [transport], async peer => {
                const error = await errorOf(peer.call('exit_process', { code: 3 }));
                assert.deepEqual([error.data.source, error.data.kind], ['mcp-mux', 'child-exited']);
                assert.equal(await peer.text('echo', { value: 'alive' }), 'alive');
            })
        ));
}
