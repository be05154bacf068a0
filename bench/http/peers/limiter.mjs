/**
 * A server behind one of the limiters: `node --expose-gc limiter.mjs NAME LIMIT WINDOW`, so many requests of
 * each client in so many milliseconds, with a channel to its parent. It sends its port, and answers "stats" with what
 * it has cost so far.
 */
const makers = {
  async "express, no limiter"() {
    return expressApp([]);
  },

  async "express-rate-limit"(limit, window) {
    const { rateLimit } = await import("express-rate-limit");
    return expressApp([rateLimit({ windowMs: window, limit, standardHeaders: "draft-8", legacyHeaders: false })]);
  },

  async "express, gopark/admission"(limit, window) {
    const { express, rateLimit } = await import("../../../dist/admission.js");
    return expressApp([express(rateLimit({ limit, window, trust: 1 }))]);
  },

  async "fastify, no limiter"() {
    return fastifyApp(async () => {});
  },

  async "@fastify/rate-limit"(limit, window) {
    const { default: rateLimit } = await import("@fastify/rate-limit");
    const settings = { max: limit, timeWindow: window, cache: 100_000, enableDraftSpec: true };
    return fastifyApp((app) => app.register(rateLimit, settings));
  },

  async "fastify, gopark/admission"(limit, window) {
    const { fastify, rateLimit } = await import("../../../dist/admission.js");
    return fastifyApp(async (app) => {
      app.addHook("onRequest", fastify(rateLimit({ limit, window, trust: 1 })));
    });
  },
};

export const names = Object.keys(makers);

async function expressApp(middlewares) {
  const { default: express } = await import("express");
  const app = express();
  app.set("trust proxy", 1);
  app.set("etag", false);
  for (const middleware of middlewares) app.use(middleware);
  app.get("/", (_, res) => res.end("ok"));
  return new Promise((resolve) => {
    const server = app.listen(0, "127.0.0.1", () => resolve(server.address().port));
  });
}

async function fastifyApp(install) {
  const { default: Fastify } = await import("fastify");
  const app = Fastify({ trustProxy: "loopback" });
  await install(app);
  app.get("/", async () => "ok");
  await app.listen({ port: 0, host: "127.0.0.1" });
  return app.server.address().port;
}

if (process.send !== undefined) {
  const [name, limit, window] = process.argv.slice(2);
  process.on("message", () => {
    globalThis.gc();
    const { user, system } = process.cpuUsage();
    process.send({ cpu: (user + system) / 1000, heap: process.memoryUsage().heapUsed });
  });
  process.send({ port: await makers[name](Number(limit), Number(window)) });
}
