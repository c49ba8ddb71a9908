"""The items of a transaction have at most 4 MB together. The emulator counts the whole request, as
JSON with every character beyond ASCII escaped.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
"""

from ministack.services import dynamodb

LARGEST = 4 * 1024 * 1024

transact = dynamodb._transact_write_items


def transact_counting_items(data):
    actions = (
        action for member in data.get("TransactItems") or [] for action in member.values()
    )
    size = sum(
        dynamodb._item_size_bytes(action.get(part) or {})
        for action in actions
        for part in ("Item", "Key")
    )
    if size > LARGEST:
        return dynamodb.error_response_json(
            "ValidationException",
            "Transaction request exceeds the 4MB transaction size limit",
            400,
        )
    return transact(data)


def apply():
    dynamodb._transact_write_items = transact_counting_items
    # The emulator's own count.
    dynamodb._DDB_TXN_MAX_BYTES = float("inf")
