/** The answers to requests for profiles. */
import { currentLevel, type Kind, PROVED } from "../track/tracker.ts";
import { optionalSource } from "../wait/foreign.ts";
import type { Cancel } from "../wait/source.ts";
import { isRecording } from "./blocking.ts";
import { kindsOf } from "./counts.ts";
import { isSampling, UnsupportedError } from "./inspector.ts";
import {
  isProfileName,
  isTextName,
  PROFILE_NAMES,
  type ProfileName,
  type TextName,
  takeProfile,
  takeText,
  USUAL_SECONDS,
} from "./profiles.ts";

/** What a handler was made with, checked. */
export interface Rules {
  readonly allow: (request: Request) => boolean | PromiseLike<boolean>;
  readonly maxSeconds: number;
}

// How many profiles of one name may be taken at once.
const MAX_AT_ONCE = 2;

// How many of each are being taken. A text that is being sent is not counted: it is made as it is read.
const taking = new Map<ProfileName, number>();

/** Answers a request. Rejects only with what `allow` throws or rejects with. */
export async function respond(request: Request, { allow, maxSeconds }: Rules): Promise<Response> {
  if ((await allow(request)) !== true) return refusal(403, "forbidden");
  const { method } = request;
  if (method !== "GET" && method !== "HEAD") return refusal(405, "only GET and HEAD", { Allow: "GET, HEAD" });
  const url = new URL(request.url);
  const [path, name] = /\/debug\/pprof(?:\/([^/]*))?$/.exec(url.pathname) ?? [];
  if (path === undefined) return refusal(404, "not found: profiles are under /debug/pprof/");
  if (name === undefined) return refusal(308, "see pprof/", { Location: `pprof/${url.search}` });
  if (name === "") return new Response(method === "HEAD" ? null : index(), { headers: headersOf("text/html") });
  if (!isProfileName(name)) return refusal(404, `unknown profile: there are ${PROFILE_NAMES.join(", ")}`);
  const query = queryOf(url.searchParams, name, maxSeconds);
  if (typeof query === "string") return refusal(400, query);
  if (query.level > 0) return textAnswer(name as TextName, query.level as 1 | 2, request);
  return profileAnswer(name, query.seconds, request);
}

interface Query {
  /** The parameter `debug`: 0 for the encoded profile. */
  readonly level: number;
  readonly seconds: number | undefined;
}

/** Reads the parameters of a request for a profile; what is wrong with them as a text. Unknown ones are ignored. */
function queryOf(params: URLSearchParams, name: ProfileName, maxSeconds: number): Query | string {
  const debug = params.getAll("debug");
  const seconds = params.getAll("seconds");
  if (debug.length > 1 || seconds.length > 1) return "debug and seconds may be given once";
  const [level = "0"] = debug;
  if (!/^[012]$/.test(level)) return "debug must be 0, 1 or 2";
  if (level !== "0" && !isTextName(name)) return `debug must be 0 for ${name}`;
  const [duration] = seconds;
  if (isTextName(name)) {
    return duration === undefined
      ? { level: Number(level), seconds: undefined }
      : `seconds is for heap and profile: ${name} shows what is there now`;
  }
  if (duration === undefined) return { level: 0, seconds: Math.min(USUAL_SECONDS[name], maxSeconds) };
  const n = /^\d+(\.\d+)?$/.test(duration) ? Number(duration) : 0;
  if (n <= 0 || n > maxSeconds) return `seconds must be a number above 0, at most ${maxSeconds}`;
  return { level: 0, seconds: n };
}

async function profileAnswer(name: ProfileName, seconds: number | undefined, request: Request): Promise<Response> {
  const disposition = { "Content-Disposition": `attachment; filename="${name}.pb"` };
  const headers = headersOf("application/octet-stream", disposition);
  if (request.method === "HEAD") return new Response(null, { headers });
  const running = taking.get(name) ?? 0;
  if (running >= MAX_AT_ONCE) {
    return refusal(429, `${running} requests are taking ${name} already`, { "Retry-After": "1" });
  }
  taking.set(name, running + 1);
  try {
    const source = optionalSource(request.signal as Cancel);
    const ending = source?.poll();
    if (ending !== undefined) throw ending.error();
    const bytes = await takeProfile(name, seconds, source);
    return new Response(bytes as Uint8Array<ArrayBuffer>, { headers });
  } catch (error) {
    if (error instanceof UnsupportedError) return refusal(501, error.message);
    if (request.signal?.aborted) return refusal(499, "the client has left");
    throw error;
  } finally {
    taking.set(name, (taking.get(name) as number) - 1);
  }
}

function textAnswer(name: TextName, level: 1 | 2, request: Request): Response {
  const headers = headersOf("text/plain");
  if (request.method === "HEAD") return new Response(null, { headers });
  const pieces = takeText(name, level);
  const utf8 = new TextEncoder();
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { value, done } = await pieces.next();
        if (done) controller.close();
        else controller.enqueue(utf8.encode(value));
      },
      async cancel() {
        await pieces.return();
      },
    },
    { highWaterMark: 0 },
  );
  return new Response(body, { headers });
}

function headersOf(type: string, more: Record<string, string> = {}): Record<string, string> {
  const charset = type.startsWith("text/") ? "; charset=utf-8" : "";
  return {
    "Content-Type": `${type}${charset}`,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    ...more,
  };
}

function refusal(status: number, text: string, more?: Record<string, string>): Response {
  return new Response(`${text}\n`, { status, headers: headersOf("text/plain", more) });
}

const LOCAL_HOSTS = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** See `isLocal` of `gopark/pprof`. */
export function namesThisMachine({ url, headers }: Request): boolean {
  const host = headers.get("host");
  const asked = host === null ? [url] : [url, `http://${host}/`];
  return headers.get("sec-fetch-site") !== "cross-site" && asked.every((it) => LOCAL_HOSTS.has(hostnameOf(it)));
}

function hostnameOf(url: string): string {
  try {
    return new URL(url).hostname;
  } catch {
    return "";
  }
}

/** What the profiles show, for the page that lists them. */
const ABOUT: Readonly<Record<ProfileName, string>> = {
  goroutine: "waits that are parked, by stack",
  task: "tasks that run, by stack",
  goroutineleak: "what the garbage collector has proved to be leaked",
  block: "how long waits were parked, from recordBlocking() on",
  mutex: "the same of waits for locks and semaphores",
  heap:
    "objects in use that were allocated since recordHeap(), or else during ?seconds=1; " +
    "forces a full garbage collection, for which the process stands still",
  profile: "processor time, during ?seconds=30",
};

/** The page at /debug/pprof/. */
function index(): string {
  const live = (kinds: readonly Kind[]) => kinds.reduce((sum, kind) => sum + kind.live, 0);
  const state: Record<ProfileName, number | string> = {
    goroutine: live(kindsOf("wait")),
    task: live(kindsOf("task")),
    goroutineleak: PROVED.live,
    block: isRecording() ? "recording" : "off",
    mutex: isRecording() ? "recording" : "off",
    heap: isSampling() ? "recording" : "off",
    profile: "",
  };
  const rows = PROFILE_NAMES.map((name) => {
    const links = [["download", name]];
    if (isTextName(name)) links.push(["text", `${name}?debug=1`]);
    if (name === "goroutine" || name === "task") links.push(["one by one", `${name}?debug=2`]);
    const cells = [name, state[name], ABOUT[name], links.map(([text, to]) => `<a href="${to}">${text}</a>`).join(" ")];
    return `<tr>${cells.map((cell) => `<td>${cell}</td>`).join("")}</tr>`;
  });
  return [
    "<!doctype html>",
    '<html lang="en"><head><meta charset="utf-8"><title>/debug/pprof/</title>',
    "<style>body { font: 1em sans-serif } td { padding: 0.2em 1em; vertical-align: top }</style></head>",
    `<body><h1>/debug/pprof/</h1><p>Tracking: ${currentLevel().name}. Stacks need sampled or full tracking.</p>`,
    `<table>${rows.join("\n")}</table>`,
    "<p>To read a profile: <code>go tool pprof http://HOST/debug/pprof/NAME</code></p></body></html>",
    "",
  ].join("\n");
}
