/** Counts endings: `all` resolves when `one` has been called `count` times. */
export class Tally {
  private left: number;
  private resolve = () => {};
  readonly all = new Promise<void>((resolve) => {
    this.resolve = resolve;
  });

  constructor(count: number) {
    this.left = count;
  }

  readonly one = (): void => {
    if (--this.left === 0) this.resolve();
  };
}
