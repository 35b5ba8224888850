function contextPairs(settings, state) {
  const ways = ["cached everywhere", "chunk-aware"];
  const caches = settings.cache[state.model][state.tokens].map((size) => size * state.batch * state.number);
  const both = caches.map((size) => size + settings.weights[state.model][state.format]);
  const pairs = ways.map((way, place) => [`KV cache, ${way}`, `${fixed(caches[place] / 2 ** 30, 2)} GiB`]);
  ways.forEach((way, place) => pairs.push([`with the weights, ${way}`, `${fixed(both[place] / 1e9, 1)} GB`]));
  ways.forEach((way, place) => {
    const holding = settings.machines.filter(([, memory]) => both[place] <= memory * 1e9 * (1 - settings.free));
    pairs.push([`machines with ${fixed(100 * settings.free, 0)} % to spare, ${way}`, holding.map(([name]) => name).join(", ") || "none of these"]);
  });
  const longest = settings.longest[state.model];
  pairs.push(["declared for", `${fixed(longest, 0)} tokens at most` + (state.tokens <= longest ? "" : ": too long")]);
  return pairs;
}

function draw(settings, state) {
  return tableOf(contextPairs(settings, state));
}
