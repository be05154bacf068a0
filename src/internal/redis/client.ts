/** The clients of Redis and Valkey that a link can use, by their shapes: none is imported. */
import { isObject, show } from "../data/args.ts";

/** A client of ioredis or iovalkey: a connection, or a cluster. */
export interface IoredisClient {
  evalsha(sha: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>;
  eval(script: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>;
}

/** A client of the package `redis` (node-redis): a connection, a pool, or a cluster. */
export interface NodeRedisClient {
  evalSha(sha: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
}

/** A client of @valkey/valkey-glide. */
export interface GlideClient {
  customCommand(command: string[]): Promise<unknown>;
}

/** What {@link connect} takes: the program's own client. */
export type Client = IoredisClient | NodeRedisClient | GlideClient;

/** A second connection of ioredis or iovalkey, which subscribes. */
export interface IoredisSubscriber {
  subscribe(...channels: string[]): Promise<unknown>;
  on(event: "message", listener: (channel: string, message: string) => void): unknown;
}

/** A second connection of node-redis, which subscribes. */
export interface NodeRedisSubscriber {
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>;
}

/** A connection on which nothing else is asked: Redis allows one that subscribes no other commands. */
export type Subscriber = IoredisSubscriber | NodeRedisSubscriber;

/** Runs scripts, by their SHA-1 or by their text. Rejects, or throws, as the client does. */
export interface Runner {
  byHash(sha: string, keys: string[], args: string[]): Promise<unknown>;
  byText(script: string, keys: string[], args: string[]): Promise<unknown>;
}

function has(it: object, method: string): boolean {
  return typeof (it as Record<string, unknown>)[method] === "function";
}

/** What runs scripts by a client. Throws TypeError if it is none of those that are known. */
export function runnerOf(client: Client, what: string): Runner {
  if (!isObject(client)) throw notClient(client, what);
  if (has(client, "evalsha") && has(client, "eval")) {
    const ioredis = client as IoredisClient;
    return {
      byHash: (sha, keys, args) => ioredis.evalsha(sha, keys.length, ...keys, ...args),
      byText: (script, keys, args) => ioredis.eval(script, keys.length, ...keys, ...args),
    };
  }
  if (has(client, "evalSha") && has(client, "eval")) {
    const nodeRedis = client as NodeRedisClient;
    return {
      byHash: (sha, keys, args) => nodeRedis.evalSha(sha, { keys, arguments: args }),
      byText: (script, keys, args) => nodeRedis.eval(script, { keys, arguments: args }),
    };
  }
  if (has(client, "customCommand")) {
    const glide = client as GlideClient;
    return {
      byHash: (sha, keys, args) => glide.customCommand(["EVALSHA", sha, String(keys.length), ...keys, ...args]),
      byText: (script, keys, args) => glide.customCommand(["EVAL", script, String(keys.length), ...keys, ...args]),
    };
  }
  throw notClient(client, what);
}

function notClient(client: unknown, what: string): TypeError {
  return new TypeError(`${what} must be a client of ioredis, iovalkey, redis or valkey-glide, got ${show(client)}`);
}

/** Whether the server did not know a script by its hash. Clients word it in their own ways. */
export function isUnknownScript(error: unknown): boolean {
  return error instanceof Error && /NOSCRIPT|NoScript/.test(error.message);
}

/** Throws TypeError unless `subscriber` can subscribe. */
export function checkSubscriber(subscriber: Subscriber, what: string): void {
  if (isObject(subscriber) && has(subscriber, "subscribe")) return;
  throw new TypeError(`${what} must be a connection of ioredis, iovalkey or redis, got ${show(subscriber)}`);
}

/**
 * Subscribes to a channel. Resolves, when the server has confirmed it, to what takes it back. Rejects as the client
 * does, and leaves no listener then.
 */
export async function subscribe(
  subscriber: Subscriber,
  channel: string,
  listener: (message: string) => void,
): Promise<() => Promise<unknown>> {
  const { unsubscribe } = subscriber as { unsubscribe?: (channel: string) => Promise<unknown> };
  const takeBack = async () => unsubscribe?.call(subscriber, channel);
  if (!isIoredis(subscriber)) {
    await subscriber.subscribe(channel, listener);
    return takeBack;
  }
  const onMessage = (its: string, message: string) => {
    if (its === channel) listener(message);
  };
  const { off } = subscriber as { off?: (event: "message", listener: typeof onMessage) => unknown };
  subscriber.on("message", onMessage);
  try {
    await subscriber.subscribe(channel);
  } catch (error) {
    off?.call(subscriber, "message", onMessage);
    throw error;
  }
  return () => {
    off?.call(subscriber, "message", onMessage);
    return takeBack();
  };
}

/** A client of node-redis has `on`, too, and no event "message": only its names are in camel case. */
function isIoredis(subscriber: Subscriber): subscriber is IoredisSubscriber {
  return has(subscriber, "on") && !has(subscriber, "pSubscribe");
}
