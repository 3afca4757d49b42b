
const value = cell => {
  const text = cell.textContent.trim();
  if (text === "" || text === "–") return null;
  return /^[-+]?\d*\.?\d+(e[-+]?\d+)?([\s(%/]|$)/i.test(text) ? parseFloat(text) : text;
};
const order = (a, b) => typeof a === typeof b ? (typeof a === "number" ? a - b : a.localeCompare(b)) : typeof a === "number" ? -1 : 1;
const tables = [...document.querySelectorAll("table.sortable")];
function sort(table, column, sign) {
  const rows = [...table.tBodies[0].rows].map(row => [value(row.cells[column]), row]);
  const known = rows.filter(row => row[0] !== null).sort((a, b) => sign * order(a[0], b[0]));
  table.tBodies[0].append(...known.map(row => row[1]), ...rows.filter(row => row[0] === null).map(row => row[1]));
  [...table.tHead.rows[0].cells].forEach((head, number) => head.removeAttribute("aria-sort"));
  table.tHead.rows[0].cells[column].setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
}
tables.forEach((table, number) => [...table.tHead.rows[0].cells].forEach((head, column) => {
  head.tabIndex = 0;
  const click = () => {
    const sign = head.getAttribute("aria-sort") === "descending" ? 1 : -1;
    sort(table, column, sign);
    history.replaceState(null, "", `#sort=${number}.${column}.${sign}`);
  };
  head.onclick = click;
  head.onkeydown = event => { if (event.key === "Enter") click(); };
}));
const kept = location.hash.match(/^#sort=(\d+)\.(\d+)\.(-?1)$/);
if (kept && tables[kept[1]]?.tHead.rows[0].cells[kept[2]]) sort(tables[kept[1]], +kept[2], +kept[3]);
