const realSetTimeout = setTimeout;
const realClearTimeout = clearTimeout;

/** How a promise ends that needs real time to: "pending" if it has not settled for some seconds. */
export async function fate(promise: Promise<unknown>): Promise<"fulfilled" | "rejected" | "pending"> {
  let timer: unknown;
  const bound = new Promise<"pending">((resolve) => {
    timer = realSetTimeout(resolve, 4_000, "pending");
  });
  const settled = promise.then(
    () => "fulfilled" as const,
    () => "rejected" as const,
  );
  const first = await Promise.race([settled, bound]);
  realClearTimeout(timer as NodeJS.Timeout);
  return first;
}
