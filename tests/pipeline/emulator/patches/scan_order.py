"""A scan of a table with numbers as sort keys returns the items of a partition in the order of these
numbers. The emulator sorts them as text, so that 10 comes before 2, and goes on from there.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.CoreComponents.html
"""

from contextvars import ContextVar

from ministack.services import dynamodb

is_scan = ContextVar("is_scan", default=False)
paginate = dynamodb._paginate_evaluated_items


def position(item, table):
    partition = dynamodb._extract_key_val(item.get(table["pk_name"], {}))
    name = table.get("sk_name")
    return partition, dynamodb._sort_key_value(item.get(name), dynamodb._get_attr_type(table, name))


def paginate_in_order(items, limit, table, index_name):
    if is_scan.get() and not index_name:
        items = sorted(items, key=lambda item: position(item, table))
    return paginate(items, limit, table, index_name)


def after_start_key(items, start, table):
    return [item for item in items if position(item, table) > position(start, table)]


def apply():
    scan = dynamodb._scan

    def scan_in_order(data):
        token = is_scan.set(True)
        try:
            return scan(data)
        finally:
            is_scan.reset(token)

    dynamodb._scan = scan_in_order
    dynamodb._paginate_evaluated_items = paginate_in_order
    dynamodb._apply_exclusive_start_key_scan = after_start_key
