// A remote server on the official TypeScript SDK whose streams can be resumed: `resumable_server.mjs PORT`, on /mcp. It keeps
// events as the SDK's own example does. (That of server-everything does not say which stream an event was of, so a stream of it
// that is resumed gets what was sent until then and nothing after.)

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import { InMemoryEventStore } from '@modelcontextprotocol/sdk/examples/shared/inMemoryEventStore.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { z } from 'zod';

const transports = new Map();

async function open() {
    const server = new McpServer({ name: 'resumable', version: '1' });
    server.registerTool('steps', { inputSchema: { count: z.number() } }, async ({ count }, { _meta, sendNotification }) => {
        for (let step = 1; step <= count; step += 1) {
            const params = { progressToken: _meta?.progressToken, progress: step, total: count };
            if (_meta?.progressToken !== undefined) await sendNotification({ method: 'notifications/progress', params });
            await setTimeout(50);
        }
        return { content: [{ type: 'text', text: `${count} steps` }] };
    });
    const transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        eventStore: new InMemoryEventStore(),
        retryInterval: 100,
        onsessioninitialized: id => transports.set(id, transport)
    });
    await server.connect(transport);
    return transport;
}

const http = createServer(async (request, response) => {
    const id = request.headers['mcp-session-id'];
    const transport = id === undefined ? await open() : transports.get(id);
    if (transport === undefined) return response.writeHead(404).end();
    await transport.handleRequest(request, response);
});
http.listen(Number(process.argv[2]), '127.0.0.1');
