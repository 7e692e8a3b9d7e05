// What every cell of client era and server era has to do, as a client of the official SDK sees it. An era's driver brings
// `connect(url, name, capabilities)`, a peer that hides how its era does it. (py/checks.py is the same list.)

import assert from 'node:assert/strict';

// Some start a process for each of many requests, beside other cells that do the same.
const DEADLINE = 90_000;
const ROUNDS = 10;

/** Collects what arrives, and waits for it: looks only when something arrives. */
export class Inbox {
    progress = [];
    logs = [];
    updates = [];
    toolChanges = 0;
    #looking = new Set();

    arrived() {
        for (const look of this.#looking) look();
    }

    async until(condition, what) {
        if (condition()) return;
        await new Promise((resolve, reject) => {
            const done = settle => {
                clearTimeout(timer);
                this.#looking.delete(look);
                settle();
            };
            const look = () => condition() && done(resolve);
            const timer = setTimeout(() => done(() => reject(new Error(`${what} did not come`))), DEADLINE / 2);
            this.#looking.add(look);
        });
    }
}

/** Of `connect:URL`: the command that a client starts as its server over stdio. */
export function commandOf(url) {
    const [, remote] = url.match(/^connect:(.*)/) ?? [];
    return remote && { command: process.env.MCP_MUX_BIN, args: ['connect', remote, '--log-level', 'error'], stderr: 'ignore' };
}

/** How each client answers what it is asked: with its own name, so that one can see who was asked. */
export const answersOf = name => ({
    sampling: ({ messages }) => ({
        role: 'assistant',
        model: 'm',
        content: { type: 'text', text: `${name} says ${messages[0].content.text}` }
    }),
    elicitation: ({ mode, message }) =>
        mode === 'url' ? { action: 'accept' } : { action: 'accept', content: { confirm: true, note: `${name}: ${message}` } },
    roots: () => ({ roots: [{ uri: `file:///${name}`, name }] })
});

const noted = (name, message) => `accept ${JSON.stringify({ confirm: true, note: `${name}: ${message}` })}`;

/** The JSON-RPC error that the request must end with. */
async function errorOf(request) {
    const outcome = await request.then(
        result => assert.fail(`expected an error, got ${JSON.stringify(result)}`),
        error => error
    );
    if (outcome instanceof assert.AssertionError) throw outcome;
    assert.equal(typeof outcome.code, 'number', `not a JSON-RPC error: ${outcome.code ?? ''} ${outcome.message}`);
    return outcome;
}

async function becomes(peer, marker, wanted) {
    for (const end = Date.now() + DEADLINE / 2; Date.now() < end; await new Promise(resolve => setTimeout(resolve, 50))) {
        if ((await peer.text('what_became_of', { marker })) === wanted) return;
    }
    assert.fail(`the call in the server is not ${wanted}`);
}

export const checks = {
    call: async ({ ann }) => {
        const marker = 'grüße  "\\ \u2028 🎈';
        assert.equal(await ann.text('echo', { marker }), marker);
        assert.ok((await ann.tools()).includes('echo'));
    },
    progress: async ({ ann }) => {
        const before = ann.inbox.progress.length;
        assert.equal(await ann.text('progress', { steps: 3, marker: 'p' }, { progress: true }), 'p');
        await ann.inbox.until(() => ann.inbox.progress.length >= before + 3, 'progress');
        assert.deepEqual(ann.inbox.progress.slice(before), [1, 2, 3].map(step => `${step}/3 p ${step}`));
    },
    cancel: async ({ ann }) => {
        const controller = new AbortController();
        const before = ann.inbox.progress.length;
        const call = ann.call('slow', { marker: 'cancel-me' }, { progress: true, signal: controller.signal });
        call.catch(() => {});
        await ann.inbox.until(() => ann.inbox.progress.length > before, 'progress');
        controller.abort('the test says so');
        await assert.rejects(call);
        await becomes(ann, 'cancel-me', 'cancelled');
    },
    sampling: async ({ ann }) => assert.equal(await ann.text('sample', { marker: 's' }), 'ann says s'),
    'elicitation-form': async ({ ann }) => assert.equal(await ann.text('confirm', { marker: 'f' }), noted('ann', 'f')),
    'elicitation-url': async ({ ann }) => {
        assert.equal(await ann.text('visit', { marker: 'u' }), 'accept');
        const { mode, url, message } = ann.asked.at(-1);
        assert.deepEqual([mode, url, message], ['url', 'https://example.com/u', 'open u']);
    },
    roots: async ({ ann }) => assert.equal(await ann.text('roots', {}), 'file:///ann'),
    'several-rounds': async ({ ann }) => {
        assert.equal(await ann.text('two_rounds', { marker: 'r' }), `${noted('ann', 'r 1')}; ${noted('ann', 'r 2')}`);
    },
    'several-questions': async ({ ann }) => {
        assert.equal(await ann.text('three_at_once', { marker: 'q' }), `${noted('ann', 'q')}; ann says q; file:///ann`);
    },
    'question-in-a-prompt': async ({ ann }) => assert.equal(await ann.prompt('introduce'), 'Introduce ann: who?'),
    'undeclared-capability': async ({ mute }) => {
        assert.equal(await mute.text('echo', { marker: 'm' }), 'm');
        const { code } = await errorOf(mute.call('sample', { marker: 'm' }));
        if (mute.era === 'modern') assert.equal(code, -32021);
    },
    prompt: async ({ ann }) => assert.equal(await ann.prompt('greet', { who: 'you' }), 'Greet you'),
    logging: async ({ ann, mute }) => {
        await ann.text('log', { marker: 'l' }, { level: 'warning' });
        await ann.inbox.until(() => ann.inbox.logs.length >= 2, 'log messages');
        await ann.text('echo', { marker: 'l' });
        assert.deepEqual(ann.inbox.logs, ['warning l warning', 'error l error']);
        assert.deepEqual(mute.inbox.logs, []);
    },
    subscription: async ({ ann, mute }) => {
        const watch = await ann.watch({ uris: ['note:///one'] });
        await mute.text('touch', { uri: 'note:///two' });
        await mute.text('touch', { uri: 'note:///one' });
        await ann.inbox.until(() => ann.inbox.updates.length > 0, 'an update');
        assert.deepEqual(ann.inbox.updates, ['note:///one']);
        await watch.close();
        await mute.text('touch', { uri: 'note:///one' });
        await ann.text('echo', { marker: 'x' });
        assert.deepEqual([ann.inbox.updates, mute.inbox.updates], [['note:///one'], []]);
    },
    'list-change': async ({ ann, mute }) => {
        const watch = await ann.watch({ tools: true });
        const before = ann.inbox.toolChanges;
        await mute.text('add_tool', { name: `added-by-${ann.driver}` });
        await ann.inbox.until(() => ann.inbox.toolChanges > before, 'a list change');
        assert.ok((await ann.tools()).includes(`added-by-${ann.driver}`));
        await watch.close();
    },
    completion: async ({ ann }) => assert.deepEqual(await ann.complete('greet', 'who', 'pa'), ['paris', 'park']),
    resource: async ({ ann }) => assert.equal(await ann.read('note:///one'), 'first'),
    'tool-error': async ({ ann }) => {
        const { isError, content } = await ann.call('fail', { marker: 'e' });
        assert.deepEqual([isError, content[0].text], [true, 'failed: e']);
    },
    'protocol-error': async ({ ann }) => assert.equal((await errorOf(ann.call('no-such-tool', {}))).code, -32602),
    'missing-resource': async ({ ann }) => {
        const { code, data } = await errorOf(ann.read('note:///nowhere'));
        assert.deepEqual([code, data?.uri], [ann.era === 'modern' ? -32602 : -32002, 'note:///nowhere']);
    },
    ping: async ({ ann }) => {
        if (ann.era === 'modern') return '2026-07-28 has no ping';
        await ann.ping();
    },
    'two-clients': async ({ ann, mute }) => {
        const use = async (peer, name) => {
            const before = peer.inbox.progress.length;
            const markers = Array.from({ length: ROUNDS }, (_, i) => `secret of ${name} ${i}`);
            const results = await Promise.all(markers.map(marker => peer.text('secret', { marker }, { progress: true })));
            assert.deepEqual(results, markers);
            await peer.inbox.until(() => peer.inbox.progress.length >= before + 2 * ROUNDS, 'progress');
            const wanted = markers.flatMap(marker => [`1/2 ${marker}`, `2/2 ${marker}`]).sort();
            assert.deepEqual(peer.inbox.progress.slice(before).sort(), wanted);
        };
        await Promise.all([use(ann, 'ann'), use(mute, 'mute')]);
    },
    'two-clients-asked': async ({ connect, askingUrl }) => {
        const use = async name => {
            const peer = await connect(askingUrl, name, { sampling: true, elicitation: true, roots: true });
            for (let round = 0; round < ROUNDS; round += 1) {
                const marker = `${name}-${round}`;
                assert.equal(await peer.text('sample', { marker }), `${name} says ${marker}`);
                assert.equal(await peer.text('confirm', { marker }), noted(name, marker));
                assert.equal(await peer.text('roots', {}), `file:///${name}`);
            }
            assert.ok(peer.asked.every(({ message }) => message.startsWith(name)), 'it was asked what another has to answer');
            await peer.close();
        };
        await Promise.all([use('bea'), use('cat')]);
    },
    crash: async ({ ann, mute, canCrash }) => {
        if (!canCrash) return 'nothing starts a server again that serves HTTP by itself';
        const pid = await ann.text('pid', {});
        const before = mute.inbox.progress.length;
        const bystander = mute.call('slow', { marker: 'bystander' }, { progress: true });
        bystander.catch(() => {});
        await mute.inbox.until(() => mute.inbox.progress.length > before, 'progress');
        await errorOf(ann.call('crash', {}));
        await errorOf(bystander);
        assert.notEqual(await ann.text('pid', {}), pid);
        assert.equal(await ann.text('sample', { marker: 'again' }), 'ann says again');
        const watch = await ann.watch({ uris: ['note:///two'] });
        ann.inbox.updates.length = 0;
        await mute.text('touch', { uri: 'note:///two' });
        await ann.inbox.until(() => ann.inbox.updates.includes('note:///two'), 'an update from the new process');
        await watch.close();
    }
};

/** Runs the checks against the URL of the command line, one line each. */
export async function main(driver, connect) {
    const [url, askingUrl = url, crashes] = process.argv.slice(2);
    const world = { connect, askingUrl, canCrash: crashes !== 'no-crash' };
    let ready;
    try {
        world.ann = await connect(url, 'ann', { sampling: true, elicitation: true, roots: true });
        world.mute = await connect(url, 'mute', {});
        world.ann.driver = driver;
        ready = true;
    } catch (error) {
        console.log(`connect FAILED ${oneLine(error)}`);
    }
    for (const [name, check] of Object.entries(ready ? checks : {})) {
        let timer;
        const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error(`not within ${DEADLINE} ms`)), DEADLINE)));
        try {
            const reason = await Promise.race([check(world), late]);
            console.log(reason === undefined ? `${name} ok` : `${name} n/a ${reason}`);
        } catch (error) {
            console.log(`${name} FAILED ${oneLine(error)}`);
        }
        clearTimeout(timer);
    }
    if (ready) await Promise.allSettled([world.ann.close(), world.mute.close()]);
    process.exit(0);
}

const oneLine = error => `${error.message}`.replace(/\s+/g, ' ').slice(0, 400);
