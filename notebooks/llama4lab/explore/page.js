// Builds an explorer in `root`: a labeled control for each of `settings.controls`, and below them what `draw` makes of
// their state, as HTML. `adjust(state, name)` may change the state after the control `name` has moved.
function startExplorer(root, settings, draw, adjust) {
  const state = {};
  const inputs = {};
  const result = document.createElement("div");
  result.setAttribute("role", "status");
  root.replaceChildren();
  root.setAttribute("data-live", "");
  root.setAttribute("data-lm-suppress-shortcuts", "true"); // or JupyterLab takes the arrow keys as its own

  function show() {
    for (const control of settings.controls) {
      const { input, value } = inputs[control.name];
      if (control.options) {
        input.value = control.options.findIndex((option) => option[1] === state[control.name]);
      } else {
        input.value = state[control.name];
        value.textContent = state[control.name];
      }
    }
    result.innerHTML = draw(settings, state);
  }

  for (const control of settings.controls) {
    const label = document.createElement("label");
    const input = document.createElement(control.options ? "select" : "input");
    const value = document.createElement("output");
    label.style.cssText = "display:block;margin:0.3em 0";
    input.style.margin = "0 0.5em";
    state[control.name] = control.value;
    inputs[control.name] = { input, value };
    if (control.options) {
      control.options.forEach((option, place) => input.add(new Option(option[0], place)));
    } else {
      Object.assign(input, { type: "range", min: control.min, max: control.max });
    }
    input.addEventListener("input", () => {
      state[control.name] = control.options ? control.options[input.value][1] : Number(input.value);
      if (adjust) adjust(settings, state, control.name);
      show();
    });
    label.append(control.label, input, value);
    root.append(label);
  }
  root.append(result);
  show();
}

function escaped(text) {
  return text.replace(/[&<>]/g, (mark) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[mark]);
}

function tableOf(pairs) {
  const side = 'style="text-align:left"';
  const rows = pairs.map(([name, value]) => `<tr><td ${side}>${escaped(name)}</td><td ${side}>${escaped(value)}</td></tr>`);
  return `<table>${rows.join("")}</table>`;
}

function fixed(value, digits) {
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
