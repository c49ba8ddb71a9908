/** Where one is: a view and what it shows. It is in the address, so it can be shared and reloaded. */
export interface Place {
  view: string;
  /** Which event or subject, if the view shows one. */
  name: string;
  options: Record<string, string>;
}

/** Reads the part of an address behind the `#`, such as `#/subject/book%3A1?from=3`. */
export function placeOf(hash: string): Place {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2);
  const [view = '', name = ''] = path.split('/', 2);
  return {
    view: view === '' ? 'events' : view,
    name: decoded(name),
    options: Object.fromEntries(new URLSearchParams(query)),
  };
}

/** The address of a view. Options without a value are left out. */
export function addressOf(
  view: string,
  name = '',
  options: Record<string, string | undefined> = {},
): string {
  const chosen = Object.entries(options).filter(
    (pair): pair is [string, string] => pair[1] !== undefined && pair[1] !== '',
  );
  const query = new URLSearchParams(chosen).toString();
  const path = name === '' ? view : `${view}/${encodeURIComponent(name)}`;
  return query === '' ? `#/${path}` : `#/${path}?${query}`;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
