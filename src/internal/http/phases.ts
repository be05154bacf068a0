/**
 * Whether the headers of a request have been written, as undici reports it on its diagnostics channels. Its requests
 * are found by the async context in which they are made.
 */
import { type AsyncStorage, asyncStorage } from "../host/async.ts";
import { builtin } from "../host/host.ts";

/** What is known of one attempt. */
export interface Sending {
  /** Whether its newest request has been made: with a redirect there are several. */
  isConnecting: boolean;
  /** Whether the headers of one of its requests have been written, as far as is reported. */
  hasSent: boolean;
}

interface Channels {
  subscribe(name: string, listener: (message: unknown) => void): void;
}

let storage: AsyncStorage<Sending> | undefined;

// Requests live as long as undici has them.
const sendings = new WeakMap<object, Sending>();

/** Begins to listen, once for the process. Throws an Error where the host has no such channels. */
export function observeSending(): void {
  if (storage !== undefined) return;
  const channels = builtin<Channels>("node:diagnostics_channel");
  if (channels?.subscribe === undefined) throw new Error("SafeCaller: phases needs Node 20.16 or later");
  const inContext = asyncStorage<Sending>("SafeCaller: phases");
  storage = inContext;
  channels.subscribe("undici:request:create", (message) => {
    const sending = inContext.getStore();
    if (sending === undefined) return;
    // The one before has been answered by a redirect, though no headers were reported: HTTP/2 does not report them.
    if (sending.isConnecting) sending.hasSent = true;
    sending.isConnecting = true;
    sendings.set((message as { request: object }).request, sending);
  });
  channels.subscribe("undici:client:sendHeaders", (message) => {
    const sending = sendings.get((message as { request: object }).request);
    if (sending === undefined) return;
    sending.isConnecting = false;
    sending.hasSent = true;
  });
}

/** Runs `fn`, whose requests are reported to `sending`. {@link observeSending} has been called. */
export function whileObserved<R>(sending: Sending, fn: () => R): R {
  return (storage as AsyncStorage<Sending>).run(sending, fn);
}
