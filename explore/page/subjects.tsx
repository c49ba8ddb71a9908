import { addressOf } from './address';
import { ask } from './api';
import type { ViewInput } from './app';
import { usePages } from './hooks';
import { List } from './list';
import { Below, Failure, Missing, Waiting } from './parts';
import { counted } from './text';

interface SubjectsPage {
  subjects: string[];
  next: string | null;
}

export function Subjects({ place, about }: ViewInput) {
  const prefix = place.options['prefix'] ?? '';
  const reason = about.missing['subjects'];
  return (
    <>
      <h1>Subjects</h1>
      <form
        class="filter"
        key={prefix}
        onSubmit={(event) => {
          event.preventDefault();
          const form = new FormData(event.currentTarget);
          location.hash = addressOf('subjects', '', { prefix: String(form.get('prefix')) });
        }}
      >
        <label>
          Begin with
          <input name="prefix" defaultValue={prefix} />
        </label>
        <button type="submit">List</button>
      </form>
      {reason ? (
        <>
          <Missing reason={reason} />
          <p>
            <a href={addressOf('events', '', { prefix })}>
              Show the latest events whose subjects begin so
            </a>
            {prefix !== '' && (
              <>
                {' '}
                or <a href={addressOf('subject', prefix)}>the subject with exactly this name</a>
              </>
            )}
            .
          </p>
        </>
      ) : (
        <Listed key={prefix} prefix={prefix} />
      )}
    </>
  );
}

function Listed({ prefix }: { prefix: string }) {
  const list = usePages<SubjectsPage>(
    (after, signal) => ask<SubjectsPage>('subjects', { prefix, after }, signal),
    [prefix],
  );
  const { pages, failure, isLoading } = list;
  const subjects = pages.flatMap((page) => page.subjects);
  return (
    <>
      {failure !== undefined && <Failure>{failure}</Failure>}
      {isLoading && <Waiting />}
      {subjects.length > 0 && (
        <List
          label="Subjects"
          items={subjects}
          keyOf={(subject) => subject}
          row={(subject) => (
            <a href={addressOf('subject', subject)}>
              <bdi class="type">{subject}</bdi>
            </a>
          )}
        />
      )}
      {!isLoading && subjects.length === 0 && failure === undefined && (
        <p class="note">There are no such subjects.</p>
      )}
      <Below list={list} more="Read more">
        {counted(subjects.length, 'subject')}
      </Below>
    </>
  );
}
