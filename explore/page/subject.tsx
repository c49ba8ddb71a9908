import { addressOf } from './address';
import { ask, type EventDetails } from './api';
import type { ViewInput } from './app';
import { usePages } from './hooks';
import { List } from './list';
import { Below, colorOf, eventAddress, Failure, Hidden, Json, Waiting } from './parts';
import { clock, counted, distance } from './text';

type Row =
  | ({ kind: 'event' } & EventDetails)
  | { kind: 'invalid'; key: string; reason: string; row: unknown }
  | { kind: 'missing'; from: number; to: number };

interface Snapshot {
  aggregate: string;
  revision: number | null;
  version: number | null;
  time: string | null;
  state: string | null;
}

interface HistoryPage {
  rows: Row[];
  snapshots: Snapshot[];
  next: string | null;
}

export function SubjectView({ place, about, isShown, show }: ViewInput) {
  const subject = place.name;
  const history = usePages<HistoryPage>(
    (after, signal) => ask<HistoryPage>('subject', { subject, after, data: isShown }, signal),
    [subject, isShown],
  );
  const { pages, failure, isLoading } = history;
  const rows = pages.flatMap((page) => page.rows);
  const snapshots = pages[0]?.snapshots ?? [];
  const problems = rows.filter((row) => row.kind !== 'event').length;
  return (
    <>
      <h1>
        Subject <bdi class="name">{subject}</bdi>
      </h1>
      {failure !== undefined && <Failure>{failure}</Failure>}
      {problems > 0 && (
        <p class="failure">
          {counted(problems, 'row')} of this history {problems === 1 ? 'is' : 'are'} missing or
          can’t be read.
        </p>
      )}
      <p class="actions">
        {about.states
          .filter(({ prefix }) => subject.startsWith(prefix))
          .map(({ name }) => (
            <a key={name} class="button" href={addressOf('state', subject, { aggregate: name })}>
              State of {name}
            </a>
          ))}
      </p>
      {rows.length > 0 && (
        <List
          label="History, the last event first"
          items={rows}
          keyOf={keyOf}
          row={(row, index) => (
            <HistoryRow row={row} before={rows[index + 1]} snapshots={snapshots} />
          )}
        />
      )}
      {isLoading && <Waiting />}
      {!isLoading && rows.length === 0 && failure === undefined && (
        <p class="note">This subject has no events.</p>
      )}
      <Below list={history} more="Read older events">
        {counted(rows.length, 'row')} shown
      </Below>
      {snapshots.length > 0 && (
        <>
          <h2>Snapshots</h2>
          {!isShown && <Hidden show={show} />}
          {snapshots.map((snapshot) => (
            <details key={snapshot.aggregate}>
              <summary>
                <bdi>{snapshot.aggregate}</bdi> at revision {snapshot.revision ?? '?'}, version{' '}
                {snapshot.version ?? '?'}
              </summary>
              {snapshot.state === null ? (
                <p class="quiet">Its state is hidden.</p>
              ) : (
                <Json label={`State of ${snapshot.aggregate}`} text={snapshot.state} />
              )}
            </details>
          ))}
        </>
      )}
    </>
  );
}

function keyOf(row: Row): string {
  switch (row.kind) {
    case 'event':
      return `${row.revision} ${row.source} ${row.id}`;
    case 'invalid':
      return `invalid ${row.key}`;
    case 'missing':
      return `missing ${row.from}`;
  }
}

/** How long after the row before it, which is the next one of the list. */
function sinceBefore(row: EventDetails, before: Row | undefined): string {
  switch (before?.kind) {
    case 'event':
      return `${distance(Date.parse(row.time) - Date.parse(before.time))} later`;
    case 'invalid':
      return 'after one that can’t be read';
    case 'missing':
      return 'after a missing one';
    case undefined:
      return row.revision === 1 ? 'the first one' : '';
  }
}

function HistoryRow({
  row,
  before,
  snapshots,
}: {
  row: Row;
  before: Row | undefined;
  snapshots: Snapshot[];
}) {
  if (row.kind === 'missing') {
    return (
      // biome-ignore lint/a11y/useValidAnchor: it has nowhere to go, but the arrow keys stop here, too
      <a class="problem" role="note" tabIndex={0}>
        <strong>
          {row.from === row.to
            ? `Revision ${row.from} is missing`
            : `Revisions ${row.from} to ${row.to} are missing`}
        </strong>
      </a>
    );
  }
  if (row.kind === 'invalid') {
    return (
      // biome-ignore lint/a11y/useValidAnchor: it has nowhere to go, but the arrow keys stop here, too
      <a class="problem" role="note" tabIndex={0}>
        <strong>
          Row <bdi>{row.key}</bdi> isn’t an event
        </strong>
        <span class="quiet">{row.reason}</span>
        {row.row !== null && <code class="data">{JSON.stringify(row.row)}</code>}
      </a>
    );
  }
  const taken = snapshots.filter(({ revision }) => revision !== null && revision === row.revision);
  return (
    <a href={eventAddress(row)}>
      <span class="number">{row.revision ?? '–'}</span>
      <span class={`dot ${colorOf(row.type)}`} />
      <bdi class="type">{row.type}</bdi>
      {taken.length > 0 && (
        <span class="badge">
          snapshot <bdi>{taken.map(({ aggregate }) => aggregate).join(', ')}</bdi>
        </span>
      )}
      <time dateTime={row.time}>{clock(row.time)}</time>
      <span class="subject">
        {row.data !== undefined ? <code class="data">{row.data}</code> : sinceBefore(row, before)}
      </span>
      {row.data !== undefined && before?.kind === 'event' && (
        <span class="revision">+{distance(Date.parse(row.time) - Date.parse(before.time))}</span>
      )}
    </a>
  );
}
