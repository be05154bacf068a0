/**
 * The profiles `profile` and `heap`, which V8 itself records: asked for through a session of its inspector, in the
 * thread that asks. No port is opened.
 */
import { builtin } from "../host/host.ts";
import { now } from "../time/clock.ts";
import type { Frame } from "../track/frames.ts";
import type { Profile, Sample } from "./encode.ts";

/** The class `Session` of `node:inspector/promises`, as far as it is used here. */
interface Session {
  connect(): void;
  /** Also ends what the session has started. */
  disconnect(): void;
  post(method: string, params?: object): Promise<unknown>;
}

/** The runtime does not record what was asked for. */
export class UnsupportedError extends Error {}

function openSession(name: string): Session {
  const Inspector = builtin<{ Session: new () => Session }>("node:inspector/promises")?.Session;
  if (Inspector === undefined) throw unsupported(name);
  const session = new Inspector();
  session.connect();
  return session;
}

function unsupported(name: string, cause?: unknown): UnsupportedError {
  return new UnsupportedError(
    `profile: ${name} needs node:inspector/promises over V8: Node 20.16 or later`,
    cause === undefined ? undefined : { cause },
  );
}

/** A function in a profile of V8. Lines and columns are counted from 0; -1 is none. */
interface CallFrame {
  readonly functionName: string;
  readonly url: string;
  readonly lineNumber: number;
  readonly columnNumber: number;
}

function frameOf({ functionName, url, lineNumber, columnNumber }: CallFrame): Frame {
  return { fn: functionName || "(anonymous)", file: url, line: lineNumber + 1, column: columnNumber + 1 };
}

/** What V8's sampling of the processor returns. Times are in microseconds. */
export interface CpuProfile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: CallFrame; readonly children?: number[] }[];
  readonly startTime: number;
  readonly endTime: number;
  /** The node in which each sample found the thread. */
  readonly samples: readonly number[];
  /** The time from the sample before, or from the start, to each sample. */
  readonly timeDeltas: readonly number[];
}

/** Samples what the thread does while `wait` waits. */
export async function recordCpu(wait: () => Promise<void>): Promise<Profile> {
  const session = openSession("profile");
  try {
    try {
      await session.post("Profiler.enable");
      await session.post("Profiler.start");
    } catch (error) {
      throw unsupported("profile", error);
    }
    const startedAt = now();
    await wait();
    const { profile } = (await session.post("Profiler.stop")) as { profile: CpuProfile };
    return {
      types: [
        { type: "samples", unit: "count" },
        { type: "cpu", unit: "nanoseconds" },
      ],
      defaultType: "cpu",
      period: { type: "cpu", unit: "nanoseconds", value: CPU_INTERVAL * 1e6 },
      startedAt,
      duration: (profile.endTime - profile.startTime) / 1000,
      samples: cpuSamples(profile),
    };
  } finally {
    session.disconnect();
  }
}

// V8's default, in milliseconds.
const CPU_INTERVAL = 1;

/** The time at each stack. What was idle is left out: it used no processor. */
export function cpuSamples({ nodes, samples, timeDeltas, startTime, endTime }: CpuProfile): Sample[] {
  const found = new Map<number, { count: number; time: number }>();
  let at = startTime;
  for (const [i, id] of samples.entries()) {
    at += timeDeltas[i] ?? 0;
    // A sample stands for the time until the next one. V8 may put one before the sample that it follows.
    const time = Math.max(0, timeDeltas[i + 1] ?? endTime - at);
    const node = found.get(id);
    if (node === undefined) found.set(id, { count: 1, time });
    else {
      node.count++;
      node.time += time;
    }
  }
  const parents = new Map<number, number>();
  for (const { id, children = [] } of nodes) for (const child of children) parents.set(child, id);
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, frameOf(callFrame)]));
  return [...found].flatMap(([id, { count, time }]) => {
    const name = byId.get(id)?.callFrame.functionName;
    if (name === undefined || name === "(idle)" || name === ROOT) return [];
    const stack: Frame[] = [];
    for (let node: number | undefined = id; node !== undefined; node = parents.get(node)) {
      const frame = frames.get(node) as Frame;
      if (frame.fn !== ROOT) stack.push(frame);
    }
    return { frames: stack, values: [count, Math.round(time * 1000)] };
  });
}

const ROOT = "(root)";

/** What V8's sampling of allocations returns: the sampled objects that are alive, as a tree of calls. */
export interface HeapProfile {
  readonly head: HeapNode;
  /** The sampled objects. */
  readonly samples?: readonly { readonly nodeId: number }[];
}

interface HeapNode {
  readonly id: number;
  readonly callFrame: CallFrame;
  /** An estimate in bytes, from its sampled objects. */
  readonly selfSize: number;
  readonly children: readonly HeapNode[];
}

/** The sampled objects and the estimated bytes at each stack. */
export function heapSamples({ head, samples = [] }: HeapProfile): Sample[] {
  const objects = new Map<number, number>();
  for (const { nodeId } of samples) objects.set(nodeId, (objects.get(nodeId) ?? 0) + 1);
  const found: Sample[] = [];
  const visit = ({ id, callFrame, selfSize, children }: HeapNode, callers: readonly Frame[]): void => {
    const frames = callFrame.functionName === ROOT ? callers : [frameOf(callFrame), ...callers];
    if (selfSize > 0 && frames.length > 0) found.push({ frames, values: [objects.get(id) ?? 0, Math.round(selfSize)] });
    for (const child of children) visit(child, frames);
  };
  visit(head, []);
  return found;
}

/** The sampling of allocations that this module has started. V8 has one for a thread: its users share it. */
interface Sampling {
  readonly session: Promise<Session>;
  /** One of so many bytes is looked at, on average. */
  readonly interval: number;
  readonly startedAt: number;
  users: number;
}

let sampling: Sampling | undefined;

// How many of its users keep it on until they are told otherwise.
let keepers = 0;

// For a profile of some seconds; V8's default. More objects are sampled than by INTERVAL in Go's, of 512 KiB.
const TIMED_INTERVAL = 32_768;

/** Starts the sampling, unless it is on. Returns it, and what leaves it: the last one to leave stops it. */
async function join(interval: number): Promise<[Sampling, leave: () => void]> {
  sampling ??= { session: startSampling(interval), interval, startedAt: now(), users: 0 };
  const joined = sampling;
  joined.users++;
  const leave = () => {
    joined.users--;
    if (joined.users > 0) return;
    if (sampling === joined) sampling = undefined;
    joined.session.then(
      (session) => session.disconnect(),
      () => {}, // It did not start: whoever joined it was told.
    );
  };
  try {
    await joined.session;
  } catch (error) {
    leave();
    throw error;
  }
  return [joined, leave];
}

async function startSampling(samplingInterval: number): Promise<Session> {
  const session = openSession("heap");
  try {
    await session.post("HeapProfiler.startSampling", { samplingInterval });
  } catch (error) {
    session.disconnect();
    throw unsupported("heap", error);
  }
  return session;
}

/** Keeps the sampling on; resolves, when it is, to what takes that back. */
export async function keepSampling(interval: number): Promise<() => void> {
  const [, leave] = await join(interval);
  keepers++;
  let kept = true;
  return () => {
    if (!kept) return;
    kept = false;
    keepers--;
    leave();
  };
}

/** Whether allocations are being sampled until further notice, by this module. */
export function isSampling(): boolean {
  return keepers > 0;
}

/**
 * What is alive of what was allocated since the sampling began. If nobody has begun it, this does, waits by `wait`, and
 * ends it.
 */
export async function recordHeap(wait: () => Promise<void>): Promise<Profile> {
  if (sampling === undefined) {
    const profile = await foreignSampling();
    if (profile !== undefined) return heapProfile(profile, now(), 0, undefined);
  }
  const isKept = keepers > 0;
  const [{ session, startedAt, interval }, leave] = await join(TIMED_INTERVAL);
  try {
    if (!isKept) await wait();
    const { profile } = (await (await session).post("HeapProfiler.getSamplingProfile")) as { profile: HeapProfile };
    return heapProfile(profile, startedAt, now() - startedAt, interval);
  } finally {
    leave();
  }
}

/** The profile of a sampling that others have started (`node --heap-prof`, a debugger); undefined if there is none. */
async function foreignSampling(): Promise<HeapProfile | undefined> {
  const session = openSession("heap");
  try {
    return ((await session.post("HeapProfiler.getSamplingProfile")) as { profile: HeapProfile }).profile;
  } catch {
    return undefined; // V8 says so by an error: it was not started.
  } finally {
    session.disconnect();
  }
}

function heapProfile(profile: HeapProfile, startedAt: number, duration: number, interval: number | undefined): Profile {
  return {
    types: [
      { type: "inuse_objects", unit: "count" },
      { type: "inuse_space", unit: "bytes" },
    ],
    defaultType: "inuse_space",
    period: interval === undefined ? undefined : { type: "space", unit: "bytes", value: interval },
    startedAt,
    duration: Math.max(0, duration),
    samples: heapSamples(profile),
  };
}
