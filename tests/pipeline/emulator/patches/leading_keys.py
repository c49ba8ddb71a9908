"""Policies can demand partition keys by the condition key dynamodb:LeadingKeys. The emulator doesn't
know it, so that it refuses what such a statement allows.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
"""

import json

from ministack.core import iam_actions, iam_evaluator
from ministack.services import dynamodb

service_context = iam_actions.dynamodb_service_context
transaction_checks = iam_actions.dynamodb_transaction_checks


class ActionOnItem(str):
    """An action of a transaction, with the context of its item."""

    context = {}


def leading_keys(request):
    table = dynamodb._tables.get(request.get("TableName"))
    item = request.get("Key") or request.get("Item")
    if table is None or item is None:
        return {}
    return {"dynamodb:LeadingKeys": list(item.get(table["pk_name"], {}).values())}


def context_with_leading_keys(body):
    return {**service_context(body), **leading_keys(json.loads(body or b"{}"))}


def checks_with_leading_keys(iam_action, body, region, account_id):
    checks = transaction_checks(iam_action, body, region, account_id)
    # In the order of the checks: for each item its members.
    requests = (
        action
        for item in (json.loads(body)["TransactItems"] if checks else [])
        for action in item.values()
    )
    made = []
    for (name, arn), request in zip(checks, requests, strict=True):
        action = ActionOnItem(name)
        action.context = leading_keys(request)
        made.append((action, arn))
    return made


def apply():
    enforce = iam_evaluator.enforce

    def enforce_on_item(access_key_id, iam_action, *arguments, service_context=None, **named):
        if isinstance(iam_action, ActionOnItem):
            service_context = {**(service_context or {}), **iam_action.context}
        return enforce(
            access_key_id, iam_action, *arguments, service_context=service_context, **named
        )

    iam_actions.dynamodb_service_context = context_with_leading_keys
    iam_actions.dynamodb_transaction_checks = checks_with_leading_keys
    iam_evaluator.enforce = enforce_on_item
