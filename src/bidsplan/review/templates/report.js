"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const number = new Intl.NumberFormat("en-US");

  const SIGNS = data.signs;
  const STATE_KINDS = data.stateKinds;

  function make(tag, attributes = {}, text = "") {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== "") element.textContent = text;
    return element;
  }

  function counted(count, noun) {
    return `${number.format(count)} ${noun}${count === 1 ? "" : "s"}`;
  }

  function size(bytes) {
    if (bytes < 1000) return counted(bytes, "Byte");
    const units = ["kB", "MB", "GB", "TB", "PB", "EB"];
    let unit = -1;
    do { bytes /= 1000; unit += 1; } while (bytes >= 999.95 && unit < units.length - 1);
    return `${bytes.toFixed(1)} ${units[unit]}`;
  }

  function fill(select, options) {
    select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
  }

  // Typing in a field costs one update a frame, however fast the keys come.
  function onInput(element, update) {
    let asked = 0;
    element.addEventListener("input", () => {
      cancelAnimationFrame(asked);
      asked = requestAnimationFrame(update);
    });
  }

  // A table of which only the rows in view exist. `row(index)` makes one; `drawn()` is called then.
  class Rows {
    constructor(scroller, table, row, drawn = () => {}) {
      this.drawn = drawn;
      this.scroller = scroller;
      this.table = table;
      this.body = table.tBodies[0];
      this.row = row;
      this.length = 0;
      this.height = 29; // pixels, until a row is measured
      this.first = -1;
      let asked = 0;
      scroller.addEventListener("scroll", () => {
        cancelAnimationFrame(asked);
        asked = requestAnimationFrame(() => this.draw(false));
      }, { passive: true });
      new ResizeObserver(() => { this.draw(true); this.measure(); }).observe(scroller);
    }

    show(length) {
      this.length = length;
      this.table.setAttribute("aria-rowcount", length + 1);
      this.scroller.scrollTop = 0;
      this.draw(true);
    }

    draw(always) {
      const visible = Math.ceil((this.scroller.clientHeight || 600) / this.height);
      const most = Math.max(0, this.length - visible);
      const top = Math.min(most, Math.floor(this.scroller.scrollTop / this.height));
      // Drawn anew every fourth row, with some rows beyond the view.
      const first = Math.max(0, top - 4) & ~3;
      if (!always && first === this.first) return;
      this.first = first;
      const last = Math.min(this.length, first + visible + 12);
      const rows = [];
      for (let index = first; index < last; index += 1) {
        const made = this.row(index);
        made.setAttribute("aria-rowindex", index + 2);
        rows.push(made);
      }
      this.body.replaceChildren(this.spacer(first), ...rows, this.spacer(this.length - last));
      this.drawn();
    }

    measure() {
      const row = this.body.querySelector("tr:not(.spacer)");
      const height = row ? row.getBoundingClientRect().height : 0;
      if (!height || height === this.height) return;
      this.height = height;
      this.draw(true);
    }

    spacer(count) {
      const row = make("tr", { class: "spacer", "aria-hidden": "true" });
      const cell = row.appendChild(make("td"));
      cell.style.height = `${count * this.height}px`;
      row.hidden = count === 0;
      return row;
    }

    reveal(index) {
      const head = this.table.tHead.offsetHeight;
      const top = index * this.height;
      const room = this.scroller.clientHeight - head - this.height;
      const now = this.scroller.scrollTop;
      if (top < now) this.scroller.scrollTop = top;
      else if (top > now + room) this.scroller.scrollTop = top - room;
      this.draw(false);
    }
  }

  // ---- The matrix -------------------------------------------------------------------------------

  const grid = $("grid");
  const matrix = {
    view: data.views[0],
    marks: new Map(), // by row, then by column: [state, number] pairs
    lacking: [], // how many cells of each row are incomplete
    order: [], // rows, as they are shown
    sort: { column: -1, down: true }, // -1: the number of incomplete cells, -2: the subject
    at: { row: 0, column: 0 }, // row -1 is the head, column 0 the subject
    rows: null,
  };

  function marksOf(row, column) {
    const found = matrix.marks.get(row);
    return (found && found.get(column)) || [];
  }

  function reasonOf(row, column) {
    const value = matrix.view.cells[row][column];
    return value < 0 ? matrix.view.reasons[-1 - value] : null;
  }

  function choose(index) {
    matrix.view = data.views[index];
    const { view } = matrix;
    matrix.marks = new Map();
    for (const [row, column, state, count] of view.marks) {
      if (!matrix.marks.has(row)) matrix.marks.set(row, new Map());
      const found = matrix.marks.get(row);
      found.set(column, [...(found.get(column) || []), [state, count]]);
    }
    matrix.lacking = view.cells.map((row, index_) => {
      const marked = matrix.marks.get(index_);
      return row.reduce((sum, value, column) => sum + (value < 0 || !!(marked && marked.has(column))), 0);
    });
    matrix.sort = { column: -1, down: true };
    matrix.at = { row: 0, column: 0 };
    const texts = view.reasons.map(([, text, where], reason) => [`r${reason}`, where ? `${text} (${where})` : text]);
    const states = [...new Set(view.marks.map((mark) => mark[2]))].sort((a, b) => a - b);
    fill($("reason"), [["", "any reason"], ...texts, ...states.map((state) => [`s${state}`, data.states[state]])]);
    grid.setAttribute("aria-colcount", view.columns.length + 2);
    drawHead();
    filterRows();
    fillLists();
  }

  function drawHead() {
    const row = make("tr", { "aria-rowindex": 1 });
    const lacks = matrix.view.columns.map((_, column) =>
      matrix.view.cells.reduce((sum, cells, index) => sum + (cells[column] < 0 || marksOf(index, column).length > 0), 0));
    const heads = [["", "Subject", -2], ["", "Missing", -1],
      ...matrix.view.columns.map(([above, name], column) => [above, name, column])];
    heads.forEach(([above, name, column], index) => {
      const sorted = matrix.sort.column === column ? (matrix.sort.down ? "descending" : "ascending") : "none";
      const cell = row.appendChild(make("th", {
        scope: "col", role: "columnheader", "aria-sort": sorted, id: `c-1-${index}`, "aria-colindex": index + 1,
        ...(index ? {} : { class: "first" }),
      }));
      const button = cell.appendChild(make("button", { type: "button", tabindex: "-1", "data-sort": column }));
      if (above) button.append(make("small", {}, above));
      button.append(make("span", { class: "name" }, name));
      if (column < 0) return;
      const lack = button.appendChild(make("small", { title: `${number.format(lacks[column])} missing or incomplete` }));
      lack.append(make("span", { "aria-hidden": "true" }, `−${number.format(lacks[column])}`));
      lack.append(make("span", { class: "hidden" }, `${number.format(lacks[column])} missing`));
    });
    grid.tHead.replaceChildren(row);
  }

  function drawRow(index) {
    const row = matrix.order[index];
    const made = make("tr");
    made.append(make("th", { scope: "row", role: "rowheader", class: "first", id: `c${index}-0`, "aria-colindex": 1 }, data.subjects[row]));
    made.append(make("td", { role: "gridcell", id: `c${index}-1`, "aria-colindex": 2, class: "have" }, String(matrix.lacking[row])));
    matrix.view.cells[row].forEach((value, column) => {
      const cell = made.appendChild(make("td", { role: "gridcell", id: `c${index}-${column + 2}`, "aria-colindex": column + 3 }));
      const marks = marksOf(row, column);
      const kind = value < 0 ? reasonOf(row, column)[0] : marks.length ? STATE_KINDS[marks[0][0]] : "";
      if (!kind) {
        cell.className = "have";
        cell.textContent = value;
        return;
      }
      const lost = marks.reduce((sum, mark) => sum + mark[1], 0);
      const text = value < 0 ? SIGNS[kind] : `${value - lost}/${value} ${SIGNS[kind]}`;
      cell.setAttribute("aria-label", describe(row, column));
      cell.append(make("span", { class: `sign ${kind}` }, text));
    });
    return made;
  }

  function describe(row, column) {
    const value = matrix.view.cells[row][column];
    const reason = reasonOf(row, column);
    if (reason) return `no file: ${reason[1]}${reason[2] ? ` (${reason[2]})` : ""}`;
    const marks = marksOf(row, column).map(([state, count]) => `${number.format(count)} ${data.states[state]}`);
    return [counted(value, "file"), ...marks].join(", ");
  }

  function filterRows() {
    const text = $("find").value.trim().toLowerCase().replace(/^sub-/, "");
    const only = $("incomplete").checked;
    const wanted = $("reason").value;
    const rows = [];
    for (let row = 0; row < data.subjects.length; row += 1) {
      if (only && !matrix.lacking[row]) continue;
      if (text && !data.subjects[row].toLowerCase().includes(text)) continue;
      if (wanted && !hasReason(row, wanted)) continue;
      rows.push(row);
    }
    const { column, down } = matrix.sort;
    const key = column === -2 ? (row) => row
      : column === -1 ? (row) => matrix.lacking[row]
      : (row) => (matrix.view.cells[row][column] < 0 ? 1e9 : marksOf(row, column).length ? 1e8 : 0) - Math.max(0, matrix.view.cells[row][column]);
    const sign = down ? -1 : 1;
    rows.sort((a, b) => sign * (key(a) - key(b)) || a - b);
    matrix.order = rows;
    $("count").textContent = `${number.format(rows.length)} of ${counted(data.subjects.length, "subject")}`;
    matrix.at.row = Math.min(matrix.at.row, 0);
    matrix.rows.show(rows.length);
    mark();
  }

  function hasReason(row, wanted) {
    const index = Number(wanted.slice(1));
    if (wanted[0] === "r") return matrix.view.cells[row].includes(-1 - index);
    const found = matrix.marks.get(row);
    return !!found && [...found.values()].some((marks) => marks.some((mark_) => mark_[0] === index));
  }

  function sortBy(column) {
    // The subject comes in its order first, all else the most or the missing first.
    const same = matrix.sort.column === column;
    matrix.sort = { column, down: same ? !matrix.sort.down : column !== -2 };
    drawHead();
    filterRows();
  }

  // Outlines the active cell, where it is drawn, and returns it.
  function outline() {
    for (const old of grid.querySelectorAll(".active")) old.classList.remove("active");
    const cell = $(`c${matrix.at.row}-${matrix.at.column}`);
    if (cell) grid.setAttribute("aria-activedescendant", cell.id);
    else grid.removeAttribute("aria-activedescendant");
    if (cell && document.activeElement === grid) cell.classList.add("active");
    return cell;
  }

  // Outlines the active cell, says what it is, and returns it.
  function mark() {
    const cell = outline();
    const { row, column } = matrix.at;
    const subject = matrix.order[row];
    let said = "";
    if (subject !== undefined && column < 2) said = summarise(subject);
    else if (subject !== undefined) said = `${data.subjects[subject]}, ${label(column - 2)}: ${describe(subject, column - 2)}`;
    $("detail").textContent = said;
    return cell;
  }

  function summarise(row) {
    const lacking = matrix.lacking[row];
    return `${data.subjects[row]}: ${lacking ? `${number.format(lacking)} of ${counted(matrix.view.columns.length, "column")} missing or incomplete` : "complete"}`;
  }

  function move(row, column) {
    const last = matrix.order.length - 1;
    matrix.at = { row: Math.max(-1, Math.min(last, row)), column: Math.max(0, Math.min(matrix.view.columns.length + 1, column)) };
    if (matrix.at.row >= 0) matrix.rows.reveal(matrix.at.row);
    const cell = mark();
    if (cell && matrix.at.column > 0) revealColumn(cell);
    else $("grid-scroll").scrollLeft = 0;
  }

  function revealColumn(cell) {
    const scroller = $("grid-scroll");
    const left = grid.querySelector(".first").offsetWidth;
    const box = cell.getBoundingClientRect();
    const frame = scroller.getBoundingClientRect();
    if (box.left < frame.left + left) scroller.scrollLeft -= frame.left + left - box.left;
    else if (box.right > frame.right) scroller.scrollLeft += box.right - frame.right;
  }

  function activate() {
    const { row, column } = matrix.at;
    if (row < 0) { sortBy(column - 2); matrix.at = { row: -1, column }; mark(); return; }
    const name = data.subjects[matrix.order[row]];
    $("find-file").value = `${ownDirectory(name)}/`;
    filterFiles();
    $("find-file").focus();
  }

  // Of a subject 01, and of one that the header calls site/01.
  function ownDirectory(name) {
    const at = name.lastIndexOf("/") + 1;
    return `${name.slice(0, at)}sub-${name.slice(at)}`;
  }

  function onKey(event) {
    if (event.target !== grid || event.ctrlKey || event.altKey || event.metaKey) return;
    const { row, column } = matrix.at;
    const page = Math.max(1, Math.floor($("grid-scroll").clientHeight / matrix.rows.height) - 2);
    const moves = {
      ArrowUp: [row - 1, column], ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      PageUp: [Math.max(0, row - page), column], PageDown: [row + page, column],
      Home: [row, 0], End: [row, matrix.view.columns.length + 1],
    };
    if (event.key === "Enter" || event.key === " ") activate();
    else if (moves[event.key]) move(...moves[event.key]);
    else return;
    event.preventDefault();
  }

  function startMatrix() {
    if (!matrix.view || !matrix.view.columns.length) return;
    $("matrix").hidden = false;
    matrix.rows = new Rows($("grid-scroll"), grid, drawRow, outline);
    fill($("view"), data.views.map((view, index) => [index, `by ${view.name}`]));
    $("view").addEventListener("change", () => choose(Number($("view").value)));
    onInput($("find"), filterRows);
    for (const id of ["reason", "incomplete"]) $(id).addEventListener("change", filterRows);
    grid.addEventListener("keydown", onKey);
    grid.addEventListener("focus", mark);
    grid.addEventListener("blur", mark);
    grid.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-sort]");
      if (button) { sortBy(Number(button.dataset.sort)); return; }
      const cell = event.target.closest("tbody [id]");
      if (!cell) return;
      const [row, column] = cell.id.slice(1).split("-").map(Number);
      grid.focus({ preventScroll: true });
      move(row, column);
    });
    $("lists").hidden = false;
    $("list").addEventListener("change", showList);
    $("format").addEventListener("change", showList);
    $("copy").addEventListener("click", copyList);
    $("download").addEventListener("click", downloadList);
    choose(0);
  }

  // ---- Lists ------------------------------------------------------------------------------------

  function label(column) {
    const [above, name] = matrix.view.columns[column];
    return above ? `${above} ${name}` : name;
  }

  function fillLists() {
    const { view } = matrix;
    const options = [["any", "incomplete"], ["none", "complete"], ["all", "all that are selected"]];
    view.columns.forEach((_, column) => options.push([`c${column}`, `without ${label(column)}`]));
    view.reasons.forEach(([, text, where], reason) => options.push([`r${reason}`, where ? `${text} (${where})` : text]));
    data.leftOut.forEach(([text, where], index) => options.push([`l${index}`, `not selected: ${text}${where ? ` (${where})` : ""}`]));
    fill($("list"), options);
    showList();
  }

  // The rows of a list: [subject, column, reason]; a complete subject has no column.
  function listed() {
    const wanted = $("list").value;
    const index = Number(wanted.slice(1));
    if (/^l\d/.test(wanted)) {
      const [text, where, names] = data.leftOut[index];
      return names.map((name) => [name, "", where ? `${text} (${where})` : text]);
    }
    const rows = [];
    data.subjects.forEach((name, row) => {
      if (wanted === "all" || (wanted === "none" && !matrix.lacking[row])) rows.push([name, "", ""]);
      if (wanted === "all" || wanted === "none") return;
      matrix.view.cells[row].forEach((value, column) => {
        if (value >= 0 && !marksOf(row, column).length) return;
        if (/^c\d/.test(wanted) && column !== index) return;
        if (/^r\d/.test(wanted) && value !== -1 - index) return;
        rows.push([name, label(column), describe(row, column)]);
      });
    });
    return rows;
  }

  // A spreadsheet would run a cell that starts like a formula.
  function cell(text) {
    return /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  }

  function showList() {
    const rows = listed();
    const labels = [...new Set(rows.map(([name]) => name))];
    let text;
    let left = 0;
    if ($("format").value === "tsv") {
      text = ["subject\tcolumn\treason", ...rows.map((row) => row.map(cell).join("\t"))].join("\n");
    } else {
      const kept = labels.filter((name) => !data.unlistable.includes(name));
      left = labels.length - kept.length;
      text = [...new Set(kept.map((name) => name.split("/").pop()))].join("\n");
    }
    $("list-text").value = text ? `${text}\n` : "";
    $("list-count").textContent = counted(labels.length - left, "subject") + (left ? `; ${number.format(left)} left out: a list can't name them` : "");
  }

  async function copyList() {
    $("list-text").select();
    let done = false;
    try {
      await navigator.clipboard.writeText($("list-text").value);
      done = true;
    } catch {
      done = document.execCommand("copy");
    }
    $("list-count").textContent = done ? "copied" : "the browser refused; the list is selected: copy it by the keyboard";
  }

  function downloadList() {
    const labels = $("format").value === "labels";
    const blob = new Blob([$("list-text").value], { type: labels ? "text/plain" : "text/tab-separated-values" });
    const link = make("a", { href: URL.createObjectURL(blob), download: labels ? "list.txt" : "missing.tsv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  // ---- Files ------------------------------------------------------------------------------------

  const files = { paths: null, lower: null, pattern: [], row: [], size: null, state: null, order: [], sort: { by: "path", down: false }, rows: null };

  function unpackFiles() {
    const total = data.files.groups.reduce((sum, group) => sum + group[2].length / 3, 0);
    files.paths = new Array(total);
    files.lower = new Array(total);
    files.size = new Float64Array(total);
    files.state = new Int8Array(total);
    files.pattern = new Int32Array(total);
    let index = 0;
    for (const [row, subject, packed] of data.files.groups) {
      // A pipeline with a URL of its own has no directory of a site, but belongs to the site's subject.
      const owner = subject ? `\n${ownDirectory(data.subjects[row])}/`.toLowerCase() : "";
      for (let at = 0; at < packed.length; at += 3) {
        const [path] = data.files.patterns[packed[at]];
        files.paths[index] = subject ? path.replaceAll("\0", subject) : path;
        files.pattern[index] = packed[at];
        files.size[index] = packed[at + 1];
        files.state[index] = packed[at + 2];
        files.lower[index] = files.paths[index].toLowerCase() + owner;
        index += 1;
      }
    }
  }

  const COLUMNS = [["path", "Path"], ["size", "Size"], ["reason", "Reason"], ["state", "State"]];

  function fileColumns() {
    return data.hasStates ? COLUMNS : COLUMNS.slice(0, 3);
  }

  function drawFileHead() {
    const row = make("tr", { "aria-rowindex": 1 });
    for (const [id, name] of fileColumns()) {
      const sorted = files.sort.by === id ? (files.sort.down ? "descending" : "ascending") : "none";
      const cell_ = row.appendChild(make("th", { scope: "col", class: id, "aria-sort": sorted }));
      const button = cell_.appendChild(make("button", { type: "button", "data-sort": id }));
      button.append(make("span", { class: "name" }, name));
    }
    $("files-table").tHead.replaceChildren(row);
  }

  function drawFile(index) {
    const file = files.order[index];
    const made = make("tr");
    made.append(make("td", { class: "mono", title: files.paths[file] }, files.paths[file]));
    made.append(make("td", {}, size(files.size[file])));
    made.append(make("td", {}, data.files.patterns[files.pattern[file]][1]));
    if (data.hasStates) made.append(make("td", {}, stateOf(file)));
    return made;
  }

  function stateOf(file) {
    return files.state[file] < 0 ? "" : data.states[files.state[file]];
  }

  function filterFiles() {
    const text = $("find-file").value.trim().toLowerCase();
    const state = $("state").value;
    const found = [];
    for (let file = 0; file < files.lower.length; file += 1) {
      if (state && files.state[file] !== Number(state)) continue;
      if (!text || files.lower[file].includes(text)) found.push(file);
    }
    const { by, down } = files.sort;
    const sign = down ? -1 : 1;
    if (by === "size") found.sort((a, b) => sign * (files.size[a] - files.size[b]) || a - b);
    else if (by === "reason") found.sort((a, b) => sign * compare(data.files.patterns[files.pattern[a]][1], data.files.patterns[files.pattern[b]][1]) || a - b);
    else if (by === "state") found.sort((a, b) => sign * (files.state[a] - files.state[b]) || a - b);
    else if (down) found.reverse();
    files.order = found;
    const listed_ = files.paths.length;
    const more = data.files.total > listed_ ? `, the largest of ${number.format(data.files.total)}` : "";
    $("file-count").textContent = `${number.format(found.length)} of ${counted(listed_, "file")}${more}, ${size(found.reduce((sum, file) => sum + files.size[file], 0))}`;
    files.rows.show(found.length);
  }

  function compare(a, b) {
    return a < b ? -1 : Number(a > b);
  }

  function startFiles() {
    unpackFiles();
    if (!files.paths.length) return;
    $("all-files").hidden = false;
    files.rows = new Rows($("files-scroll"), $("files-table"), drawFile);
    $("files-table").tHead.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-sort]");
      if (!button) return;
      const by = button.dataset.sort;
      files.sort = { by, down: files.sort.by === by ? !files.sort.down : by === "size" };
      drawFileHead();
      $("files-table").tHead.querySelector(`[data-sort="${by}"]`).focus();
      filterFiles();
    });
    if (data.hasStates) {
      const found = [...new Set(files.state)].filter((state) => state >= 0).sort((a, b) => a - b);
      fill($("state"), [["", "any"], ...found.map((state) => [state, data.states[state]])]);
      $("state-label").hidden = false;
      $("state").addEventListener("change", filterFiles);
    }
    onInput($("find-file"), filterFiles);
    drawFileHead();
    filterFiles();
  }

  startMatrix();
  startFiles();
  document.documentElement.dataset.ready = "true";
})();
