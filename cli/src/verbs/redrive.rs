//! `eventdb redrive`: publish the records that Lambda gave up on.

use clap::Args;
use serde_json::{Value, json};

use crate::connection::Session;
use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, tell};
use crate::progress::Progress;
use crate::publisher::Publisher;
use crate::verbs::{Ended, Outcome};

/// Passes the records in the failure bucket to the publisher, and deletes each object whose records are
/// published.
///
/// The objects are handled in the order of their keys, which is the order of time within a shard. An
/// object is deleted only after the publisher has confirmed all its records. So an interrupted run, or
/// two at the same time, lose nothing; they can publish an event twice. Without --yes, it only says what
/// it would do. Policy: RedrivePolicyArn.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Only objects whose keys begin with this.
    #[arg(long, value_name = "PREFIX", default_value = "aws/lambda/")]
    prefix: String,
    /// Do it, instead of only saying what would be done.
    #[arg(long)]
    yes: bool,
}

/// The content of an object: what Lambda keeps of a batch that it gave up on.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html>
#[derive(Debug, Clone, PartialEq)]
struct FailureRecord {
    /// The payload of the failed invocation.
    payload: Value,
    records: usize,
    /// Why Lambda gave up.
    condition: String,
}

/// Runs the command.
///
/// # Errors
/// If the bucket can't be listed, or the output can't be written.
pub async fn run(
    arguments: Arguments,
    session: &Session,
    output: &mut Output,
) -> Result<Outcome, Ended> {
    interrupt::listen();
    let (s3, bucket) = session.failure_bucket()?;
    let (lambda, name) = session.publisher()?;
    let publisher = Publisher::new(lambda, name);
    let (mut objects, mut records, mut left) = (0, 0, 0);
    let mut pages =
        s3.list_objects_v2().bucket(&bucket).prefix(&arguments.prefix).into_paginator().send();
    let progress = Progress::new("objects", None);
    let mut is_interrupted = false;
    while let Some(page) = pages.next().await {
        let page = page.map_err(|error| {
            Failure::of(format!("the failure bucket `{bucket}` can't be listed"), &error)
        })?;
        for key in page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key) {
            is_interrupted = interrupt::is_requested();
            if is_interrupted {
                break;
            }
            match handle(&s3, &bucket, &key, &publisher, arguments.yes).await {
                Ok(None) => tell(format_args!("{key}: deleted meanwhile, another run was first")),
                Ok(Some(record)) => {
                    if arguments.yes {
                        session.meter.pace(record.records as f64).await;
                    }
                    objects += 1;
                    records += record.records;
                    let line = json!({
                        "kind": if arguments.yes { "redriven" } else { "wouldRedrive" },
                        "key": key,
                        "records": record.records,
                        "condition": record.condition,
                    });
                    let done = if arguments.yes { "published" } else { "would be published" };
                    let FailureRecord { records, condition, .. } = record;
                    output.line(
                        &line,
                        format_args!("{key}: {records} records {done} ({condition})"),
                    )?;
                }
                Err(failure) => {
                    left += 1;
                    let line = json!({ "kind": "left", "key": key, "reason": failure.to_string() });
                    output.line(&line, format_args!("{key}: stays, {failure}"))?;
                }
            }
            progress.add(1);
            output.flush()?;
        }
        if is_interrupted {
            tell("interrupted; what is left stays in the bucket: run it again to go on");
            break;
        }
    }
    drop(progress);
    let summary =
        json!({ "kind": "redrive", "objects": objects, "records": records, "left": left });
    let done = if arguments.yes { "published" } else { "would be published" };
    output.line(
        &summary,
        format_args!("{records} records in {objects} objects {done}; {left} stay"),
    )?;
    if !arguments.yes && objects > 0 {
        tell("Nothing was sent or deleted. Add --yes to do it.");
    }
    let nothing_left = left == 0 && !is_interrupted && (arguments.yes || objects == 0);
    Ok(if nothing_left { Outcome::Fine } else { Outcome::Found })
}

/// Redrives one object; `None` if it isn't there any more.
async fn handle(
    s3: &aws_sdk_s3::Client,
    bucket: &str,
    key: &str,
    publisher: &Publisher,
    yes: bool,
) -> Result<Option<FailureRecord>, Failure> {
    let read = match s3.get_object().bucket(bucket).key(key).send().await {
        Ok(read) => read,
        Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => {
            return Ok(None);
        }
        Err(error) => return Err(Failure::of("it can't be read", &error)),
    };
    let body =
        read.body.collect().await.map_err(|error| Failure::of("it can't be read", &error))?;
    let record = FailureRecord::read(&body.into_bytes())?;
    if yes {
        if let Err(number) = publisher.publish(&record.payload).await? {
            return Err(Failure::new(format!(
                "the publisher couldn't publish from the record {number} on; its log says why"
            )));
        }
        let deleted = s3.delete_object().bucket(bucket).key(key).send().await;
        deleted.map_err(|error| {
            Failure::of("its records are published, but it can't be deleted", &error)
        })?;
    }
    Ok(Some(record))
}

impl FailureRecord {
    fn read(body: &[u8]) -> Result<Self, Failure> {
        let not_json = |what: &str, error: serde_json::Error| {
            Failure::new(format!(
                "{what} isn't JSON (line {}, column {})",
                error.line(),
                error.column()
            ))
        };
        let document: Value =
            serde_json::from_slice(body).map_err(|error| not_json("the object", error))?;
        let payload = match document.get("payload") {
            // The documentation shows JSON in a string. An object is taken, too, so that no event is lost
            // if Lambda's format changes.
            Some(Value::String(text)) => {
                serde_json::from_str(text).map_err(|error| not_json("its payload", error))?
            }
            Some(payload @ Value::Object(_)) => payload.clone(),
            _ => {
                let position = document.get("DDBStreamBatchInfo").unwrap_or(&Value::Null);
                return Err(Failure::new(format!(
                    "it has no payload: Lambda kept only the position in the stream ({position}); \
                     `eventdb verify` finds the events"
                )));
            }
        };
        let records = payload.get("Records").and_then(Value::as_array).map_or(0, Vec::len);
        if records == 0 {
            return Err(Failure::new(
                "its payload has no `Records`, so it isn't a batch of a stream",
            ));
        }
        let condition = document.pointer("/requestContext/condition").and_then(Value::as_str);
        let condition = condition.unwrap_or("unknown condition").to_owned();
        Ok(Self { payload, records, condition })
    }
}

#[cfg(test)]
mod tests {
    use super::FailureRecord;

    #[test]
    fn a_payload_is_taken_as_text_and_as_an_object() {
        for body in [
            r#"{"requestContext":{"condition":"RetryAttemptsExhausted"},"payload":"{\"Records\":[{}]}"}"#,
            r#"{"requestContext":{"condition":"RetryAttemptsExhausted"},"payload":{"Records":[{}]}}"#,
        ] {
            let record = FailureRecord::read(body.as_bytes()).expect("a record");
            assert_eq!((record.records, record.condition.as_str()), (1, "RetryAttemptsExhausted"));
        }
    }

    #[test]
    fn what_is_wrong_with_an_object_is_said() {
        for (body, reason) in [
            ("", "the object isn't JSON"),
            ("[]", "it has no payload"),
            (r#"{"DDBStreamBatchInfo":{"shardId":"s-1"}}"#, "s-1"),
            (r#"{"payload":"{"}"#, "its payload isn't JSON"),
            (r#"{"payload":{"Records":[]}}"#, "no `Records`"),
            (r#"{"payload":{"Records":{}}}"#, "no `Records`"),
            ("\u{feff}{}", "the object isn't JSON"),
        ] {
            let failure = FailureRecord::read(body.as_bytes()).expect_err(body).to_string();
            assert!(failure.contains(reason), "{body}: {failure}");
        }
    }
}
