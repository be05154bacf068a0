/**
 * Plants leaks of many sorts, and slow waits, and prints what the leak check makes of them, as JSON. A program of its
 * own, for any runtime: `node --expose-gc test/support/plantedleaks.mjs`. On the built package.
 */
import * as gopark from "gopark";

const { after, Channel, context, errgroup, go, leak, pipeline, pool, rate, select, semaphore } = gopark;
const { shardmap, singleflight, sync, time, workers } = gopark;

const EACH = 50;
const SLOW = 10;

const bg = context.background();
const forever = () => new Promise(() => {});
const turn = () => new Promise((resolve) => setTimeout(resolve, 0));
const quiet = (promise) => {
  promise.catch?.(() => {});
};

function taken(n = 1) {
  const sem = new semaphore.Weighted(n);
  sem.tryAcquire(n);
  return sem;
}
function locked() {
  const lock = new sync.Mutex();
  lock.tryLock();
  return lock;
}
function drained() {
  const limiter = new rate.Limiter(1e-9, 1);
  limiter.allow();
  return limiter;
}

/**
 * Each plants one: the kind that it leaves, and a function that returns what could end it. `proved` says whether the
 * collector proves it when nothing refers to that any more; at once, if nothing can. What a running task or the clock
 * can still end is not.
 */
const SORTS = {
  receive: [
    "chan receive",
    true,
    () => {
      const ch = new Channel();
      void ch.receive();
      return ch;
    },
  ],
  send: [
    "chan send",
    true,
    () => {
      const ch = new Channel();
      void ch.send(1);
      return ch;
    },
  ],
  bufferedSend: [
    "chan send",
    true,
    () => {
      const ch = new Channel(1);
      ch.trySend(1);
      void ch.send(2);
      return ch;
    },
  ],
  next: [
    "chan receive",
    true,
    () => {
      const ch = new Channel();
      void ch.values().next();
      return ch;
    },
  ],
  loop: [
    "chan receive",
    true,
    () => {
      const ch = new Channel();
      void (async () => {
        for await (const _ of ch);
      })();
      return ch;
    },
  ],
  receiveOfContext: [
    "chan receive",
    true,
    () => {
      const { ctx, cancel } = context.withCancel(bg);
      const ch = new Channel();
      quiet(ch.receive(ctx));
      return [ch, cancel];
    },
  ],
  receiveOfSignal: [
    "chan receive",
    true,
    () => {
      const c = new AbortController();
      const ch = new Channel();
      quiet(ch.receive(c.signal));
      return [ch, c];
    },
  ],
  done: [
    "chan receive",
    true,
    () => {
      const { ctx, cancel } = context.withCancel(bg);
      void ctx.done().receive();
      return cancel;
    },
  ],
  select: [
    "select",
    true,
    () => {
      const ch = new Channel();
      void select({ ch });
      return ch;
    },
  ],
  selectSend: [
    "select",
    true,
    () => {
      const ch = new Channel();
      void select({ sent: ch.sending(1) });
      return ch;
    },
  ],
  selectMany: [
    "select",
    true,
    () => {
      const a = new Channel();
      const b = new Channel();
      void select({ a, sent: b.sending(1) });
      return [a, b];
    },
  ],
  selectSignal: [
    "select",
    true,
    () => {
      const c = new AbortController();
      void select({ stop: c.signal });
      return c;
    },
  ],
  selectNothing: [
    "select (no cases)",
    true,
    () => {
      void select({});
      return undefined;
    },
  ],
  acquire: [
    "semaphore acquire",
    true,
    () => {
      const sem = taken();
      void sem.acquire(bg);
      return sem;
    },
  ],
  heavyAcquire: [
    "semaphore acquire",
    true,
    () => {
      const sem = taken(5);
      void sem.acquire(bg, 3);
      return sem;
    },
  ],
  permit: [
    "semaphore permit",
    true,
    () => {
      const sem = taken();
      void sem.permit(bg);
      return sem;
    },
  ],
  heldPermit: ["semaphore unit", true, async () => await new semaphore.Weighted(1).permit(bg)],
  lock: [
    "mutex lock",
    true,
    () => {
      const lock = locked();
      void lock.lock();
      return lock;
    },
  ],
  guard: [
    "mutex lock",
    true,
    () => {
      const lock = locked();
      void lock.guard();
      return lock;
    },
  ],
  readLock: [
    "rwmutex rLock",
    true,
    () => {
      const lock = new sync.RWMutex();
      lock.tryLock();
      void lock.rLock();
      return lock;
    },
  ],
  writeLock: [
    "rwmutex lock",
    true,
    () => {
      const lock = new sync.RWMutex();
      lock.tryRLock();
      void lock.lock();
      return lock;
    },
  ],
  keyedLock: [
    "keyedmutex lock",
    true,
    () => {
      const locks = new sync.KeyedMutex();
      locks.tryLock("a");
      void locks.lock("a");
      return locks;
    },
  ],
  waitGroup: [
    "waitgroup wait",
    true,
    () => {
      const group = new sync.WaitGroup();
      group.add(1);
      void group.wait();
      return group;
    },
  ],
  cond: [
    "cond wait",
    true,
    () => {
      const lock = locked();
      const cond = new sync.Cond(lock);
      void cond.wait();
      return cond;
    },
  ],
  once: [
    "once do",
    true,
    () => {
      const once = new sync.Once();
      void once.do(forever);
      void once.do(forever);
      return once;
    },
  ],
  rate: [
    "rate wait",
    false,
    () => {
      const limiter = drained();
      void limiter.wait(bg);
      return limiter;
    },
  ],
  sleep: [
    "sleep",
    false,
    () => {
      void time.sleep(1e9);
      return undefined;
    },
  ],
  endlessSleep: [
    "sleep",
    true,
    () => {
      void time.sleep(Number.POSITIVE_INFINITY);
      return undefined;
    },
  ],
  timer: ["timer", false, () => new time.Timer(1e9)],
  ticker: ["ticker", false, () => new time.Ticker(1e9)],
  groupGo: [
    "errgroup go",
    true,
    () => {
      const g = new errgroup.Group();
      g.setLimit(0);
      void g.go(forever);
      return g;
    },
  ],
  groupWait: [
    "errgroup wait",
    true,
    () => {
      const g = new errgroup.Group();
      void g.go(forever);
      void g.wait();
      return g;
    },
  ],
  task: [
    "task",
    false,
    () => {
      void go(forever);
      return undefined;
    },
  ],
  context: ["context", true, () => context.withCancel(bg).cancel],
  contextOfDeadline: ["context", false, () => context.withTimeout(bg, 1e9).cancel],
  pooled: ["pool object", true, () => new pool.Pool({ create: () => ({}), reset: () => {} }).get()],
  leased: ["pool object", true, () => new pool.Pool({ create: () => ({}), reset: () => {} }).lease()],
  update: [
    "shardmap update",
    true,
    () => {
      const map = new shardmap.ShardMap();
      void map.update(1, forever);
      void map.update(1, forever);
      return map;
    },
  ],
  load: [
    "shardmap load",
    true,
    () => {
      const map = new shardmap.ShardMap();
      void map.getOrLoad(1, forever);
      return map;
    },
  ],
  flight: [
    "singleflight do",
    true,
    () => {
      const group = new singleflight.Group();
      void group.do("a", forever);
      return group;
    },
  ],
  submit: [
    "workers submit",
    true,
    () => {
      const w = new workers.Workers(1);
      void w.submit(forever);
      void w.submit(forever);
      return w;
    },
  ],
  stage: [
    "pipeline next",
    true,
    () => {
      const it = pipeline.map(bg, new Channel(), (x) => x)[Symbol.asyncIterator]();
      void it.next();
      return it;
    },
  ],
};

/** Each waits for something slow, which comes: the wait, and a function that lets it come. */
const SLOWLY = {
  receive: () => {
    const ch = new Channel();
    return [ch.receive(), () => ch.trySend(1)];
  },
  send: () => {
    const ch = new Channel();
    return [ch.send(1), () => ch.tryReceive()];
  },
  close: () => {
    const ch = new Channel();
    return [ch.receive(), () => ch.close()];
  },
  loop: () => {
    const ch = new Channel();
    return [
      (async () => {
        for await (const _ of ch);
      })(),
      () => ch.close(),
    ];
  },
  cancel: () => {
    const { ctx, cancel } = context.withCancel(bg);
    return [new Channel().receive(ctx).catch(() => {}), cancel];
  },
  signal: () => {
    const c = new AbortController();
    return [new Channel().receive(c.signal).catch(() => {}), () => c.abort()];
  },
  select: () => {
    const ch = new Channel();
    return [select({ ch, stop: new AbortController().signal }), () => ch.close()];
  },
  acquire: () => {
    const sem = taken();
    return [sem.acquire(bg).then(() => sem.release()), () => sem.release()];
  },
  permit: () => {
    const sem = taken();
    return [sem.permit(bg).then((p) => p.release()), () => sem.release()];
  },
  lock: () => {
    const lock = locked();
    return [lock.lock().then(() => lock.unlock()), () => lock.unlock()];
  },
  waitGroup: () => {
    const group = new sync.WaitGroup();
    group.add(1);
    return [group.wait(), () => group.done()];
  },
  cond: () => {
    const lock = locked();
    const cond = new sync.Cond(lock);
    return [cond.wait().then(() => lock.unlock()), () => cond.signal()];
  },
  group: () => {
    let end;
    const g = new errgroup.Group();
    void g.go(() => new Promise((resolve) => (end = resolve)));
    return [g.wait(), () => end()];
  },
  task: () => {
    let end;
    return [go(() => new Promise((resolve) => (end = resolve))), () => end()];
  },
  update: () => {
    let end;
    const map = new shardmap.ShardMap();
    void map.update(1, () => new Promise((resolve) => (end = resolve)));
    return [map.update(1, () => 2), () => end(1)];
  },
  load: () => {
    let end;
    return [new shardmap.ShardMap().getOrLoad(1, () => new Promise((resolve) => (end = resolve))), () => end(1)];
  },
  flight: () => {
    let end;
    return [new singleflight.Group().do(1, () => new Promise((resolve) => (end = resolve))), () => end(1)];
  },
  submit: () => {
    let end;
    const w = new workers.Workers(1);
    void w.submit(() => new Promise((resolve) => (end = resolve)));
    return [w.submit(() => {}), () => end()];
  },
  stage: () => {
    const ch = new Channel();
    return [
      pipeline.collect(
        bg,
        pipeline.map(bg, ch, (x) => x),
      ),
      () => ch.close(),
    ];
  },
  deadline: () => {
    const { ctx } = context.withTimeout(bg, 300);
    return [new Channel().receive(ctx).catch(() => {}), () => {}];
  },
  sleep: () => [time.sleep(300), () => {}],
  after: () => [select({ late: after(300), never: new Channel() }), () => {}],
};

async function collect(rounds) {
  for (let i = 0; i < rounds; i++) {
    gc();
    await turn();
  }
}

/**
 * How many of a kind the check finds beyond `before`, and how many of them are proved; and whether each has a stack.
 */
function found(kind, before) {
  const leaks = leak.find({ ignore: before }).filter((it) => it.kind === kind);
  const sum = (list) => list.reduce((n, { count }) => n + count, 0);
  return {
    found: sum(leaks),
    proved: sum(leaks.filter(({ proved }) => proved)),
    named: leaks.every(({ stack }) => stack?.split("\n")[0].includes("plantedleaks.mjs")),
  };
}

leak.track("full");
const reachable = {};
const kept = [];
for (const [name, [kind, , plant]] of Object.entries(SORTS)) {
  const before = leak.current();
  const ends = [];
  for (let i = 0; i < EACH; i++) ends.push(await plant());
  kept.push(ends);
  await turn();
  await collect(2);
  reachable[name] = { ...found(kind, before), provable: ends[0] === undefined && SORTS[name][1] };
}

const unreachable = {};
for (const [name, [kind, proved, plant]] of Object.entries(SORTS)) {
  const before = leak.current();
  for (let i = 0; i < EACH; i++) await plant();
  for (let i = 0; i < 20 && !(proved && found(kind, before).proved >= EACH); i++) {
    if (!proved && i >= 2) break;
    await collect(1);
  }
  unreachable[name] = { ...found(kind, before), provable: proved };
}

await leak.verifyNone({ timeout: 0 }).catch(() => {}); // What is proved is reported now.
const wrong = [];
const stop = leak.onProved(({ kind, stack }) => wrong.push(`${kind} ${stack}`));
const slow = {};
for (const [name, begin] of Object.entries(SLOWLY)) {
  const waits = Array.from({ length: SLOW }, begin);
  const all = Promise.all(waits.map(([wait]) => wait));
  const ends = waits.map(([, end]) => end);
  waits.length = 0;
  await collect(3);
  for (const end of ends) end();
  await all;
  slow[name] = wrong.splice(0);
}
stop();

console.log(JSON.stringify({ kept: kept.length > 0, reachable, unreachable, slow }));
process.exit(0);
