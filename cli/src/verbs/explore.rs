//! `eventdb explore`: look into the store in a browser.

use clap::Args;
use eventdb::chrono::DateTime;
use eventdb::{BoxError, Feed};
use eventdb_explore::{
    BoxFuture, Explorer, FailedBatch, FailedBatches, FailureBucket, LagOfReadModels, ReadModelLag,
};
use serde_json::{Value, json};

use crate::connection::Session;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, tell};
use crate::positions::Positions;
use crate::verbs::{Ended, Outcome};

/// What the keys of failed batches begin with.
const FAILURES: &str = "aws/lambda/";
/// Most failed batches of an answer.
const BATCHES: i32 = 100;

/// Serves a page that shows what is in the store: on 127.0.0.1, with your own credentials.
///
/// It only reads. It prints the address to open. The token in it works once, in one browser. With
/// --file, it is a demo: append events in another terminal, and see them appear. Policy:
/// ExplorePolicyArn, or ReadPolicyArn to look into the table only.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The port to listen on. 0 is any free port. Links to the page survive a restart on the same port.
    #[arg(long, value_name = "NUMBER", default_value_t = 7373)]
    port: u16,
    /// The table in which read models keep their positions, to show how far they are behind. Each look
    /// reads all of it, and the whole feed.
    #[arg(long, value_name = "TABLE", env = "EVENTDB_POSITIONS")]
    positions: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// If the page can't be served, or the output can't be written.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    let store = session.store().await?;
    let mut explorer = Explorer::new(session.dynamodb.clone(), &store.table);
    if let Some(feed) = session.feed_name().await? {
        explorer = explorer.feed(feed);
    }
    if session.is_embedded() {
        explorer = explorer.embedded();
    }
    if let Ok((s3, bucket)) = session.failure_bucket() {
        explorer = explorer.failures(Bucket { s3, bucket });
    }
    if let Some(table) = &arguments.positions {
        let positions = Positions::open(session.dynamodb.clone(), table).await?;
        explorer = explorer.read_models(ReadModels { positions, feed: session.feed().await? });
    }
    let page = explorer.listen(arguments.port).await;
    let page = page.map_err(|error| {
        Failure::of("the page can't be served", &error).advice("`--port 0` takes any free port.")
    })?;
    let address = page.address();
    interrupt::listen();
    output.line(&json!({ "kind": "page", "address": address }), &address)?;
    output.flush()?;
    tell("Open this address in a browser. Ctrl+C ends it.");
    let consumed = page.consumed();
    let served = page.serve_until(interrupt::requested()).await;
    served.map_err(|error| Failure::of("the page can't be served", &error))?;
    let (requests, read_units) = consumed();
    tell(format_args!("the page consumed {read_units} read units in {requests} requests"));
    Ok(Outcome::Fine)
}

/// The read models of a table of positions.
struct ReadModels {
    positions: Positions,
    feed: Feed,
}

impl LagOfReadModels for ReadModels {
    fn lag(&self) -> BoxFuture<'_, Result<Vec<ReadModelLag>, BoxError>> {
        Box::pin(async move {
            let mut lags = Vec::new();
            for name in self.positions.read_models().await? {
                let lag = self.feed.follow().lag_of(&self.positions.read_model(&name)).await?;
                let note = match lag.parked {
                    0 => None,
                    1 => Some("1 subject is parked".to_owned()),
                    parked => Some(format!("{parked} subjects are parked")),
                };
                lags.push(ReadModelLag {
                    events: Some(lag.events),
                    oldest: lag.oldest,
                    note,
                    name,
                });
            }
            Ok(lags)
        })
    }
}

/// The failure bucket of a deployed store.
struct Bucket {
    s3: aws_sdk_s3::Client,
    bucket: String,
}

impl FailureBucket for Bucket {
    fn list(&self, after: Option<String>) -> BoxFuture<'_, Result<FailedBatches, BoxError>> {
        Box::pin(async move {
            let listed = self
                .s3
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(FAILURES)
                .set_start_after(after)
                .max_keys(BATCHES)
                .send()
                .await?;
            let has_more = listed.is_truncated.unwrap_or_default();
            let objects = listed.contents.unwrap_or_default().into_iter();
            let batches = objects.filter_map(|object| {
                let time = object.last_modified.and_then(|time| time.to_millis().ok());
                Some(FailedBatch {
                    key: object.key?,
                    time: time.and_then(DateTime::from_timestamp_millis),
                    bytes: object.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
                })
            });
            Ok(FailedBatches { batches: batches.collect(), has_more })
        })
    }

    fn read(&self, key: String) -> BoxFuture<'_, Result<Value, BoxError>> {
        Box::pin(async move {
            let read = self.s3.get_object().bucket(&self.bucket).key(key).send().await?;
            let body = read.body.collect().await?.into_bytes();
            let mut content: Value = serde_json::from_slice(&body)?;
            // Lambda keeps the payload as text, in which quotation marks are escaped.
            if let Some(payload) = content.get_mut("payload")
                && let Some(text) = payload.as_str()
                && let Ok(read) = serde_json::from_str(text)
            {
                *payload = read;
            }
            Ok(content)
        })
    }
}
