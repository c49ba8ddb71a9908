import { colorOf } from './parts';
import { clock, counted } from './text';

/** Events by type and column. */
export type Counts = Record<string, Record<number, number>>;

const WIDTH = 900;
const HEIGHT = 240;
const LEFT = 44;
const BOTTOM = 22;

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
  const types = Object.keys(counts).sort();
  const sums = Array.from({ length: columns }, (_, column) =>
    types.reduce((sum, type) => sum + (counts[type]?.[column] ?? 0), 0),
  );
  const most = Math.max(1, ...sums);
  const width = (WIDTH - LEFT) / columns;
  const scale = (HEIGHT - BOTTOM - 8) / most;
  const step = (until - since) / columns;
  const all = sums.reduce((sum, count) => sum + count, 0);
  const label = `${counted(all, 'event')} from ${clock(new Date(since).toISOString())} to ${clock(
    new Date(until).toISOString(),
  )}; at most ${most} in one of ${columns} columns`;
  return (
    <figure>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label} class="plot">
        {[1, 0.5].map((part) => {
          const y = HEIGHT - BOTTOM - most * part * scale;
          return (
            <g key={part}>
              <line x1={LEFT} x2={WIDTH} y1={y} y2={y} class="grid" />
              <text x={LEFT - 6} y={y + 4} text-anchor="end">
                {Number.isInteger(most * part) ? most * part : ''}
              </text>
            </g>
          );
        })}
        <line x1={LEFT} x2={WIDTH} y1={HEIGHT - BOTTOM} y2={HEIGHT - BOTTOM} class="axis" />
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
                <title>
                  {`${type}: ${count}, ${clock(new Date(since + column * step).toISOString())}`}
                </title>
              </rect>
            );
          });
        })}
        <text x={LEFT} y={HEIGHT - 5}>
          {clock(new Date(since).toISOString()).slice(0, 16)}
        </text>
        <text x={WIDTH} y={HEIGHT - 5} text-anchor="end">
          {clock(new Date(until).toISOString()).slice(0, 16)}
        </text>
      </svg>
    </figure>
  );
}
