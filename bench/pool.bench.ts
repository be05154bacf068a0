/** The object pool, beside a bare array, and beside allocating anew. */
import { pool } from "gopark";
import { check, type Row } from "./support/row.ts";

const N = 5_000;
const BUFFERS = 200;
const SIZE = 65_536;

interface Scratch {
  readonly bytes: Uint8Array;
  used: number;
}

const create = (): Scratch => ({ bytes: new Uint8Array(64), used: 0 });

const scratches = new pool.Pool<Scratch>({
  create,
  reset: (scratch) => {
    scratch.used = 0;
  },
});

function getPut(): void {
  let clean = 0;
  for (let i = 0; i < N; i++) {
    const scratch = scratches.get();
    if (scratch.used === 0) clean++;
    scratch.bytes[0] = i;
    scratch.used = 1;
    scratches.put(scratch);
  }
  check(clean, N);
}

const stack: Scratch[] = [];

function getPutFloor(): void {
  let clean = 0;
  for (let i = 0; i < N; i++) {
    const scratch = stack.pop() ?? create();
    if (scratch.used === 0) clean++;
    scratch.bytes[0] = i;
    scratch.used = 1;
    scratch.used = 0;
    stack.push(scratch);
  }
  check(clean, N);
}

const buffers = new pool.Pool<Buffer>({ create: () => Buffer.allocUnsafe(SIZE), reset: () => {} });

function pooled(): void {
  let sum = 0;
  for (let i = 0; i < BUFFERS; i++) {
    const buffer = buffers.get();
    buffer[i] = 1;
    sum += buffer[i] as number;
    buffers.put(buffer);
  }
  check(sum, BUFFERS);
}

function allocated(): void {
  let sum = 0;
  for (let i = 0; i < BUFFERS; i++) {
    const buffer = Buffer.allocUnsafe(SIZE);
    buffer[i] = 1;
    sum += buffer[i] as number;
  }
  check(sum, BUFFERS);
}

export const rows: readonly Row[] = [
  {
    id: "pool.getput",
    what: "get an object and put it back, double puts refused: one object",
    ops: N,
    ours: getPut,
    floor: getPutFloor,
    floorIs: "pop and push of a bare array",
    targets: { go: 1.5 },
  },
  {
    id: "pool.newbuf",
    what: "a Buffer of 64 kB from the pool and back: one buffer",
    ops: BUFFERS,
    ours: pooled,
    floor: allocated,
    floorIs: "Buffer.allocUnsafe each time",
    targets: { floor: 1 },
  },
];
