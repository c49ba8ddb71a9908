import { addressOf } from './address';

/** Chooses events. The choice is in the address. */
export function Filter({ view, options }: { view: string; options: Record<string, string> }) {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = (name: string) => String(form.get(name) ?? '').trim();
    const time = (name: string) => (text(name) === '' ? '' : new Date(text(name)).toISOString());
    location.hash = addressOf(view, '', {
      type: text('type'),
      prefix: text('prefix'),
      since: time('since'),
      until: time('until'),
    });
  };
  return (
    // Another address has other values.
    <form class="filter" onSubmit={submit} key={JSON.stringify(options)}>
      <label>
        Type
        <input name="type" defaultValue={options['type'] ?? ''} />
      </label>
      <label>
        Subject begins with
        <input name="prefix" defaultValue={options['prefix'] ?? ''} />
      </label>
      <label>
        Since
        <input
          name="since"
          type="datetime-local"
          step="0.001"
          defaultValue={local(options['since'])}
        />
      </label>
      <label>
        Until
        <input
          name="until"
          type="datetime-local"
          step="0.001"
          defaultValue={local(options['until'])}
        />
      </label>
      <button type="submit">Choose</button>
    </form>
  );
}

/** A time as the input takes it: in the zone of the person. */
function local(time: string | undefined): string {
  const milliseconds = time === undefined ? Number.NaN : Date.parse(time);
  if (Number.isNaN(milliseconds)) {
    return '';
  }
  const offset = new Date(milliseconds).getTimezoneOffset() * 60_000;
  return new Date(milliseconds - offset).toISOString().slice(0, 23);
}
