/**
 * Vitest maps each stack to the sources, which takes most of the time of a test with many records. After this each
 * distinct stack is mapped once.
 */

function mapOnce(map: NonNullable<typeof Error.prepareStackTrace>): typeof Error.prepareStackTrace {
  // No Map: a test watches what the Maps of the library keep.
  let seen: Record<string, string> = {};
  let places = 0;
  return (error, sites) => {
    const place = sites.join("\n");
    let frames = seen[place];
    if (frames === undefined) {
      if (++places % 1000 === 0) seen = {};
      frames = (map(new Error(), sites) as string).replace(/^Error:? ?/, "");
      seen[place] = frames;
    }
    return `${error.name || "Error"}: ${error.message || ""}${frames}`;
  };
}

if (Error.prepareStackTrace !== undefined) Error.prepareStackTrace = mapOnce(Error.prepareStackTrace);
