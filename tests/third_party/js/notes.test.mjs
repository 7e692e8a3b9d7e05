// TypeScript SDK client → mcp-mux → examples/notes_server.py, over both transports, one child for the whole file.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CallToolResultSchema, EmptyResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { notesServer, start, TRANSPORTS, withMux } from './mux.mjs';
import { errorOf, event, marker, withPeers } from './sdk.mjs';

// One in front of which nothing is ever cancelled or left behind: this child never says when it is done with a cancelled
// request, and until then what it logs or asks might belong to that.
let mux;
before(async () => (mux = await start(notesServer())));
after(() => mux?.stop());

for (const transport of TRANSPORTS) {
    const other = transport === 'http' ? 'sse' : 'http';
    const it = (name, body) => test(`notes, ${transport}: ${name}`, body);

    it('initialize', () =>
        withPeers(mux, [transport], async peer => {
            assert.equal(peer.client.getServerVersion().name, 'notes');
            const capabilities = peer.client.getServerCapabilities();
            assert.ok(capabilities.resources.subscribe && capabilities.logging && capabilities.completions);
            assert.equal(peer.seen[0].result.protocolVersion, '2025-11-25');
            assert.equal(peer.seen[0].id, 0);
        }));

    it('payloads pass unchanged', () =>
        withPeers(mux, [transport], async peer => {
            const value = {
                'emoji with joiners': '👩‍👩‍👧‍👦 🏳️‍🌈 🇪🇺',
                order: { z: 1, a: 2, m: [null, true, [], {}] },
                invisible: '\u200b\u2060\ufeff\u2028',
                controls: '\u0000\u0001\u001f\u007f\n\r\t"\\/',
                'half a pair': '\ud83d',
                '': 'empty key'
            };
            const result = await peer.call('echo', { value, and: 1.5 });
            assert.deepEqual(result.structuredContent, { value, and: 1.5 });
            assert.deepEqual(JSON.parse(result.content[0].text), { value, and: 1.5 });
            assert.deepEqual(Object.keys(JSON.parse(result.content[0].text).value), Object.keys(value));
        }));

    it('the notebook is shared and its changes are told', () =>
        withPeers(mux, [transport, other], async (writer, reader) => {
            const title = marker(`Ünique 📝 ${transport} ts`);
            const added = await writer.call('add_note', { title, text: 'needle-in-a-note' });
            const method = 'notifications/resources/list_changed';
            for (const peer of [writer, reader]) await peer.until(() => peer.notifications(method).length > 0, method);
            const found = await reader.call('search_notes', { query: 'NEEDLE-in' });
            assert.deepEqual(found.structuredContent.titles, [title]);
            const { contents } = await reader.client.readResource({ uri: added.structuredContent.uri });
            assert.equal(contents[0].text, 'needle-in-a-note');
            assert.equal(await reader.text('delete_note', { title }), `Deleted: ${title}`);
            assert.ok((await writer.call('delete_note', { title })).isError);
        }));

    it('progress', () =>
        withPeers(mux, [transport], async peer => {
            const id = peer.client._requestMessageId;
            await peer.text('slow', { seconds: 0.5, steps: 5 }, { onprogress: () => {} });
            const expected = n => ({ progressToken: id, progress: n, total: 5, message: `step ${n} of 5` });
            assert.deepEqual(peer.progress, [1, 2, 3, 4, 5].map(expected));
        }));

    it('a call longer than the default waiting time of a plain answer, without progress', () =>
        withPeers(mux, [transport], async peer => {
            assert.match(await peer.text('slow', { seconds: 1.5, steps: 1 }), /^Waited 1\.5/);
        }));

    it('cancellation ends the call in the child', () =>
        withMux(notesServer(), {}, mux => withPeers(mux, [transport], async peer => {
            const began = event();
            const call = peer.cancellable('slow', { seconds: 500, steps: 10000 }, { onprogress: began.set });
            await began.promise;
            assert.equal((await peer.call('whoami')).structuredContent.inFlight, 2);
            await call.cancel();
            // `inFlight` counts the asking call; the cancelled one's thread needs a moment to notice.
            while ((await peer.call('whoami')).structuredContent.inFlight !== 1);
            assert.ok(!peer.seen.some(message => message.id === call.id && message.method === undefined));
        })));

    it('sampling, elicitation, roots', async () => {
        const offers = {
            sampling: ({ params }) => ({
                role: 'assistant',
                model: 'm',
                content: { type: 'text', text: `${params.messages[0].content.text.length}` }
            }),
            elicitation: ({ params }) =>
                params.message === 'name?' ? { action: 'accept', content: { answer: 'Zoë' } } : { action: 'decline' },
            roots: () => ({ roots: [{ uri: 'file:///mine', name: 'mine' }] })
        };
        await withPeers(mux, [[transport, offers]], async peer => {
            assert.match(await peer.text('summarize', { text: 'a long text' }), /^\d+$/);
            assert.equal(await peer.text('ask', { question: 'name?' }), 'accept: Zoë');
            assert.equal(await peer.text('ask', { question: 'age?' }), 'decline');
            const { roots } = (await peer.call('client_roots')).structuredContent;
            assert.deepEqual(roots, [{ uri: 'file:///mine', name: 'mine' }]);
        });
    });

    it('log levels', () =>
        withPeers(mux, [transport], async peer => {
            await peer.client.setLoggingLevel('warning');
            for (const level of ['debug', 'notice', 'warning', 'emergency', 'info'])
                await peer.text('log', { level, message: `at ${level}`, count: 2 });
            await peer.until(() => peer.logs.length >= 4, 'log messages');
            assert.deepEqual(peer.logs.map(entry => entry.data), ['at warning 1', 'at warning 2', 'at emergency 1', 'at emergency 2']);
        }));

    it('updates reach the subscribed and nobody else', () =>
        withPeers(mux, [transport, other, transport], async (one, two, none) => {
            const [shared, own] = ['shared', 'own'].map(name => `note:///${marker(`${transport}-ts-${name}`)}`);
            await one.client.subscribeResource({ uri: shared });
            await one.client.subscribeResource({ uri: own });
            await two.client.subscribeResource({ uri: shared });
            for (const uri of [shared, own]) await none.text('touch', { uri });
            await one.until(() => one.updates.length >= 2, 'both updates');
            await two.until(() => two.updates.length >= 1, 'the shared update');
            await one.client.unsubscribeResource({ uri: shared });
            assert.equal(await none.text('touch', { uri: shared }), 'Notified.');
            await two.until(() => two.updates.length >= 2, 'the second shared update');
            await two.client.unsubscribeResource({ uri: shared });
            assert.notEqual(await none.text('touch', { uri: shared }), 'Notified.');
            assert.deepEqual([one.updates.toSorted(), two.updates, none.updates], [[own, shared].toSorted(), [shared, shared], []]);
        }));

    it('resources, prompts, completion', () =>
        withPeers(mux, [transport], async peer => {
            const { resources } = await peer.client.listResources();
            const { uri } = resources.find(resource => resource.name.includes('🍮'));
            assert.match((await peer.client.readResource({ uri })).contents[0].text, /^Cream/);
            const prompt = await peer.client.getPrompt({ name: 'summarize_note', arguments: { title: 'Welcome' } });
            assert.match(JSON.stringify(prompt.messages), /This notebook/);
            for (const ref of [
                { type: 'ref/prompt', name: 'summarize_note' },
                { type: 'ref/resource', uri: 'note:///{title}' }
            ]) {
                const { completion } = await peer.client.complete({ ref, argument: { name: 'title', value: 'shop' } });
                assert.deepEqual(completion.values, ['Shopping list']);
            }
        }));

    it("errors are the child's own", () =>
        withPeers(mux, [transport], async peer => {
            const error = await errorOf(peer.client.readResource({ uri: 'note:///nothing' }));
            assert.deepEqual([error.code, error.data], [-32002, { uri: 'note:///nothing' }]);
            assert.equal((await errorOf(peer.call('no-such-tool'))).code, -32602);
            assert.equal((await errorOf(peer.client.request({ method: 'no/such' }, EmptyResultSchema))).code, -32601);
        }));

    it('a megabyte, and ten at once', () =>
        withPeers(mux, [transport], async peer => {
            const texts = await Promise.all(Array.from({ length: 10 }, (_, n) => peer.text('bytes', { count: 1_000_000 + n })));
            texts.forEach((text, n) => assert.equal(text, 'x'.repeat(1_000_000 + n)));
        }));

    it('crash answers all, and the sessions live on', () =>
        withMux(notesServer(), { errorsExpected: true }, mux =>
            withPeers(mux, [transport, 'sse'], async (caller, bystander) => {
                const uri = 'note:///watched';
                // What a session that set no level wants to hear is for mcp-mux to say; so here both set one.
                await caller.client.setLoggingLevel('alert');
                await bystander.client.setLoggingLevel('critical');
                const earlier = (await caller.call('whoami')).structuredContent;
                assert.equal(earlier.logLevel, 'critical');
                await bystander.client.subscribeResource({ uri });
                const began = event();
                const waiting = bystander.cancellable('slow', { seconds: 500, steps: 10000 }, { onprogress: began.set });
                await began.promise;
                const crash = caller.call('crash', { exit_code: 42, message: 'these are my last words' });
                for (const error of [await errorOf(crash), await waiting.outcome]) {
                    assert.equal(error.data.source, 'mcp-mux');
                    assert.equal(error.data.kind, 'child-exited');
                    assert.match(JSON.stringify([error.message, error.data]), /42.*last words|last words.*42/);
                }
                const later = (await caller.call('whoami')).structuredContent;
                assert.notEqual(later.pid, earlier.pid);
                assert.equal(later.logLevel, 'critical');
                assert.deepEqual(later.subscriptions, [uri]);
                await caller.text('touch', { uri });
                await bystander.until(() => bystander.updates.length === 1, 'an update from the new process');
                for (const peer of [caller, bystander])
                    for (const method of ['notifications/tools/list_changed', 'notifications/resources/list_changed'])
                        await peer.until(() => peer.notifications(method).length > 0, method);
            })
        ));
}

test('notes, http: the answer to a raw request has the id as it was sent', async () => {
    // What no SDK sends, but others do: a string id, a number that a double cannot hold, one spelled unusually.
    const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
    const post = (body, more = {}) => fetch(mux.mcpUrl, { method: 'POST', body, headers: { ...headers, ...more } });
    const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'raw', version: '1' } };
    const opened = await post(JSON.stringify({ jsonrpc: '2.0', id: '', method: 'initialize', params }));
    assert.match(await opened.text(), /"id":""/);
    const session = { 'mcp-session-id': opened.headers.get('mcp-session-id'), 'mcp-protocol-version': '2025-11-25' };
    assert.equal((await post('{"jsonrpc":"2.0","method":"notifications/initialized"}', session)).status, 202);
    for (const id of ['"7"', '7', '9007199254740993', '1e2', '-0', '"é\\u0000"']) {
        const call = `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"echo","arguments":{"value":1.10}}}`;
        const text = await (await post(call, session)).text();
        assert.ok(text.includes(`"id":${id}`), text);
        const result = CallToolResultSchema.parse(JSON.parse(text.match(/\{.*\}/s)[0]).result);
        assert.equal(result.content[0].text, '{"value":1.10}');
    }
    const gone = await fetch(mux.mcpUrl, { method: 'DELETE', headers: session });
    assert.ok(gone.ok, `DELETE: ${gone.status}`);
});
