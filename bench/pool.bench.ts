/** The object pool, compared with a bare array, and with a new allocation each time. */
import { pool } from "gopark";
import { check, type Row } from "./support/row.ts";

const N = 5_000;
const BUFFERS = 200;

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

/** From which size a pool is worth it: a zeroed Buffer from the pool, reset when it is put back, or a new one. */
function sized(size: number): Row {
  const buffers = new pool.Pool({ create: () => Buffer.alloc(size), reset: (buffer: Buffer) => void buffer.fill(0) });
  return {
    id: `pool.buf${size}`,
    what: `a zeroed Buffer of ${size} bytes from the pool and back: one buffer`,
    ops: BUFFERS,
    ours: () => {
      let zeroed = 0;
      for (let i = 0; i < BUFFERS; i++) {
        const buffer = buffers.get();
        if (buffer[0] === 0) zeroed++;
        buffer[0] = 1;
        buffers.put(buffer);
      }
      check(zeroed, BUFFERS);
    },
    floor: () => {
      let zeroed = 0;
      for (let i = 0; i < BUFFERS; i++) {
        const buffer = Buffer.alloc(size);
        if (buffer[0] === 0) zeroed++;
        buffer[0] = 1;
      }
      check(zeroed, BUFFERS);
    },
    floorIs: "Buffer.alloc each time",
  };
}

export const rows: readonly Row[] = [
  {
    id: "pool.getput",
    what: "get an object and put it back, with double puts rejected: one object",
    ops: N,
    ours: getPut,
    floor: getPutFloor,
    floorIs: "pop and push of a bare array",
    targets: { go: 1.5 },
    next: {
      targets: { floor: 3.2 },
      why: "A second put is rejected, and an object that is put back is reset; reusify does neither.",
    },
  },
  sized(64),
  sized(256),
  sized(1024),
  sized(16_384),
  sized(65_536),
];
