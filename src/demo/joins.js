// Fills the table at the foot of the page from the labels that the parts carry, and from the gateway's Server-Timing.
{
  const fill = (id, rows) => {
    const table = document.getElementById(id);
    for (const cells of rows) {
      const row = table.tBodies[0].insertRow();
      cells.forEach((cell, at) => {
        const td = row.insertCell();
        td.textContent = cell;
        if (at === cells.length - 1 || (at === cells.length - 2 && cells.length > 3)) td.className = "number";
      });
    }
    table.hidden = rows.length === 0;
  };
  const age = (made) => {
    const seconds = Math.max(0, Math.round(Date.now() / 1000 - made));
    return made === 0 ? "kept" : seconds < 2 ? "now" : seconds + " s ago";
  };
  fill("joins-table", [...document.querySelectorAll("[data-part]")].map((part) => {
    const { part: name, kind, from, cost, made } = part.dataset;
    const nested = part.parentElement.closest(".part");
    return [(nested ? "\u2514 " : "") + name, kind, from, made === "0" ? "–" : cost + " ms", age(Number(made))];
  }));
  const [page] = performance.getEntriesByType("navigation");
  fill("timing-table", ((page && page.serverTiming) || []).map((one) => [one.name, one.description, one.duration.toFixed(1) + " ms"]));
  const show = document.getElementById("show-joins");
  show.checked = sessionStorage.getItem("joins") === "shown";
  show.addEventListener("change", () => sessionStorage.setItem("joins", show.checked ? "shown" : "hidden"));
}
