import { addressOf } from './address';
import { ask } from './api';
import type { ViewInput } from './app';
import { useAnswer } from './hooks';
import { List } from './list';
import { Costs, colorOf, eventAddress, Failure, Waiting } from './parts';
import { clock, counted, distance } from './text';

interface Traced {
  kind: 'event';
  /** How many causes are above it. */
  depth: number;
  /** It is above already: its causes are a cycle. */
  isRepeated: boolean;
  id: string;
  source: string;
  type: string;
  subject: string;
  time: string;
  revision: number | null;
}

type Line = Traced | { kind: 'missing'; depth: number; id: string; reason: string };

interface Trace {
  lines: Line[];
  isComplete: boolean;
  readUntil: string;
  /** How many events the next step reads; `null` if it can't read more. */
  nextLimit: number | null;
}

/** How long after the event effects are looked for, in minutes. */
const PERIODS: [string, string][] = [
  ['60', 'an hour'],
  ['1440', 'a day'],
  ['10080', 'a week'],
];

export function Caused({ place }: ViewInput) {
  const { source, limit, within = '60' } = place.options;
  const { answer, failure, isLoading } = useAnswer<Trace>(
    (signal) => ask<Trace>('caused', { id: place.name, source, within, limit }, signal),
    [place.name, source, within, limit],
  );
  return (
    <>
      <h1>What caused what</h1>
      <p class="quiet">
        From the first cause until{' '}
        {PERIODS.map(([minutes, name], index) => (
          <span key={minutes}>
            {index > 0 && ' · '}
            {minutes === within ? (
              <strong>{name}</strong>
            ) : (
              <a href={addressOf('caused', place.name, { source, within: minutes })}>{name}</a>
            )}
          </span>
        ))}{' '}
        after the event. Below each event is what it caused, by the extension{' '}
        <code>causationid</code>. Events of the same <code>correlationid</code> and of the same
        trace in <code>traceparent</code> are listed, too.
      </p>
      {failure !== undefined && <Failure>{failure}</Failure>}
      {isLoading && <Waiting />}
      {answer && (
        <>
          <List
            label="Causes and effects"
            items={answer.lines}
            keyOf={(line, index) => `${index} ${line.id}`}
            row={(line, index) => (
              <TraceRow line={line} cause={causeOf(answer.lines, index)} asked={place.name} />
            )}
          />
          {!answer.isComplete && (
            <p class="note">
              Only the events until {clock(answer.readUntil)} were read to find effects.
              {answer.nextLimit === null &&
                ' That is the most that the page reads; `eventdb trace --limit` reads more.'}
            </p>
          )}
          <div class="below">
            {answer.nextLimit !== null && (
              <a
                class="button"
                href={addressOf('caused', place.name, {
                  source,
                  within,
                  limit: String(answer.nextLimit),
                })}
              >
                Read up to {counted(answer.nextLimit, 'event')}
              </a>
            )}
            <Costs of={answer.consumed} />
          </div>
        </>
      )}
    </>
  );
}

/** The line above that it is below of. */
function causeOf(lines: Line[], index: number): Line | undefined {
  const depth = lines[index]?.depth ?? 0;
  for (let above = index - 1; above >= 0 && depth > 0; above -= 1) {
    const line = lines[above];
    if (line !== undefined && line.depth < depth) {
      return line;
    }
  }
  return undefined;
}

function TraceRow({ line, cause, asked }: { line: Line; cause: Line | undefined; asked: string }) {
  if (line.kind === 'missing') {
    return (
      // biome-ignore lint/a11y/useValidAnchor: it has nowhere to go, but the arrow keys stop here, too
      <a class="absent" role="note" tabIndex={0}>
        <bdi class="type">{line.id}</bdi>
        <span class="subject">{line.reason}</span>
      </a>
    );
  }
  return (
    <a
      href={eventAddress(line)}
      style={{ '--depth': line.depth }}
      aria-current={line.id === asked ? 'true' : undefined}
    >
      {line.depth > 0 && <span class="only-said">Level {line.depth + 1}: </span>}
      <span class={`dot ${colorOf(line.type)}`} />
      <bdi class="type">{line.type}</bdi>
      {line.isRepeated && <span class="badge">a cycle: it is above</span>}
      <time dateTime={line.time}>{clock(line.time)}</time>
      <bdi class="subject">{line.subject}</bdi>
      <span class="revision">
        {cause?.kind === 'event'
          ? `+${distance(Date.parse(line.time) - Date.parse(cause.time))}`
          : line.revision !== null && `revision ${line.revision}`}
      </span>
    </a>
  );
}
