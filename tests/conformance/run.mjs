// Runs the official conformance suites against our servers, directly and through mcp-mux, and says for each scenario
// whether it passed. See run.sh.

import { execFile, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { start as startMux } from '../third_party/js/mux.mjs';

const HERE = import.meta.dirname;
const NODE = process.execPath;
const RESULTS = path.join(HERE, '.state/results');
const EXTENSION = 'extension';
const MODERN = ['2026-07-28', EXTENSION];
const RUN_DEADLINE = 240_000;

const suites = ['stable', 'next'].map(name => {
    const folder = name === 'stable' ? 'conformance' : 'conformance-next';
    return { name, main: path.join(HERE, 'node_modules/@modelcontextprotocol', folder, 'dist/index.js') };
});
const notApplicable = JSON.parse(readFileSync(path.join(HERE, 'not-applicable.json')));

// Where the era of a suite's revision and that of our server meet. `compare` is the leg that it has to equal.
const asks = scenario => scenario.startsWith('input-required-');
const legs = [
    { name: 'direct legacy', suite: 'legacy', server: 'legacy' },
    { name: 'direct modern', suite: 'modern', server: 'modern' },
    { name: 'mux legacy/legacy', suite: 'legacy', server: 'legacy', mux: true, compare: 'direct legacy' },
    { name: 'mux legacy/modern', suite: 'legacy', server: 'modern', mux: true, compare: 'direct legacy' },
    // Compared with nothing: the legacy server has no extensions, so fewer checks apply than to the modern one.
    {
        name: 'mux modern/legacy',
        suite: 'modern',
        server: 'legacy',
        mux: true,
        flags: ['--input-timeout', '1s'],
        only: scenario => !asks(scenario)
    },
    // Scenarios leave questions open: on a shared process those of the next one could be anybody's.
    {
        name: 'mux modern/legacy asked',
        suite: 'modern',
        server: 'legacy',
        mux: true,
        flags: ['--isolation', 'session', '--warm', '2'],
        only: asks
    },
    { name: 'mux modern/modern', suite: 'modern', server: 'modern', mux: true, compare: 'direct modern' },
    // What mcp-mux answers with JSON because it is quick, it answers with an event stream here.
    { name: 'stream legacy/legacy', suite: 'legacy', server: 'legacy', mux: true, flags: ['--sse-after', '0s'], compare: 'direct legacy' },
    { name: 'stream modern/modern', suite: 'modern', server: 'modern', mux: true, flags: ['--sse-after', '0s'], compare: 'direct modern' }
];

// --- Run --------------------------------------------------------------------------------------------------------------

const run = (...args) =>
    new Promise(resolve => {
        const options = { cwd: HERE, timeout: RUN_DEADLINE, maxBuffer: 64 << 20, env: { ...process.env, NO_COLOR: '1' } };
        execFile(NODE, args, options, (error, stdout, stderr) => resolve(stdout + stderr));
    });

/** Every scenario that a suite knows: `[{ suite, scenario, version }]`. */
async function scenariosOf(suite) {
    const listed = await run(suite.main, 'list', '--server');
    return [...listed.matchAll(/^ {2}- (\S+) \[(\S+)\]$/gm)].flatMap(([, scenario, versions]) =>
        versions.split(',').map(version => ({ suite, scenario, version }))
    );
}

/** Our server by itself, at the URL that it prints. */
async function startDirect([program, ...args]) {
    const child = spawn(program, [...args, '--http', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [url] = await new Promise((resolve, reject) => {
        createInterface({ input: child.stdout }).once('line', line => resolve([line]));
        child.once('exit', code => reject(new Error(`${args} ended with ${code}`)));
    });
    return { mcpUrl: url, stop: () => child.kill() };
}

/** Runs what is planned for a leg; the checks by suite, version and scenario. */
async function measure(leg, planned) {
    const command = [NODE, path.join(HERE, `server-${leg.server}.mjs`)];
    const server = await (leg.mux ? startMux(command, { flags: leg.flags }) : startDirect(command));
    const found = new Map();
    try {
        for (const { suite, version, scenarios } of grouped(planned)) {
            const folder = path.join(RESULTS, leg.name.replaceAll(/[ /]/g, '-'), suite.name, version);
            mkdirSync(folder, { recursive: true });
            const common = [suite.main, 'server', '--url', server.mcpUrl, '--output-dir', folder];
            // The suites have no selection of their own for extensions.
            if (version === EXTENSION) for (const scenario of scenarios) await run(...common, '--scenario', scenario);
            else await run(...common, '--suite', 'all', '--spec-version', version);
            for (const scenario of scenarios) {
                const left = readdirSync(folder).find(entry => entry.replace(/-\d{4}-\d\d-\d\dT[-\dZ]+$/, '') === `server-${scenario}`);
                if (left !== undefined) found.set(keyOf({ suite, version, scenario }), readChecks(path.join(folder, left, 'checks.json')));
            }
        }
    } finally {
        await server.stop();
    }
    return found;
}

const keyOf = ({ suite, version, scenario }) => `${suite.name} ${version} ${scenario}`;

function grouped(planned) {
    const groups = new Map();
    for (const { suite, version, scenario } of planned) {
        const key = `${suite.name} ${version}`;
        if (!groups.has(key)) groups.set(key, { suite, version, scenarios: [] });
        groups.get(key).scenarios.push(scenario);
    }
    return groups.values();
}

function readChecks(file) {
    try {
        return JSON.parse(readFileSync(file));
    } catch {
        return undefined; // The scenario broke the suite itself.
    }
}

// --- Judge ------------------------------------------------------------------------------------------------------------

const idsOf = (checks, status) => new Set(checks.filter(check => check.status === status).map(check => check.id));

/** Why a scenario did not pass, or undefined. `directly` are the checks of our server by itself. What is `excused` may fail. */
function problemOf(checks, directly = [], excused = []) {
    if (checks === undefined) return 'it was not run to its end';
    const bad = checks.filter(({ id, status }) => (status === 'FAILURE' || status === 'WARNING') && !excused.includes(id));
    if (bad.length > 0) return bad.map(check => `${check.status} ${check.id}: ${check.errorMessage ?? check.description}`).join('\n');
    const good = idsOf(checks, 'SUCCESS');
    if (good.size === 0) return 'it checked nothing';
    const missing = [...idsOf(directly, 'SUCCESS')].filter(id => !good.has(id) && !excused.includes(id));
    return missing.length > 0 ? `passed directly, but was not checked here: ${missing.join(', ')}` : undefined;
}

/** What not-applicable.json says of a scenario: as a whole, or of some of its checks. */
function excuseFor(leg, { suite, scenario }) {
    const fits = pattern => (pattern.endsWith('*') ? scenario.startsWith(pattern.slice(0, -1)) : scenario === pattern);
    return notApplicable.find(
        entry => entry.where.includes(leg.name) && fits(entry.scenario) && (entry.suite ?? suite.name) === suite.name
    );
}

async function main(asked) {
    const wanted = leg => asked.length === 0 || asked.some(word => leg.name === word || leg.name.startsWith(`${word} `));
    const chosen = legs.filter(wanted);
    if (chosen.length === 0) throw new Error(`no such leg; there are: ${legs.map(leg => leg.name).join(', ')}`);
    const known = (await Promise.all(suites.map(scenariosOf))).flat();
    if (known.length < 100) throw new Error(`the suites list only ${known.length} scenarios: has their output changed?`);
    rmSync(RESULTS, { recursive: true, force: true });

    const applies = leg => ({ scenario, version }) =>
        MODERN.includes(version) === (leg.suite === 'modern') && (leg.only?.(scenario) ?? true);
    const plan = leg => known.filter(applies(leg));
    const measured = new Map();
    const queue = [...chosen];
    const broken = new Map();
    const worker = async () => {
        for (let leg = queue.shift(); leg !== undefined; leg = queue.shift()) {
            try {
                measured.set(leg.name, await measure(leg, plan(leg)));
            } catch (error) {
                measured.set(leg.name, new Map());
                broken.set(leg.name, error);
            }
        }
    };
    await Promise.all([worker(), worker()]);

    const total = { passed: 0, failed: 0 };
    for (const leg of chosen) {
        const [results, directly] = [measured.get(leg.name), measured.get(leg.compare)];
        const count = { passed: 0, failed: 0, 'not applicable': 0, checks: 0 };
        if (broken.has(leg.name)) {
            count.failed += 1;
            console.log(`FAILED  ${leg.name}: ${broken.get(leg.name).message}`);
        }
        for (const planned of plan(leg)) {
            const checks = results.get(keyOf(planned));
            const found = excuseFor(leg, planned);
            const excuse = found?.checks === undefined ? found : undefined;
            const problem = problemOf(checks, directly?.get(keyOf(planned)), found?.checks);
            const say = (word, why) => {
                const detail = why === undefined ? '' : `: ${why.replaceAll('\n', '\n            ')}`;
                console.log(`${word.padEnd(7)} ${leg.name}: ${keyOf(planned)}${detail}`);
            };
            if (excuse !== undefined && problem !== undefined) {
                count['not applicable'] += 1;
                say('n/a', excuse.reason);
            } else if (excuse !== undefined || problem !== undefined) {
                count.failed += 1;
                say('FAILED', problem ?? 'it passes: take it out of not-applicable.json');
            } else {
                count.passed += 1;
                count.checks += idsOf(checks, 'SUCCESS').size;
                say('ok');
                if (found !== undefined) say('n/a', `${found.checks}: ${found.reason}`);
            }
        }
        leg.count = count;
        total.passed += count.passed;
        total.failed += count.failed;
    }
    console.log();
    for (const { name, count } of chosen) {
        console.log(`${name}: ${Object.entries(count).map(([word, number]) => `${number} ${word}`).join(', ')}`);
    }
    console.log(`${total.passed} passed, ${total.failed} failed`);
    return total.failed === 0 ? 0 : 1;
}

process.exit(await main(process.argv.slice(2)));
