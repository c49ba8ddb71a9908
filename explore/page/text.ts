/** A time as people read it, in their own zone, to the millisecond. */
export function clock(time: string): string {
  const date = new Date(time);
  const two = (number: number) => String(number).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const seconds = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${seconds}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** A distance in its two largest units, such as `3 h 12 min`. */
export function distance(milliseconds: number): string {
  const sign = milliseconds < 0 ? '−' : '';
  const whole = Math.abs(milliseconds);
  if (whole < 1_000) {
    return `${sign}${whole} ms`;
  }
  const units: [string, number][] = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['min', 60_000],
    ['s', 1_000],
  ];
  const parts: string[] = [];
  let left = whole;
  for (const [unit, size] of units) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0) {
      parts.push(`${count} ${unit}`);
    } else if (parts.length > 0) {
      break;
    }
  }
  return sign + parts.slice(0, 2).join(' ');
}

/** A number with at most one decimal. */
export function rounded(number: number): string {
  return number.toLocaleString('en', { maximumFractionDigits: 1 });
}

/** How many, with the noun in the right form. */
export function counted(number: number, noun: string): string {
  return `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`;
}

/**
 * JSON text on several lines. It is indented as text, so numbers keep all their digits.
 */
export function indented(json: string): string {
  let depth = 0;
  let text = '';
  let isString = false;
  for (let index = 0; index < json.length; index += 1) {
    const character = json[index] ?? '';
    if (isString) {
      text += character;
      if (character === '\\') {
        index += 1;
        text += json[index] ?? '';
      } else if (character === '"') {
        isString = false;
      }
      continue;
    }
    const next = json[index + 1];
    if (character === '"') {
      isString = true;
      text += character;
    } else if ((character === '{' && next === '}') || (character === '[' && next === ']')) {
      text += character + next;
      index += 1;
    } else if (character === '{' || character === '[') {
      depth += 1;
      text += `${character}\n${'  '.repeat(depth)}`;
    } else if (character === '}' || character === ']') {
      depth -= 1;
      text += `\n${'  '.repeat(Math.max(0, depth))}${character}`;
    } else if (character === ',') {
      text += `,\n${'  '.repeat(Math.max(0, depth))}`;
    } else if (character === ':') {
      text += ': ';
    } else if (!/\s/.test(character)) {
      text += character;
    }
  }
  return text;
}
