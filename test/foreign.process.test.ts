/**
 * The error of a foreign function that throws while a wait stops listening: how it is reported, in a process of its
 * own.
 */
import { describe, expect, test } from "vitest";
import { IMPORT, run } from "./support/run.ts";

const BEGIN = `${IMPORT}
  const stop = () => { throw new Error("doom"); };
  const source = {
    deadline: () => undefined, done: () => null, err: () => undefined, value: () => undefined,
    signal: new AbortController().signal, afterFunc: () => stop,
  };
  const { signal } = new AbortController();
  signal.removeEventListener = stop;`;

const wait = (cancel: string) => `
  const ch = new Channel();
  const received = ch.receive(${cancel}).then(({ value }) => console.log("received", value));
  await new Promise((resolve) => setImmediate(resolve));
  console.log("sent", ch.trySend(1));
  await received;
  await time.sleep(20);
  console.log("slept");`;

describe.each(["source", "signal"])("a %s whose listener cannot be taken off", (cancel) => {
  test("makes an uncaught exception, once the wait is over, where there is no reportError", async () => {
    const listening = 'process.on("uncaughtException", (error) => console.log("uncaught", error.message));';
    const { status, out, err } = await run(`${BEGIN} delete globalThis.reportError; ${listening} ${wait(cancel)}`);
    expect({ status, out, err }).toEqual({ status: 0, out: "sent true\nreceived 1\nuncaught doom\nslept\n", err: "" });
  });

  test("ends a process that has nothing else to say to that", async () => {
    const { status, out, err } = await run(`${BEGIN} delete globalThis.reportError; ${wait(cancel)}`);
    expect([status, out]).toEqual([1, "sent true\nreceived 1\n"]);
    expect(err).toContain("Error: doom");
  });

  test("goes to reportError where there is one", async () => {
    const reporting = 'globalThis.reportError = (error) => console.log("reported", error.message);';
    const { status, out, err } = await run(`${BEGIN} ${reporting} ${wait(cancel)}`);
    expect([status, err]).toEqual([0, ""]);
    expect(out.split("\n").sort()).toEqual(["", "received 1", "reported doom", "sent true", "slept"]);
  });

  test("is found out under fake timers too: the report does not wait for them", async () => {
    const listening = 'process.on("uncaughtException", (error) => console.log("uncaught", error.message));';
    const code = `${BEGIN} ${listening}
      import { mock } from "node:test";
      delete globalThis.reportError;
      const realImmediate = setImmediate;
      mock.timers.enable({ apis: ["setTimeout", "setInterval", "setImmediate", "Date"] });
      const ch = new Channel();
      const turn = new Promise((resolve) => realImmediate(resolve));
      const received = ch.receive(${cancel}).then(({ value }) => console.log("received", value));
      await turn;
      ch.trySend(1);
      await received;
      mock.timers.reset();
      await new Promise((resolve) => setTimeout(resolve, 20));`;
    const { status, out } = await run(code);
    expect([status, out]).toEqual([0, "received 1\nuncaught doom\n"]);
  });
});
