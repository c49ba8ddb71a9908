import { addressOf } from './address';
import type { ViewInput } from './app';

/** Goes to an event or a subject by its name. Filters by type and time are with the events. */
export function Search(_: ViewInput) {
  const go = (view: string, option?: string) => (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const text = String(form.get('text') ?? '').trim();
    if (text !== '') {
      location.hash = option ? addressOf(view, '', { [option]: text }) : addressOf(view, text);
    }
  };
  return (
    <>
      <h1>Search</h1>
      <div class="cards">
        <Field label="Event by its id" onSubmit={go('event')} />
        <Field label="Subject by its name" onSubmit={go('subject')} />
        <Field label="Subjects that begin with" onSubmit={go('subjects', 'prefix')} />
        <Field label="Events whose subject begins with" onSubmit={go('events', 'prefix')} />
        <Field label="Events of a type" onSubmit={go('events', 'type')} />
      </div>
      <p class="quiet">
        To search by time, use the fields above the <a href={addressOf('events')}>latest events</a>.
      </p>
    </>
  );
}

function Field({ label, onSubmit }: { label: string; onSubmit: (event: SubmitEvent) => void }) {
  return (
    <form class="card" onSubmit={onSubmit}>
      <label>
        {label}
        <input name="text" required />
      </label>
      <button type="submit">Show</button>
    </form>
  );
}
