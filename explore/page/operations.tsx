import { useState } from 'preact/hooks';
import { ask } from './api';
import type { ViewInput } from './app';
import { useAnswer } from './hooks';
import { Failure, Hidden, Json, Missing, useNow, Waiting } from './parts';
import { clock, counted, distance } from './text';

interface LagAnswer {
  readModels: {
    name: string;
    events: number | null;
    oldest: string | null;
    note: string | null;
  }[];
}

/** How much each read model lacks. */
export function Lag({ about }: ViewInput) {
  const reason = about.missing['lag'];
  return (
    <>
      <h1>Read models</h1>
      {reason ? <Missing reason={reason} /> : <LagTable />}
    </>
  );
}

function LagTable() {
  const { answer, failure, isLoading, again } = useAnswer<LagAnswer>(
    (signal) => ask<LagAnswer>('lag', {}, signal),
    [],
  );
  const now = useNow(1_000);
  return (
    <>
      {failure !== undefined && <Failure>{failure}</Failure>}
      {isLoading && <Waiting />}
      {answer?.readModels.length === 0 && <p class="note">There are no read models.</p>}
      {answer && answer.readModels.length > 0 && (
        <table>
          <thead>
            <tr>
              <th scope="col">Read model</th>
              <th scope="col">Lacks</th>
              <th scope="col">Oldest event that it lacks</th>
            </tr>
          </thead>
          <tbody>
            {answer.readModels.map((model) => (
              <tr key={model.name}>
                <th scope="row">
                  <bdi>{model.name}</bdi>
                </th>
                <td>{model.events === null ? 'not known' : counted(model.events, 'event')}</td>
                <td>
                  {model.oldest === null
                    ? (model.note ?? '–')
                    : `${distance(now - Date.parse(model.oldest))} ago, ${clock(model.oldest)}`}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <p class="below">
        <button type="button" onClick={again}>
          Read again
        </button>
        <span class="quiet">
          It reads the whole feed and the whole table of the positions, which isn’t counted below.
        </span>
      </p>
    </>
  );
}

interface Batches {
  batches: { key: string; time: string | null; bytes: number }[];
  hasMore: boolean;
}

/** What couldn't be published. */
export function Failures({ about, isShown, show }: ViewInput) {
  const reason = about.missing['failures'];
  return (
    <>
      <h1>Failures</h1>
      {reason ? <Missing reason={reason} /> : <Bucket isShown={isShown} show={show} />}
    </>
  );
}

function Bucket({ isShown, show }: { isShown: boolean; show: () => void }) {
  const { answer, failure, isLoading, again } = useAnswer<Batches>(
    (signal) => ask<Batches>('failures', {}, signal),
    [],
  );
  return (
    <>
      <p class="quiet">
        Batches of records that Lambda gave up on. <code>eventdb redrive</code> publishes them.
      </p>
      {failure !== undefined && <Failure>{failure}</Failure>}
      {isLoading && <Waiting />}
      {answer?.batches.length === 0 && <p class="note">The bucket is empty: nothing has failed.</p>}
      {answer && answer.batches.length > 0 && !isShown && <Hidden show={show} />}
      {answer?.batches.map((batch) => (
        <Batch key={batch.key} batch={batch} isShown={isShown} />
      ))}
      {answer?.hasMore && <p class="note">There are more. These are the first 100.</p>}
      <p>
        <button type="button" onClick={again}>
          Read again
        </button>
      </p>
    </>
  );
}

function Batch({ batch, isShown }: { batch: Batches['batches'][number]; isShown: boolean }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <bdi>{batch.key}</bdi>{' '}
        <span class="quiet">
          {batch.time !== null && clock(batch.time)}, {batch.bytes.toLocaleString('en')} bytes
        </span>
      </summary>
      {isOpen &&
        (isShown ? <Content of={batch.key} /> : <p class="quiet">Its content is hidden.</p>)}
    </details>
  );
}

function Content({ of: key }: { of: string }) {
  const { answer, failure, isLoading } = useAnswer<{ content: unknown }>(
    (signal) => ask<{ content: unknown }>('failure', { key }, signal),
    [key],
  );
  return (
    <>
      {failure !== undefined && <Failure>{failure}</Failure>}
      {isLoading && <Waiting />}
      {answer && <Json label="Content" text={JSON.stringify(answer.content)} />}
    </>
  );
}
