import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { colorOf } from './parts';
import { clock, counted } from './text';

/** Events by type and column. */
export type Counts = Record<string, Record<number, number>>;

const HEIGHT = 240;
const LEFT = 52;
const TOP = 8;
const BOTTOM = 22;
/** Pixels that a time below the plot needs. */
const TIME = 150;

/** Stacked columns: one color for each type. The table below it has the same numbers. */
export function Plot({
  since,
  until,
  columns,
  counts,
}: {
  since: number;
  until: number;
  columns: number;
  counts: Counts;
}) {
  const { figure, width: all } = useWidth();
  const types = Object.keys(counts).sort();
  const sums = Array.from({ length: columns }, (_, column) =>
    types.reduce((sum, type) => sum + (counts[type]?.[column] ?? 0), 0),
  );
  const most = Math.max(1, ...sums);
  const step = roundStep(most / 3);
  const lines = Array.from({ length: Math.ceil(most / step) }, (_, index) => (index + 1) * step);
  const scale = (HEIGHT - TOP - BOTTOM) / (lines.at(-1) ?? most);
  const width = (all - LEFT) / columns;
  const timeAt = (part: number) => clock(new Date(since + (until - since) * part).toISOString());
  const times = Math.max(1, Math.min(4, Math.floor((all - LEFT) / TIME) - 1));
  const total = sums.reduce((sum, count) => sum + count, 0);
  const label = `${counted(total, 'event')} from ${timeAt(0)} to ${timeAt(1)}; at most ${most} in one of ${columns} columns`;
  return (
    <figure ref={figure}>
      <svg viewBox={`0 0 ${all} ${HEIGHT}`} role="img" aria-label={label} class="plot">
        {lines.map((count) => {
          const y = HEIGHT - BOTTOM - count * scale;
          return (
            <g key={count}>
              <line x1={LEFT} x2={all} y1={y} y2={y} class="grid" />
              <text x={LEFT - 6} y={y + 4} text-anchor="end">
                {count.toLocaleString('en')}
              </text>
            </g>
          );
        })}
        <line x1={LEFT} x2={all} y1={HEIGHT - BOTTOM} y2={HEIGHT - BOTTOM} class="axis" />
        {sums.map((_, column) => {
          let y = HEIGHT - BOTTOM;
          return types.map((type) => {
            const count = counts[type]?.[column] ?? 0;
            if (count === 0) {
              return null;
            }
            y -= count * scale;
            return (
              <rect
                key={`${column} ${type}`}
                x={LEFT + column * width + 0.5}
                y={y}
                width={Math.max(0.5, width - 1)}
                height={count * scale}
                class={colorOf(type)}
              >
                <title>{`${type}: ${count}, ${timeAt(column / columns)}`}</title>
              </rect>
            );
          });
        })}
        {Array.from({ length: times + 1 }, (_, index) => (
          <text
            key={index}
            x={LEFT + ((all - LEFT) * index) / times}
            y={HEIGHT - 5}
            text-anchor={index === 0 ? 'start' : index === times ? 'end' : 'middle'}
          >
            {timeAt(index / times).slice(0, 16)}
          </text>
        ))}
      </svg>
    </figure>
  );
}

/** The width inside a figure, so that texts in it have their size on any screen. */
function useWidth() {
  const figure = useRef<HTMLElement>(null);
  const [width, setWidth] = useState(900);
  useLayoutEffect(() => {
    const measure = () => {
      const element = figure.current;
      if (element !== null) {
        const { paddingLeft, paddingRight } = getComputedStyle(element);
        const inside = element.clientWidth - Number.parseFloat(paddingLeft);
        setWidth(Math.max(200, inside - Number.parseFloat(paddingRight)));
      }
    };
    measure();
    addEventListener('resize', measure);
    return () => removeEventListener('resize', measure);
  }, []);
  return { figure, width };
}

/** The next number of 1, 2, 5, 10, 20, … */
function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  const step = [1, 2, 5, 10].find((digit) => digit * power >= least) ?? 10;
  return Math.max(1, step * power);
}
