/** The bucket of a limiter, as Redis keeps it: `tokens last event most`, each as a double. */
import type { Redis } from "ioredis";

export async function bucketAt(client: Redis, key: string): Promise<number[] | undefined> {
  const bytes = await client.getBuffer(key);
  return bytes === null ? undefined : Array.from({ length: bytes.length / 8 }, (_, i) => bytes.readDoubleLE(8 * i));
}

/** The tokens of a bucket when it was last changed. */
export async function tokensOf(client: Redis, key: string): Promise<number> {
  return (await bucketAt(client, key))?.[0] ?? Number.NaN;
}

export async function setBucket(client: Redis, key: string, numbers: number[]): Promise<void> {
  const bytes = Buffer.alloc(8 * numbers.length);
  for (const [i, value] of numbers.entries()) bytes.writeDoubleLE(value, 8 * i);
  await client.set(key, bytes);
}
