import { useState } from 'preact/hooks';
import { addressOf } from './address';
import { ask, type EventDetails, reasonOf } from './api';
import type { ViewInput } from './app';
import { useAnswer } from './hooks';
import { Costs, colorOf, Failure, Hidden, Json, Waiting } from './parts';
import { clock } from './text';

interface Found {
  event: EventDetails;
  row: unknown;
  message: { body: string; attributes: Record<string, string> } | null;
}

export function EventView({ place, about, isShown, show }: ViewInput) {
  const source = place.options['source'];
  const { answer, failure, isLoading } = useAnswer<Found>(
    (signal) => ask<Found>('event', { id: place.name, source, data: isShown }, signal),
    [place.name, source, isShown],
  );
  const event = answer?.event;
  return (
    <>
      <h1>Event</h1>
      {failure !== undefined && <Failure>{failure}</Failure>}
      {isLoading && <Waiting />}
      {answer && event && (
        <>
          <p class="headline">
            <span class={`dot ${colorOf(event.type)}`} />
            <bdi class="type">{event.type}</bdi>
          </p>
          <dl>
            <dt>Subject</dt>
            <dd>
              <a href={addressOf('subject', event.subject)}>
                <bdi>{event.subject}</bdi>
              </a>
              {event.revision !== null && `, revision ${event.revision}`}
            </dd>
            <dt>Time</dt>
            <dd>
              <time dateTime={event.time}>{clock(event.time)}</time>{' '}
              <span class="quiet">{event.time}</span>
            </dd>
            <dt>Id</dt>
            <dd>
              <bdi>{event.id}</bdi>
            </dd>
            <dt>Source</dt>
            <dd>
              <bdi>{event.source}</bdi>
            </dd>
            {event.dataschema !== null && (
              <>
                <dt>Schema</dt>
                <dd>
                  <bdi>{event.dataschema}</bdi>
                </dd>
              </>
            )}
            {event.datacontenttype !== null && (
              <>
                <dt>Content type</dt>
                <dd>
                  <bdi>{event.datacontenttype}</bdi>
                </dd>
              </>
            )}
            {Object.entries(event.extensions ?? {}).map(([name, value]) => (
              <Extension key={name} name={name} value={value} />
            ))}
          </dl>
          <p class="actions">
            <a class="button" href={addressOf('caused', event.id, { source: event.source })}>
              What caused what
            </a>
            {about.states
              .filter(({ prefix }) => event.subject.startsWith(prefix))
              .map(({ name }) => (
                <a
                  key={name}
                  class="button"
                  href={addressOf('state', event.subject, {
                    aggregate: name,
                    revision: event.revision === null ? undefined : String(event.revision),
                  })}
                >
                  State of {name}
                </a>
              ))}
          </p>
          {event.data === undefined ? (
            <Hidden show={show} />
          ) : (
            <>
              <h2>Data</h2>
              <Json label="Data" text={event.data} />
              <details>
                <summary>Row in the table</summary>
                <Json label="Row" text={JSON.stringify(answer.row)} />
              </details>
              {answer.message && (
                <details>
                  <summary>Message as published</summary>
                  <h3>Attributes</h3>
                  <Json label="Attributes" text={JSON.stringify(answer.message.attributes)} />
                  <h3>Body</h3>
                  <Json label="Body" text={answer.message.body} />
                </details>
              )}
            </>
          )}
          <FeedPlace event={event} reason={about.missing['feed'] ?? null} />
          <Costs of={answer.consumed} />
        </>
      )}
    </>
  );
}

function Extension({ name, value }: { name: string; value: string }) {
  return (
    <>
      <dt>
        <code>{name}</code>
      </dt>
      <dd>
        <bdi>{value}</bdi>
      </dd>
    </>
  );
}

interface InFeed {
  partitions: number;
  partition?: number;
  offset?: number;
  listing?: string;
  listedAt?: string;
  isWholeRest?: boolean;
}

/** Where the event stands in the feed. It is looked for when asked: it takes several requests. */
function FeedPlace({ event, reason }: { event: EventDetails; reason: string | null }) {
  const [found, setFound] = useState<InFeed>();
  const [failure, setFailure] = useState<string>();
  const look = async () => {
    setFailure(undefined);
    try {
      const { subject, id, time, revision } = event;
      const options = { subject, id, time, revision: revision ?? undefined };
      setFound(await ask<InFeed>('feed-place', options));
    } catch (error) {
      setFailure(reasonOf(error));
    }
  };
  return (
    <>
      <h2>In the feed</h2>
      {reason !== null && <p class="note">{reason}</p>}
      {reason === null && found === undefined && (
        <button type="button" onClick={look}>
          Find it in the feed
        </button>
      )}
      {failure !== undefined && <Failure>{failure}</Failure>}
      <div role="status">{found && <p>{inWords(found)}</p>}</div>
    </>
  );
}

function inWords(found: InFeed): string {
  if (found.partitions === 0) {
    return 'The feed is empty: nothing has been published yet.';
  }
  if (found.offset === undefined) {
    const more = found.isWholeRest
      ? 'It isn’t published, or it is under way.'
      : 'It may be listed later than the entries that were read.';
    return `Partition ${found.partition} of ${found.partitions} doesn’t list it around its time. ${more}`;
  }
  const how = found.listing === 'adopted' ? 'adopted' : 'published';
  const when = found.listedAt === undefined ? '' : ` at ${clock(found.listedAt)}`;
  return `Partition ${found.partition} of ${found.partitions}, offset ${found.offset}: ${how}, listed${when}.`;
}
