// The keys that the token in `row` sees; rows and keys count from 0, padding first.
function seenKeys(state, row) {
  const position = row - state.padding;
  const keys = [];
  for (let key = state.padding; key <= row; key++) {
    const other = key - state.padding;
    const inChunk = Math.floor(other / state.size) === Math.floor(position / state.size);
    const sees = { chunks: inChunk, "sliding window": position - other < state.size, global: true };
    if (sees[state.kind]) keys.push(key);
  }
  return keys;
}

function seenWords(state) {
  const position = state.query - state.padding;
  const keys = seenKeys(state, state.query);
  if (position < 0) return `Row ${state.query} is padding: it is no token, and sees none.`;
  const row = `Row ${state.query}, position ${position},`;
  if (keys.length === 1) return `${row} sees only itself.`;
  const last = keys[keys.length - 1];
  return `${row} sees ${keys.length} tokens: positions ${keys[0] - state.padding} to ${last - state.padding}.`;
}

function adjust(settings, state) {
  state.query = Math.min(state.query, state.length - 1);
  state.padding = Math.min(state.padding, state.length - 1);
}

function draw(settings, state) {
  const cell = settings.cell;
  const side = cell * state.length;
  let squares = "";
  let pairs = 0;
  for (let row = 0; row < state.length; row++) {
    for (const key of seenKeys(state, row)) {
      squares += `<rect x="${cell * key}" y="${cell * row}" width="${cell - 1}" height="${cell - 1}"/>`;
      pairs += 1;
    }
  }
  return `<p>${seenWords(state)} ${pairs} pairs of query and key in all.</p>
<svg width="${side + 2}" height="${side + 2}" viewBox="-1 -1 ${side + 2} ${side + 2}" role="img"
 aria-label="Mask of ${state.length} queries (rows) and keys (columns)">
<rect width="${side}" height="${side}" fill="#eeeeee"/><g fill="${settings.colors[0]}">${squares}</g>
<rect x="-0.5" y="${cell * state.query - 0.5}" width="${side}" height="${cell}" fill="none"
 stroke="${settings.colors[1]}" stroke-width="2"/></svg>`;
}
