import { useEffect, useRef, useState } from 'preact/hooks';
import { addressOf, type Place } from './address';
import { type About, ask, type Consumed, onConsumed } from './api';
import { Caused } from './caused';
import { EventView } from './event';
import { Events } from './events';
import { useAnswer, usePlace, useShownData } from './hooks';
import { Failures, Lag } from './operations';
import { Failure, Waiting } from './parts';
import { Rate } from './rate';
import { Search } from './search';
import { State } from './state';
import { SubjectView } from './subject';
import { Subjects } from './subjects';
import { counted, rounded } from './text';

/** What every view is given. */
export interface ViewInput {
  place: Place;
  about: About;
  isShown: boolean;
  show: () => void;
}

const VIEWS = [
  ['events', 'Latest events'],
  ['rate', 'Rate'],
  ['subjects', 'Subjects'],
  ['search', 'Search'],
  ['lag', 'Read models'],
  ['failures', 'Failures'],
] as const;

const TITLES: Record<string, string> = {
  ...Object.fromEntries(VIEWS),
  event: 'Event',
  subject: 'Subject',
  caused: 'What caused what',
  state: 'State',
};

export function App() {
  const place = usePlace();
  const [isShown, setShown] = useShownData();
  const about = useAnswer<About>((signal) => ask<About>('store', {}, signal), []);
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  const title = TITLES[place.view] ?? 'Not found';
  useEffect(() => {
    document.title = `${place.name === '' ? title : `${place.name} · ${title}`} · EventDB`;
    // A screen reader reads on in the new view, but the page isn't taken from a form at its opening.
    if (!isFirst.current) {
      main.current?.focus();
    }
    isFirst.current = false;
  }, [place.view, place.name]);
  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <header>
        <a class="brand" href={addressOf('events')}>
          <img src="/icon.svg" alt="" width="28" height="28" />
          <span>
            <strong>EventDB</strong>
            {about.answer && <bdi class="quiet">{about.answer.table}</bdi>}
          </span>
        </a>
        <nav aria-label="Views">
          {VIEWS.map(([view, name]) => (
            <a
              key={view}
              href={addressOf(view)}
              aria-current={place.view === view ? 'page' : undefined}
            >
              {name}
            </a>
          ))}
        </nav>
        <label class="switch">
          <input
            type="checkbox"
            checked={isShown}
            onChange={(event) => setShown(event.currentTarget.checked)}
          />
          Show data
        </label>
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        {about.failure !== undefined && <Failure>{about.failure}</Failure>}
        {about.isLoading && <Waiting />}
        {about.answer && (
          <View
            // Another name is another view: nothing of the last one stays.
            key={`${place.view} ${place.name}`}
            place={place}
            about={about.answer}
            isShown={isShown}
            show={() => setShown(true)}
          />
        )}
      </main>
      <Footer about={about.answer} />
    </>
  );
}

function View(input: ViewInput) {
  switch (input.place.view) {
    case 'events':
      return <Events {...input} />;
    case 'rate':
      return <Rate {...input} />;
    case 'subjects':
      return <Subjects {...input} />;
    case 'search':
      return <Search {...input} />;
    case 'subject':
      return <SubjectView {...input} />;
    case 'event':
      return <EventView {...input} />;
    case 'caused':
      return <Caused {...input} />;
    case 'state':
      return <State {...input} />;
    case 'lag':
      return <Lag {...input} />;
    case 'failures':
      return <Failures {...input} />;
    default:
      return (
        <>
          <h1>Not found</h1>
          <p>
            There is no such view. <a href={addressOf('events')}>Show the latest events</a>
          </p>
        </>
      );
  }
}

function Footer({ about }: { about: About | undefined }) {
  const [consumed, setConsumed] = useState<Consumed>();
  useEffect(() => onConsumed(setConsumed), []);
  return (
    <footer>
      {about && (
        <span>
          A table {about.layout}
          {about.isEmbedded && ', in an embedded database'}
          {about.items !== null && `, about ${counted(about.items, 'item')}`}
        </span>
      )}
      {consumed && (
        <span id="consumed">
          This tab has consumed {rounded(consumed.readUnits)} read units in{' '}
          {counted(consumed.requests, 'request')}, for {counted(consumed.rows, 'row')}
        </span>
      )}
    </footer>
  );
}
