function countsOf(constants, experts, step) {
  const moeLayers = Math.floor(constants.layers / step);
  const counts = { ...constants.rest };
  for (const [part, count] of Object.entries(constants.expert)) counts[part] = moeLayers * experts * count;
  for (const [part, count] of Object.entries(constants.layer)) counts[part] = moeLayers * count;
  for (const [part, count] of Object.entries(constants.dense)) counts[part] = (constants.layers - moeLayers) * count;
  return counts;
}

function sizePairs(settings, state) {
  const counts = countsOf(settings.models[state.model], state.experts, state.step);
  const picked = Math.min(state.top_k, state.experts);
  const total = Object.values(counts).reduce((sum, count) => sum + count);
  const routed = counts["routed experts"];
  const active = total - counts.vision - Math.floor(routed / state.experts) * (state.experts - picked);
  const [bytes, special] = settings.formats[state.format];
  const size = Object.entries(counts).reduce((sum, [part, count]) => sum + count * (special[part] ?? bytes), 0);
  const holding = settings.machines.filter(([, memory]) => size <= memory * 1e9 * (1 - settings.free));
  return [
    ["parameters", `${fixed(total / 1e9, 1)} billion`],
    ["used by a token of text", `${fixed(active / 1e9, 1)} billion, ${fixed((100 * active) / total, 1)} %`],
    ["in routed experts", `${fixed((100 * routed) / total, 1)} %`],
    ["weights", `${fixed(size / 1e9, 1)} GB`],
    [`machines with ${fixed(100 * settings.free, 0)} % to spare`, holding.map(([name]) => name).join(", ") || "none of these"],
  ];
}

function adjust(settings, state, name) {
  if (name === "model") Object.assign(state, settings.models[state.model].own);
}

function draw(settings, state) {
  return tableOf(sizePairs(settings, state));
}
