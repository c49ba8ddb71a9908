"""A query of a local secondary index can ask for attributes that the index doesn't hold; DynamoDB
then fetches them from the table. The emulator leaves them out.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/LSI.html
"""

from contextvars import ContextVar

from ministack.services import dynamodb

asks_for_more = ContextVar("asks_for_more", default=False)
project = dynamodb._apply_index_projection


def project_or_fetch(item, table, index_name):
    local = (index["IndexName"] for index in table.get("LocalSecondaryIndexes") or [])
    if asks_for_more.get() and index_name in local:
        return item
    return project(item, table, index_name)


def apply():
    query = dynamodb._query

    def query_with_fetches(data):
        token = asks_for_more.set(
            data.get("Select") in ("ALL_ATTRIBUTES", "SPECIFIC_ATTRIBUTES")
            or "ProjectionExpression" in data
        )
        try:
            return query(data)
        finally:
            asks_for_more.reset(token)

    dynamodb._query = query_with_fetches
    dynamodb._apply_index_projection = project_or_fetch
