"use strict";
// Search and filters of the table of papers: the address keeps them, so that a view can be linked. Without this file the
// whole table is there.
(() => {
  const table = document.getElementById("rows");
  const form = document.querySelector("form.filters");
  if (!table || !form) return;
  const fields = table.dataset.fields.split(" ");
  const rows = [...table.tBodies[0].rows].map((row) => {
    const cells = [...row.cells].map((cell) => cell.textContent.trim());
    const slug = row.querySelector("a").getAttribute("href");
    return { row, of: Object.fromEntries(fields.map((f, i) => [f, cells[i]])), text: [...cells, slug, row.dataset.also || ""].join(" ").toLowerCase() };
  });
  const count = form.querySelector(".count");
  const asked = () => Object.fromEntries([...new FormData(form)].filter(([, value]) => value.trim()));
  const show = () => {
    const { q = "", ...exact } = asked();
    const words = q.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const { row, of, text } of rows) {
      const fits = words.every((w) => text.includes(w)) && Object.entries(exact).every(([k, v]) => of[k] === v);
      row.hidden = !fits;
      left += fits;
    }
    count.textContent = `${left} of ${rows.length} papers`;
  };
  const keep = () => {
    const query = new URLSearchParams(asked()).toString();
    try { history.replaceState(null, "", (query ? `?${query}` : location.pathname) + location.hash); } catch { /* some browsers refuse for files */ }
  };
  for (const [key, value] of new URLSearchParams(location.search)) {
    const field = form.elements.namedItem(key); // not [key], which knows "length" as something else
    if (field) field.value = value;
  }
  form.addEventListener("input", () => { show(); keep(); });
  form.addEventListener("reset", () => setTimeout(() => { show(); keep(); }));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
})();
