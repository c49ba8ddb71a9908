"""A query of a global secondary index can ask only for what the index holds; DynamoDB refuses
anything else. The emulator answers without these attributes.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Query.html
"""

import re

from ministack.services import dynamodb


def held_attributes(table, index):
    """The attributes that the index holds; None if it holds all."""
    projection = index.get("Projection") or {}
    if projection.get("ProjectionType") == "ALL":
        return None
    keys = [key["AttributeName"] for key in [*table["KeySchema"], *index["KeySchema"]]]
    return {*keys, *(projection.get("NonKeyAttributes") or [])}


def wanted_attributes(data):
    """The top-level attributes of the projection expression."""
    names = data.get("ExpressionAttributeNames") or {}
    paths = (data.get("ProjectionExpression") or "").split(",")
    tops = (re.split(r"[.\[]", path.strip())[0] for path in paths)
    return [names.get(top, top) for top in tops if top]


def refusal(data):
    table = dynamodb._tables.get(dynamodb._normalize_table_name(data.get("TableName"))) or {}
    name = data.get("IndexName")
    for index in table.get("GlobalSecondaryIndexes") or []:
        held = held_attributes(table, index)
        if index["IndexName"] != name or held is None:
            continue
        if data.get("Select") == "ALL_ATTRIBUTES":
            return (
                f"Select type ALL_ATTRIBUTES is not supported for global secondary index {name} "
                "because its projection type is not ALL"
            )
        missing = [wanted for wanted in wanted_attributes(data) if wanted not in held]
        if missing:
            return f"Global secondary index {name} does not project [{', '.join(missing)}]"
    return None


def apply():
    query = dynamodb._query

    def query_or_refuse(data):
        reason = refusal(data)
        if reason is None:
            return query(data)
        return dynamodb.error_response_json(
            "ValidationException",
            f"One or more parameter values were invalid: {reason}",
            400,
        )

    dynamodb._query = query_or_refuse
