// Two charts over the last minutes, drawn as SVG. They know numbers and nothing of where those come from.

const SVG = 'http://www.w3.org/2000/svg';
const HEIGHT = 170;
const FEW = 3;
const MARGIN = { top: 10, right: 6, bottom: 20, left: 46 };

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The next of 1, 2, 5, 10, 20 … that is not smaller. */
function niceCeiling(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map(step => step * unit).find(step => step >= value * 0.999999);
}

/** A scale from zero, with three lines. */
export function linear(values) {
  const top = niceCeiling(Math.max(1, ...values));
  return { at: value => value / top, ticks: [0, top / 2, top] };
}

/** A scale of powers of ten, two of them at least. */
export function logarithmic(values) {
  const exponents = values.map(Math.log10).filter(Number.isFinite);
  const low = exponents.length ? Math.floor(Math.min(...exponents)) : -3;
  const high = Math.max(low + 2, exponents.length ? Math.ceil(Math.max(...exponents)) : 0);
  const ticks = Array.from({ length: high - low + 1 }, (_, at) => 10 ** (low + at));
  return { at: value => Math.max(0, (Math.log10(value) - low) / (high - low)), ticks };
}

/** A line through the points that there are, broken where there is none; and those that are too few for a line to be seen. */
function line(points) {
  const runs = [[]];
  for (const point of points) {
    if (point !== null) runs.at(-1).push(point);
    else if (runs.at(-1).length) runs.push([]);
  }
  const long = runs.filter(run => run.length > 1);
  const path = long.map(run => `M${run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')}`).join('');
  return { path, alone: runs.filter(run => run.length <= FEW).flat() };
}

/** What is between two lines. */
function area(upper, lower) {
  if (upper.length === 0) return '';
  const points = [...upper, ...lower.slice().reverse()];
  return `M${points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')}Z`;
}

/**
 * A chart in a figure. `layers(samples)` says what is drawn: `{ scale, format, paths: [{ className, values, base?, dot? }] }`;
 * `describe(sample, index)` says a sample in words. Keys and the pointer choose a sample.
 */
export class Chart {
  constructor(figure, readout, { label, layers, describe }) {
    Object.assign(this, { readout, label, layers, describe, samples: [], capacity: 1, cursor: null });
    this.svg = element('svg', { class: 'chart', role: 'img', tabindex: '0', 'aria-label': label });
    figure.insertBefore(this.svg, readout);
    new ResizeObserver(() => this.draw()).observe(this.svg);
    this.svg.addEventListener('keydown', event => this.key(event));
    this.svg.addEventListener('blur', () => this.choose(null));
    this.svg.addEventListener('pointermove', event => this.point(event));
    this.svg.addEventListener('pointerleave', () => this.choose(null));
  }

  show(samples, capacity) {
    const moved = this.capacity === capacity ? this.added(samples) : 0;
    Object.assign(this, { samples, capacity });
    // What was chosen stays chosen, and moves on with the time.
    if (this.cursor !== null && moved > 0) this.cursor = Math.max(0, this.cursor - moved);
    this.draw();
  }

  /** How many samples went out at the left since the last time. */
  added(samples) {
    const before = this.samples[0], now = samples[0];
    return before && now && samples.length === this.samples.length ? now.number - before.number : 0;
  }

  key(event) {
    const last = this.samples.length - 1;
    const from = this.cursor ?? last + 1;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last, PageUp: from - 15, PageDown: from + 15 }[event.key];
    if (event.key === 'Escape') this.choose(null);
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.choose(Math.min(last, Math.max(0, to)));
    this.readout.setAttribute('aria-live', 'polite');
  }

  point(event) {
    const { left, width } = this.svg.getBoundingClientRect();
    const share = (event.clientX - left - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
    const at = Math.round(share * (this.capacity - 1)) - (this.capacity - this.samples.length);
    this.readout.removeAttribute('aria-live');
    this.choose(at >= 0 && at < this.samples.length ? at : null);
  }

  choose(cursor) {
    this.cursor = cursor;
    this.draw();
  }

  draw() {
    const width = this.svg.clientWidth;
    if (width === 0) return;
    const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
    const { scale, format, paths } = this.layers(this.samples);
    const x = at => MARGIN.left + (at + this.capacity - this.samples.length) / (this.capacity - 1) * inner.width;
    const y = value => MARGIN.top + (1 - Math.min(1, scale.at(value))) * inner.height;
    const parts = [];
    for (const tick of scale.ticks) {
      const at = Math.round(y(tick)) + 0.5;
      parts.push(element('line', { class: 'grid', x1: MARGIN.left, x2: width - MARGIN.right, y1: at, y2: at }));
      parts.push(element('text', { x: MARGIN.left - 6, y: at + 4, 'text-anchor': 'end' }, format(tick)));
    }
    for (const [share, text, anchor] of [[0, '10 min ago', 'start'], [0.5, '5 min', 'middle'], [1, 'now', 'end']]) {
      parts.push(element('text', { x: MARGIN.left + share * inner.width, y: HEIGHT - 4, 'text-anchor': anchor }, text));
    }
    for (const { className, values, base, dot = 2.5 } of paths) {
      const points = values.map((value, at) => value === null ? null : [x(at), y(value)]);
      const { path, alone } = base ? { path: area(points, base.map((value, at) => [x(at), y(value)])), alone: [] } : line(points);
      if (path) parts.push(element('path', { class: className, d: path }));
      for (const [cx, cy] of alone) parts.push(element('circle', { class: className, cx: cx.toFixed(1), cy: cy.toFixed(1), r: dot }));
    }
    const sample = this.samples[this.cursor ?? this.samples.length - 1];
    if (this.cursor !== null && sample) {
      const at = x(this.cursor);
      parts.push(element('line', { class: 'cursor', x1: at, x2: at, y1: MARGIN.top, y2: MARGIN.top + inner.height }));
    }
    this.svg.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    this.svg.replaceChildren(...parts);
    const text = sample ? this.describe(sample, this.cursor !== null) : 'Nothing has been measured yet.';
    if (this.readout.textContent !== text) this.readout.textContent = text;
    this.svg.setAttribute('aria-label', `${this.label}. ${text} The arrow keys go back and forth.`);
  }
}
