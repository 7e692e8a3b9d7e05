// The status page: asks for status.json again and again, and shows what it says.
//
// Everything that comes is shown as text and nothing else. The rows of a table are kept and changed, never made anew, so that what
// is open stays open and the focus stays where it is.

import { Chart, linear, logarithmic } from './charts.js';

const PERIOD = 2000;
const PATIENCE = 6000;
const CHANGES_MAX = 12;
const TROUBLES_MAX = 30;
/** More of a kind at a time are told of in one line. */
const APART_MAX = 3;
/** The first rows of a long table. */
const ROWS_MAX = 20;
/** The first lines of a long reason. */
const WHY_LINES_MAX = 4;
/** The samples that are "now": ten seconds. */
const RECENT = 5;
const $ = id => document.getElementById(id);

// --- numbers and times ---------------------------------------------------------------------------------------------

function number(value) {
  return value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString('en') : value.toFixed(1);
}

function bytes(value) {
  if (value === undefined || value === null) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const at = value < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(value) / 10));
  const scaled = value / 1024 ** at;
  return `${scaled >= 100 || at === 0 ? Math.round(scaled) : scaled.toFixed(1)} ${units[at]}`;
}

/** How long a request takes. */
function latency(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  const millis = seconds * 1000;
  if (millis < 0.95) return `${Number(millis.toPrecision(1))} ms`;
  if (millis < 1000) return `${millis < 10 ? Number(millis.toFixed(1)) : Math.round(millis)} ms`;
  return `${seconds < 10 ? Number(seconds.toFixed(1)) : Math.round(seconds)} s`;
}

/** How long something has lasted. */
function age(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function clock(date) {
  return date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });
}

function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

// --- elements --------------------------------------------------------------------------------------------------------

function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Sets a text only where it is another one: so nothing is selected away, nor read out again. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** How long ago something began, and when that was. */
function time(seconds, now, text = age(seconds)) {
  const when = new Date(now - seconds * 1000);
  return { text, when };
}

function fill(cell, value) {
  if (value instanceof Node) {
    if (cell.firstChild !== value) cell.replaceChildren(value);
  } else if (value && value.when) {
    let element = cell.querySelector('time');
    if (!element) cell.replaceChildren(element = make('time'));
    say(element, value.text);
    // To the second, or it would change all the time.
    const exact = value.when.toISOString().slice(0, 19) + 'Z';
    if (element.dateTime === '' || Math.abs(new Date(element.dateTime) - value.when) > 2500) {
      element.dateTime = exact;
      element.title = value.when.toLocaleString();
    }
  } else if (value && value.state) {
    let element = cell.querySelector('.state');
    if (!element) cell.replaceChildren(element = make('span', { class: 'state' }), make('span', { class: 'why' }));
    element.dataset.state = value.state;
    say(element, value.text ?? STATES[value.state] ?? value.state);
    const lines = (value.why ?? '').split('\n');
    say(element.nextSibling, lines.length > WHY_LINES_MAX ? [...lines.slice(0, WHY_LINES_MAX), '…'].join('\n') : lines.join('\n'));
    element.nextSibling.hidden = !value.why;
    element.nextSibling.classList.toggle('warn', value.state === 'ready');
  } else if (value && value.share !== undefined) {
    let bar = cell.querySelector('.bar');
    if (!bar) cell.replaceChildren(make('span'), bar = make('span', { class: 'bar', 'aria-hidden': 'true' }, make('span')));
    say(cell.firstChild, value.text);
    bar.firstChild.style.width = `${Math.min(100, value.share * 100)}%`;
    bar.dataset.near = value.near;
  } else {
    say(cell, value ?? '–');
    if (cell.classList.contains('short')) cell.title = cell.textContent;
  }
}

const STATES = {
  ready: 'ready', starting: 'starting', restarting: 'restarting', 'circuit-open': 'circuit open', failed: 'failed',
  stopped: 'stopped', stopping: 'stopping', asleep: 'asleep', waiting: 'waiting its turn', disabled: 'disabled',
  invalid: 'invalid configuration', over: 'ending', lost: 'connection lost'
};
const FAILED = ['failed', 'circuit-open', 'invalid'];
const firstLine = text => text.split('\n')[0].replace(/:$/, '');

/**
 * A table. A column is `{ title, number?, form?, value(item, now) }`; the first is the row's header; its form is `free` where a word may be
 * broken, `short` where it may be cut. With `details(item, into)` a row opens. Of a table with a button for all only the first rows
 * are shown until that is pressed.
 */
class Table {
  constructor(id, columns, { key, details } = {}) {
    Object.assign(this, { id, columns, key, details, rows: new Map(), opened: new Set() });
    this.table = $(id);
    this.body = this.table.tBodies[0];
    this.table.setAttribute('role', 'table');
    this.body.setAttribute('role', 'rowgroup');
    this.table.tHead.setAttribute('role', 'rowgroup');
    const head = make('tr', { role: 'row' });
    for (const { title, number } of columns) {
      head.append(make('th', { scope: 'col', role: 'columnheader', ...(number ? { class: 'num' } : {}) }, title));
    }
    this.table.tHead.append(head);
    this.all = $(`a-${id}`);
    this.all?.addEventListener('click', () => {
      this.all.setAttribute('aria-pressed', String(this.all.getAttribute('aria-pressed') !== 'true'));
      show();
    });
  }

  /** The first rows, unless all are wanted. */
  first(items) {
    const all = this.all.getAttribute('aria-pressed') === 'true';
    this.all.hidden = items.length <= ROWS_MAX;
    say(this.all, all ? `Show the first ${ROWS_MAX} only` : `Show all ${number(items.length)}`);
    return all ? items : items.slice(0, ROWS_MAX);
  }

  show(every, now) {
    const items = this.all ? this.first(every) : every;
    const keep = new Set();
    let at = this.body.firstChild;
    for (const item of items) {
      const key = this.key(item);
      keep.add(key);
      let row = this.rows.get(key);
      if (!row) this.rows.set(key, row = this.build(key));
      this.columns.forEach((column, index) => fill(row.cells[index], column.value(item, now)));
      if (this.details) {
        if (this.opened.has(key)) this.details(item, row.more.firstChild, now);
        row.item = item;
        row.now = now;
      }
      for (const part of [row.main, row.more].filter(Boolean)) {
        if (at === part) at = at.nextSibling;
        else this.body.insertBefore(part, at);
      }
    }
    for (const [key, row] of this.rows) {
      if (keep.has(key)) continue;
      const held = row.main.contains(document.activeElement) || row.more?.contains(document.activeElement);
      row.main.remove();
      row.more?.remove();
      this.rows.delete(key);
      this.opened.delete(key);
      // Who was at that row is not sent to the top of the page.
      if (held) (this.body.querySelector('.open') ?? $('main')).focus({ preventScroll: true });
    }
    this.table.classList.toggle('none', items.length === 0);
  }

  build(key) {
    const main = make('tr', { role: 'row' });
    const row = { main, cells: [], more: null };
    this.columns.forEach(({ title, number, form = 'whole' }, index) => {
      const attributes = index === 0 ? { scope: 'row', role: 'rowheader' } : { role: 'cell', 'data-label': title };
      const cell = make(index === 0 ? 'th' : 'td', attributes);
      if (number) cell.className = 'num';
      main.append(cell);
      // On a narrow screen the label stands beside the value, which has to be one thing.
      const inner = index === 0 ? cell : cell.appendChild(make('span', { class: `value ${form}` }));
      row.cells.push(inner);
    });
    if (this.details) {
      const id = `${this.id}-${encodeURIComponent(key)}`;
      const button = make('button', { class: 'open', type: 'button', 'aria-expanded': 'false', 'aria-controls': id });
      row.cells[0].append(button);
      row.cells[0] = button;
      const cell = make('td', { colspan: String(this.columns.length), role: 'cell' });
      row.more = make('tr', { class: 'more', id, role: 'row', hidden: '' });
      row.more.append(cell);
      button.addEventListener('click', () => this.toggle(key, row, button));
    }
    return row;
  }

  toggle(key, row, button) {
    const open = !this.opened.has(key);
    if (open) this.opened.add(key); else this.opened.delete(key);
    button.setAttribute('aria-expanded', String(open));
    row.more.hidden = !open;
    row.main.classList.toggle('opened', open);
    if (open) this.details(row.item, row.more.firstChild, row.now);
  }
}

// --- what is shown ---------------------------------------------------------------------------------------------------

const several = () => (view.servers?.length ?? 0) > 1;
const ofServer = item => several() ? ` of ${item.server}` : '';

const servers = new Table('servers', [
  { title: 'Server', value: item => item.name },
  { title: 'State', form: 'free', value: item => ({ state: item.state, why: item.why }) },
  { title: 'Children', value: item => item.isolation ? `${item.ready} of ${item.total} ready${shared(item.isolation)}` : '–' },
  { title: 'Sessions', number: true, value: item => number(item.sessions_total) },
  { title: 'In flight', number: true, value: item => number(inFlight(item)) },
  { title: 'Streams', number: true, value: item => number(item.streams) },
  { title: 'Requests', number: true, value: item => number(item.requests?.total ?? 0) },
  { title: 'Failed', number: true, value: item => number(item.requests?.errors ?? 0) },
  { title: 'Restarts', number: true, value: item => number(item.restarts) }
], { key: item => item.name, details: serverDetails });

const children = new Table('children', [
  { title: 'Child', value: item => `${item.number}${ofServer(item)}` },
  { title: 'State', form: 'free', value: item => ({ state: item.state, why: item.why ?? stuck(item) }) },
  { title: 'For', form: 'short', value: item => item.principal ?? WHOSE[item.whose] ?? item.whose },
  { title: 'Process', number: true, value: item => item.pid === undefined ? '–' : String(item.pid) },
  { title: 'Speaks', value: item => item.revision && item.era ? `${item.revision} (${item.era})` : item.revision ?? item.era ?? '–' },
  { title: 'Age', number: true, value: (item, now) => item.age_seconds === undefined ? '–' : time(item.age_seconds, now) },
  { title: 'Memory', number: true, value: item => bytes(item.memory_bytes) },
  { title: 'In flight', number: true, value: item => number(item.in_flight) + (item.oldest_seconds ? `, for ${age(item.oldest_seconds)}` : '') },
  { title: 'Not read yet', number: true, value: item => item.waiting_bytes ? bytes(item.waiting_bytes) : '–' },
  { title: 'Restarts', number: true, value: item => number(item.restarts) }
], { key: item => `${item.server} ${item.number}`, details: childDetails });

/** Why a child that should do well does not, as far as can be seen. */
function stuck({ waiting_bytes: waiting, oldest_seconds: oldest }) {
  return waiting && oldest >= PATIENCE / 1000 ? `${bytes(waiting)} of its input wait for it to read them` : undefined;
}

const WHOSE = { everybody: 'everybody', session: 'one session', spare: 'the next session', trial: 'nobody (a trial)' };
const TRANSPORTS = {
  'streamable-http': 'Streamable HTTP', 'http-sse': 'HTTP+SSE', stateless: 'one request', modern: 'one request'
};

const sessions = new Table('sessions', [
  { title: 'Session', value: item => item.tag },
  { title: 'Client', form: 'free', value: item => item.client ?? 'not known yet' },
  { title: 'Principal', form: 'short', value: item => item.principal },
  { title: 'Transport', value: item => TRANSPORTS[item.transport] ?? item.transport },
  { title: 'Speaks', value: item => item.revision ?? '–' },
  { title: 'Child', number: true, value: item => item.child === undefined ? '–' : `${item.child}${ofServer(item)}` },
  { title: 'Age', number: true, value: (item, now) => time(item.age_seconds, now) },
  { title: 'Idle', number: true, value: (item, now) => item.idle_seconds < 1 ? 'no' : time(item.idle_seconds, now) },
  { title: 'In flight', number: true, value: item => number(item.in_flight) }
], { key: item => `${item.server} ${item.tag}` });

const errors = new Table('errors', [
  { title: 'Outcome', value: item => item.outcome },
  { title: 'In 10 minutes', number: true, value: item => number(item.lately) },
  { title: 'Since the start', number: true, value: item => number(item.total) }
], { key: item => item.outcome });

const limits = new Table('limits', [
  { title: 'Limit', value: item => `--${item.name}` + among(item) },
  { title: 'Used', form: 'free', value: item => item.limit === undefined ? '–' : usage(item) },
  { title: 'Hit', number: true, value: item => item.hits ? `${plural(item.hits, 'time')}` : 'never' }
], { key: item => `${item.server ?? ''} ${item.name}` });

/** Of whom a limit is, where there are several. */
function among({ of, server }) {
  const parts = [of, several() ? server : undefined].filter(Boolean);
  return parts.length ? ` (${parts.join(' of ')})` : '';
}

function usage({ used, limit, unit }) {
  const share = limit > 0 ? used / limit : 0;
  const show = unit === 'bytes' ? bytes : number;
  const near = share >= 1 ? 'reached' : share >= 0.9 ? 'near' : 'far';
  const word = { reached: ', reached', near: ', nearly reached', far: '' }[near];
  const percent = used === 0 ? '0' : share < 0.01 ? 'under 1' : String(Math.floor(share * 100));
  return { share, near, text: `${show(used)} of ${show(limit)} (${percent}\u00a0%${word})` };
}

const shared = isolation => ({ shared: ', shared by all', principal: ', one a principal', session: ', one a session' })[isolation];
const sum = (items, of) => items.reduce((total, item) => total + of(item), 0);
const inFlight = server => server.in_flight;

const SILENT = 'It has written nothing to stderr.';

/** How a process ended, and what it said last: a title and lines. */
function exitPart({ pid, status, ago_seconds: ago, stderr }, now) {
  const when = clock(new Date(now - ago * 1000));
  return ['exit', `Process ${pid} ended at ${when}, ${age(ago)} ago: ${status}. Its last lines`, stderr.join('\n') || SILENT];
}

function childDetails(child, into, now) {
  const title = child.pid === undefined ? 'There is no process now' : `Last lines of process ${child.pid}`;
  const parts = [['now', title, child.stderr.join('\n') || SILENT]];
  if (child.last_exit) parts.push(exitPart(child.last_exit, now));
  blocks(parts, into);
}

function serverDetails(server, into, now) {
  const parts = [];
  if (server.why) parts.push(['why', FAILED.includes(server.state) ? 'Why it does not work' : 'Why it did not work', server.why]);
  if (server.last_exit) parts.push(exitPart(server.last_exit, now));
  if (!parts.length) parts.push(['well', 'Nothing went wrong', 'None of its processes has ended without being asked to.']);
  blocks(parts, into);
}

/** Titles with what is below each, of which only what changes is touched. */
function blocks(titled, into) {
  const parts = titled.flatMap(([id, title, text]) => [[`${id}-title`, 'h3', title], [id, 'pre', text]]);
  for (const element of into.querySelectorAll('[data-part]')) {
    if (!parts.some(([name]) => name === element.dataset.part)) element.remove();
  }
  for (const [name, tag, text] of parts) {
    let element = into.querySelector(`[data-part="${name}"]`);
    if (!element) into.append(element = make(tag, { 'data-part': name, ...(tag === 'pre' ? { class: 'lines', tabindex: '0' } : {}) }));
    const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - 4;
    const changed = element.textContent !== text;
    say(element, text);
    if (changed && atEnd) element.scrollTop = element.scrollHeight;
  }
}

// --- charts ----------------------------------------------------------------------------------------------------------

const view = { servers: null, program: null, period: 2, samples: [], next: 0, capacity: 300, server: '', updated: 0 };
const at = sample => new Date(view.updated - (view.next - 1 - sample.number) * view.period * 1000);
const moment = (sample, chosen) => chosen ? `At ${clock(at(sample))}` : 'Now';

const rates = new Chart($('c-rate'), $('r-rate'), {
  label: 'Requests per second over the last ten minutes',
  layers: samples => {
    const all = samples.map(sample => sample.requests / view.period);
    const failed = samples.map(sample => sample.errors / view.period);
    const zero = samples.map(() => 0);
    return {
      scale: linear(all), format: number,
      paths: [
        { className: 'ok area', values: all, base: failed },
        { className: 'failed', values: failed, base: zero },
        { className: 'ok', values: all }
      ]
    };
  },
  describe: (sample, chosen) => {
    const rate = sample.requests / view.period;
    return `${moment(sample, chosen)}: ${number(rate)} a second, of which ${number(sample.errors / view.period)} failed.`;
  }
});

const latencies = new Chart($('c-latency'), $('r-latency'), {
  label: 'Latency of requests over the last ten minutes',
  layers: samples => ({
    scale: logarithmic(samples.flatMap(sample => [sample.p50, sample.p99]).filter(value => value > 0)),
    format: latency,
    // Of different sizes, so that each is seen where they are all the same.
    paths: [['p50', 4], ['p95', 3], ['p99', 2]].map(([className, dot]) => ({ className, dot, values: samples.map(sample => sample[className]) }))
  }),
  describe: (sample, chosen) => sample.p50 === null
    ? `${moment(sample, chosen)}: no requests.`
    : `${moment(sample, chosen)}: p50 (half of them) ${latency(sample.p50)}, p95 ${latency(sample.p95)}, p99 ${latency(sample.p99)}.`
});

// --- what changes while somebody looks -----------------------------------------------------------------------------

const troubles = new Map();

/** Says what has changed. What is `bad` or a `warn`ing has a list of its own, in which it stays for longer. */
function note(text, className) {
  const now = new Date(), again = className ? troubles.get(text) : undefined;
  const count = (again?.count ?? 0) + 1;
  again?.item.remove();
  const item = make('li', className ? { class: className } : {});
  const said = count > 1 ? `${text} (${number(count)} times)` : text;
  item.append(make('time', { datetime: now.toISOString(), title: now.toLocaleString() }, clock(now)), make('span', {}, said));
  const list = $(className ? 'troubles' : 'changes');
  list.prepend(item);
  if (className) {
    // The last to be noted is the last of the map.
    troubles.delete(text);
    troubles.set(text, { item, count });
    if (troubles.size > TROUBLES_MAX) troubles.delete(troubles.keys().next().value);
  }
  while (list.children.length > (className ? TROUBLES_MAX : CHANGES_MAX)) list.lastChild.remove();
  list.hidden = false;
  $('e-changes').hidden = true;
}

/** Says the same of several: in one line if they are many. */
function noteEach(items, one, many) {
  if (items.length > APART_MAX) note(many(items.length));
  else items.forEach(item => note(one(item), isBad(item) ? 'bad' : ''));
}

const isBad = ({ state }) => FAILED.includes(state) || state === 'restarting';

/** Whatever is said last is on top. */
function compare(before, now) {
  compareSessions(before, now);
  compareChildren(before, now);
  compareServers(before, now);
}

const byKey = (list, key) => new Map(list.flatMap(server => server[key].map(item => [`${server.name} ${item.number ?? item.tag}`, { ...item, server: server.name }])));
const without = (map, other) => [...map].filter(([key]) => !other.has(key)).map(([, item]) => item);

function compareSessions(before, now) {
  const lasting = list => new Map([...byKey(list, 'sessions')].filter(([, { transport }]) => transport === 'streamable-http' || transport === 'http-sse'));
  const [older, newer] = [lasting(before), lasting(now)];
  // Those that are not among the ones shown may be there all the same.
  if (now.every(server => server.sessions_left_out === 0)) {
    noteEach(without(older, newer), ({ tag }) => `Session ${tag} is over`, count => `${number(count)} sessions are over`);
  }
  if (before.every(server => server.sessions_left_out === 0)) {
    const opened = ({ tag, client }) => `Session ${tag} was opened${client ? ` by ${client}` : ''}`;
    noteEach(without(newer, older), opened, count => `${number(count)} sessions were opened`);
  }
}

function compareChildren(before, now) {
  // Those of a server that does not work come and go with each time it is tried.
  const working = list => list.filter(server => !server.why);
  const [older, newer] = [byKey(working(before), 'children'), byKey(working(now), 'children')];
  const name = child => `Child ${child.number}${ofServer(child)}`;
  const state = child => STATES[child.state] ?? child.state;
  noteEach(without(older, newer).map(child => ({ ...child, state: null })), child => `${name(child)} is gone`, count => `${number(count)} children are gone`);
  noteEach(without(newer, older), child => `${name(child)} is there: ${state(child)}`, count => `${number(count)} children are there that were not`);
  for (const [key, child] of newer) {
    const old = older.get(key);
    if (!old) continue;
    if (child.restarts > old.restarts) {
      note(`${name(child)} was started again after ${child.last_exit?.status ?? 'it exited'}: ${state(child)}`, 'warn');
    } else if (child.state !== old.state) {
      note(`${name(child)}: ${state(child)}${child.why ? ` (${firstLine(child.why)})` : ''}`, isBad(child) ? 'bad' : '');
    } else if (stuck(child) && !stuck(old)) {
      note(`${name(child)} does not read its input`, 'warn');
    }
  }
}

function compareServers(before, now) {
  const names = list => new Map(list.map(server => [server.name, server]));
  const [older, newer] = [names(before), names(now)];
  for (const name of older.keys()) if (!newer.has(name)) note(`Server ${name} is gone`);
  for (const [name, server] of newer) {
    const old = older.get(name);
    const bad = FAILED.includes(server.state), why = server.why ? ` (${firstLine(server.why)})` : '';
    const text = `Server ${name}: ${STATES[server.state] ?? server.state}${why}`;
    if (!old) note(`Server ${name} is new${bad ? `: ${STATES[server.state]}${why}` : ''}`, bad ? 'bad' : '');
    else if (bad && (old.state !== server.state || old.why !== server.why)) note(text, 'bad');
    // One that is tried once more is in the table.
    else if (old.state !== server.state && !server.why) note(text, server.state === 'restarting' ? 'warn' : '');
    // Of a child that is gone with its session nobody else says it.
    const exit = server.last_exit, told = server.children.some(child => child.last_exit?.pid === exit?.pid);
    if (old && exit && exit.pid !== old.last_exit?.pid && !told) note(`Process ${exit.pid} of ${name} ended: ${exit.status}`, 'warn');
  }
}

// --- a snapshot comes ------------------------------------------------------------------------------------------------

function take(snapshot) {
  const { program, servers: list, history } = snapshot;
  // Another version may say other things: this page is then as old as the one before.
  if (view.program && view.program.version !== program.version) return location.reload();
  if (view.program && view.program.started_unix_ms !== program.started_unix_ms) {
    note('mcp-mux was started again', 'warn');
    Object.assign(view, { servers: null, samples: [], next: 0 });
  }
  if (view.servers) compare(view.servers, list);
  if ((history.server ?? '') === view.server) remember(history);
  Object.assign(view, { program, servers: list, updated: Date.now(), snapshot });
  choices(list);
  show();
}

function remember({ first, samples, samples_max: capacity, period_seconds: period }) {
  const numbered = samples.map((sample, index) => ({ ...sample, number: first + index }));
  const before = view.samples.filter(sample => sample.number < first);
  const joined = before.length && before.at(-1).number + 1 === first ? [...before, ...numbered] : numbered;
  const kept = (numbered.length ? joined : view.samples).slice(-capacity);
  Object.assign(view, { capacity, period, samples: kept, next: kept.length ? kept.at(-1).number + 1 : first });
}

function choices(list) {
  const select = $('server'), names = ['', ...list.map(server => server.name)];
  $('server-label').hidden = list.length < 2;
  if ([...select.options].map(option => option.value).join(' ') === names.join(' ')) return;
  select.replaceChildren(...names.map(name => make('option', { value: name }, name || 'all')));
  if (!names.includes(view.server)) chooseServer('');
  select.value = view.server;
}

function show() {
  const { program, snapshot } = view;
  if (!snapshot) return;
  const now = program.now_unix_ms;
  const chosen = view.servers.filter(server => !view.server || server.name === view.server);
  const words = $('filter').value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const matches = item => {
    const text = Object.values(item).filter(value => typeof value !== 'object').join(' ').toLowerCase();
    return words.every(word => text.includes(word));
  };
  const flat = key => chosen.flatMap(server => server[key].map(item => ({ ...item, server: server.name })));
  const [allChildren, allSessions] = [flat('children'), flat('sessions')];
  const [someChildren, someSessions] = [allChildren.filter(matches), allSessions.filter(matches)];

  say($('program'), `version ${program.version}, process ${program.pid}, up for ${age((now - program.started_unix_ms) / 1000)}`);
  headline(chosen);
  tiles(chosen, allChildren);
  const shown = view.samples;
  rates.show(shown, view.capacity);
  latencies.show(shown, view.capacity);

  servers.show(chosen, now);
  // In a long table those that do not do well are the first.
  const well = child => Number(child.state === 'ready' && !stuck(child));
  children.show(someChildren.length > ROWS_MAX ? someChildren.sort((a, b) => well(a) - well(b)) : someChildren, now);
  count('children', someChildren, allChildren, sum(chosen, server => server.children_left_out), 'child', 'children');
  sessions.show(someSessions, now);
  count('sessions', someSessions, allSessions, sum(chosen, server => server.sessions_left_out), 'session');
  showOutcomes(chosen);
  showLimits(chosen, snapshot);
}

/** How it is doing, in the first tile, in the tab's name and in its picture: how the worst of the servers is doing. */
function headline(chosen) {
  const { worst, enabled, failing } = view.program;
  const lost = lostAt !== null, some = enabled > 1 && failing > 0;
  const whole = some ? `${number(failing)} of ${number(enabled)} servers ${failing === 1 ? 'fails' : 'fail'}` : STATES[worst] ?? worst;
  const well = !lost && failing === 0 && worst === 'ready';
  document.title = lost ? 'lost – mcp-mux' : well ? 'mcp-mux' : `${whole} – mcp-mux`;
  // Where mcp-mux is not to be reached no other picture is to be had.
  const icon = failing > 0 ? 'status/trouble.svg' : 'status/icon.svg';
  if (!lost && $('icon').getAttribute('href') !== icon) $('icon').setAttribute('href', icon);
  const one = view.server ? chosen[0] : undefined;
  if (lost) {
    fill($('t-state'), { state: 'lost' });
    return say($('t-state-more'), `what is shown is as it was at ${clock(new Date(view.updated))}`);
  }
  fill($('t-state'), one ? { state: one.state } : { state: worst, text: whole });
  const ready = sum(chosen, server => server.ready), total = sum(chosen, server => server.total);
  const bad = chosen.filter(server => server.state !== 'disabled' && (server.why || FAILED.includes(server.state))).map(({ name }) => name);
  const who = bad.length > APART_MAX ? [...bad.slice(0, APART_MAX), `${bad.length - APART_MAX} more`] : bad;
  const parts = [`${ready} of ${plural(total, 'child', 'children')} ready`];
  if (some && !one) parts.unshift(who.join(', '));
  say($('t-state-more'), parts.join('; '));
}

function tiles(chosen, allChildren) {
  const { program } = view;
  const recent = view.samples.slice(-RECENT);
  const requests = sum(recent, sample => sample.requests);
  say($('t-rate'), recent.length ? number(requests / (recent.length * view.period)) : '–');
  say($('t-rate-more'), `${number(sum(chosen, server => server.requests?.total ?? 0))} since the start`);
  const last = recent.findLast(sample => sample.p95 !== null);
  say($('t-p95'), last ? latency(last.p95) : '–');
  say($('t-p95-more'), last ? `p50 ${latency(last.p50)}, p99 ${latency(last.p99)}` : `no requests in the last ${RECENT * view.period} s`);
  const failed = sum(view.samples, sample => sample.errors), all = sum(view.samples, sample => sample.requests);
  say($('t-failed'), number(failed));
  $('t-failed').className = failed ? 'bad' : '';
  say($('t-failed-more'), `in 10 minutes, ${all ? `${failed ? (failed / all * 100).toPrecision(2) : 0} % of ${number(all)}` : 'of none'}`);
  say($('t-flight'), number(sum(chosen, inFlight)));
  const waiting = sum(chosen, server => server.waiting), unread = sum(chosen, server => server.waiting_bytes);
  const waits = [waiting ? `${number(waiting)} wait for a child` : '', unread ? `${bytes(unread)} not read by children yet` : ''];
  say($('t-flight-more'), waits.filter(Boolean).join(', ') || 'nobody waits for a child');
  say($('t-sessions'), number(sum(chosen, server => server.sessions_total)));
  say($('t-sessions-more'), plural(sum(chosen, server => server.streams), 'open stream'));
  const known = allChildren.filter(child => child.memory_bytes !== undefined);
  say($('t-memory'), known.length ? bytes(sum(known, child => child.memory_bytes)) : '–');
  say($('t-memory-more'), program.memory_bytes ? `and mcp-mux itself ${bytes(program.memory_bytes)}` : 'of the children');
}

function count(id, some, all, leftOut, one, many) {
  const hidden = all.length - some.length;
  const parts = [plural(all.length + leftOut, one, many)];
  if (hidden) parts.push(`${number(some.length)} found by the filter`);
  if (leftOut) parts.push(`the ${number(all.length)} that matter most are listed`);
  say($(`n-${id}`), parts.join(', '));
  const empty = $(`e-${id}`);
  empty.hidden = some.length > 0;
  say(empty, hidden ? `No ${one} matches the filter.` : `There is no ${one} now.`);
}

function showOutcomes(chosen) {
  const total = new Map(), lately = new Map();
  for (const { requests } of chosen) {
    for (const [outcome, value] of Object.entries(requests?.outcomes ?? {})) total.set(outcome, (total.get(outcome) ?? 0) + value);
    for (const [outcome, value] of Object.entries(requests?.lately ?? {})) lately.set(outcome, (lately.get(outcome) ?? 0) + value);
  }
  const items = [...total].filter(([, value]) => value > 0)
    .map(([outcome, value]) => ({ outcome, total: value, lately: lately.get(outcome) ?? 0 }))
    .sort((a, b) => b.total - a.total || a.outcome.localeCompare(b.outcome));
  errors.show(items);
  $('e-errors').hidden = items.length > 0;
  say($('e-errors'), 'No request has come to its end yet.');
}

function showLimits(chosen, { limits: whole, hits }) {
  const rest = { ...hits };
  const used = [...whole, ...chosen.flatMap(server => server.limits.map(limit => ({ ...limit, server: server.name })))];
  const items = used.map(limit => ({ ...limit, hits: hits[limit.name] ?? 0 }));
  for (const { name } of used) delete rest[name];
  items.push(...Object.entries(rest).map(([name, value]) => ({ name, hits: value })));
  items.sort((a, b) => (b.limit ? b.used / b.limit : 0) - (a.limit ? a.used / a.limit : 0) || (b.hits - a.hits) || a.name.localeCompare(b.name));
  const idle = items.filter(({ used, hits }) => !used && !hits);
  limits.show(items.filter(item => !idle.includes(item)));
  const near = items.filter(({ used, limit }) => limit && used / limit >= 0.9).length;
  say($('n-limits'), near ? `${plural(near, 'limit')} nearly reached or reached` : 'none is nearly reached');
  $('e-limits').hidden = idle.length === 0;
  say($('e-limits'), `Not used at all: ${[...new Set(idle.map(({ name }) => `--${name}`))].join(', ')}.`);
}

// --- asking ----------------------------------------------------------------------------------------------------------

let token = sessionStorage.getItem('mcp-mux-token'), timer = null, asking = false, lostAt = null;

function link(state, text) {
  const element = $('link');
  if (element.dataset.state === state && element.textContent === text) return;
  const [word, ...more] = text.split(': ');
  element.dataset.state = state;
  element.replaceChildren(make('span', { class: 'word' }, word), more.length ? ` ${more.join(': ')}` : '');
}

async function ask() {
  clearTimeout(timer);
  if (asking || document.hidden) return;
  asking = true;
  const abort = new AbortController(), impatient = setTimeout(() => abort.abort(), PATIENCE);
  try {
    const query = new URLSearchParams({ since: String(view.next) });
    if (view.server) query.set('server', view.server);
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const response = await fetch(`status.json?${query}`, { headers, cache: 'no-store', signal: abort.signal });
    if (response.status === 401 || response.status === 403) return refused(response.status);
    if (!response.ok) throw new Error(`mcp-mux answered ${response.status}`);
    const snapshot = await response.json();
    // What goes wrong from here on is this page's own fault, and not the connection's.
    queueMicrotask(() => arrived(snapshot));
  } catch (error) {
    lost(error);
  } finally {
    clearTimeout(impatient);
    asking = false;
    if ($('entry').hidden) timer = setTimeout(ask, PERIOD);
  }
}

function arrived(snapshot) {
  if (lostAt) note(`The connection to mcp-mux is back after ${age((Date.now() - lostAt) / 1000)}`);
  lostAt = null;
  if (token) sessionStorage.setItem('mcp-mux-token', token);
  $('entry').hidden = true;
  $('main').hidden = false;
  $('main').classList.remove('stale');
  link('live', 'live: every 2 seconds');
  take(snapshot);
}

function lost(error) {
  if (!lostAt && view.snapshot) note('The connection to mcp-mux is lost', 'bad');
  lostAt ??= Date.now();
  $('main').classList.add('stale');
  show();
  const why = error.name === 'AbortError' ? 'no answer' : error.message.startsWith('mcp-mux') ? error.message : 'not reachable';
  link('lost', `connection lost: since ${clock(new Date(lostAt))} (${why}); what is shown is old. Trying again.`);
}

function refused(status) {
  const tried = token;
  token = null;
  sessionStorage.removeItem('mcp-mux-token');
  $('main').hidden = true;
  $('entry').hidden = false;
  say($('entry-problem'), tried ? 'This token is not accepted.' : status === 403 ? 'This is refused.' : '');
  link('opening', 'waiting for a token');
  $('token').focus();
}

function chooseServer(name) {
  Object.assign(view, { server: name, samples: [], next: 0 });
  show();
  ask();
}

$('entry').addEventListener('submit', event => {
  event.preventDefault();
  token = $('token').value.trim();
  $('token').value = '';
  $('entry').hidden = true;
  ask();
});
$('server').addEventListener('change', event => chooseServer(event.target.value));
$('filter').addEventListener('input', show);
document.addEventListener('visibilitychange', ask);

document.addEventListener('keydown', event => {
  const typing = event.target.matches('input, select, textarea');
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === '/' && !typing) {
    event.preventDefault();
    $('filter').focus();
  } else if (event.key === 'Escape' && event.target === $('filter')) {
    $('filter').value = '';
    show();
  } else if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && (event.target.matches('.open') || event.target === $('filter'))) {
    const all = [...document.querySelectorAll('.open')], from = all.indexOf(event.target);
    const to = all[from + (event.key === 'ArrowDown' ? 1 : -1)];
    if (to) { event.preventDefault(); to.focus(); }
  }
});

ask();
