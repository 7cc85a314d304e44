// Runs the golden images and holds the results to what the manifest's `self_test` asks.
import { decode } from './decode.js';
import { read, sha256 } from './model.js';
import { normalize } from './preprocess.js';

const NEAR = 1e-3; // of numbers that are held to a share of equal ones

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
  return rule.exact ? new Exact(known) : new Near(known, rule);
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
  #equal = 0;
  #values = 0;

  constructor(known, rule) {
    this.#known = known;
    this.#rule = rule;
  }

  async see(values, image) {
    this.#known.samples[image].forEach((expected, k) => {
      const actual = Number(values[k * this.#known.stride]);
      this.#signal += expected ** 2;
      this.#noise += (actual - expected) ** 2;
      this.#equal += Math.abs(actual - expected) <= (this.#rule.dtype === 'uint8' ? 0 : NEAR);
      this.#values += 1;
    });
  }

  verdict() {
    const { min_sqnr_db: decibels, min_agreement: share } = this.#rule;
    if (decibels === null) {
      const agreed = this.#equal / this.#values;
      return {
        rule: `${percent(share)} equal`,
        passed: agreed >= share,
        detail: `${percent(agreed)} of the sampled values are equal`,
      };
    }
    const ratio = 10 * Math.log10(this.#signal / this.#noise);
    return {
      rule: `at least ${Number(decibels.toFixed(1))} dB`,
      passed: this.#noise === 0 || ratio >= decibels,
      detail: this.#noise === 0 ? 'all values are equal' : `${ratio.toFixed(1)} dB`,
    };
  }
}

function bytesOf({ buffer, byteOffset, byteLength }) {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

const percent = (share) => `${Number((share * 100).toFixed(2))} %`;
