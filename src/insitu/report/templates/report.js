"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  root.classList.add("js");

  // Theme: the system's, until the button is pressed.
  const themeButton = document.getElementById("theme");
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
  const showTheme = () => {
    themeButton.setAttribute("aria-pressed", String(isDark()));
    themeButton.textContent = isDark() ? "Light" : "Dark";
    themeButton.setAttribute("aria-label", "Dark theme");
  };
  themeButton.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  systemDark.addEventListener("change", showTheme);
  showTheme();

  // Tables: sort by a column, the other way at the second click; unknown values stay last.
  const compare = (a, b, sign) => {
    if (a === b) return 0;
    if (a === "") return 1;
    if (b === "") return -1;
    const [x, y] = [Number(a), Number(b)];
    return sign * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y);
  };
  const sortBy = (table, header) => {
    const rising = header.getAttribute("aria-sort") !== "ascending";
    const place = [...header.parentNode.children].indexOf(header);
    all("th[aria-sort]", table).forEach((th) => th.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = (row) => row.children[place].dataset.v ?? "";
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => compare(value(a), value(b), rising ? 1 : -1));
    table.tBodies[0].append(...rows);
  };
  all("table").forEach((table) =>
    all("th[aria-sort] button", table).forEach((button) =>
      button.addEventListener("click", () => sortBy(table, button.closest("th")))));

  // A rule under the pointer, in legend, table or charts, stands out in the charts of its network.
  const highlight = (network, rule) => {
    all(".chart [data-rule]", network).forEach((mark) => {
      mark.classList.toggle("dim", rule !== null && mark.dataset.rule !== rule);
      mark.classList.toggle("bright", rule !== null && mark.dataset.rule === rule);
    });
  };
  all(".network").forEach((network) => {
    network.addEventListener("pointerover", (event) => {
      const mark = event.target.closest("[data-rule]");
      highlight(network, mark ? mark.dataset.rule : null);
    });
    network.addEventListener("pointerleave", () => highlight(network, null));
  });

  // Memory pictures: what one op keeps alive.
  const size = (bytes) => {
    const units = [["GiB", 1024 ** 3], ["MiB", 1024 ** 2], ["KiB", 1024]];
    const [unit, factor] = units.find(([, f]) => bytes >= f) ?? ["B", 1];
    if (factor === 1) return `${bytes} B`;
    const value = bytes / factor;
    return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${unit}`;
  };
  const total = (sample) => sample[4].reduce((sum, bytes) => sum + bytes, 0);
  const tell = (picture, sample, op, prefix = "") => {
    const bytes = size(total(sample));
    const [first, count, name, phase] = sample;
    const ops = count === 1 ? `op ${first + 1}` : `ops ${first + 1}–${first + count}`;
    const readout = picture.querySelector(".readout");
    readout.textContent = `${prefix}${ops}: ${name} (${phase}), ${bytes}`;
    readout.title = readout.textContent;
    all(".roles li", picture).forEach((item) => {
      item.querySelector("b").textContent = size(sample[4][ROLES.indexOf(item.dataset.role)]);
    });
    const { left, right, ops: number, top, floor } = picture.querySelector("svg").dataset;
    const at = Number(left) + ((Number(right) - Number(left)) * (op + 0.5)) / Number(number);
    picture.querySelector(".cursor").setAttribute("d", `M${at} ${top}V${floor}`);
  };
  const wake = (picture) => {
    const chart = picture.querySelector("svg");
    const samples = JSON.parse(picture.querySelector("script").textContent);
    const { left, right, ops } = chart.dataset;
    const peak = samples.reduce((a, b) => (total(b) > total(a) ? b : a));
    let current = peak[0];
    const go = (op) => {
      current = Math.max(0, Math.min(Number(ops) - 1, op));
      tell(picture, samples.findLast((s) => s[0] <= current), current);
    };
    const rest = () => {
      tell(picture, peak, peak[0], "peak at ");
      picture.querySelector(".cursor").setAttribute("d", "");
      current = peak[0];
    };
    chart.addEventListener("pointermove", (event) => {
      const box = chart.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
      go(Math.floor(((x - left) / (right - left)) * ops));
    });
    chart.addEventListener("pointerleave", rest);
    chart.addEventListener("blur", rest);
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      go(current + step);
    });
  };
  all(".memories").forEach((memories) => {
    let view = "fused";
    const store = memories.querySelector(".store");
    const show = (slot) => {
      const rule = slot.querySelector("select").value;
      const kept = store.querySelector(`[data-rule-index="${rule}"][data-view="${view}"]`);
      const picture = kept?.cloneNode(true);
      slot.querySelector(".shown").replaceChildren(...(picture ? [picture] : []));
      if (picture) wake(picture);
    };
    const slots = all(".slot", memories);
    slots.forEach((slot) => {
      slot.querySelector("select").addEventListener("change", () => show(slot));
      show(slot);
    });
    all(".views button", memories).forEach((button) =>
      button.addEventListener("click", () => {
        view = button.dataset.view;
        all(".views button", memories).forEach((other) =>
          other.setAttribute("aria-pressed", String(other === button)));
        slots.forEach(show);
      }));
  });

  // Copy buttons; the clipboard of a page from disk may be closed, then the text is selected.
  const copy = async (code, button) => {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
  all(".code").forEach((block) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", () => copy(block.querySelector("code"), button));
    block.append(button);
  });
})();
