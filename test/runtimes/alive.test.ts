/** What keeps a process alive, and what lets it end, in every runtime: see test/process.test.ts. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Project, project } from "../support/hosts.ts";
import { EXITS, IMPORT, LIVES } from "../support/lifetimes.ts";
import { programs } from "./hosts.ts";

let home: Project;
beforeAll(() => {
  home = project();
  home.write("package.json", '{ "type": "module", "dependencies": { "gopark": "*" } }');
});
afterAll(() => home.remove());

const others = Object.entries(programs).slice(1);

describe.each(others)("%s", (host, run) => {
  test.each([...EXITS, ...LIVES])("%s", async (what, code) => {
    const file = `${host} ${what}.mjs`.replaceAll(" ", "-");
    home.write(file, `${IMPORT}${code}; console.log("end")`);
    expect(await run(home.path, file)).toBe("end\n");
  });
});
