// The states that acts lead to, with undo and redo, as session.py has them. Nothing here knows what a state shows.

const UNDOABLE = ["case", "history", "settings", "pinned", "kept"];

/** Return whether two values are the same in JSON, in whatever order their keys are. */
export function same(one, other) {
  const isPlain = (value) => Object(value) === value && !Array.isArray(value);
  const sorted = (_, value) => (isPlain(value) ? Object.fromEntries(Object.entries(value).sort()) : value);
  return JSON.stringify(one, sorted) === JSON.stringify(other, sorted);
}

/** Return a session that shows a state; `undo` and `redo` say whether there are other, unknown states. */
export function begun(state, { undo = false, redo = false } = {}) {
  return { state, past: undo ? [null] : [], future: redo ? [null] : [], dragging: false };
}

/** Return the session with another state shown, which can be undone; those of one live move are undone together. */
function changed({ state: before, past, future, dragging }, state, live = false) {
  const undoable = UNDOABLE.some((key) => !same(state[key], before[key]));
  return {
    state,
    past: undoable && !dragging ? [...past, before] : past,
    future: undoable ? [] : future,
    dragging: live && (undoable || dragging),
  };
}

/** Return a state with some values changed; another case starts with its own history, without pin or snapshots. */
function patched(state, changes) {
  const other = "case" in changes && changes.case !== state.case;
  return { ...state, ...(other ? { history: null, pinned: null, kept: [] } : {}), ...changes };
}

function stepped(session, from, to) {
  const { [from]: states, [to]: others, state } = session;
  if (!states.length) return session;
  const before = states.at(-1);
  if (!before) throw Error("This state is not known here.");
  const shown = { ...state, ...Object.fromEntries(UNDOABLE.map((key) => [key, before[key]])) };
  return { ...session, state: shown, [from]: states.slice(0, -1), [to]: [...others, state], dragging: false };
}

/**
 * Return the session after an act of the page, as widget.py has it; an Error says why there is none.
 *
 * The rules are functions: `historyOf` a state; `switched`, the settings of a state with another head; `named`, what
 * changes if a state goes to the case of a text; `loaded`, the state of a text; `check`, which throws an Error for a
 * state that cannot be shown.
 */
export function acted(session, { set, live, command, value }, { historyOf, switched, named, loaded, check }) {
  const { state } = session;
  if (command === "undo") return stepped(session, "past", "future");
  if (command === "redo") return stepped(session, "future", "past");
  const next = {
    pin: () => patched(state, { pinned: { history: historyOf(state), settings: state.settings } }),
    unpin: () => patched(state, { pinned: null }),
    head: () => patched(state, { settings: switched(state, value) }),
    go: () => patched(state, named(state, value)),
    load: () => loaded(value),
  };
  const shown = set ? patched(state, set) : next[command]();
  check(shown);
  return changed(session, shown, live);
}
