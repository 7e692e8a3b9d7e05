// TypeScript SDK client over stdio → mcp-mux connect → remote servers of others, and mcp-mux itself.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CallToolResultSchema, CreateTaskResultSchema, GetTaskResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { everythingRemote, everythingServer, fastmcpRemote, withMux, withRemote } from './mux.mjs';
import { errorOf, event, open } from './sdk.mjs';

async function withPeer(url, options, body) {
    const peer = await open(url, 'stdio', options);
    try {
        await body(peer);
    } finally {
        await peer.close();
    }
}

const sampling = ({ params }) => ({
    role: 'assistant',
    model: 'm',
    content: { type: 'text', text: `sampled ${params.systemPrompt ?? params.messages[0].content.text}` }
});

const everything = {
    http: body => withRemote(everythingRemote('streamableHttp'), '/mcp', body),
    sse: body => withRemote(everythingRemote('sse'), '/sse', body),
    'mcp-mux, http': body => withMux(everythingServer(), {}, mux => body(mux.mcpUrl)),
    'mcp-mux, sse': body => withMux(everythingServer(), {}, mux => body(mux.sseUrl))
};

for (const [name, withUrl] of Object.entries(everything)) {
    test(`connect to everything, ${name}: tools, resources, prompts, completion, progress`, () =>
        withUrl(url =>
            withPeer(url, {}, async peer => {
                assert.ok((await peer.client.listTools()).tools.some(tool => tool.name === 'echo'));
                assert.equal(await peer.text('echo', { message: 'héllo\u2028' }), 'Echo: héllo\u2028');
                const weather = await peer.call('get-structured-content', { location: 'Chicago' });
                assert.equal(weather.structuredContent.humidity, 82);
                const { contents } = await peer.client.readResource({ uri: 'demo://resource/dynamic/text/7' });
                assert.match(contents[0].text, /^Resource 7:/);
                const prompt = await peer.client.getPrompt({ name: 'args-prompt', arguments: { city: 'Köln' } });
                assert.equal(prompt.messages[0].content.text, "What's weather in Köln?");
                assert.equal((await errorOf(peer.client.getPrompt({ name: 'nope' }))).code, -32602);
                const { completion } = await peer.client.complete({
                    ref: { type: 'ref/prompt', name: 'completable-prompt' },
                    argument: { name: 'name', value: 'A' },
                    context: { arguments: { department: 'Engineering' } }
                });
                assert.deepEqual(completion.values, ['Alice']);
                await peer.text('trigger-long-running-operation', { duration: 0.4, steps: 4 }, { onprogress: () => {} });
                assert.deepEqual(peer.progress.map(({ progress, total }) => `${progress}/${total}`), ['1/4', '2/4', '3/4', '4/4']);
            })
        ));

    test(`connect to everything, ${name}: questions, cancellation, a task`, () =>
        withUrl(url => {
            const elicitation = () => ({ action: 'accept', content: { name: 'Ada', integer: 7 } });
            return withPeer(url, { sampling, elicitation }, async peer => {
                const text = await peer.text('trigger-sampling-request', { prompt: 'p', maxTokens: 10 });
                assert.match(text, /sampled You are a helpful test server\./);
                const asked = await peer.call('trigger-elicitation-request');
                assert.match(asked.content[1].text, /- Name: Ada/);
                const call = {
                    method: 'tools/call',
                    params: { name: 'simulate-research-query', arguments: { topic: 'bees' }, task: { ttl: 60_000 } }
                };
                const { taskId } = (await peer.client.request(call, CreateTaskResultSchema)).task;
                const get = { method: 'tasks/get', params: { taskId } };
                assert.equal((await peer.client.request(get, GetTaskResultSchema)).taskId, taskId);
                const result = await peer.client.request({ method: 'tasks/result', params: { taskId } }, CallToolResultSchema);
                assert.match(result.content[0].text, /bees/);
                const cancelled = peer.cancellable('trigger-long-running-operation', { duration: 1, steps: 10 });
                await peer.text('echo', { message: 'meanwhile' });
                await cancelled.cancel();
                await peer.text('trigger-long-running-operation', { duration: 1.2, steps: 1 });
                assert.ok(!peer.seen.some(message => message.id === cancelled.id && message.method === undefined));
            });
        }));
}

for (const modes of [[], ['json'], ['stateless'], ['stateless', 'json'], ['sse']]) {
    test(`connect to a Python server, ${modes.join(' ') || 'as it is'}`, () =>
        withRemote(fastmcpRemote(...modes), modes.includes('sse') ? '/sse' : '/mcp', url =>
            withPeer(url, { sampling }, async peer => {
                assert.equal(await peer.text('echo', { value: '\u{1f600}' }), '\u{1f600}');
                assert.equal((await peer.text('big', { count: 3_000_000 })).length, 3_000_000);
                assert.deepEqual((await peer.call('add', { a: 40, b: 2 })).structuredContent, { result: 42 });
                // A stateless server of this SDK has no session to ask in, nor one in which to find what is to be cancelled.
                if (modes.includes('stateless')) return;
                if (!modes.includes('json')) assert.equal(await peer.text('sample', { marker: 's' }), 'sampled s');
                const begun = event();
                const hanging = peer.cancellable('hang', { marker: 'c' }, { onprogress: begun.set });
                assert.equal(await peer.text('started', { marker: 'c' }), 'true');
                await hanging.cancel();
                assert.equal(await peer.text('cancelled', { marker: 'c' }), 'true');
            })
        ));
}
