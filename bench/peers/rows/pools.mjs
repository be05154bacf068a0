/** generic-pool and reusify. */
import genericPool from "generic-pool";
import reusify from "reusify";
import { check, N } from "./row.mjs";

const generic = genericPool.createPool(
  { create: async () => ({ value: 0 }), destroy: async () => {} },
  { max: 10, min: 1 },
);

async function acquireRelease() {
  let n = 0;
  for (let i = 0; i < N; i++) {
    const object = await generic.acquire();
    n += ++object.value > 0 ? 1 : 0;
    await generic.release(object);
  }
  check(n, N);
}

function Reused() {
  this.next = null;
  this.value = 0;
}
const reused = reusify(Reused);

function getRelease() {
  let n = 0;
  for (let i = 0; i < N; i++) {
    const object = reused.get();
    n += ++object.value;
    object.value = 0;
    reused.release(object);
  }
  check(n, N);
}

export const rows = [
  { row: "pool.getput", peer: "generic-pool", ops: N, run: acquireRelease },
  { row: "pool.getput", peer: "reusify", ops: N, run: getRelease },
];
