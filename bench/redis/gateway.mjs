/**
 * A gateway of the demo: it calls the upstream for each request, under limits that all gateways share. Without Redis it
 * answers 503: a bound that must hold has no fallback.
 */
import { createServer } from "node:http";
import { Redis } from "ioredis";
import { contextOf, deadline, nodeHandler } from "../../dist/admission.js";
import { RateLimitedError, SafeCaller } from "../../dist/http.js";
import { connect, Limiter, Weighted } from "../../dist/redis.js";

const { redis, upstream, atOnce, perSecond, burst, lease } = JSON.parse(process.argv[2]);
const options = { retryStrategy: () => 100 };
const client = new Redis(redis, "127.0.0.1", options).on("error", () => {});
const subscriber = new Redis(redis, "127.0.0.1", options).on("error", () => {});
const link = connect(client, { subscriber });

const caller = new SafeCaller({
  timeout: 1000,
  rate: new Limiter(link, "upstream", perSecond, burst),
  concurrency: new Weighted(link, "upstream", atOnce, { lease }),
  perHost: 256,
});

const server = createServer(
  nodeHandler([deadline({ timeout: 1000 })], async (req, res) => {
    try {
      const response = await caller.fetch(upstream, { ctx: contextOf(req) });
      res.end(await response.text());
    } catch (error) {
      res.writeHead(error instanceof RateLimitedError ? 429 : 503).end(error.name);
    }
  }),
);
server.listen(0, "127.0.0.1", () => process.send(server.address().port));
