const WARM_UP = 10;

/** Milliseconds of the network alone: { runs, min, p50, p90 }. */
export async function benchmark(run, runs, progress) {
  for (let i = 0; i < WARM_UP; i++) await run();
  const times = [];
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    await run();
    times.push(performance.now() - start);
    progress?.(i + 1, runs);
  }
  return { runs, ...summary(times) };
}

export function summary(times) {
  const sorted = [...times].sort((a, b) => a - b);
  const rank = (share) => sorted[Math.ceil(share * sorted.length) - 1]; // nearest rank
  return { min: sorted[0], p50: rank(0.5), p90: rank(0.9) };
}
