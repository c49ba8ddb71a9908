import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { addressOf } from './address';
import { ask, type ListedEvent, reasonOf } from './api';
import type { ViewInput } from './app';
import { Filter } from './filter';
import { usePages } from './hooks';
import { List } from './list';
import { Below, EventRow, Failure, Said, Waiting } from './parts';
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

/** The latest events. Another choice is another list: nothing of the last one stays. */
export function Events(input: ViewInput) {
  return <Chosen key={JSON.stringify(input.place.options)} {...input} />;
}

function Chosen({ place }: ViewInput) {
  const { type, prefix, since, until } = place.options;
  const choice = { type, prefix, since, until };
  const list = usePages<EventsPage>(
    (after, signal) => ask<EventsPage>('events', { ...choice, after }, signal),
    [],
  );
  const { pages, isLoading } = list;
  const [isLive, setLive] = useState(until === undefined);
  const [arrived, setArrived] = useState<ListedEvent[]>([]);
  const [liveFailure, setLiveFailure] = useState<string>();
  const events = useMemo(() => {
    const all = [...pages.flatMap((page) => page.events), ...arrived];
    return all.sort(
      (a, b) => Date.parse(b.time) - Date.parse(a.time) || (b.revision ?? 0) - (a.revision ?? 0),
    );
  }, [pages, arrived]);
  const shown = useRef(events);
  shown.current = events;
  const failure = liveFailure ?? list.failure;

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
          const last = shown.current[0]?.time ?? since ?? new Date(0).toISOString();
          const from = new Date(Date.parse(last) - OVERLAP).toISOString();
          const page = await ask<EventsPage>('events', { ...choice, since: from }, abort.signal);
          setLiveFailure(undefined);
          const known = new Set(shown.current.map(keyOf));
          const added = page.events.filter((event) => !known.has(keyOf(event)));
          pause = added.length > 0 ? FIRST_PAUSE : Math.min(LONGEST_PAUSE, pause * 1.3);
          if (added.length > 0) {
            setArrived((before) => [...before, ...added]);
          }
        } catch (error) {
          if (abort.signal.aborted) {
            return;
          }
          setLiveFailure(reasonOf(error));
        }
      }
      timer = setTimeout(look, pause);
    };
    timer = setTimeout(look, pause);
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [isLive, isLoading]);

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
      {arrived.length > 0 && <Said>{counted(arrived.length, 'new event')}</Said>}
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
          {list.hasMore ? 'None among the rows that were read.' : 'There are no such events.'}
        </p>
      )}
      <Below list={list} more="Read older events">
        {counted(events.length, 'event')} shown
      </Below>
    </>
  );
}
