// Runs the golden images and holds the results to what the manifest's `self_test` asks.
import { inCommon } from './agreement.js';
import { decode } from './decode.js';
import { read, sha256 } from './model.js';
import { normalize } from './preprocess.js';

/** -> { passed, images, outputs: [{ name, rule, passed, detail }] }; tells `progress` of each image. */
export async function selfTest({ manifest, artifact }, session, progress) {
  const expected = JSON.parse(new TextDecoder().decode(await read('golden/expected.json')));
  const { reference, outputs } = artifact.self_test;
  const judges = outputs.map((rule) => ({ rule, judge: judgeOf(rule, expected, reference) }));
  for (const [index, { file, name }] of expected.inputs.entries()) {
    const pixels = await decode(new Blob([await read(`golden/${file}`)]));
    const planes = normalize(pixels, manifest.spec.preprocess, manifest.normalize);
    const found = await session.run(planes, manifest.spec.preprocess.crop_size);
    for (const { rule, judge } of judges) await judge.see(found[rule.name].data, index, name);
    progress?.(index + 1, expected.inputs.length);
  }
  const verdicts = judges.map(({ rule, judge }) => ({ name: rule.name, ...judge.verdict() }));
  return {
    passed: verdicts.every(({ passed }) => passed),
    images: expected.inputs.length,
    reference,
    outputs: verdicts,
  };
}

/** What is known of an output: all values of a classifier, else digests and every n-th value. */
function judgeOf(rule, expected, reference) {
  const known = expected.outputs?.[reference][rule.name] ?? {
    samples: expected.logits[reference],
    stride: 1,
  };
  if (rule.exact) return new Exact(known);
  return rule.min_sqnr_db === null ? new Shared(known, rule) : new Near(known, rule);
}

class Exact {
  #known;
  #equal = 0;
  #images = 0;
  #first = '';
  #hashed = true;

  constructor(known) {
    this.#known = known;
  }

  async see(values, image, name) {
    const { samples, stride, sha256: digests } = this.#known;
    const differs = samples[image].findIndex((value, k) => !Object.is(value, values[k * stride]));
    const digest = digests && (await sha256(bytesOf(values)));
    this.#hashed &&= digest !== null;
    const equal = differs < 0 && (!digest || digest === digests[image]);
    this.#images += 1;
    this.#equal += equal;
    if (equal || this.#first) return;
    const [want, got] = [samples[image][differs], values[differs * stride]];
    this.#first =
      differs < 0
        ? `${name}: differs outside the sample`
        : `${name}: value ${differs * stride} is ${got} instead of ${want}`;
  }

  verdict() {
    const what = this.#hashed ? 'every bit' : 'the sampled values (no hashes here)';
    const first = this.#first && `; ${this.#first}`;
    return {
      rule: 'every bit',
      passed: this.#equal === this.#images,
      detail: `${this.#equal} of ${this.#images} pictures agree in ${what}${first}`,
    };
  }
}

class Near {
  #known;
  #rule;
  #signal = 0;
  #noise = 0;

  constructor(known, rule) {
    this.#known = known;
    this.#rule = rule;
  }

  async see(values, image) {
    this.#known.samples[image].forEach((expected, k) => {
      const actual = values[k * this.#known.stride];
      this.#signal += expected ** 2;
      this.#noise += (actual - expected) ** 2;
    });
  }

  verdict() {
    const decibels = this.#rule.min_sqnr_db;
    const ratio = 10 * Math.log10(this.#signal / this.#noise);
    return {
      rule: `at least ${Number(decibels.toFixed(1))} dB`,
      passed: this.#noise === 0 || ratio >= decibels,
      detail: this.#noise === 0 ? 'all values are equal' : `${ratio.toFixed(1)} dB`,
    };
  }
}

/** Labels that are equal, or detections in common: what has no ratio. */
class Shared {
  #known;
  #rule;
  #matched = 0;
  #all = 0;

  constructor(known, rule) {
    this.#known = known;
    this.#rule = rule;
  }

  async see(values, image) {
    const { samples, stride } = this.#known;
    if (this.#rule.name === 'detections') {
      const { rows, matched } = inCommon(samples[image], values); // the sample is all of them
      this.#all += rows;
      this.#matched += matched;
      return;
    }
    this.#all += samples[image].length;
    this.#matched += samples[image].filter((label, k) => label === Number(values[k * stride])).length;
  }

  verdict() {
    const [what, least] = [this.#rule.name, this.#rule.min_agreement];
    const share = this.#all ? this.#matched / this.#all : 1;
    return {
      rule: `${percent(least)} of ${what}`,
      passed: share >= least,
      detail: `${percent(share)} of ${what} agree`,
    };
  }
}

function bytesOf({ buffer, byteOffset, byteLength }) {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

const percent = (share) => `${Number((share * 100).toFixed(2))} %`;
