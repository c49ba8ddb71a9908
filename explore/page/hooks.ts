import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { type Place, placeOf } from './address';
import { type Consumed, reasonOf } from './api';

/** Where one is. */
export function usePlace(): Place {
  const [place, setPlace] = useState(() => placeOf(location.hash));
  useEffect(() => {
    const moved = () => setPlace(placeOf(location.hash));
    addEventListener('hashchange', moved);
    return () => removeEventListener('hashchange', moved);
  }, []);
  return place;
}

export interface Loading<Answer> {
  answer: (Answer & { consumed?: Consumed }) | undefined;
  failure: string | undefined;
  isLoading: boolean;
  again: () => void;
}

/** Asks when the view opens, and again when one of `inputs` changes. */
export function useAnswer<Answer>(
  ask: (signal: AbortSignal) => Promise<Answer & { consumed?: Consumed }>,
  inputs: unknown[],
): Loading<Answer> {
  const [state, setState] = useState<Omit<Loading<Answer>, 'again'>>({
    answer: undefined,
    failure: undefined,
    isLoading: true,
  });
  const [round, setRound] = useState(0);
  const latest = useRef(ask);
  latest.current = ask;
  useEffect(() => {
    const abort = new AbortController();
    setState({ answer: undefined, failure: undefined, isLoading: true });
    latest
      .current(abort.signal)
      .then((answer) => setState({ answer, failure: undefined, isLoading: false }))
      .catch((error) => {
        if (!abort.signal.aborted) {
          setState({ answer: undefined, failure: reasonOf(error), isLoading: false });
        }
      });
    return () => abort.abort();
  }, [...inputs, round]);
  return { ...state, again: useCallback(() => setRound((before) => before + 1), []) };
}

/** What a list has read so far. */
export interface Pages<Page> {
  pages: Page[];
  /** Whether there is more. */
  hasMore: boolean;
  /** What the last page has consumed. */
  consumed: Consumed | undefined;
  failure: string | undefined;
  isLoading: boolean;
  /** Reads the next page. */
  readOn: () => void;
}

/**
 * Reads a page when the view opens, and the next one when asked. When one of `inputs` changes, it begins
 * again; until the new page is there, the old ones stay.
 */
export function usePages<Page extends { next: string | null }>(
  ask: (after: string | undefined, signal: AbortSignal) => Promise<Page & { consumed?: Consumed }>,
  inputs: unknown[],
): Pages<Page> {
  const [pages, setPages] = useState<(Page & { consumed?: Consumed })[]>([]);
  const [failure, setFailure] = useState<string>();
  const [isLoading, setLoading] = useState(true);
  const abort = useRef(new AbortController());
  const latest = useRef(ask);
  latest.current = ask;
  const read = async (before: typeof pages) => {
    abort.current.abort();
    const own = new AbortController();
    abort.current = own;
    setLoading(true);
    try {
      const page = await latest.current(before.at(-1)?.next ?? undefined, own.signal);
      if (own.signal.aborted) {
        return;
      }
      setPages([...before, page]);
      setFailure(undefined);
    } catch (error) {
      if (own.signal.aborted) {
        return;
      }
      setFailure(reasonOf(error));
    }
    setLoading(false);
  };
  useEffect(() => {
    read([]);
    return () => abort.current.abort();
  }, inputs);
  const last = pages.at(-1);
  return {
    pages,
    hasMore: last !== undefined && last.next !== null,
    consumed: last?.consumed,
    failure,
    isLoading,
    readOn: () => read(pages),
  };
}

const SHOWN = 'eventdb-data';

/** Whether data are shown. It is remembered for the tab. */
export function useShownData(): [boolean, (isShown: boolean) => void] {
  const [isShown, setShown] = useState(() => sessionStorage.getItem(SHOWN) === 'shown');
  const set = useCallback((shown: boolean) => {
    if (shown) {
      sessionStorage.setItem(SHOWN, 'shown');
    } else {
      sessionStorage.removeItem(SHOWN);
    }
    setShown(shown);
  }, []);
  return [isShown, set];
}
