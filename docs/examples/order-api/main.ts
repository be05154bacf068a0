/**
 * Starts the order API on port 8080, with its upstreams, and ends it on Ctrl-C or SIGTERM: it takes no more orders,
 * lets those in progress end, and cuts off what is left after three seconds. Its profiles are on port 6060.
 *
 *   npm run demo
 *
 *   curl -H 'content-type: application/json' -d '{"sku":"tea","qty":2}' localhost:8080/orders
 *   curl 'localhost:6060/debug/pprof/goroutine?debug=1'
 */
import { leak } from "gopark";
import { listen } from "gopark/pprof/node";
import { drain, notifyContext } from "gopark/signal";
import { orderApi } from "./api.ts";
import { upstreams } from "./upstreams.ts";

leak.track("sampled");
const profiles = await listen(6060);

using scope = notifyContext(undefined, "SIGINT", "SIGTERM");
const { warehouse, payments } = await upstreams();
const { app, caller } = orderApi({ warehouse: warehouse.url, payments: payments.url });

const drained = drain(app.server, scope.ctx, { grace: 3000 });
await app.listen({ port: 8080, host: "127.0.0.1" });
console.log("orders on http://127.0.0.1:8080/orders, profiles on http://127.0.0.1:6060/debug/pprof/; Ctrl-C ends it");

const { cut } = await drained;
await app.close();
await caller.close();
warehouse.close();
payments.close();
await profiles.close();
await leak.verifyNone();
console.log(`drained: ${cut.length} orders cut off, nothing left behind`);
