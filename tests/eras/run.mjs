// Starts servers, mcp-mux and the drivers of each cell, and counts what the drivers say. See run.sh.

import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { start as startMux } from '../third_party/js/mux.mjs';
import { checks } from './js/checks.mjs';
import { oddities } from './js/odd.mjs';

const HERE = import.meta.dirname;
const NODE = process.execPath;
const DRIVER_DEADLINE = 300_000;
const python = era => path.join(HERE, `.venv-${era}/bin/python`);
const server = name => [NODE, path.join(HERE, `servers/${name}.mjs`)];
const driver = (era, language) =>
    language === 'python' ? [python(era), '-W', 'ignore', path.join(HERE, `py/${era}.py`)] : [NODE, path.join(HERE, `js/${era}.mjs`)];

const cells = [
    { name: 'direct legacy', client: 'legacy', server: 'legacy', direct: true },
    { name: 'direct modern', client: 'modern', server: 'modern', direct: true },
    ...['legacy', 'modern'].flatMap(client =>
        ['legacy', 'modern', 'dual'].map(kind => ({ name: `${client}-client/${kind}-server`, client, server: kind }))
    ),
    // A client that speaks stdio alone, in front of servers that speak HTTP.
    ...['legacy', 'modern'].flatMap(client =>
        ['legacy', 'modern'].flatMap(kind => [
            { name: `connect ${client}-client/${kind}-server`, client, server: kind, direct: true, connect: true },
            { name: `connect ${client}-client/mcp-mux/${kind}-server`, client, server: kind, connect: true }
        ])
    ),
    { name: 'odd' }
];

const total = { passed: 0, failed: 0 };
function report(name, outcome) {
    if (outcome === 'ok') total.passed += 1;
    if (outcome.startsWith('FAILED')) total.failed += 1;
    console.log(`${name} ${outcome}`);
}
const failure = error => `FAILED ${error.message.replace(/\s+/g, ' ').slice(0, 400)}`;

/** Our server by itself, at the URL that it prints. */
async function startDirect([program, ...args]) {
    const child = spawn(program, [...args, '--http', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const mcpUrl = await new Promise((resolve, reject) => {
        createInterface({ input: child.stdout }).once('line', resolve);
        child.once('exit', code => reject(new Error(`${args} ended with ${code}`)));
    });
    return { mcpUrl, stop: () => child.kill() };
}

async function drive(cell, language) {
    const name = `${cell.name}/${language}`;
    const started = [];
    const pending = new Set(Object.keys(checks));
    try {
        const command = server(cell.server);
        const shared = await (cell.direct ? startDirect(command) : startMux(command, { errorsExpected: true }));
        started.push(shared);
        // On one process of a legacy server nobody can tell which of two clients a question is for.
        let asking = shared;
        if (!cell.direct && cell.server === 'legacy') {
            asking = await startMux(command, { flags: ['--isolation', 'session'], errorsExpected: true });
            started.push(asking);
        }
        const [program, ...args] = driver(cell.client, language);
        const urls = [shared, asking].map(({ mcpUrl }) => (cell.connect ? `connect:${mcpUrl}` : mcpUrl));
        const process_ = spawn(program, [...args, ...urls, ...(cell.direct ? ['no-crash'] : [])], {
            stdio: ['ignore', 'pipe', 'ignore']
        });
        const timer = setTimeout(() => process_.kill('SIGKILL'), DRIVER_DEADLINE);
        for await (const line of createInterface({ input: process_.stdout })) {
            const [check, ...outcome] = line.split(' ');
            pending.delete(check);
            report(`${name}/${check}`, outcome.join(' '));
        }
        clearTimeout(timer);
    } catch (error) {
        report(`${name}/start`, failure(error));
    }
    for (const check of pending) report(`${name}/${check}`, 'FAILED it was not reached');
    for (const each of started) {
        await Promise.resolve(each.stop()).catch(error => report(`${name}/stop`, failure(error)));
    }
}

async function odd() {
    const servers = Object.fromEntries(['legacy', 'modern', 'dual'].map(name => [name, server(name)]));
    for (const { name, run } of oddities(servers, python('legacy'))) {
        await run().then(
            () => report(`odd/${name}`, 'ok'),
            error => report(`odd/${name}`, failure(error))
        );
    }
}

const asked = process.argv.slice(2);
const chosen = cells.filter(({ name }) => asked.length === 0 || asked.some(word => name === word || name.startsWith(`${word} `)));
if (chosen.length === 0) throw new Error(`no such cell; there are: ${cells.map(cell => cell.name).join(', ')}`);
// Two at a time.
const queue = chosen.flatMap(cell => (cell.name === 'odd' ? [odd] : ['python', 'typescript'].map(language => () => drive(cell, language))));
const worker = async () => {
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) await job();
};
await Promise.all([worker(), worker()]);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 ? 0 : 1);
