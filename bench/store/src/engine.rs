//! The database: an embedded engine in a separate process, so that its work isn't counted as ours.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextMut,
};
use aws_sdk_dynamodb::config::{
    BehaviorVersion, ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification,
};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::body::SdkBody;
use eventdb::{EventDb, TableLayout};
use serde_json::Value;

/// Serves until the standard input ends, that is until the process that started it is gone.
pub fn serve() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        println!("http://{}", listener.local_addr().unwrap());
        let database = dynoxide::Database::memory().unwrap();
        let ended = async {
            tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
                .await
                .unwrap()
                .unwrap();
        };
        dynoxide::server::serve_with_shutdown(listener, database, ended).await.unwrap();
    });
}

/// The engine's process, which ends with this.
pub struct Engine {
    process: Child,
    endpoint: String,
}

impl Engine {
    pub fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut endpoint = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut endpoint).unwrap();
        Self { process, endpoint: endpoint.trim().to_owned() }
    }

    pub fn client(&self) -> Client {
        Client::from_conf(self.configuration().build())
    }

    /// A client that counts requests and what they consume. It is slower, so nothing is timed on it.
    pub fn counting_client(&self, count: &Count) -> Client {
        Client::from_conf(self.configuration().interceptor(count.clone()).build())
    }

    fn configuration(&self) -> aws_sdk_dynamodb::config::Builder {
        configuration().endpoint_url(&self.endpoint)
    }
}

/// A client without an engine.
pub fn client_without_engine(http_client: SharedHttpClient) -> Client {
    Client::from_conf(configuration().http_client(http_client).build())
}

fn configuration() -> aws_sdk_dynamodb::config::Builder {
    aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        // event-store-adapter-rs insists on having it from the client.
        .sleep_impl(TokioSleep::new())
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Requests sent, and the capacity units that DynamoDB says they consumed.
#[derive(Debug, Clone, Default)]
pub struct Count(Arc<Mutex<(u64, f64)>>);

impl Count {
    /// What came since the last call.
    pub fn take(&self) -> (u64, f64) {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Intercept for Count {
    fn name(&self) -> &'static str {
        "Count"
    }

    /// Asks for the units whether or not the contestant did. The engine checks no signature.
    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let mut body: Value = serde_json::from_slice(request.body().bytes().unwrap_or_default())?;
        body["ReturnConsumedCapacity"] = "INDEXES".into();
        let body = body.to_string();
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = SdkBody::from(body);
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let units = |capacity: &Value| capacity["CapacityUnits"].as_f64().unwrap_or_default();
        let consumed = match &body["ConsumedCapacity"] {
            Value::Array(tables) => tables.iter().map(units).sum(),
            table => units(table),
        };
        let mut count = self.0.lock().unwrap();
        count.0 += 1;
        count.1 += consumed;
        Ok(())
    }
}

/// Creates a table with these keys.
pub async fn create_table(client: &Client, name: &str, keys: &[(&str, ScalarAttributeType)]) {
    let mut request =
        client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    for ((key, ty), kind) in keys.iter().zip([KeyType::Hash, KeyType::Range]) {
        request = request
            .key_schema(
                KeySchemaElement::builder().attribute_name(*key).key_type(kind).build().unwrap(),
            )
            .attribute_definitions(
                AttributeDefinition::builder()
                    .attribute_name(*key)
                    .attribute_type(ty.clone())
                    .build()
                    .unwrap(),
            );
    }
    request.send().await.unwrap();
}

/// Our table, without its stream: the engine searches the whole stream for each write, which AWS
/// doesn't.
pub async fn create_event_table(
    client: &Client,
    name: &str,
    layout: TableLayout,
    without_indexes: bool,
) {
    let mut table = EventDb::create_table(client, name).layout(layout);
    if without_indexes {
        table = table.without_all_events_by_time().without_all_events_by_id();
    }
    table.await.unwrap();
    let off = StreamSpecification::builder().stream_enabled(false).build().unwrap();
    client.update_table().table_name(name).stream_specification(off).send().await.unwrap();
}
