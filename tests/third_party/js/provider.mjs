// Standard OpenID providers (the npm package oidc-provider) on loopback ports: the authorization servers of the tests.
//
//     node js/provider.mjs [COUNT]      prints [{"issuer": …, "control": …}, …] and runs until its stdin ends
//
// Who logs in is what the `login_hint` of the authorization request says; there is no page to look at. Access tokens are JWTs
// (RFC 9068) whose audience is the `resource` (RFC 8707) that they were asked for. What a test needs beyond that, it asks at
// `control`, a port of its own: `GET /keys`, `GET /counts`, `POST /rotate`, `POST /drop`, `POST /settings`.

import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { Provider } from 'oidc-provider';
import { createMemoryAdapter } from 'oidc-provider/lib/adapters/memory_adapter.js';

const RESOURCE_SCOPES = ['mcp', 'mcp:write'];
const USERS = ['ann', 'bob', 'cid'];

/** A provider: `{ issuer, keys(), counts, settings, rotate(), drop(), close() }`. */
export async function startProvider() {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const issuer = `http://127.0.0.1:${server.address().port}`;

    const adapter = createMemoryAdapter();
    const settings = {
        algorithm: 'ES256',
        accessTokenSeconds: 3600,
        claims: {}, // of a user's access tokens, by user
        down: false // whether everything is answered with 503
    };
    /** How often each path was asked for, and each grant at the token endpoint was given. */
    const counts = {};
    const count = what => (counts[what] = (counts[what] ?? 0) + 1);

    // The newest pair is signed with; all of them are published.
    let generation = 0;
    const newPair = () => {
        generation += 1;
        return [
            { ...keyPair('ec', { namedCurve: 'P-256' }), kid: `es-${generation}`, alg: 'ES256', use: 'sig' },
            { ...keyPair('rsa', { modulusLength: 2048 }), kid: `rs-${generation}`, alg: 'RS256', use: 'sig' }
        ];
    };
    let pairs = [newPair()];
    const signing = () => pairs[0].find(key => key.alg === settings.algorithm);

    // It takes its keys once. So other keys are another provider, with the same name and the same memory.
    let handle;
    const restart = () => {
        const provider = new Provider(issuer, {
            ...configuration(settings, signing),
            adapter,
            jwks: { keys: pairs.flat() }
        });
        provider.on('grant.success', ctx => count(`grant ${ctx.oidc.params.grant_type}`));
        for (const event of ['server_error', 'authorization.error', 'grant.error', 'registration_create.error'])
            provider.on(event, (_, error) => console.error(`${event}: ${error.error_detail ?? error.stack ?? error}`));
        const callback = provider.callback();
        handle = (request, response) =>
            request.url.startsWith('/interaction/') ? logIn(provider, request, response) : callback(request, response);
    };
    restart();
    server.on('request', (request, response) => {
        count(`${request.method} ${new URL(request.url, issuer).pathname}`);
        if (settings.down) return response.writeHead(503).end();
        handle(request, response);
    });

    return {
        issuer,
        counts,
        settings,
        /** With the private parts: a test may sign what the provider never would. */
        keys: () => pairs.flat(),
        /** New keys, used at once; those of before are still published. */
        rotate() {
            pairs = [newPair(), ...pairs];
            restart();
        },
        /** Publish the newest keys alone. */
        drop() {
            pairs = [pairs[0]];
            restart();
        },
        close() {
            server.close();
            server.closeAllConnections();
        }
    };
}

function keyPair(type, options) {
    return generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' });
}

function configuration(settings, signing) {
    return {
        cookies: { keys: ['of tests'] },
        // Also those of resources, so that clients can register with them.
        scopes: ['openid', 'offline_access', ...RESOURCE_SCOPES],
        responseTypes: ['code'],
        pkce: { required: () => true },
        routes: { registration: '/register', token: '/token', authorization: '/authorize', jwks: '/keys' },
        findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
        features: {
            devInteractions: { enabled: false },
            registration: { enabled: true },
            clientCredentials: { enabled: true },
            resourceIndicators: {
                enabled: true,
                useGrantedResource: () => true,
                getResourceServerInfo: (_, resource) => ({
                    audience: resource,
                    scope: RESOURCE_SCOPES.join(' '),
                    accessTokenFormat: 'jwt',
                    accessTokenTTL: settings.accessTokenSeconds,
                    jwt: { sign: { alg: settings.algorithm, kid: signing().kid } }
                })
            }
        },
        extraTokenClaims: (_, token) => settings.claims[token.accountId],
        issueRefreshToken: (_, client) => client.grantTypeAllowed('refresh_token'),
        expiresWithSession: () => false,
        ttl: {
            AccessToken: (_, token) => token.resourceServer?.accessTokenTTL ?? 3600,
            ClientCredentials: (_, token) => token.resourceServer?.accessTokenTTL ?? 3600,
            ...Object.fromEntries(['Interaction', 'Grant', 'Session', 'RefreshToken', 'IdToken'].map(what => [what, 3600]))
        },
        // Both SDKs may refresh twice at once; that is no theft.
        rotateRefreshToken: false,
        // Who logged in agrees to what was asked for.
        async loadExistingGrant({ oidc: { provider, client, session, requestParamScopes, resourceServers } }) {
            const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
            const scope = [...requestParamScopes].join(' ');
            grant.addOIDCScope(scope);
            for (const resource of Object.keys(resourceServers ?? {})) grant.addResourceScope(resource, scope);
            await grant.save();
            return grant;
        }
    };
}

async function logIn(provider, request, response) {
    const { params } = await provider.interactionDetails(request, response);
    const result = USERS.includes(params.login_hint)
        ? { login: { accountId: params.login_hint } }
        : { error: 'access_denied', error_description: `login_hint must be one of ${USERS}` };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

/** Goes where a browser would, as `user`, and gives the parameters with which the provider comes back to `redirectUri`. */
export async function visit(url, user, redirectUri) {
    const cookies = new Map();
    let next = new URL(url);
    next.searchParams.set('login_hint', user);
    for (let hops = 0; hops < 10; hops += 1) {
        const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
        const response = await fetch(next, { redirect: 'manual', headers: { cookie } });
        for (const line of response.headers.getSetCookie()) {
            const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
            cookies.set(name, value);
        }
        const location = response.headers.get('location');
        if (location === null) throw new Error(`${next}: ${response.status} ${await response.text()}`);
        next = new URL(location, next);
        if (next.href.startsWith(redirectUri)) return next.searchParams;
    }
    throw new Error(`${url}: too many redirects`);
}

async function control(provider) {
    const server = createServer(async (request, response) => {
        const chunks = await request.toArray();
        const body = chunks.length > 0 ? JSON.parse(Buffer.concat(chunks)) : {};
        const actions = {
            'GET /keys': () => provider.keys(),
            'GET /counts': () => provider.counts,
            'POST /rotate': () => provider.rotate(),
            'POST /drop': () => provider.drop(),
            'POST /settings': () => Object.assign(provider.settings, body)
        };
        const action = actions[`${request.method} ${request.url}`];
        response.writeHead(action ? 200 : 404, { 'content-type': 'application/json' });
        response.end(JSON.stringify(action?.() ?? null));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `http://127.0.0.1:${server.address().port}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
    const running = [];
    for (let number = 0; number < Number(process.argv[2] ?? 1); number += 1) {
        const provider = await startProvider();
        running.push({ issuer: provider.issuer, control: await control(provider) });
    }
    console.log(JSON.stringify(running));
    process.stdin.resume().on('end', () => process.exit(0));
}
