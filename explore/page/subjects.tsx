import { useState } from 'preact/hooks';
import { addressOf } from './address';
import { ask } from './api';
import type { ViewInput } from './app';
import { useAnswer } from './hooks';
import { List } from './list';
import { Costs, Failure, Missing, Waiting } from './parts';
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
  const [after, setAfter] = useState<string>();
  const [before, setBefore] = useState<string[]>([]);
  const { answer, failure, isLoading } = useAnswer<SubjectsPage>(
    (signal) => ask<SubjectsPage>('subjects', { prefix, after }, signal),
    [after],
  );
  const subjects = [...before, ...(answer?.subjects ?? [])];
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
      {answer && subjects.length === 0 && <p class="note">There are no such subjects.</p>}
      <div class="below">
        {answer?.next && (
          <button
            type="button"
            onClick={() => {
              setBefore(subjects);
              setAfter(answer.next ?? undefined);
            }}
          >
            Read more
          </button>
        )}
        <span class="quiet">{counted(subjects.length, 'subject')}</span>
        <Costs of={answer?.consumed} />
      </div>
    </>
  );
}
