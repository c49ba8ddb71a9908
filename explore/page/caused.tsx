import { useEffect, useState } from 'preact/hooks';
import { addressOf } from './address';
import { ask, type Consumed, reasonOf } from './api';
import type { ViewInput } from './app';
import { Costs, colorOf, eventAddress, Failure, Waiting } from './parts';
import { clock, distance } from './text';

interface Linked {
  id: string;
  source: string;
  type: string;
  subject: string;
  time: string;
  revision: number | null;
  causation: string | null;
  correlation: string | null;
}

interface Step {
  causes: Linked[];
  isWhole: boolean;
  linked: Linked[];
  reached: string | null;
  next: string | null;
}

/** How long after the event effects are looked for, in minutes. */
const PERIODS: [string, string][] = [
  ['60', 'an hour'],
  ['1440', 'a day'],
  ['10080', 'a week'],
];

export function Caused({ place }: ViewInput) {
  const within = place.options['within'] ?? '60';
  const source = place.options['source'];
  const [steps, setSteps] = useState<Step[]>([]);
  const [consumed, setConsumed] = useState<Consumed>();
  const [failure, setFailure] = useState<string>();
  const [isLoading, setLoading] = useState(true);
  const read = async (after: string | undefined, signal?: AbortSignal) => {
    setLoading(true);
    try {
      const step = await ask<Step>('caused', { id: place.name, source, within, after }, signal);
      setSteps((before) => (after === undefined ? [step] : [...before, step]));
      setConsumed(step.consumed);
      setFailure(undefined);
    } catch (error) {
      if (!signal?.aborted) {
        setFailure(reasonOf(error));
      }
    }
    setLoading(false);
  };
  useEffect(() => {
    const abort = new AbortController();
    read(undefined, abort.signal);
    return () => abort.abort();
  }, [place.name, within]);
  const tree = treeOf(steps);
  const last = steps.at(-1);
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
        <code>causationid</code>. Events of the same <code>correlationid</code> are listed, too.
      </p>
      {failure !== undefined && <Failure>{failure}</Failure>}
      {steps[0]?.isWhole === false && (
        <p class="note">An earlier cause isn’t in the store, or there are too many.</p>
      )}
      {tree.roots.length > 0 && (
        <ul class="tree" aria-label="Causes and effects">
          {tree.roots.map((event) => (
            <Branch key={keyOf(event)} event={event} tree={tree} chosen={place.name} />
          ))}
        </ul>
      )}
      {isLoading && <Waiting />}
      <div class="below">
        {last?.next && !isLoading && (
          <button type="button" onClick={() => read(last.next ?? undefined)}>
            Read on from {last.reached === null ? 'there' : clock(last.reached)}
          </button>
        )}
        <Costs of={consumed} />
      </div>
    </>
  );
}

interface Tree {
  roots: Linked[];
  effects: Map<string, Linked[]>;
}

function keyOf(event: Linked): string {
  return `${event.source}\n${event.id}`;
}

/** Events below what caused them. A cause is named by its id only, so sources don't count here. */
function treeOf(steps: Step[]): Tree {
  const [first] = steps;
  const chosen = first?.causes.at(-1);
  if (first === undefined || chosen === undefined) {
    return { roots: [], effects: new Map() };
  }
  const all = new Map(first.causes.map((event) => [keyOf(event), event]));
  const ids = new Set(first.causes.map((event) => event.id));
  const linked = steps.flatMap((step) => step.linked);
  // Steps are in the order of time, but clocks differ: an effect may come before its cause.
  for (let before = -1; before !== all.size; ) {
    before = all.size;
    for (const event of linked) {
      const isEffect = event.causation !== null && ids.has(event.causation);
      const isRelated = event.correlation !== null && event.correlation === chosen.correlation;
      if (isEffect || isRelated) {
        all.set(keyOf(event), event);
        ids.add(event.id);
      }
    }
  }
  const effects = new Map<string, Linked[]>();
  const roots: Linked[] = [];
  for (const event of [...all.values()].sort((a, b) => a.time.localeCompare(b.time))) {
    if (event.causation !== null && ids.has(event.causation) && event.causation !== event.id) {
      effects.set(event.causation, [...(effects.get(event.causation) ?? []), event]);
    } else {
      roots.push(event);
    }
  }
  return { roots, effects };
}

function Branch({
  event,
  tree,
  chosen,
  above = [],
}: {
  event: Linked;
  tree: Tree;
  chosen: string;
  above?: Linked[];
}) {
  const cause = above.at(-1);
  // A loop of causes would never end.
  const effects = above.includes(event) ? [] : (tree.effects.get(event.id) ?? []);
  return (
    <li>
      <a href={eventAddress(event)} aria-current={event.id === chosen ? 'true' : undefined}>
        <span class={`dot ${colorOf(event.type)}`} />
        <bdi class="type">{event.type}</bdi> <bdi class="subject">{event.subject}</bdi>{' '}
        <span class="quiet">
          {cause === undefined
            ? clock(event.time)
            : `+${distance(Date.parse(event.time) - Date.parse(cause.time))}`}
        </span>
      </a>
      {effects.length > 0 && (
        <ul>
          {effects.map((effect) => (
            <Branch
              key={keyOf(effect)}
              event={effect}
              tree={tree}
              chosen={chosen}
              above={[...above, event]}
            />
          ))}
        </ul>
      )}
    </li>
  );
}
