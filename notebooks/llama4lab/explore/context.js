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
function draw(settings, state) {
  const [weights, caches, usable] = memoryOf(settings, state);
  const memory = usable / (1 - settings.free);
  const scale = 420 / Math.max(memory, ...caches.map((cache) => weights + cache));
  const [orange, blue, frame] = settings.colors;
  const bars = WAYS.map((way, place) => {
    const y = 8 + 40 * place;
    const bar = (start, size, fill) =>
      `<rect x="${140 + start * scale}" y="${y}" width="${size * scale}" height="28" fill="${fill}" stroke="${frame}"/>`;
    const name = `<text x="132" y="${y + 19}" text-anchor="end">${way}</text>`;
    return name + bar(0, weights, orange) + bar(weights, caches[place], blue);
  });
  return `<svg width="580" height="106" viewBox="0 0 580 106" font-size="13" role="img" aria-label="Weights and cache against memory">
<rect width="580" height="106" fill="#ffffff"/><rect x="140" y="2" width="${memory * scale}" height="80" fill="#e4e4e4"/>
${bars.join("")}<path d="M${140 + usable * scale} 0 V86" stroke="#000000" stroke-width="3"/>
<text x="4" y="101">orange: weights, blue: KV cache, gray: memory, black line: what may be used</text></svg>
${tableOf(contextPairs(settings, state))}`;
}
