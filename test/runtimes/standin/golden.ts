/** Stands for test/support/golden.ts on a page, to which its server hands the traces. */
export function golden<T>(name: string): T {
  // At once, as reading a file is.
  const request = new (globalThis as unknown as { XMLHttpRequest: new () => SyncRequest }).XMLHttpRequest();
  request.open("GET", `/test/golden/${name}.json.gz`, false);
  request.send();
  return JSON.parse(request.responseText) as T;
}

interface SyncRequest {
  open(method: string, url: string, async: false): void;
  send(): void;
  readonly responseText: string;
}
