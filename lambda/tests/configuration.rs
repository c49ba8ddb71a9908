//! What a wrong environment is answered with.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by a panic")]

use std::process::Command;

use eventdb_publisher::configuration::{Configuration, Trust};
use tracing::Level;

const ARN: &str = "arn:aws:sns:eu-west-1:123456789012:Events";

fn read(settings: &[(&str, &str)]) -> Result<Configuration, String> {
    Configuration::read(|name| {
        let of_lambda = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
        let setting = settings.iter().rev().chain(&of_lambda).find(|(key, _)| *key == name);
        setting.map(|(_, value)| (*value).to_owned())
    })
    .map_err(|error| error.to_string())
}

#[test]
fn a_missing_or_invalid_variable_is_named_with_what_it_must_be() {
    let expected_value =
        "it must be the ARN of an SNS topic: arn:aws:sns:<region>:<account>:<name>";
    for settings in [&[][..], &[("EVENT_TOPIC_ARN", "")]] {
        let expected =
            format!("the environment variable EVENT_TOPIC_ARN is missing; {expected_value}");
        assert_eq!(read(settings), Err(expected));
    }
    for arn in [
        "Events",
        "arn:aws:sqs:eu-west-1:1:Events",
        "arn:aws:sns::1:Events",
        "arn:aws:sns:eu-west-1:1:Events:x",
    ] {
        let expected =
            format!("the environment variable EVENT_TOPIC_ARN isn't a topic; {expected_value}");
        assert_eq!(read(&[("EVENT_TOPIC_ARN", arn)]), Err(expected), "{arn}");
    }
    assert_eq!(
        read(&[("EVENT_TOPIC_ARN", ARN), ("LOG_LEVEL", "verbose")]),
        Err("the environment variable LOG_LEVEL isn't a log level; it must be ERROR, WARN, INFO, DEBUG or TRACE".to_owned())
    );
    let error = read(&[("EVENT_TOPIC_ARN", ARN), ("AWS_ACCESS_KEY_ID", "")]).unwrap_err();
    assert!(error.contains("AWS_ACCESS_KEY_ID is missing"));
}

#[test]
fn the_systems_authorities_are_trusted_for_other_endpoints() {
    let trust = |settings: &[(&str, &str)]| {
        let mut all = vec![("EVENT_TOPIC_ARN", ARN)];
        all.extend(settings);
        read(&all).unwrap().trust
    };
    assert_eq!(trust(&[]), Trust::Amazon);
    assert_eq!(trust(&[("EVENT_TOPIC_ARN", "arn:aws-cn:sns:cn-north-1:1:E")]), Trust::System);
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SNS", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        assert_eq!(trust(&[(name, "x")]), Trust::System, "{name}");
    }
}

#[test]
fn endpoints_levels_and_secrets() {
    let both = [("AWS_ENDPOINT_URL", "http://all"), ("AWS_ENDPOINT_URL_SNS", "http://sns")];
    let configuration =
        read(&[("EVENT_TOPIC_ARN", ARN), both[0], both[1], ("LOG_LEVEL", "DEBUG")]).unwrap();
    assert_eq!(configuration.endpoint.as_deref(), Some("http://sns"));
    assert_eq!(configuration.log_level, Level::DEBUG);
    assert!(!format!("{configuration:?}").contains("\"secret\""));
}

#[test]
fn a_topic_can_be_configured_to_accept_larger_messages() {
    let bytes = |value| {
        read(&[("EVENT_TOPIC_ARN", ARN), ("MESSAGE_BYTES", value)]).map(|read| read.message_bytes)
    };
    for (value, expected) in [("", 262_144), ("262144", 262_144), ("1048576", 1_048_576)] {
        assert_eq!(bytes(value), Ok(expected), "{value}");
    }
    for wrong in ["262143", "1048577", "1 MB", "-1", "99999999999999999999999"] {
        assert_eq!(
            bytes(wrong),
            Err("the environment variable MESSAGE_BYTES isn't a valid message size; it must be the \
                 topic's MaximumMessageSize, a number of bytes from 262144 to 1048576"
                .to_owned()),
            "{wrong}"
        );
    }
}

#[test]
fn a_feed_is_written_if_its_table_is_named() {
    let configuration = read(&[("EVENT_TOPIC_ARN", ARN)]).unwrap();
    assert_eq!((configuration.feed_table, configuration.feed_partitions), (None, 4));
    let settings = [("EVENT_TOPIC_ARN", ARN), ("FEED_TABLE", "Feed"), ("FEED_PARTITIONS", "256")];
    let configuration = read(&settings).unwrap();
    assert_eq!(configuration.feed_table.as_deref(), Some("Feed"));
    assert_eq!(configuration.feed_partitions, 256);
    for wrong in ["0", "257", "four", "-1", "4.0"] {
        assert_eq!(
            read(&[("EVENT_TOPIC_ARN", ARN), ("FEED_PARTITIONS", wrong)]).unwrap_err(),
            "the environment variable FEED_PARTITIONS isn't a number of partitions; it must be a \
             whole number from 1 to 256",
            "{wrong}"
        );
    }
    let endpoint = ("AWS_ENDPOINT_URL_DYNAMODB", "http://dynamodb");
    let configuration =
        read(&[("EVENT_TOPIC_ARN", ARN), ("FEED_TABLE", "Feed"), endpoint]).unwrap();
    assert_eq!(configuration.feed_endpoint.as_deref(), Some("http://dynamodb"));
    assert_eq!((configuration.endpoint, configuration.trust), (None, Trust::System));
}

#[test]
fn the_function_logs_why_it_cannot_start() {
    let function =
        Command::new(env!("CARGO_BIN_EXE_eventdb-publisher")).env_clear().output().unwrap();
    assert!(!function.status.success());
    let line: serde_json::Value = serde_json::from_slice(&function.stdout).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(line["error"].as_str().unwrap().contains("EVENT_TOPIC_ARN is missing"));
}
