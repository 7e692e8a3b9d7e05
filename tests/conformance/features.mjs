// What the conformance suites want from a server, written once for both eras: tools, resources, prompts, completion. The
// two servers give each tool an `io` that speaks their era: `io.ask` sends requests to the client in one and returns
// `input_required` in the other, so the tool does not know which it is.

const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==';
const WAV = 'UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=';

export const info = { name: 'mcp-mux-conformance', version: '1.0.0' };
export const pause = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));
export const text = value => ({ content: [{ type: 'text', text: value }] });
const image = { type: 'image', data: PNG, mimeType: 'image/png' };

const object = (properties = {}, required = Object.keys(properties)) => ({
    type: 'object',
    properties,
    ...(required.length > 0 && { required })
});

// --- What is asked of a client ----------------------------------------------------------------------------------------

export const elicit = (message, properties, required) => ({
    method: 'elicitation/create',
    params: { mode: 'form', message, requestedSchema: object(properties, required) }
});
export const sample = (question, maxTokens = 100) => ({
    method: 'sampling/createMessage',
    params: { messages: [{ role: 'user', content: { type: 'text', text: question } }], maxTokens }
});
export const roots = () => ({ method: 'roots/list', params: {} });

const askName = () => elicit('What is your name?', { name: { type: 'string' } });
const askOk = () => elicit('Please confirm', { ok: { type: 'boolean' } });
const spoken = answer => answer.content?.text ?? 'no response';

// --- Tools: name → { description, inputSchema, run(args, io) } ----------------------------------------------------------

// SEP-1613 and SEP-2106: has to come out of tools/list as it is here.
const SCHEMA_2020_12 = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    $defs: {
        address: {
            $anchor: 'addressDef',
            type: 'object',
            properties: { street: { type: 'string' }, city: { type: 'string' } }
        }
    },
    properties: {
        name: { type: 'string' },
        address: { $ref: '#/$defs/address' },
        contactMethod: { type: 'string', enum: ['phone', 'email'] },
        phone: { type: 'string' },
        email: { type: 'string' }
    },
    allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
    if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
    then: { required: ['phone'] },
    else: { required: ['email'] },
    additionalProperties: false
};

const reported = answer => `action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`;

export const tools = {
    test_simple_text: {
        description: 'Answers with a text',
        run: () => text('This is a simple text response for testing.')
    },
    test_image_content: { description: 'Answers with an image', run: () => ({ content: [image] }) },
    test_audio_content: {
        description: 'Answers with a sound',
        run: () => ({ content: [{ type: 'audio', data: WAV, mimeType: 'audio/wav' }] })
    },
    test_embedded_resource: {
        description: 'Answers with an embedded resource',
        run: () => ({
            content: [
                {
                    type: 'resource',
                    resource: {
                        uri: 'test://embedded-resource',
                        mimeType: 'text/plain',
                        text: 'This is an embedded resource content.'
                    }
                }
            ]
        })
    },
    test_multiple_content_types: {
        description: 'Answers with a text, an image and a resource',
        run: () => ({
            content: [
                { type: 'text', text: 'Multiple content types test:' },
                image,
                {
                    type: 'resource',
                    resource: {
                        uri: 'test://mixed-content-resource',
                        mimeType: 'application/json',
                        text: '{"test":"data","value":123}'
                    }
                }
            ]
        })
    },
    test_tool_with_logging: {
        description: 'Logs three times while it runs',
        run: async (_, io) => {
            for (const line of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
                await io.log('info', line);
                await pause(50);
            }
            return text('Tool with logging executed successfully');
        }
    },
    test_logging_tool: {
        description: 'Logs once while it runs',
        run: async (_, io) => {
            await io.log('info', 'Logged by test_logging_tool');
            return text('Logging evaluated');
        }
    },
    test_error_handling: {
        description: 'Fails',
        run: () => ({ ...text('This tool intentionally returns an error for testing'), isError: true })
    },
    test_tool_with_progress: {
        description: 'Reports its progress three times',
        run: async (_, io) => {
            for (const progress of [0, 50, 100]) {
                await io.progress(progress, 100, `Completed step ${progress} of 100`);
                await pause(50);
            }
            return text('Tool with progress executed successfully');
        }
    },
    test_reconnection: {
        description: 'Closes the stream it answers on, if it can, and answers afterwards (SEP-1699)',
        run: async (_, io) => {
            io.closeStream();
            await pause(100);
            return text('Reconnection test completed successfully.');
        }
    },
    json_schema_2020_12_tool: {
        description: 'Has an input schema with the keywords of JSON Schema 2020-12',
        inputSchema: SCHEMA_2020_12,
        run: args => text(`JSON Schema 2020-12 tool called with: ${JSON.stringify(args)}`)
    },
    test_custom_header: {
        description: 'Has parameters that are mirrored into HTTP headers (SEP-2243)',
        inputSchema: object(
            {
                region: { type: 'string', 'x-mcp-header': 'Region' },
                limit: { type: 'integer', 'x-mcp-header': 'Limit' },
                query: { type: 'string' }
            },
            ['region']
        ),
        run: args => text(`Asked in ${args.region}`)
    },

    // The server asks. In 2025-11-25 and before these are requests, from 2026-07-28 on results of another type.
    test_sampling: {
        description: 'Asks the client for a completion',
        inputSchema: object({ prompt: { type: 'string' } }),
        run: async ({ prompt }, io) => text(`LLM response: ${spoken((await io.ask({ completion: sample(prompt) })).completion)}`)
    },
    test_elicitation: {
        description: 'Asks the user',
        inputSchema: object({ message: { type: 'string' } }),
        run: async ({ message }, io) => {
            const question = elicit(message, { response: { type: 'string', description: "User's response" } });
            return text(`User response: ${reported((await io.ask({ question })).question)}`);
        }
    },
    test_elicitation_sep1034_defaults: {
        description: 'Asks the user, with default values',
        run: async (_, io) => {
            const question = elicit(
                'Please review and update the form fields with defaults',
                {
                    name: { type: 'string', description: 'User name', default: 'John Doe' },
                    age: { type: 'integer', description: 'User age', default: 30 },
                    score: { type: 'number', description: 'User score', default: 95.5 },
                    status: {
                        type: 'string',
                        description: 'User status',
                        enum: ['active', 'inactive', 'pending'],
                        default: 'active'
                    },
                    verified: { type: 'boolean', description: 'Verification status', default: true }
                },
                []
            );
            return text(`Elicitation completed: ${reported((await io.ask({ question })).question)}`);
        }
    },
    test_elicitation_sep1330_enums: {
        description: 'Asks the user, with every kind of enumeration',
        run: async (_, io) => {
            const titled = (count, word) =>
                ['First', 'Second', 'Third'].slice(0, count).map((nth, i) => ({ const: `value${i + 1}`, title: `${nth} ${word}` }));
            const several = { type: 'array', minItems: 1, maxItems: 3 };
            const question = elicit(
                'Please select options from the enum fields',
                {
                    untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
                    titledSingle: { type: 'string', oneOf: titled(3, 'Option') },
                    legacyEnum: {
                        type: 'string',
                        enum: ['opt1', 'opt2', 'opt3'],
                        enumNames: ['Option One', 'Option Two', 'Option Three']
                    },
                    untitledMulti: { ...several, items: { type: 'string', enum: ['option1', 'option2', 'option3'] } },
                    titledMulti: { ...several, items: { anyOf: titled(3, 'Choice') } }
                },
                []
            );
            return text(`Elicitation completed: ${reported((await io.ask({ question })).question)}`);
        }
    },
    test_missing_capability: {
        description: 'Cannot do without sampling',
        run: async (_, io) => text(spoken((await io.ask({ completion: sample('Are you there?') })).completion))
    },
    test_streaming_elicitation: {
        description: 'Reports progress and asks the user',
        run: async (_, io) => {
            await io.progress(50, 100, 'About to ask');
            return text(reported((await io.ask({ confirm: askOk() })).confirm));
        }
    },
    test_input_required_result_elicitation: {
        description: 'Asks the user for a name',
        run: async (_, io) => text(`Hello, ${(await io.ask({ user_name: askName() })).user_name.content?.name ?? 'stranger'}!`)
    },
    test_input_required_result_sampling: {
        description: 'Asks the client for a completion',
        run: async (_, io) => {
            const answers = await io.ask({ capital_question: sample('What is the capital of France?') });
            return text(`Sampling result: ${spoken(answers.capital_question)}`);
        }
    },
    test_input_required_result_list_roots: {
        description: 'Asks the client for its roots',
        run: async (_, io) => text(`Found ${(await io.ask({ client_roots: roots() })).client_roots.roots.length} root(s)`)
    },
    test_input_required_result_request_state: {
        description: 'Asks the user, with a state that has to come back',
        run: async (_, io) => {
            const { confirm } = await io.ask({ confirm: askOk() });
            return text(`state-ok: ${reported(confirm)}`);
        }
    },
    test_input_required_result_multiple_inputs: {
        description: 'Asks three things at once',
        run: async (_, io) => {
            const answers = await io.ask({
                user_name: askName(),
                greeting: sample('Generate a greeting', 50),
                client_roots: roots()
            });
            const { user_name, greeting, client_roots } = answers;
            return text(`Name: ${user_name.content?.name}; Greeting: ${spoken(greeting)}; Roots: ${client_roots.roots.length}`);
        }
    },
    test_input_required_result_multi_round: {
        description: 'Asks two things, one after the other',
        run: async (_, io) => {
            const { step1 } = await io.ask({ step1: elicit('Step 1: What is your name?', { name: { type: 'string' } }) });
            const { step2 } = await io.ask({ step2: elicit('Step 2: What is your favorite color?', { color: { type: 'string' } }) });
            return text(`Multi-round complete for ${step1.content?.name} who likes ${step2.content?.color}`);
        }
    },
    test_input_required_result_tampered_state: {
        description: 'Asks the user, with a state that nobody else can write',
        run: async (_, io) => text(`integrity-ok: ${reported((await io.ask({ confirm: askOk() })).confirm)}`)
    },
    test_input_required_result_capabilities: {
        description: 'Asks only what the client can answer',
        run: async (_, io) => {
            const answers = await io.askWhatCanBe({
                elicit_input: elicit('Elicitation input', { value: { type: 'string' } }),
                sample_input: sample('Sample request', 50)
            });
            return text(`capabilities-ok: received ${Object.keys(answers).join(',')}`);
        }
    },

    // The tasks extension: work that goes on after the call was answered.
    greet: { description: 'Greets', inputSchema: object({ name: { type: 'string' } }), run: ({ name }) => text(`Hello, ${name}!`) },
    slow_compute: {
        description: 'Takes its time',
        inputSchema: object({ seconds: { type: 'number' }, label: { type: 'string' } }, ['seconds']),
        run: ({ seconds, label }, io) =>
            io.asTask(async ({ signal }) => {
                await Promise.race([pause(seconds * 1000), new Promise(resolve => signal.addEventListener('abort', resolve))]);
                return text(`Computed ${label}`);
            })
    },
    failing_job: {
        description: 'Is a task and fails',
        run: (_, io) => io.asTask(async () => (await pause(200), { ...text('It did not work'), isError: true }), { required: true })
    },
    protocol_error_job: {
        description: 'Is a task and breaks',
        run: (_, io) => io.asTask(() => Promise.reject(new Error('broken')))
    },
    confirm_delete: {
        description: 'Is a task that asks the user',
        inputSchema: object({ filename: { type: 'string' } }),
        run: ({ filename }, io) =>
            io.asTask(async task => {
                const question = elicit(`Delete ${filename}?`, { confirm: { type: 'boolean' } });
                return text(reported((await task.ask({ question })).question));
            })
    },
    multi_input: {
        description: 'Is a task that asks the user two things at once',
        run: (_, io) =>
            io.asTask(async task => {
                const { first, second } = await task.ask({ first: askName(), second: askName() });
                return text(`${reported(first)}; ${reported(second)}`);
            })
    },
    test_tool_with_task: {
        description: 'Asks the user, and then becomes a task',
        run: async (_, io) => {
            const { user_name } = await io.ask({ user_name: askName() });
            return io.asTask(async () => text(`Hello, ${user_name.content?.name}!`), { required: true });
        }
    },

    // Changes that others are told of.
    test_trigger_tool_change: {
        description: 'Says that the list of tools has changed',
        run: (_, io) => (io.toolsChanged(), text('Mutation triggered'))
    },
    test_trigger_prompt_change: {
        description: 'Says that the list of prompts has changed',
        run: (_, io) => (io.promptsChanged(), text('Mutation triggered'))
    }
};
for (const tool of Object.values(tools)) tool.inputSchema ??= object();

// --- Resources --------------------------------------------------------------------------------------------------------

export const resources = [
    { uri: 'test://static-text', name: 'static-text', description: 'A text', mimeType: 'text/plain' },
    { uri: 'test://static-binary', name: 'static-binary', description: 'An image', mimeType: 'image/png' },
    { uri: 'test://watched-resource', name: 'watched-resource', description: 'Can be subscribed to', mimeType: 'text/plain' }
];
export const templates = [
    { uriTemplate: 'test://template/{id}/data', name: 'template', description: 'One for each id', mimeType: 'application/json' }
];

/** The contents of a resource, or undefined. */
export function read(uri) {
    const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
    if (id !== undefined) {
        const data = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` });
        return { contents: [{ uri, mimeType: 'application/json', text: data }] };
    }
    const resource = resources.find(each => each.uri === uri);
    if (resource === undefined) return undefined;
    const { mimeType } = resource;
    const content = mimeType === 'image/png' ? { blob: PNG } : { text: `This is the content of the ${resource.name} resource.` };
    return { contents: [{ uri, mimeType, ...content }] };
}

// --- Prompts: name → { description, arguments, run(args, io) } ------------------------------------------------------------

const user = content => ({ role: 'user', content });
const says = value => user({ type: 'text', text: value });
const argument = (name, description) => ({ name, description, required: true });

export const prompts = {
    test_simple_prompt: {
        description: 'Has no arguments',
        run: () => ({ messages: [says('This is a simple prompt for testing.')] })
    },
    test_prompt_with_arguments: {
        description: 'Has two arguments',
        arguments: [argument('arg1', 'First test argument'), argument('arg2', 'Second test argument')],
        run: ({ arg1, arg2 }) => ({ messages: [says(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)] })
    },
    test_prompt_with_embedded_resource: {
        description: 'Embeds a resource',
        arguments: [argument('resourceUri', 'URI of the resource to embed')],
        run: ({ resourceUri: uri }) => ({
            messages: [
                user({ type: 'resource', resource: { uri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' } }),
                says('Please process the embedded resource above.')
            ]
        })
    },
    test_prompt_with_image: {
        description: 'Has an image',
        run: () => ({ messages: [user(image), says('Please analyze the image above.')] })
    },
    test_input_required_result_prompt: {
        description: 'Asks the user first',
        run: async (_, io) => {
            const question = elicit('What context should the prompt use?', { context: { type: 'string' } });
            const { user_context } = await io.ask({ user_context: question });
            return { messages: [says(`Prompt with context: ${user_context.content?.context}`)] };
        }
    }
};

// --- Completion -------------------------------------------------------------------------------------------------------

export function complete({ argument: { value } }) {
    const values = ['paris', 'park', 'party', 'test'].filter(word => word.startsWith(value));
    return { completion: { values, total: values.length, hasMore: false } };
}

// --- Skills (SEP-2640): what the folders of the skills hold -------------------------------------------------------------

export const skills = {
    'greeting/SKILL.md': '---\nname: greeting\ndescription: How to greet people\n---\n\n# Greeting\n\nSay hello.\n',
    'greeting/references/LANGUAGES.md': '# Languages\n\nBonjour, hola.\n',
    'parting/SKILL.md': '---\nname: parting\ndescription: How to part\n---\n\n# Parting\n\nSay goodbye.\n'
};
