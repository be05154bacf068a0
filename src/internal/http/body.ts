/**
 * Watches the body of a Response: when it has ended, its call no longer holds anything.
 *
 * The Response itself is handed out, not a copy: a new one would lose its URL and type, and with a stream in between a
 * read costs half as much again. Its prototype gets a layer that shadows the methods, and in place of `body` there is a
 * stream of ours when it is first asked for. So what ends a body is seen: a method that has settled, a stream that has
 * ended or was cancelled, an abort, and the collector. A clone is watched too; the body has ended when all branches
 * have.
 *
 * Nothing here refers to a Response from outside of it: {@link Branch} is what the registry holds, and what the call
 * holds. Only while somebody reads, a branch refers to the promise or to the stream of that reader.
 */
import { guarded, inRootContext } from "../host/async.ts";
import { macrotask } from "../time/turn.ts";

/** How a body ended: read to its end; failed; cancelled by its reader; or collected, unread. */
export type BodyEnd = "whole" | "failed" | "cancelled" | "collected";

/** The call that a body belongs to. */
export interface BodyOwner {
  /** Set once the call has been aborted: what readers reject with. */
  readonly reason: Error | undefined;
  /** What a reader rejects with after the body has failed with `error`. */
  bodyError(error: unknown): unknown;
  /** All branches have ended; called once. `end` is "collected" only if none was read or cancelled. */
  bodyEnded(end: BodyEnd): void;
}

/** The branches of one body: the Response, and its clones. */
export class Body {
  private readonly owner: BodyOwner;
  private readonly live = new Set<Branch>();
  private collected = true;

  // Whether the owner has ended the body, or has been told its end. A branch that is made later ends nothing.
  private over = false;

  constructor(owner: BodyOwner) {
    this.owner = owner;
  }

  get reason(): Error | undefined {
    return this.owner.reason;
  }

  /** Whether somebody waits for a part of it. */
  isBeingRead(): boolean {
    for (const branch of this.live) if (branch.isBeingRead()) return true;
    return false;
  }

  /** Rejects the readers with the reason of the call's abort. The owner ends the body. */
  abort(reason: Error): void {
    this.over = true;
    for (const branch of this.live) branch.abort(reason);
    this.live.clear();
  }

  /** Shadows the Response of a new branch. Throws, with nothing changed, if it is frozen. */
  addBranch(response: Response): void {
    const branch = new Branch(this);
    Object.setPrototypeOf(response, layerOver(Object.getPrototypeOf(response)));
    (response as Watched)[BRANCH] = branch;
    if (this.over) return;
    this.live.add(branch);
    registerLater(response, branch);
  }

  isLive(branch: Branch): boolean {
    return this.live.has(branch);
  }

  /** A branch has ended. */
  end(branch: Branch, how: BodyEnd): void {
    if (!this.live.delete(branch)) return;
    if (branch.registered) registry.unregister(branch);
    if (how !== "collected") this.collected = false;
    if (this.live.size > 0) return;
    this.over = true;
    this.owner.bodyEnded(this.collected ? "collected" : how === "collected" ? "whole" : how);
  }

  errorOf(error: unknown): unknown {
    return this.owner.reason ?? this.owner.bodyError(error);
  }
}

/** One branch: what reads it, while somebody does. */
class Branch {
  readonly body: Body;

  // The reject function of a method that reads, while it does.
  reject: ((reason: unknown) => void) | undefined = undefined;

  // Whether a method has read it, or its stream was asked for. If not, it is unused: asking the host costs more.
  touched = false;

  // Whether the collector is to tell when it takes the Response.
  registered = false;

  // The controller of the stream, while a read of it is pending.
  pulling: Controller | undefined = undefined;

  constructor(body: Body) {
    this.body = body;
  }

  isBeingRead(): boolean {
    return this.reject !== undefined || this.pulling !== undefined;
  }

  end(how: BodyEnd): void {
    this.reject = undefined;
    this.pulling = undefined;
    this.body.end(this, how);
  }

  abort(reason: Error): void {
    const { reject, pulling } = this;
    this.reject = undefined;
    this.pulling = undefined;
    reject?.(reason);
    if (pulling !== undefined) guarded(() => pulling.error(reason));
  }
}

type Controller = ReadableStreamDefaultController | ReadableByteStreamController;

// A branch that is being read ends by itself, or by the deadline, even if its Response has been dropped.
const registry = new FinalizationRegistry<Branch>((branch) => {
  if (!branch.isBeingRead()) branch.end("collected");
});

// The Responses of this turn of the event loop. Most are read at once; to register each would cost more than that.
let fresh: [Response, Branch][] = [];

function registerLater(response: Response, branch: Branch): void {
  if (fresh.push([response, branch]) === 1) inRootContext(() => macrotask(registerFresh));
}

/** Registers those that no method is reading. One that does ends by itself, or by the deadline. */
function registerFresh(): void {
  const all = fresh;
  fresh = [];
  for (const [response, branch] of all) {
    if (branch.reject !== undefined || !branch.body.isLive(branch)) continue;
    branch.registered = true;
    registry.register(response, branch, branch);
  }
}

const BRANCH = Symbol("gopark.http.branch");

type Watched = Response & { [BRANCH]: Branch; readonly [UNDER]: Response };

const READERS = ["arrayBuffer", "blob", "bytes", "formData", "json", "text"] as const;
type Reader = (typeof READERS)[number];

// The layer over each prototype: that of the host's class, and of others.
const layers = new WeakMap<Response, Response>();

// The prototype under the layer.
const UNDER = Symbol("gopark.http.under");

/** A prototype that shadows what is watched. To set the properties on each Response would cost microseconds. */
function layerOver(proto: Response): Response {
  let layer = layers.get(proto);
  if (layer === undefined) {
    const properties: PropertyDescriptorMap = { clone: method(clone), body: { get: bodyOf, configurable: true } };
    properties[UNDER as never] = { value: proto };
    for (const name of READERS) {
      if (!(name in proto)) continue; // Older hosts have no `bytes`.
      properties[name] = method(function (this: Watched): Promise<unknown> {
        return read(this, name);
      });
    }
    layer = Object.create(proto, properties) as Response;
    layers.set(proto, layer);
  }
  return layer;
}

function method(value: (this: Watched) => unknown): PropertyDescriptor {
  return { value, configurable: true, writable: true };
}

/**
 * Whether the Response has a body whose end can be seen. One without a body, or an object that some test hands out in
 * place of a Response, has none; nor has one that is watched already.
 */
export function isWatchable(response: Response): boolean {
  const { body } = response;
  if (body === null || typeof body?.getReader !== "function") return false;
  if (BRANCH in response || response.headers.get("content-length") === "0") return false;
  return typeof Object.getPrototypeOf(response).text === "function";
}

/** Cancels the body of a Response that nobody will read. */
export function discard(response: Response): void {
  try {
    if (response.body?.locked === false) response.body.cancel().catch(() => {});
  } catch {
    // Of a Response that is none. Nothing of it is needed any more.
  }
}

/** Calls a method of the Response's class. */
function original(response: Watched, name: Reader): Promise<unknown>;
function original(response: Watched, name: "clone"): Response;
function original(response: Watched, name: Reader | "clone"): unknown {
  return (response[UNDER] as unknown as Record<string, () => unknown>)[name]?.call(response);
}

function originalBody(response: Watched): ReadableStream {
  return Reflect.get(response[UNDER], "body", response) as ReadableStream;
}

/** Whether the stream that stands for the body, if there is one, has a reader. */
function isShownLocked(response: Watched): boolean {
  const shown = Object.getOwnPropertyDescriptor(response, "body")?.value as ReadableStream | undefined;
  return shown?.locked === true;
}

/**
 * Calls a method while the body itself has a reader if the stream that stands for it does: then it fails as it would.
 */
function withLock<T>(response: Watched, fn: () => T): T {
  const body = originalBody(response);
  const reader = isShownLocked(response) && !body.locked ? body.getReader() : undefined;
  try {
    return fn();
  } finally {
    reader?.releaseLock();
  }
}

function read(response: Watched, name: Reader): Promise<unknown> {
  const branch = response[BRANCH];
  // A body that is in use, or was used: the TypeError of the host, which ends nothing.
  if (branch.touched && (response.bodyUsed || originalBody(response).locked || isShownLocked(response))) {
    return withLock(response, () => original(response, name));
  }
  branch.touched = true;
  const { reason } = branch.body;
  if (reason !== undefined) return Promise.reject(reason);
  return watchReading(branch, original(response, name), name);
}

/** What a method resolves to, or rejects with. Its closures do not refer to the Response. */
function watchReading(branch: Branch, reading: Promise<unknown>, name: Reader): Promise<unknown> {
  return new Promise((resolve, reject) => {
    branch.reject = reject;
    reading.then(
      (value) => {
        branch.end("whole");
        resolve(value);
      },
      (error) => {
        const own = isOfContent(error, name);
        branch.end(own ? "whole" : "failed");
        reject(own ? error : branch.body.errorOf(error));
      },
    );
  });
}

/** Whether the whole body was read, and is not what the method understands, or too long for it. */
function isOfContent(error: unknown, name: Reader): boolean {
  try {
    if (error instanceof RangeError) return true;
    if (name === "json") return error instanceof SyntaxError;
    return name === "formData" && error instanceof TypeError && error.cause === undefined;
  } catch {
    return false; // A foreign one that throws when it is looked at.
  }
}

function clone(this: Watched): Response {
  const { body } = this[BRANCH];
  const copy = withLock(this, () => original(this, "clone"));
  body.addBranch(copy);
  return copy;
}

/** The getter of `body`: a stream in its place, made once. */
function bodyOf(this: Watched): ReadableStream | null {
  const body = originalBody(this);
  const branch = this[BRANCH];
  if (branch.touched && (body.locked || this.bodyUsed)) return body;
  branch.touched = true;
  const stream = streamOver(this, body);
  Object.defineProperty(this, "body", { value: stream, configurable: true });
  return stream;
}

/**
 * A stream of what the body has, which reads nothing before it is read. It refers to the Response, which so lives as
 * long as the stream does.
 */
function streamOver(response: Watched, body: ReadableStream): ReadableStream {
  const branch = response[BRANCH];
  let reader: ReadableStreamDefaultReader | undefined;
  const readerOf = () => {
    reader ??= originalBody(response).getReader(); // A clone has replaced the body meanwhile.
    return reader;
  };
  const pull = async (controller: Controller): Promise<void> => {
    let result: Awaited<ReturnType<ReadableStreamDefaultReader["read"]>>;
    branch.pulling = controller;
    try {
      const { reason } = branch.body;
      if (reason !== undefined) throw reason;
      result = await readerOf().read();
    } catch (error) {
      const shown = branch.body.errorOf(error);
      branch.end("failed");
      throw shown;
    }
    branch.pulling = undefined;
    if (!result.done) {
      controller.enqueue(result.value as never);
      return;
    }
    branch.end("whole");
    controller.close();
    (controller as Partial<ReadableByteStreamController>).byobRequest?.respond(0);
  };
  const cancel = async (reason: unknown): Promise<void> => {
    branch.end("cancelled");
    try {
      await readerOf().cancel(reason);
    } catch (error) {
      throw branch.body.errorOf(error); // It had failed before.
    }
  };
  const source = { pull, cancel };
  if (isOfBytes(body)) return new ReadableStream({ ...source, type: "bytes" });
  return new ReadableStream(source, { highWaterMark: 0 });
}

/** Whether the stream hands out bytes, so that a reader may bring its own buffer. */
function isOfBytes(body: ReadableStream): boolean {
  try {
    body.getReader({ mode: "byob" }).releaseLock();
    return true;
  } catch {
    return false;
  }
}
