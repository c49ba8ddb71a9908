//! What DynamoDB says of the settings of a table of events.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::describe_continuous_backups::DescribeContinuousBackupsError;
use aws_sdk_dynamodb::types::{PointInTimeRecoveryStatus, StreamViewType};

use crate::store::capacity::Kind;
use crate::store::error::Error;
use crate::store::table::{Table, Transmission};

/// The settings that matter to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// What is wrong with the indexes.
    pub(crate) wrong_indexes: Vec<String>,
    pub(crate) has_stream: bool,
    pub(crate) has_new_images: bool,
    /// Whether it can be restored to any time of the last days; `None` if the endpoint doesn't know it.
    pub(crate) recovery: Option<bool>,
    pub(crate) is_protected: bool,
}

impl Table {
    pub(crate) async fn settings(&self) -> Result<Settings, Error> {
        let Some(table) = self.describe().await? else {
            return Err(self.refused("the table has no description".into()));
        };
        let stream = table.stream_specification.as_ref();
        let view = stream.and_then(|stream| stream.stream_view_type.as_ref());
        Ok(Settings {
            wrong_indexes: self.layout().table_parts(&[]).wrong_indexes(&table),
            has_stream: stream.is_some_and(|stream| stream.stream_enabled),
            has_new_images: matches!(
                view,
                Some(StreamViewType::NewImage | StreamViewType::NewAndOldImages)
            ),
            recovery: self.recovery().await?,
            is_protected: table.deletion_protection_enabled.unwrap_or_default(),
        })
    }

    async fn recovery(&self) -> Result<Option<bool>, Error> {
        let answer = self
            .repeat("DescribeContinuousBackups", || {
                let transmission = Transmission::default();
                let request = self
                    .client
                    .describe_continuous_backups()
                    .table_name(&*self.name)
                    .customize()
                    .config_override(crate::store::retry::without_retries())
                    .interceptor(transmission.clone())
                    .send();
                self.attempt("DescribeContinuousBackups", Kind::Read, transmission, request, |_| {
                    &[]
                })
            })
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if is_unknown_operation(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let status = answer
            .continuous_backups_description
            .and_then(|backups| backups.point_in_time_recovery_description)
            .and_then(|recovery| recovery.point_in_time_recovery_status);
        Ok(Some(status == Some(PointInTimeRecoveryStatus::Enabled)))
    }
}

/// Whether the endpoint isn't AWS and doesn't have the operation.
fn is_unknown_operation(error: &Error) -> bool {
    let Error::Refused { source, .. } = error else { return false };
    let code = source.downcast_ref::<DescribeContinuousBackupsError>();
    code.and_then(ProvideErrorMetadata::code) == Some("UnknownOperationException")
}
