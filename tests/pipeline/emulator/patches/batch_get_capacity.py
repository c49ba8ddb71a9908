"""BatchGetItem tells the consumed capacity of each table where it is asked for: for each item, found
or not, that of a single read. The emulator never tells it.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
"""

import json
import math

from ministack.services import dynamodb

UNIT_BYTES = 4 * 1024

batch_get = dynamodb._batch_get_item


def consumed_units(name, request):
    table = dynamodb._tables[dynamodb._normalize_table_name(name)]
    items = (dynamodb._get_item_by_key(table, key) or {} for key in request["Keys"])
    units = sum(max(1, math.ceil(dynamodb._item_size_bytes(item) / UNIT_BYTES)) for item in items)
    return units if request.get("ConsistentRead") else units / 2


def batch_get_with_capacity(data):
    status, headers, body = batch_get(data)
    asked = data.get("ReturnConsumedCapacity", "NONE")
    if status != 200 or asked == "NONE":
        return status, headers, body
    answer = json.loads(body)
    answer["ConsumedCapacity"] = []
    for name, request in data["RequestItems"].items():
        units = consumed_units(name, request)
        consumed = {"TableName": name, "CapacityUnits": units}
        if asked == "INDEXES":
            consumed["Table"] = {"CapacityUnits": units}
        answer["ConsumedCapacity"].append(consumed)
    return dynamodb.json_response(answer)


def apply():
    dynamodb._batch_get_item = batch_get_with_capacity
