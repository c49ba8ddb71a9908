"""Runs ministack with two faults of its DynamoDB mended, which would hide what is to be tested.

1. A query of a local secondary index can ask for attributes that the index doesn't hold; DynamoDB
   then fetches them from the table. ministack 1.5.33 leaves them out.
   https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/LSI.html
2. The items of a transaction have at most 4 MB. ministack counts the whole request, as JSON with
   every character beyond ASCII escaped.
   https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
"""

from contextvars import ContextVar

from ministack import app
from ministack.services import dynamodb

TRANSACTION_BYTES = 4 * 1024 * 1024

fetches = ContextVar("fetches", default=False)
query = dynamodb._query
project = dynamodb._apply_index_projection
transact = dynamodb._transact_write_items


def query_fetching(data):
    token = fetches.set(
        data.get("Select") in ("ALL_ATTRIBUTES", "SPECIFIC_ATTRIBUTES")
        or "ProjectionExpression" in data
    )
    try:
        return query(data)
    finally:
        fetches.reset(token)


def project_or_fetch(item, table, index_name):
    local = (index["IndexName"] for index in table.get("LocalSecondaryIndexes") or [])
    if fetches.get() and index_name in local:
        return item
    return project(item, table, index_name)


def transact_counting_items(data):
    actions = (
        action for member in data.get("TransactItems") or [] for action in member.values()
    )
    size = sum(
        dynamodb._item_size_bytes(action.get(part) or {})
        for action in actions
        for part in ("Item", "Key")
    )
    if size > TRANSACTION_BYTES:
        return dynamodb.error_response_json(
            "ValidationException",
            "Transaction request exceeds the 4MB transaction size limit",
            400,
        )
    return transact(data)


dynamodb._query = query_fetching
dynamodb._apply_index_projection = project_or_fetch
dynamodb._transact_write_items = transact_counting_items
dynamodb._DDB_TXN_MAX_BYTES = float("inf")

if __name__ == "__main__":
    # With TLS it would take port 443 as well, where it can.
    app._port_is_bindable = lambda host, port: False
    app.main()
