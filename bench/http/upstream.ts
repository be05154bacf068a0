/** The server of the comparison, in a process of its own, so that only the caller's processor time is measured. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

const body = JSON.stringify({ item: "tea", stock: 5, prices: [1, 2, 3, 4, 5] });
const server = createServer((_, res) => {
  res.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  res.end(body);
});
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
process.on("disconnect", () => process.exit());
