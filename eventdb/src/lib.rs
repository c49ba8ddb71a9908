//! An event store on Amazon DynamoDB.

pub mod schema;
