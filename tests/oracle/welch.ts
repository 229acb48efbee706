/** Number, mean and variance of values that come one by one (Welford's method). */
export class Moments {
  count = 0;
  mean = 0;
  #squares = 0;

  add(value: number): void {
    this.count++;
    const distance = value - this.mean;
    this.mean += distance / this.count;
    this.#squares += distance * (value - this.mean);
  }

  get variance(): number {
    return this.#squares / (this.count - 1);
  }
}

/** Welch's t of two samples: by how many standard errors their means differ. */
export function welchT(a: Moments, b: Moments): number {
  return (a.mean - b.mean) / Math.sqrt(a.variance / a.count + b.variance / b.count);
}
