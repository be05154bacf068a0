/**
 * A process of a fleet: takes units again and again, and writes a line at each step: what, when by the clock that all
 * processes of the machine share, and how many units. "+" after a grant, "-" before a release: so what is held by the
 * lines is held by the server.
 */
import { writeSync } from "node:fs";
import { Redis } from "ioredis";
import { connect, Limiter, Weighted } from "../../../dist/redis.js";
import { sleep } from "../../../dist/time.js";

const job = JSON.parse(process.argv[2]);
const say = (...words) => writeSync(1, `${words.join(" ")}\n`);
const at = () => process.hrtime.bigint();

const options = { retryStrategy: () => 20 };
const client = new Redis(job.port, "127.0.0.1", options).on("error", () => {});
const subscriber = new Redis(job.port, "127.0.0.1", options).on("error", () => {});
const link = connect(client, { subscriber: job.alone ? undefined : subscriber, timeout: job.timeout ?? 1000 });

async function hold(sem, n) {
  for (;;) {
    try {
      return await sem.permit(undefined, n);
    } catch (error) {
      if (error.name !== "UnavailableError") throw error;
      say("!", at(), 0);
      await sleep(20);
    }
  }
}

const jobs = {
  async semaphore() {
    const sem = new Weighted(link, job.key, job.size, { lease: job.lease ?? 2000 });
    for (let i = 0; i < job.rounds; i++) {
      const n = 1 + ((i * job.step) % job.largest);
      const lease = await hold(sem, n);
      say("+", at(), n);
      if (job.hold > 0) await sleep(job.hold, lease.ctx).catch(() => {});
      say("-", at(), n);
      say((await lease.release()) ? "." : "lost", at(), n);
    }
  },
  async limiter() {
    const limiter = new Limiter(link, job.key, job.limit, job.burst);
    let left = job.rounds;
    const loop = async () => {
      while (left-- > 0) if (await limiter.allow()) say("*", at(), 1);
    };
    await Promise.all(Array.from({ length: job.loops }, loop));
  },
  // Says whether its lease is held when it is told to go on.
  async holder() {
    const sem = new Weighted(link, job.key, job.size, { lease: job.lease });
    const lease = await sem.permit(undefined, job.n ?? 1);
    say("+", at(), 1);
    process.stdin.on("data", async () => {
      const valid = lease.valid();
      say(`valid=${valid} released=${await lease.release()} cause=${lease.ctx.err()?.cause?.name}`);
      await link.close();
      process.exit(0);
    });
    await new Promise(() => {});
  },
};
await Promise.all([client.ping(), subscriber.ping()]);
say("ready");
await jobs[job.name]();
await link.close();
client.disconnect();
subscriber.disconnect();
