import { useEffect, useRef, useState } from 'preact/hooks';
import { addressOf } from './address';
import { ask, type Consumed, reasonOf } from './api';
import type { ViewInput } from './app';
import type { EventsPage } from './events';
import { Filter } from './filter';
import { Costs, colorOf, Failure, Waiting } from './parts';
import { type Counts, Plot } from './plot';
import { clock, counted } from './text';

/** Periods before now, in milliseconds. */
const PERIODS: [string, number][] = [
  ['Last hour', 3_600_000],
  ['Last day', 86_400_000],
  ['Last week', 604_800_000],
];
const COLUMNS = 60;

interface Counted {
  counts: Counts;
  next: string | null;
  reached: string | null;
}

interface Read {
  since: number;
  until: number;
  counts: Counts;
  next: string | null;
  /** Back to which time everything was read. */
  reached: number;
}

/** How many events there were over time, by type. */
export function Rate({ place }: ViewInput) {
  const { type, prefix, since, until } = place.options;
  const [read, setRead] = useState<Read>();
  const [consumed, setConsumed] = useState<Consumed>();
  const [failure, setFailure] = useState<string>();
  const [isReading, setReading] = useState(true);
  const abort = useRef(new AbortController());

  /** Without a period: what the latest events show, in one round of requests. */
  const latest = async () => {
    const page = await ask<EventsPage>('events', { type, prefix, until }, abort.current.signal);
    const times = page.events.map((event) => Date.parse(event.time));
    const [first, last] = [times.at(-1) ?? Date.now(), (times[0] ?? Date.now()) + 1];
    const step = Math.max(1, Math.ceil((last - first) / COLUMNS));
    const counts: Counts = {};
    for (const event of page.events) {
      add(counts, event.type, Math.floor((Date.parse(event.time) - first) / step), 1);
    }
    setConsumed(page.consumed);
    setRead({ since: first, until: last, counts, next: null, reached: first });
  };
  /** Everything of a period, page by page, until it is done or stopped. */
  const period = async (from: number, to: number, next: string | null, before: Counts) => {
    const step = Math.max(1, Math.ceil((to - from) / COLUMNS));
    const counts = structuredClone(before);
    let after = next ?? undefined;
    do {
      const page: Counted & { consumed?: Consumed } = await ask<Counted>(
        'rate',
        {
          type,
          prefix,
          since: new Date(from).toISOString(),
          until: new Date(to).toISOString(),
          step,
          after,
        },
        abort.current.signal,
      );
      for (const [name, columns] of Object.entries(page.counts)) {
        for (const [column, count] of Object.entries(columns)) {
          add(counts, name, Number(column), count);
        }
      }
      setConsumed((sum) => summed(sum, page.consumed));
      const reached = page.next === null ? from : Date.parse(page.reached ?? '') || to;
      setRead({ since: from, until: to, counts: { ...counts }, next: page.next, reached });
      after = page.next ?? undefined;
    } while (after !== undefined && !abort.current.signal.aborted);
  };
  const run = async (work: () => Promise<void>) => {
    abort.current.abort();
    const own = new AbortController();
    abort.current = own;
    setReading(true);
    setFailure(undefined);
    try {
      await work();
    } catch (error) {
      if (!own.signal.aborted) {
        setFailure(reasonOf(error));
      }
    }
    if (abort.current === own) {
      setReading(false);
    }
  };
  useEffect(() => {
    setRead(undefined);
    setConsumed(undefined);
    run(() => {
      if (since === undefined) {
        return latest();
      }
      const to = until === undefined ? Date.now() : Date.parse(until);
      return period(Date.parse(since), to, null, {});
    });
    return () => abort.current.abort();
  }, [type, prefix, since, until]);

  const next = read?.next ?? null;
  return (
    <>
      <div class="title">
        <h1>Rate over time</h1>
        {PERIODS.map(([name, length]) => (
          <a
            key={name}
            class="button"
            href={addressOf('rate', '', { type, prefix, since: ago(length) })}
          >
            {name}
          </a>
        ))}
      </div>
      <Filter view="rate" options={place.options} />
      {failure !== undefined && <Failure>{failure}</Failure>}
      {since === undefined && read && (
        <p class="quiet">
          The latest rows. Choose a period to read everything of it: each row is read and charged.
        </p>
      )}
      {read && (
        <Plot since={read.since} until={read.until} columns={COLUMNS} counts={read.counts} />
      )}
      {isReading && <Waiting />}
      <div class="below">
        {isReading && read && (
          <button type="button" onClick={() => abort.current.abort()}>
            Stop
          </button>
        )}
        {!isReading && read && next !== null && (
          <button
            type="button"
            onClick={() => run(() => period(read.since, read.until, next, read.counts))}
          >
            Read on from {clock(new Date(read.reached).toISOString())} back
          </button>
        )}
        {read && <span class="quiet">{counted(total(read.counts), 'event')}</span>}
        <Costs of={consumed} />
      </div>
      {read && (
        <table class="counts">
          <caption class="only-said">Events by type</caption>
          <thead>
            <tr>
              <th scope="col">Type</th>
              <th scope="col">Events</th>
            </tr>
          </thead>
          <tbody>
            {Object.entries(read.counts)
              .map(([name, columns]) => [name, sumOf(columns)] as const)
              .sort((one, other) => other[1] - one[1])
              .map(([name, count]) => (
                <tr key={name}>
                  <th scope="row">
                    <span class={`dot ${colorOf(name)}`} />
                    <a href={addressOf('events', '', { type: name, prefix, since, until })}>
                      <bdi>{name}</bdi>
                    </a>
                  </th>
                  <td>{count.toLocaleString('en')}</td>
                </tr>
              ))}
          </tbody>
        </table>
      )}
    </>
  );
}

function ago(length: number): string {
  return new Date(Date.now() - length).toISOString();
}

function add(counts: Counts, type: string, column: number, count: number) {
  const columns = Object.hasOwn(counts, type) ? (counts[type] ?? {}) : {};
  columns[column] = (columns[column] ?? 0) + count;
  Object.defineProperty(counts, type, {
    value: columns,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

function sumOf(columns: Record<number, number>): number {
  return Object.values(columns).reduce((sum, count) => sum + count, 0);
}

function total(counts: Counts): number {
  return Object.values(counts).reduce((sum, columns) => sum + sumOf(columns), 0);
}

function summed(one: Consumed | undefined, other: Consumed | undefined): Consumed | undefined {
  if (one === undefined || other === undefined) {
    return other ?? one;
  }
  return {
    requests: one.requests + other.requests,
    readUnits: one.readUnits + other.readUnits,
    rows: one.rows + other.rows,
  };
}
