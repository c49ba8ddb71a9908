import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { addressOf } from './address';
import type { Consumed, ListedEvent } from './api';
import type { Pages } from './hooks';
import { clock, counted, indented, rounded } from './text';

/** Something that went wrong. It is read out. */
export function Failure({ children }: { children: ComponentChildren }) {
  return (
    <p class="failure" role="alert">
      {children}
    </p>
  );
}

export function Waiting() {
  return (
    <p class="quiet" role="status">
      Reading…
    </p>
  );
}

/** A view that this store doesn't have. */
export function Missing({ reason }: { reason: string }) {
  return <p class="note">{reason}</p>;
}

/** What the last answer has consumed. */
export function Costs({ of }: { of: Consumed | undefined }) {
  if (of === undefined) {
    return null;
  }
  return (
    <p class="costs">
      {counted(of.requests, 'request')}, {rounded(of.readUnits)} read units,{' '}
      {counted(of.rows, 'row')}
    </p>
  );
}

/** What is below a list: a button that reads on, how much is shown, and what it has consumed. */
export function Below({
  list,
  more,
  children,
}: {
  list: Pages<unknown>;
  more: string;
  children: ComponentChildren;
}) {
  return (
    <div class="below">
      {list.hasMore && !list.isLoading && (
        <button type="button" onClick={list.readOn}>
          {more}
        </button>
      )}
      <span class="quiet">{children}</span>
      <Costs of={list.consumed} />
    </div>
  );
}

export function Json({ text, label }: { text: string; label: string }) {
  return (
    // A long line scrolls, so the keyboard must reach it.
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls must be reachable by keyboard
    <section class="json" tabIndex={0} aria-label={label}>
      <pre>{indented(text)}</pre>
    </section>
  );
}

/** The event's data, or a button to show them. */
export function Hidden({ show }: { show: () => void }) {
  return (
    <p class="hidden">
      <span>The data are hidden.</span>{' '}
      <button type="button" onClick={show}>
        Show data in this tab
      </button>
    </p>
  );
}

export function eventAddress(event: { id: string; source?: string }): string {
  return addressOf('event', event.id, { source: event.source });
}

const types = new Map<string, number>();

/** A color for a type, the same in all views. The first eight types have different ones. */
export function colorOf(type: string): string {
  const number = types.get(type) ?? types.size;
  types.set(type, number);
  return `color-${number % 8}`;
}

/** An event as lists show it: two lines, with a link to it. */
export function EventRow({ event }: { event: ListedEvent }) {
  return (
    <a href={eventAddress(event)}>
      <span class={`dot ${colorOf(event.type)}`} />
      <bdi class="type">{event.type}</bdi>
      <time dateTime={event.time}>{clock(event.time)}</time>
      <bdi class="subject">{event.subject}</bdi>
      <span class="revision">{event.revision === null ? '' : `revision ${event.revision}`}</span>
    </a>
  );
}

/** Says something to a screen reader, without showing it. */
export function Said({ children }: { children: ComponentChildren }) {
  return (
    <p class="only-said" role="status">
      {children}
    </p>
  );
}

/** The present, every so often. */
export function useNow(every: number): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}
