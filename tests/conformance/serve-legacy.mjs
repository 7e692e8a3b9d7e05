// Serves tables of tools, resources and prompts as a server of 2025-11-25 and before on the official SDK 1.x. Over stdio;
// with `--http PORT` over HTTP by the SDK itself, which shows what a server scores without mcp-mux.

import { randomUUID } from 'node:crypto';
import { InMemoryEventStore } from '@modelcontextprotocol/sdk/examples/shared/inMemoryEventStore.js';
import { createMcpExpressApp } from '@modelcontextprotocol/sdk/server/express.js';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import {
    CallToolRequestSchema,
    CompleteRequestSchema,
    CreateMessageResultSchema,
    ElicitResultSchema,
    GetPromptRequestSchema,
    ListPromptsRequestSchema,
    ListResourcesRequestSchema,
    ListResourceTemplatesRequestSchema,
    ListRootsResultSchema,
    ListToolsRequestSchema,
    LoggingLevelSchema,
    ReadResourceRequestSchema,
    SetLevelRequestSchema,
    SubscribeRequestSchema,
    UnsubscribeRequestSchema
} from '@modelcontextprotocol/sdk/types.js';

const HTTP_PORT = process.argv.includes('--http') ? Number(process.argv[process.argv.indexOf('--http') + 1]) : undefined;

const LEVELS = LoggingLevelSchema.options;
const RESULTS = {
    'sampling/createMessage': CreateMessageResultSchema,
    'elicitation/create': ElicitResultSchema,
    'roots/list': ListRootsResultSchema
};
const error = (code, message, data) => Object.assign(new Error(message), { code, data });

// One for each session; over stdio there is one.
const instances = new Set();
const everybody = action => Promise.all([...instances].map(action));

function build({ info, tools, prompts, resources, templates, read, complete }) {
    const server = new Server(info, {
        capabilities: {
            tools: { listChanged: true },
            prompts: { listChanged: true },
            resources: { listChanged: true, subscribe: true },
            logging: {},
            completions: {}
        },
        instructions: 'For tests.'
    });
    const instance = { server, subscriptions: new Set() };
    instances.add(instance);
    server.onclose = () => instances.delete(instance);
    let threshold = 'debug';

    const changes = {
        toolsChanged: () => everybody(each => each.server.sendToolListChanged()),
        promptsChanged: () => everybody(each => each.server.sendPromptListChanged()),
        resourceUpdated: uri => everybody(each => each.subscriptions.has(uri) && each.server.sendResourceUpdated({ uri })),
        addTool: (name, tool) => {
            tools[name] = tool;
            return changes.toolsChanged();
        }
    };
    const ioOf = extra => {
        // What a client's error says is passed on: the code and the data are what matters to whoever called.
        const put = ({ method, params }) => {
            const withId = params.mode === 'url' ? { ...params, elicitationId: randomUUID() } : params;
            return extra.sendRequest({ method, params: withId }, RESULTS[method]);
        };
        const io = {
            ...changes,
            ask: async questions => {
                const answers = await Promise.all(Object.values(questions).map(put));
                return Object.fromEntries(Object.keys(questions).map((key, i) => [key, answers[i]]));
            },
            askWhatCanBe: async questions => {
                const capabilities = server.getClientCapabilities() ?? {};
                const can = Object.entries(questions).filter(([, { method }]) => capabilities[method.split('/')[0]] !== undefined);
                const answers = await Promise.allSettled(can.map(([, question]) => put(question)));
                return Object.fromEntries(can.map(([key], i) => [key, answers[i].value]).filter(([, answer]) => answer !== undefined));
            },
            log: async (level, data) => {
                if (LEVELS.indexOf(level) < LEVELS.indexOf(threshold)) return;
                await extra.sendNotification({ method: 'notifications/message', params: { level, data, logger: 'tests' } });
            },
            progress: async (progress, total, message) => {
                const progressToken = extra._meta?.progressToken;
                if (progressToken === undefined) return;
                await extra.sendNotification({ method: 'notifications/progress', params: { progressToken, progress, total, message } });
            },
            signal: extra.signal,
            era: 'legacy',
            // The extension is one of the other era.
            asTask: work => work(io),
            closeStream: () => extra.closeSSEStream?.()
        };
        return io;
    };

    server.setRequestHandler(ListToolsRequestSchema, () => ({
        tools: Object.entries(tools).map(([name, { description, inputSchema }]) => ({ name, description, inputSchema }))
    }));
    server.setRequestHandler(CallToolRequestSchema, ({ params }, extra) => {
        const tool = tools[params.name];
        if (tool === undefined) throw error(-32602, `Tool ${params.name} not found`);
        return tool.run(params.arguments ?? {}, ioOf(extra));
    });
    server.setRequestHandler(ListPromptsRequestSchema, () => ({
        prompts: Object.entries(prompts).map(([name, { description, arguments: args }]) => ({ name, description, arguments: args }))
    }));
    server.setRequestHandler(GetPromptRequestSchema, ({ params }, extra) => {
        const prompt = prompts[params.name];
        if (prompt === undefined) throw error(-32602, `Prompt ${params.name} not found`);
        return prompt.run(params.arguments ?? {}, ioOf(extra));
    });
    server.setRequestHandler(ListResourcesRequestSchema, () => ({ resources }));
    server.setRequestHandler(ListResourceTemplatesRequestSchema, () => ({ resourceTemplates: templates }));
    server.setRequestHandler(ReadResourceRequestSchema, ({ params: { uri } }) => {
        const found = read(uri);
        if (found === undefined) throw error(-32002, `Resource not found: ${uri}`, { uri });
        return found;
    });
    server.setRequestHandler(SubscribeRequestSchema, ({ params }) => (instance.subscriptions.add(params.uri), {}));
    server.setRequestHandler(UnsubscribeRequestSchema, ({ params }) => (instance.subscriptions.delete(params.uri), {}));
    server.setRequestHandler(SetLevelRequestSchema, ({ params }) => ((threshold = params.level), {}));
    server.setRequestHandler(CompleteRequestSchema, ({ params }) => complete(params));
    return server;
}

export async function serve(features) {
    if (HTTP_PORT === undefined) {
        await build(features).connect(new StdioServerTransport());
        return;
    }
    const transports = new Map();
    const app = createMcpExpressApp();
    app.all('/mcp', async (request, response) => {
        const id = request.headers['mcp-session-id'];
        let transport = transports.get(id);
        if (transport === undefined) {
            if (id !== undefined) {
                response.status(404).json({ jsonrpc: '2.0', id: null, error: { code: -32001, message: 'Session not found' } });
                return;
            }
            // Whatever does not begin with `initialize` is refused by the transport.
            transport = new StreamableHTTPServerTransport({
                sessionIdGenerator: randomUUID,
                eventStore: new InMemoryEventStore(),
                retryInterval: 500,
                onsessioninitialized: started => transports.set(started, transport),
                onsessionclosed: closed => transports.delete(closed)
            });
            await build(features).connect(transport);
        }
        await transport.handleRequest(request, response, request.body);
    });
    app.listen(HTTP_PORT, '127.0.0.1', function () {
        console.log(`http://127.0.0.1:${this.address().port}/mcp`);
    });
}
