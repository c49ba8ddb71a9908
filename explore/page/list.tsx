import type { ComponentChildren } from 'preact';
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

/** Pixels of a row. The style sheet has the same number. */
const ROW = 60;
/** Rows above and below what is seen. */
const SPARE = 8;

/**
 * A long list, of which only what is seen is in the document. Each row has one link; the arrow keys,
 * Home and End go from one to the next.
 */
export function List<Item>({
  items,
  keyOf,
  row,
  label,
}: {
  items: Item[];
  keyOf: (item: Item, index: number) => string;
  row: (item: Item, index: number) => ComponentChildren;
  label: string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const wanted = useRef<number | undefined>(undefined);
  const [seen, setSeen] = useState({ first: 0, last: 30 });
  const measure = useCallback(() => {
    const element = box.current;
    if (element === null) {
      return;
    }
    const first = Math.max(0, Math.floor(element.scrollTop / ROW) - SPARE);
    const last = Math.ceil((element.scrollTop + element.clientHeight) / ROW) + SPARE;
    setSeen((before) =>
      before.first === first && before.last === last ? before : { first, last },
    );
  }, []);
  useEffect(() => {
    measure();
    addEventListener('resize', measure);
    return () => removeEventListener('resize', measure);
  }, [measure]);
  useLayoutEffect(() => {
    const index = wanted.current;
    const link = box.current?.querySelector<HTMLElement>(`[data-index="${index}"] a`);
    if (index !== undefined && link) {
      wanted.current = undefined;
      link.focus({ preventScroll: true });
    }
  });
  const move = (event: KeyboardEvent) => {
    const element = box.current;
    const focused = document.activeElement?.closest<HTMLElement>('[data-index]');
    const from = focused ? Number(focused.dataset['index']) : -1;
    const to = {
      ArrowDown: from + 1,
      ArrowUp: from - 1,
      Home: 0,
      End: items.length - 1,
      PageDown: from + 8,
      PageUp: from - 8,
    }[event.key];
    if (element === null || to === undefined || items.length === 0) {
      return;
    }
    event.preventDefault();
    const index = Math.min(items.length - 1, Math.max(0, to));
    wanted.current = index;
    const top = index * ROW;
    if (top < element.scrollTop || top + ROW > element.scrollTop + element.clientHeight) {
      element.scrollTop = Math.max(0, top - element.clientHeight / 2);
    }
    measure();
    setSeen((before) => ({ ...before }));
  };
  const shown = items.slice(seen.first, seen.last);
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: the keys move between the links in it
    <div class="list" ref={box} onScroll={measure} onKeyDown={move}>
      <ol aria-label={label} style={{ height: `${items.length * ROW}px` }}>
        {shown.map((item, at) => {
          const index = seen.first + at;
          return (
            <li
              key={keyOf(item, index)}
              data-index={index}
              aria-setsize={items.length}
              aria-posinset={index + 1}
              style={{ top: `${index * ROW}px` }}
            >
              {row(item, index)}
            </li>
          );
        })}
      </ol>
    </div>
  );
}
