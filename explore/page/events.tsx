import { useEffect, useRef, useState } from 'preact/hooks';
import { addressOf } from './address';
import { ask, type Consumed, type ListedEvent, reasonOf } from './api';
import type { ViewInput } from './app';
import { Filter } from './filter';
import { List } from './list';
import { Costs, EventRow, Failure, Said, Waiting } from './parts';
import { counted } from './text';

export interface EventsPage {
  events: ListedEvent[];
  next: string | null;
}

/** How often new events are looked for, at first and at most. */
const FIRST_PAUSE = 1_500;
const LONGEST_PAUSE = 10_000;
/** The index is behind the table, and clocks differ: what is a little older may still appear. */
const OVERLAP = 5_000;

export function keyOf(event: ListedEvent): string {
  return `${event.subject}\n${event.key}`;
}

export function Events({ place }: ViewInput) {
  const { type, prefix, since, until } = place.options;
  const choice = { type, prefix, since, until };
  const [events, setEvents] = useState<ListedEvent[]>([]);
  const [next, setNext] = useState<string | null>(null);
  const [consumed, setConsumed] = useState<Consumed>();
  const [failure, setFailure] = useState<string>();
  const [isLoading, setLoading] = useState(true);
  const [isLive, setLive] = useState(until === undefined);
  const [arrived, setArrived] = useState(0);
  const newest = useRef<string | undefined>(undefined);
  newest.current = events[0]?.time ?? newest.current;

  const read = async (after: string | undefined, signal?: AbortSignal) => {
    setLoading(true);
    try {
      const page = await ask<EventsPage>('events', { ...choice, after }, signal);
      setEvents((before) => merged(after === undefined ? [] : before, page.events));
      setNext(page.next);
      setConsumed(page.consumed);
      setFailure(undefined);
    } catch (error) {
      if (!signal?.aborted) {
        setFailure(reasonOf(error));
      }
    }
    if (!signal?.aborted) {
      setLoading(false);
    }
  };
  useEffect(() => {
    const abort = new AbortController();
    setEvents([]);
    read(undefined, abort.signal);
    return () => abort.abort();
  }, [type, prefix, since, until]);

  useEffect(() => {
    if (!isLive || isLoading) {
      return;
    }
    const abort = new AbortController();
    let pause = FIRST_PAUSE;
    let timer: ReturnType<typeof setTimeout>;
    const look = async () => {
      if (document.visibilityState === 'visible') {
        try {
          const last = newest.current ?? since ?? new Date(0).toISOString();
          const from = new Date(Date.parse(last) - OVERLAP).toISOString();
          const page = await ask<EventsPage>('events', { ...choice, since: from }, abort.signal);
          setFailure(undefined);
          setEvents((before) => {
            const all = merged(before, page.events);
            pause = all.length > before.length ? FIRST_PAUSE : Math.min(LONGEST_PAUSE, pause * 1.3);
            setArrived((count) => count + all.length - before.length);
            return all.length > before.length ? all : before;
          });
        } catch (error) {
          if (abort.signal.aborted) {
            return;
          }
          setFailure(reasonOf(error));
        }
      }
      timer = setTimeout(look, pause);
    };
    timer = setTimeout(look, pause);
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [isLive, isLoading, type, prefix, since]);

  return (
    <>
      <div class="title">
        <h1>Latest events</h1>
        {until === undefined && (
          <button type="button" aria-pressed={isLive} class="live" onClick={() => setLive(!isLive)}>
            <span class="pulse" />
            {isLive ? 'Live' : 'Paused'}
          </button>
        )}
        <a class="button" href={addressOf('rate', '', { type, prefix })}>
          Show as a plot
        </a>
      </div>
      <Filter view="events" options={place.options} />
      {failure !== undefined && <Failure>{failure}</Failure>}
      {arrived > 0 && <Said>{counted(arrived, 'new event')}</Said>}
      {events.length > 0 && (
        <List
          label="Events, the latest first"
          items={events}
          keyOf={keyOf}
          row={(event) => <EventRow event={event} />}
        />
      )}
      {isLoading && <Waiting />}
      {!isLoading && events.length === 0 && failure === undefined && (
        <p class="note">
          {next === null ? 'There are no such events.' : 'None among the rows that were read.'}
        </p>
      )}
      <div class="below">
        {next !== null && !isLoading && (
          <button type="button" onClick={() => read(next)}>
            Read older events
          </button>
        )}
        <span class="quiet">{counted(events.length, 'event')} shown</span>
        <Costs of={consumed} />
      </div>
    </>
  );
}

/** Both, each event once, the latest first. */
function merged(one: ListedEvent[], other: ListedEvent[]): ListedEvent[] {
  const known = new Set(one.map(keyOf));
  const added = other.filter((event) => !known.has(keyOf(event)));
  if (added.length === 0) {
    return one;
  }
  return [...one, ...added].sort(
    (a, b) => Date.parse(b.time) - Date.parse(a.time) || (b.revision ?? 0) - (a.revision ?? 0),
  );
}
