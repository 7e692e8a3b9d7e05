// A client of the official TypeScript SDK 1.x, of 2025-11-25.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
    CreateMessageRequestSchema,
    ElicitRequestSchema,
    ListRootsRequestSchema,
    LoggingMessageNotificationSchema,
    ResourceUpdatedNotificationSchema,
    ToolListChangedNotificationSchema
} from '@modelcontextprotocol/sdk/types.js';
import { Inbox, answersOf, commandOf, main } from './checks.mjs';

const TIMEOUT = 20_000;

async function connect(url, name, can) {
    const answers = answersOf(name);
    const capabilities = {
        ...(can.sampling && { sampling: {} }),
        ...(can.elicitation && { elicitation: { form: {}, url: {} } }),
        ...(can.roots && { roots: {} })
    };
    const client = new Client({ name, version: '1' }, { capabilities });
    const inbox = new Inbox();
    const asked = [];
    if (can.sampling) client.setRequestHandler(CreateMessageRequestSchema, ({ params }) => answers.sampling(params));
    if (can.elicitation) client.setRequestHandler(ElicitRequestSchema, ({ params }) => (asked.push(params), answers.elicitation(params)));
    if (can.roots) client.setRequestHandler(ListRootsRequestSchema, answers.roots);
    const note = (schema, take) => client.setNotificationHandler(schema, ({ params }) => (take(params), inbox.arrived()));
    note(LoggingMessageNotificationSchema, ({ level, data }) => inbox.logs.push(`${level} ${data}`));
    note(ResourceUpdatedNotificationSchema, ({ uri }) => inbox.updates.push(uri));
    note(ToolListChangedNotificationSchema, () => (inbox.toolChanges += 1));
    const command = commandOf(url);
    const transport = command ? new StdioClientTransport(command) : new StreamableHTTPClientTransport(new URL(url));
    // As it arrives: the SDK's callback misses progress that arrives together with the response.
    transport.onmessage = ({ method, params }) => {
        if (method !== 'notifications/progress') return;
        inbox.progress.push(`${params.progress}/${params.total} ${params.message}`);
        inbox.arrived();
    };
    await client.connect(transport);

    const call = async (tool, args, { progress, signal, level } = {}) => {
        if (level) await client.setLoggingLevel(level);
        const options = { timeout: TIMEOUT, signal, ...(progress && { onprogress: () => {} }) };
        return client.callTool({ name: tool, arguments: args }, undefined, options);
    };
    return {
        era: 'legacy',
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
        watch: async ({ uris = [] }) => {
            for (const uri of uris) await client.subscribeResource({ uri });
            return { close: () => Promise.all(uris.map(uri => client.unsubscribeResource({ uri }))) };
        },
        ping: () => client.ping(),
        close: async () => {
            await transport.terminateSession?.();
            await client.close();
        }
    };
}

await main('typescript', connect);
