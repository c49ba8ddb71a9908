import { addressOf } from './address';
import { ask } from './api';
import type { ViewInput } from './app';
import { useAnswer } from './hooks';
import { Costs, colorOf, eventAddress, Failure, Hidden, Json, Missing, Waiting } from './parts';
import { clock } from './text';

interface Step {
  id: string;
  source: string;
  type: string;
  time: string;
  revision: number | null;
  state: unknown;
  error: string | null;
}

interface States {
  /** Before the first event. */
  initial: unknown;
  steps: Step[];
  isWhole: boolean;
  problems: number;
}

/** The state of an aggregate after an event, and what that event has changed. */
export function State({ place, about, isShown, show }: ViewInput) {
  const aggregate = place.options['aggregate'] ?? about.states[0]?.name ?? '';
  if (about.states.length === 0) {
    return (
      <>
        <h1>State</h1>
        <Missing reason="This page was opened without aggregates. A program of your team can serve it with them." />
      </>
    );
  }
  return (
    <>
      <h1>
        {aggregate} <bdi class="name">{place.name}</bdi>
      </h1>
      <p>
        <a href={addressOf('subject', place.name)}>Its history</a>
      </p>
      {isShown ? (
        <Shown subject={place.name} aggregate={aggregate} revision={place.options['revision']} />
      ) : (
        <Hidden show={show} />
      )}
    </>
  );
}

function Shown({
  subject,
  aggregate,
  revision,
}: {
  subject: string;
  aggregate: string;
  revision: string | undefined;
}) {
  const { answer, failure, isLoading } = useAnswer<States>(
    (signal) => ask<States>('state', { subject, aggregate }, signal),
    [subject, aggregate],
  );
  if (failure !== undefined) {
    return <Failure>{failure}</Failure>;
  }
  if (isLoading || answer === undefined) {
    return <Waiting />;
  }
  const { steps } = answer;
  const found = steps.findIndex((step) => String(step.revision) === revision);
  const index = found === -1 ? steps.length - 1 : found;
  const step = steps[index];
  if (step === undefined) {
    return <p class="note">This subject has no events.</p>;
  }
  const go = (to: number) => {
    const wanted = steps[to]?.revision ?? null;
    location.hash = addressOf('state', subject, {
      aggregate,
      revision: wanted === null ? undefined : String(wanted),
    });
  };
  const changes = differences(index === 0 ? answer.initial : steps[index - 1]?.state, step.state);
  return (
    <>
      {answer.problems > 0 && (
        <p class="failure">Rows of this history are missing or can’t be read.</p>
      )}
      {!answer.isWhole && <p class="note">Only the first 1,000 events were folded.</p>}
      <div class="stepper">
        <button type="button" disabled={index === 0} onClick={() => go(index - 1)}>
          Before
        </button>
        <label>
          After event {index + 1} of {steps.length}
          <input
            type="range"
            min={0}
            max={steps.length - 1}
            value={index}
            onInput={(event) => go(Number(event.currentTarget.value))}
          />
        </label>
        <button type="button" disabled={index === steps.length - 1} onClick={() => go(index + 1)}>
          After
        </button>
      </div>
      <p class="headline">
        <span class={`dot ${colorOf(step.type)}`} />
        <a href={eventAddress(step)}>
          <bdi class="type">{step.type}</bdi>
        </a>{' '}
        <span class="quiet">
          revision {step.revision ?? '–'}, {clock(step.time)}
        </span>
      </p>
      {step.error !== null && <Failure>This event can’t be folded: {step.error}</Failure>}
      {step.error === null && (
        <div class="two">
          <section>
            <h2>What changed</h2>
            {changes.length === 0 ? (
              <p class="quiet">Nothing.</p>
            ) : (
              <ul class="changes" aria-live="polite">
                {changes.map((change) => (
                  <li key={change.path}>
                    <code>{change.path}</code>
                    {change.before !== undefined && <del>{change.before}</del>}
                    {change.after !== undefined && <ins>{change.after}</ins>}
                  </li>
                ))}
              </ul>
            )}
          </section>
          <section>
            <h2>State after it</h2>
            <Json label="State" text={JSON.stringify(step.state)} />
          </section>
        </div>
      )}
      <Costs of={answer.consumed} />
    </>
  );
}

interface Change {
  path: string;
  before: string | undefined;
  after: string | undefined;
}

/** The parts of two states that differ, by their paths. */
export function differences(before: unknown, after: unknown, path = 'state'): Change[] {
  const one = JSON.stringify(before);
  const other = JSON.stringify(after);
  if (one === other) {
    return [];
  }
  if (!isParts(before) || !isParts(after) || Array.isArray(before) !== Array.isArray(after)) {
    return [{ path, before: one, after: other }];
  }
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names].flatMap((name) =>
    differences(own(before, name), own(after, name), `${path}.${name}`),
  );
}

function isParts(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** Not what every object inherits, such as `constructor`. */
function own(value: Record<string, unknown>, name: string): unknown {
  return Object.hasOwn(value, name) ? value[name] : undefined;
}
