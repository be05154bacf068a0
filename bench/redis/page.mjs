/** The page of the demo: the verdict, two charts and the table. */

const WIDTH = 900;
const HEIGHT = 220;
const LEFT = 50;
const COLORS = { 200: "#2e7d32", 429: "#f9a825", 503: "#6a1b9a", failed: "#c62828" };
const NAMES = { 200: "served", 429: "refused (429)", 503: "unavailable (503)", failed: "failed" };
const escaped = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");

function chart({ last, phases, top, title, limit, limitName, draw }) {
  const x = (ms) => LEFT + (ms / last) * (WIDTH - LEFT);
  const y = (n) => HEIGHT - 20 - (n / top) * (HEIGHT - 50);
  const bands = phases.map(({ name, until }, i) => {
    const from = x(phases[i - 1]?.until ?? 0);
    const fill = i % 2 === 0 ? "#f7f7f7" : "#eceff1";
    return `<rect x="${from}" y="25" width="${x(until) - from}" height="${HEIGHT - 45}" fill="${fill}"/>
<text x="${from + 6}" y="38" font-size="11" fill="#607d8b">${escaped(name)}</text>`;
  });
  const seconds = Array.from({ length: Math.floor(last / 1000) + 1 }, (_, s) => s);
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(title)}">
<text x="0" y="14" font-size="13" font-weight="bold">${escaped(title)}</text>
${bands.join("\n")}
${draw(x, y)}
<line x1="${LEFT}" x2="${WIDTH}" y1="${y(limit)}" y2="${y(limit)}" stroke="#c62828" stroke-dasharray="5 3"/>
<text x="${WIDTH - 4}" y="${y(limit) - 4}" font-size="11" text-anchor="end" fill="#c62828">${escaped(limitName)}</text>
<text x="${LEFT - 6}" y="${y(0)}" font-size="11" text-anchor="end">0</text>
<text x="${LEFT - 6}" y="${y(limit) + 4}" font-size="11" text-anchor="end">${limit}</text>
${seconds.map((s) => `<text x="${x(s * 1000)}" y="${HEIGHT - 4}" font-size="10" text-anchor="middle">${s} s</text>`).join("")}
</svg>`;
}

export function page({ rows, head, verdict, held, phases, last, arrivals, running, answers, atOnce, aSecond }) {
  const steps = (points) =>
    points.map(([px, py], i) => (i === 0 ? `M${px} ${py}` : `H${px.toFixed(1)}V${py.toFixed(1)}`)).join("");
  const inFlight = chart({
    ...{ last, phases, top: atOnce * 1.25, limit: atOnce, limitName: `it bears ${atOnce}` },
    title: "Requests at one time, as the upstream saw them",
    draw: (x, y) =>
      `<path d="${steps([[x(0), y(0)], ...running.map(([t, n]) => [x(t), y(n)])])}" fill="none" stroke="#1565c0"/>`,
  });
  let first = 0;
  const rates = arrivals.map((time, i) => {
    while (arrivals[first] <= time - 1000) first++;
    return [time, i - first + 1];
  });
  const rate = chart({
    ...{ last, phases, top: aSecond * 1.25, limit: aSecond, limitName: `it bears ${aSecond}` },
    title: "Requests in the second before each arrival, as the upstream saw them",
    draw: (x, y) =>
      rates.map(([t, n]) => `<circle cx="${x(t).toFixed(1)}" cy="${y(n).toFixed(1)}" r="1" fill="#1565c0"/>`).join(""),
  });
  const slot = 250;
  const slots = Array.from({ length: Math.ceil(last / slot) }, () => ({ 200: 0, 429: 0, 503: 0, failed: 0 }));
  for (const { sentAt, what } of answers) {
    const it = slots[Math.floor(sentAt / slot)];
    if (it !== undefined && what in it) it[what]++;
  }
  const most = Math.max(...slots.map((it) => Object.values(it).reduce((a, b) => a + b)));
  const outcome = chart({
    ...{ last, phases, top: most * 1.1, limit: most, limitName: "" },
    title: `What the clients got, in each ${slot} ms`,
    draw: (x, y) =>
      slots
        .flatMap((it, i) => {
          let sum = 0;
          return Object.entries(COLORS).map(([what, fill]) => {
            const low = y(sum);
            sum += it[what];
            const width = x(slot) - x(0) - 1;
            return `<rect x="${x(i * slot)}" y="${y(sum)}" width="${width}" height="${low - y(sum)}" fill="${fill}"/>`;
          });
        })
        .join(""),
  });
  const legend = Object.entries(COLORS).map(([what, color]) => `<span style="color:${color}">■</span> ${NAMES[what]}`);
  const table = [
    `<tr>${head.map((name) => `<th>${escaped(name)}</th>`).join("")}</tr>`,
    ...rows.map(
      (row) =>
        `<tr>${Object.values(row)
          .map((cell) => `<td>${escaped(cell)}</td>`)
          .join("")}</tr>`,
    ),
  ];
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>A fleet with a common limit</title>
<style>body{font:14px system-ui,sans-serif;max-width:${WIDTH}px;margin:2em auto}svg{width:100%;margin:1em 0}
table{border-collapse:collapse}td,th{padding:3px 10px;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}.held{color:#2e7d32}.broke{color:#c62828}</style>
<h1>Four gateways, one limit</h1>
<p class="${held ? "held" : "broke"}"><strong>${held ? "The limit held" : "The limit broke"}:</strong> ${escaped(verdict)}.</p>
${inFlight}
${rate}
${outcome}
<p>${legend.join(" &nbsp; ")}</p>
<table>${table.join("\n")}</table>
</html>
`;
}
