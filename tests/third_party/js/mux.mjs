// Starts the real mcp-mux in front of a child command, and stops it: the JavaScript side's only way to run it. (mux.py is
// the same for Python.) Nothing here waits without a deadline, and nothing is killed but what was started here.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const HERE = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
export const TRANSPORTS = ['http', 'sse'];
const START_DEADLINE = 30_000;
const STOP_DEADLINE = 20_000;

// Whatever ends this process takes the processes it started along.
const started = new Set();
process.once('SIGTERM', () => process.exit(143));
process.on('exit', () => started.forEach(child => child.kill('SIGTERM')));

const PYTHON = path.join(HERE, '.venv/bin/python');
const npmServer = name => path.join(HERE, 'node_modules/@modelcontextprotocol', name, 'dist/index.js');

export const notesServer = () => [PYTHON, path.join(HERE, '../../examples/notes_server.py')];
export const fastmcpServer = () => [PYTHON, path.join(HERE, 'fastmcp_server.py')];
export const everythingServer = () => [process.execPath, npmServer('server-everything')];
export const everythingRemote = transport => [process.execPath, npmServer('server-everything'), transport];
export const fastmcpRemote = (...modes) => [...fastmcpServer(), 'PORT', ...modes];
export const filesystemServer = folder => [process.execPath, npmServer('server-filesystem'), folder];

/** A port that nobody uses now, for what has to be known before mcp-mux is started. */
export async function freePort() {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    server.close();
    await once(server, 'close');
    return port;
}

/** mcp-mux in front of `command`: `{ url(transport), mcpUrl, sseUrl, log, stop() }`. */
export async function start(command, { flags = [], errorsExpected = false } = {}) {
    const binary = process.env.MCP_MUX_BIN;
    assert.ok(binary, 'set MCP_MUX_BIN to the mcp-mux binary');
    const quoted = command.map(word => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
    const port = flags.includes('--port') ? [] : ['--port', '0'];
    const process_ = spawn(binary, [...port, '--log-format', 'json', ...flags, '--spawn', quoted], {
        stdio: ['ignore', 'pipe', 'pipe'],
        detached: true // so that a terminal's Ctrl-C reaches it through `stop`, not on its own
    });
    const log = [];
    const ended = once(process_, 'exit');
    started.add(process_);
    process_.once('exit', () => started.delete(process_));
    createInterface({ input: process_.stderr }).on('line', line => log.push(line));
    const urls = await new Promise((resolve, reject) => {
        const found = [];
        const fail = why => reject(new Error(`mcp-mux ${why}; it printed ${found}; its log:\n${log.slice(-20).join('\n')}`));
        const timer = globalThis.setTimeout(() => {
            process_.kill('SIGKILL');
            fail(`printed no two URLs within ${START_DEADLINE} ms`);
        }, START_DEADLINE);
        createInterface({ input: process_.stdout }).on('line', line => {
            const url = line.match(/https?:\/\/\S+/)?.[0];
            if (url !== undefined && found.push(url) === 2) {
                clearTimeout(timer);
                resolve(found);
            }
        });
        ended.then(([code]) => {
            clearTimeout(timer);
            fail(`ended with ${code}`);
        });
    });
    const [mcpUrl, sseUrl] = urls;

    /** SIGTERM; fails unless it ends with 0 within the deadline and logged no error of its own. */
    async function stop() {
        const tail = () => log.slice(-20).join('\n');
        assert.equal(process_.exitCode ?? process_.signalCode, null, `mcp-mux ended by itself:\n${tail()}`);
        process_.kill('SIGTERM');
        const timer = globalThis.setTimeout(() => process_.kill('SIGKILL'), STOP_DEADLINE);
        const [code, signal] = await ended;
        clearTimeout(timer);
        assert.equal(code, 0, `mcp-mux ended with ${code ?? signal} after SIGTERM:\n${tail()}`);
        const complaints = log.filter(line => level(line) === 'ERROR' || line.includes('panicked at'));
        if (!errorsExpected) assert.deepEqual(complaints, [], 'mcp-mux logged errors');
    }
    return { mcpUrl, sseUrl, log, stop, url: transport => (transport === 'http' ? mcpUrl : sseUrl) };
}

/** Run `body` with an mcp-mux of its own. */
export async function withMux(command, options, body) {
    const mux = await start(command, options);
    try {
        await body(mux);
    } finally {
        await mux.stop();
    }
}

/** Run `body` with the URL of a remote server: `command`, which is told its port by the variable `PORT`, and by the word `PORT` in it. */
export async function withRemote(command, path, body) {
    const port = await freePort();
    const [program, ...args] = command.map(word => (word === 'PORT' ? `${port}` : word));
    const server = spawn(program, args, { stdio: 'ignore', env: { ...process.env, PORT: `${port}` } });
    const ended = once(server, 'exit');
    started.add(server);
    server.once('exit', () => started.delete(server));
    try {
        const deadline = Date.now() + START_DEADLINE;
        while (!(await listens(port))) {
            assert.ok(Date.now() < deadline && server.exitCode === null, `${command} does not listen`);
            await setTimeout(50);
        }
        await body(`http://127.0.0.1:${port}${path}`);
    } finally {
        server.kill('SIGTERM');
        const killer = globalThis.setTimeout(() => server.kill('SIGKILL'), STOP_DEADLINE);
        await ended;
        clearTimeout(killer);
    }
}

const listens = port =>
    new Promise(resolve => {
        const socket = connect(port, '127.0.0.1', () => (socket.destroy(), resolve(true)));
        socket.once('error', () => resolve(false));
    });

function level(line) {
    try {
        return JSON.parse(line).level;
    } catch {
        return undefined;
    }
}
