//! Events as CloudEvents JSON, one per line, for a check by another implementation.
//!
//! `cargo run --example cloudevents_json` prints events that use all there is. With `--read` it
//! reads such lines from its input, and prints each again or says on standard error what is wrong
//! with it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its purpose")]

use std::error::Error;
use std::process::ExitCode;

use chrono::{DateTime, TimeZone, Utc};
use eventdb::Event;
use serde_json::{Value, json};

fn at(milliseconds: i64) -> Result<DateTime<Utc>, Box<dyn Error>> {
    Ok(Utc.timestamp_millis_opt(milliseconds).single().ok_or("no time")?)
}

fn event(subject: &str, milliseconds: i64, data: Value) -> Result<Event, Box<dyn Error>> {
    Ok(Event::builder()
        .id(format!("evt-{subject}"))
        .source("https://library.example.com")
        .ty("book.borrowed")
        .subject(subject)
        .time(at(milliseconds)?)
        .data(data)
        .build())
}

fn events() -> Result<Vec<Event>, Box<dyn Error>> {
    let minimal = event("minimal", 1_738_074_600_000, json!({}))?;

    let mut complete = Event::builder()
        .id("evt-complete")
        .source("/library/branches/7?shelf=a%20b#top")
        .ty("org.example.book.returned.v2")
        .subject("complete")
        .time(at(1_738_074_600_123)?)
        .datacontenttype("application/vnd.library+json")
        .dataschema("https://library.example.com/schemas/book-returned.json#/v2")
        .data(json!({ "userId": "user:456" }))
        .extension("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .extension("partitionkey", "book:123")
        .extension("replayed", false)
        .extension("audited", true)
        .extension("attempt", i32::MAX)
        .extension("offset", i32::MIN)
        .extension("zero", 0)
        .build();
    complete.revision = Some(1);

    let mut last = event("last-revision", 1_738_074_600_001, json!({ "last": true }))?;
    last.revision = Some(u64::MAX);

    let mut unicode = Event::builder()
        .id("evt-ключ-🔑")
        .source("urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66")
        .ty("книга.взята")
        .subject("книга:一二三📚")
        .time(at(1_738_074_600_999)?)
        .data(json!({
            "título": "O Alquimista\u{2028}\u{0}\t\"\\/",
            "family": "👩‍👩‍👧‍👦",
            "combining": "e\u{301} é",
            "": "empty key",
        }))
        .extension("note", "naïve – “quoted” 漢字")
        .build();
    unicode.revision = Some(42);

    let numbers = json!({
        "zero": 0,
        "negative": -17,
        "fraction": 0.1,
        "precise": 0.300_000_000_000_000_04,
        "small": 5e-324,
        "large": 1.797_693_134_862_315_7e308,
        "largestSafe": 9_007_199_254_740_991_i64,
    });
    let nested = json!({
        "list": [1, "two", null, true, [], {}, [[["deep"]]]],
        "object": { "a": { "b": { "c": { "d": null } } } },
        "data": "a name of CloudEvents' own",
    });

    Ok(vec![
        minimal,
        complete,
        last,
        unicode,
        event("numbers", 0, numbers)?,
        event("nested", 9_999_999_999_999, nested)?,
    ])
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() != Some("--read") {
        for event in events()? {
            println!("{}", serde_json::to_string(&event)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut code = ExitCode::SUCCESS;
    for (number, line) in (1..).zip(std::io::stdin().lines()) {
        match serde_json::from_str::<Event>(&line?) {
            Ok(event) => println!("{}", serde_json::to_string(&event)?),
            Err(error) => {
                eprintln!("line {number}: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
