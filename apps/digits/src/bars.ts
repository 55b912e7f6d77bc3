/** Fills a list with ten rows, the probability of each digit as a bar: with the adapter, and fainter without it. */
export function showBars(list: HTMLElement, adapted?: readonly number[], base?: readonly number[]): void {
  const best = adapted === undefined ? -1 : adapted.indexOf(Math.max(...adapted));
  list.replaceChildren(
    ...Array.from({ length: 10 }, (_, digit) => {
      const row = document.createElement("li");
      row.className = digit === best ? "best" : "";
      const name = document.createElement("span");
      name.textContent = `${digit}`;
      const pair = document.createElement("div");
      for (const [kind, values] of [
        ["", adapted],
        ["base", base],
      ] as const) {
        if (kind === "base" && values === undefined) continue;
        const bar = document.createElement("i");
        bar.className = kind;
        bar.style.width = `${100 * (values?.[digit] ?? 0)}%`;
        pair.append(bar);
      }
      row.append(name, pair);
      row.title = adapted === undefined ? "" : `${(100 * adapted[digit]).toFixed(1)} %`;
      return row;
    }),
  );
}
