/** generic-pool and reusify. */
import genericPool from "generic-pool";
import reusify from "reusify";
import { check, N } from "./row.mjs";

const MAX = 10;
let created = 0;
const generic = genericPool.createPool(
  {
    create: async () => {
      created++;
      return { value: 0 };
    },
    destroy: async () => {},
  },
  { max: MAX, min: 1 },
);

async function acquireRelease() {
  let n = 0;
  for (let i = 0; i < N; i++) {
    const object = await generic.acquire();
    if (object.value++ >= 0) n++;
    await generic.release(object);
  }
  check(n, N);
  check(created <= MAX, true);
}

let made = 0;
function Reused() {
  made++;
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
  check(made <= 2, true); // It creates one in advance.
}

export const rows = [
  { row: "pool.getput", peer: "generic-pool", ops: N, run: acquireRelease },
  { row: "pool.getput", peer: "reusify", ops: N, run: getRelease },
];
