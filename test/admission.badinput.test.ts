/** Arguments that are refused, each with an error that says what was given. */
import { deadline, express, fastify, hono, nodeHandler, rateLimit, shed, web } from "gopark/admission";
import { describe, expect, test } from "vitest";

const good = { limit: 1, window: 1000 };
const never = (value: unknown) => value as never;

describe.each<[string, (() => unknown)[], new () => Error, string]>([
  [
    "rateLimit: options that are none",
    [() => rateLimit(never(7))],
    TypeError,
    "rateLimit: options must be an object, got 7",
  ],
  [
    "rateLimit: no options",
    [() => rateLimit(never(undefined))],
    TypeError,
    "rateLimit: limit must be a whole number, got undefined",
  ],
  [
    "rateLimit: limit",
    [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY].map((limit) => () => rateLimit({ ...good, limit })),
    RangeError,
    "rateLimit: limit must be a whole number from 1",
  ],
  [
    "rateLimit: a limit beyond the integers of structured fields",
    [() => rateLimit({ ...good, limit: 1e15 })],
    RangeError,
    "rateLimit: limit must be at most 999999999999999, got 1000000000000000",
  ],
  [
    "rateLimit: limit of another type",
    [() => rateLimit({ ...good, limit: never("5") })],
    TypeError,
    'rateLimit: limit must be a whole number, got "5"',
  ],
  [
    "rateLimit: window",
    [0, 0.9, -5, 1e12 + 1, Number.POSITIVE_INFINITY].map((window) => () => rateLimit({ ...good, window })),
    RangeError,
    "rateLimit: window must be from 1 to 1000000000000 milliseconds",
  ],
  [
    "rateLimit: window NaN",
    [() => rateLimit({ ...good, window: Number.NaN })],
    RangeError,
    "rateLimit: window must be a number of milliseconds, got NaN",
  ],
  [
    "rateLimit: window of another type",
    [() => rateLimit({ ...good, window: never("1s") })],
    TypeError,
    'rateLimit: window must be a number of milliseconds, got "1s"',
  ],
  [
    "rateLimit: name",
    ["", "ä", "a\nb", "\u007f"].map((name) => () => rateLimit({ ...good, name })),
    RangeError,
    "rateLimit: name must be printable ASCII, and not empty",
  ],
  [
    "rateLimit: half a character",
    [() => rateLimit({ ...good, name: "\ud800" })],
    RangeError,
    "rateLimit: name must be well-formed Unicode",
  ],
  [
    "rateLimit: name of another type",
    [() => rateLimit({ ...good, name: never(5) })],
    TypeError,
    "rateLimit: name must be a string, got 5",
  ],
  [
    "rateLimit: key",
    [() => rateLimit({ ...good, key: never("ip") }), () => rateLimit({ ...good, key: never({}) })],
    TypeError,
    'rateLimit: key, if it is not "global", must be a function, got ',
  ],
  [
    "rateLimit: trust",
    [-1, 1.5, Number.POSITIVE_INFINITY].map((trust) => () => rateLimit({ ...good, trust })),
    RangeError,
    "rateLimit: trust must be a whole number from 0",
  ],
  [
    "rateLimit: trust of another type",
    [() => rateLimit({ ...good, trust: never(true) }), () => rateLimit({ ...good, trust: never("10.0.0.1") })],
    TypeError,
    "rateLimit: trust must be a number or an array of networks, got ",
  ],
  [
    "rateLimit: networks",
    ["", "x", "10.0.0.0/33", never(5)].map((network) => () => rateLimit({ ...good, trust: ["10.0.0.1", network] })),
    RangeError,
    'rateLimit: trust must be addresses and networks such as "10.0.0.0/8", got ',
  ],
  [
    "rateLimit: ipv6Prefix",
    [0, -1, 64.5].map((ipv6Prefix) => () => rateLimit({ ...good, ipv6Prefix })),
    RangeError,
    "rateLimit: ipv6Prefix must be a whole number from 1",
  ],
  [
    "rateLimit: ipv6Prefix too long",
    [() => rateLimit({ ...good, ipv6Prefix: 129 })],
    RangeError,
    "rateLimit: ipv6Prefix must be at most 128, got 129",
  ],
  [
    "rateLimit: maxKeys",
    [0, 1.5].map((maxKeys) => () => rateLimit({ ...good, maxKeys })),
    RangeError,
    "rateLimit: maxKeys must be a whole number from 1",
  ],
  [
    "rateLimit: onError",
    [() => rateLimit({ ...good, onError: never("opne") })],
    RangeError,
    'rateLimit: onError must be "open" or "closed", got "opne"',
  ],
  [
    "rateLimit: report",
    [() => rateLimit({ ...good, report: never("log") })],
    TypeError,
    "rateLimit: report must be a function",
  ],
  [
    "rateLimit: limits",
    [() => rateLimit({ ...good, limits: never({}) }), () => rateLimit({ ...good, limits: never(null) })],
    TypeError,
    "rateLimit: limits.at must be a function",
  ],

  ["shed: options that are none", [() => shed(never(true))], TypeError, "shed: options must be an object, got true"],
  [
    "shed: max",
    [0, 1.5, Number.POSITIVE_INFINITY].map((max) => () => shed({ max })),
    RangeError,
    "shed: max must be a whole number from 1",
  ],
  [
    "shed: queue",
    [-1, 0.5, Number.NaN].map((queue) => () => shed({ queue })),
    RangeError,
    "shed: queue must be a whole number from 0",
  ],
  ["shed: queue of another type", [() => shed({ queue: never("5") })], TypeError, "shed: queue must be a whole number"],
  [
    "shed: queueTimeout",
    [0, -1].map((queueTimeout) => () => shed({ queueTimeout })),
    RangeError,
    "shed: queueTimeout must be above 0, got ",
  ],
  [
    "shed: maxLoopDelay",
    [0, -1].map((maxLoopDelay) => () => shed({ maxLoopDelay })),
    RangeError,
    "shed: maxLoopDelay must be above 0, got ",
  ],
  [
    "shed: maxLoopDelay of another type",
    [() => shed({ maxLoopDelay: never(true) })],
    TypeError,
    "shed: maxLoopDelay must be a number of milliseconds",
  ],
  ["shed: name", [() => shed({ name: never(5) })], TypeError, "shed: name must be a string, got 5"],
  [
    "shed: adaptive",
    [() => shed({ adaptive: never(true) }), () => shed({ adaptive: never(7) })],
    TypeError,
    "shed: adaptive must be an object, got ",
  ],
  [
    "shed: adaptive.min",
    [0, 1.5].map((min) => () => shed({ adaptive: { min } })),
    RangeError,
    "shed: adaptive.min must be a whole number from 1",
  ],
  [
    "shed: adaptive.min above max",
    [() => shed({ max: 5, adaptive: { min: 6 } })],
    RangeError,
    "shed: adaptive.min must be at most 5, the max, got 6",
  ],
  [
    "shed: adaptive.initial",
    [0, 1.5].map((initial) => () => shed({ adaptive: { initial } })),
    RangeError,
    "shed: adaptive.initial must be a whole number from 1",
  ],
  [
    "shed: adaptive.initial above max",
    [() => shed({ max: 5, adaptive: { initial: 6 } })],
    RangeError,
    "shed: adaptive.initial must be at most 5, the max, got 6",
  ],
  [
    "shed: adaptive.tolerance",
    [1, 0, Number.NaN].map((tolerance) => () => shed({ adaptive: { tolerance } })),
    RangeError,
    "shed: adaptive.tolerance must be above 1, got ",
  ],
  [
    "shed: adaptive.tolerance of another type",
    [() => shed({ adaptive: { tolerance: never("2") } })],
    TypeError,
    "shed: adaptive.tolerance must be a number",
  ],

  ["deadline: options that are none", [() => deadline(never("1s"))], TypeError, "deadline: options must be an object"],
  [
    "deadline: timeout",
    [0, -1].map((timeout) => () => deadline({ timeout })),
    RangeError,
    "deadline: timeout must be above 0, got ",
  ],
  [
    "deadline: timeout NaN",
    [() => deadline({ timeout: Number.NaN })],
    RangeError,
    "deadline: timeout must be a number of milliseconds",
  ],
  [
    "deadline: no timeout",
    [() => deadline(never({}))],
    TypeError,
    "deadline: timeout must be a number of milliseconds, got undefined",
  ],
  [
    "deadline: header",
    ["", "a b", "a:b", "ä", never(7)].map((header) => () => deadline({ timeout: 1, header })),
    TypeError,
    "deadline: header must be the name of a header field, got ",
  ],

  [
    "nodeHandler: steps that are no array",
    [() => nodeHandler(never(shed()), () => {})],
    TypeError,
    "nodeHandler: steps must be an array, got an object (Object)",
  ],
  [
    "nodeHandler: a function that was not called",
    [() => nodeHandler([never(shed)], () => {})],
    TypeError,
    "nodeHandler: step 1 must be a check or a scope, such as shed(), got function shed",
  ],
  [
    "nodeHandler: handler",
    [() => nodeHandler([], never(undefined))],
    TypeError,
    "nodeHandler: handler must be a function, got undefined",
  ],
  [
    "express: steps in an array",
    [() => express(never([shed()]))],
    TypeError,
    "express: step 1 must be a check or a scope, such as shed(), got an object (Array)",
  ],
  [
    "express: nothing",
    [() => express(shed(), never(undefined))],
    TypeError,
    "express: step 2 must be a check or a scope",
  ],
  ["fastify: null", [() => fastify(never(null))], TypeError, "fastify: step 1 must be a check or a scope"],
  [
    "hono: an object that is none",
    [() => hono(never({ check: true }))],
    TypeError,
    "hono: step 1 must be a check or a scope",
  ],
  [
    "web: steps",
    [() => web(never(undefined), () => new Response())],
    TypeError,
    "web: steps must be an array, got undefined",
  ],
  ["web: handler", [() => web([], never({}))], TypeError, "web: handler must be a function"],
  [
    "web: address",
    [() => web([], () => new Response(), { address: never("x") })],
    TypeError,
    "web: address must be a function",
  ],
])("%s", (_, calls, error, message) => {
  test.each(calls.map((call, i) => [i, call] as const))("%i", (_, call) => {
    let thrown: unknown;
    try {
      call();
    } catch (e) {
      thrown = e;
    }
    expect(thrown).toBeInstanceOf(error);
    expect((thrown as Error).message).toContain(message);
  });
});

test("what is at the bounds is taken", () => {
  rateLimit({ limit: 999_999_999_999_999, window: 1e12, ipv6Prefix: 128, maxKeys: 1, trust: [], name: " ~" });
  rateLimit({ limit: 1, window: 1, ipv6Prefix: 1, trust: 0 });
  shed({ max: 1, queue: 0, adaptive: { min: 1, initial: 1, tolerance: 1.01 } });
  shed({
    max: 2,
    queue: Number.POSITIVE_INFINITY,
    queueTimeout: Number.POSITIVE_INFINITY,
    maxLoopDelay: Number.POSITIVE_INFINITY,
  });
  deadline({ timeout: Number.POSITIVE_INFINITY, header: "X-Request-Timeout" });
  express();
  fastify();
  hono();
});

test("the steps are those that were given at the call", async () => {
  const steps = [shed({ max: 1, queue: 0, adaptive: false })];
  const serve = web(steps, async () => new Response());
  steps.length = 0;
  const all = await Promise.all([serve(new Request("http://test/")), serve(new Request("http://test/"))]);
  expect(all.map(({ status }) => status)).toEqual([200, 503]);
});
