"""Runs ministack with six faults mended, which would hide what is to be tested.

1. A query of a local secondary index can ask for attributes that the index doesn't hold; DynamoDB
   then fetches them from the table. ministack 1.5.33 leaves them out.
   https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/LSI.html
2. The items of a transaction have at most 4 MB. ministack counts the whole request, as JSON with
   every character beyond ASCII escaped.
   https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
3. Policies can demand partition keys by the condition key dynamodb:LeadingKeys. ministack doesn't
   know it, so that it refuses what such a statement allows.
   https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
4. Who may sns:Publish may PublishBatch, and who may sqs:DeleteMessage may DeleteMessageBatch.
   ministack demands rights of the names of the batches, which there aren't.
   https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
   https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
5. Its state on disk has how far each function has come with a stream, but not the stream. After a
   start on that state nothing would be delivered until the new stream is as long as the old one,
   so each begins at the start of the new one.
6. A function's logs are written with the rights of its role. ministack asks for none, so that a
   function at work when its stack goes brings its log group back.
   https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
"""

import json
from contextvars import ContextVar

from ministack import app
from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.services import cloudwatch_logs, dynamodb, lambda_svc

TRANSACTION_BYTES = 4 * 1024 * 1024
RIGHTS_FOR_BATCHES = {
    "sns:PublishBatch": "sns:Publish",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
}

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


class ActionOnItem(str):
    """An action of a transaction, with the context of its own item."""

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


def enforce_as_aws(access_key_id, iam_action, *arguments, service_context=None, **named):
    iam_action = RIGHTS_FOR_BATCHES.get(iam_action, iam_action)
    if isinstance(iam_action, ActionOnItem):
        service_context = {**(service_context or {}), **iam_action.context}
    return enforce(
        access_key_id, iam_action, *arguments, service_context=service_context, **named
    )


def restore_all_but_streams(positions, kept):
    if positions is not lambda_svc._dynamodb_stream_positions:
        restore_positions(positions, kept)


def emit_logs_as_role(function, *arguments, **named):
    config = function.get("config") or function
    logging = config.get("LoggingConfig") or {}
    group = logging.get("LogGroup") or f"/aws/lambda/{config['FunctionName']}"
    arn = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group}"
    rights = [
        ("logs:CreateLogStream", f"{arn}:log-stream:"),
        ("logs:PutLogEvents", f"{arn}:log-stream:"),
    ]
    if group not in cloudwatch_logs._log_groups:
        rights.append(("logs:CreateLogGroup", arn))
    if all(role_allows(config["Role"], *right) for right in rights):
        emit_logs(function, *arguments, **named)


def role_allows(role, action, resource):
    if not app.AUTH:
        return True
    account = get_account_id()
    request = iam_evaluator.EvalContext(
        principal_arn=role,
        principal_type="AssumedRole",
        principal_account=account,
        action=action,
        resource_arn=resource,
        region=get_region(),
    )
    policies = iam_evaluator._gather_role_policies(role.rsplit("/", 1)[-1], account)
    return iam_evaluator.evaluate(request, policies).decision == "Allow"


emit_logs = lambda_svc._emit_lambda_logs
restore_positions = lambda_svc._restore_esm_positions
service_context = iam_actions.dynamodb_service_context
transaction_checks = iam_actions.dynamodb_transaction_checks
enforce = iam_evaluator.enforce

iam_actions.dynamodb_service_context = context_with_leading_keys
iam_actions.dynamodb_transaction_checks = checks_with_leading_keys
iam_evaluator.enforce = enforce_as_aws
lambda_svc._emit_lambda_logs = emit_logs_as_role
lambda_svc._restore_esm_positions = restore_all_but_streams
dynamodb._query = query_fetching
dynamodb._apply_index_projection = project_or_fetch
dynamodb._transact_write_items = transact_counting_items
dynamodb._DDB_TXN_MAX_BYTES = float("inf")

if __name__ == "__main__":
    # With TLS it would take port 443 as well, where it can.
    app._port_is_bindable = lambda host, port: False
    app.main()
