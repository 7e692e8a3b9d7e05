// TypeScript SDK client → mcp-mux → @modelcontextprotocol/server-filesystem on a temporary folder.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { filesystemServer, start, TRANSPORTS } from './mux.mjs';
import { withPeers } from './sdk.mjs';

let mux, folder;
before(async () => {
    folder = await realpath(await mkdtemp(path.join(tmpdir(), 'mcp-mux-files-')));
    mux = await start(filesystemServer(folder));
});
after(async () => {
    await mux?.stop();
    await rm(folder, { recursive: true });
});

for (const transport of TRANSPORTS) {
    test(`filesystem, ${transport}: write, read, list, refuse`, () =>
        withPeers(mux, [transport], async peer => {
            const file = path.join(folder, `naïve ${transport} 🗂.txt`);
            await peer.text('write_file', { path: file, content: 'línea 1\nlínea 2\n' });
            assert.equal(await readFile(file, 'utf8'), 'línea 1\nlínea 2\n');
            assert.equal(await peer.text('read_text_file', { path: file }), 'línea 1\nlínea 2\n');
            assert.ok((await peer.text('list_directory', { path: folder })).includes(`[FILE] ${path.basename(file)}`));
            const refused = await peer.call('read_text_file', { path: '/etc/hostname' });
            assert.ok(refused.isError);
        }));

    test(`filesystem, ${transport}: a megabyte file`, () =>
        withPeers(mux, [transport], async peer => {
            const text = '0123456789abcdef'.repeat(65_536);
            const file = path.join(folder, 'big.txt');
            await writeFile(file, text);
            assert.equal(await peer.text('read_text_file', { path: file }), text);
        }));
}

test('filesystem: forty files read at once by two sessions', () =>
    withPeers(mux, TRANSPORTS, async (...peers) => {
        const file = n => path.join(folder, `${n}.txt`);
        const numbers = Array.from({ length: 40 }, (_, n) => n);
        for (const n of numbers) await writeFile(file(n), `file ${n}`);
        const texts = await Promise.all(numbers.map(n => peers[n % 2].text('read_text_file', { path: file(n) })));
        assert.deepEqual(texts, numbers.map(n => `file ${n}`));
    }));
