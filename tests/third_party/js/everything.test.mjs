// TypeScript SDK client → mcp-mux → @modelcontextprotocol/server-everything, one child for the whole file.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
    CallToolResultSchema,
    CreateTaskResultSchema,
    GetTaskResultSchema,
    ListTasksResultSchema
} from '@modelcontextprotocol/sdk/types.js';
import { everythingServer, start, TRANSPORTS, withMux } from './mux.mjs';
import { errorOf, withPeers } from './sdk.mjs';

let mux;
before(async () => (mux = await start(everythingServer())));
after(() => mux?.stop());

for (const transport of TRANSPORTS) {
    const other = transport === 'http' ? 'sse' : 'http';
    const it = (name, body) => test(`everything, ${transport}: ${name}`, body);

    it('initialize and tools', () =>
        withPeers(mux, [transport], async peer => {
            const { tools } = await peer.client.listTools();
            for (const name of ['echo', 'get-roots-list', 'trigger-sampling-request', 'trigger-elicitation-request'])
                assert.ok(tools.some(tool => tool.name === name), name);
            assert.equal(await peer.text('echo', { message: 'héllo' }), 'Echo: héllo');
            const weather = await peer.call('get-structured-content', { location: 'Chicago' });
            assert.equal(weather.structuredContent.humidity, 82);
        }));

    it('progress', () =>
        withPeers(mux, [transport], async peer => {
            await peer.text('trigger-long-running-operation', { duration: 0.4, steps: 4 }, { onprogress: () => {} });
            assert.deepEqual(peer.progress.map(({ progress, total }) => `${progress}/${total}`), ['1/4', '2/4', '3/4', '4/4']);
        }));

    it('sampling and elicitation', async () => {
        const sampling = ({ params }) => ({
            role: 'assistant',
            model: 'm',
            content: { type: 'text', text: `sampled ${params.systemPrompt}` }
        });
        const elicitation = () => ({ action: 'accept', content: { name: 'Ada', integer: 7 } });
        await withPeers(mux, [[transport, { sampling, elicitation }]], async peer => {
            const text = await peer.text('trigger-sampling-request', { prompt: 'p', maxTokens: 10 });
            assert.match(text, /sampled You are a helpful test server\./);
            const asked = await peer.call('trigger-elicitation-request');
            assert.match(asked.content[1].text, /- Name: Ada/);
        });
    });

    it('roots are the caller’s', () =>
        // This server asks once per process and keeps the answer, so it has to be a process of its own.
        withMux(everythingServer(), {}, mux => {
            const roots = () => ({ roots: [{ uri: 'file:///mine', name: 'mine' }] });
            return withPeers(mux, [[transport, { roots }]], async peer =>
                assert.match(await peer.text('get-roots-list'), /URI: file:\/\/\/mine/)
            );
        }));

    it('subscription', () =>
        withPeers(mux, [transport, other], async (peer, bystander) => {
            const uri = `demo://resource/dynamic/text/${transport === 'http' ? 3 : 4}`;
            await peer.client.subscribeResource({ uri });
            assert.match(await bystander.text('toggle-subscriber-updates'), /Started/);
            await peer.until(() => peer.updates.includes(uri), 'an update');
            assert.match(await bystander.text('toggle-subscriber-updates'), /Stopped/);
            await peer.client.unsubscribeResource({ uri });
            assert.deepEqual([[...new Set(peer.updates)], bystander.updates], [[uri], []]);
        }));

    it('prompts and completion', () =>
        withPeers(mux, [transport], async peer => {
            const prompt = await peer.client.getPrompt({ name: 'args-prompt', arguments: { city: 'Köln' } });
            assert.equal(prompt.messages[0].content.text, "What's weather in Köln?");
            const { completion } = await peer.client.complete({
                ref: { type: 'ref/prompt', name: 'completable-prompt' },
                argument: { name: 'name', value: 'A' },
                context: { arguments: { department: 'Engineering' } }
            });
            assert.deepEqual(completion.values, ['Alice']);
        }));

    it('a task belongs to the session that made it', () =>
        withPeers(mux, [transport, other], async (mine, theirs) => {
            const call = {
                method: 'tools/call',
                params: { name: 'simulate-research-query', arguments: { topic: 'bees' }, task: { ttl: 60_000 } }
            };
            const { task } = await mine.client.request(call, CreateTaskResultSchema);
            const { taskId } = task;
            const get = peer => peer.client.request({ method: 'tasks/get', params: { taskId } }, GetTaskResultSchema);
            const list = async peer => (await peer.client.request({ method: 'tasks/list' }, ListTasksResultSchema)).tasks;
            assert.equal((await get(mine)).taskId, taskId);
            assert.deepEqual((await list(mine)).map(task => task.taskId), [taskId]);
            // To anybody else there is no such task.
            await errorOf(get(theirs));
            assert.deepEqual(await list(theirs), []);
            await errorOf(theirs.client.request({ method: 'tasks/cancel', params: { taskId } }, GetTaskResultSchema));
            const result = await mine.client.request({ method: 'tasks/result', params: { taskId } }, CallToolResultSchema);
            assert.match(result.content[0].text, /bees/);
        }));
}
