// A client of the official TypeScript SDK 2.x, of 2026-07-28 and nothing older.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { Inbox, answersOf, commandOf, main } from './checks.mjs';

const TIMEOUT = 20_000;

async function connect(url, name, can) {
    const answers = answersOf(name);
    const capabilities = {
        ...(can.sampling && { sampling: {} }),
        ...(can.elicitation && { elicitation: { form: {}, url: {} } }),
        ...(can.roots && { roots: {} })
    };
    const client = new Client({ name, version: '1' }, { capabilities, versionNegotiation: { mode: { pin: '2026-07-28' } } });
    const inbox = new Inbox();
    const asked = [];
    if (can.sampling) client.setRequestHandler('sampling/createMessage', ({ params }) => answers.sampling(params));
    if (can.elicitation) client.setRequestHandler('elicitation/create', ({ params }) => (asked.push(params), answers.elicitation(params)));
    if (can.roots) client.setRequestHandler('roots/list', answers.roots);
    const note = (method, take) => client.setNotificationHandler(method, ({ params }) => (take(params), inbox.arrived()));
    note('notifications/message', ({ level, data }) => inbox.logs.push(`${level} ${data}`));
    note('notifications/resources/updated', ({ uri }) => inbox.updates.push(uri));
    note('notifications/tools/list_changed', () => (inbox.toolChanges += 1));
    const command = commandOf(url);
    const transport = command ? new StdioClientTransport(command) : new StreamableHTTPClientTransport(new URL(url));
    const noteProgress = ({ progress: done, total, message }) => {
        inbox.progress.push(`${done}/${total} ${message}`);
        inbox.arrived();
    };
    // As it arrives: over stdio progress and the response are read together, and the SDK's callback misses what they bring.
    if (command) transport.onmessage = ({ method, params }) => method === 'notifications/progress' && noteProgress(params);
    await client.connect(transport);

    const call = (tool, args, { progress, signal, level } = {}) =>
        client.callTool(
            { name: tool, arguments: args, ...(level && { _meta: { 'io.modelcontextprotocol/logLevel': level } }) },
            {
                timeout: TIMEOUT,
                signal,
                ...(progress && { onprogress: command ? () => {} : noteProgress })
            }
        );
    return {
        era: 'modern',
        inbox,
        asked,
        call,
        text: async (...args) => {
            const { content, isError } = await call(...args);
            if (isError) throw new Error(`${args[0]} failed: ${content[0]?.text}`);
            return content[0].text;
        },
        tools: async () => (await client.listTools()).tools.map(tool => tool.name),
        prompt: async (prompt, args) => (await client.getPrompt({ name: prompt, arguments: args })).messages[0].content.text,
        read: async uri => (await client.readResource({ uri })).contents[0].text,
        complete: async (prompt, argument, value) => {
            const ref = { type: 'ref/prompt', name: prompt };
            return (await client.complete({ ref, argument: { name: argument, value } })).completion.values;
        },
        watch: ({ uris, tools }) =>
            client.listen({ ...(uris && { resourceSubscriptions: uris }), ...(tools && { toolsListChanged: true }) }),
        close: () => client.close()
    };
}

await main('typescript', connect);
