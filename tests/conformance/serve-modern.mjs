// Serves tables of tools, resources and prompts as a server of 2026-07-28 on the official SDK 2.x. Over stdio; with
// `--http PORT` over HTTP by the SDK itself, which shows what a server scores without mcp-mux.

import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { localhostHostValidation, localhostOriginValidation, toNodeHandler } from '@modelcontextprotocol/node';
import {
    CLIENT_CAPABILITIES_META_KEY,
    LOG_LEVEL_META_KEY,
    McpServer,
    ProtocolError,
    ResourceNotFoundError,
    ResourceTemplate,
    createMcpHandler,
    createRequestStateCodec,
    fromJsonSchema,
    inputRequired
} from '@modelcontextprotocol/server';
import { SkillsExtension, memorySkillFiles } from '@modelcontextprotocol/server/ext/skills';
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { EXTENSION as TASKS, asTask, serveTasks } from './tasks.mjs';

const HTTP_PORT = process.argv.includes('--http') ? Number(process.argv[process.argv.indexOf('--http') + 1]) : undefined;

// What `ask` throws when the client has to come back with answers.
class Unanswered {
    constructor(inputRequests) {
        this.inputRequests = inputRequests;
    }
}

// The answers of earlier rounds come back in the state: signed, since whoever holds it could change them.
const state = createRequestStateCodec({ key: randomBytes(32) });

/** Runs what a request asks for; a question without an answer becomes the result. */
async function served(run, args, context, changes) {
    const { mcpReq } = context;
    const answers = { ...mcpReq.requestState()?.answers, ...mcpReq.inputResponses };
    const capabilities = mcpReq.envelope?.[CLIENT_CAPABILITIES_META_KEY] ?? {};
    const can = ({ method }) => capabilities[method.split('/')[0]] !== undefined;
    const ask = async questions => {
        const open = Object.entries(questions).filter(([key, question]) => !fits(question, answers[key]));
        if (open.length > 0) throw new Unanswered(Object.fromEntries(open));
        return Object.fromEntries(Object.keys(questions).map(key => [key, answers[key]]));
    };
    const io = {
        ...changes,
        ask,
        askWhatCanBe: questions => ask(Object.fromEntries(Object.entries(questions).filter(([, question]) => can(question)))),
        // What was asked for with the request and no more is the SDK's to see to.
        log: (level, data) => mcpReq.log(level, data, 'tests'),
        progress: async (progress, total, message) => {
            const progressToken = mcpReq._meta?.progressToken;
            if (progressToken === undefined) return;
            await mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress, total, message } });
        },
        asTask: (work, options) => asTask(context, io, work, options),
        signal: mcpReq.signal,
        era: mcpReq.envelope === undefined ? 'legacy' : 'modern',
        closeStream: () => {}
    };
    try {
        return await run(args, io);
    } catch (error) {
        if (!(error instanceof Unanswered)) throw error;
        return inputRequired({ inputRequests: error.inputRequests, requestState: await state.mint({ answers }) });
    }
}

/** Whether this can be the answer to that: what a client sends is not to be trusted. */
function fits({ method }, answer) {
    if (answer === null || typeof answer !== 'object') return false;
    if (method === 'elicitation/create') return ['accept', 'decline', 'cancel'].includes(answer.action);
    return method === 'roots/list' ? Array.isArray(answer.roots) : typeof answer.role === 'string';
}

const HINT = { ttlMs: 1000, cacheScope: 'public' };

function build({ info, tools, prompts, resources, templates, read, complete, skills }, era, notifier) {
    const mcp = new McpServer(info, {
        capabilities: {
            tools: { listChanged: true },
            prompts: { listChanged: true },
            resources: { listChanged: true, subscribe: true },
            logging: {},
            completions: {},
            extensions: { [TASKS]: {} }
        },
        instructions: 'For tests.',
        requestState: { verify: state.verify },
        cacheHints: { 'prompts/list': HINT, 'resources/templates/list': HINT }
    });
    const { server } = mcp;
    const changes = {
        toolsChanged: () => (notifier ? notifier.toolsChanged() : server.sendToolListChanged()),
        promptsChanged: () => (notifier ? notifier.promptsChanged() : server.sendPromptListChanged()),
        resourceUpdated: uri => {
            if (notifier) return notifier.resourceUpdated(uri);
            // To a modern client the SDK sends what it listens for; a legacy one subscribes with requests of its own.
            return era === 'modern' || subscriptions.has(uri) ? server.sendResourceUpdated({ uri }) : undefined;
        },
        addTool: (name, tool) => {
            tools[name] = tool;
            register(name, tool);
            notifier?.toolsChanged();
        }
    };
    // Registered for what is said about them (in tools/list, and in the headers that HTTP checks); called by hand, since the
    // SDK would make a tool's result of every error.
    const register = (name, { description, inputSchema, run }) =>
        mcp.registerTool(name, { description, inputSchema: fromJsonSchema(inputSchema) }, run);
    for (const [name, tool] of Object.entries(tools)) register(name, tool);
    server.setRequestHandler('tools/call', ({ params }, context) => {
        const tool = tools[params.name];
        if (tool === undefined) throw new ProtocolError(-32602, `Tool ${params.name} not found`);
        return served(tool.run, params.arguments ?? {}, context, changes);
    });
    server.setRequestHandler('prompts/list', () => ({
        prompts: Object.entries(prompts).map(([name, { description, arguments: args }]) => ({ name, description, arguments: args }))
    }));
    server.setRequestHandler('prompts/get', ({ params }, context) => {
        const prompt = prompts[params.name];
        if (prompt === undefined) throw new ProtocolError(-32602, `Prompt ${params.name} not found`);
        return served(prompt.run, params.arguments ?? {}, context, changes);
    });
    server.setRequestHandler('completion/complete', ({ params }) => complete(params));
    const readOrFail = ({ href }) => {
        const found = read(href);
        if (found === undefined) throw new ResourceNotFoundError(href);
        return found;
    };
    for (const { name, uri, ...about } of resources) mcp.registerResource(name, uri, about, readOrFail);
    for (const { name, uriTemplate, ...about } of templates) {
        mcp.registerResource(name, new ResourceTemplate(uriTemplate, { list: undefined }), about, readOrFail);
    }
    const subscriptions = new Set();
    server.setRequestHandler('resources/subscribe', ({ params }) => (subscriptions.add(params.uri), {}));
    server.setRequestHandler('resources/unsubscribe', ({ params }) => (subscriptions.delete(params.uri), {}));
    serveTasks(server);
    skills?.attach(mcp);
    return mcp;
}

/** The extension that has `Mcp-Name` on its methods is not the SDK's, so it does not check it. */
function taskHeaderIsWrong(request, { method, params, id }) {
    if (!/^tasks\/(get|update|cancel)$/.test(method) || request.headers['mcp-name'] === params?.taskId) return undefined;
    return { jsonrpc: '2.0', id, error: { code: -32020, message: 'Mcp-Name is not the task of the body' } };
}

/** `legacy` is what becomes of clients of 2025-11-25 and before: `serve` or `reject`. */
export async function serve({ skills: files, ...tables }, { legacy = 'reject' } = {}) {
    const skills = files && (await SkillsExtension.load(memorySkillFiles(files)));
    const features = { ...tables, skills };
    if (HTTP_PORT === undefined) {
        serveStdio(({ era }) => build(features, era), { legacy });
        return;
    }
    const options = { legacy: legacy === 'serve' ? 'stateless' : legacy };
    const handler = createMcpHandler(({ era }) => build(features, era, handler.notify), options);
    const answer = toNodeHandler(handler);
    const [hostIsFine, originIsFine] = [localhostHostValidation(), localhostOriginValidation()];
    createServer(async (request, response) => {
        if (!hostIsFine(request, response) || !originIsFine(request, response)) return;
        if (request.method !== 'POST') return answer(request, response);
        const body = JSON.parse(await text(request));
        const wrong = taskHeaderIsWrong(request, body);
        if (wrong === undefined) return answer(request, response, body);
        response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify(wrong));
    }).listen(HTTP_PORT, '127.0.0.1', function () {
        console.log(`http://127.0.0.1:${this.address().port}/mcp`);
    });
}
