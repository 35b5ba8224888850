const WAYS = ["cached everywhere", "chunk-aware"];

function memoryOf(settings, state) {
  const model = settings.models[state.model];
  const tokens = state.chunks * settings.chunk;
  const caches = model.cache.map(([token, beside]) => ((token * tokens + beside) * state.batch * state.cache_bits) / 8);
  const usable = state.gpus * state.size * 1e9 * (1 - settings.free);
  return [(model.parameters * state.weight_bits) / 8, caches, usable];
}

function contextPairs(settings, state) {
  const [weights, caches, usable] = memoryOf(settings, state);
  const tokens = state.chunks * settings.chunk;
  const declared = settings.models[state.model].declared;
  const beyond = tokens <= declared ? "" : `; declared for ${fixed(declared, 0)} at most`;
  const pairs = [["tokens of context", fixed(tokens, 0) + beyond], ["weights", `${fixed(weights / 1e9, 1)} GB`]];
  WAYS.forEach((way, place) => pairs.push([`KV cache, ${way}`, `${fixed(caches[place] / 1e9, 1)} GB`]));
  pairs.push([`memory, ${fixed(100 * settings.free, 0)} % kept free`, `${fixed(usable / 1e9, 1)} GB`]);
  WAYS.forEach((way, place) => {
    const left = usable - weights - caches[place];
    const much = fixed(Math.abs(left) / 1e9, 1);
    pairs.push([way, left >= 0 ? `fits, ${much} GB to spare` : `does not fit: ${much} GB too much`]);
  });
  return pairs;
}

// Weights and cache as bars, to the scale of the largest of memory and needs; the line is the memory that may be used.
// Each name is above its bar and the picture is narrow, so that a phone shows its letters at their size.
function draw(settings, state) {
  const [weights, caches, usable] = memoryOf(settings, state);
  const memory = usable / (1 - settings.free);
  const scale = 396 / Math.max(memory, ...caches.map((cache) => weights + cache));
  const [orange, blue, frame] = settings.colors;
  const bars = WAYS.map((way, place) => {
    const y = 24 + 54 * place;
    const bar = (start, size, fill) =>
      `<rect x="${2 + start * scale}" y="${y}" width="${size * scale}" height="22" fill="${fill}" stroke="${frame}"/>`;
    const behind = `<rect x="2" y="${y - 4}" width="${memory * scale}" height="30" fill="#e4e4e4"/>`;
    const line = `<path d="M${2 + usable * scale} ${y - 6} v34" stroke="#000000" stroke-width="3"/>`;
    return `<text x="2" y="${y - 9}">${way}</text>${behind}${bar(0, weights, orange)}${bar(weights, caches[place], blue)}${line}`;
  });
  return `<svg width="400" height="146" viewBox="0 0 400 146" font-size="14" role="img" aria-label="Weights and cache against memory">
<rect width="400" height="146" fill="#ffffff"/>${bars.join("")}
<text x="2" y="123">orange: weights, blue: KV cache,</text>
<text x="2" y="141">gray: memory, black line: what may be used</text></svg>
${tableOf(contextPairs(settings, state))}`;
}
