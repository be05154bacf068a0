/**
 * The prime sieve of Go's own examples: a chain of filters, each a task, that grows by one with each prime found.
 *
 * It ends when every task has ended, as in bench/go: the generator closes its channel, and each filter closes its own
 * when the one above is closed. Otherwise the chain would keep running while the next one is measured.
 */
import { Channel } from "gopark";
import { Handoff } from "./floor.ts";
import { check } from "./row.ts";

const PRIMES = 200;
const LAST = 1223;

export async function sieve(): Promise<void> {
  const wanted = { more: true };
  let ch = new Channel<number>();
  void generate(ch, wanted);
  let prime = 0;
  for (let i = 0; i < PRIMES; i++) {
    prime = (await ch.receive()).value as number;
    const next = new Channel<number>();
    void filter(ch, next, prime);
    ch = next;
  }
  wanted.more = false;
  while ((await ch.receive()).ok);
  check(prime, LAST);
}

async function generate(to: Channel<number>, wanted: { more: boolean }): Promise<void> {
  for (let i = 2; wanted.more; i++) await to.send(i);
  to.close();
}

async function filter(from: Channel<number>, to: Channel<number>, prime: number): Promise<void> {
  for (;;) {
    const { value, ok } = await from.receive();
    if (!ok) break;
    if (value % prime !== 0) await to.send(value);
  }
  to.close();
}

/** The same again, not shared: V8 compiles a loop over one class to faster code than one over two. */
export async function sieveFloor(): Promise<void> {
  const wanted = { more: true };
  let ch = new Handoff<number>();
  void generateFloor(ch, wanted);
  let prime = 0;
  for (let i = 0; i < PRIMES; i++) {
    prime = (await ch.receive()).value as number;
    const next = new Handoff<number>();
    void filterFloor(ch, next, prime);
    ch = next;
  }
  wanted.more = false;
  while ((await ch.receive()).ok);
  check(prime, LAST);
}

async function generateFloor(to: Handoff<number>, wanted: { more: boolean }): Promise<void> {
  for (let i = 2; wanted.more; i++) await to.send(i);
  to.close();
}

async function filterFloor(from: Handoff<number>, to: Handoff<number>, prime: number): Promise<void> {
  for (;;) {
    const { value, ok } = await from.receive();
    if (!ok) break;
    if (value % prime !== 0) await to.send(value);
  }
  to.close();
}
