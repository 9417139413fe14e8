"use strict";
// The jobs of the first page: searched, filtered and shown. No address but those beside this file
// is loaded; every string is put in as text.
(() => {
  const PAGE = 100;
  const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  const table = document.getElementById("jobs");
  const body = table.tBodies[0];
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const files = Number(table.dataset.files);
  const total = Number(table.dataset.jobs);
  const fields = Object.fromEntries(
    ["search", "preset", "end", "runner"].map((name) => [name, document.getElementById(name)]),
  );
  const parts = new Array(files);
  let rows = [];
  let asked = 1;
  let shown = PAGE;
  let failed = "";

  const time = (id) => {
    let ms = 0;
    for (const char of id.slice(0, 10)) ms = ms * 32 + DIGITS.indexOf(char);
    return new Date(ms).toISOString().slice(0, 16).replace("T", " ");
  };
  const span = (seconds) => {
    if (seconds === null) return "–";
    for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
      if (seconds >= 2 * size) return `${Math.round(seconds / size)} ${unit}`;
    }
    return `${Math.round(seconds)} s`;
  };
  const toneOf = (state, verdict) => {
    if (state === "done") return verdict || "missing";
    if (["queued", "claimed", "running"].includes(state)) return "going";
    return ["cancelled", "expired"].includes(state) ? "missing" : "fail";
  };

  window.kakeyaJobs = (index, data) => {
    parts[index] = data.rows.map(([id, preset, state, verdict, runner, who, queued, ran]) => {
      const row = {
        id, queued, ran,
        preset: data.preset[preset],
        runner: data.runner[runner],
        who: data.requester[who],
        end: state === "done" ? verdict || "not judged" : state,
        tone: toneOf(state, verdict),
      };
      row.text = [id, row.preset, row.runner, row.who, row.end].join("\n").toLowerCase();
      return row;
    });
    rows = parts.flat().filter(Boolean);
    draw();
  };

  const load = (until) => {
    for (; asked < Math.min(until, files); asked += 1) {
      const script = document.createElement("script");
      script.src = `data/jobs-${asked}.js`;
      script.async = true;
      script.onerror = () => { failed = "; some could not be loaded"; draw(); };
      document.head.append(script);
    }
  };

  const cell = (name, content, kind = "") => {
    const found = document.createElement("td");
    found.dataset.name = name;
    found.className = kind;
    found.append(content);
    return found;
  };
  const line = (row) => {
    const chip = document.createElement("span");
    chip.className = `chip ${row.tone}`;
    chip.textContent = row.end;
    const link = document.createElement("a");
    link.href = `jobs/${row.id.slice(-2).toLowerCase()}/${row.id}.html`;
    link.textContent = row.id;
    const found = document.createElement("tr");
    found.append(
      cell("end", chip), cell("preset", row.preset || "(malformed)"), cell("job", link),
      cell("asked", time(row.id)), cell("by", row.who), cell("runner", row.runner || "–"),
      cell("queued", span(row.queued), "num"), cell("ran", span(row.ran), "num"),
    );
    return found;
  };

  const draw = () => {
    const words = fields.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const { preset, end, runner } = fields;
    const active = words.length || preset.value || end.value || runner.value;
    if (active) load(files);
    const found = active
      ? rows.filter((row) =>
          (!preset.value || row.preset === preset.value) &&
          (!end.value || row.end === end.value) &&
          (!runner.value || row.runner === runner.value) &&
          words.every((word) => row.text.includes(word)))
      : rows;
    body.replaceChildren(...found.slice(0, shown).map(line));
    const known = active ? found.length : total;
    const here = parts.filter(Boolean).length;
    const rest = active && here < files && !failed ? "; looking on" : "";
    count.textContent = `${Math.min(shown, found.length)} of ${known} jobs${rest}${failed}`;
    table.dataset.ready = String(!active || here === files);
    more.hidden = shown >= known;
  };

  const changed = () => {
    shown = PAGE;
    const kept = Object.entries(fields).filter(([, field]) => field.value);
    const hash = new URLSearchParams(kept.map(([name, field]) => [name, field.value])).toString();
    if (location.hash.slice(1) !== hash) location.replace(`#${hash}`);
    draw();
  };
  const restore = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const [name, field] of Object.entries(fields)) field.value = given.get(name) || "";
  };

  for (const field of Object.values(fields)) field.addEventListener("input", changed);
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("filters").hidden = false;
  more.addEventListener("click", () => {
    shown += PAGE;
    load(1 + Math.ceil(shown / PAGE));
    draw();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && document.activeElement.tagName !== "INPUT") {
      event.preventDefault();
      fields.search.focus();
    }
  });
  window.addEventListener("hashchange", () => { restore(); draw(); });
  restore();
})();
