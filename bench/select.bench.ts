/** Select, beside Go's figures. */
import { after, Channel, context, select } from "gopark";
import { check, compare } from "./support/compare.ts";

const N = 5_000;

async function twoAndQuit(): Promise<void> {
  const a = new Channel<number>();
  const b = new Channel<number>();
  const [quit, cancel] = context.withCancel(context.background());
  const produce = async (ch: Channel<number>) => {
    for (let i = 0; i < N / 2; i++) await ch.send(1);
  };
  const producing = [produce(a), produce(b)];
  let sum = 0;
  while (sum < N) {
    const s = await select({ a, b, quit });
    if (s.case === "quit") throw s.value;
    sum += s.value as number;
  }
  await Promise.all(producing);
  cancel();
  check(sum, N);
}

async function withAfter(): Promise<void> {
  const ch = new Channel<number>(1);
  let sum = 0;
  for (let i = 0; i < N; i++) {
    ch.trySend(1);
    const s = await select({ ch, late: after(1000) });
    if (s.case === "ch" && s.ok) sum += s.value;
  }
  check(sum, N);
}

await compare("select", [
  { name: "select of 2 + quit, per value", ops: N, ours: twoAndQuit, go: [200, 0.9] },
  { name: "select with after, other case ready", ops: N, ours: withAfter, go: [373, 0.5] },
]);
