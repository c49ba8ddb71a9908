"""Policies can demand what is subscribed by the condition keys sns:Protocol and sns:Endpoint. The emulator
doesn't know them, so that it refuses what such a statement allows.
https://docs.aws.amazon.com/sns/latest/dg/sns-using-identity-based-policies.html
"""

from contextvars import ContextVar
from urllib.parse import parse_qs

from ministack.core import iam_actions, iam_evaluator
from ministack.services import sns

SUBSCRIBE = "sns:Subscribe"

protocol = ContextVar("protocol", default=None)


def apply():
    tag_context = iam_actions.request_tag_context
    subscribe = sns._subscribe
    resource_policy_allows = iam_evaluator.resource_policy_allows

    def context_with_protocol(service, iam_action, body, *arguments):
        context = tag_context(service, iam_action, body, *arguments)
        if iam_action != SUBSCRIBE:
            return context
        given = parse_qs((body or b"").decode("utf-8", errors="replace"))
        keys = {f"sns:{name}": given[name][0] for name in ("Protocol", "Endpoint") if name in given}
        return {**context, **keys}

    def subscribe_with_protocol(parameters):
        token = protocol.set(sns._p(parameters, "Protocol"))
        try:
            return subscribe(parameters)
        finally:
            protocol.reset(token)

    def allows_with_protocol(raw_policy, context, same_account):
        if context.action == SUBSCRIBE and protocol.get() is not None:
            context.service_context["sns:protocol"] = protocol.get()
        return resource_policy_allows(raw_policy, context, same_account)

    iam_actions.request_tag_context = context_with_protocol
    sns._subscribe = subscribe_with_protocol
    iam_evaluator.resource_policy_allows = allows_with_protocol
