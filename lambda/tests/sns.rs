//! The client with a substitute for SNS: the requests, and the results of each answer.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod common;

use common::event_record;
use eventdb_publisher::configuration::Configuration;
use eventdb_publisher::record::{self, Record};
use eventdb_publisher::sns::SnsTopic;
use eventdb_publisher::topic::{Answer, Entry, FailureKind, PublishFailure, Topic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const STANDARD: &str = "arn:aws:sns:eu-west-1:123456789012:Events";
const FIFO: &str = "arn:aws:sns:eu-west-1:123456789012:Events.fifo";

fn entry(position: usize, subject: &str) -> Entry {
    let record = serde_json::from_value(event_record(position, subject, 7)).unwrap();
    match record::read(position, record) {
        Record::Event(entry) => entry,
        other => panic!("{other:?}"),
    }
}

/// Answers one request and returns it.
async fn answering(status: u16, body: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let request = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = String::new();
        loop {
            let mut part = vec![0; 65_536];
            let length = stream.read(&mut part).await.unwrap();
            request.push_str(std::str::from_utf8(&part[..length]).unwrap());
            let Some((head, sent)) = request.split_once("\r\n\r\n") else { continue };
            let header = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if sent.len() >= header.unwrap().parse().unwrap() {
                break;
            }
        }
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} x\r\ncontent-type: text/xml\r\ncontent-length: {length}");
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
        request
    });
    (endpoint, request)
}

fn topic(arn: &str, endpoint: &str) -> SnsTopic {
    let configuration = Configuration::read(|name| match name {
        "EVENT_TOPIC_ARN" => Some(arn.to_owned()),
        "AWS_ENDPOINT_URL" => Some(endpoint.to_owned()),
        "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("test".to_owned()),
        _ => None,
    });
    SnsTopic::new(&configuration.unwrap())
}

/// Publishes three entries, and returns the results and the request.
async fn publish(
    arn: &str,
    status: u16,
    body: &'static str,
) -> (Result<Answer, PublishFailure>, String) {
    let (endpoint, request) = answering(status, body).await;
    let entries = [entry(0, "book:1"), entry(1, "book:2"), entry(2, "a book, with spaces")];
    let answer = topic(arn, &endpoint).publish_batch(&entries).await;
    (answer, request.await.unwrap())
}

const PARTIAL: &str = r#"<PublishBatchResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">
  <PublishBatchResult>
    <Successful><member><Id>1</Id><MessageId>m</MessageId></member>
      <member><Id>unknown</Id><MessageId>m</MessageId></member></Successful>
    <Failed>
      <member><Id>0</Id><Code>InvalidParameter</Code><Message>secret</Message><SenderFault>true</SenderFault></member>
      <member><Id>2</Id><Code>Throttling</Code><Message>secret</Message><SenderFault>true</SenderFault></member>
    </Failed>
  </PublishBatchResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>
</PublishBatchResponse>"#;

#[tokio::test]
async fn a_partial_answer_is_read_entry_by_entry() {
    let (answer, _) = publish(STANDARD, 200, PARTIAL).await;
    let failure = |kind, code: &str| PublishFailure { kind, code: code.to_owned() };
    assert_eq!(
        answer.unwrap(),
        Answer {
            accepted: vec![1],
            failed: vec![
                (0, failure(FailureKind::InvalidEntry, "InvalidParameter")),
                (2, failure(FailureKind::Transient, "Throttling")),
            ],
        }
    );
}

#[tokio::test]
async fn a_standard_topic_gets_the_message_and_its_attributes() {
    let (_, request) = publish(STANDARD, 200, PARTIAL).await;
    assert!(request.contains("Action=PublishBatch"));
    assert!(request.contains("TopicArn=arn%3Aaws%3Asns%3Aeu-west-1%3A123456789012%3AEvents&"));
    for name in ["id", "type", "time", "source", "subject", "sequence"] {
        assert!(request.contains(&format!("Name={name}&")), "{name}");
    }
    assert!(request.contains("specversion"));
    assert!(!request.contains("MessageGroupId") && !request.contains("MessageDeduplicationId"));
    assert!(request.contains("/eu-west-1/sns/aws4_request"), "signed for the topic's region");
}

#[tokio::test]
async fn a_fifo_topic_gets_a_group_and_a_deduplication_id_as_well() {
    let (_, request) = publish(FIFO, 200, PARTIAL).await;
    assert!(request.contains("member.1.MessageGroupId=book%3A1&"));
    let group =
        request.split("member.3.MessageGroupId=").nth(1).unwrap().split('&').next().unwrap();
    assert_eq!(group.len(), 64, "a subject that is no group id is hashed: {group}");
    let ids: std::collections::HashSet<_> = request
        .split("MessageDeduplicationId=")
        .skip(1)
        .map(|rest| rest.split('&').next().unwrap())
        .collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| id.len() == 64));
}

#[tokio::test]
async fn a_failed_request_is_told_by_what_can_be_done() {
    macro_rules! error {
        ($code:literal) => {
            concat!(
                "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error>",
                "<Type>Sender</Type><Code>",
                $code,
                "</Code><Message>secret</Message></Error>",
                "<RequestId>r</RequestId></ErrorResponse>"
            )
        };
    }
    let cases = [
        (400, error!("InvalidParameter"), FailureKind::InvalidEntry, "InvalidParameter"),
        (400, error!("BatchRequestTooLong"), FailureKind::InvalidEntry, "BatchRequestTooLong"),
        (400, error!("Throttling"), FailureKind::Transient, "Throttling"),
        (400, error!("KMSThrottling"), FailureKind::Transient, "KMSThrottling"),
        (500, error!("InternalError"), FailureKind::Transient, "InternalError"),
        (503, "not even XML", FailureKind::Transient, "Unknown"),
        (403, error!("AuthorizationError"), FailureKind::Denied, "AuthorizationError"),
        (404, error!("NotFound"), FailureKind::Denied, "NotFound"),
    ];
    for (status, body, kind, code) in cases {
        let (answer, _) = publish(STANDARD, status, body).await;
        assert_eq!(answer, Err(PublishFailure { kind, code: code.to_owned() }), "{body}");
    }
    let topic = topic(STANDARD, "http://127.0.0.1:9");
    let failure = topic.publish_batch(&[entry(0, "book:1")]).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Transient, "{failure:?}");
}
