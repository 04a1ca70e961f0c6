// The state in the page's address, after the #.

const SETTLED = 300; // ms without a change, after which the address is changed, since browsers limit how often it is

/** Return the address: the state that is `asked` for there, as text, and `keep`, which puts another one there. */
export function stateAddress() {
  let timer = null;
  return {
    asked() {
      const text = location.hash.slice(1);
      try {
        return decodeURIComponent(text);
      } catch {
        return text; // the kernel refuses what is not written as a state
      }
    },
    keep(state) {
      clearTimeout(timer);
      const hash = `#${encodeURIComponent(JSON.stringify(state))}`;
      timer = setTimeout(() => history.replaceState(null, "", hash), SETTLED);
    },
  };
}
