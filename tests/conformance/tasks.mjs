// The tasks extension (SEP-2663), which the SDK has the types of and no more: a call goes on after its answer, and is asked
// about, given answers and cancelled by its id.

import { randomUUID } from 'node:crypto';
import { CLIENT_CAPABILITIES_META_KEY, MissingRequiredClientCapabilityError, ProtocolError } from '@modelcontextprotocol/server';
import { z } from 'zod';

export const EXTENSION = 'io.modelcontextprotocol/tasks';
const LIFE_MS = 600_000;
const tasks = new Map();

const declared = ({ mcpReq }) => mcpReq.envelope?.[CLIENT_CAPABILITIES_META_KEY]?.extensions?.[EXTENSION] !== undefined;
function demand(context) {
    if (declared(context)) return;
    throw new MissingRequiredClientCapabilityError({ requiredCapabilities: { extensions: { [EXTENSION]: {} } } });
}

class Task {
    #abort = new AbortController();
    #waiting = {};

    constructor(work) {
        const now = new Date().toISOString();
        this.state = { taskId: randomUUID(), status: 'working', createdAt: now, lastUpdatedAt: now, ttlMs: LIFE_MS, pollIntervalMs: 100 };
        this.created = { ...this.state };
        tasks.set(this.state.taskId, this);
        setTimeout(() => tasks.delete(this.state.taskId), LIFE_MS).unref();
        const io = { signal: this.#abort.signal, ask: questions => this.#ask(questions) };
        work(io).then(
            result => this.#become({ status: 'completed', result }),
            error => this.#become({ status: 'failed', error: { code: -32603, message: error.message } })
        );
    }

    get isOver() {
        return ['completed', 'failed', 'cancelled'].includes(this.state.status);
    }

    #become(change) {
        if (!this.isOver) Object.assign(this.state, change, { lastUpdatedAt: new Date().toISOString() });
    }

    #ask(questions) {
        const answers = Object.entries(questions).map(([key, question]) => {
            this.#waiting[key] = { question };
            return new Promise(resolve => (this.#waiting[key].resolve = answer => resolve([key, answer])));
        });
        this.#show();
        return Promise.all(answers).then(Object.fromEntries);
    }

    #show() {
        const open = Object.entries(this.#waiting).map(([key, { question }]) => [key, question]);
        this.#become(
            open.length > 0
                ? { status: 'input_required', inputRequests: Object.fromEntries(open) }
                : { status: 'working', inputRequests: undefined }
        );
    }

    answer(responses) {
        for (const [key, response] of Object.entries(responses)) {
            this.#waiting[key]?.resolve(response);
            delete this.#waiting[key];
        }
        this.#show();
    }

    cancel() {
        this.#become({ status: 'cancelled', inputRequests: undefined });
        this.#abort.abort();
    }
}

/** Runs `work` as a task where the client knows tasks; where not, in the call itself, unless it can only be a task. */
export function asTask(context, io, work, { required = false } = {}) {
    if (required) demand(context);
    if (!declared(context)) return work(io);
    return { resultType: 'task', ...new Task(work).created };
}

/** Adds the methods of the extension to a server. */
export function serveTasks(server) {
    const add = (method, handle) =>
        server.setRequestHandler(method, { params: z.looseObject({ taskId: z.string() }) }, ({ taskId }, context) => {
            demand(context);
            const task = tasks.get(taskId);
            if (task === undefined) throw new ProtocolError(-32602, `Unknown task: ${taskId}`);
            return handle(task, context) ?? {};
        });
    add('tasks/get', task => task.state);
    add('tasks/cancel', task => task.cancel());
    // The SDK takes the answers out of the params of whatever method.
    add('tasks/update', (task, { mcpReq }) => task.answer(mcpReq.inputResponses ?? {}));
}
