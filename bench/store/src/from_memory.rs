//! The processor time of an append alone: answers come from memory, so neither a connection nor the
//! database takes any, and the code of each contestant stays in the processor's caches.

use aws_sdk_dynamodb::config::RuntimeComponents;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use cpu_time::ProcessTime;
use eventdb::TableLayout;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::contestants::{Contestant, data};
use crate::engine::client_without_engine;

const ROUNDS: usize = 15;
const APPENDS: u32 = 2_000;
const SUBJECT: &str = "book:123";
const REVISION: u64 = 7;

/// Microseconds of an append at a known revision, by eventdb and by hand.
pub fn append(runtime: &Runtime, layout: TableLayout) -> [f64; 2] {
    let contestants =
        Contestant::eventdb_and_by_hand(&client_without_engine(http_client()), layout);
    let mut taken: [Vec<f64>; 2] = Default::default();
    // The first round warms up.
    for round in 0..=ROUNDS {
        for (contestant, taken) in contestants.iter().zip(&mut taken) {
            let one = runtime.block_on(async {
                let at = contestant.at(SUBJECT, REVISION).await;
                let began = ProcessTime::now();
                for _ in 0..APPENDS {
                    contestant.append(at.clone(), REVISION, 1).await;
                }
                began.elapsed().as_secs_f64() * 1e6 / f64::from(APPENDS)
            });
            if round > 0 {
                taken.push(one);
            }
        }
    }
    taken.map(|mut taken| {
        taken.sort_by(f64::total_cmp);
        taken[ROUNDS / 2]
    })
}

fn http_client() -> SharedHttpClient {
    http_client_fn(|_, _: &RuntimeComponents| SharedHttpConnector::new(Memory))
}

#[derive(Debug)]
struct Memory;

impl HttpConnector for Memory {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let by_time = request.body().bytes().is_some_and(|body| contains(body, b"Events-byTime"));
        let body = match target {
            "DynamoDB_20120810.Query" => history(by_time),
            "DynamoDB_20120810.TransactWriteItems" => {
                json!({ "ConsumedCapacity": [{ "TableName": "Events", "CapacityUnits": 7 }] })
                    .to_string()
            }
            _ => json!({ "ConsumedCapacity": { "TableName": "Events", "CapacityUnits": 3 } })
                .to_string(),
        };
        let response = HttpResponse::new(200.try_into().unwrap(), SdkBody::from(body));
        HttpConnectorFuture::ready(Ok(response))
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The last event of the subject, as DynamoDB answers.
fn history(by_time: bool) -> String {
    let mut row = json!({
        "subject": { "S": SUBJECT },
        "id": { "S": "event-7" },
        "type": { "S": "book.borrowed" },
        "source": { "S": "https://library.example.com" },
        "time": { "N": "1738074600000" },
        "revision": { "N": REVISION.to_string() },
    });
    if by_time {
        let text = |text: &str| json!({ "S": text });
        let data = json!({ "userId": text("user:456"), "dueDate": text("2025-02-15"), "filling": text("") });
        row["time_type"] = text("1738074600000_book.borrowed");
        row["pk_all"] = text("all");
        row["data"] = json!({ "M": data });
    } else {
        let partition = eventdb::internals::item::partition_of(SUBJECT);
        row["pk_all"] = json!({ "S": format!("all-{partition:02}") });
        row["data"] = json!({ "S": data(0).to_string() });
    }
    json!({ "Items": [row], "Count": 1, "ScannedCount": 1 }).to_string()
}
