/**
 * Fault 2: a leaked task. The function asks two replicas and takes the first answer. The second replica's answer has no
 * receiver, so its task waits in `send` for ever. No test fails, and each call leaves one more.
 *
 * The tool: `leak.scoped` around a test; with vitest, `setupFiles: ["gopark/leak/vitest"]` does it for all of them.
 *
 * The cure: a context that ends with the function, for every send.
 *
 * `npm run example faults/leaked-task` runs it.
 */
import { Channel, context, go, leak } from "gopark";

leak.track("full");

// Stands for a request.
const ask = async (replica: string) => `answer of ${replica}`;

async function firstAnswer(out: Channel<string>): Promise<string | undefined> {
  for (const replica of ["a", "b"]) {
    void go(async function askReplica() {
      await out.send(await ask(replica));
    });
  }
  return (await out.receive()).value;
}

async function firstAnswerCured(): Promise<string | undefined> {
  using scope = context.withCancel(context.background());
  const out = new Channel<string>();
  for (const replica of ["a", "b"]) {
    go(async () => out.send(await ask(replica), scope.ctx)).catch(() => {}); // Canceled: it came second.
  }
  return (await out.receive()).value;
}

const out = new Channel<string>(); // Known outside only so that this program can end.
try {
  await leak.scoped(() => firstAnswer(out));
} catch (err) {
  if (!(err instanceof leak.LeakError)) throw err;
  console.log("the fault:", err.message.split("\n")[0]);
  const { stack } = err.leaks.find(({ kind }) => kind === "chan send") as leak.Leak;
  console.log("made at", stack?.split("\n")[0]?.match(/\w+(?= \()/)?.[0]);
}
await out.receive();

console.log("the cure:", await leak.scoped(firstAnswerCured));
// Output:
// the fault: found unexpected leaks: 1 task, 1 chan send
// made at askReplica
// the cure: answer of a
