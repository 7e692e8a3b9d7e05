// Three (or any number of) clients on the official TypeScript SDK, driven line by line by driver.py.
//
// worker.py is the same on the Python SDK, and says why it is as it is: keep the two alike, request by request.

import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client as SdkClient } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CreateMessageRequestSchema, ElicitRequestSchema, ListRootsRequestSchema } from '@modelcontextprotocol/sdk/types.js';

const LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'];
const ROLES = { 'sampling/createMessage': 'sampling', 'elicitation/create': 'elicitation', 'roots/list': 'roots' };
const SHARED = 'iso://shared';
const DEADLINE = 30;

class Client {
    constructor(name, everyone, role) {
        Object.assign(this, { name, everyone, role });
        this.nextOne = everyone[(everyone.indexOf(name) + 1) % everyone.length];
        this.calls = new Map(); // JSON-RPC id -> what was asked, and what came back for it so far
        this.markers = new Set();
        this.level = 0;
        this.soloLogs = null;
        this.subscribed = new Set();
        this.updates = {};
        this.counts = { requests: 0, answers: 0, progress: 0, logs: 0, updates: 0, questions: 0, cancelled: 0, 'highest id': 0 };
        this.violations = [];
        this.waiting = new Set();
    }

    // What it may see

    violation(what, message) {
        const shown = message === undefined ? '' : `: ${JSON.stringify(message).slice(0, 400)}`;
        this.violations.push(`${this.name}: ${what}${shown}`);
    }

    outgoing({ method, id, params = {} }) {
        if (method === 'notifications/cancelled') {
            this.calls.get(params.requestId).cancelled = true;
            this.counts.cancelled += 1;
        }
        if (method === undefined || id === undefined) return;
        const args = params.arguments ?? {};
        this.counts.requests += 1;
        this.counts['highest id'] = Math.max(this.counts['highest id'], id);
        if (args.marker !== undefined) this.markers.add(args.marker);
        this.calls.set(id, {
            method,
            tool: params.name,
            marker: args.marker,
            args,
            token: params._meta?.progressToken,
            progress: 0,
            answers: 0,
            asked: 0,
            cancelled: false
        });
    }

    incoming(message) {
        if (message.method === undefined) this.answer(message);
        else if (message.id !== undefined) this.question(message);
        else if (message.method === 'notifications/progress') this.onProgress(message);
        else if (message.method === 'notifications/message') this.log(message);
        else if (message.method === 'notifications/resources/updated') this.update(message);
        else this.violation('a message nobody could want', message);
        for (const look of this.waiting) look();
    }

    answer(message) {
        this.counts.answers += 1;
        const call = this.calls.get(message.id);
        if (call === undefined) return this.violation('an answer to an id it never used', message);
        call.answers += 1;
        if (call.answers > 1) return this.violation('a second answer', message);
        const { marker, tool } = call;
        if (tool === 'hang') return this.violation('an answer to a request it had cancelled', message);
        if (marker === undefined) {
            if (message.result === undefined) this.violation(`an error for ${call.method}`, message);
            return;
        }
        if (tool === 'fail') {
            if (message.error?.message !== marker) this.violation(`not the error of ${marker}`, message);
            return;
        }
        const text = message.result?.content?.[0]?.text;
        if (tool === 'ask' && text !== undefined) {
            const answer = JSON.parse(text);
            if (answer.marker !== marker) this.violation(`not the answer to ${marker}`, message);
            else if (call.args.kind === this.role) {
                if (!JSON.stringify(answer.result).includes(`answer to ${marker}`))
                    this.violation(`the question of ${marker} was not answered by its own client`, message);
            } else if (answer.error === null) this.violation(`somebody answered the question of ${marker}, which nobody could`, message);
        } else if (text !== marker + '.'.repeat(call.args.size ?? 0)) this.violation(`not the answer to ${marker}`, message);
    }

    question(message) {
        this.counts.questions += 1;
        const marker = message.params?._meta?.marker;
        const asking = [...this.calls.values()].find(call => call.tool === 'ask' && call.marker === marker);
        if (this.role === undefined || ROLES[message.method] !== this.role) this.violation('a request of a kind it never offered to answer', message);
        else if (asking === undefined || asking.answers > 0) this.violation('a question that none of its open requests led to', message);
        else if (asking.asked > 0) this.violation('a question asked twice', message);
        else asking.asked += 1;
    }

    onProgress(message) {
        this.counts.progress += 1;
        const call = this.calls.get(message.params.progressToken);
        if (call === undefined || call.token === undefined) return this.violation('progress for a token it did not send', message);
        if (message.params.message !== call.marker) return this.violation(`progress that is not of ${call.marker}`, message);
        if (message.params.progress !== call.progress + 1 || call.answers > 0)
            return this.violation(`progress after step ${call.progress}, ${call.answers} answers`, message);
        call.progress += 1;
    }

    log(message) {
        this.counts.logs += 1;
        const { level, data } = message.params;
        if (!this.markers.has(data?.marker) || !data.marker.startsWith(`${this.name}/`))
            return this.violation("a log message of another's", message);
        if (LEVELS.indexOf(level) < this.level) return this.violation(`a log message below its level ${LEVELS[this.level]}`, message);
        this.soloLogs?.push(level);
    }

    update(message) {
        this.counts.updates += 1;
        const { uri } = message.params;
        if (!this.subscribed.has(uri)) return this.violation('an update of what it had not subscribed to', message);
        this.updates[uri] = (this.updates[uri] ?? 0) + 1;
    }

    async until(condition, what) {
        if (condition()) return;
        await new Promise(resolve => {
            const look = () => condition() && done();
            const timer = setTimeout(() => {
                this.violation(`${what} did not arrive within ${DEADLINE} s`);
                done();
            }, DEADLINE * 1000);
            const done = () => {
                clearTimeout(timer);
                this.waiting.delete(look);
                resolve();
            };
            this.waiting.add(look);
        });
    }

    // What it does

    async connect(url, transport) {
        this.transport = transport === 'http' ? new StreamableHTTPClientTransport(new URL(url)) : new SSEClientTransport(new URL(url));
        this.transport.onmessage = message => this.incoming(message);
        const send = this.transport.send.bind(this.transport);
        this.transport.send = (message, options) => {
            this.outgoing(message);
            return send(message, options);
        };
        const capabilities = this.role === undefined ? {} : { [this.role]: {} };
        this.sdk = new SdkClient({ name: this.name, version: '1' }, { capabilities });
        this.sdk.onerror = error => this.complaint(error);
        if (this.role === 'sampling')
            this.sdk.setRequestHandler(CreateMessageRequestSchema, ({ params }) => ({
                role: 'assistant',
                model: 'test',
                content: { type: 'text', text: `answer to ${params.messages[0].content.text}` }
            }));
        if (this.role === 'elicitation')
            this.sdk.setRequestHandler(ElicitRequestSchema, ({ params }) => ({ action: 'accept', content: { answer: `answer to ${params.message}` } }));
        if (this.role === 'roots')
            this.sdk.setRequestHandler(ListRootsRequestSchema, ({ params }) => ({ roots: [{ uri: 'file:///', name: `answer to ${params._meta.marker}` }] }));
        await this.sdk.connect(this.transport);
        await this.sdk.listTools();
        await this.sdk.subscribeResource({ uri: SHARED });
        this.subscribed.add(SHARED);
    }

    complaint(error) {
        // What the SDK says to messages that pass its own cancellation; `incoming` has judged them already.
        if (/unknown message ID|unknown token/.test(error.message)) return;
        if (!this.closing) this.violation(`the SDK complains: ${error.message}`.slice(0, 400));
    }

    /** A call whose outcome `incoming` judges; that there is one, in time, is judged here. */
    async tool(name, marker, args = {}, options = {}) {
        try {
            await this.sdk.callTool({ name, arguments: { marker, ...args } }, undefined, { timeout: DEADLINE * 1000, ...options });
        } catch (error) {
            if (error.message.includes('Request timed out')) this.violation(`no answer to ${marker} within ${DEADLINE} s`);
        }
    }

    async cancelledTool(name, marker, delay, waitForProgress, args) {
        const controller = new AbortController();
        let began;
        const beginning = new Promise(resolve => (began = resolve));
        const call = this.tool(name, marker, args, { signal: controller.signal, ...(waitForProgress && { onprogress: began }) });
        // Should there be no progress, the call's own deadline ends the wait.
        if (waitForProgress) await Promise.race([beginning, call]);
        await sleep(delay);
        controller.abort('cancelled by the test');
        await call;
    }

    get nextId() {
        return this.sdk._requestMessageId;
    }

    async subscribe(round, id) {
        while (this.nextId < id) await this.sdk.ping();
        const uri = `iso://${this.name}/${round}`;
        this.subscribed.add(uri);
        await this.sdk.subscribeResource({ uri });
    }

    async run(round, shared) {
        const mark = what => `${this.name}/${round}/${what}`;
        const ms = (from, to) => from + Math.floor(Math.random() * (to - from + 1));
        const own = `iso://${this.name}/${round}`;
        const others = `iso://${this.nextOne}/${round}`;
        const onprogress = () => {};
        const calls = [
            () => this.tool('echo', mark('now')),
            () => this.tool('echo', mark('later'), { ms: ms(5, 60) }),
            () => this.tool('echo', mark('large'), { ms: ms(0, 20), size: ms(1, 60_000) }),
            () => this.tool('work', mark('work'), { ms: ms(10, 40), steps: 4 }, { onprogress }),
            () => this.tool('work', mark('more work'), { ms: ms(10, 60), steps: 3 }, { onprogress }),
            () => this.tool('fail', mark('fail')),
            () => this.tool('log', mark('log')),
            () => this.tool('touch', mark('touch'), { uris: [own, others, SHARED] }),
            this.role !== undefined
                ? () => this.tool('ask', mark('ask'), { kind: this.role })
                : () => this.tool('echo', mark('no ask'), { ms: ms(5, 30) }),
            () => this.cancelledTool('hang', mark('hang'), ms(0, 10), true, { ending: ['result', 'error'][ms(0, 1)], ms: ms(0, 10) }),
            () => this.cancelledTool('echo', mark('race'), ms(1, 9), false, { ms: 4 })
        ];
        for (let last = calls.length - 1; last > 0; last -= 1) {
            const other = ms(0, last);
            [calls[last], calls[other]] = [calls[other], calls[last]];
        }
        await Promise.all(calls.map(call => call()));
        await this.until(() => this.updates[own] >= 2, `the 2 updates of ${own}`);
        await this.until(() => this.updates[SHARED] >= shared, `update ${shared} of ${SHARED}`);
        for (const [uri, wanted] of [[own, 2], [SHARED, shared]])
            if (this.updates[uri] > wanted) this.violation(`${this.updates[uri]} updates of ${uri} instead of ${wanted}`);
        await this.tool('settled', mark('settled'));
        await this.sdk.unsubscribeResource({ uri: own });
        this.subscribed.delete(own);
        for (const [id, call] of this.calls) {
            if (call.answers === 0 && !call.cancelled) this.violation(`no answer to ${call.marker ?? call.method}, id ${id}`);
            if (call.tool === 'work' && call.progress !== call.args.steps)
                this.violation(`${call.progress} of the ${call.args.steps} steps of ${call.marker}`);
        }
    }

    async solo(round, level) {
        const mark = what => `${this.name}/${round}/${what}`;
        await this.sdk.setLoggingLevel(level);
        this.level = LEVELS.indexOf(level);
        this.soloLogs = [];
        await this.tool('log', mark('solo log'));
        const wanted = LEVELS.slice(this.level);
        await this.until(() => this.soloLogs.length >= wanted.length, `the log messages ${wanted} of ${mark('solo log')}`);
        if (String(this.soloLogs) !== String(wanted)) this.violation(`log messages ${this.soloLogs} instead of ${wanted}`);
        this.soloLogs = null;
        await this.tool('ask', mark('solo ask'), { kind: this.role === 'sampling' ? 'elicitation' : 'sampling' });
        await this.sdk.unsubscribeResource({ uri: SHARED });
        this.subscribed.delete(SHARED);
        const uris = [...this.everyone.map(name => `iso://${name}/${round}`), SHARED, 'iso://nobody'];
        await this.tool('touch', mark('solo touch'), { uris });
        this.subscribed.add(SHARED);
        await this.sdk.subscribeResource({ uri: SHARED });
    }

    async finish(shared) {
        await this.until(() => (this.updates[SHARED] ?? 0) >= shared, `update ${shared} of ${SHARED}`);
        await this.tool('settled', `${this.name}/end/settled`);
        await this.sdk.ping();
        if ((this.updates[SHARED] ?? 0) !== shared) this.violation(`${this.updates[SHARED]} updates of ${SHARED} instead of ${shared}`);
    }

    async close() {
        this.closing = true;
        await this.transport.terminateSession?.();
        await this.sdk.close();
    }
}

const setup = JSON.parse(process.argv[2]);
const clients = setup.names.map(name => new Client(name, setup.everyone, setup.roles[name]));
for (const client of clients) await client.connect(setup.url, setup.transport);

function reply() {
    const of = value => Object.fromEntries(clients.map(client => [client.name, value(client)]));
    const violations = clients.flatMap(client => client.violations);
    console.log(JSON.stringify({ next: of(client => client.nextId), violations, counts: of(client => client.counts) }));
}

reply();
for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    const each = action => Promise.all(clients.map(action));
    if (command.do === 'subscribe') await each(client => client.subscribe(command.round, command.id));
    else if (command.do === 'run') await each(client => client.run(command.round, command.shared[client.name]));
    else if (command.do === 'solo') await clients.find(client => client.name === command.who).solo(command.round, command.level);
    else if (command.do === 'finish') await each(client => client.finish(command.shared[client.name]));
    reply();
    if (command.do === 'finish') break;
}
await Promise.all(clients.map(client => client.close()));
process.exit(0);
