"""The permission sns:Publish covers PublishBatch, and sqs:DeleteMessage and sqs:SendMessage cover
DeleteMessageBatch and SendMessageBatch.
The emulator demands permissions with the names of the batches, which don't exist on AWS.
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
"""

from ministack.core import iam_evaluator

PERMISSIONS = {
    "sns:PublishBatch": "sns:Publish",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:SendMessageBatch": "sqs:SendMessage",
}


def apply():
    enforce = iam_evaluator.enforce

    def enforce_as_aws(access_key_id, iam_action, *arguments, **named):
        permission = PERMISSIONS.get(iam_action, iam_action)
        return enforce(access_key_id, permission, *arguments, **named)

    iam_evaluator.enforce = enforce_as_aws
