/** medium, @thi.ng/csp and ts-chan, used as in their READMEs. */
import { channel } from "@thi.ng/csp";
import * as medium from "medium";
import { Chan, recv, Select } from "ts-chan";
import { channelRows, check, N } from "./row.mjs";

const { any, buffers, chan, put, take } = medium.default ?? medium;

const mediumRows = channelRows("medium", {
  make: (capacity) => (capacity === 0 ? chan() : chan(buffers.fixed(capacity))),
  send: put,
  receive: take,
});

// Its smallest buffer holds one value, so no send waits for its receiver.
const thingRows = channelRows("@thi.ng/csp", {
  make: (capacity) => channel(capacity),
  send: (ch, value) => ch.write(value),
  receive: (ch) => ch.read(),
  unbuffered: false,
});

const tsChanRows = channelRows("ts-chan", {
  make: (capacity) => new Chan(capacity),
  send: (ch, value) => ch.send(value),
  receive: (ch) => ch.recv(),
  unwrap: (received) => received.value,
});

/** Two senders, and a select over both channels and a channel to quit. */
async function selectTsChan() {
  const [x, y, quit] = [new Chan(), new Chan(), new Chan()];
  const sending = [x, y].map(async (ch) => {
    for (let i = 0; i < N / 2; i++) await ch.send(1);
  });
  const select = new Select([recv(x), recv(y), recv(quit)]);
  let sum = 0;
  for (let i = 0; i < N; i++) sum += select.recv(select.cases[await select.wait()]).value;
  await Promise.all(sending);
  check(sum, N);
}

async function selectMedium() {
  const [x, y, quit] = [chan(), chan(), chan()];
  const sending = [x, y].map(async (ch) => {
    for (let i = 0; i < N / 2; i++) await put(ch, 1);
  });
  let sum = 0;
  for (let i = 0; i < N; i++) {
    const [value] = await any(x, y, quit);
    sum += value;
  }
  await Promise.all(sending);
  check(sum, N);
}

export const rows = [
  ...mediumRows,
  ...thingRows,
  ...tsChanRows,
  { row: "select.two", peer: "ts-chan", ops: N, run: selectTsChan },
  { row: "select.two", peer: "medium", ops: N, run: selectMedium },
];
