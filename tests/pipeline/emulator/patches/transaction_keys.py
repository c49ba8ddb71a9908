"""An item of a transaction must have the key of its table; DynamoDB cancels the transaction with the
reason ValidationError. The emulator stores items without a key, so that a writer that takes a table
for one with another key would damage it and not notice.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
"""

from ministack.services import dynamodb

mismatch = dynamodb._key_type_mismatch_reason


def mismatch_or_missing(table, attributes):
    for name in (table.get("pk_name"), table.get("sk_name")):
        if name and name not in attributes:
            return f"One or more parameter values were invalid: Missing the key {name} in the item"
    return mismatch(table, attributes)


def apply():
    # Its other caller, a single put, has looked for the key before.
    dynamodb._key_type_mismatch_reason = mismatch_or_missing
