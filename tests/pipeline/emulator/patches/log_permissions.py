"""A function's logs are written with the permissions of its role. The emulator asks for none, so that
a function at work when its stack goes brings its log group back.
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
"""

from ministack import app
from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.services import cloudwatch_logs, lambda_svc

emit_logs = lambda_svc._emit_lambda_logs


def emit_logs_as_role(function, *arguments, **named):
    config = function.get("config") or function
    logging = config.get("LoggingConfig") or {}
    group = logging.get("LogGroup") or f"/aws/lambda/{config['FunctionName']}"
    arn = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group}"
    needed = [
        ("logs:CreateLogStream", f"{arn}:log-stream:"),
        ("logs:PutLogEvents", f"{arn}:log-stream:"),
    ]
    if group not in cloudwatch_logs._log_groups:
        needed.append(("logs:CreateLogGroup", arn))
    if all(role_allows(config["Role"], *permission) for permission in needed):
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


def apply():
    lambda_svc._emit_lambda_logs = emit_logs_as_role
