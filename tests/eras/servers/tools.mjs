// What the tests of the eras want from a server: one tool for each thing that a request may do. `marker` says whose
// request it was, wherever it shows up.

export const info = { name: 'mcp-mux-eras', version: '1.0.0' };
const text = value => ({ content: [{ type: 'text', text: value }] });
const schema = (...names) => ({
    type: 'object',
    properties: Object.fromEntries(names.map(name => [name, { type: name === 'steps' ? 'integer' : 'string' }])),
    required: names
});
const form = message => ({
    method: 'elicitation/create',
    params: {
        mode: 'form',
        message,
        requestedSchema: { type: 'object', properties: { confirm: { type: 'boolean' }, note: { type: 'string' } }, required: ['confirm'] }
    }
});
const url = marker => ({
    method: 'elicitation/create',
    params: { mode: 'url', message: `open ${marker}`, url: `https://example.com/${marker}` }
});
const sampling = words => ({
    method: 'sampling/createMessage',
    params: { messages: [{ role: 'user', content: { type: 'text', text: words } }], maxTokens: 100 }
});
const roots = { method: 'roots/list', params: {} };
const short = answer => [answer.action, answer.content && JSON.stringify(answer.content)].filter(Boolean).join(' ');

// What became of the calls of `slow`: marker → running, cancelled, done.
const slow = {};
const values = { 'note:///one': 'first', 'note:///two': 'second' };

export const tools = {
    echo: { inputSchema: schema('marker'), run: ({ marker }) => text(marker) },
    pid: { inputSchema: schema(), run: () => text(`${process.pid}`) },
    era: { description: 'The era in which this request reached the server', inputSchema: schema(), run: (_, io) => text(io.era) },
    secret: {
        description: 'Keeps a secret while others are served',
        inputSchema: schema('marker'),
        run: async ({ marker }, io) => {
            await io.progress(1, 2, marker);
            await new Promise(resolve => setTimeout(resolve, 5));
            await io.progress(2, 2, marker);
            return text(marker);
        }
    },
    progress: {
        inputSchema: schema('steps', 'marker'),
        run: async ({ steps, marker }, io) => {
            for (let step = 1; step <= steps; step += 1) await io.progress(step, steps, `${marker} ${step}`);
            return text(marker);
        }
    },
    slow: {
        description: 'Runs until it is cancelled, for a minute at most',
        inputSchema: schema('marker'),
        run: async ({ marker }, io) => {
            slow[marker] = 'running';
            await io.progress(1, undefined, marker);
            await new Promise(resolve => {
                setTimeout(resolve, 60_000).unref();
                io.signal.addEventListener('abort', resolve);
            });
            slow[marker] = io.signal.aborted ? 'cancelled' : 'done';
            return text(marker);
        }
    },
    what_became_of: { inputSchema: schema('marker'), run: ({ marker }) => text(slow[marker] ?? 'unknown') },
    sample: {
        inputSchema: schema('marker'),
        run: async ({ marker }, io) => text((await io.ask({ completion: sampling(marker) })).completion.content.text)
    },
    confirm: {
        inputSchema: schema('marker'),
        run: async ({ marker }, io) => text(short((await io.ask({ question: form(marker) })).question))
    },
    visit: {
        inputSchema: schema('marker'),
        run: async ({ marker }, io) => text(short((await io.ask({ link: url(marker) })).link))
    },
    roots: {
        inputSchema: schema(),
        run: async (_, io) => text((await io.ask({ folders: roots })).folders.roots.map(root => root.uri).join(' '))
    },
    two_rounds: {
        inputSchema: schema('marker'),
        run: async ({ marker }, io) => {
            const { first } = await io.ask({ first: form(`${marker} 1`) });
            const { second } = await io.ask({ second: form(`${marker} 2`) });
            return text(`${short(first)}; ${short(second)}`);
        }
    },
    three_at_once: {
        inputSchema: schema('marker'),
        run: async ({ marker }, io) => {
            const questions = { question: form(marker), completion: sampling(marker), folders: roots };
            const { question, completion, folders } = await io.ask(questions);
            return text(`${short(question)}; ${completion.content.text}; ${folders.roots.map(root => root.uri).join(' ')}`);
        }
    },
    log: {
        inputSchema: schema('marker'),
        run: async ({ marker }, io) => {
            for (const level of ['debug', 'info', 'warning', 'error']) await io.log(level, `${marker} ${level}`);
            return text(marker);
        }
    },
    touch: {
        inputSchema: schema('uri'),
        run: async ({ uri }, io) => {
            await io.resourceUpdated(uri);
            return text(uri);
        }
    },
    add_tool: {
        inputSchema: schema('name'),
        run: async ({ name }, io) => {
            await io.addTool(name, { inputSchema: schema(), run: () => text(name) });
            return text(name);
        }
    },
    fail: { inputSchema: schema('marker'), run: ({ marker }) => ({ ...text(`failed: ${marker}`), isError: true }) },
    crash: { inputSchema: schema(), run: () => process.exit(3) }
};
for (const [name, tool] of Object.entries(tools)) tool.description ??= `The tool ${name}`;

export const resources = Object.keys(values).map(uri => ({ uri, name: uri.slice('note:///'.length), mimeType: 'text/plain' }));
export const templates = [{ uriTemplate: 'note:///{name}', name: 'note', mimeType: 'text/plain' }];
export const read = uri => values[uri] && { contents: [{ uri, mimeType: 'text/plain', text: values[uri] }] };

export const prompts = {
    greet: {
        description: 'Greets',
        arguments: [{ name: 'who', required: true }],
        run: ({ who }) => ({ messages: [{ role: 'user', content: { type: 'text', text: `Greet ${who}` } }] })
    },
    introduce: {
        description: 'Asks who it is for',
        run: async (_, io) => {
            const { who } = await io.ask({ who: form('who?') });
            return { messages: [{ role: 'user', content: { type: 'text', text: `Introduce ${who.content.note}` } }] };
        }
    }
};

export function complete({ argument: { value } }) {
    const found = ['paris', 'park', 'rome'].filter(word => word.startsWith(value));
    return { completion: { values: found, total: found.length, hasMore: false } };
}
