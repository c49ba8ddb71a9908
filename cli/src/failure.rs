//! Why a command couldn't do its work, in words for the person who typed it.

use std::error::Error;
use std::fmt;

use aws_sdk_dynamodb::error::ErrorMetadata;

/// The command couldn't do its work: exit status 2.
#[derive(Debug)]
pub struct Failure {
    message: String,
    advice: Option<String>,
    store: Option<String>,
}

impl Failure {
    /// A failure with this message: what was wrong, where, and what is allowed.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), advice: None, store: None }
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// On which store it failed.
    #[must_use]
    pub(crate) fn of_store(mut self, store: &str) -> Self {
        self.store = Some(store.to_owned()).filter(|store| !store.is_empty());
        self
    }

    /// More of what to do about it.
    #[must_use]
    pub fn and_advice(mut self, more: impl Into<String>) -> Self {
        let more = more.into();
        self.advice = Some(match self.advice {
            Some(advice) => format!("{advice}\n{more}"),
            None => more,
        });
        self
    }

    /// A request to AWS or to the store failed while the tool was doing this.
    pub fn of(doing: impl fmt::Display, error: &(dyn Error + 'static)) -> Self {
        let causes = causes(error);
        let advice = advice(&causes);
        Self { message: format!("{doing}: {}", causes.join(": ")), advice, store: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        if let Some(store) = &self.store {
            write!(formatter, "\nIt was the store with the {store}.")?;
        }
        match &self.advice {
            Some(advice) => write!(formatter, "\n{advice}"),
            None => Ok(()),
        }
    }
}

impl Error for Failure {}

/// The messages of an error and its sources, each once.
fn causes(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let message = match error.downcast_ref::<ErrorMetadata>() {
            Some(answer) => format!(
                "{}: {}",
                answer.code().unwrap_or("no code"),
                answer.message().unwrap_or("no message")
            ),
            None => error.to_string(),
        };
        // Many errors repeat their sources in their messages.
        if !causes.iter().any(|earlier| earlier.contains(&message)) {
            causes.push(message);
        }
        next = error.source();
    }
    causes
}

fn advice(causes: &[String]) -> Option<String> {
    let says = |text: &str| causes.iter().any(|cause| cause.contains(text));
    let advice = if says("ResourceNotFoundException") || says("ValidationError: Stack with id") {
        "There is none of that name here: check the name, then --profile and --region, or --file. `aws \
         dynamodb list-tables` and `aws cloudformation list-stacks` show what \
         there is."
    } else if says("ThrottlingException")
        || says("ProvisionedThroughputExceededException")
        || says("RequestLimitExceeded")
    {
        "DynamoDB throttles: the table or the account is at its limit. Nothing is wrong with the \
         command: run it again later, when there is less load."
    } else if says("database is locked") || says("database table is locked") {
        "Another process keeps the file locked. Services may have it open, but one of them, or a backup, \
         has written for longer than the tool waits. Run it again, or stop that process."
    } else if says("not authorized to perform") || says("AccessDenied") {
        "The answer above names the missing permission. The outputs of the stack have a policy for \
         each group of commands: attach the one that `eventdb help` names for this command."
    } else if says("ExpiredToken") || says("security token included in the request is expired") {
        "The credentials have expired: log in again, for example with `aws sso login`."
    } else if says("no providers in chain provided credentials")
        || says("credentials provider was not enabled")
        || says("error occurred while loading credentials")
    {
        "No AWS credentials were found: set AWS_PROFILE or give --profile, or log in with \
         `aws sso login`. To look into a local file, give --file."
    } else if says("MissingRegion") || says("region must be set") || says("Missing Region") {
        "No region is set: give --region, or set AWS_REGION."
    } else if says("dispatch failure") || says("connection refused") {
        "The service can't be reached from here: check the network, --region and --endpoint-url."
    } else {
        return None;
    };
    Some(advice.to_owned())
}

#[cfg(test)]
mod tests {
    use super::Failure;

    #[derive(Debug, thiserror::Error)]
    #[error("the table answered: {0}")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("User: x is not authorized to perform: dynamodb:Scan on resource: y")]
    struct Inner;

    #[test]
    fn a_cause_is_said_once_and_a_missing_permission_has_advice() {
        let text = Failure::of("the table can't be read", &Outer(Inner)).to_string();
        assert_eq!(text.matches("dynamodb:Scan").count(), 1, "{text}");
        assert!(text.starts_with("the table can't be read: the table answered:"), "{text}");
        assert!(text.contains("attach the one"), "{text}");
    }
}
