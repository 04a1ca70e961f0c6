// The heads that a trained head can be switched to: their names, as parts.py writes them, and how model.js makes them.

const isOn = (value) => (Array.isArray(value) ? value.length > 0 : Boolean(value));
const written = (value) => ({ true: "True", false: "False" })[value] ?? value; // as Python writes it

/**
 * Return what can be made of a trained head.
 *
 * `trained` are its settings and `name` its name; `parts` is the table of parts, with the value `off` of a field that a
 * head does not have, and `defaults` are options' values that a name leaves out; `merges` are the options that can be
 * changed; there are n items.
 */
export function headsOf(trained, name, { parts, defaults, merges }, n) {
  const own = parts.filter(({ field }) => field in trained); // none if the head is not a softmax
  const [first] = name.split(/ \+ | \(/);

  function nameOf(head) {
    const present = own.filter(({ field }) => isOn(head[field]));
    const letters = (joined) => present.filter((part) => part.joined === joined).map(({ letter }) => letter);
    const sizes = head.rerank?.length ? `:${head.rerank}` : "";
    const words = [first, letters(true).join("") + sizes, ...letters(false)].filter(Boolean).join(" + ");
    const changed = Object.keys(defaults).filter((option) => option in head && head[option] !== defaults[option]);
    const options = [...(head.post ? ["post"] : []), ...changed.map((option) => `${option}=${written(head[option])}`)];
    return options.length ? `${words} (${options.join(", ")})` : words;
  }

  /** Return the trained head with some fields changed, and without the options of parts that it has no longer. */
  function changed(changes) {
    const head = { ...trained, ...changes };
    for (const { letter, field, options } of own) {
      if (isOn(head[field]) && !isOn(trained[field])) throw Error(`${name} was trained without ${letter}.`);
      if (!isOn(head[field])) for (const option of options) head[option] = defaults[option];
    }
    const sizes = (head.rerank ?? []).toSorted((one, other) => one - other);
    const possible = sizes.every((k, place) => Number.isInteger(k) && k >= 1 && k <= n && k !== sizes[place - 1]);
    if (!possible) throw Error(`Every k of a reranker must be from 1 to the number of items, ${n}, and given once.`);
    if (sizes.length && sizes.length < trained.rerank.length) {
      throw Error(`A page keeps all rerankers of ${name}, or none; use Python to keep some.`);
    }
    return "rerank" in head ? { ...head, rerank: sizes } : head;
  }

  /** Return the head of a name; "" is the trained one. */
  function parse(asked) {
    if (!asked) return trained;
    const [, words = "", options = ""] = /^([^()]*?)(?: \((.*)\))?$/.exec(asked) ?? [];
    const [, ...rest] = words.split(" + ");
    const joined = rest.find((word) => /^(?=.)C?P?(R:[\d,]+)?$/.test(word)) ?? "";
    const [letters, sizes] = joined.split(":");
    const changes = { post: options.split(", ").includes("post") };
    for (const { letter, field, joined: together } of own) {
      changes[field] = together ? letters.includes(letter) : rest.includes(letter);
      if (field === "rerank") changes[field] = changes[field] ? sizes.split(",").map(Number) : [];
    }
    for (const merge of merges) {
      const [, found = defaults[merge]] = RegExp(`\\b${merge}=(\\w+)`).exec(options) ?? [];
      if (merge in trained) changes[merge] = found;
    }
    const head = changed(changes);
    if (nameOf(head) !== asked) throw Error(`A page cannot make ${asked} from ${name}; use Python.`);
    return head;
  }

  /** Return a head with other options, as `Explorer.switched` does. */
  function switched(head, options) {
    const asked = { ...options };
    if (asked.context === false) asked.pointer = false;
    if (asked.pointer) asked.context = true;
    const kept = ["post", ...own.map(({ field }) => field), ...merges].filter((field) => field in head);
    for (const merge of merges) {
      const part = merge.replace("_merge", "");
      if (isOn(asked[part]) && !isOn(head[part])) asked[merge] ??= trained[merge]; // again, as it was trained
    }
    return changed({ ...Object.fromEntries(kept.map((field) => [field, head[field]])), ...asked });
  }

  /** Return the arguments of a model's `switched` that make a head of the trained one. */
  function ablation(head) {
    const change = (partition) => {
      const part = own.find(({ letter }) => letter === partition.name.split(":")[0]);
      if (!part) return partition;
      if (!isOn(head[part.field])) return null;
      const merged = { ...partition, merge: head[`${part.field}_merge`] ?? partition.merge };
      if (part.field !== "rerank") return merged;
      const k = head.rerank[trained.rerank.indexOf(partition.k)];
      return { ...merged, k, name: `R:${k}` };
    };
    return [change, { post: head.post, inputs: head.inputs }];
  }

  /** Return what the controls show of a head. */
  function shown(head) {
    const switches = parts.map(({ letter, field, off }) => [letter, head[field] ?? off]);
    const chosen = merges.map((merge) => [merge, head[merge] ?? ""]);
    return { ...Object.fromEntries([...switches, ...chosen]), post: head.post, name: nameOf(head) };
  }

  return { nameOf, parse, switched, ablation, shown };
}
