// What the page says. Nothing here knows of the worker or the camera.
import { classColor, css } from './palette.js';

const TITLES = {
  classification: 'What is in this picture?',
  detection: 'Find objects in a picture',
  segmentation: 'Outline what is in a picture',
};
const TOP = 5;

export const find = (id) => document.getElementById(id);

export function showModel({ spec, artifact, checked }) {
  document.title = `${TITLES[spec.task]} · MobileNetV2`;
  find('title').textContent = TITLES[spec.task];
  const known = spec.task === 'classification' ? spec.classes : spec.classes - 1;
  const size = `${(artifact.size_bytes / 1e6).toFixed(1)} MB`;
  find('facts').textContent =
    `MobileNetV2, ${artifact.precision}, ${known} classes, ${size}. Pictures stay on this device.`;
  find('threshold-row').hidden = spec.task !== 'detection';
  find('notice').hidden = checked;
  find('notice').textContent =
    'This page came neither from https nor from localhost: the model’s files could not be verified, ' +
    'and there is no camera and no offline use.';
}

export function showStatus(text) {
  find('status').textContent = text;
}

/** `retry` is what “Try again” does, if there is something to try. */
export function showError({ message, hint = '' }, retry = null) {
  find('error-message').textContent = message;
  find('error-hint').textContent = hint;
  find('retry').hidden = retry === null;
  find('retry').onclick = retry;
  find('error').hidden = false;
}

export function clearError() {
  find('error').hidden = true;
}

/** nothing, picture or camera. */
export function showInFrame(what) {
  find('frame').dataset.showing = what;
  find('choose-actions').hidden = what === 'camera';
  find('camera-actions').hidden = what !== 'camera';
}

export function clearResult() {
  find('found').hidden = true;
  find('times').hidden = true;
}

/** The list, and the same in a sentence for the status line and the picture's description. */
export function showResult(result, objects) {
  const rows = {
    classification: () => result.classes.slice(0, TOP),
    detection: () => objects.map((object) => ({ ...object, share: object.score })),
    segmentation: () => result.regions,
  }[result.task]();
  const colored = result.task !== 'classification';
  find('found').replaceChildren(...rows.map((row) => listItem(row, colored)));
  find('found').hidden = rows.length === 0;
  const said = SENTENCES[result.task](rows);
  find('picture').setAttribute('aria-label', `The picture: ${said}`);
  return said;
}

const SENTENCES = {
  classification: ([best]) => `Most likely: ${best.label}, ${percent(best.share)}.`,
  detection: (rows) => {
    if (rows.length === 0) return 'Nothing was found with such a score.';
    return `Found ${rows.length} ${rows.length === 1 ? 'object' : 'objects'}: ${names(rows)}.`;
  },
  segmentation: (rows) => {
    const things = rows.filter((row) => row.class > 0);
    if (things.length === 0) return 'Nothing but background.';
    return `Found: ${things.map((row) => `${row.label} on ${percent(row.share)}`).join(', ')}.`;
  },
};

function names(rows) {
  const counts = Map.groupBy(rows, (row) => row.label);
  return [...counts].map(([label, all]) => `${all.length > 1 ? `${all.length} × ` : ''}${label}`).join(', ');
}

function listItem({ label, share, class: category }, colored) {
  const item = document.createElement('li');
  item.style.setProperty('--share', share);
  const swatch = element('span', colored ? 'swatch' : '');
  if (colored && category > 0) swatch.style.setProperty('--color', css(classColor(category)));
  if (colored && category === 0) swatch.classList.add('none');
  item.append(swatch, element('span', 'label', label), element('span', 'share', percent(share)));
  return item;
}

export function showTimes({ decodeMs, prepareMs, networkMs }) {
  const rows = { Network: networkMs, Resize: prepareMs, Decode: decodeMs };
  showNumbers(find('times'), rows);
  find('times').hidden = false;
}

/** Milliseconds by name into a dl. */
function showNumbers(list, rows) {
  const parts = Object.entries(rows).map(([name, ms]) => {
    const part = document.createElement('div');
    part.append(element('dt', '', name), element('dd', '', `${ms.toFixed(1)} ms`));
    return part;
  });
  list.replaceChildren(...parts);
}

export function showProgress(id, text) {
  find(id).className = 'outcome';
  find(id).textContent = text;
}

export function showSelfTest({ passed, images, outputs }) {
  const headline = passed
    ? `Passed: ${images} pictures give the expected results.`
    : 'Failed: this browser computes something else.';
  const list = document.createElement('ul');
  for (const { name, rule, detail } of outputs) {
    list.append(element('li', '', `${name} (asked for: ${rule}): ${detail}.`));
  }
  find('self-test-result').className = `outcome ${passed ? 'passed' : 'failed'}`;
  find('self-test-result').replaceChildren(element('strong', '', headline), list);
}

export function showBenchmark({ min, p50, p90 }, { loadMs, firstMs }) {
  const list = element('dl', 'times');
  showNumbers(list, {
    Loading: loadMs,
    'First run': firstMs,
    Fastest: min,
    Median: p50,
    '90 % within': p90,
  });
  find('benchmark-result').replaceChildren(list);
}

/** Pictures to try: the photos among the golden images. */
export function showExamples(examples, choose) {
  const buttons = examples.map((example, i) => {
    const button = document.createElement('button');
    const image = element('img');
    Object.assign(image, { src: `model/golden/${example.file}`, alt: `Example ${i + 1}` });
    button.type = 'button';
    button.append(image);
    button.onclick = () => choose(example, button);
    return button;
  });
  find('examples').replaceChildren(...buttons);
}

export function pressExample(pressed) {
  for (const button of find('examples').children) {
    button.setAttribute('aria-pressed', String(button === pressed));
  }
}

function element(tag, className = '', text = '') {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

export function percent(share) {
  if (share > 0 && share < 0.001) return '< 0.1 %';
  return `${(share * 100).toFixed(1)} %`;
}
