/** The element of the page with this id; the page is static, so it is there. */
export function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

/** An element with text and other nodes in it: text is never read as markup. */
export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  properties: Partial<HTMLElementTagNameMap[Tag]> = {},
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Shows a problem in an element with the role of an alert; undefined hides it. */
export function showProblem(place: HTMLElement, problem: string | undefined): void {
  place.hidden = problem === undefined;
  place.textContent = problem ?? "";
}

export const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
