//! Reads at the same time.

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};

/// Most reads of one operation at the same time.
const CONCURRENT_READS: usize = 16;

/// What is read for each item, in the order of the items. It reads for up to 16 of them at the same time,
/// and ends at the first error.
///
/// Mostly there is one item or none, so what several need isn't prepared for these. Futures of reads are
/// large, so they aren't moved.
pub(crate) fn concurrently<'a, I, T, E, F>(
    items: impl IntoIterator<Item = I>,
    read: impl Fn(I) -> F,
) -> BoxFuture<'a, Result<Vec<T>, E>>
where
    F: Future<Output = Result<T, E>> + Send + 'a,
    T: Send + 'a,
    E: Send + 'a,
{
    let mut reads: Vec<BoxFuture<'a, Result<T, E>>> =
        items.into_iter().map(|item| read(item).boxed()).collect();
    async move {
        if reads.len() > 1 {
            return stream::iter(reads).buffered(CONCURRENT_READS).try_collect().await;
        }
        match reads.pop() {
            Some(only) => Ok(vec![only.await?]),
            None => Ok(Vec::new()),
        }
    }
    .boxed()
}
