/** Reads the lines of a stack. */

/**
 * The function of a frame, as `Poller.poll`; empty if the frame names none. V8 writes `at async new Poller.poll [as
 * start] (file:1:2)`, JavaScriptCore `poll@file:1:2`.
 */
export function functionOf(frame: string): string {
  const v8 = /^\s*at (?:async )?(?:new )?(?:Object\.)?(.+?)(?: \[as .+?\])? \(/.exec(frame);
  if (v8 !== null) return v8[1] as string;
  const at = frame.indexOf("@");
  return at === -1 ? "" : frame.slice(0, at).trim();
}
