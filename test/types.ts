/**
 * What the types guarantee. Nothing here runs: the gate compiles this file. A line that must not compile has
 * `@ts-expect-error` above it, which is an error itself if the line compiles.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createServer2 } from "node:http2";
import { createServer as createServerTls } from "node:https";
import { Readable } from "node:stream";
import {
  after,
  breaker,
  type Cancel,
  Channel,
  ClosedChannelError,
  type Context,
  type channel,
  context,
  errgroup,
  go,
  pipeline,
  type Received,
  rate,
  retry,
  select,
  type singleflight,
  trySelect,
  type workers,
} from "gopark";
import * as admission from "gopark/admission";
import type { ReceiveChannel, SendChannel } from "gopark/channel";
import * as http from "gopark/http";
import * as pprof from "gopark/pprof";
import { nodeHandler } from "gopark/pprof/node";
import * as redis from "gopark/redis";
import type { Selectable } from "gopark/select";
import * as signal from "gopark/signal";
import * as synctest from "gopark/synctest";
import { expectTypeOf } from "vitest";

declare const none: Channel<never>;
declare const text: Channel<string>;
declare const either: Channel<string | number>;

/** The views of a channel take what they can: a sender of less, a receiver of more. */
export function views(): unknown {
  const sendsText: SendChannel<string> = either;
  const sendsNothing: SendChannel<never> = either;
  const receivesEither: ReceiveChannel<string | number> = text;
  const receivesAnything: ReceiveChannel<unknown> = either;
  const receivesNothing: ReceiveChannel<string> = none;

  const sendsEither: SendChannel<string | number> = either;
  const sendsNumbers: SendChannel<number> = sendsEither;
  const receivesText: ReceiveChannel<string> = text;
  const receivesMore: ReceiveChannel<string | undefined> = receivesText;

  const send = (to: SendChannel<string>) => to.send("x");
  const receive = (from: ReceiveChannel<string | number>) => from.receive();
  const calls = [send(either), send(text), receive(text), receive(either)];
  return [
    sendsText,
    sendsNothing,
    receivesEither,
    receivesAnything,
    receivesNothing,
    sendsNumbers,
    receivesMore,
    calls,
  ];
}

/** And no more than that. */
export function refusedViews(): unknown {
  // @ts-expect-error It takes no numbers.
  const sendsEither: SendChannel<string | number> = text;
  const sendsText: SendChannel<string> = text;
  // @ts-expect-error Nor does a view of it.
  const sendsMore: SendChannel<string | number> = sendsText;
  // @ts-expect-error It may give a number.
  const receivesText: ReceiveChannel<string> = either;
  const receivesEither: ReceiveChannel<string | number> = either;
  // @ts-expect-error So may a view of it.
  const receivesLess: ReceiveChannel<string> = receivesEither;
  // @ts-expect-error A view does not become a channel again.
  const whole: Channel<string> = sendsText;
  // @ts-expect-error A channel that may give a number is not a channel of strings.
  const narrower: Channel<string> = either;
  return [sendsEither, sendsMore, receivesText, receivesLess, whole, narrower];
}

/** A view has the methods of its type. */
export async function throughViews(): Promise<void> {
  const sender: SendChannel<string> = either;
  expectTypeOf(sender.send).parameter(0).toEqualTypeOf<string>();
  // @ts-expect-error Only texts are sent through it.
  void sender.send(1);
  // @ts-expect-error Without waiting, too.
  sender.trySend(1);
  // @ts-expect-error In a select, too.
  sender.sending(1);
  // @ts-expect-error A view for sending does not receive.
  void sender.receive();

  const receiver: ReceiveChannel<string | number> = text;
  expectTypeOf(await receiver.receive()).toEqualTypeOf<Received<string | number>>();
  for await (const value of receiver) expectTypeOf(value).toEqualTypeOf<string | number>();
  // @ts-expect-error A view for receiving does not send.
  void receiver.send("x");
  // @ts-expect-error Nor close.
  receiver.close();
}

/** `ok` distinguishes the results of a receive. */
export async function received(): Promise<void> {
  const answer = await text.receive();
  if (answer.ok) expectTypeOf(answer.value).toEqualTypeOf<string>();
  else expectTypeOf(answer.value).toEqualTypeOf<undefined>();
  const error = new ClosedChannelError("unsent");
  expectTypeOf(error.value).toEqualTypeOf<string>();
}

/** The result of a select is a union discriminated by `case`, typed from the cases. */
export async function selected(signal: AbortSignal): Promise<void> {
  const ctx: Context = context.background();
  const s = await select({ got: text, sent: either.sending(1), stop: ctx, signal, late: after(1), off: null });
  expectTypeOf(s.case).toEqualTypeOf<"got" | "sent" | "stop" | "signal" | "late">();
  switch (s.case) {
    case "got":
      if (s.ok) expectTypeOf(s.value).toEqualTypeOf<string>();
      else expectTypeOf(s.value).toEqualTypeOf<undefined>();
      break;
    case "sent":
      // @ts-expect-error A send has no value.
      void s.value;
      break;
    case "stop":
      expectTypeOf(s.value).toEqualTypeOf<Error>();
      // @ts-expect-error Only a receive has `ok`.
      void s.ok;
      break;
    case "signal":
      expectTypeOf(s.value).toEqualTypeOf<unknown>();
      break;
    case "late":
      expectTypeOf(s.value).toEqualTypeOf<number>();
      break;
    default:
      expectTypeOf(s).toEqualTypeOf<never>();
  }
}

/** The same over views, over a channel that may be missing, and where nothing may be ready. */
export async function selectedOthers(maybe: Channel<string> | null): Promise<void> {
  const receiver: ReceiveChannel<string | number> = text;
  const sender: SendChannel<string> = either;
  const s = await select({ got: receiver, sent: sender.sending("x"), maybe });
  expectTypeOf(s.case).toEqualTypeOf<"got" | "sent" | "maybe">();
  if (s.case === "got" && s.ok) expectTypeOf(s.value).toEqualTypeOf<string | number>();
  if (s.case === "maybe" && s.ok) expectTypeOf(s.value).toEqualTypeOf<string>();

  const t = trySelect({ got: text });
  expectTypeOf(t).not.toBeAny();
  expectTypeOf(t?.case).toEqualTypeOf<"got" | undefined>();
  // @ts-expect-error Nothing may have been ready.
  void t.case;
}

/** Values that are not allowed as cases. */
export function refusedCases(): void {
  // @ts-expect-error A text.
  void select({ got: "text" });
  // @ts-expect-error A view for sending: `sending(value)` is a case.
  void select({ got: either as SendChannel<string> });
  // @ts-expect-error What a receive promises: the channel is a case.
  void select({ got: text.receive() });
  // @ts-expect-error The same without waiting.
  void trySelect({ got: text.receive() });
  // @ts-expect-error The same among others, and where it may be missing.
  void select({ late: after(1), got: Math.random() < 0.5 ? either.receive() : null });
  // @ts-expect-error The same of a channel whose values are not known.
  void select({ got: (text as Channel<unknown>).receive() });
  // @ts-expect-error The same of one that gives none.
  void select({ got: none.receive() });
  const thenable: PromiseLike<number> = Promise.resolve(1);
  // @ts-expect-error What is only a thenable.
  void select({ thenable });
}

/** A promise is a case, whatever it promises, except what a receive does. */
export async function selectedPromises(
  // biome-ignore lint/suspicious/noExplicitAny: it must not be taken for a receive.
  any: Promise<any>,
  unknown: Promise<unknown>,
  never: Promise<never>,
  response: Promise<Response>,
  either: Promise<string> | ReceiveChannel<number> | null,
  result: Promise<{ ok: true; value: number } | { ok: false; error: Error }>,
): Promise<void> {
  const s = await select({ any, unknown, never, response, either, result, text, off: null });
  expectTypeOf(s.case).toEqualTypeOf<"any" | "unknown" | "never" | "response" | "either" | "result" | "text">();
  switch (s.case) {
    case "any":
      expectTypeOf(s.value).toBeAny();
      break;
    case "unknown":
      expectTypeOf(s.value).toEqualTypeOf<unknown>();
      // @ts-expect-error Only a receive has `ok`.
      void s.ok;
      break;
    case "never":
      expectTypeOf(s.value).toEqualTypeOf<never>();
      break;
    case "response":
      expectTypeOf(s.value).toEqualTypeOf<Response>();
      break;
    case "either":
      expectTypeOf(s.value).toEqualTypeOf<string | number | undefined>();
      break;
    case "result":
      if (s.value.ok) expectTypeOf(s.value.value).toEqualTypeOf<number>();
      break;
    case "text":
      expectTypeOf(s.value).toEqualTypeOf<string | undefined>();
  }
  expectTypeOf(trySelect({ response })).toEqualTypeOf<
    { readonly case: "response"; readonly value: Response } | undefined
  >();
  expectTypeOf(select({ ping: Promise.resolve() })).resolves.toEqualTypeOf<{
    readonly case: "ping";
    readonly value: void;
  }>();
}

/** Cases may be of an interface, or of one of several types; what is no object of cases is none. */
export async function selectedOfTypes(ctx: Context, flag: boolean): Promise<void> {
  interface Cases {
    readonly got: Channel<string>;
    readonly stop: Context;
  }
  const cases: Cases = { got: text, stop: ctx };
  const s = await select(cases);
  expectTypeOf(s).toEqualTypeOf(await select({ got: text, stop: ctx }));
  const [one, two] = [{ got: text }, { late: after(1) }];
  const either = await select(flag ? one : two);
  if (either.case === "late") expectTypeOf(either.value).toEqualTypeOf<number>();
  else expectTypeOf(either.value).toEqualTypeOf<string | undefined>();
  // @ts-expect-error An array.
  void select([text]);
  // @ts-expect-error A channel.
  void select(text);
  // @ts-expect-error A context.
  void trySelect(ctx);
  // @ts-expect-error A text.
  void select("text");
  // @ts-expect-error A promise.
  void select(Promise.resolve(1));
}

/** A key made for a type takes values of that type, and others anything. */
export function valuesOfKeys(): unknown {
  const key = context.contextKey<number>("n");
  // @ts-expect-error A text for a number.
  context.withValue(undefined, key, "text");
  return [context.withValue(undefined, key, 1).value(key), context.withValue(undefined, "other", "text")];
}

/** A function over any cases, promises excluded, knows its answer; one over any cases at all takes a record. */
export function selectedGenerically(all: Record<string, Selectable>): unknown {
  const first = <C extends Record<string, Exclude<Selectable, Promise<unknown>>>>(cases: C) => select(cases);
  expectTypeOf(first({ text })).toEqualTypeOf(select({ text }));
  return [select(all), trySelect(all)];
}

/** `go` knows the task's arguments and its answer. */
export function tasks(): void {
  const task = async (n: number, name: string, more?: boolean) => `${n} ${name} ${more}`;
  expectTypeOf(go(task, 1, "x")).toEqualTypeOf<Promise<string>>();
  expectTypeOf(go(task, 1, "x", true)).toEqualTypeOf<Promise<string>>();
  expectTypeOf(go(() => 7)).toEqualTypeOf<Promise<number>>();
  expectTypeOf(go((...ns: number[]) => ns.length, 1, 2, 3)).toEqualTypeOf<Promise<number>>();
  // @ts-expect-error The task wants arguments.
  void go(task);
  // @ts-expect-error Two of them.
  void go(task, 1);
  // @ts-expect-error In their order.
  void go(task, "x", 1);
  // @ts-expect-error And no more than it takes.
  void go(() => 7, 1);
}

/** The root has the types that signatures name. */
export function rootTypes(): unknown {
  const wait = async (ctx: Context, cancel: Cancel, ch: Channel<string>): Promise<Received<string>> => {
    await ch.receive(ctx);
    return ch.receive(cancel);
  };
  expectTypeOf<Context>().toEqualTypeOf<context.Context>();
  expectTypeOf<Cancel>().toEqualTypeOf<context.Cancel>();
  expectTypeOf<Cancel>().toEqualTypeOf<Context | AbortSignal>();
  expectTypeOf<Received<string>>().toEqualTypeOf<channel.Received<string>>();
  expectTypeOf(Channel).toEqualTypeOf<typeof channel.Channel>();
  return wait;
}

/** A submit has the type of its task. */
export function submitted(pool: workers.Workers, ctx: Context, signal: AbortSignal | undefined): unknown {
  expectTypeOf(pool.submit(() => 1)).toEqualTypeOf<Promise<number>>();
  expectTypeOf(pool.submit(async () => "x" as const, { priority: 2, cancel: signal })).toEqualTypeOf<Promise<"x">>();
  expectTypeOf(pool.trySubmit(() => 1)).toEqualTypeOf<Promise<number> | undefined>();
  // @ts-expect-error: a task gets no arguments
  void pool.submit((given: Context) => given);
  // @ts-expect-error: the context is an option
  void pool.submit(() => 1, ctx);
  // @ts-expect-error: the signal is an option
  return pool.submit(() => 1, signal as AbortSignal);
}

/** A call through a breaker, or retried, has the type of the call. */
export function guarded(cb: breaker.CircuitBreaker, two: breaker.TwoStepCircuitBreaker, signal: AbortSignal): unknown {
  expectTypeOf(cb.execute(() => 1)).toEqualTypeOf<Promise<number>>();
  expectTypeOf(cb.execute(async () => "x" as const)).toEqualTypeOf<Promise<"x">>();
  expectTypeOf(cb.state()).toEqualTypeOf<"closed" | "half-open" | "open">();
  expectTypeOf(two.allow()).toEqualTypeOf<(err?: unknown) => void>();
  // @ts-expect-error: counts are read only
  cb.counts().requests = 1;
  // @ts-expect-error: the answer must not be a promise
  new breaker.CircuitBreaker({ readyToTrip: async () => true });

  expectTypeOf(retry(signal, async (ctx, attempt) => [ctx, attempt] as const)).toEqualTypeOf<
    Promise<readonly [Context, number]>
  >();
  expectTypeOf(retry(undefined, () => 1, { budget: new retry.Budget() })).toEqualTypeOf<Promise<number>>();
  expectTypeOf(retry.permanent("x")).toEqualTypeOf<Error>();
  // @ts-expect-error: the answer must not be a promise
  return retry(signal, () => 1, { retryIf: async () => true });
}

/** A bubble has the result of its function; an exploration has none, and must say how many seeds. */
export function bubbles(): unknown {
  expectTypeOf(synctest.test(() => 1)).toEqualTypeOf<Promise<number>>();
  expectTypeOf(synctest.test(async () => "x" as const, { seed: 1, stuckMs: 5 })).toEqualTypeOf<Promise<"x">>();
  expectTypeOf(synctest.explore(async () => 1, { seeds: 5, first: 7 })).toEqualTypeOf<Promise<void>>();
  // @ts-expect-error: how many seeds
  return synctest.explore(() => {}, { first: 1 });
}

/** What a flight resolves to has the type of the group, and cannot be changed. */
export async function flights(group: singleflight.Group<string, number>, signal: AbortSignal): Promise<unknown> {
  expectTypeOf(group.do("key", async (ctx) => ctx.deadline() ?? 0, signal)).toEqualTypeOf<
    Promise<singleflight.Result<number>>
  >();
  const result = await group.do("key", () => 1);
  expectTypeOf(result).toEqualTypeOf<{ readonly value: number; readonly shared: boolean }>();
  // @ts-expect-error: other callers have it, too
  result.value = 2;
  // @ts-expect-error: not the key's type
  group.forget(7);
  // @ts-expect-error: not the value's type
  return group.do("key", () => "x");
}

/** Items of the kinds that map, forEach and stages take. */
interface ItemSources {
  promises: readonly Promise<string>[];
  either: (string | Promise<string>)[] | Set<PromiseLike<string>>;
  unions: (string | number | null)[];
  tagged: ({ is: "a"; n: number } | { is: "b"; text: string })[];
  anyIterable: errgroup.AnyIterable<number>;
  channel: ReceiveChannel<Promise<string>>;
  web: ReadableStream<Promise<string>>;
  unknowns: unknown[];
}

/** A promise among the items of an iterable that is not async is awaited; an async iterable's items are as they are. */
export function itemsAwaited(ctx: Context, items: ItemSources): unknown[] {
  const { map } = errgroup;
  const limit = { limit: 1 };
  const gen = function* () {
    yield 1;
    yield Promise.resolve(2);
  };
  const asyncGen = async function* () {
    yield "x";
  };
  // @ts-expect-error: it has been awaited.
  void map(ctx, items.promises, (promise) => promise.then(), limit);
  // @ts-expect-error: it has been awaited.
  pipeline.map(ctx, items.promises, (promise) => promise.then());
  // @ts-expect-error: it has not been awaited.
  void map(ctx, items.channel, (promise) => promise.length, limit);
  void errgroup.forEach(ctx, items.promises, (item) => expectTypeOf(item).toEqualTypeOf<string>(), limit);
  void map<number, string>(ctx, [1, Promise.resolve(2)], String, limit);
  const generic = <T>(some: errgroup.AnyIterable<T>, list: readonly T[]) => {
    expectTypeOf(map(ctx, some, (item: T) => item, limit)).resolves.toEqualTypeOf<T[]>();
    expectTypeOf(pipeline.from(ctx, list)).toEqualTypeOf<pipeline.Stage<T>>();
    return pipeline.filter<T>(ctx, some, () => true);
  };
  expectTypeOf(pipeline.from(ctx, items.promises)).toEqualTypeOf<pipeline.Stage<string>>();
  expectTypeOf(pipeline.from(ctx, items.web)).toEqualTypeOf<pipeline.Stage<Promise<string>>>();
  expectTypeOf(pipeline.collect(ctx, items.either)).resolves.toEqualTypeOf<string[]>();
  expectTypeOf(pipeline.merge(ctx, [1], [Promise.resolve(2)], pipeline.from(ctx, [3]))).toEqualTypeOf<
    pipeline.Stage<number>
  >();
  return [
    generic,
    map(ctx, [Promise.resolve("a")], (item) => expectTypeOf(item).toEqualTypeOf<string>(), limit),
    map(ctx, items.either, (item) => expectTypeOf(item).toEqualTypeOf<string>(), limit),
    map(ctx, items.unions, (item) => expectTypeOf(item).toEqualTypeOf<string | number | null>(), limit),
    map(ctx, items.tagged, (item) => item.is === "a" && expectTypeOf(item.n).toEqualTypeOf<number>(), limit),
    map(ctx, items.anyIterable, (item) => expectTypeOf(item).toEqualTypeOf<number>(), limit),
    map(ctx, items.channel, (item) => expectTypeOf(item).toEqualTypeOf<Promise<string>>(), limit),
    map(ctx, items.unknowns, (item) => expectTypeOf(item).toEqualTypeOf<unknown>(), limit),
    map(ctx, pipeline.from(ctx, [1]), (item) => expectTypeOf(item).toEqualTypeOf<number>(), limit),
    map(ctx, gen(), (item) => expectTypeOf(item).toEqualTypeOf<number>(), limit),
    map(ctx, asyncGen(), (item) => expectTypeOf(item).toEqualTypeOf<string>(), limit),
    map(ctx, ["a", "b"] as const, (item) => expectTypeOf(item).toEqualTypeOf<"a" | "b">(), limit),
    map(ctx, new Map([["a", 1]]), (item) => expectTypeOf(item).toEqualTypeOf<[string, number]>(), limit),
  ];
}

export function piped(signal: AbortSignal, web: ReadableStream<string>, node: Readable): unknown {
  expectTypeOf(pipeline.from(signal, [1])).toEqualTypeOf<pipeline.Stage<number>>();
  expectTypeOf(pipeline.from(undefined, web)).toEqualTypeOf<pipeline.Stage<string>>();
  expectTypeOf(pipeline.map(signal, [1], async (n, ctx, i) => [n, ctx, i] as const)).toEqualTypeOf<
    pipeline.Stage<readonly [number, Context, number]>
  >();
  expectTypeOf(pipeline.filter(signal, new Channel<string>(), () => true)).toEqualTypeOf<pipeline.Stage<string>>();
  expectTypeOf(pipeline.merge(signal, [1], pipeline.from(signal, [2]))).toEqualTypeOf<pipeline.Stage<number>>();
  expectTypeOf(pipeline.batch(signal, [1], 2)).toEqualTypeOf<pipeline.Stage<number[]>>();
  expectTypeOf(pipeline.tee(signal, [1])).toEqualTypeOf<[pipeline.Stage<number>, pipeline.Stage<number>]>();
  expectTypeOf(pipeline.tee(signal, [1], 3)).toEqualTypeOf<pipeline.Stage<number>[]>();
  expectTypeOf(pipeline.collect(signal, node)).resolves.toBeArray();
  expectTypeOf(pipeline.toChannel(new errgroup.Group(), pipeline.from(signal, [1]))).toEqualTypeOf<
    ReceiveChannel<number>
  >();
  expectTypeOf(pipeline.toNodeStream(pipeline.from(signal, [1]), Readable)).toEqualTypeOf<Readable>();
  // @ts-expect-error: there are three policies
  pipeline.broadcast(signal, [1]).subscribe({ slow: "drop" });
  return pipeline.toWebStream(pipeline.from(signal, [1]));
}

/** Profiles have names; the handlers fit the servers of Node, and those whose handlers return a Response. */
export function profiles(request: Request, signal: AbortSignal, ctx: Context): unknown[] {
  expectTypeOf(pprof.profile("heap", { seconds: 1, signal })).toEqualTypeOf<Promise<Uint8Array>>();
  void pprof.profile("task", { signal: ctx, seconds: undefined });
  // @ts-expect-error: there is no such profile.
  void pprof.profile("allocs");
  // @ts-expect-error: what V8 records has no text.
  pprof.text(1, "heap");
  // @ts-expect-error: there is no third form.
  pprof.text(3);
  // @ts-expect-error: somebody must decide who may see them.
  pprof.handler({});
  const allow: pprof.Allow = ({ headers }) => headers.get("authorization") === "Bearer s";
  expectTypeOf(pprof.handler({ allow })(request)).toEqualTypeOf<Promise<Response>>();
  const handle = nodeHandler({ allow: async () => true, maxSeconds: 10 });
  return [createServer(handle), createServer2(handle), createServer((req, res) => void handle(req, res))];
}

/** The adapters fit the servers of Node, and the limiters of the library the interfaces of limits. */
export function servers(ctx: Context): unknown[] {
  const steps: admission.Step[] = [admission.deadline({ timeout: 1 }), admission.shed()];
  const handle = (req: IncomingMessage, res: ServerResponse) => void req.pipe(res);
  const plain = createServer(admission.nodeHandler(steps, handle));
  const compatible = createServer2(admission.nodeHandler(steps, (req, res) => res.end(req.url ?? "")));
  const short = createServer(
    admission.nodeHandler(steps, async (req, res) => res.end(String(admission.contextOf(req)))),
  );
  admission.rateLimit({ limit: 1, window: 1, limits: { at: () => new rate.Limiter(1, 1) } });
  // @ts-expect-error: a limit needs its window.
  admission.rateLimit({ limit: 1 });
  // @ts-expect-error: a check that was not called.
  admission.express(admission.shed);
  // @ts-expect-error: the answer to a request of the web is a Response.
  admission.web(steps, () => "ok");
  const served = admission.web(steps, (_: Request, info: { port: number }) => new Response(`${info.port}`), {
    address: (_, { port }) => String(port),
  });
  expectTypeOf(served).parameters.toEqualTypeOf<[Request, { port: number }]>();
  expectTypeOf(signal.notifyContext(ctx, "SIGTERM")).toEqualTypeOf<context.CancelScope>();
  expectTypeOf(signal.drain(createServerTls(), ctx)).toEqualTypeOf<Promise<signal.Drained>>();
  // @ts-expect-error: a server of HTTP/2 has sessions.
  void signal.drain(compatible, ctx);
  return [plain, compatible, short, signal.drain(plain, ctx.signal, { grace: 1 })];
}

/** The limits of a fleet fit where those of a process do, and the clients that are known fit a link. */
export async function fleet(link: redis.Link): Promise<unknown[]> {
  const limiter = new redis.Limiter(link, "stock", 10, 5, { fallback: new rate.KeyedLimiter(1, 1) });
  const sem = new redis.Weighted(link, "stock", 3);
  const caller = new http.SafeCaller({ rate: limiter, concurrency: sem, perHost: () => sem });
  admission.rateLimit({ limit: 1, window: 1, limits: limiter });
  // @ts-expect-error: a limiter below a key has none below it.
  limiter.at("a").at("b");
  // @ts-expect-error: a fence is of a lock alone.
  (await sem.permit(undefined)).fence;
  expectTypeOf(await sem.withPermit(undefined, 2, (ctx) => ctx.deadline())).toEqualTypeOf<number | undefined>();
  expectTypeOf(await new redis.Mutex(link, "k").withLock(undefined, (_, { fence }) => fence)).toEqualTypeOf<number>();
  // @ts-expect-error: a client of another kind.
  redis.connect({ send: async () => 1 });
  // @ts-expect-error: no fallback.
  new redis.Limiter(link, "stock", 10, 5, { fallback: "shut" });
  return [caller, redis.connect({ customCommand: async (command: string[]) => command })];
}
