/**
 * A crawl in parallel: at most four fetches at once, and at most two of them to any one host.
 *
 * Every page is a task of its own, and a task starts more tasks for links that were not seen yet. The fetches are
 * bounded. The group has no limit: under one, a task would hold a slot while it waits for slots for the tasks that it
 * starts, and in the end all would wait.
 *
 * Rule of thumb: bound the scarce thing where it is used, and take the narrow permit first. A task that waits for a
 * busy host must not hold one of the four places that another host could use.
 *
 * `npm run example crawl` runs it.
 */
import { context, errgroup, semaphore, shardmap, time } from "gopark";
import type { Context } from "gopark/context";

/** The web: for each page its links. A link to a page that is not there is dead. */
const WEB: Record<string, string[]> = {
  "a.example/": ["a.example/1", "a.example/2", "a.example/3", "a.example/4", "b.example/", "c.example/"],
  "a.example/1": ["a.example/", "a.example/2"],
  "a.example/2": ["b.example/1"],
  "a.example/3": ["a.example/gone"],
  "a.example/4": [],
  "b.example/": ["b.example/1", "b.example/2", "b.example/3"],
  "b.example/1": ["c.example/"],
  "b.example/2": [],
  "b.example/3": ["a.example/"],
  "c.example/": ["c.example/1", "c.example/2"],
  "c.example/1": [],
  "c.example/2": [],
};

/** Stands for fetch(url, { signal: ctx.signal }). */
async function fetchLinks(ctx: Context, url: string): Promise<string[]> {
  await time.sleep(10, ctx);
  const links = WEB[url];
  if (links === undefined) throw new Error("404");
  return links;
}

const hostOf = (url: string): string => url.slice(0, url.indexOf("/"));

interface Report {
  readonly pages: string[];
  readonly dead: string[];
  /** The most fetches that were under way at one time: of all hosts, and of any one. */
  most: number;
  mostOfOneHost: number;
}

async function crawl(parent: Context, start: string): Promise<Report> {
  const report: Report = { pages: [], dead: [], most: 0, mostOfOneHost: 0 };
  const seen = new Set<string>();
  const everywhere = new semaphore.Weighted(4);
  const hosts = new shardmap.ShardMap<string, semaphore.Weighted>();

  const fetchBounded = async (ctx: Context, url: string): Promise<string[]> => {
    const host = hosts.getOrInsertComputed(hostOf(url), () => new semaphore.Weighted(2));
    using _narrow = await host.permit(ctx);
    using _wide = await everywhere.permit(ctx);
    report.most = Math.max(report.most, everywhere.held());
    report.mostOfOneHost = Math.max(report.mostOfOneHost, host.held());
    return await fetchLinks(ctx, url); // With await: the permits are held until it has ended.
  };

  await errgroup.scope(parent, async (group, ctx) => {
    const visit = async (url: string): Promise<void> => {
      if (seen.has(url)) return;
      seen.add(url);
      await group.go(async () => {
        let links: string[];
        try {
          links = await fetchBounded(ctx, url);
        } catch (err) {
          if (ctx.err() !== undefined) throw err; // The crawl was stopped: the link may be sound.
          report.dead.push(url);
          return;
        }
        report.pages.push(url);
        for (const link of links) await visit(link);
      });
    };
    await visit(start);
  });
  return report;
}

using scope = context.withTimeout(context.background(), 1000);
const { pages, dead, most, mostOfOneHost } = await crawl(scope.ctx, "a.example/");
console.log(`${pages.length} pages`);
console.log("dead:", dead.join(" "));
console.log(`at most ${most} fetches at once, ${mostOfOneHost} to one host`);
// Output:
// 12 pages
// dead: a.example/gone
// at most 4 fetches at once, 2 to one host
