/** What an answer has consumed at DynamoDB. */
export interface Consumed {
  requests: number;
  readUnits: number;
  rows: number;
}

/** An event without its data, as lists show it. */
export interface ListedEvent {
  time: string;
  subject: string;
  type: string;
  id: string;
  revision: number | null;
  key: string;
}

export interface EventDetails {
  id: string;
  source: string;
  type: string;
  subject: string;
  time: string;
  revision: number | null;
  datacontenttype: string | null;
  dataschema: string | null;
  extensions?: Record<string, string>;
  /** JSON text, exactly as it is stored. */
  data?: string;
}

export interface About {
  table: string;
  layout: string;
  items: number | null;
  isEmbedded: boolean;
  states: { name: string; prefix: string }[];
  missing: Record<string, string | null>;
}

/** A request was refused or has failed; the message says why. */
export class Refused extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

type Listener = (sum: Consumed) => void;

const sum: Consumed = { requests: 0, readUnits: 0, rows: 0 };
const listeners = new Set<Listener>();

/** Tells what this tab has consumed so far, now and whenever it changes. */
export function onConsumed(listener: Listener): () => void {
  listeners.add(listener);
  listener({ ...sum });
  return () => listeners.delete(listener);
}

/** Asks the server. Options without a value are left out. */
export async function ask<Answer>(
  what: string,
  options: Record<string, string | number | boolean | undefined> = {},
  signal?: AbortSignal,
): Promise<Answer & { consumed?: Consumed }> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && value !== '') {
      query.set(name, String(value));
    }
  }
  const response = await fetch(`/api/${what}?${query}`, { signal: signal ?? null });
  const text = await response.text();
  if (!response.ok) {
    throw new Refused(messageOf(text) ?? `The server answers ${response.status}.`, response.status);
  }
  const answer = JSON.parse(text) as Answer & { consumed?: Consumed };
  if (answer.consumed !== undefined) {
    sum.requests += answer.consumed.requests;
    sum.readUnits += answer.consumed.readUnits;
    sum.rows += answer.consumed.rows;
    for (const listener of listeners) {
      listener({ ...sum });
    }
  }
  return answer;
}

/** Exchanges the token of the address for a cookie. */
export async function open(token: string): Promise<void> {
  const response = await fetch('/api/session', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token }),
  });
  // A token that was used is no problem if the browser has the cookie: the first request tells.
  await response.text();
}

/** What to show if a request has failed. */
export function reasonOf(error: unknown): string {
  if (error instanceof Refused && error.status === 401) {
    return 'This browser has no access. Run `eventdb explore` again, and open the address that it prints.';
  }
  if (error instanceof TypeError) {
    return 'The server doesn’t answer. Is `eventdb explore` still running?';
  }
  return error instanceof Error ? error.message : String(error);
}

function messageOf(text: string): string | undefined {
  try {
    const answer = JSON.parse(text) as { error?: string };
    return answer.error;
  } catch {
    return text === '' ? undefined : text;
  }
}
